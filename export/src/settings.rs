use adwp_data::Augmentation;
use adwp_train::{TrainError, check_settings};
use serde::{Deserialize, Serialize};

/// Settings of retraining. The defaults are those of section 4.3 for CIFAR-10 with cutout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrainSettings {
    /// Epochs over all training images.
    pub epochs: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
    /// Learning rate at the start; a cosine over all epochs ends at 0.
    pub rate: f32,
    /// Momentum of SGD.
    pub momentum: f32,
    /// L2 coefficient.
    pub weight_decay: f32,
    /// Largest norm of the gradient.
    pub clip: f32,
    /// Probability that an operation is dropped, reached linearly over the epochs; 0 turns it off.
    pub drop_path: f32,
    /// Weight of the auxiliary classifier's loss; 0 leaves it out.
    pub auxiliary: f32,
    /// Label smoothing.
    pub smoothing: f32,
    /// Epochs between evaluations on the test images; the last epoch always has one.
    pub evaluate_every: usize,
    /// Changes to training images.
    pub augmentation: Augmentation,
}

impl Default for RetrainSettings {
    fn default() -> Self {
        Self {
            epochs: 1000,
            batch: 98,
            channels: 36,
            rate: 0.025,
            momentum: 0.9,
            weight_decay: 3e-4,
            clip: 5.0,
            drop_path: 0.2,
            auxiliary: 0.4,
            smoothing: 0.0,
            evaluate_every: 10,
            augmentation: Augmentation::CIFAR,
        }
    }
}

impl RetrainSettings {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), TrainError> {
        let numbers = [
            ("rate", self.rate),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
            ("auxiliary", self.auxiliary),
        ];
        check_settings("retrain", self.batch, &numbers)?;
        let fail = |message: String| Err(TrainError::Settings(format!("retrain: {message}")));
        match self {
            s if s.epochs == 0 || s.evaluate_every == 0 => fail("epochs and evaluate_every must be at least 1".into()),
            s if !(0.0..1.0).contains(&s.drop_path) => fail(format!("drop_path = {} is not in [0, 1)", s.drop_path)),
            s if !(0.0..1.0).contains(&s.smoothing) => fail(format!("smoothing = {} is not in [0, 1)", s.smoothing)),
            _ => Ok(()),
        }
    }
}
