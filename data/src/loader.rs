use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rand::Rng;
use rayon::{BroadcastContext, ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use crate::augment::{Augmentation, Canvas, Placement};
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
    /// Batches that may be in preparation or waiting at a time, which bounds memory; 0 is taken as
    /// 1.
    pub prefetch: usize,
    /// Threads that prepare images, several of them those of one batch; 0 is taken as 1. Without
    /// pixels one is enough.
    pub threads: usize,
    /// Whether batches have pixels. Without them no image is read: who has the images elsewhere
    /// does what the placements say, which is all of it only where the augmentation does not
    /// [change pixels](Augmentation::changes_pixels).
    pub pixels: bool,
}

impl LoaderConfig {
    /// All images in order, unchanged but normalised, with one thread: for evaluation, and to be
    /// varied.
    #[must_use]
    pub fn sequential(
        dataset: Arc<Dataset>,
        normalization: Normalization,
        batch_size: usize,
    ) -> Self {
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
    /// Normalised pixels: [n, channels, height, width]; nothing where [`LoaderConfig::pixels`] is
    /// not set.
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
/// What is yielded depends on the configuration alone. A pixel depends on seed, epoch, number of
/// the batch and position in it; so starting at `first_batch` yields exactly what an uninterrupted
/// epoch yields from there on, and neither threads nor timing matter. An image that cannot be read
/// makes its batch an error, that of the first such image; the batches after it still come.
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
    /// When the batch size is 0, an index is beyond the end of the data set, the normalisation has
    /// not the channels of the images, `first_batch` lies beyond the end of the epoch, the
    /// augmentation cannot be done, or it changes pixels and batches are to have none.
    pub fn new(config: LoaderConfig) -> Result<Self, DataError> {
        let threads = if config.pixels { config.threads.max(1) } else { 1 };
        let shared = Arc::new(Shared::new(config)?);
        let failed = |what: &str, error: &dyn Display| {
            DataError::Loader(format!("cannot start {what}: {error}"))
        };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("loader-{number}"))
            .build();
        let pool = Arc::new(pool.map_err(|error| failed("threads", &error))?);
        // While the last images of a batch are prepared, threads that find none left go on with the
        // next batch. There is never more work at a time than the queue has room for.
        let batches = threads.min(shared.room).min(shared.end - shared.first);
        let mut loader = Self { shared, threads: Vec::with_capacity(batches) };
        for number in 0..batches {
            let (shared, pool) = (Arc::clone(&loader.shared), Arc::clone(&pool));
            let thread = thread::Builder::new()
                .name(format!("batch-{number}"))
                .spawn(move || shared.work(&pool));
            loader.threads.push(thread.map_err(|error| failed("a thread", &error))?);
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
        // The flag is set under the lock: a thread that has just found the queue full must not miss
        // the wake-up.
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
        let wrong = |detail: String| Err(DataError::Loader(detail));
        let channels = config.normalization.channels()?;
        let shape = config.dataset.shape();
        if channels != shape.channels {
            let detail = format!("constants for {channels} channels, but the images are {shape}");
            return Err(DataError::Normalization(detail));
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
        let end = if config.drop_last {
            images / config.batch_size
        } else {
            images.div_ceil(config.batch_size)
        };
        let first = config.first_batch;
        if first > end {
            return wrong(format!("the first batch is {first}, but the epoch has {end} batches"));
        }
        config.augmentation.check(shape)?;
        if config.augmentation.changes_pixels() && !config.pixels {
            return wrong(
                "the augmentation changes pixels, which placements do not say: batches need pixels"
                    .to_owned(),
            );
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

    /// The life of a thread, which has the images of its batches prepared by the pool.
    fn work(&self, pool: &ThreadPool) {
        while let Some(index) = self.claim() {
            let made = catch_unwind(AssertUnwindSafe(|| self.make(index, pool)));
            let batch = match made {
                Ok(Ok(batch)) => Ok(batch),
                Ok(Err(Halt::Failed(error))) => Err(error),
                Ok(Err(Halt::Stopped)) => return,
                Err(panic) => {
                    Err(DataError::LoaderFailed { batch: index, message: panic_message(&*panic) })
                }
            };
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

    fn make(&self, index: usize, pool: &ThreadPool) -> Result<Batch, Halt> {
        let start = index * self.batch_size;
        let indices =
            self.order[start..self.order.len().min(start.saturating_add(self.batch_size))].to_vec();
        let placements: Vec<Placement> =
            (0..).zip(&indices).map(|(position, _)| self.place(index, position)).collect();
        let images =
            if self.pixels { self.paint(pool, index, &indices, &placements)? } else { Vec::new() };
        let labels =
            indices.iter().filter_map(|&image| self.dataset.label(image as usize)).collect();
        Ok(Batch { index, images, labels, indices, placements })
    }

    /// Draws what happens to the image at a position of a batch.
    fn place(&self, batch: usize, position: u64) -> Placement {
        let mut rng = stream(Purpose::Augmentation, self.seed, self.epoch, batch as u64, position);
        self.augmentation.place(self.dataset.shape(), &mut rng)
    }

    /// The pixels of a batch. Each thread of the pool takes one image after the other, until there
    /// is none left.
    fn paint(
        &self,
        pool: &ThreadPool,
        batch: usize,
        indices: &[u32],
        placements: &[Placement],
    ) -> Result<Vec<f32>, Halt> {
        let shape = self.dataset.shape();
        let mut images = vec![0.0; indices.len() * shape.values()];
        let left = Mutex::new(
            images.chunks_exact_mut(shape.values()).zip(indices).zip(placements).enumerate(),
        );
        let take = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let share = |_: BroadcastContext<'_>| {
            let mut canvas = Canvas::new(shape);
            while let Some((position, ((out, &image), placement))) = take() {
                if self.stopped.load(Ordering::Relaxed) {
                    return Err((position, Halt::Stopped));
                }
                let mut rng =
                    stream(Purpose::Pixels, self.seed, self.epoch, batch as u64, position as u64);
                let painted =
                    self.paint_image(image as usize, placement, &mut rng, &mut canvas, out);
                painted.map_err(|error| (position, Halt::Failed(error)))?;
            }
            Ok(())
        };
        // Which error is reported must not depend on timing: images are taken in order, so those
        // before the first error were all taken.
        match pool
            .broadcast(share)
            .into_iter()
            .filter_map(Result::err)
            .min_by_key(|(position, _)| *position)
        {
            Some((_, halt)) => Err(halt),
            None => Ok(images),
        }
    }

    fn paint_image(
        &self,
        image: usize,
        placement: &Placement,
        rng: &mut impl Rng,
        canvas: &mut Canvas,
        out: &mut [f32],
    ) -> Result<(), DataError> {
        let shape = self.dataset.shape();
        if self.augmentation.changes_pixels() {
            self.augmentation.render(&self.dataset, image, placement, rng, canvas)?;
            placement.hole().paint(canvas.pixels(), shape, &self.tables, out);
        } else {
            placement.paint(self.dataset.pixels(image, canvas.memory())?, shape, &self.tables, out);
        }
        Ok(())
    }
}

/// Why there is no batch.
enum Halt {
    /// The loader was dropped.
    Stopped,
    Failed(DataError),
}

fn wait<'a>(signal: &Condvar, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
    signal.wait(queue).unwrap_or_else(PoisonError::into_inner)
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}
