//! The search of ADWPNAS: the intensive space (section 3.1), the HyperNetwork and the architecture search (section 3.2).

mod alpha;
mod bilevel;
mod error;
mod search_phase;
mod settings;
mod space_phase;

pub use error::{Result, SearchError};
pub use search_phase::search;
pub use settings::{AlphaData, Data, SearchSettings, SpaceSettings};
pub use space_phase::derive_space;

use adwp_train::Outcome;

/// What a phase gave, or that it was asked to stop.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished<T> {
    /// Its result.
    Done(T),
    /// It was interrupted; its checkpoint is written.
    Interrupted,
}

impl<T> Finished<T> {
    fn from_outcome(outcome: Outcome, result: impl FnOnce() -> Result<T>) -> Result<Self> {
        match outcome {
            Outcome::Done => Ok(Self::Done(result()?)),
            Outcome::Interrupted => Ok(Self::Interrupted),
        }
    }
}
