//! Latencies of operators, measured on one machine, and what they predict of a whole network.
//!
//! A [`LatencyTable`] has an entry for every [`Part`] that the [`Networks`] of a space at one size
//! can consist of. Parts are cut out of the graphs of networks, by the owners of their nodes: the
//! operations of the space at every size and stride, the preprocessing of cell inputs, stem, sums,
//! concatenation, classifier. The latency of a network is close to the sum of its parts; a
//! calibration corrects the rest.
//!
//! # How an entry is measured
//!
//! A session that runs one small operator measures itself. So every part is measured as a
//! difference: of a network with copies of the part and one without, which are the same in
//! everything else and which carry the copies as a cell does (`probe.rs`). Both are files as the
//! exporter writes them, with BatchNorms folded, run by the runtime with all of its optimisations,
//! for one image.
//!
//! What an optimising runtime makes of a part depends on what stands beside it, and no table can
//! hold that: it joins a sum or a ReLU with the convolution before it where nobody else reads that,
//! and it moves images between memory layouts. A part is measured as it mostly stands. What this
//! leaves is nearly proportional: a [`Calibration`] measures a few random networks and fits a
//! factor and an offset to them. It is kept apart from the entries.
//!
//! # What it does against noise
//!
//! Other work makes a run slower, by interrupting it or by sharing the core, its caches and its
//! clock, and it comes and goes: within milliseconds, or for minutes. So [`RuntimeStopwatch`] times
//! a batch of networks in short rounds, in each of which all of them take turns, and between any
//! two turns it times a yardstick: one whole network, always the same for a table.
//!
//! - A round is quiet where the yardstick before and after it was about as fast as it ever was.
//!   Rounds go on until there are enough quiet ones; of these the fastest run counts, because what
//!   interrupts a run only adds to it. It is what `adwp bench` calls the least, some percent below
//!   the median.
//! - Where the machine is never quiet for long, the rounds in which the yardstick was fastest
//!   count, and the network's time is divided by how much slower the yardstick was than on the
//!   quiet machine. That is less exact, and the slowdown is kept beside the latency.
//! - The table keeps what the yardstick takes on the quiet machine, for when it is continued or
//!   checked. Should the machine turn out to be quieter than it ever was, all of the table is
//!   brought to that.

mod calibration;
mod check;
mod error;
mod measure;
mod networks;
mod part;
mod probe;
mod stopwatch;
mod table;
#[cfg(test)]
mod tests;

pub use calibration::{Calibration, CalibrationNetwork, HeldOut};
pub use check::{Check, CheckedNetwork, check};
pub use error::{LutError, Result};
pub use networks::Networks;
pub use part::Part;
pub use probe::Timeable;
pub use stopwatch::{RuntimeStopwatch, Setup, Stopwatch, Timing};
pub use table::{Entry, LatencyTable};
