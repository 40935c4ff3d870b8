use std::sync::Arc;
use std::thread;

use adwp_data::{
    Augmentation, DataError, Dataset, Loader, LoaderConfig, Normalization, Order, Placement,
};
use adwp_engine::cuda::{ImageStore, StoredView};
use adwp_engine::{Device, Feed};

use crate::{Result, StoredImages, TrainError};

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
    /// Where a GPU has all of `indices`, with these constants; else batches are prepared on the
    /// host. [`store_images`] sets it.
    ///
    /// The GPU crops, mirrors and cuts out. Batches whose augmentation [changes
    /// pixels](Augmentation::changes_pixels) are prepared on the host all the same.
    pub stored: Option<Arc<StoredImages>>,
}

/// Some images, ready for an executor.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Labels: `[n]`.
    pub labels: Vec<u32>,
    images: Images,
}

#[derive(Clone, Debug)]
enum Images {
    /// Normalised pixels: [n, channels, height, width].
    Values(Vec<f32>),
    /// What the GPU makes them of.
    Stored(Arc<ImageStore>, Vec<StoredView>),
}

/// The batches of a walk over the images of a [`BatchSource`].
#[derive(Debug)]
pub struct Batches {
    loader: Loader,
    /// Where they are stored.
    stored: Option<(Arc<StoredImages>, Arc<ImageStore>)>,
}

/// Batches prepared ahead of the step that takes them.
const PREFETCH: usize = 4;

/// Plans to keep the images of `sources` in the memory of `device`, where that is a GPU and what is
/// stored takes no more than half of what is free there. Sources of the same data set share one
/// store. Nothing is taken before the first batch is asked for.
///
/// Batches have the same bits as those that are prepared on the host. Those whose augmentation
/// changes pixels still are: see [`BatchSource::stored`].
///
/// # Errors
/// [`TrainError::Engine`](crate::TrainError::Engine) when the GPU does not answer.
pub fn store_images(sources: &mut [&mut BatchSource], device: &Device) -> Result<()> {
    let Device::Cuda(device) = device else { return Ok(()) };
    let mut room = device.available_bytes()? / 2;
    for first in 0..sources.len() {
        if sources[first].stored.is_some() {
            continue;
        }
        let (dataset, normalization) =
            (Arc::clone(&sources[first].dataset), sources[first].normalization.clone());
        let is_alike = |source: &BatchSource| {
            Arc::ptr_eq(&source.dataset, &dataset) && source.normalization == normalization
        };
        let alike: Vec<usize> = (first..sources.len()).filter(|&i| is_alike(sources[i])).collect();
        let mut images: Vec<u32> =
            alike.iter().flat_map(|&i| &sources[i].indices).copied().collect();
        images.sort_unstable();
        images.dedup();
        let stored = StoredImages::new(dataset, normalization, images, device.clone());
        if let Some(left) = room.checked_sub(stored.bytes() as u64) {
            room = left;
            let stored = Arc::new(stored);
            alike.iter().for_each(|&i| sources[i].stored = Some(Arc::clone(&stored)));
        }
    }
    Ok(())
}

/// Bytes that the stores of `sources` take together of the GPU's memory, once they are filled.
pub fn stored_bytes(sources: &[&BatchSource]) -> usize {
    let mut stores: Vec<&Arc<StoredImages>> = Vec::new();
    for stored in sources.iter().filter_map(|source| source.stored.as_ref()) {
        if !stores.iter().any(|known| Arc::ptr_eq(known, stored)) {
            stores.push(stored);
        }
    }
    stores.iter().map(|stored| stored.bytes()).sum()
}

impl BatchSource {
    /// Full batches in an epoch.
    ///
    /// # Errors
    /// [`TrainError::Settings`] when there are too few images for one.
    pub fn steps(&self) -> Result<usize> {
        match self.indices.len() / self.batch.max(1) {
            0 => {
                let (images, batch) = (self.indices.len(), self.batch);
                Err(TrainError::Settings(format!(
                    "{images} images do not fill a batch of {batch}: take more images or a \
                     smaller batch"
                )))
            }
            steps => Ok(steps),
        }
    }

    /// The full batches of a shuffled, augmented epoch from batch `first` on. They have the same
    /// bits wherever they are prepared.
    pub fn shuffled(
        &self,
        augmentation: Augmentation,
        seed: u64,
        epoch: usize,
        first: usize,
    ) -> Result<Batches> {
        self.batches(LoaderConfig {
            indices: self.indices.clone(),
            order: Order::Shuffled,
            seed,
            epoch: epoch as u64,
            drop_last: true,
            first_batch: first,
            ..self.config(augmentation)
        })
    }

    /// All images in order, unchanged; the last batch may be smaller. `limit` images at most, 0 for
    /// all.
    pub fn in_order(&self, limit: usize) -> Result<Batches> {
        self.batches(self.config_in_order(limit))
    }

    /// The batches of [`Self::in_order`] with all pixels, for who computes without an executor.
    pub fn arrays(&self, limit: usize) -> Result<Loader> {
        Ok(Loader::new(self.config_in_order(limit))?)
    }

    /// Bytes of the batches that exist at a time while the images are walked with `augmentation`:
    /// those prepared ahead, and the one in use.
    pub fn bytes_in_flight(&self, augmentation: &Augmentation) -> usize {
        let batches = (PREFETCH + 1).min(self.indices.len().div_ceil(self.batch.max(1)));
        let pixels = if self.store_for(augmentation).is_some() {
            0
        } else {
            self.dataset.shape().values() * size_of::<f32>()
        };
        // For each image the pixels, a label, an index and a placement.
        let image = pixels + 2 * size_of::<u32>() + size_of::<Placement>();
        batches * self.batch * image
    }

    /// The images on a GPU that makes the batches of a walk with `augmentation`; none where the
    /// host does.
    fn store_for(&self, augmentation: &Augmentation) -> Option<&Arc<StoredImages>> {
        self.stored.as_ref().filter(|_| !augmentation.changes_pixels())
    }

    fn batches(&self, config: LoaderConfig) -> Result<Batches> {
        let stored = self.store_for(&config.augmentation).cloned();
        let loader = Loader::new(LoaderConfig { pixels: stored.is_none(), ..config })?;
        let filled = |stored: Arc<StoredImages>| -> Result<_> {
            let store = stored.store()?;
            Ok((stored, store))
        };
        Ok(Batches { loader, stored: stored.map(filled).transpose()? })
    }

    fn config_in_order(&self, limit: usize) -> LoaderConfig {
        let count = if limit == 0 { self.indices.len() } else { limit.min(self.indices.len()) };
        LoaderConfig { indices: self.indices[..count].to_vec(), ..self.config(Augmentation::NONE) }
    }

    fn config(&self, augmentation: Augmentation) -> LoaderConfig {
        // One thread copies images faster than any executor takes them. To decode a file, to scale
        // an image or to change its pixels takes milliseconds.
        let is_costly = self.dataset.is_costly() || augmentation.changes_pixels();
        let threads =
            if is_costly { thread::available_parallelism().map_or(1, usize::from) } else { 1 };
        let config = LoaderConfig::sequential(
            Arc::clone(&self.dataset),
            self.normalization.clone(),
            self.batch,
        );
        LoaderConfig { augmentation, threads, prefetch: PREFETCH, ..config }
    }
}

impl Batch {
    /// The images as an executor takes them: [n, channels, height, width].
    pub fn feed(&self) -> Feed<'_> {
        match &self.images {
            Images::Values(values) => values.into(),
            Images::Stored(images, places) => Feed::Stored { images, places },
        }
    }

    /// The same images mirrored left and right; `width` is theirs in pixels.
    pub(crate) fn mirrored(&self, width: usize) -> Self {
        let mut batch = self.clone();
        match &mut batch.images {
            Images::Values(values) => values.chunks_exact_mut(width).for_each(<[f32]>::reverse),
            Images::Stored(_, places) => {
                places.iter_mut().for_each(|place| place.mirrored = !place.mirrored)
            }
        }
        batch
    }

    /// Appends some images, without labels, to a batch that is not empty until there are `images`.
    pub(crate) fn fill_up(&mut self, images: usize) {
        match &mut self.images {
            Images::Values(values) => values.resize(values.len() / self.labels.len() * images, 0.0),
            Images::Stored(_, places) => places.resize(images, StoredView::default()),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.loader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let images = match &self.stored {
            None => Images::Values(batch.images),
            Some((stored, store)) => {
                let places = batch
                    .indices
                    .iter()
                    .zip(&batch.placements)
                    .map(|(&index, placement)| stored.place(index, placement));
                Images::Stored(Arc::clone(store), places.collect())
            }
        };
        Some(Ok(Batch { labels: batch.labels, images }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.loader.size_hint()
    }
}

impl ExactSizeIterator for Batches {}
