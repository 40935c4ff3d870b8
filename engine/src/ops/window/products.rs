//! The gradient of a kernel: for each tap the product of the output's gradient with what it reads.

use super::layout::Window;
use crate::simd::{MOST_LANES, Simd, kernel};

kernel! {
    /// Adds to `sums[tap]`, lane by lane, the products of the gradient of the output with what the
    /// tap reads. `sums` has room for [`MOST_LANES`] for each tap; see [`sum_taps`].
    pub(crate) fn tap_products(
        simd, window: &Window, gradient: &[f32], scratch: &[f32], sums: &mut [f32],
    ) {
        let (w, h) = (window.out_w, window.out_h);
        assert!(gradient.len() == h * w && sums.len() == window.offsets.len() * MOST_LANES);
        assert!(scratch.len() >= window.reach + S::LANES);
        if window.stride == 1 && w.is_multiple_of(S::LANES) {
            // SAFETY: every tap can be read at every output position, which are whole vectors.
            let done = unsafe {
                match (window.kernel, window.dilation) {
                    (3, 1) => products_of_three::<S, 1>(simd, window, gradient, scratch, sums),
                    (3, 2) => products_of_three::<S, 2>(simd, window, gradient, scratch, sums),
                    (5, 1) => products_of_five::<S, 1>(simd, window, gradient, scratch, sums),
                    (5, 2) => products_of_five::<S, 2>(simd, window, gradient, scratch, sums),
                    _ => false,
                }
            };
            if done {
                return;
            }
        }
        let mut taps = &window.offsets[..];
        let mut sums = &mut sums[..];
        while !taps.is_empty() {
            // Enough sums at once to hide the latency of one, and no more than there are registers.
            let count = match taps.len() {
                left if left % 8 == 1 && left >= 9 => 9,
                left if left >= 8 => 8,
                left if left >= 4 => 4,
                _ => 1,
            };
            let (here, rest) = sums.split_at_mut(count * S::LANES);
            // SAFETY: whole vectors of rows of the gradient, read at offsets within `reach`.
            unsafe {
                match count {
                    9 => products::<S, 9>(simd, window, gradient, scratch, taps, here),
                    8 => products::<S, 8>(simd, window, gradient, scratch, taps, here),
                    4 => products::<S, 4>(simd, window, gradient, scratch, taps, here),
                    _ => products::<S, 1>(simd, window, gradient, scratch, taps, here),
                }
            }
            (taps, sums) = (&taps[count..], rest);
        }
    }

    /// The sums that [`tap_products`] left in lanes, one a tap, of some kernels one after the
    /// other.
    pub(crate) fn sum_taps(simd, window: &Window, lanes: &[f32], sums: &mut [f32]) {
        let taps = window.taps();
        let kernels = lanes.chunks_exact(taps * MOST_LANES);
        for (sums, lanes) in sums.chunks_exact_mut(taps).zip(kernels) {
            for (sum, lanes) in sums.iter_mut().zip(lanes.chunks_exact(S::LANES)) {
                // SAFETY: as many values as a vector has lanes.
                *sum = simd.sum(unsafe { simd.load(lanes.as_ptr()) });
            }
        }
    }
}

/// [`tap_products`] of the first `T` taps.
///
/// # Safety
/// Every tap can be read at every output position.
#[inline(always)]
unsafe fn products<S: Simd, const T: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    taps: &[usize],
    sums: &mut [f32],
) {
    let w = window.out_w;
    let whole = w / S::LANES * S::LANES;
    let taps: [usize; T] = std::array::from_fn(|t| taps[t]);
    let mut totals = [simd.splat(0.0); T];
    for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(S::LANES)) {
        // SAFETY: there are as many sums as a vector has lanes.
        *total = unsafe { simd.load(sums.as_ptr()) };
    }
    // The end of a row, with zeros behind it.
    let mut end = [0f32; MOST_LANES];
    for row in 0..window.out_h {
        let mut column = 0;
        while column < whole {
            // SAFETY: within the row of the gradient; the taps as the caller says.
            unsafe {
                let gradient = simd.load(gradient.as_ptr().add(row * w + column));
                let src = scratch.as_ptr().add(row * window.pitch + column);
                for (total, &tap) in totals.iter_mut().zip(&taps) {
                    *total = simd.mul_add(simd.load(src.add(tap)), gradient, *total);
                }
            }
            column += S::LANES;
        }
        if whole < w {
            end[..w - whole].copy_from_slice(&gradient[row * w + whole..][..w - whole]);
            // SAFETY: the scratch has as many values as a vector has lanes beyond the last that is
            // needed.
            unsafe {
                let gradient = simd.load(end.as_ptr());
                let src = scratch.as_ptr().add(row * window.pitch + whole);
                for (total, &tap) in totals.iter_mut().zip(&taps) {
                    *total = simd.mul_add(simd.load(src.add(tap)), gradient, *total);
                }
            }
        }
    }
    for (total, sums) in totals.iter().zip(sums.chunks_exact_mut(S::LANES)) {
        // SAFETY: as for the loads.
        unsafe { simd.store(sums.as_mut_ptr(), *total) };
    }
}

/// [`products_of_kernel_rows`] of all rows of a kernel of 3 · 3 taps.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn products_of_three<S: Simd, const D: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    sums: &mut [f32],
) -> bool {
    // SAFETY: as the caller says.
    unsafe { products_of_kernel_rows::<S, 3, D, 3>(simd, window, gradient, scratch, 0, sums) }
}

/// [`products_of_kernel_rows`] of all rows of a kernel of 5 · 5 taps, as many at once as there are
/// registers for.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn products_of_five<S: Simd, const D: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    sums: &mut [f32],
) -> bool {
    // SAFETY: as the caller says.
    unsafe {
        products_of_kernel_rows::<S, 5, D, 2>(simd, window, gradient, scratch, 0, sums);
        products_of_kernel_rows::<S, 5, D, 2>(simd, window, gradient, scratch, 2, sums);
        products_of_kernel_rows::<S, 5, D, 1>(simd, window, gradient, scratch, 4, sums)
    }
}

/// [`tap_products`] of `R` rows, from `first` on, of a kernel of `K` · `K` taps of dilation `D` at
/// stride 1. With all distances constants but that of the rows, the short rows of small planes cost
/// what their products cost. Returns that it is done.
///
/// # Safety
/// Every tap can be read at every output position; rows are whole vectors.
#[inline(always)]
unsafe fn products_of_kernel_rows<S: Simd, const K: usize, const D: usize, const R: usize>(
    simd: S,
    window: &Window,
    gradient: &[f32],
    scratch: &[f32],
    first: usize,
    sums: &mut [f32],
) -> bool {
    let &Window { out_w: w, out_h: h, pitch, .. } = window;
    let sums = &mut sums[first * K * S::LANES..][..R * K * S::LANES];
    let mut totals = [[simd.splat(0.0); K]; R];
    // SAFETY: there are as many sums as a vector has lanes for each tap; the rest as the caller
    // says.
    unsafe {
        for (r, totals) in totals.iter_mut().enumerate() {
            for (kx, total) in totals.iter_mut().enumerate() {
                *total = simd.load(sums.as_ptr().add((r * K + kx) * S::LANES));
            }
        }
        let src = scratch.as_ptr().add(first * D * pitch);
        for row in 0..h {
            let mut column = 0;
            while column < w {
                let dy = simd.load(gradient.as_ptr().add(row * w + column));
                for (r, totals) in totals.iter_mut().enumerate() {
                    let line = src.add((row + r * D) * pitch + column);
                    for (kx, total) in totals.iter_mut().enumerate() {
                        *total = simd.mul_add(simd.load(line.add(kx * D)), dy, *total);
                    }
                }
                column += S::LANES;
            }
        }
        for (r, totals) in totals.iter().enumerate() {
            for (kx, total) in totals.iter().enumerate() {
                simd.store(sums.as_mut_ptr().add((r * K + kx) * S::LANES), *total);
            }
        }
    }
    true
}
