//! Which images a run trains and tests with.

use std::sync::Arc;

use adwp_base::{Failure, Result};
use adwp_data::{Dataset, OpenOptions, Part, Splits, open_part, split, undivided};
use adwp_engine::Device;
use adwp_export::Network;
use adwp_models::zoo::Width;
use adwp_models::{Blueprint, ModelError, Skeleton};
use adwp_search::Data;
use adwp_train::{BatchSource, Reporter, Streams};

use crate::architecture::RunArchitecture;
use crate::config::Config;
use crate::skipped::Skipped;

/// Test images in a batch of the engine; a size of its own so that results do not depend on
/// training settings.
const TEST_BATCH: usize = 50;

/// The images of a run.
pub(crate) struct Images {
    /// All that retraining uses.
    pub(crate) train: BatchSource,
    /// Those of them that the search uses.
    pub(crate) search: BatchSource,
    pub(crate) test: BatchSource,
}

/// A width is for networks that are no stack of cells.
fn check_width(config: &Config) -> Result<(), ModelError> {
    match config.retrain.width {
        Width::PUBLISHED => Ok(()),
        width => Err(ModelError::Invalid(format!(
            "retrain.width = {width} is for networks that are no stack of cells: these have \
             retrain.channels"
        ))),
    }
}

impl Images {
    /// The images that the settings say; those of the search count only where there is one
    /// `to_search`.
    pub(crate) fn choose(
        config: &Config,
        splits: Splits,
        skipped: &Skipped,
        streams: Streams,
        to_search: bool,
    ) -> Result<Self> {
        let Splits { train, test, normalization } = splits;
        let normalization = config.normalization(train.shape())?.unwrap_or(normalization);
        let source = |dataset: Arc<Dataset>, indices: Vec<u32>| {
            let normalization = normalization.clone();
            BatchSource { dataset, indices, normalization, batch: TEST_BATCH, stored: None }
        };
        let train_indices = skipped.train_indices(&train, config.train_images, streams)?;
        let test_indices = skipped.test_indices(&test, config.test_images, streams)?;
        let (train, test) = (source(train, train_indices), source(test, test_indices));
        let (wanted, available) = (config.search_images, train.indices.len());
        if wanted > available && to_search {
            return Err(Failure::input(format!(
                "search_images = {wanted} exceeds the {available} training images of the run"
            )));
        }
        let mut search = train.clone();
        if (1..=available).contains(&wanted) {
            (search.indices, _) = split(
                &train.indices,
                wanted as f64 / available as f64,
                streams.seed_for("subset/search"),
            )?;
        }
        Ok(Self { train, search, test })
    }

    /// Checks that the settings of retraining `architecture`, and where they are still `to_search`
    /// of the phases before it, fit the images.
    pub(crate) fn check(
        &self,
        architecture: Option<&RunArchitecture>,
        to_search: bool,
        config: &Config,
        streams: Streams,
        device: &Device,
    ) -> Result {
        match architecture {
            Some(architecture) => {
                let network = self.blueprint(config, architecture)?;
                config.retrain.check_network(&network)?;
                network.build(1, None)?;
            }
            None => {
                check_width(config)?;
                for channels in [config.space.channels, config.search.channels] {
                    self.skeleton(config, channels).validate()?;
                }
                self.skeleton(config, config.retrain.channels).validate()?;
            }
        }
        BatchSource { batch: config.retrain.batch, ..self.train.clone() }.steps()?;
        if !to_search {
            return Ok(());
        }
        let data = self.search_data(config, streams, device)?;
        for batch in [config.space.batch, config.search.batch] {
            for half in [&data.train, &data.validation] {
                BatchSource { batch, ..half.clone() }.steps()?;
            }
        }
        Ok(())
    }

    /// Bytes of the pixels that are in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        self.train.dataset.held_bytes() + self.test.dataset.held_bytes()
    }

    pub(crate) fn skeleton(&self, config: &Config, channels: usize) -> Skeleton {
        let shape = self.train.dataset.shape();
        let image = [shape.channels, shape.height, shape.width];
        Skeleton {
            stem: config.stem,
            cells: config.cells,
            channels,
            classes: self.train.dataset.classes().len(),
            image,
        }
    }

    /// An architecture at the sizes of retraining.
    ///
    /// # Errors
    /// When the sizes make no network, or a width is set for one of cells.
    pub(crate) fn blueprint(
        &self,
        config: &Config,
        architecture: &RunArchitecture,
    ) -> Result<Blueprint, ModelError> {
        if architecture.has_cells() {
            check_width(config)?;
        }
        let network = architecture.network(self.skeleton(config, config.retrain.channels))?;
        config.limits.filled(network.with_width(config.retrain.width))
    }

    /// A network of these images with the channels of retraining.
    pub(crate) fn network(
        &self,
        config: &Config,
        architecture: &RunArchitecture,
    ) -> Result<Network, ModelError> {
        Ok(Network {
            name: architecture.name().map(str::to_owned),
            blueprint: self.blueprint(config, architecture)?,
            dataset: config.dataset.to_string(),
            classes: self.train.dataset.classes().to_vec(),
            normalization: self.train.normalization.clone(),
        })
    }

    pub(crate) fn search_data(
        &self,
        config: &Config,
        streams: Streams,
        device: &Device,
    ) -> Result<Data> {
        Ok(Data::new(
            self.skeleton(config, config.retrain.channels),
            &self.search,
            config.train_share,
            streams,
            device,
        )?)
    }
}

impl Images {
    /// [`Self::search_data`] of the same images, scaled to squares of `side` pixels.
    pub(crate) fn scaled_search_data(
        &self,
        config: &Config,
        side: usize,
        streams: Streams,
        device: &Device,
    ) -> Result<Data> {
        let val_share = Some(config.val_share);
        let options = OpenOptions { image_size: Some(side), val_share };
        let train = open_part(config.dataset, config.data_dir(), Part::Train, &options)?;
        let scaled = BatchSource { dataset: Arc::new(train), ..self.search.clone() };
        let shape = scaled.dataset.shape();
        let skeleton = Skeleton {
            image: [shape.channels, shape.height, shape.width],
            ..self.skeleton(config, config.retrain.channels)
        };
        skeleton.validate()?;
        Ok(Data::new(skeleton, &scaled, config.train_share, streams, device)?)
    }
}

/// Opens the data set of the settings, and says where its images had to be divided.
pub(crate) fn open_splits(config: &Config, reporter: &mut dyn Reporter) -> Result<Splits> {
    let Config { dataset, image_size, val_share, .. } = *config;
    let options = OpenOptions {
        image_size: (image_size > 0).then_some(image_size),
        val_share: Some(val_share),
    };
    let splits = adwp_data::open(dataset, config.data_dir(), &options)?;
    if let Some(dir) = undivided(dataset, config.data_dir()) {
        reporter.message(&format!(
            "{}: no train/CLASS and val/CLASS, so what images show decides: {} are for training, {} \
             for testing (val_share = {val_share})",
            dir.display(),
            splits.train.len(),
            splits.test.len()
        ));
    }
    Ok(splits)
}
