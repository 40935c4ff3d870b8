//! Maximum and average over windows, padding excluded.

use rayon::prelude::*;

use super::window::{Window, correlate, maximum, scatter_to_maximum};
use super::{Write, planes_per_task};

/// Maximum of each window.
pub(crate) fn max_forward(window: &Window, x: &[f32], y: &mut [f32]) {
    let offsets = window.offsets();
    y.par_chunks_mut(window.out_plane()).with_min_len(planes_per_task(window.plane())).enumerate().for_each_init(
        || (vec![0.0; window.scratch_len()], vec![0.0; window.flat_len()]),
        |(scratch, flat), (plane, y)| {
            window.load(&x[plane * window.plane()..][..window.plane()], scratch, f32::NEG_INFINITY);
            maximum(flat, scratch, &offsets);
            window.collect(flat, y);
        },
    );
}

/// Gradient of the input: that of each output goes to the first maximum of its window, in row order.
pub(crate) fn max_backward(window: &Window, x: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
    let offsets = window.offsets();
    dx.par_chunks_mut(window.plane()).with_min_len(planes_per_task(window.plane())).enumerate().for_each_init(
        || {
            let (scratch, flat) = (vec![0.0; window.scratch_len()], vec![0.0; window.flat_len()]);
            (scratch.clone(), scratch, flat.clone(), flat)
        },
        |(scratch, dscratch, maxima, gradient), (plane, dx)| {
            window.load(&x[plane * window.plane()..][..window.plane()], scratch, f32::NEG_INFINITY);
            maximum(maxima, scratch, &offsets);
            window.spread(&dy[plane * window.out_plane()..][..window.out_plane()], None, gradient, 0);
            dscratch.fill(0.0);
            scatter_to_maximum(maxima, gradient, scratch, &offsets, dscratch);
            window.unload(dscratch, dx, write);
        },
    );
}

/// One over the number of positions of each window that lie inside of the plane, `[out_h, out_w]`.
fn inverse_counts(window: &Window) -> Vec<f32> {
    let inside = |out: usize, size: usize| {
        (0..window.kernel).filter(|k| (window.padding..size + window.padding).contains(&(out * window.stride + k))).count()
    };
    let columns: Vec<usize> = (0..window.out_w).map(|x| inside(x, window.w)).collect();
    (0..window.out_h)
        .flat_map(|y| {
            let rows = inside(y, window.h);
            columns.iter().map(move |columns| 1.0 / (rows * columns) as f32)
        })
        .collect()
}

/// Mean of each window.
pub(crate) fn avg_forward(window: &Window, x: &[f32], y: &mut [f32]) {
    let (offsets, inverse) = (window.offsets(), inverse_counts(window));
    let ones = vec![1.0; offsets.len()];
    y.par_chunks_mut(window.out_plane()).with_min_len(planes_per_task(window.plane())).enumerate().for_each_init(
        || (vec![0.0; window.scratch_len()], vec![0.0; window.flat_len()]),
        |(scratch, flat), (plane, y)| {
            window.load(&x[plane * window.plane()..][..window.plane()], scratch, 0.0);
            correlate(flat, scratch, &offsets, &ones);
            window.collect(flat, y);
            y.iter_mut().zip(&inverse).for_each(|(y, inverse)| *y *= inverse);
        },
    );
}

/// Gradient of the input.
pub(crate) fn avg_backward(window: &Window, dy: &[f32], dx: &mut [f32], write: Write) {
    let inverse = inverse_counts(window);
    let ones = vec![1.0; window.kernel * window.kernel];
    dx.par_chunks_mut(window.plane()).with_min_len(planes_per_task(window.plane())).enumerate().for_each_init(
        || (vec![0.0; window.spread_len()], vec![0.0; window.scratch_len()]),
        |(gradient, scratch), (plane, dx)| {
            let dy = &dy[plane * window.out_plane()..][..window.out_plane()];
            window.spread(dy, Some(&inverse), gradient, window.lead());
            window.transpose(gradient, &ones, scratch);
            window.unload(scratch, dx, write);
        },
    );
}
