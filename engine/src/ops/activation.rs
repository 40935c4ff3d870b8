//! Functions of each element with a derivative of their own.

use rayon::prelude::*;

use super::view::{Plane, Values};
use super::{InTasks, Write, planes_per_task};
use crate::Activation;
use crate::simd::kernel;

/// Elements that are worked on while they are in the first cache.
const BLOCK: usize = 256;

/// Applies an activation to x as its readers see it.
pub(crate) fn forward(activation: Activation, x: Values<'_>, y: &mut [f32]) {
    y.par_chunks_mut(x.plane)
        .in_tasks_of(planes_per_task(x.plane))
        .enumerate()
        .for_each(|(i, y)| apply(activation, x.at(i), y));
}

/// Gradient of [`forward`].
pub(crate) fn backward(
    activation: Activation,
    x: Values<'_>,
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    let planes = dx
        .par_chunks_mut(x.plane)
        .zip(dy.par_chunks(x.plane))
        .in_tasks_of(planes_per_task(x.plane));
    planes.enumerate().for_each(|(i, (dx, dy))| carry_back(activation, x.at(i), dy, write, dx));
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// min(max(x + 3, 0), 6) / 6; NaN stays NaN.
#[inline(always)]
fn hard_sigmoid(x: f32) -> f32 {
    (x + 3.0).clamp(0.0, 6.0) * (1.0 / 6.0)
}

kernel! {
    fn apply(simd, activation: Activation, x: Plane<'_>, y: &mut [f32]) {
        x.read(simd, 0, y);
        match activation {
            Activation::Relu6 => y.iter_mut().for_each(|y| *y = y.clamp(0.0, 6.0)),
            Activation::HardSigmoid => y.iter_mut().for_each(|y| *y = hard_sigmoid(*y)),
            Activation::HardSwish => y.iter_mut().for_each(|y| *y *= hard_sigmoid(*y)),
            Activation::Sigmoid => y.iter_mut().for_each(|y| *y = sigmoid(*y)),
            Activation::Silu => y.iter_mut().for_each(|y| *y *= sigmoid(*y)),
        }
    }

    fn carry_back(
        simd, activation: Activation, x: Plane<'_>, dy: &[f32], write: Write, dx: &mut [f32],
    ) {
        let mut slopes = [0f32; BLOCK];
        for (i, (dx, dy)) in dx.chunks_mut(BLOCK).zip(dy.chunks(BLOCK)).enumerate() {
            let slopes = &mut slopes[..dx.len()];
            x.read(simd, i * BLOCK, slopes);
            match activation {
                Activation::Relu6 => slopes.iter_mut().for_each(|x| {
                    *x = if *x > 0.0 && *x < 6.0 { 1.0 } else { 0.0 };
                }),
                Activation::HardSigmoid => slopes.iter_mut().for_each(|x| {
                    *x = if *x > -3.0 && *x < 3.0 { 1.0 / 6.0 } else { 0.0 };
                }),
                Activation::HardSwish => slopes.iter_mut().for_each(|x| {
                    let inside = x.mul_add(2.0, 3.0) * (1.0 / 6.0);
                    *x = if *x >= 3.0 { 1.0 } else if *x > -3.0 { inside } else { 0.0 };
                }),
                Activation::Sigmoid => slopes.iter_mut().for_each(|x| {
                    let y = sigmoid(*x);
                    *x = y * (1.0 - y);
                }),
                Activation::Silu => slopes.iter_mut().for_each(|x| {
                    let y = sigmoid(*x);
                    *x = y * (1.0 + *x * (1.0 - y));
                }),
            }
            write.apply(dx, dy.iter().zip(&*slopes).map(|(dy, slope)| dy * slope));
        }
    }
}
