//! Depthwise convolution: one kernel a channel, on planes that stay in cache.

use rayon::prelude::*;

use super::window::{Window, correlate, tap_products};
use super::{Write, planes_per_task};

/// `y[n, c] = x[n, c] ⋆ weight[c] (+ bias[c])`.
pub(crate) fn forward(window: &Window, channels: usize, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let taps = window.kernel * window.kernel;
    let offsets = window.offsets();
    y.par_chunks_mut(window.out_plane()).with_min_len(planes_per_task(window.plane())).enumerate().for_each_init(
        || (vec![0.0; window.scratch_len()], vec![0.0; window.flat_len()]),
        |(scratch, flat), (plane, y)| {
            let channel = plane % channels;
            window.load(&x[plane * window.plane()..][..window.plane()], scratch, 0.0);
            correlate(flat, scratch, &offsets, &weight[channel * taps..][..taps]);
            window.collect(flat, y);
            if let Some(bias) = bias {
                y.iter_mut().for_each(|y| *y += bias[channel]);
            }
        },
    );
}

/// Gradient of the input.
pub(crate) fn backward_input(window: &Window, channels: usize, weight: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
    let taps = window.kernel * window.kernel;
    dx.par_chunks_mut(window.plane()).with_min_len(planes_per_task(window.plane())).enumerate().for_each_init(
        || (vec![0.0; window.spread_len()], vec![0.0; window.scratch_len()]),
        |(gradient, scratch), (plane, dx)| {
            window.spread(&dy[plane * window.out_plane()..][..window.out_plane()], None, gradient, window.lead());
            window.transpose(gradient, &weight[(plane % channels) * taps..][..taps], scratch);
            window.unload(scratch, dx, write);
        },
    );
}

/// Gradient of the weight: one task a channel, samples in order.
pub(crate) fn backward_weight(window: &Window, channels: usize, x: &[f32], dy: &[f32], dweight: &mut [f32], write: Write) {
    let taps = window.kernel * window.kernel;
    let offsets = window.offsets();
    let batch = x.len() / (channels * window.plane());
    dweight.par_chunks_mut(taps).enumerate().for_each(|(channel, dweight)| {
        let mut scratch = vec![0.0; window.scratch_len()];
        let mut gradient = vec![0.0; window.flat_len()];
        let mut total = vec![0f64; taps];
        for plane in (0..batch).map(|n| n * channels + channel) {
            window.load(&x[plane * window.plane()..][..window.plane()], &mut scratch, 0.0);
            window.spread(&dy[plane * window.out_plane()..][..window.out_plane()], None, &mut gradient, 0);
            let mut sums = vec![0f32; taps];
            tap_products(&gradient, &scratch, &offsets, &mut sums);
            total.iter_mut().zip(&sums).for_each(|(total, &sum)| *total += f64::from(sum));
        }
        write.apply(dweight, total.into_iter().map(|total| total as f32));
    });
}
