//! Normalisation of each channel over batch and space.
//!
//! Moments and gradient sums are taken plane by plane, on the way through whatever pass has the
//! plane in cache, and put together in a fixed order.

use rayon::prelude::*;

use super::view::{Affine, Gradients, Normal, Values};
use super::{InTasks, planes_per_task};
use crate::simd::{kernel, sums2};

/// Mean of a plane, and the sum of the squared distances from it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PlaneMoments {
    mean: f32,
    squares: f32,
}

/// Sums over a plane: of dy, and of dy · (x - mean of the channel).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct PlaneSums {
    pub(crate) dy: f32,
    pub(crate) dy_x: f32,
}

/// Where the [`PlaneSums`] of a normalisation's gradient go, and the mean of each channel.
pub(crate) struct Sums<'a> {
    pub(crate) planes: &'a mut [PlaneSums],
    pub(crate) means: &'a [f32],
}

kernel! {
    /// The moments of one plane, which is read twice.
    pub(crate) fn plane_moments(simd, x: &[f32]) -> PlaneMoments {
        let [sum] = sums2(simd, x, x, 0.0, |[sum], x, _| [simd.add(sum, x)]);
        let mean = sum / x.len() as f32;
        let center = simd.splat(mean);
        let [squares] = sums2(simd, x, x, mean, |[squares], x, _| {
            let distance = simd.sub(x, center);
            [simd.mul_add(distance, distance, squares)]
        });
        PlaneMoments { mean, squares }
    }

    pub(crate) fn plane_sums(simd, dy: &[f32], x: &[f32], mean: f32) -> PlaneSums {
        let mean = simd.splat(mean);
        let [dy, dy_x] = sums2(simd, dy, x, 0.0, |[total, products], dy, x| {
            [simd.add(total, dy), simd.mul_add(dy, simd.sub(x, mean), products)]
        });
        PlaneSums { dy, dy_x }
    }

    pub(crate) fn plane_sum(simd, x: &[f32]) -> f32 {
        let [sum] = sums2(simd, x, x, 0.0, |[sum], x, _| [simd.add(sum, x)]);
        sum
    }

    /// The dot product of two planes, one of them less `mean`.
    pub(crate) fn plane_product(simd, dy: &[f32], x: &[f32], mean: f32) -> f32 {
        let mean = simd.splat(mean);
        let [product] = sums2(simd, dy, x, 0.0, |[product], dy, x| {
            [simd.mul_add(dy, simd.sub(x, mean), product)]
        });
        product
    }
}

/// What normalisation by one set of statistics needs, one entry a channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    /// Divided by the number of values, without Bessel's correction.
    pub(crate) variance: Vec<f32>,
    inverse_sd: Vec<f32>,
    /// y = factor · (x - mean) + shift.
    factor: Vec<f32>,
    shift: Vec<f32>,
}

impl Moments {
    /// From mean and biased variance, and scale and shift where the operation has them.
    pub(crate) fn new(
        mean: Vec<f32>,
        variance: Vec<f32>,
        epsilon: f32,
        affine: Option<(&[f32], &[f32])>,
    ) -> Self {
        let inverse_sd: Vec<f32> = variance
            .iter()
            .map(|v| (1.0 / (f64::from(*v) + f64::from(epsilon)).sqrt()) as f32)
            .collect();
        let (factor, shift) = match affine {
            None => (inverse_sd.clone(), vec![0.0; mean.len()]),
            Some((scale, shift)) => {
                (inverse_sd.iter().zip(scale).map(|(i, scale)| i * scale).collect(), shift.to_vec())
            }
        };
        Self { mean, variance, inverse_sd, factor, shift }
    }

    /// What readers of the normalised tensor apply.
    pub(crate) fn affine(&self) -> Affine<'_> {
        Affine { mean: &self.mean, factor: &self.factor, shift: &self.shift }
    }

    /// What readers of the gradient of its input apply.
    pub(crate) fn gradient<'a>(&'a self, backward: &'a Backward, x: &'a [f32]) -> Normal<'a> {
        Normal {
            x,
            mean: &self.mean,
            factor: &self.factor,
            mean_dy: &backward.mean_dy,
            slope: &backward.slope,
        }
    }

    /// Of a batch, from the moments of its planes, `[n, channels]`, each of `plane` elements.
    pub(crate) fn of_batch(
        planes: &[PlaneMoments],
        channels: usize,
        plane: usize,
        epsilon: f32,
        affine: Option<(&[f32], &[f32])>,
    ) -> Self {
        let batch = (planes.len() / channels) as f64;
        let mut means = vec![0f64; channels];
        for samples in planes.chunks_exact(channels) {
            means.iter_mut().zip(samples).for_each(|(mean, plane)| *mean += f64::from(plane.mean));
        }
        means.iter_mut().for_each(|mean| *mean /= batch);
        let mut squares = vec![0f64; channels];
        for samples in planes.chunks_exact(channels) {
            for ((squares, mean), p) in squares.iter_mut().zip(&means).zip(samples) {
                *squares +=
                    f64::from(p.squares) + plane as f64 * (f64::from(p.mean) - mean).powi(2);
            }
        }
        let variance =
            squares.iter().map(|squares| (squares / (batch * plane as f64)) as f32).collect();
        Self::new(means.into_iter().map(|mean| mean as f32).collect(), variance, epsilon, affine)
    }
}

pub(crate) fn moments_of_planes(x: Values<'_>, moments: &mut [PlaneMoments]) {
    debug_assert!(x.is_plain(), "a normalisation reads a tensor itself");
    moments
        .par_iter_mut()
        .zip(x.data.par_chunks(x.plane))
        .in_tasks_of(planes_per_task(x.plane))
        .for_each(|(moments, x)| {
            *moments = plane_moments(x);
        });
}

/// The sums of all planes of dy and x; those of dy are of the bare tensor, without its scale and
/// mask.
pub(crate) fn sums_of_planes(dy: &[f32], x: &[f32], plane: usize, sums: Sums<'_>) {
    let channels = sums.means.len();
    let planes = dy.par_chunks(plane).zip(x.par_chunks(plane)).in_tasks_of(planes_per_task(plane));
    sums.planes.par_iter_mut().zip(planes).enumerate().for_each(|(i, (sums_of_plane, (dy, x)))| {
        *sums_of_plane = plane_sums(dy, x, sums.means[i % channels]);
    });
}

/// What the gradient of a normalisation's input is made of, one entry a channel; see
/// [`super::view::Normal`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Backward {
    /// Gradient of the shift: Σ dy.
    pub(crate) dshift: Vec<f32>,
    /// Gradient of the scale: Σ dy · normalised x.
    pub(crate) dscale: Vec<f32>,
    mean_dy: Vec<f32>,
    slope: Vec<f32>,
}

impl Backward {
    /// From the sums of the planes of the tensor that `dy` reads, `[n, channels]`.
    pub(crate) fn new(sums: &[PlaneSums], dy: &Gradients<'_>, moments: &Moments) -> Self {
        let channels = moments.mean.len();
        let count = (dy.data.len() / channels) as f64;
        let mut totals = vec![[0f64; 2]; channels];
        for (n, sums) in sums.chunks_exact(channels).enumerate() {
            let scale = f64::from(dy.scale_of(n));
            for ([total, products], sums) in totals.iter_mut().zip(sums) {
                *total += scale * f64::from(sums.dy);
                *products += scale * f64::from(sums.dy_x);
            }
        }
        let mut backward = Self::default();
        for (c, [total, products]) in totals.into_iter().enumerate() {
            let inverse_sd = f64::from(moments.inverse_sd[c]);
            backward.dshift.push(total as f32);
            backward.dscale.push((products * inverse_sd) as f32);
            backward.mean_dy.push((total / count) as f32);
            backward.slope.push(
                (f64::from(moments.factor[c]) * products * inverse_sd * inverse_sd / count) as f32,
            );
        }
        backward
    }
}
