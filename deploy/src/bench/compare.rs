//! What got worse between two reports.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{BenchReport, ModelReport};
use crate::{DeployError, Result, runtime::Runtime};

/// What can get worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The model or the session is not in the second report: `after` is 0.
    Missing,
    /// Parameters of the file.
    Params,
    /// Multiply-adds of one image.
    Madds,
    /// The median latency in milliseconds.
    P50Ms,
    /// The share of images on which a runtime agrees with the reference, in [0, 1].
    Top1Agreement,
}

/// One thing that got worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// The model, as the first report names it.
    pub model: PathBuf,
    /// The runtime, where one is concerned.
    pub runtime: Option<Runtime>,
    /// Its threads.
    pub threads: Option<usize>,
    /// Images in one run, where latency is concerned.
    pub batch: Option<usize>,
    /// What got worse.
    pub metric: Metric,
    /// Its value in the first report.
    pub before: f64,
    /// Its value in the second report.
    pub after: f64,
}

impl Regression {
    /// The change relative to the value before: 0.1 is 10 % more.
    pub fn change(&self) -> f64 {
        if self.before == 0.0 { 0.0 } else { (self.after - self.before) / self.before }
    }
}

impl fmt::Display for Regression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model.display())?;
        if let (Some(runtime), Some(threads)) = (self.runtime, self.threads) {
            write!(f, " ({runtime}, {threads} threads)")?;
        }
        let (before, after, percent) = (self.before, self.after, self.change() * 100.0);
        match self.metric {
            Metric::Missing => write!(f, ": not in the second report"),
            Metric::Params => write!(f, ": parameters {before} -> {after} ({percent:+.1} %)"),
            Metric::Madds => write!(f, ": multiply-adds {before} -> {after} ({percent:+.1} %)"),
            Metric::P50Ms => write!(f, ": median latency {before:.3} -> {after:.3} ms ({percent:+.1} %)"),
            Metric::Top1Agreement => write!(f, ": agreement with the reference {before:.4} -> {after:.4}"),
        }
    }
}

/// What is worse in `b` than in `a` by more than `threshold`, a share: 0.05 is 5 %. Models are matched by file name, or directly when each report
/// has one; sessions by runtime, threads and batch. What only `b` has is no regression. Agreement between runtimes counts when it falls
/// by more than `threshold`, absolutely.
///
/// # Errors
/// `threshold` is negative or not finite.
pub fn compare(a: &BenchReport, b: &BenchReport, threshold: f64) -> Result<Vec<Regression>> {
    if !threshold.is_finite() || threshold < 0.0 {
        return Err(DeployError::Setting { name: "threshold", detail: format!("{threshold} is not a share of 0 or more") });
    }
    let mut found = Vec::new();
    for (index, model) in a.models.iter().enumerate() {
        match counterpart(a, b, index) {
            Some(other) => compare_models(model, other, threshold, &mut found),
            None => found.push(about(model, Metric::Missing, 1.0, 0.0)),
        }
    }
    Ok(found)
}

/// The model of `b` that model `index` of `a` is compared with: of several files of one name, the one in the same place.
fn counterpart<'b>(a: &BenchReport, b: &'b BenchReport, index: usize) -> Option<&'b ModelReport> {
    if let ([_], [only]) = (a.models.as_slice(), b.models.as_slice()) {
        return Some(only);
    }
    let name = a.models[index].path.file_name();
    let earlier = a.models[..index].iter().filter(|model| model.path.file_name() == name).count();
    b.models.iter().filter(|model| model.path.file_name() == name).nth(earlier)
}

fn about(model: &ModelReport, metric: Metric, before: f64, after: f64) -> Regression {
    Regression { model: model.path.clone(), runtime: None, threads: None, batch: None, metric, before, after }
}

fn compare_models(a: &ModelReport, b: &ModelReport, threshold: f64, found: &mut Vec<Regression>) {
    let grew = |before: f64, after: f64| after > before * (1.0 + threshold);
    if let (Some(before), Some(after)) = (a.cost.counted(), b.cost.counted()) {
        for (metric, before, after) in [(Metric::Params, before.params, after.params), (Metric::Madds, before.madds, after.madds)] {
            if grew(before as f64, after as f64) {
                found.push(about(a, metric, before as f64, after as f64));
            }
        }
    }
    for before in &a.latency {
        let after =
            b.latency.iter().find(|after| (after.runtime, after.threads, after.batch) == (before.runtime, before.threads, before.batch));
        let of_session = |metric, was, is| Regression {
            runtime: Some(before.runtime),
            threads: Some(before.threads),
            batch: Some(before.batch),
            ..about(a, metric, was, is)
        };
        match after {
            Some(after) if grew(before.p50_ms, after.p50_ms) => {
                found.push(of_session(Metric::P50Ms, before.p50_ms, after.p50_ms));
            }
            Some(_) => {}
            None => found.push(of_session(Metric::Missing, 1.0, 0.0)),
        }
    }
    for before in &a.parity {
        let after = b
            .parity
            .iter()
            .find(|after| (after.reference, after.runtime, after.threads) == (before.reference, before.runtime, before.threads));
        let Some(after) = after else { continue };
        let share = |parity: &crate::parity::Parity| parity.top1_agree as f64 / parity.n.max(1) as f64;
        let (was, is) = (share(&before.parity), share(&after.parity));
        if is < was - threshold {
            found.push(Regression {
                runtime: Some(before.runtime),
                threads: Some(before.threads),
                ..about(a, Metric::Top1Agreement, was, is)
            });
        }
    }
}
