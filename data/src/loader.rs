use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};

use crate::augment::{Augmentation, Placement};
use crate::dataset::Dataset;
use crate::error::DataError;
use crate::normalization::Normalization;
use crate::random::{Purpose, shuffle, stream};

/// The order in which an epoch visits its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// As the indices are given.
    Sequential,
    /// A permutation that depends on seed and epoch only.
    Shuffled,
}

/// What a [`Loader`] yields and how it works.
#[derive(Clone, Debug)]
pub struct LoaderConfig {
    /// Where the images come from.
    pub dataset: Arc<Dataset>,
    /// The images of the epoch.
    pub indices: Vec<u32>,
    /// Constants for the data set's channels.
    pub normalization: Normalization,
    /// Random changes to the images.
    pub augmentation: Augmentation,
    /// Images in a batch, at least one; the last batch may have fewer.
    pub batch_size: usize,
    /// Order of the images.
    pub order: Order,
    /// With `epoch`, determines order and augmentation.
    pub seed: u64,
    /// Number of the epoch.
    pub epoch: u64,
    /// Leave out a last batch that is not full.
    pub drop_last: bool,
    /// The batch to start with: 0, or where an interrupted epoch goes on.
    pub first_batch: usize,
    /// Batches that may be in preparation or waiting at a time, which bounds memory; 0 is taken as 1. Threads beyond
    /// this number idle.
    pub prefetch: usize,
    /// Threads that prepare batches, each a whole one; 0 is taken as 1.
    pub threads: usize,
    /// Whether batches have pixels. Without them no image is read: who has the images elsewhere does what the placements say.
    pub pixels: bool,
}

impl LoaderConfig {
    /// All images in order, unchanged but normalised, with one thread: for evaluation, and to be varied.
    #[must_use]
    pub fn sequential(dataset: Arc<Dataset>, normalization: Normalization, batch_size: usize) -> Self {
        Self {
            indices: dataset.indices(),
            dataset,
            normalization,
            augmentation: Augmentation::NONE,
            batch_size,
            order: Order::Sequential,
            seed: 0,
            epoch: 0,
            drop_last: false,
            first_batch: 0,
            prefetch: 2,
            threads: 1,
            pixels: true,
        }
    }
}

/// Some images, ready for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Number of the batch within the epoch, from 0.
    pub index: usize,
    /// Normalised pixels: [n, channels, height, width]; nothing where [`LoaderConfig::pixels`] is not set.
    pub images: Vec<f32>,
    /// Labels: `[n]`.
    pub labels: Vec<u32>,
    /// Which images of the data set these are: `[n]`.
    pub indices: Vec<u32>,
    /// What was done to each of them, or is to be done: `[n]`.
    pub placements: Vec<Placement>,
}

/// The batches of one epoch, in order, prepared by background threads.
///
/// What is yielded depends on the configuration alone. A pixel depends on seed, epoch, number of the batch and position
/// in it; so starting at `first_batch` yields exactly what an uninterrupted epoch yields from there on, and neither
/// threads nor timing matter. An image that cannot be read makes its batch an error; the batches after it still come.
///
/// Dropping the loader stops its threads: each finishes at most the image it is at.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Loader {
    /// Checks the configuration and starts the threads.
    ///
    /// # Errors
    /// When the batch size is 0, an index is beyond the end of the data set, the normalisation has not the channels of
    /// the images, or `first_batch` lies beyond the end of the epoch.
    pub fn new(config: LoaderConfig) -> Result<Self, DataError> {
        let threads = config.threads.max(1);
        let shared = Arc::new(Shared::new(config)?);
        // There is never more work at a time than the queue has room for.
        let useful = threads.min(shared.room).min(shared.end - shared.first);
        let mut loader = Self { shared, threads: Vec::with_capacity(useful) };
        for number in 0..useful {
            let shared = Arc::clone(&loader.shared);
            let thread = thread::Builder::new().name(format!("loader-{number}")).spawn(move || shared.work());
            match thread {
                Ok(thread) => loader.threads.push(thread),
                Err(error) => {
                    return Err(DataError::Loader { detail: format!("cannot start thread {number}: {error}") });
                }
            }
        }
        Ok(loader)
    }

    /// Batches of a whole epoch, whichever was the first.
    #[must_use]
    pub fn batches_per_epoch(&self) -> usize {
        self.shared.end
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut queue = self.shared.lock();
        let wanted = queue.taken;
        if wanted >= self.shared.end {
            return None;
        }
        let batch = loop {
            match queue.ready.remove(&wanted) {
                Some(batch) => break batch,
                None => queue = wait(&self.shared.batch_ready, queue),
            }
        };
        queue.taken += 1;
        drop(queue);
        self.shared.room_free.notify_one();
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.shared.end - self.shared.lock().taken;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        // The flag is set under the lock: a thread that has just found the queue full must not miss the wake-up.
        let queue = self.shared.lock();
        self.shared.stopped.store(true, Ordering::Relaxed);
        drop(queue);
        self.shared.room_free.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was turned into an error for the consumer; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// The order in which an epoch visits `indices`.
#[must_use]
pub fn epoch_order(mut indices: Vec<u32>, order: Order, seed: u64, epoch: u64) -> Vec<u32> {
    match order {
        Order::Sequential => {}
        Order::Shuffled => shuffle(&mut stream(Purpose::Order, seed, epoch, 0, 0), &mut indices),
    }
    indices
}

/// What consumer and threads have in common.
#[derive(Debug)]
struct Shared {
    dataset: Arc<Dataset>,
    /// The images of the epoch in the order of the epoch.
    order: Vec<u32>,
    /// Normalised values per channel.
    tables: Vec<[f32; 256]>,
    augmentation: Augmentation,
    pixels: bool,
    batch_size: usize,
    seed: u64,
    epoch: u64,
    /// First batch to yield.
    first: usize,
    /// One more than the last batch.
    end: usize,
    /// Batches in preparation or waiting.
    room: usize,
    queue: Mutex<Queue>,
    batch_ready: Condvar,
    room_free: Condvar,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Queue {
    /// The next batch that a thread will prepare.
    next: usize,
    /// Batches before this one were yielded.
    taken: usize,
    ready: BTreeMap<usize, Result<Batch, DataError>>,
}

impl Shared {
    fn new(config: LoaderConfig) -> Result<Self, DataError> {
        let wrong = |detail: String| Err(DataError::Loader { detail });
        let channels = config.normalization.channels()?;
        let shape = config.dataset.shape();
        if channels != shape.channels {
            let detail = format!("constants for {channels} channels, but the images are {shape}");
            return Err(DataError::Normalization { detail });
        }
        if config.batch_size == 0 {
            return wrong("the batch size is 0".to_owned());
        }
        let len = config.dataset.len();
        if let Some(&index) = config.indices.iter().find(|&&index| index as usize >= len) {
            let name = config.dataset.name().to_owned();
            return Err(DataError::NoSuchImage { name, len, index: index as usize });
        }
        let images = config.indices.len();
        let end = if config.drop_last { images / config.batch_size } else { images.div_ceil(config.batch_size) };
        let first = config.first_batch;
        if first > end {
            return wrong(format!("the first batch is {first}, but the epoch has {end} batches"));
        }
        Ok(Self {
            order: epoch_order(config.indices, config.order, config.seed, config.epoch),
            dataset: config.dataset,
            tables: config.normalization.tables(),
            augmentation: config.augmentation,
            pixels: config.pixels,
            batch_size: config.batch_size,
            seed: config.seed,
            epoch: config.epoch,
            first,
            end,
            room: config.prefetch.max(1),
            queue: Mutex::new(Queue { next: first, taken: first, ready: BTreeMap::new() }),
            batch_ready: Condvar::new(),
            room_free: Condvar::new(),
            stopped: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn work(&self) {
        let mut scratch = Vec::new();
        while let Some(index) = self.claim() {
            let made = catch_unwind(AssertUnwindSafe(|| self.make(index, &mut scratch)));
            let batch = made.unwrap_or_else(|panic| Some(Err(DataError::LoaderFailed { batch: index, message: panic_message(&*panic) })));
            let Some(batch) = batch else { return };
            self.lock().ready.insert(index, batch);
            self.batch_ready.notify_one();
        }
    }

    /// The next batch to prepare, as soon as there is room; none when there is nothing left to do.
    fn claim(&self) -> Option<usize> {
        let mut queue = self.lock();
        loop {
            if self.stopped.load(Ordering::Relaxed) || queue.next >= self.end {
                return None;
            }
            if queue.next - queue.taken < self.room {
                queue.next += 1;
                return Some(queue.next - 1);
            }
            queue = wait(&self.room_free, queue);
        }
    }

    /// Prepares one batch; none when the loader was dropped meanwhile.
    fn make(&self, index: usize, scratch: &mut Vec<u8>) -> Option<Result<Batch, DataError>> {
        let start = index * self.batch_size;
        let indices = self.order[start..self.order.len().min(start.saturating_add(self.batch_size))].to_vec();
        let placements: Vec<Placement> = (0..).zip(&indices).map(|(position, _)| self.place(index, position)).collect();
        let images = if self.pixels { self.paint(&indices, &placements, scratch)? } else { Ok(Vec::new()) };
        let labels = indices.iter().filter_map(|&image| self.dataset.label(image as usize)).collect();
        Some(images.map(|images| Batch { index, images, labels, indices, placements }))
    }

    /// Draws what happens to the image at a position of a batch.
    fn place(&self, batch: usize, position: u64) -> Placement {
        let mut rng = stream(Purpose::Augmentation, self.seed, self.epoch, batch as u64, position);
        self.augmentation.place(self.dataset.shape(), &mut rng)
    }

    /// The pixels of a batch; none when the loader was dropped meanwhile.
    fn paint(&self, indices: &[u32], placements: &[Placement], scratch: &mut Vec<u8>) -> Option<Result<Vec<f32>, DataError>> {
        let shape = self.dataset.shape();
        let mut images = vec![0.0; indices.len() * shape.values()];
        for ((&image, placement), out) in indices.iter().zip(placements).zip(images.chunks_exact_mut(shape.values())) {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            match self.dataset.pixels(image as usize, scratch) {
                Ok(pixels) => placement.paint(pixels, shape, &self.tables, out),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(images))
    }
}

fn wait<'a>(signal: &Condvar, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    signal.wait(queue).unwrap_or_else(PoisonError::into_inner)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
