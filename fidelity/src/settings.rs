use adwp_train::TrainError;
use serde::{Deserialize, Serialize};

/// How large a study is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FidelitySettings {
    /// N: architectures drawn from the intensive space. A larger study begins with those of a
    /// smaller one.
    pub architectures: usize,
    /// S: how often everything is done, with the seeds from the run's on.
    pub seeds: usize,
    /// R: how many of the architectures the searched ones are compared with; 0 for all.
    pub random: usize,
}

impl Default for FidelitySettings {
    fn default() -> Self {
        Self { architectures: 30, seeds: 2, random: 0 }
    }
}

impl FidelitySettings {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// [`TrainError::Settings`].
    pub fn validate(&self) -> Result<(), TrainError> {
        let fail = |message: String| Err(TrainError::Settings(format!("fidelity: {message}")));
        match *self {
            Self { architectures: 0..2, .. } => {
                fail(format!("architectures = {}: a ranking needs at least 2", self.architectures))
            }
            Self { seeds: 0, .. } => fail("seeds must be at least 1".into()),
            Self { architectures, random, .. } if random > architectures => {
                fail(format!("random = {random} exceeds architectures = {architectures}"))
            }
            _ => Ok(()),
        }
    }

    /// How many architectures the searched ones are compared with.
    pub(crate) fn compared(&self) -> usize {
        if self.random == 0 { self.architectures } else { self.random }
    }
}
