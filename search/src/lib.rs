//! The search of ADWPNAS: the intensive space (section 3.1), the HyperNetwork and the architecture search (section 3.2).

mod alpha;
mod bilevel;
mod error;
mod search_phase;
mod settings;
mod space_phase;

pub use error::{Result, SearchError};
pub use search_phase::{search, search_bytes};
pub use settings::{AlphaData, Data, SearchSettings, SpaceSettings};
pub use space_phase::{derive_space, space_bytes};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::black_images;
    use adwp_train::{Context, Interrupt, Quiet, RunDir};

    #[test]
    fn a_phase_that_has_ended_leaves_no_memory_taken() {
        let data = black_images(32);
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let (interrupt, mut reporter) = (Interrupt::default(), Quiet);
        let mut context =
            Context { run: &run, resume: false, held_bytes: 0, check_memory: true, interrupt: &interrupt, reporter: &mut reporter };
        let settings = SpaceSettings { epochs: 2, batch: 4, channels: 1, candidates: 2, backtrack: 1, ..SpaceSettings::default() };
        let Finished::Done(space) = derive_space(&settings, &data, &mut context).unwrap() else { unreachable!("nobody interrupts it") };
        assert_eq!(data.device.working_bytes(), 0);
        let settings = SearchSettings {
            epochs: 3,
            hypernetwork_epochs: 1,
            cross_search_start: 2,
            cross_search_end: 3,
            batch: 4,
            channels: 1,
            keep: 1,
            hidden: 2,
            ..SearchSettings::default()
        };
        assert!(matches!(search(&settings, &space, &data, &mut context).unwrap(), Finished::Done(_)));
        assert_eq!(data.device.working_bytes(), 0);
    }
}
