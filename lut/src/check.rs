use std::num::NonZeroUsize;

use adwp_models::{Genotype, Skeleton};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::stopwatch::slowdown;
use crate::{LatencyTable, Result, Stopwatch, Timeable, Timing, random_genotype};

/// What a table predicts of random networks, beside what was measured. None of them is one that the
/// table was calibrated with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Sizes of the networks.
    pub skeleton: Skeleton,
    /// Pairs that each of their nodes sums.
    pub keep: usize,
    /// What they were drawn with.
    pub seed: u64,
    /// The networks.
    pub networks: Vec<CheckedNetwork>,
    /// Mean of the absolute relative errors.
    pub mean_error: f64,
    /// The largest absolute relative error.
    pub worst_error: f64,
    /// The mean error of whoever knows no more than the mean of the measured latencies: what a
    /// table has to be better than.
    pub mean_error_of_mean: f64,
}

/// A network and its latency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckedNetwork {
    /// The network.
    pub genotype: Genotype,
    /// What the table says, in milliseconds.
    pub predicted_ms: f64,
    /// What was measured.
    pub measured: Timing,
    /// Predicted by measured, less 1.
    pub error: f64,
}

/// Measures networks drawn evenly from all of the space, all of them interleaved, and compares with
/// what `table` predicts. `progress` hears how many of them are timed.
///
/// # Errors
/// When the table does not cover the networks, or they cannot be run.
pub fn check(
    table: &LatencyTable,
    skeleton: &Skeleton,
    keep: usize,
    networks: NonZeroUsize,
    seed: u64,
    stopwatch: &mut dyn Stopwatch,
    progress: &mut dyn FnMut(usize),
) -> Result<Check> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let genotypes: Vec<Genotype> = (0..networks.get())
        .map(|_| random_genotype(skeleton, keep, &mut rng))
        .collect::<Result<_, _>>()?;
    let predicted: Vec<f64> = genotypes
        .iter()
        .map(|genotype| table.predict(genotype, skeleton))
        .collect::<Result<_>>()?;
    let timeable = genotypes
        .iter()
        .map(|genotype| Timeable::whole(genotype, skeleton))
        .collect::<Result<Vec<_>>>()?;
    // Elsewhere the yardstick takes another time, and that is part of the table's error.
    let here = table.setup().check_same(&stopwatch.setup()).is_ok();
    if here {
        stopwatch.remember(table.yardstick_ms());
    }
    let mut measured = stopwatch.time(&timeable, progress)?;
    if here {
        // Where the machine was never so quiet before, the table tells of one that was slower.
        let quieter = slowdown(table.yardstick_ms(), stopwatch.yardstick_ms());
        measured.iter_mut().for_each(|timing| *timing = timing.slower(1.0 / quieter));
    }
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / networks.get() as f64;
    let mean_ms = mean(&mut measured.iter().map(|timing| timing.ms));
    let networks: Vec<CheckedNetwork> = genotypes
        .into_iter()
        .zip(predicted)
        .zip(measured)
        .map(|((genotype, predicted_ms), measured)| CheckedNetwork {
            genotype,
            predicted_ms,
            measured,
            error: predicted_ms / measured.ms - 1.0,
        })
        .collect();
    Ok(Check {
        skeleton: *skeleton,
        keep,
        seed,
        mean_error: mean(&mut networks.iter().map(|network| network.error.abs())),
        worst_error: networks.iter().map(|network| network.error.abs()).fold(0.0, f64::max),
        mean_error_of_mean: mean(
            &mut networks.iter().map(|network| (mean_ms / network.measured.ms - 1.0).abs()),
        ),
        networks,
    })
}
