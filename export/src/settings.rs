use adwp_data::{Augmentation, AutoAugment, ColorJitter};
use adwp_models::Blueprint;
use adwp_models::zoo::Width;
use adwp_train::schedule::{self, Decay};
use adwp_train::{TrainError, check_augmentation, check_settings};
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
    /// What the channels of a network that is no stack of cells are multiplied by.
    pub width: Width,
    /// Learning rate at the start.
    pub rate: f32,
    /// What it is multiplied by for all parameters but those of the classifier, which starts fresh
    /// where a network is fine-tuned on other classes; 0 leaves them, and the statistics of
    /// BatchNorms, as they are.
    pub body_rate: f32,
    /// How it falls from epoch to epoch.
    pub decay: Decay,
    /// The factor of an epoch, where the decay is exponential.
    pub decay_factor: f32,
    /// Epochs over whose steps the rate rises linearly to what the decay says of each; 0 for none.
    pub warmup_epochs: usize,
    /// The batch that `rate` is meant for: with another it is scaled in proportion (Goyal et al.,
    /// 2017). 0 leaves it as it is.
    pub reference_batch: usize,
    /// Momentum of SGD.
    pub momentum: f32,
    /// L2 coefficient.
    pub weight_decay: f32,
    /// Largest norm of the gradient.
    pub clip: f32,
    /// Probability that an operation is dropped, reached linearly over the epochs; 0 turns it off.
    pub drop_path: f32,
    /// Probability that a feature which the last linear layer reads is dropped; 0 turns it off.
    pub dropout: f32,
    /// Weight of the auxiliary classifier's loss; 0 leaves it out.
    pub auxiliary: f32,
    /// Label smoothing.
    pub smoothing: f32,
    /// Decay of an exponential moving average of weights and BatchNorm statistics, which is then
    /// what is tested and exported; such as 0.999. It is lower at first, so that the beginning is
    /// forgotten. 0 exports the last weights.
    pub ema: f32,
    /// Tell beside the test accuracy that of the mean of the logits of each image and of its mirror
    /// image. The exported file, and every other accuracy, looks at an image once.
    pub test_flips: bool,
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
            width: Width::PUBLISHED,
            rate: 0.025,
            body_rate: 1.0,
            decay: Decay::Cosine,
            decay_factor: 0.97,
            warmup_epochs: 0,
            reference_batch: 0,
            momentum: 0.9,
            weight_decay: 3e-4,
            clip: 5.0,
            drop_path: 0.2,
            dropout: 0.0,
            auxiliary: 0.4,
            smoothing: 0.0,
            ema: 0.0,
            test_flips: false,
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
        check_augmentation("retrain", &self.augmentation)?;
        let fail = |message: String| Err(TrainError::Settings(format!("retrain.{message}")));
        match self {
            s if s.epochs == 0 => fail("epochs = 0 must be at least 1".into()),
            s if s.evaluate_every == 0 => fail("evaluate_every = 0 must be at least 1".into()),
            s if !(0.0..=1.0).contains(&s.body_rate) => {
                fail(format!("body_rate = {} is not in [0, 1]", s.body_rate))
            }
            s if s.body_rate == 0.0 && s.auxiliary > 0.0 => {
                fail("auxiliary is for a network that learns, and body_rate = 0 freezes it".into())
            }
            s if !(0.0..1.0).contains(&s.drop_path) => {
                fail(format!("drop_path = {} is not in [0, 1)", s.drop_path))
            }
            s if !(0.0..1.0).contains(&s.dropout) => {
                fail(format!("dropout = {} is not in [0, 1)", s.dropout))
            }
            s if !(0.0..1.0).contains(&s.smoothing) => {
                fail(format!("smoothing = {} is not in [0, 1)", s.smoothing))
            }
            s if !(0.0..1.0).contains(&s.ema) => {
                fail(format!("ema = {} is not in [0, 1); a usual one is 0.999", s.ema))
            }
            s if !(s.decay_factor > 0.0 && s.decay_factor <= 1.0) => {
                fail(format!("decay_factor = {} is not in (0, 1]", s.decay_factor))
            }
            s if s.warmup_epochs > s.epochs => fail(format!(
                "warmup_epochs = {} are more than the {} epochs",
                s.warmup_epochs, s.epochs
            )),
            _ => Ok(()),
        }
    }

    /// Checks that a network has what is asked for: no setting is without an effect.
    pub fn check_network(&self, blueprint: &Blueprint) -> Result<(), TrainError> {
        let fail = |setting: &str, value: f32, lacks: &str| {
            Err(TrainError::Settings(format!(
                "retrain.{setting} = {value}, but this network has {lacks}; set \
                 retrain.{setting} to 0"
            )))
        };
        if self.auxiliary > 0.0 && !blueprint.has_auxiliary() {
            return fail("auxiliary", self.auxiliary, "no auxiliary classifier");
        }
        if self.drop_path > 0.0 && !blueprint.has_drop_path() {
            return fail("drop_path", self.drop_path, "no operation that could be dropped");
        }
        Ok(())
    }

    /// The learning rate of a step, where an epoch has `steps`.
    pub fn rate_at(&self, epoch: usize, step: usize, steps: usize) -> f32 {
        let peak = match self.reference_batch {
            0 => self.rate,
            reference => self.rate * (self.batch as f32 / reference as f32),
        };
        let rate = match self.decay {
            Decay::Cosine => schedule::cosine(peak, 0.0, epoch, self.epochs),
            Decay::Exponential => schedule::exponential(peak, self.decay_factor, epoch),
            Decay::Linear => schedule::linear_fall(peak, epoch, self.epochs),
        };
        rate * schedule::warm_up(self.warmup_epochs, epoch, step, steps)
    }

    /// What makes the result, in words: one entry for everything that is not off.
    pub fn recipe(&self) -> Vec<String> {
        let Augmentation { resized_crop, crop_padding, flip, auto_augment, color_jitter, cutout } =
            self.augmentation;
        let mut recipe = vec![format!("{} epochs in batches of {}", self.epochs, self.batch)];
        recipe.push(match self.decay {
            Decay::Cosine => format!("rate {} with cosine decay", self.rate),
            Decay::Exponential => {
                format!("rate {}, times {} every epoch", self.rate, self.decay_factor)
            }
            Decay::Linear => format!("rate {} with linear decay", self.rate),
        });
        let mut add = |is_on: bool, text: String| {
            if is_on {
                recipe.push(text);
            }
        };
        let reference = self.reference_batch;
        add(reference > 0, format!("rate scaled by {}/{reference} with the batch", self.batch));
        add(self.warmup_epochs > 0, format!("warm-up over {} epochs", self.warmup_epochs));
        add(true, format!("momentum {}, weight decay {}", self.momentum, self.weight_decay));
        add(true, format!("gradient clip {}", self.clip));
        add(self.drop_path > 0.0, format!("drop-path rising to {}", self.drop_path));
        add(self.dropout > 0.0, format!("dropout {} before the classifier", self.dropout));
        add(self.auxiliary > 0.0, format!("auxiliary loss {}", self.auxiliary));
        add(self.smoothing > 0.0, format!("label smoothing {}", self.smoothing));
        add(resized_crop > 0.0, format!("random resized crop from {resized_crop}"));
        add(crop_padding > 0, format!("crop after padding by {crop_padding}"));
        add(flip, "flip".into());
        match auto_augment {
            AutoAugment::Off => {}
            AutoAugment::Cifar10 => add(true, "AutoAugment of CIFAR-10".into()),
            AutoAugment::Imagenet => add(true, "AutoAugment of ImageNet".into()),
        }
        let ColorJitter { brightness, contrast, saturation, hue } = color_jitter;
        add(
            color_jitter != ColorJitter::OFF,
            format!("colour jitter {brightness}, {contrast}, {saturation}, {hue}"),
        );
        add(cutout > 0, format!("cutout {cutout}"));
        add(self.ema > 0.0, format!("moving average of weights {}", self.ema));
        add(self.test_flips, "test-time flips, told beside the accuracy".into());
        recipe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(settings: RetrainSettings, name: &str) {
        let error = settings.validate().unwrap_err().to_string();
        assert!(error.starts_with("retrain.") && error.contains(name), "{error}");
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let settings = RetrainSettings::default();
        settings.validate().unwrap();
        for ema in [1.0, -0.1, f32::NAN] {
            refused(RetrainSettings { ema, ..settings.clone() }, "ema = ");
        }
        for dropout in [1.0, -0.1, f32::NAN] {
            refused(RetrainSettings { dropout, ..settings.clone() }, "dropout = ");
        }
        for decay_factor in [0.0, 1.1, f32::NAN] {
            refused(RetrainSettings { decay_factor, ..settings.clone() }, "decay_factor = ");
        }
        refused(
            RetrainSettings { epochs: 4, warmup_epochs: 5, ..settings.clone() },
            "warmup_epochs = 5",
        );
        refused(
            RetrainSettings {
                augmentation: Augmentation { resized_crop: 2.0, ..Augmentation::NONE },
                ..settings
            },
            "resized_crop = 2",
        );
    }

    #[test]
    fn the_rate_follows_decay_batch_and_warm_up() {
        let settings =
            RetrainSettings { epochs: 10, rate: 0.1, batch: 256, ..RetrainSettings::default() };
        let rates = |settings: &RetrainSettings| {
            [(0, 0), (0, 7), (5, 0), (9, 7)].map(|(epoch, step)| settings.rate_at(epoch, step, 8))
        };
        let close = |found: [f32; 4], expected: [f32; 4]| {
            assert!(
                found
                    .iter()
                    .zip(&expected)
                    .all(|(found, expected)| (found - expected).abs() < 1e-6),
                "{found:?}, expected {expected:?}"
            );
        };
        close(rates(&settings), [0.1, 0.1, 0.05, 0.002_447_2]);
        let exponential =
            RetrainSettings { decay: Decay::Exponential, decay_factor: 0.5, ..settings.clone() };
        close(rates(&exponential), [0.1, 0.1, 0.003_125, 0.000_195_3]);
        // Twice the batch of the reference, twice the rate; the first of 16 steps of the warm-up
        // has a sixteenth of it.
        let scaled = RetrainSettings {
            decay: Decay::Linear,
            reference_batch: 128,
            warmup_epochs: 2,
            ..settings
        };
        close(rates(&scaled), [0.0125, 0.1, 0.1, 0.02]);
    }

    #[test]
    fn a_recipe_names_what_is_on_and_nothing_else() {
        let plain = RetrainSettings {
            drop_path: 0.0,
            auxiliary: 0.0,
            augmentation: Augmentation::NONE,
            ..RetrainSettings::default()
        };
        let plain = plain.recipe().join("; ");
        let augmentation = Augmentation {
            resized_crop: 0.08,
            auto_augment: AutoAugment::Imagenet,
            color_jitter: ColorJitter { hue: 0.2, ..ColorJitter::OFF },
            ..Augmentation::CIFAR
        };
        let (ema, smoothing, dropout, test_flips, warmup_epochs, reference_batch) =
            (0.999, 0.1, 0.2, true, 5, 128);
        let all = RetrainSettings {
            augmentation,
            ema,
            smoothing,
            dropout,
            test_flips,
            warmup_epochs,
            reference_batch,
            ..RetrainSettings::default()
        };
        let all = all.recipe().join("; ");
        let optional = [
            "drop-path",
            "dropout 0.2",
            "auxiliary",
            "smoothing",
            "resized crop",
            "padding",
            "flip;",
            "AutoAugment",
            "jitter",
            "cutout",
            "average of weights 0.999",
            "test-time flips",
            "warm-up",
            "scaled",
        ];
        for part in optional {
            assert!(all.contains(part) && !plain.contains(part), "{part}: {all} | {plain}");
        }
    }
}
