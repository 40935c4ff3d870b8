//! The operations as plain functions on slices, forward next to backward. Each output element is
//! computed by one task in a fixed order, so results do not depend on the number of threads.
//!
//! Image tensors are read as [`view::Values`] and gradients as [`view::Gradients`]: either the
//! tensor itself, or a formula that is applied plane by plane as it is loaded.

use rayon::iter::{IndexedParallelIterator, MaxLen, MinLen};

pub(crate) mod activation;
pub(crate) mod batch_norm;
pub(crate) mod conv;
pub(crate) mod depthwise;
pub(crate) mod elementwise;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod loss;
mod matmul;
mod planes;
pub(crate) mod pool;
mod scratch;
pub(crate) mod view;
pub(crate) mod window;

/// Whether a gradient is written or added to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Set,
    Add,
}

impl Write {
    /// Writes or adds `src` element by element.
    #[inline(always)]
    pub(crate) fn apply(self, dst: &mut [f32], src: impl IntoIterator<Item = f32>) {
        match self {
            Write::Set => dst.iter_mut().zip(src).for_each(|(d, s)| *d = s),
            Write::Add => dst.iter_mut().zip(src).for_each(|(d, s)| *d += s),
        }
    }

    /// Writes zeros, or leaves what is there.
    pub(crate) fn clear(self, dst: &mut [f32]) {
        if self == Write::Set {
            dst.fill(0.0);
        }
    }
}

/// Into how many tasks a batch is split where each leaves a sum of its own: fixed, so that the sum
/// does not depend on the threads.
pub(crate) const TASKS: usize = 32;

/// Chunks of `size` elements of what may be wanted, or as many times nothing.
pub(crate) fn chunks_if_wanted<T>(
    slice: Option<&mut [T]>,
    size: usize,
    count: usize,
) -> Vec<Option<&mut [T]>> {
    match slice {
        Some(slice) => slice.chunks_mut(size).map(Some).collect(),
        None => (0..count).map(|_| None).collect(),
    }
}

/// Elements that a task of an elementwise pass works on: large enough to hide the cost of a task,
/// small enough to balance.
pub(crate) const CHUNK: usize = 1 << 14;

/// Fewest planes of `len` elements that one task should hold.
pub(crate) fn planes_per_task(len: usize) -> usize {
    (CHUNK / 2 / len.max(1)).max(1)
}

/// Parallel iterators of which every task takes about as many items as it is worth.
pub(crate) trait InTasks: IndexedParallelIterator {
    /// Tasks of `len` to twice as many items. Left alone, rayon makes about as many tasks as there
    /// are threads, and a thread that is done early has nothing to take over.
    fn in_tasks_of(self, len: usize) -> MaxLen<MinLen<Self>> {
        self.with_min_len(len).with_max_len(len)
    }
}

impl<I: IndexedParallelIterator> InTasks for I {}
