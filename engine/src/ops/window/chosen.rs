//! The gradient of a maximum goes to the position it was read from: which tap that is, and the way
//! back.

use super::layout::Window;
use super::rows::put_first;
use crate::simd::{Simd, kernel};

kernel! {
    /// The tap at which each window first has its maximum, rows `pitch` apart. The scratch is minus
    /// infinity around the plane.
    pub(crate) fn first_maximum(
        simd, window: &Window, scratch: &[f32], taps: &mut [f32], pitch: usize,
    ) {
        let (w, h) = (window.out_w, window.out_h);
        assert!(taps.len() >= (h - 1) * pitch + w && pitch >= w);
        assert!(scratch.len() >= window.reach + S::LANES);
        for column in (0..w).step_by(S::LANES) {
            let width = S::LANES.min(w - column);
            let src = scratch[column..].as_ptr();
            // SAFETY: as for `maximum`.
            unsafe {
                if window.is_three() {
                    let below = [simd.splat(3.0), simd.splat(6.0)];
                    let mut first = chosen_of_row(simd, src);
                    let mut second = chosen_of_row(simd, src.add(window.pitch));
                    for row in 0..h {
                        let third = chosen_of_row(simd, src.add((row + 2) * window.pitch));
                        let mut chosen = first;
                        for (other, below) in [second, third].into_iter().zip(below) {
                            chosen.choose(simd, other.max, simd.add(other.tap, below));
                        }
                        put_first(simd, chosen.tap, &mut taps[row * pitch + column..][..width]);
                        (first, second) = (second, third);
                    }
                    continue;
                }
                for row in 0..h {
                    let mut chosen = Chosen::none(simd);
                    let mut tap = simd.splat(0.0);
                    for &offset in &window.offsets {
                        chosen.choose(simd, simd.load(src.add(row * window.pitch + offset)), tap);
                        tap = simd.add(tap, simd.splat(1.0));
                    }
                    put_first(simd, chosen.tap, &mut taps[row * pitch + column..][..width]);
                }
            }
        }
    }

    /// Gives every position of a plane the gradients of the outputs whose chosen tap lies there.
    /// `back` is the window that carries gradients back ([`Window::back`]), loaded with the
    /// gradients and with the taps chosen, which are -1 around the plane.
    pub(crate) fn gather_chosen(
        simd, back: &Window, gradients: &[f32], taps: &[f32], dx: &mut [f32],
    ) {
        let (w, h) = (back.out_w, back.out_h);
        assert!(dx.len() == h * w && gradients.len() == taps.len());
        assert!(taps.len() >= back.reach + S::LANES);
        for column in (0..w).step_by(S::LANES) {
            let width = S::LANES.min(w - column);
            let (dy, tap) = (gradients[column..].as_ptr(), taps[column..].as_ptr());
            // SAFETY: as for `maximum`.
            unsafe {
                if back.is_three() {
                    // What is loaded serves the three rows that read it.
                    let mut sums = [simd.splat(0.0); 3];
                    for line in 0..h + 2 {
                        let at = line * back.pitch;
                        add_chosen_of_row(simd, dy.add(at), tap.add(at), &mut sums);
                        if line >= 2 {
                            put_first(simd, sums[2], &mut dx[(line - 2) * w + column..][..width]);
                        }
                        sums = [simd.splat(0.0), sums[0], sums[1]];
                    }
                    continue;
                }
                for row in 0..h {
                    let mut sum = simd.splat(0.0);
                    let mut turned = simd.splat((back.offsets.len() - 1) as f32);
                    for &offset in &back.offsets {
                        let at = row * back.pitch + offset;
                        let (tap, dy) = (simd.load(tap.add(at)), simd.load(dy.add(at)));
                        sum = simd.add(sum, simd.where_equal(tap, turned, dy));
                        turned = simd.sub(turned, simd.splat(1.0));
                    }
                    put_first(simd, sum, &mut dx[row * w + column..][..width]);
                }
            }
        }
    }

    /// Adds the gradient of each output to the position of its chosen tap, for windows of any
    /// stride.
    pub(crate) fn scatter_chosen(
        simd, window: &Window, gradient: &[f32], taps: &[f32], scratch: &mut [f32],
    ) {
        scratch.fill(0.0);
        let w = window.out_w;
        let rows = gradient.chunks_exact(w).zip(taps.chunks_exact(w));
        for (row, (gradient, taps)) in rows.enumerate() {
            for (column, (gradient, tap)) in gradient.iter().zip(taps).enumerate() {
                scratch[window.offsets[*tap as usize] + row * window.pitch + column] += gradient;
            }
        }
    }
}

/// The largest value seen, and the first tap that read it.
#[derive(Clone, Copy)]
struct Chosen<V> {
    max: V,
    tap: V,
}

impl<V: Copy> Chosen<V> {
    #[inline(always)]
    fn none<S: Simd<V = V>>(simd: S) -> Self {
        Self { max: simd.splat(f32::NEG_INFINITY), tap: simd.splat(0.0) }
    }

    /// Turns to what a later tap read, where that is larger.
    #[inline(always)]
    fn choose<S: Simd<V = V>>(&mut self, simd: S, x: V, tap: V) {
        self.tap = simd.where_greater(x, self.max, tap, self.tap);
        self.max = simd.where_greater(x, self.max, x, self.max);
    }
}

/// What is chosen of three vectors next to each other by one value.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn chosen_of_row<S: Simd>(simd: S, from: *const f32) -> Chosen<S::V> {
    let mut chosen = Chosen::none(simd);
    for tap in 0..3 {
        // SAFETY: as the caller says.
        chosen.choose(simd, unsafe { simd.load(from.add(tap)) }, simd.splat(tap as f32));
    }
    chosen
}

/// Adds to the sums of three rows, of which this is the first, second or third that they read, the
/// gradients of a row whose tap lies there.
///
/// # Safety
/// Of gradients and taps three vectors next to each other by one value can be read.
#[inline(always)]
unsafe fn add_chosen_of_row<S: Simd>(
    simd: S,
    gradients: *const f32,
    taps: *const f32,
    sums: &mut [S::V; 3],
) {
    for column in 0..3 {
        // SAFETY: as the caller says.
        let (dy, tap) = unsafe { (simd.load(gradients.add(column)), simd.load(taps.add(column))) };
        for (line, sum) in sums.iter_mut().enumerate() {
            let turned = simd.splat((8 - (3 * line + column)) as f32);
            *sum = simd.add(*sum, simd.where_equal(tap, turned, dy));
        }
    }
}
