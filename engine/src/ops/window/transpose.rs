//! Gradients back to where windows read, for any stride.

use super::layout::{Distant, Window};
use super::rows::rows_of;
use crate::simd::{MOST_LANES, Simd, kernel};

kernel! {
    /// The transpose of [`correlate`]: gives every position of the scratch the weighted gradients
    /// of the outputs that read it. `flat` has [`Window::flat_len`] elements, zeros but where
    /// earlier gradients of the same window were.
    pub(crate) fn transpose(
        simd, window: &Window, gradient: &[f32], weights: &[f32], flat: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (phase_len, lead, w) = (window.phase_len, window.lead(), window.out_w);
        let count = window.phases * window.phases;
        assert!(flat.len() == window.flat_len() && scratch.len() >= count * phase_len + MOST_LANES);
        assert!(weights.len() == window.offsets.len() && gradient.len() == window.out_plane());
        // The gradient with the rows of the scratch, so that each tap reads it at one distance.
        // SAFETY: the rows of the gradient are fewer than those of a phase, which has room for them
        // behind the lead.
        unsafe {
            let (from, to) = (gradient.as_ptr(), flat[lead..].as_mut_ptr());
            rows_of(simd, from, w, to, window.pitch, window.out_h, w, |x| x);
        }
        for phase in 0..count {
            let taps = &window.taps_of_phase[phase];
            let to = scratch[phase * phase_len..].as_mut_ptr();
            let mut at = 0;
            while at < phase_len {
                // SAFETY: `flat` reaches as far beyond the phase, and the scratch a vector; what is
                // written there belongs to the next phase, which comes later, or to no one.
                unsafe {
                    if at + 4 * S::LANES <= phase_len {
                        distant::<S, 4>(simd, taps, weights, flat.as_ptr().add(at), to.add(at));
                        at += 4 * S::LANES;
                    } else {
                        distant::<S, 1>(simd, taps, weights, flat.as_ptr().add(at), to.add(at));
                        at += S::LANES;
                    }
                }
            }
        }
    }
}

/// `V` vectors of the sum over taps of weight · what lies at the tap's distance.
///
/// # Safety
/// They can be read at every distance, and written.
#[inline(always)]
unsafe fn distant<S: Simd, const V: usize>(
    simd: S,
    taps: &[Distant],
    weights: &[f32],
    from: *const f32,
    to: *mut f32,
) {
    let mut sums = [simd.splat(0.0); V];
    // SAFETY: as the caller says.
    unsafe {
        for &Distant { tap, distance } in taps {
            let weight = simd.splat(weights[tap]);
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = simd.mul_add(simd.load(from.add(distance + v * S::LANES)), weight, *sum);
            }
        }
        for (v, sum) in sums.iter().enumerate() {
            simd.store(to.add(v * S::LANES), *sum);
        }
    }
}
