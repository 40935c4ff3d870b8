//! Depthwise convolution: one kernel a channel, on planes that stay in cache.

use rayon::prelude::*;

use super::batch_norm::{PlaneMoments, Sums, plane_sums};
use super::planes::each_plane;
use super::scratch::{self, Padded, Scratch};
use super::view::{self, Gradients, Plane, Values, read_gradient};
use super::window::{self, Window};
use super::{InTasks, TASKS, Write, chunks_if_wanted};
use crate::aligned::Aligned;
use crate::simd::MOST_LANES;

/// `y[n, c] = x[n, c] ⋆ weight[c] (+ bias[c])`, and the moments of its planes where a normalisation
/// by batch statistics follows.
pub(crate) fn forward(
    window: &Window,
    x: Values<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    moments: Option<&mut [PlaneMoments]>,
) {
    let (taps, channels) = (window.taps(), x.channels);
    each_plane(window, x, y, moments, 0.0, |plane, padded, y| {
        let channel = plane % channels;
        window::correlate(window, padded, &weight[channel * taps..][..taps], y);
        if let Some(bias) = bias {
            y.iter_mut().for_each(|y| *y += bias[channel]);
        }
    });
}

/// The gradient of one plane of input, without what x was read through. `dx` is overwritten,
/// `turned` and `phases` are scratch.
pub(crate) fn input_gradient(
    window: &Window,
    gradient: &[f32],
    weight: &[f32],
    turned: &mut Padded,
    phases: &mut Aligned,
    dx: &mut [f32],
) {
    let Some((back, reversed)) = window.back().zip(reversed(weight)) else {
        phases.resize(window.scratch_len());
        window::transpose(window, gradient, weight, turned.prepare_flat(window), phases);
        return window::unload(window, phases, dx);
    };
    let turned = turned.prepare(back, 1, 0.0);
    window::load(back, Plane::plain(gradient), turned);
    window::correlate(back, turned, &reversed[..weight.len()], dx);
}

/// [`input_gradient`] of two planes by the same weights, by the window that carries gradients back;
/// one result after the other.
pub(crate) fn input_gradient_of_two(
    back: &Window,
    gradients: [&[f32]; 2],
    reversed: &[f32],
    turned: &mut Padded,
    dx: &mut [f32],
) {
    let (length, size) = (back.scratch_len(), back.out_plane());
    let turned = turned.prepare(back, 2, 0.0);
    for (gradient, turned) in gradients.into_iter().zip(turned.chunks_exact_mut(length)) {
        window::load(back, Plane::plain(gradient), turned);
    }
    window::correlate_two(back, turned, length, reversed, dx, size);
}

/// Most taps of a kernel that is turned round; others are carried back tap by tap.
const MOST_TAPS: usize = 81;

/// The kernel turned round, where it is small enough for the stack.
pub(crate) fn reversed(weight: &[f32]) -> Option<[f32; MOST_TAPS]> {
    let mut reversed = [0.0; MOST_TAPS];
    reversed
        .get_mut(..weight.len())?
        .iter_mut()
        .zip(weight.iter().rev())
        .for_each(|(to, weight)| *to = *weight);
    Some(reversed)
}

/// What the backward pass is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) dx: Option<(&'a mut [f32], Write)>,
    /// Sums for the normalisation that x is read through; `dx` is then its whole gradient.
    pub(crate) sums: Option<Sums<'a>>,
    pub(crate) dweight: Option<(&'a mut [f32], Write)>,
}

/// The gradients wanted, from that of the output.
pub(crate) fn backward(
    window: &Window,
    x: Values<'_>,
    weight: &[f32],
    dy: Gradients<'_>,
    wanted: Wanted<'_>,
) {
    let (taps, channels) = (window.taps(), x.channels);
    let batch = x.data.len() / (channels * x.plane);
    let chunk = batch.div_ceil(TASKS);
    let Wanted { dx, sums, mut dweight } = wanted;
    let write = dx.as_ref().map_or(Write::Set, |(_, write)| *write);
    let count = batch.div_ceil(chunk);
    let mut dx_chunks = chunks_if_wanted(dx.map(|(dx, _)| dx), chunk * channels * x.plane, count);
    let (sums, means) = sums.map_or((None, &[][..]), |sums| (Some(sums.planes), sums.means));
    let mut sum_chunks = chunks_if_wanted(sums, chunk * channels, count);
    let size = if dweight.is_some() { weight.len() } else { 0 };
    scratch::with_sums(count * size, |partials| {
        let mut partial_chunks =
            chunks_if_wanted((size > 0).then_some(&mut *partials), size, count);
        let tasks = dx_chunks
            .par_iter_mut()
            .zip(&mut sum_chunks)
            .zip(&mut partial_chunks)
            .in_tasks_of(1)
            .enumerate();
        tasks.for_each(|(index, ((dx, sums), partial))| {
            scratch::with(
                |Scratch {
                     padded,
                     turned,
                     phases,
                     lanes,
                     output: gradient,
                     sample: result,
                     ..
                 }| {
                    gradient.resize(window.out_plane());
                    lanes.resize(size * MOST_LANES);
                    lanes.fill(0.0);
                    let padded = padded.prepare(window, 1, 0.0);
                    let first = index * chunk * channels;
                    let end = ((index + 1) * chunk * channels).min(batch * channels);
                    // One channel after the other, so that its sums stay in the nearest cache.
                    for i in
                        (0..channels).flat_map(|channel| (first + channel..end).step_by(channels))
                    {
                        let (channel, plane) = (i % channels, x.at(i));
                        read_gradient(&dy, i, 0, gradient);
                        if size > 0 {
                            window::load(window, plane, padded);
                            window::tap_products(
                                window,
                                gradient,
                                padded,
                                &mut lanes[channel * taps * MOST_LANES..][..taps * MOST_LANES],
                            );
                        }
                        if let Some(dx) = dx {
                            let dx = &mut dx[(i - first) * x.plane..][..x.plane];
                            view::send_result(result, Some(plane), write, dx, |dx| {
                                input_gradient(
                                    window,
                                    gradient,
                                    &weight[channel * taps..][..taps],
                                    turned,
                                    phases,
                                    dx,
                                );
                            });
                            if let Some(sums) = sums {
                                sums[i - first] = plane_sums(dx, plane.data, means[channel]);
                            }
                        }
                    }
                    if let Some(partial) = partial {
                        window::sum_taps(window, lanes, partial);
                    }
                },
            );
        });
        if let Some((dweight, write)) = &mut dweight {
            write.clear(dweight);
            partials
                .chunks_exact(size)
                .for_each(|partial| Write::Add.apply(dweight, partial.iter().copied()));
        }
    });
}
