//! Maximum and average over windows, padding excluded.

use rayon::prelude::*;

use super::batch_norm::PlaneMoments;
use super::planes::each_plane;
use super::scratch::{self, Scratch};
use super::view::{self, Gradients, Plane, Values, read_gradient};
use super::window::{self, Window};
use super::{InTasks, Write, depthwise, planes_per_task};
use crate::simd::{kernel, update};

pub(crate) fn max_forward(
    window: &Window,
    x: Values<'_>,
    y: &mut [f32],
    moments: Option<&mut [PlaneMoments]>,
) {
    each_plane(window, x, y, moments, f32::NEG_INFINITY, |_, scratch, y| {
        window::maximum(window, scratch, y)
    });
}

/// Gradient of the input: that of each output goes to the first maximum of its window, in row
/// order.
pub(crate) fn max_backward(
    window: &Window,
    x: Values<'_>,
    dy: Gradients<'_>,
    dx: &mut [f32],
    write: Write,
) {
    dx.par_chunks_mut(window.plane())
        .in_tasks_of(planes_per_task(window.plane()))
        .enumerate()
        .for_each(|(i, dx)| {
            scratch::with(
                |Scratch {
                     padded,
                     turned,
                     phases,
                     chosen,
                     matrix: taps,
                     output: gradient,
                     sample: result,
                     ..
                 }| {
                    let plane = x.at(i);
                    let padded = padded.prepare(window, 1, f32::NEG_INFINITY);
                    window::load(window, plane, padded);
                    view::send_result(result, Some(plane), write, dx, |dx| match window.back() {
                        Some(back) => {
                            let (turned, chosen) =
                                (turned.prepare(back, 1, 0.0), chosen.prepare(back, 1, -1.0));
                            window::load_gradient(back, dy.at(i), turned);
                            let (start, pitch) = back.inside();
                            window::first_maximum(window, padded, &mut chosen[start..], pitch);
                            window::gather_chosen(back, turned, chosen, dx);
                        }
                        None => {
                            taps.resize(window.out_plane());
                            gradient.resize(window.out_plane());
                            window::first_maximum(window, padded, taps, window.out_w);
                            read_gradient(&dy, i, 0, gradient);
                            phases.resize(window.scratch_len());
                            window::scatter_chosen(window, gradient, taps, phases);
                            window::unload(window, phases, dx);
                        }
                    });
                },
            );
        });
}

/// One over the number of positions of each window that lie inside of the plane, `[out_h, out_w]`.
fn inverse_counts(window: &Window) -> Vec<f32> {
    let inside = |out: usize, size: usize| {
        (0..window.kernel)
            .filter(|k| {
                (window.padding..size + window.padding).contains(&(out * window.stride + k))
            })
            .count()
    };
    let columns: Vec<usize> = (0..window.out_w).map(|x| inside(x, window.w)).collect();
    (0..window.out_h)
        .flat_map(|y| {
            let rows = inside(y, window.h);
            columns.iter().map(move |columns| 1.0 / (rows * columns) as f32)
        })
        .collect()
}

pub(crate) fn avg_forward(
    window: &Window,
    x: Values<'_>,
    y: &mut [f32],
    moments: Option<&mut [PlaneMoments]>,
) {
    let inverse = inverse_counts(window);
    each_plane(window, x, y, moments, 0.0, |_, scratch, y| {
        window::sum(window, scratch, y);
        multiply_by(&inverse, y);
    });
}

/// Gradient of the input, which is read where a ReLU has to be undone.
pub(crate) fn avg_backward(
    window: &Window,
    x: Option<Values<'_>>,
    dy: Gradients<'_>,
    dx: &mut [f32],
    write: Write,
) {
    let (ones, inverse) = (vec![1.0; window.taps()], inverse_counts(window));
    dx.par_chunks_mut(window.plane())
        .in_tasks_of(planes_per_task(window.plane()))
        .enumerate()
        .for_each(|(i, dx)| {
            scratch::with(
                |Scratch { turned, phases, output: gradient, sample: result, .. }| {
                    gradient.resize(window.out_plane());
                    read_gradient(&dy, i, 0, gradient);
                    multiply_by(&inverse, gradient);
                    view::send_result(result, x.map(|x| x.at(i)), write, dx, |dx| {
                        match window.back() {
                            Some(back) => {
                                let turned = turned.prepare(back, 1, 0.0);
                                window::load(back, Plane::plain(gradient), turned);
                                window::sum(back, turned, dx);
                            }
                            None => depthwise::input_gradient(
                                window, gradient, &ones, turned, phases, dx,
                            ),
                        }
                    });
                },
            );
        });
}

kernel! {
    fn multiply_by(simd, factors: &[f32], values: &mut [f32]) {
        update(simd, values, factors, |value, factor| simd.mul(value, factor));
    }
}
