//! Buffers of a thread that live from task to task: a new one for every task would be paid for in
//! page faults.

use std::cell::{Cell, RefCell};

use super::window::{Key, Window};
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
    prepared: Option<Prepared>,
}

/// What the fill around planes was laid out for.
#[derive(Clone, Copy)]
struct Prepared {
    window: Key,
    form: Form,
    planes: usize,
    fill: f32,
}

/// What of a window is laid out.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// The planes that it reads.
    Planes,
    /// A gradient as [`super::window::transpose`] reads it.
    Flat,
}

impl Padded {
    /// Room for `planes` planes of a window, `fill` where none is loaded.
    pub(crate) fn prepare(&mut self, window: &Window, planes: usize, fill: f32) -> &mut [f32] {
        let length = window.scratch_len();
        self.prepare_for(
            Prepared { window: window.key(), form: Form::Planes, planes, fill },
            length,
        )
    }

    /// Room for one gradient as [`super::window::transpose`] reads it, zero where none is loaded.
    pub(crate) fn prepare_flat(&mut self, window: &Window) -> &mut [f32] {
        let prepared = Prepared { window: window.key(), form: Form::Flat, planes: 1, fill: 0.0 };
        self.prepare_for(prepared, window.flat_len())
    }

    fn prepare_for(&mut self, wanted: Prepared, length: usize) -> &mut [f32] {
        let fits = |there: Prepared| {
            there.window == wanted.window
                && there.form == wanted.form
                && there.planes >= wanted.planes
                && there.fill == wanted.fill
        };
        if !self.prepared.is_some_and(fits) {
            self.data.resize(wanted.planes * length);
            self.data.fill(wanted.fill);
            self.prepared = Some(wanted);
        }
        &mut self.data[..wanted.planes * length]
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
