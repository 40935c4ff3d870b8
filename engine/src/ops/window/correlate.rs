//! Weighted sums of what a window sees: a convolution of one plane.

use super::layout::Window;
use crate::simd::{MOST_LANES, Simd, kernel};

kernel! {
    /// out\[row, column\] = Σ over taps of weight · what the tap reads there.
    pub(crate) fn correlate(
        simd, window: &Window, scratch: &[f32], weights: &[f32], out: &mut [f32],
    ) {
        let (w, h) = (window.out_w, window.out_h);
        assert!(out.len() == h * w && weights.len() == window.offsets.len());
        assert!(scratch.len() >= window.reach + S::LANES);
        let taps = Taps { window, weights, src: scratch.as_ptr(), next: S::LANES };
        let whole = w / S::LANES * S::LANES;
        let mut column = 0;
        while column < whole {
            let out = &mut out[column..];
            // SAFETY: blocks of rows and columns within the output; each tap then reads within
            // `reach`.
            column += unsafe {
                match (whole - column) / S::LANES {
                    1 => columns::<S, 1, 4>(simd, &taps, column, out, S::LANES),
                    _ => columns::<S, 2, 4>(simd, &taps, column, out, S::LANES),
                }
            };
        }
        if whole < w {
            let mut row = 0;
            while row < h {
                let rows = if row + 4 <= h { 4 } else { 1 };
                // SAFETY: a vector may read up to its lanes beyond `reach`, which the scratch has;
                // the array has room for all lanes.
                unsafe {
                    let (at, out) = (row * window.pitch + whole, &mut out[row * w..]);
                    match rows {
                        4 => put(simd, block::<S, 1, 4>(simd, &taps, at, 1), out, whole, w),
                        _ => put(simd, block::<S, 1, 1>(simd, &taps, at, 1), out, whole, w),
                    }
                }
                row += rows;
            }
        }
    }

    /// [`correlate`] of two planes by the same weights, the second `next` behind the first in the
    /// scratch and `next_out` in the output. Where a row is a single vector, the sums of one plane
    /// are too few to hide the latency of a multiply-add.
    pub(crate) fn correlate_two(
        simd, window: &Window, scratch: &[f32], next: usize, weights: &[f32], out: &mut [f32],
        next_out: usize,
    ) {
        let plane = window.out_plane();
        if window.out_w != S::LANES {
            correlate(window, scratch, weights, &mut out[..plane]);
            correlate(window, &scratch[next..], weights, &mut out[next_out..][..plane]);
            return;
        }
        assert!(out.len() >= next_out + plane && weights.len() == window.offsets.len());
        assert!(scratch.len() >= next + window.reach + S::LANES);
        let taps = Taps { window, weights, src: scratch.as_ptr(), next };
        // SAFETY: all rows of the one vector that they are, each tap of both planes within `reach`.
        unsafe { columns::<S, 2, 4>(simd, &taps, 0, out, next_out) };
    }
}

/// What [`block`] reads.
struct Taps<'a> {
    window: &'a Window,
    weights: &'a [f32],
    src: *const f32,
    /// From one vector to the next of the `V` of a row: its lanes, or the distance to another
    /// plane.
    next: usize,
}

/// All rows of `V` vectors from `column` on, about `R` rows at a time; `out` begins at that column,
/// and has the vectors of a row `next_out` apart. Returns how many columns they are where they are
/// next to each other.
///
/// # Safety
/// Every tap can be read at every row and column computed.
#[inline(always)]
unsafe fn columns<S: Simd, const V: usize, const R: usize>(
    simd: S,
    taps: &Taps<'_>,
    column: usize,
    out: &mut [f32],
    next_out: usize,
) -> usize {
    let &Window { out_w: w, out_h: h, pitch, stride, dilation, .. } = taps.window;
    // Rows of one block read the same rows of the plane, shifted: at stride 1 those as far apart as
    // the taps are.
    let apart = if stride == 1 { dilation } else { 1 };
    for first in 0..apart.min(h) {
        let mut row = first;
        while row < h {
            let whole = row + (R - 1) * apart < h;
            // SAFETY: as the caller says; the stores are within the rows, which the slices check.
            unsafe {
                let (at, out, step) = (row * pitch + column, &mut out[row * w..], apart * w);
                if whole {
                    store_rows(simd, block::<S, V, R>(simd, taps, at, apart), out, step, next_out);
                } else {
                    store_rows(simd, block::<S, V, 1>(simd, taps, at, apart), out, step, next_out);
                }
            }
            row += if whole { R * apart } else { apart };
        }
    }
    V * S::LANES
}

#[inline(always)]
fn store_rows<S: Simd, const V: usize, const R: usize>(
    simd: S,
    rows: [[S::V; V]; R],
    out: &mut [f32],
    apart: usize,
    next: usize,
) {
    for (r, sums) in rows.iter().enumerate() {
        let out = &mut out[r * apart..][..(V - 1) * next + S::LANES];
        for (v, sum) in sums.iter().enumerate() {
            // SAFETY: within the slice.
            unsafe { simd.store(out.as_mut_ptr().add(v * next), *sum) };
        }
    }
}

/// `R` rows of `V` vectors of outputs, `apart` from each other, the first at position `at` of the
/// scratch.
///
/// # Safety
/// Every tap can be read there.
#[inline(always)]
unsafe fn block<S: Simd, const V: usize, const R: usize>(
    simd: S,
    taps: &Taps<'_>,
    at: usize,
    apart: usize,
) -> [[S::V; V]; R] {
    let window = taps.window;
    if window.stride > 1 || apart != window.dilation {
        // SAFETY: as the caller says.
        return unsafe { plain_block(simd, taps, at, apart) };
    }
    match window.kernel {
        // SAFETY: as the caller says.
        3 => unsafe { shared_block::<S, V, R, 3>(simd, taps, at, apart) },
        5 => unsafe { shared_block::<S, V, R, 5>(simd, taps, at, apart) },
        _ => unsafe { plain_block(simd, taps, at, apart) },
    }
}

/// [`block`] for any kernel.
///
/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn plain_block<S: Simd, const V: usize, const R: usize>(
    simd: S,
    taps: &Taps<'_>,
    at: usize,
    apart: usize,
) -> [[S::V; V]; R] {
    let window = taps.window;
    let mut sums = [[simd.splat(0.0); V]; R];
    for (&offset, &weight) in window.offsets.iter().zip(taps.weights) {
        let weight = simd.splat(weight);
        for (r, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as the caller says.
                let src = unsafe {
                    simd.load(taps.src.add(at + offset + r * apart * window.pitch + v * taps.next))
                };
                *sum = simd.mul_add(src, weight, *sum);
            }
        }
    }
    sums
}

/// [`block`] for a kernel of `K` · `K` taps at stride 1: what is loaded serves all rows of the
/// block, since loads that lie across two lines are what the plain one waits for. The sizes are
/// constants so that the inner loops unroll.
///
/// # Safety
/// As for [`block`].
#[inline(always)]
unsafe fn shared_block<S: Simd, const V: usize, const R: usize, const K: usize>(
    simd: S,
    taps: &Taps<'_>,
    at: usize,
    apart: usize,
) -> [[S::V; V]; R] {
    let window = taps.window;
    let step = apart * window.pitch;
    let mut sums = [[simd.splat(0.0); V]; R];
    for column in 0..K {
        // SAFETY: output row `r` reads this row with its tap `line - r`, as the caller says it can;
        // there are K · K weights.
        unsafe {
            let src = taps.src.add(at + column * window.dilation);
            let weights: [S::V; K] =
                std::array::from_fn(|tap| simd.splat(*taps.weights.as_ptr().add(tap * K + column)));
            for line in 0..R + K - 1 {
                let x: [S::V; V] =
                    std::array::from_fn(|v| simd.load(src.add(line * step + v * taps.next)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    if line >= r && line - r < K {
                        for (sum, x) in sums.iter_mut().zip(x) {
                            *sum = simd.mul_add(x, weights[line - r], *sum);
                        }
                    }
                }
            }
        }
    }
    sums
}

/// Writes the first lanes of one vector a row to the columns from `from` on.
#[inline(always)]
fn put<S: Simd, const R: usize>(
    simd: S,
    rows: [[S::V; 1]; R],
    out: &mut [f32],
    from: usize,
    w: usize,
) {
    let mut lanes = [0f32; MOST_LANES];
    for (row, [sum]) in rows.into_iter().enumerate() {
        // SAFETY: the array has room for the lanes of any vector.
        unsafe { simd.store(lanes.as_mut_ptr(), sum) };
        out[row * w + from..(row + 1) * w].copy_from_slice(&lanes[..w - from]);
    }
}
