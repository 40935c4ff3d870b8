//! Latencies of operators, measured on one machine, and what they predict of a whole network.
//!
//! A [`LatencyTable`] has an entry for every [`Part`] that the networks of a [`Skeleton`](adwp_models::Skeleton) can consist of: the
//! operations of the space at every size and stride, the preprocessing of cell inputs, stem, sums, concatenation, classifier. The latency
//! of a network is close to the sum of its parts; what is left is told by a calibration.
//!
//! # How an entry is measured
//!
//! A session that runs one small operator measures itself. So every part is measured as a difference: of a network with copies of the part
//! and one without, which are the same in everything else and which carry the copies as a cell does (`probe.rs`). Both are files as the
//! exporter writes them, with BatchNorms folded, run by the runtime with all of its optimisations, for one image.
//!
//! What an optimising runtime makes of a part depends on what stands beside it, and no table can hold that: it joins a sum or a ReLU with
//! the convolution before it where nobody else reads that, and it moves images between memory layouts. A part is measured as it mostly
//! stands. What this leaves is nearly proportional: a [`Calibration`] measures a few random networks and fits a factor and an offset to
//! them. It is kept apart from the entries.
//!
//! # What it does against noise
//!
//! Other work on a machine makes runs slower, never faster, and comes and goes. So [`RuntimeStopwatch`] times a batch of networks in many
//! short rounds, in each of which all of them take turns. Of each round it takes the median run, which the few runs that were interrupted
//! do not move; of the rounds it takes the least, the quietest one that the network has seen. Both networks of a difference are in the same
//! batch. The median over the rounds is kept beside it: where it is much larger, the machine was busy.
//!
//! Means would add up what the other work took, and the fastest run alone is what a network does in its luckiest moment, below what
//! `adwp bench` finds on a quiet machine.

mod calibration;
mod check;
mod error;
mod measure;
mod network;
mod part;
mod probe;
mod stopwatch;
mod table;
#[cfg(test)]
mod tests;

pub use calibration::{Calibration, CalibrationNetwork};
pub use check::{Check, CheckedNetwork, check};
pub use error::{LutError, Result, size_flags};
pub use part::{Image, Part};
pub use probe::{Timeable, random_genotype};
pub use stopwatch::{ROUNDS, RuntimeStopwatch, Setup, Stopwatch, Timing};
pub use table::{Entry, LatencyTable};
