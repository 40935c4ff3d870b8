use std::num::NonZeroUsize;

use adwp_models::Blueprint;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::Value;

use crate::stopwatch::slowdown;
use crate::{LatencyTable, Networks, Result, Stopwatch, Timeable, Timing};

/// What a table predicts of random networks, next to what was measured. None of them is one that the
/// table was calibrated with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What they were drawn from.
    pub of: Networks,
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
    /// Its architecture: a genotype, or the text of its space.
    pub architecture: Value,
    /// What the table says, in milliseconds.
    pub predicted_ms: f64,
    /// What was measured.
    pub measured: Timing,
    /// Predicted by measured, less 1.
    pub error: f64,
}

fn architecture(blueprint: &Blueprint) -> Value {
    let value = match blueprint {
        Blueprint::Cells { genotype, .. } => serde_json::to_value(genotype),
        Blueprint::Member { member, .. } => Ok(member.to_string().into()),
        Blueprint::WideCells { cells, .. } => serde_json::to_value(cells),
        Blueprint::Handmade { network, .. } => serde_json::to_value(network),
    };
    value.expect("architectures print as JSON")
}

/// Measures networks drawn evenly from all of the space, all of them interleaved, and compares with
/// what `table` predicts. `progress` hears how many of them are timed.
///
/// # Errors
/// When the table does not cover the networks, or they cannot be run.
pub fn check(
    table: &LatencyTable,
    of: &Networks,
    networks: NonZeroUsize,
    seed: u64,
    stopwatch: &mut dyn Stopwatch,
    progress: &mut dyn FnMut(usize),
) -> Result<Check> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let drawn = of.sample(networks.get(), &mut rng)?;
    let predicted: Vec<f64> =
        drawn.iter().map(|blueprint| table.predict(blueprint)).collect::<Result<_>>()?;
    let timeable = drawn.iter().map(Timeable::whole).collect::<Result<Vec<_>>>()?;
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
    let networks: Vec<CheckedNetwork> = drawn
        .iter()
        .zip(predicted)
        .zip(measured)
        .map(|((blueprint, predicted_ms), measured)| CheckedNetwork {
            architecture: architecture(blueprint),
            predicted_ms,
            measured,
            error: predicted_ms / measured.ms - 1.0,
        })
        .collect();
    Ok(Check {
        of: of.clone(),
        seed,
        mean_error: mean(&mut networks.iter().map(|network| network.error.abs())),
        worst_error: networks.iter().map(|network| network.error.abs()).fold(0.0, f64::max),
        mean_error_of_mean: mean(
            &mut networks.iter().map(|network| (mean_ms / network.measured.ms - 1.0).abs()),
        ),
        networks,
    })
}
