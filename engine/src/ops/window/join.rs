//! Pooling: the sum and the maximum of what a window sees.

use super::layout::Window;
use super::rows::put_first;
use crate::simd::{Simd, kernel};

kernel! {
    /// out = Σ over taps of what the tap reads there.
    pub(crate) fn sum(simd, window: &Window, scratch: &[f32], out: &mut [f32]) {
        join_windows::<S, Sum>(simd, window, scratch, out);
    }

    /// out = max over taps. The scratch is minus infinity around the plane.
    pub(crate) fn maximum(simd, window: &Window, scratch: &[f32], out: &mut [f32]) {
        join_windows::<S, Maximum>(simd, window, scratch, out);
    }
}

/// What makes one value of those of a window.
trait Join {
    /// Of no values.
    const NONE: f32;
    /// Of two.
    fn two<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V;
}

struct Sum;

impl Join for Sum {
    const NONE: f32 = 0.0;

    #[inline(always)]
    fn two<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
        simd.add(a, b)
    }
}

struct Maximum;

impl Join for Maximum {
    const NONE: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn two<S: Simd>(simd: S, a: S::V, b: S::V) -> S::V {
        simd.max(a, b)
    }
}

/// `out` = what `J` makes of what the taps read there.
#[inline(always)]
fn join_windows<S: Simd, J: Join>(simd: S, window: &Window, scratch: &[f32], out: &mut [f32]) {
    let (w, h, pitch) = (window.out_w, window.out_h, window.pitch);
    assert!(out.len() == h * w && scratch.len() >= window.reach + S::LANES);
    for column in (0..w).step_by(S::LANES) {
        let width = S::LANES.min(w - column);
        let src = scratch[column..].as_ptr();
        // SAFETY: a vector may read up to its lanes beyond the reach of the window, which the
        // scratch has.
        unsafe {
            if window.is_three() {
                let (mut first, mut second) =
                    (join_row::<S, J>(simd, src), join_row::<S, J>(simd, src.add(pitch)));
                for row in 0..h {
                    let third = join_row::<S, J>(simd, src.add((row + 2) * pitch));
                    put_first(
                        simd,
                        J::two(simd, J::two(simd, first, second), third),
                        &mut out[row * w + column..][..width],
                    );
                    (first, second) = (second, third);
                }
                continue;
            }
            for row in 0..h {
                let mut joined = simd.splat(J::NONE);
                for &offset in &window.offsets {
                    joined = J::two(simd, joined, simd.load(src.add(row * pitch + offset)));
                }
                put_first(simd, joined, &mut out[row * w + column..][..width]);
            }
        }
    }
}

/// Of three vectors next to each other by one value.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn join_row<S: Simd, J: Join>(simd: S, from: *const f32) -> S::V {
    // SAFETY: as the caller says.
    unsafe {
        J::two(simd, J::two(simd, simd.load(from), simd.load(from.add(1))), simd.load(from.add(2)))
    }
}
