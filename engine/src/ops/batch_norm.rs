//! Normalisation of each channel over batch and space.
//!
//! Moments and gradient sums are taken plane by plane, on the way through whatever pass has the plane in cache, and put together in a
//! fixed order.

use rayon::prelude::*;

use super::view::{self, Affine, Gradients, Normal, Values};
use super::{Write, lane_sum, planes_per_task};
use crate::simd::kernel;

const LANES: usize = 16;

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
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut lanes = [0f32; LANES];
        for x in chunks {
            for (lane, x) in lanes.iter_mut().zip(x) {
                *lane += x;
            }
        }
        let mean = (lane_sum(lanes) + rest.iter().sum::<f32>()) / x.len() as f32;
        let mut lanes = [0f32; LANES];
        for x in chunks {
            for (lane, x) in lanes.iter_mut().zip(x) {
                *lane += (x - mean) * (x - mean);
            }
        }
        let squares = lane_sum(lanes) + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        PlaneMoments { mean, squares }
    }

    /// The sums of one plane.
    pub(crate) fn plane_sums(simd, dy: &[f32], x: &[f32], mean: f32) -> PlaneSums {
        let ((dys, dy_rest), (xs, x_rest)) = (dy.as_chunks::<LANES>(), x.as_chunks::<LANES>());
        let (mut total, mut products) = ([0f32; LANES], [0f32; LANES]);
        for (dy, x) in dys.iter().zip(xs) {
            for i in 0..LANES {
                total[i] += dy[i];
                products[i] += dy[i] * (x[i] - mean);
            }
        }
        let mut rest = PlaneSums::default();
        for (dy, x) in dy_rest.iter().zip(x_rest) {
            rest.dy += dy;
            rest.dy_x += dy * (x - mean);
        }
        PlaneSums { dy: lane_sum(total) + rest.dy, dy_x: lane_sum(products) + rest.dy_x }
    }

    /// The sum of one plane.
    pub(crate) fn plane_sum(simd, x: &[f32]) -> f32 {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let mut lanes = [0f32; LANES];
        for x in chunks {
            for (lane, x) in lanes.iter_mut().zip(x) {
                *lane += x;
            }
        }
        lane_sum(lanes) + rest.iter().sum::<f32>()
    }

    /// The dot product of two planes, one of them less `mean`.
    pub(crate) fn plane_product(simd, dy: &[f32], x: &[f32], mean: f32) -> f32 {
        let ((dys, dy_rest), (xs, x_rest)) = (dy.as_chunks::<LANES>(), x.as_chunks::<LANES>());
        let mut products = [0f32; LANES];
        for (dy, x) in dys.iter().zip(xs) {
            for i in 0..LANES {
                products[i] += dy[i] * (x[i] - mean);
            }
        }
        lane_sum(products) + dy_rest.iter().zip(x_rest).map(|(dy, x)| dy * (x - mean)).sum::<f32>()
    }
}

/// What normalisation by one set of statistics needs, one entry a channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    /// Biased.
    pub(crate) variance: Vec<f32>,
    inverse_sd: Vec<f32>,
    /// y = factor · (x - mean) + shift.
    factor: Vec<f32>,
    shift: Vec<f32>,
}

impl Moments {
    /// From mean and biased variance, and scale and shift where the operation has them.
    pub(crate) fn new(mean: Vec<f32>, variance: Vec<f32>, epsilon: f32, affine: Option<(&[f32], &[f32])>) -> Self {
        let inverse_sd: Vec<f32> = variance.iter().map(|v| (1.0 / (f64::from(*v) + f64::from(epsilon)).sqrt()) as f32).collect();
        let (factor, shift) = match affine {
            None => (inverse_sd.clone(), vec![0.0; mean.len()]),
            Some((scale, shift)) => (inverse_sd.iter().zip(scale).map(|(i, scale)| i * scale).collect(), shift.to_vec()),
        };
        Self { mean, variance, inverse_sd, factor, shift }
    }

    /// Those of one channel.
    fn of_channel(&self, c: usize) -> Self {
        let one = |values: &[f32]| vec![values[c]];
        Self {
            mean: one(&self.mean),
            variance: one(&self.variance),
            inverse_sd: one(&self.inverse_sd),
            factor: one(&self.factor),
            shift: one(&self.shift),
        }
    }

    /// What readers of the normalised tensor apply.
    pub(crate) fn affine(&self) -> Affine<'_> {
        Affine { mean: &self.mean, factor: &self.factor, shift: &self.shift }
    }

    /// What readers of the gradient of its input apply.
    pub(crate) fn gradient<'a>(&'a self, backward: &'a Backward, x: &'a [f32]) -> Normal<'a> {
        Normal { x, mean: &self.mean, factor: &self.factor, mean_dy: &backward.mean_dy, slope: &backward.slope }
    }

    /// Of a batch, from the moments of its planes, `[n, channels]`, each of `plane` elements.
    pub(crate) fn of_batch(planes: &[PlaneMoments], channels: usize, plane: usize, epsilon: f32, affine: Option<(&[f32], &[f32])>) -> Self {
        let batch = (planes.len() / channels) as f64;
        let (mean, variance) = (0..channels)
            .map(|c| {
                let planes = || planes.iter().skip(c).step_by(channels);
                let mean = planes().map(|p| f64::from(p.mean)).sum::<f64>() / batch;
                let squares = planes().map(|p| f64::from(p.squares) + plane as f64 * (f64::from(p.mean) - mean).powi(2)).sum::<f64>();
                (mean as f32, (squares / (batch * plane as f64)) as f32)
            })
            .unzip();
        Self::new(mean, variance, epsilon, affine)
    }
}

/// The planes of each channel of `[n, channels, plane]`.
fn by_channel(data: &mut [f32], channels: usize, plane: usize) -> Vec<Vec<&mut [f32]>> {
    let mut planes: Vec<Vec<&mut [f32]>> = (0..channels).map(|_| Vec::new()).collect();
    data.chunks_mut(plane).enumerate().for_each(|(i, data)| planes[i % channels].push(data));
    planes
}

/// Normalises x by its own moments, channel by channel, so that a channel is read again while it is near.
pub(crate) fn forward(x: Values<'_>, epsilon: f32, affine: Option<(&[f32], &[f32])>, y: &mut [f32]) -> Moments {
    let (channels, plane) = (x.channels, x.plane);
    let of_channel: Vec<Moments> = by_channel(y, channels, plane)
        .into_par_iter()
        .enumerate()
        .map(|(c, y)| {
            let planes: Vec<PlaneMoments> = (0..y.len()).map(|n| plane_moments(x.at(n * channels + c).data)).collect();
            let affine = affine.map(|(scale, shift)| (&scale[c..=c], &shift[c..=c]));
            let moments = Moments::of_batch(&planes, 1, plane, epsilon, affine);
            for (n, y) in y.into_iter().enumerate() {
                let data = x.at(n * channels + c).data;
                let values = Values { affine: Some(moments.affine()), ..Values::plain(data, 1, plane) };
                view::materialize(values.at(0), y);
            }
            moments
        })
        .collect();
    let column = |field: fn(&Moments) -> &Vec<f32>| of_channel.iter().flat_map(field).copied().collect();
    Moments {
        mean: column(|m| &m.mean),
        variance: column(|m| &m.variance),
        inverse_sd: column(|m| &m.inverse_sd),
        factor: column(|m| &m.factor),
        shift: column(|m| &m.shift),
    }
}

/// The gradient of x from `dy`, the bare gradient of the normalised tensor, channel by channel like [`forward`].
pub(crate) fn backward(x: &[f32], dy: &[f32], plane: usize, moments: &Moments, dx: &mut [f32], write: Write) -> Backward {
    let channels = moments.mean.len();
    let of_channel: Vec<Backward> = by_channel(dx, channels, plane)
        .into_par_iter()
        .enumerate()
        .map(|(c, dx)| {
            let at = |n: usize| (n * channels + c) * plane..(n * channels + c + 1) * plane;
            let sums: Vec<PlaneSums> = (0..dx.len()).map(|n| plane_sums(&dy[at(n)], &x[at(n)], moments.mean[c])).collect();
            let moments = moments.of_channel(c);
            let backward = Backward::of_sums(&sums, |_| 1.0, (dx.len() * plane) as f64, &moments);
            for (n, dx) in dx.into_iter().enumerate() {
                let normal = Some(moments.gradient(&backward, &x[at(n)]));
                view::send(Gradients { normal, ..Gradients::plain(&dy[at(n)], 1, plane) }.at(0), None, write, dx);
            }
            backward
        })
        .collect();
    let column = |field: fn(&Backward) -> &Vec<f32>| of_channel.iter().flat_map(field).copied().collect();
    Backward { dshift: column(|b| &b.dshift), dscale: column(|b| &b.dscale), mean_dy: column(|b| &b.mean_dy), slope: column(|b| &b.slope) }
}

/// The moments of all planes of x.
pub(crate) fn moments_of_planes(x: Values<'_>, moments: &mut [PlaneMoments]) {
    debug_assert!(x.is_plain(), "a normalisation reads a tensor itself");
    moments.par_iter_mut().zip(x.data.par_chunks(x.plane)).with_min_len(planes_per_task(x.plane)).for_each(|(moments, x)| {
        *moments = plane_moments(x);
    });
}

/// The sums of all planes of dy and x; those of dy are of the bare tensor, without its scale and mask.
pub(crate) fn sums_of_planes(dy: &[f32], x: &[f32], plane: usize, sums: Sums<'_>) {
    let channels = sums.means.len();
    let planes = dy.par_chunks(plane).zip(x.par_chunks(plane)).with_min_len(planes_per_task(plane));
    sums.planes.par_iter_mut().zip(planes).enumerate().for_each(|(i, (sums_of_plane, (dy, x)))| {
        *sums_of_plane = plane_sums(dy, x, sums.means[i % channels]);
    });
}

/// What the gradient of a normalisation's input is made of, one entry a channel; see [`super::view::Normal`].
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
        Self::of_sums(sums, |n| dy.scale_of(n), (dy.data.len() / moments.mean.len()) as f64, moments)
    }

    /// From sums of planes that count `scale(n)` in sample n; a channel has `count` elements.
    fn of_sums(sums: &[PlaneSums], scale: impl Fn(usize) -> f32, count: f64, moments: &Moments) -> Self {
        let channels = moments.mean.len();
        let mut backward = Self::default();
        for c in 0..channels {
            let (mut total, mut products) = (0f64, 0f64);
            for (n, sums) in sums.iter().skip(c).step_by(channels).enumerate() {
                let scale = f64::from(scale(n));
                total += scale * f64::from(sums.dy);
                products += scale * f64::from(sums.dy_x);
            }
            let inverse_sd = f64::from(moments.inverse_sd[c]);
            backward.dshift.push(total as f32);
            backward.dscale.push((products * inverse_sd) as f32);
            backward.mean_dy.push((total / count) as f32);
            backward.slope.push((f64::from(moments.factor[c]) * products * inverse_sd * inverse_sd / count) as f32);
        }
        backward
    }
}
