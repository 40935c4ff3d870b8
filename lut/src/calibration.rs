use adwp_models::Blueprint;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Networks, Result, Timing};

/// Networks that a calibration is fitted to.
pub(crate) const NETWORKS: usize = 12;

/// The generator of these networks; those of a check have another.
const SEED: u64 = 0x0063_616c_6962_7261;

/// What makes the sum of a network's parts its latency: `factor · sum + offset_ms`. Fitted to
/// random networks of one skeleton.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The networks that it is of.
    pub of: Networks,
    /// On the sum of the parts.
    pub factor: f64,
    /// Added to it, in milliseconds.
    pub offset_ms: f64,
    /// What it was fitted to.
    pub networks: Vec<CalibrationNetwork>,
    /// How well the table predicts networks that this was not fitted to; none where measuring was
    /// stopped before that.
    pub held_out: Option<HeldOut>,
}

/// What a table predicts of random networks, beside what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldOut {
    /// How many networks.
    pub networks: usize,
    /// Mean of the absolute relative errors.
    pub mean_error: f64,
    /// The largest absolute relative error.
    pub worst_error: f64,
}

/// A measured network.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationNetwork {
    /// Sum of its parts, in milliseconds.
    pub sum_ms: f64,
    /// What was measured.
    pub measured: Timing,
}

impl Calibration {
    /// Fits factor and offset so that the squares of the relative errors are least.
    pub(crate) fn fit(of: Networks, networks: Vec<CalibrationNetwork>) -> Self {
        let (factor, offset_ms) = fit(&networks);
        Self { of, factor, offset_ms, networks, held_out: None }
    }

    /// The latency of a network in milliseconds, from the sum of its parts.
    pub fn latency_ms(&self, sum_ms: f64) -> f64 {
        self.factor * sum_ms + self.offset_ms
    }

    /// Mean of the absolute relative errors on the networks it was fitted to.
    pub fn error(&self) -> f64 {
        let error =
            |n: &CalibrationNetwork| (self.latency_ms(n.sum_ms) / n.measured.ms - 1.0).abs();
        self.networks.iter().map(error).sum::<f64>() / self.networks.len() as f64
    }
}

/// Least squares of `factor · s + offset - 1` over the networks, where s is sum / measured and the
/// offset is divided by measured too.
fn fit(networks: &[CalibrationNetwork]) -> (f64, f64) {
    let (mut ss, mut so, mut oo, mut s, mut o) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for network in networks {
        let (sum, one) = (network.sum_ms / network.measured.ms, 1.0 / network.measured.ms);
        (ss, so, oo) = (ss + sum * sum, so + sum * one, oo + one * one);
        (s, o) = (s + sum, o + one);
    }
    let determinant = ss * oo - so * so;
    let (factor, offset) = ((s * oo - o * so) / determinant, (o * ss - s * so) / determinant);
    // Where the sums differ by less than 1 %, noise decides what is factor and what is offset.
    let told_apart = determinant > 1e-4 * ss * oo && factor > 0.0;
    if told_apart { (factor, offset) } else { (s / ss, 0.0) }
}

pub(crate) fn networks(of: &Networks) -> Result<Vec<Blueprint>> {
    of.sample_alike(NETWORKS, &mut ChaCha8Rng::seed_from_u64(SEED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(sum_ms: f64, ms: f64) -> CalibrationNetwork {
        CalibrationNetwork { sum_ms, measured: Timing { ms, slowdown: 1.0, runs: 1 } }
    }

    #[test]
    fn factor_and_offset_are_found_where_networks_tell_them_apart() {
        let networks: Vec<_> = [1.0, 2.0, 4.0].map(|sum| network(sum, 1.5 * sum + 0.25)).to_vec();
        let (factor, offset) = fit(&networks);
        assert!((factor - 1.5).abs() < 1e-9 && (offset - 0.25).abs() < 1e-9, "{factor} {offset}");
        // Of alike networks, the one that took longer says nothing of a slope of 100.
        let (factor, offset) = fit(&[network(1.0, 1.0), network(1.001, 1.1)]);
        assert!((factor - 1.05).abs() < 0.01 && offset == 0.0, "{factor} {offset}");
    }
}
