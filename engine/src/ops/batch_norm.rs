//! Normalisation of each channel over batch and space.

use rayon::prelude::*;

use super::{Write, lane_sum, planes_per_task};

/// What a training forward pass leaves for the backward pass and the running statistics, one entry a channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    /// Biased.
    pub(crate) variance: Vec<f32>,
    pub(crate) inverse_sd: Vec<f32>,
}

const LANES: usize = 16;

#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut tail = 0.0;
    for x in chunks.remainder() {
        tail += x;
    }
    for x in chunks {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += x;
        }
    }
    lane_sum(lanes) + tail
}

#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn sum_of_squares(x: &[f32], mean: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let chunks = x.chunks_exact(LANES);
    let mut tail = 0.0;
    for x in chunks.remainder() {
        tail += (x - mean) * (x - mean);
    }
    for x in chunks {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane += (x - mean) * (x - mean);
        }
    }
    lane_sum(lanes) + tail
}

#[multiversion::multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn sum_of_products(dy: &[f32], x: &[f32], mean: f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (dy_chunks, x_chunks) = (dy.chunks_exact(LANES), x.chunks_exact(LANES));
    let mut tail = 0.0;
    for (dy, x) in dy_chunks.remainder().iter().zip(x_chunks.remainder()) {
        tail += dy * (x - mean);
    }
    for (dy, x) in dy_chunks.zip(x_chunks) {
        for (lane, (dy, x)) in lanes.iter_mut().zip(dy.iter().zip(x)) {
            *lane += dy * (x - mean);
        }
    }
    lane_sum(lanes) + tail
}

/// Mean and variance of every channel of x `[n, channels, plane]`.
pub(crate) fn moments(x: &[f32], channels: usize, plane: usize, epsilon: f32) -> Moments {
    let count = (x.len() / channels) as f64;
    let per_channel: Vec<(f32, f32)> = (0..channels)
        .into_par_iter()
        .map(|channel| {
            let planes = || x.chunks_exact(plane).skip(channel).step_by(channels);
            let mean = (planes().map(|p| f64::from(sum(p))).sum::<f64>() / count) as f32;
            let variance = (planes().map(|p| f64::from(sum_of_squares(p, mean))).sum::<f64>() / count) as f32;
            (mean, variance)
        })
        .collect();
    let (mean, variance): (Vec<f32>, Vec<f32>) = per_channel.into_iter().unzip();
    let inverse_sd = inverse_sd(&variance, epsilon);
    Moments { mean, variance, inverse_sd }
}

/// 1 / √(variance + epsilon).
pub(crate) fn inverse_sd(variance: &[f32], epsilon: f32) -> Vec<f32> {
    variance.iter().map(|v| (1.0 / (f64::from(*v) + f64::from(epsilon)).sqrt()) as f32).collect()
}

/// The values of scale and shift, where the operation has them.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
}

/// y = (x - mean) · inverse_sd · scale + shift.
pub(crate) fn normalize(x: &[f32], plane: usize, mean: &[f32], inverse_sd: &[f32], affine: Option<Affine<'_>>, y: &mut [f32]) {
    let channels = mean.len();
    y.par_chunks_mut(plane).zip(x.par_chunks(plane)).with_min_len(planes_per_task(plane)).enumerate().for_each(|(i, (y, x))| {
        let c = i % channels;
        let (scale, shift) = affine.map_or((1.0, 0.0), |a| (a.scale[c], a.shift[c]));
        let (mean, factor) = (mean[c], inverse_sd[c] * scale);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * factor + shift);
    });
}

/// Sums over batch and space that the gradients are made of, one entry a channel: dy, and dy · normalised x.
pub(crate) struct GradientSums {
    pub(crate) dy: Vec<f32>,
    pub(crate) dy_x: Vec<f32>,
}

/// The sums of [`GradientSums`]; they are the gradients of shift and scale.
pub(crate) fn gradient_sums(x: &[f32], dy: &[f32], plane: usize, moments: &Moments) -> GradientSums {
    let channels = moments.mean.len();
    let (dy, dy_x) = (0..channels)
        .into_par_iter()
        .map(|c| {
            let planes = |t| <[f32]>::chunks_exact(t, plane).skip(c).step_by(channels);
            let total: f64 = planes(dy).map(|dy| f64::from(sum(dy))).sum();
            let products: f64 = planes(dy).zip(planes(x)).map(|(dy, x)| f64::from(sum_of_products(dy, x, moments.mean[c]))).sum();
            (total as f32, (products * f64::from(moments.inverse_sd[c])) as f32)
        })
        .unzip();
    GradientSums { dy, dy_x }
}

/// Gradient of the input, through the batch statistics.
#[allow(clippy::too_many_arguments)] // the operands of one formula
pub(crate) fn backward_input(
    x: &[f32],
    dy: &[f32],
    plane: usize,
    moments: &Moments,
    sums: &GradientSums,
    scale: Option<&[f32]>,
    dx: &mut [f32],
    write: Write,
) {
    let channels = moments.mean.len();
    let count = (x.len() / channels) as f32;
    dx.par_chunks_mut(plane).zip(x.par_chunks(plane).zip(dy.par_chunks(plane))).with_min_len(planes_per_task(plane)).enumerate().for_each(
        |(i, (dx, (x, dy)))| {
            let c = i % channels;
            let inverse_sd = moments.inverse_sd[c];
            let factor = inverse_sd * scale.map_or(1.0, |scale| scale[c]);
            let (mean, mean_dy, slope) = (moments.mean[c], sums.dy[c] / count, sums.dy_x[c] / count * inverse_sd);
            write.apply(dx, dy.iter().zip(x).map(|(dy, x)| factor * (dy - mean_dy - (x - mean) * slope)));
        },
    );
}
