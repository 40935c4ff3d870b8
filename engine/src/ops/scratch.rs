//! Buffers of a thread that live from task to task: a new one for every task would be paid for in
//! page faults.

use std::cell::{Cell, RefCell};

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
    /// A gradient in the phases of a window.
    pub(crate) phases: Aligned,
    /// Sums of products, lane by lane.
    pub(crate) lanes: Aligned,
}

/// Planes loaded for a window, one after the other, with a fill around them that stays from plane
/// to plane.
#[derive(Default)]
pub(crate) struct Padded {
    data: Aligned,
    /// The layout, the planes and the fill that it is prepared for.
    prepared: Option<(u64, usize, f32)>,
}

impl Padded {
    /// Room for `planes` planes of a window, `fill` where none is loaded.
    pub(crate) fn prepare(&mut self, window: &Window, planes: usize, fill: f32) -> &mut [f32] {
        self.prepare_for(window.id(), window.scratch_len(), planes, fill)
    }

    /// Room for one gradient as [`super::window::transpose`] reads it, zero where none is loaded.
    pub(crate) fn prepare_flat(&mut self, window: &Window) -> &mut [f32] {
        self.prepare_for(window.flat_id(), window.flat_len(), 1, 0.0)
    }

    fn prepare_for(&mut self, id: u64, length: usize, planes: usize, fill: f32) -> &mut [f32] {
        let fits = |(of, count, with)| of == id && count >= planes && with == fill;
        if !self.prepared.is_some_and(fits) {
            self.data.resize(planes * length);
            self.data.fill(fill);
            self.prepared = Some((id, planes, fill));
        }
        &mut self.data[..planes * length]
    }
}

/// Lends the thread's buffers to `work`, which starts no tasks of its own.
pub(crate) fn with<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}

/// Lends `work`, which may start tasks, `length` zeros. Nested in itself it has to allocate them.
pub(crate) fn with_sums<R>(length: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SUMS: Cell<Aligned> = Cell::default();
    }
    SUMS.with(|kept| {
        let mut sums = kept.take();
        sums.resize(length);
        sums.fill(0.0);
        let result = work(&mut sums);
        kept.set(sums);
        result
    })
}
