//! What a found network may take, and what it took.

use adwp_base::Result;
use adwp_lut::{LatencyTable, Networks};
use adwp_models::cost::Cost;
use adwp_models::{Blueprint, Intensive, IntensiveSpace, Limit, Resource, Skeleton, Space};
use adwp_report::{BudgetRow, LatencyRow};

use crate::config::{Config, LimitSettings};

/// What the settings allow a network of `target` of the intensive space to take.
pub(crate) fn of_intensive(
    config: &Config,
    space: &IntensiveSpace,
    target: &Skeleton,
) -> Result<Vec<Limit>> {
    let keep = config.search.keep;
    let space = Intensive::new(space.clone(), *target, keep)?;
    limits(&config.limits, &space, &Networks::darts(*target, keep))
}

/// What the settings allow a network of a space to take, at the channels of the space; tables of
/// latencies know its networks as `networks`. Where channels follow from the limits, every
/// architecture keeps them.
pub(crate) fn limits(
    settings: &LimitSettings,
    space: &dyn Space,
    networks: &Networks,
) -> Result<Vec<Limit>> {
    let mut limits = Vec::new();
    if settings.fill {
        return Ok(limits);
    }
    if settings.params > 0 {
        limits.push(Limit::params(settings.params, space)?);
    }
    if settings.madds > 0 {
        limits.push(Limit::madds(settings.madds, space)?);
    }
    if settings.latency_ms > 0.0 {
        let table = LatencyTable::read(&settings.latency_table)?;
        let costs = table.choice_costs(space, networks)?;
        limits.push(Limit { resource: Resource::Latency, most: settings.latency_ms, costs });
    }
    Ok(limits)
}

/// Limits of the settings with what the network took: `cost` as it was counted, `latency` as it
/// was measured.
pub(crate) fn budgets(
    config: &Config,
    blueprint: &Blueprint,
    cost: &Cost,
    latency: &[LatencyRow],
) -> Result<Vec<BudgetRow>> {
    let settings = &config.limits;
    let counted = |resource: Resource, limit: u64, value: u64| BudgetRow {
        resource: resource.to_string(),
        limit: limit as f64,
        unit: String::new(),
        predicted: None,
        prediction_error: None,
        value: Some(value as f64),
    };
    let mut rows = Vec::new();
    if settings.params > 0 {
        rows.push(counted(Resource::Params, settings.params, cost.params));
    }
    if settings.madds > 0 {
        rows.push(counted(Resource::Madds, settings.madds, cost.madds));
    }
    // Networks of no space are in no table.
    if let Some(networks) = Networks::of(blueprint)
        && settings.latency_ms > 0.0
    {
        let table = LatencyTable::read(&settings.latency_table)?;
        let setup = table.setup();
        let is_like = |row: &&LatencyRow| {
            (row.runtime.as_str(), row.threads, row.batch)
                == (setup.runtime.to_string().as_str(), setup.threads, setup.batch)
        };
        rows.push(BudgetRow {
            resource: format!("latency with {}, {} threads", setup.runtime, setup.threads),
            limit: settings.latency_ms,
            unit: "ms".into(),
            predicted: Some(table.predict(blueprint)?),
            prediction_error: table
                .calibration(&networks)?
                .held_out
                .map(|held_out| held_out.mean_error),
            value: latency.iter().find(is_like).map(|row| row.p50_ms),
        });
    }
    Ok(rows)
}
