use adwp_train::TrainError;
use serde::{Deserialize, Serialize};

/// How large a study is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidelitySettings {
    /// Architectures drawn from the intensive space. A larger study begins with those of a smaller
    /// one.
    pub architectures: usize,
    /// How often each of them is retrained. Many architectures retrained once tell scores apart
    /// better than few retrained several times, but nothing of how much a retraining repeats.
    pub retrainings: usize,
    /// How often weights for all architectures are trained, with the seeds from the run's on.
    pub seeds: usize,
    /// How many searches the architectures drawn are compared with, with the seeds from the run's
    /// on; 0 for as many as `seeds`.
    pub searches: usize,
}

impl Default for FidelitySettings {
    fn default() -> Self {
        Self { architectures: 30, retrainings: 2, seeds: 2, searches: 0 }
    }
}

impl FidelitySettings {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`TrainError::Settings`].
    pub fn validate(&self) -> Result<(), TrainError> {
        let fail = |message: String| Err(TrainError::Settings(format!("fidelity.{message}")));
        match *self {
            Self { architectures: 0..2, .. } => {
                fail(format!("architectures = {}: a ranking needs at least 2", self.architectures))
            }
            Self { seeds: 0, .. } => fail("seeds = 0 must be at least 1".into()),
            Self { retrainings: 0, .. } => fail("retrainings = 0 must be at least 1".into()),
            _ => Ok(()),
        }
    }

    /// How many searches there are.
    pub(crate) fn searches(&self) -> usize {
        if self.searches == 0 { self.seeds } else { self.searches }
    }

    /// How many seeds anything is done with.
    pub(crate) fn folders(&self) -> usize {
        self.seeds.max(self.searches()).max(self.retrainings)
    }
}
