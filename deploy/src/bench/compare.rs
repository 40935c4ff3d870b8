//! What moved between two reports.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::report::{BenchReport, ModelReport};
use crate::{DeployError, Result, latency::LatencyReport, runtime::Runtime};

/// What can move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The model or the session is not in the second report: `after` is 0.
    Missing,
    /// Parameters of the file.
    Params,
    /// Multiply-adds of one image.
    Madds,
    /// The fastest run, in milliseconds.
    LatencyMs,
    /// The share of images on which a runtime agrees with the reference, in [0, 1].
    Top1Agreement,
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It got worse.
    Regression,
    /// It got better.
    Improvement,
    /// It differs by more than is tolerated, and the repeats of both reports differ by as much:
    /// measure again, on a quieter machine or for longer.
    WithinNoise,
}

/// One thing that moved by more than is tolerated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The model, as the first report names it.
    pub model: PathBuf,
    /// The runtime, where one is concerned.
    pub runtime: Option<Runtime>,
    /// Threads that it may use for one operator, where a runtime is concerned.
    pub threads: Option<usize>,
    /// Images in one run, where latency is concerned.
    pub batch: Option<usize>,
    /// What moved.
    pub metric: Metric,
    /// Its value in the first report.
    pub before: f64,
    /// Its value in the second report.
    pub after: f64,
    /// Of a latency, the fastest repeat of the first and of the second report and the repeat next
    /// to it, each repeat by its fastest run.
    pub intervals: Option<[(f64, f64); 2]>,
    /// What it means.
    pub verdict: Verdict,
}

impl Change {
    /// The change relative to the value before: 0.1 is 10 % more.
    pub fn change(&self) -> f64 {
        if self.before == 0.0 { 0.0 } else { (self.after - self.before) / self.before }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Regression => "worse",
            Verdict::Improvement => "better",
            Verdict::WithinNoise => "within noise",
        };
        write!(f, "{verdict}: {}", self.model.display())?;
        if let (Some(runtime), Some(threads)) = (self.runtime, self.threads) {
            write!(f, " ({runtime}, {threads} thread{})", if threads == 1 { "" } else { "s" })?;
        }
        let (before, after, percent) = (self.before, self.after, self.change() * 100.0);
        match self.metric {
            Metric::Missing => write!(f, ": not in the second report"),
            Metric::Params => write!(f, ": parameters {before} -> {after} ({percent:+.1} %)"),
            Metric::Madds => write!(f, ": multiply-adds {before} -> {after} ({percent:+.1} %)"),
            Metric::LatencyMs => {
                write!(f, ": latency {before:.3} -> {after:.3} ms ({percent:+.1} %)")?;
                match self.intervals {
                    Some([a, b]) => write!(
                        f,
                        ", repeats {:.3} to {:.3} and {:.3} to {:.3} ms",
                        a.0, a.1, b.0, b.1
                    ),
                    None => Ok(()),
                }
            }
            Metric::Top1Agreement => {
                write!(f, ": agreement with the reference {before:.4} -> {after:.4}")
            }
        }
    }
}

/// What differs between `a` and `b` by more than `threshold`, a share: 0.05 is 5 %. Models are
/// matched by file name, or directly when each report has one; sessions by runtime, threads and
/// batch. What only `b` has is no change. Agreement between runtimes counts when it moves by more
/// than `threshold`, absolutely.
///
/// A latency is that of the fastest run: a disturbance only ever makes runs slower, and some run
/// mostly goes without one, while a median follows whatever else the machine does. It has moved
/// only if the fastest run of the one report is outside of what the two fastest repeats of the
/// other span. Reports of versions that recorded no fastest runs are compared by the medians of the
/// repeats.
///
/// # Errors
/// `threshold` is negative or not finite.
pub fn compare(a: &BenchReport, b: &BenchReport, threshold: f64) -> Result<Vec<Change>> {
    if !threshold.is_finite() || threshold < 0.0 {
        let detail = format!("{threshold} is not a share of 0 or more");
        return Err(DeployError::setting("threshold", detail));
    }
    let mut found = Vec::new();
    for (index, model) in a.models.iter().enumerate() {
        match counterpart(a, b, index) {
            Some(other) => compare_models(model, other, threshold, &mut found),
            None => found.push(about(model, Metric::Missing, 1.0, 0.0, Verdict::Regression)),
        }
    }
    Ok(found)
}

/// What a comparison of two reports leaves out, and what it takes for the same model although the
/// files have other names: a sentence for each.
pub fn matched_otherwise(a: &BenchReport, b: &BenchReport) -> Vec<String> {
    let name = |model: &ModelReport| {
        let path = &model.path;
        path.file_name().map_or_else(|| path.display().to_string(), |of| of.display().to_string())
    };
    if let ([one], [other]) = (a.models.as_slice(), b.models.as_slice()) {
        let (one, other) = (name(one), name(other));
        let text = format!("each report has one model: {other} is compared with {one}");
        return if one == other { Vec::new() } else { vec![text] };
    }
    let alone = |index: &usize| counterpart(b, a, *index).is_none();
    let alone = (0..b.models.len()).filter(alone).map(|index| {
        let name = name(&b.models[index]);
        format!("{name} is in the second report alone: it is compared with nothing")
    });
    alone.collect()
}

/// The model of `b` that model `index` of `a` is compared with: of several files of one name, the
/// one in the same place.
fn counterpart<'b>(a: &BenchReport, b: &'b BenchReport, index: usize) -> Option<&'b ModelReport> {
    if let ([_], [only]) = (a.models.as_slice(), b.models.as_slice()) {
        return Some(only);
    }
    let name = a.models[index].path.file_name();
    let earlier = a.models[..index].iter().filter(|model| model.path.file_name() == name).count();
    b.models.iter().filter(|model| model.path.file_name() == name).nth(earlier)
}

fn about(model: &ModelReport, metric: Metric, before: f64, after: f64, verdict: Verdict) -> Change {
    Change {
        model: model.path.clone(),
        runtime: None,
        threads: None,
        batch: None,
        metric,
        before,
        after,
        intervals: None,
        verdict,
    }
}

fn compare_models(a: &ModelReport, b: &ModelReport, threshold: f64, found: &mut Vec<Change>) {
    if let (Some(before), Some(after)) = (a.cost.counted(), b.cost.counted()) {
        for (metric, before, after) in [
            (Metric::Params, before.params, after.params),
            (Metric::Madds, before.madds, after.madds),
        ] {
            let (before, after) = (before as f64, after as f64);
            let moved = moved(before, after, threshold);
            found.extend(moved.map(|verdict| about(a, metric, before, after, verdict)));
        }
    }
    for before in &a.latency {
        let after = b.latency.iter().find(|after| {
            (after.runtime, after.threads, after.batch)
                == (before.runtime, before.threads, before.batch)
        });
        let session = |change: Change| Change {
            runtime: Some(before.runtime),
            threads: Some(before.threads),
            batch: Some(before.batch),
            ..change
        };
        match after {
            Some(after) => found.extend(latency(a, before, after, threshold).map(session)),
            None => found.push(session(about(a, Metric::Missing, 1.0, 0.0, Verdict::Regression))),
        }
    }
    for before in &a.parity {
        let after = b.parity.iter().find(|after| {
            (after.reference, after.runtime, after.threads)
                == (before.reference, before.runtime, before.threads)
        });
        let Some(after) = after else { continue };
        let share =
            |parity: &crate::parity::Parity| parity.top1_agree as f64 / parity.n.max(1) as f64;
        let (was, is) = (share(&before.parity), share(&after.parity));
        if (is - was).abs() > threshold {
            let verdict = if is < was { Verdict::Regression } else { Verdict::Improvement };
            let change = about(a, Metric::Top1Agreement, was, is, verdict);
            found.push(Change {
                runtime: Some(before.runtime),
                threads: Some(before.threads),
                ..change
            });
        }
    }
}

/// What a change of a quantity means of which less is better; `None` within the threshold.
fn moved(before: f64, after: f64, threshold: f64) -> Option<Verdict> {
    if after > before * (1.0 + threshold) {
        Some(Verdict::Regression)
    } else if before > after * (1.0 + threshold) {
        Some(Verdict::Improvement)
    } else {
        None
    }
}

fn latency(
    model: &ModelReport,
    before: &LatencyReport,
    after: &LatencyReport,
    threshold: f64,
) -> Option<Change> {
    let minima = [before, after].iter().all(|report| !report.repeat_min_ms.is_empty());
    let [was, is] = [before, after].map(|report| {
        fastest_two(if minima { &report.repeat_min_ms } else { &report.repeat_p50_ms })
    });
    let apart = is.0 > was.1 || was.0 > is.1;
    let verdict = moved(was.0, is.0, threshold)?;
    let verdict = if apart { verdict } else { Verdict::WithinNoise };
    Some(Change {
        intervals: Some([was, is]),
        ..about(model, Metric::LatencyMs, was.0, is.0, verdict)
    })
}

/// The fastest repeat and the next; both the same where there is one, 0 where there is none.
fn fastest_two(repeats: &[f64]) -> (f64, f64) {
    let mut repeats = repeats.to_vec();
    repeats.sort_unstable_by(f64::total_cmp);
    let first = repeats.first().copied().unwrap_or_default();
    (first, repeats.get(1).copied().unwrap_or(first))
}
