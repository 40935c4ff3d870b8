//! A plane to the layout of a window, and back.

use super::layout::Window;
use super::rows::rows_of;
use crate::ops::view::{GradientPlane, Pass, Plane};
use crate::simd::{MOST_LANES, Simd, kernel};

kernel! {
    /// Loads a plane into a scratch that was filled before; what lies around it is left alone.
    pub(crate) fn load(simd, window: &Window, plane: Plane<'_>, scratch: &mut [f32]) {
        if window.stride == 1 {
            plane.pass(simd, LoadRows { simd, window, plane: plane.data, scratch });
        } else {
            plane.pass(simd, LoadPhases { simd, window, plane: plane.data, scratch });
        }
    }

    /// Loads the gradient of a plane into a scratch of the window that carries it back
    /// ([`Window::back`]), which was filled before.
    pub(crate) fn load_gradient(
        simd, back: &Window, gradient: GradientPlane<'_>, scratch: &mut [f32],
    ) {
        for run in &back.runs {
            gradient.read(simd, run.plane, &mut scratch[run.scratch..][..run.count]);
        }
    }

    /// Gathers the scratch back into a plane: the transpose of [`load`]. Positions that no window
    /// covers are zero.
    pub(crate) fn unload(simd, window: &Window, scratch: &[f32], plane: &mut [f32]) {
        if !window.covered {
            plane.fill(0.0);
        }
        let done = window.halves.as_ref().map_or(0, |halves| halves.weave(simd, scratch, plane));
        for run in window.runs.iter().filter(|run| run.count > done) {
            let from = &scratch[run.scratch..][..run.count];
            for (i, value) in from.iter().enumerate().skip(done) {
                plane[run.plane + i * window.stride] = *value;
            }
        }
    }
}

/// [`load`] at stride 1, where the runs are the rows of the plane, one below the other.
struct LoadRows<'a, S> {
    simd: S,
    window: &'a Window,
    plane: &'a [f32],
    scratch: &'a mut [f32],
}

impl<S: Simd> Pass<S> for LoadRows<'_, S> {
    #[inline(always)]
    fn run(self, formula: impl Fn(S::V) -> S::V) {
        let Self { simd, window, plane, scratch } = self;
        let (Some(first), Some(last)) = (window.runs.first(), window.runs.last()) else { return };
        let (rows, count) = (window.runs.len(), first.count);
        assert!(
            last.plane == first.plane + (rows - 1) * window.w && last.plane + count <= plane.len()
        );
        assert!(
            last.scratch == first.scratch + (rows - 1) * window.pitch
                && last.scratch + count <= scratch.len()
        );
        let (from, to) = (plane[first.plane..].as_ptr(), scratch[first.scratch..].as_mut_ptr());
        // SAFETY: `count` elements of each row lie in both, as asserted.
        unsafe { rows_of(simd, from, window.w, to, window.pitch, rows, count, formula) };
    }
}

/// [`load`] for windows with phases.
struct LoadPhases<'a, S> {
    simd: S,
    window: &'a Window,
    plane: &'a [f32],
    scratch: &'a mut [f32],
}

impl<S: Simd> Pass<S> for LoadPhases<'_, S> {
    #[inline(always)]
    fn run(self, formula: impl Fn(S::V) -> S::V) {
        let Self { simd, window, plane, scratch } = self;
        let mut lanes = [0f32; MOST_LANES];
        let done =
            window.halves.as_ref().map_or(0, |halves| halves.part(simd, plane, scratch, &formula));
        for run in window.runs.iter().filter(|run| run.count > done) {
            let mut at = done;
            while at < run.count {
                let here = S::LANES.min(run.count - at);
                for (i, lane) in lanes[..here].iter_mut().enumerate() {
                    *lane = plane[run.plane + (at + i) * window.stride];
                }
                // SAFETY: the array has room for the lanes of any vector.
                unsafe { simd.store(lanes.as_mut_ptr(), formula(simd.load(lanes.as_ptr()))) };
                scratch[run.scratch + at..][..here].copy_from_slice(&lanes[..here]);
                at += here;
            }
        }
    }
}
