use adwp_data::{Augmentation, Order, epoch_order, split};
use adwp_engine::Device;
use adwp_models::{
    Dropped, Generator, GeneratorActivation, GeneratorInput, HypernetworkOptions, Skeleton,
};
use adwp_train::{BatchSource, Streams, TrainError, check_augmentation, check_settings};
use serde::{Deserialize, Serialize};

/// Settings of the intensive-space phase. The defaults are those of section 4.1 and of DARTS, which
/// it refers to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceSettings {
    /// Epochs of bilevel training.
    pub epochs: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
    /// K: candidates kept for each node.
    pub candidates: usize,
    /// n: how many epochs the superiority looks back.
    pub backtrack: usize,
    /// Learning rate of the weights at the start.
    pub rate: f32,
    /// Learning rate of the weights that the cosine ends at.
    pub rate_last: f32,
    /// Momentum of the weights.
    pub momentum: f32,
    /// L2 coefficient of the weights.
    pub weight_decay: f32,
    /// Largest norm of the weights' gradient.
    pub clip: f32,
    /// Learning rate of α.
    pub alpha_rate: f32,
    /// L2 coefficient of α, inside of Adam.
    pub alpha_weight_decay: f32,
    /// Share of the samples for which an identity is dropped in the first epoch; it falls to e⁻⁵ of
    /// that. 0 for none. The dropout on skip connections of P-DARTS (Chen et al., 2019, section
    /// 3.3), against a collapse to identities.
    pub identity_dropout: f32,
    /// End once the space has stayed the same for this many epochs; 0 for never. DARTS+ (Liang et
    /// al., 2019, section 3.2) stops so, before identities prevail.
    pub early_stop: usize,
    /// Validation images after each epoch; 0 for all.
    pub validation_images: usize,
    /// Changes to training images.
    pub augmentation: Augmentation,
}

impl Default for SpaceSettings {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch: 200,
            channels: 16,
            candidates: 6,
            backtrack: 2,
            rate: 0.025,
            rate_last: 0.001,
            momentum: 0.9,
            weight_decay: 3e-4,
            clip: 5.0,
            alpha_rate: 3e-4,
            alpha_weight_decay: 1e-3,
            identity_dropout: 0.0,
            early_stop: 0,
            validation_images: 0,
            augmentation: Augmentation { cutout: 0, ..Augmentation::CIFAR },
        }
    }
}

/// Which images α learns from in the search.
///
/// Algorithm 1 computes the loss from the training set in both stages; equations 11 and 12 name
/// both sets, the validation set outermost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlphaData {
    /// The images the generating blocks learn from (Algorithm 1).
    #[default]
    Train,
    /// The other half (equation 11).
    Validation,
}

/// What α is drawn in HyperNetwork training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlphaDraw {
    /// Normal values (Algorithm 1): mixtures of all candidates.
    #[default]
    Normal,
    /// That of an architecture drawn evenly, which is what scores of architectures ask of the
    /// HyperNetwork afterwards.
    Discrete,
}

/// Settings of HyperNetwork training and search. The defaults are those of section 4.2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchSettings {
    /// Epochs in all (I_total).
    pub epochs: usize,
    /// Epochs in which α is drawn afresh each iteration and only the generating blocks learn
    /// (I_train).
    pub hypernetwork_epochs: usize,
    /// First epoch in which the generating blocks learn together with α.
    pub cross_search_start: usize,
    /// First epoch after those.
    pub cross_search_end: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
    /// T: operations kept for each node.
    pub keep: usize,
    /// Width between the two linear layers of a generating block.
    pub hidden: usize,
    /// What a generating block reads of the architecture.
    pub generator_input: GeneratorInput,
    /// What stands between the two linear layers of a generating block; nothing in section 4.2.
    pub generator_activation: GeneratorActivation,
    /// Factor on the first values of a generating block's second layer, and so on the weights that
    /// it predicts at first.
    pub generator_gain: f32,
    /// Cells of the networks that the graph network of `ghn` learns from; 0 for as many as those
    /// that it scores.
    pub ghn_cells: usize,
    /// Which images α learns from.
    pub alpha_data: AlphaData,
    /// Learning rate of the generating blocks at the start of the cosine over all epochs.
    pub rate: f32,
    /// Learning rate of the generating blocks that the cosine ends at.
    pub rate_last: f32,
    /// Momentum of the generating blocks.
    pub momentum: f32,
    /// L2 coefficient of the generating blocks.
    pub weight_decay: f32,
    /// Largest norm of the generating blocks' gradient.
    pub clip: f32,
    /// What α is drawn in HyperNetwork training, and for the validation after its epochs. The search
    /// starts from normal values.
    pub alpha_draw: AlphaDraw,
    /// Standard deviation of the normal α drawn in HyperNetwork training.
    pub alpha_sd: f32,
    /// Standard deviation of the normal α that the search starts from. That of DARTS, whose
    /// settings section 4.2 refers to for what it does not name.
    pub alpha_start_sd: f32,
    /// Learning rate of α.
    pub alpha_rate: f32,
    /// L2 coefficient of α, inside of Adam.
    pub alpha_weight_decay: f32,
    /// How much an expected architecture that is twice as costly as a limit allows adds to the loss
    /// that α lowers.
    pub limit_strength: f32,
    /// Share of the samples for which an identity is dropped in the first epoch; it falls to e⁻⁵ of
    /// that. 0 for none. The dropout on skip connections of P-DARTS (Chen et al., 2019, section
    /// 3.3), against a collapse to identities.
    pub identity_dropout: f32,
    /// End once the architecture has stayed the same for this many epochs; 0 for never. DARTS+
    /// (Liang et al., 2019, section 3.2) stops so, before identities prevail.
    pub early_stop: usize,
    /// Training images that BatchNorm statistics are recomputed on before an architecture is
    /// scored.
    pub recalibration_images: usize,
    /// Validation images after each epoch; 0 for all.
    pub validation_images: usize,
    /// Changes to training images.
    pub augmentation: Augmentation,
}

impl Default for SearchSettings {
    fn default() -> Self {
        Self {
            epochs: 120,
            hypernetwork_epochs: 60,
            cross_search_start: 90,
            cross_search_end: 100,
            batch: 98,
            channels: 16,
            keep: 2,
            hidden: 64,
            generator_input: GeneratorInput::Node,
            generator_activation: GeneratorActivation::None,
            generator_gain: 1.0,
            ghn_cells: 0,
            alpha_data: AlphaData::Train,
            rate: 0.025,
            rate_last: 0.0,
            momentum: 0.9,
            weight_decay: 3e-4,
            clip: 5.0,
            alpha_draw: AlphaDraw::Normal,
            alpha_sd: 1.0,
            alpha_start_sd: 1e-3,
            alpha_rate: 3e-4,
            alpha_weight_decay: 1e-3,
            limit_strength: 1.0,
            identity_dropout: 0.0,
            early_stop: 0,
            recalibration_images: 980,
            validation_images: 0,
            augmentation: Augmentation { cutout: 0, ..Augmentation::CIFAR },
        }
    }
}

/// What a search phase works on.
#[derive(Clone, Debug)]
pub struct Data {
    /// Sizes of the network that is searched; its channels are those of the settings of the phase.
    pub skeleton: Skeleton,
    /// Sizes of the network that the architecture is for: params and multiply-adds are those of
    /// this network, and limits hold for it.
    pub target: Skeleton,
    /// The half of the training images that weights learn from.
    pub train: BatchSource,
    /// The other half.
    pub validation: BatchSource,
    /// Random numbers of the run.
    pub streams: Streams,
    /// What the engine computes on.
    pub device: Device,
}

impl Data {
    /// Divides `images` at random: `train_share` of them for weights, the rest for α and
    /// validation. The architecture is for a network of the sizes of `target`; channels apart, it
    /// is searched at these sizes.
    ///
    /// Both parts are in random order, so that the first images of each are of all classes, however
    /// the data set is sorted.
    pub fn new(
        target: Skeleton,
        images: &BatchSource,
        train_share: f64,
        streams: Streams,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let (train, validation) = split(&images.indices, train_share, streams.seed_for("halves"))?;
        let part = |indices, purpose| {
            let indices = epoch_order(indices, Order::Shuffled, streams.seed_for(purpose), 0);
            BatchSource { indices, ..images.clone() }
        };
        let (train, validation) =
            (part(train, "halves/train"), part(validation, "halves/validation"));
        Ok(Self { skeleton: target, target, train, validation, streams, device: device.clone() })
    }

    /// This data in batches of another size.
    pub(crate) fn with_batch(&self, batch: usize, channels: usize) -> Self {
        let mut data = self.clone();
        (data.train.batch, data.validation.batch) = (batch, batch);
        data.skeleton.channels = channels;
        data
    }
}

fn is_share(dropout: f32) -> bool {
    (0.0..1.0).contains(&dropout)
}

/// What a network gets for its identities to be dropped.
fn dropped(identity_dropout: f32) -> Dropped {
    if identity_dropout > 0.0 { Dropped::Identities } else { Dropped::Nothing }
}

impl SpaceSettings {
    /// What the relaxation can drop in training.
    pub(crate) fn dropped(&self) -> Dropped {
        dropped(self.identity_dropout)
    }
}

impl SearchSettings {
    /// How the HyperNetwork is built for training.
    pub(crate) fn hypernetwork(&self) -> HypernetworkOptions {
        let generator = Generator {
            hidden: self.hidden,
            activation: self.generator_activation,
            gain: self.generator_gain,
        };
        HypernetworkOptions {
            generator,
            input: self.generator_input,
            dropped: dropped(self.identity_dropout),
        }
    }
}

/// Widest middle of a generating block that makes sense.
const LARGEST_HIDDEN: usize = 1 << 12;

impl SpaceSettings {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), TrainError> {
        let numbers = [
            ("rate", self.rate),
            ("rate_last", self.rate_last),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
            ("alpha_rate", self.alpha_rate),
            ("alpha_weight_decay", self.alpha_weight_decay),
        ];
        check_settings("space", self.batch, &numbers)?;
        check_augmentation("space", &self.augmentation)?;
        let fail = |message: String| Err(TrainError::Settings(format!("space.{message}")));
        match self {
            s if s.epochs <= s.backtrack => {
                fail(format!("epochs = {} must exceed backtrack = {}", s.epochs, s.backtrack))
            }
            s if !is_share(s.identity_dropout) => fail(format!(
                "identity_dropout = {} must be at least 0 and below 1",
                s.identity_dropout
            )),
            s if !(2..=14).contains(&s.candidates) => fail(format!(
                "candidates = {} is not in 2 to 14, the pairs of the first node",
                s.candidates
            )),
            _ => Ok(()),
        }
    }
}

impl SearchSettings {
    /// Checks what the types do not.
    pub fn validate(&self) -> Result<(), TrainError> {
        let numbers = [
            ("rate", self.rate),
            ("rate_last", self.rate_last),
            ("momentum", self.momentum),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
            ("generator_gain", self.generator_gain),
            ("limit_strength", self.limit_strength),
            ("alpha_sd", self.alpha_sd),
            ("alpha_start_sd", self.alpha_start_sd),
            ("alpha_rate", self.alpha_rate),
            ("alpha_weight_decay", self.alpha_weight_decay),
        ];
        check_settings("search", self.batch, &numbers)?;
        check_augmentation("search", &self.augmentation)?;
        let fail = |message: String| Err(TrainError::Settings(format!("search.{message}")));
        match self {
            s if s.hypernetwork_epochs >= s.epochs => fail(format!(
                "hypernetwork_epochs = {} must be below epochs = {}",
                s.hypernetwork_epochs, s.epochs
            )),
            s if !(s.hypernetwork_epochs <= s.cross_search_start
                && s.cross_search_start <= s.cross_search_end
                && s.cross_search_end <= s.epochs) =>
            {
                fail(
                    "hypernetwork_epochs ≤ cross_search_start ≤ cross_search_end ≤ epochs must \
                     hold"
                        .into(),
                )
            }
            s if s.keep == 0 => fail("keep = 0 must be at least 1".into()),
            s if !(1..=LARGEST_HIDDEN).contains(&s.hidden) => {
                fail(format!("hidden = {} is not in 1 to {LARGEST_HIDDEN}", s.hidden))
            }
            s if !is_share(s.identity_dropout) => fail(format!(
                "identity_dropout = {} must be at \
                 least 0 and below 1",
                s.identity_dropout
            )),
            s if s.recalibration_images < s.batch => fail(format!(
                "recalibration_images = {} must be at least one batch of {}",
                s.recalibration_images, s.batch
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use adwp_data::{Dataset, ImageShape, Normalization};
    use adwp_models::Stem;
    use std::sync::Arc;

    /// Black images of 4×4 pixels in two halves, and a device that nobody else uses.
    pub(crate) fn black_images(count: usize) -> Data {
        let shape = ImageShape { channels: 1, height: 4, width: 4 };
        let labels = (0..count as u32).map(|i| i % 2).collect();
        let pixels = vec![0; count * shape.values()];
        let dataset = Dataset::from_memory(
            "black",
            ["a", "b"].map(str::to_owned).to_vec(),
            shape,
            labels,
            pixels,
        )
        .unwrap();
        let normalization = Normalization { mean: vec![0.0], std: vec![1.0] };
        let images = BatchSource {
            indices: dataset.indices(),
            dataset: Arc::new(dataset),
            normalization,
            batch: 1,
            stored: None,
        };
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 1, classes: 2, image: [1, 4, 4] };
        Data::new(skeleton, &images, 0.5, Streams::new(5), &Device::cpu(1).unwrap()).unwrap()
    }

    #[test]
    fn the_first_images_of_both_parts_are_of_all_classes() {
        // Sorted by class, as an image folder is.
        let labels: Vec<u32> = (0..400).map(|i| i / 100).collect();
        let classes = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let dataset = Arc::new(
            Dataset::from_memory("sorted", classes, shape, labels.clone(), vec![0; 400]).unwrap(),
        );
        let images = BatchSource {
            indices: dataset.indices(),
            dataset,
            normalization: Normalization { mean: vec![0.0], std: vec![1.0] },
            batch: 1,
            stored: None,
        };
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 1, classes: 4, image: [1, 4, 4] };
        let data =
            Data::new(skeleton, &images, 0.25, Streams::new(5), &Device::cpu(1).unwrap()).unwrap();
        for part in [&data.train.indices, &data.validation.indices] {
            for class in 0..4 {
                let count = part[..40].iter().filter(|i| labels[**i as usize] == class).count();
                assert!((2..=20).contains(&count), "{count} of class {class} among the first 40");
            }
        }
        let mut all = [data.train.indices.clone(), data.validation.indices.clone()].concat();
        all.sort_unstable();
        assert_eq!((data.train.indices.len(), all), (100, images.indices));
    }
}
