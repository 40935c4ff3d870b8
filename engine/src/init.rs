use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use crate::Shape;

/// How a parameter gets its first values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Normal with mean 0 and the given standard deviation.
    Normal(f32),
    /// Uniform in `[-bound, bound]`.
    Uniform(f32),
    /// Uniform in `±1/√fan_in`, fan_in being the product of all extents but the first: what
    /// PyTorch's convolution and linear layers start from (`kaiming_uniform_(a=√5)`), and hence the
    /// recipes of the DARTS line of papers.
    FanIn,
}

impl Init {
    /// Draws the values of one parameter.
    pub fn draw(self, shape: &Shape, rng: &mut impl Rng) -> Vec<f32> {
        let n = shape.elements();
        let uniform = |bound: f32, rng: &mut _| {
            (0..n).map(|_| bound * (2.0 * RngExt::random::<f32>(rng) - 1.0)).collect()
        };
        match self {
            Init::Constant(value) => vec![value; n],
            Init::Normal(sd) => (0..n)
                .map(|_| {
                    let z: f32 = StandardNormal.sample(rng);
                    sd * z
                })
                .collect(),
            Init::Uniform(bound) => uniform(bound, rng),
            Init::FanIn => {
                let fan_in: usize = shape.iter().skip(1).product();
                uniform(1.0 / (fan_in.max(1) as f32).sqrt(), rng)
            }
        }
    }
}
