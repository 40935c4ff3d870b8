//! Norms and optimiser steps on the CPU. Gradients that are on another device are read from there.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::cpu::Device;
use crate::ops::InTasks;
use crate::optim::{AdamRule, Gradient, Moments, Scale, SgdRule};
use crate::simd::kernel;
use crate::storage::Storage;
use crate::{Result, Variables};

/// Most values of a piece of a tensor.
const CHUNK: usize = 1 << 14;
/// Pieces of one task, since many are small.
const PIECES: usize = 4;

/// Values on the host, and what they are multiplied with.
type Scaled<'a> = (Cow<'a, [f32]>, f32);

fn on_host<'a>(gradients: &[Gradient<'a>]) -> Result<Vec<Scaled<'a>>> {
    gradients
        .iter()
        .map(|gradient| Ok((gradient.source.values()?, gradient.scale.value()?)))
        .collect()
}

/// The Euclidean norm of all gradients together.
pub(crate) fn norm(gradients: &[Gradient<'_>], device: &Device) -> Result<f32> {
    let square = |(values, scale): &Scaled<'_>| {
        let parts: Vec<f64> = values.par_chunks(CHUNK).map(sum_of_squares).collect();
        f64::from(*scale).powi(2) * parts.into_iter().sum::<f64>()
    };
    let gradients = on_host(gradients)?;
    let squares: Vec<f64> = device.install(|| gradients.par_iter().map(square).collect());
    Ok(squares.into_iter().sum::<f64>().sqrt() as f32)
}

/// Scales the gradients down where their norm exceeds `max_norm`.
pub(crate) fn clip(gradients: &mut [Gradient<'_>], max_norm: f32, device: &Device) -> Result<()> {
    let factor = max_norm / (norm(gradients, device)? + 1e-6);
    if factor < 1.0 {
        for gradient in gradients {
            gradient.scale = Scale::Host(factor * gradient.scale.value()?);
        }
    }
    Ok(())
}

/// One step of gradient descent; `velocity` has a tensor for each gradient.
pub(crate) fn sgd_step(
    rule: SgdRule,
    variables: &mut Variables,
    velocity: &mut [&mut Storage],
    gradients: &[Gradient<'_>],
    device: &Device,
) -> Result<()> {
    let values = on_host(gradients)?;
    let weights = variables.several_mut(gradients.iter().map(Gradient::position))?;
    let velocities: Vec<&mut [f32]> =
        velocity.iter_mut().map(|slot| slot.host_mut()).collect::<Result<_>>()?;
    // All parameters are cut into one list of pieces: most are too small for a task of their own.
    let pieces: Vec<_> = weights
        .into_iter()
        .zip(velocities)
        .zip(&values)
        .flat_map(|((w, v), (g, scale))| {
            let pieces = w.chunks_mut(CHUNK).zip(v.chunks_mut(CHUNK)).zip(g.chunks(CHUNK));
            pieces.map(|((w, v), g)| (w, v, g, *scale))
        })
        .collect();
    let SgdRule { momentum, weight_decay, rate } = rule;
    device.install(|| {
        pieces.into_par_iter().in_tasks_of(PIECES).for_each(|(w, v, g, scale)| {
            momentum_step(w, v, g, scale, momentum, weight_decay, rate)
        })
    });
    Ok(())
}

/// One step of Adam; the moments have a tensor for each gradient.
pub(crate) fn adam_step(
    rule: AdamRule,
    variables: &mut Variables,
    Moments { first, second }: Moments<'_>,
    gradients: &[Gradient<'_>],
) -> Result<()> {
    let AdamRule { betas: (b1, b2), weight_decay, epsilon, step_size, root } = rule;
    for (gradient, (first, second)) in gradients.iter().zip(first.iter_mut().zip(second)) {
        let (values, scale) = (gradient.source.values()?, gradient.scale.value()?);
        let (weights, first, second) =
            (variables.data_mut(gradient.position)?, first.host_mut()?, second.host_mut()?);
        for ((w, g), (m, v)) in
            weights.iter_mut().zip(values.iter()).zip(first.iter_mut().zip(second))
        {
            let g = scale * g + weight_decay * *w;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *w -= step_size * *m / (v.sqrt() / root + epsilon);
        }
    }
    Ok(())
}

/// Moves averages towards the values at these positions, one for each average.
pub(crate) fn average(
    decay: f32,
    averages: &mut Variables,
    values: &Variables,
    positions: &[usize],
    device: &Device,
) -> Result<()> {
    let values: Vec<&[f32]> =
        positions.iter().map(|&position| values.at(position).data()).collect::<Result<_>>()?;
    let averages = averages.several_mut(0..positions.len())?;
    let pieces: Vec<_> = averages
        .into_iter()
        .zip(values)
        .flat_map(|(a, v)| a.chunks_mut(CHUNK).zip(v.chunks(CHUNK)))
        .collect();
    device.install(|| {
        pieces.into_par_iter().in_tasks_of(PIECES).for_each(|(a, v)| average_step(a, v, decay))
    });
    Ok(())
}

kernel! {
    fn sum_of_squares(simd, values: &[f32]) -> f64 {
        let (chunks, rest) = values.as_chunks::<8>();
        let mut lanes = [0f64; 8];
        for values in chunks {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane += f64::from(*value) * f64::from(*value);
            }
        }
        let rest = rest.iter().map(|value| f64::from(*value) * f64::from(*value));
        lanes.iter().sum::<f64>() + rest.sum::<f64>()
    }

    fn momentum_step(
        simd, w: &mut [f32], v: &mut [f32], g: &[f32], scale: f32, momentum: f32, weight_decay: f32,
        rate: f32,
    ) {
        for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
            *v = momentum * *v + (scale * g + weight_decay * *w);
            *w -= rate * *v;
        }
    }

    fn average_step(simd, average: &mut [f32], value: &[f32], decay: f32) {
        for (a, v) in average.iter_mut().zip(value) {
            *a = decay * *a + (1.0 - decay) * v;
        }
    }
}
