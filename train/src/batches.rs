use std::sync::Arc;

use adwp_data::{Augmentation, Batch, DataError, Dataset, Loader, LoaderConfig, Normalization, Order};

use crate::{Result, TrainError};

/// Images of one data set that a phase trains on or validates with.
#[derive(Clone, Debug)]
pub struct BatchSource {
    /// Where they come from.
    pub dataset: Arc<Dataset>,
    /// Which of them.
    pub indices: Vec<u32>,
    /// Constants for the data set's channels.
    pub normalization: Normalization,
    /// Images in a batch.
    pub batch: usize,
}

/// Batches prepared ahead of the step that takes them.
const PREFETCH: usize = 4;

impl BatchSource {
    /// Full batches in an epoch.
    ///
    /// # Errors
    /// [`TrainError::Settings`] when there are too few images for one.
    pub fn steps(&self) -> Result<usize> {
        match self.indices.len() / self.batch.max(1) {
            0 => {
                let (images, batch) = (self.indices.len(), self.batch);
                Err(TrainError::Settings(format!("{images} images do not fill a batch of {batch}: take more images or a smaller batch")))
            }
            steps => Ok(steps),
        }
    }

    /// The full batches of a shuffled, augmented epoch from batch `first` on.
    pub fn shuffled(&self, augmentation: Augmentation, seed: u64, epoch: usize, first: usize) -> Result<Loader> {
        Ok(Loader::new(LoaderConfig {
            indices: self.indices.clone(),
            augmentation,
            order: Order::Shuffled,
            seed,
            epoch: epoch as u64,
            drop_last: true,
            first_batch: first,
            ..self.config()
        })?)
    }

    /// All images in order, unchanged; the last batch may be smaller. `limit` images at most, 0 for all.
    pub fn in_order(&self, limit: usize) -> Result<impl ExactSizeIterator<Item = Result<Batch, DataError>> + use<>> {
        let count = if limit == 0 { self.indices.len() } else { limit.min(self.indices.len()) };
        Ok(Loader::new(LoaderConfig { indices: self.indices[..count].to_vec(), ..self.config() })?)
    }

    /// Bytes of the batches that exist at a time while the images are walked: those prepared ahead, and the one in use.
    pub fn bytes_in_flight(&self) -> usize {
        let batches = (PREFETCH + 1).min(self.indices.len().div_ceil(self.batch.max(1)));
        // Beside the pixels, a label and an index for each image.
        let image = self.dataset.shape().values() * size_of::<f32>() + 2 * size_of::<u32>();
        batches * self.batch * image
    }

    fn config(&self) -> LoaderConfig {
        LoaderConfig { prefetch: PREFETCH, ..LoaderConfig::sequential(Arc::clone(&self.dataset), self.normalization.clone(), self.batch) }
    }
}
