//! Buffers of a thread that live from task to task: a new one for every task would be paid for in page faults.

use std::cell::RefCell;

use super::window::Window;
use crate::aligned::Aligned;

/// Buffers that hold anything.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The matrix of windows, and its gradient.
    pub(crate) matrix: Aligned,
    pub(crate) dmatrix: Aligned,
    /// An output or its gradient.
    pub(crate) output: Aligned,
    /// An input as its readers see it, or its gradient.
    pub(crate) sample: Aligned,
    /// Of a product of matrices.
    pub(crate) packed: Aligned,
    /// Padded planes of the input.
    pub(crate) padded: Padded,
    /// Padded planes of a gradient on its way back.
    pub(crate) turned: Padded,
    /// Padded planes of what was chosen in the forward pass.
    pub(crate) chosen: Padded,
}

/// Planes loaded for a window, one after the other, with a fill around them that stays from plane to plane.
#[derive(Default)]
pub(crate) struct Padded {
    data: Aligned,
    /// The window, the planes and the fill that it is prepared for.
    prepared: Option<(u64, usize, f32)>,
}

impl Padded {
    /// Room for `planes` planes of a window, `fill` where none is loaded.
    pub(crate) fn prepare(&mut self, window: &Window, planes: usize, fill: f32) -> &mut [f32] {
        let fits = |(id, count, with)| id == window.id() && count >= planes && with == fill;
        if !self.prepared.is_some_and(fits) {
            self.data.resize(planes * window.scratch_len());
            self.data.fill(fill);
            self.prepared = Some((window.id(), planes, fill));
        }
        &mut self.data[..planes * window.scratch_len()]
    }

    /// Room for `length` elements that are to be overwritten, whatever is there.
    pub(crate) fn spoil(&mut self, length: usize) -> &mut [f32] {
        self.prepared = None;
        self.data.resize(length);
        &mut self.data
    }
}

/// Lends the thread's buffers to `work`, which starts no tasks of its own.
pub(crate) fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}
