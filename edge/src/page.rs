//! From what was measured to what is shown.

use std::path::{Path, PathBuf};

use adwp_measure::{
    bench::{BenchReport, CostReport, ModelReport, ParityImages},
    latency::LatencyReport,
    machine::Machine,
    profile::Profile,
};
use adwp_report::{
    BenchFold, BenchLatency, BenchMachine, BenchModel, BenchNode, BenchPage, BenchParity,
    BenchProfile, LatencyRow,
};

use crate::Format;
use crate::cost::{images, named};

/// The reports of some machines, each with the name that it is shown under.
pub(crate) fn page(reports: &[(String, BenchReport)]) -> BenchPage {
    let machine = |(name, report): &(String, BenchReport)| BenchMachine {
        name: name.clone(),
        facts: facts(report),
        warnings: report.warnings(),
        models: report
            .models
            .iter()
            .zip(names(report))
            .map(|(report, name)| model(report, name))
            .collect(),
    };
    BenchPage { machines: reports.iter().map(machine).collect() }
}

pub(crate) fn text(page: &BenchPage, format: Format) -> String {
    match format {
        Format::Table => adwp_report::bench_table(page),
        Format::Csv => adwp_report::bench_csv(page),
        Format::Markdown => adwp_report::bench_markdown(page),
    }
}

fn facts(report: &BenchReport) -> Vec<(String, String)> {
    let Machine {
        cpu,
        cores,
        affinity,
        memory_bytes,
        os,
        arch,
        mhz_before,
        mhz_after,
        load_before,
        load_after,
    } = &report.machine;
    let mut facts = vec![("processor".to_owned(), format!("{cpu}, {cores} cores, {os} {arch}"))];
    let mut add = |name: &str, value: Option<String>| {
        facts.extend(value.map(|value| (name.to_owned(), value)))
    };
    add("runs on processors", affinity.clone());
    add(
        "memory",
        memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
    );
    let before_and_after =
        |before: Option<f64>, after: Option<f64>, decimals: usize, unit: &str| {
            let (before, after) = (before?, after?);
            Some(format!("{before:.decimals$}{unit} before, {after:.decimals$}{unit} after"))
        };
    add("frequency", before_and_after(*mhz_before, *mhz_after, 0, " MHz"));
    add(
        "load",
        before_and_after(load_before.map(|load| load[0]), load_after.map(|load| load[0]), 2, ""),
    );
    let settings = &report.settings;
    add(
        "measured",
        Some(format!(
            "{} repeats of at least {:.2} s",
            settings.repeats,
            settings.min_time_ms / 1000.0
        )),
    );
    add("measuring adds", Some(format!("{:.0} ns to a run", settings.overhead_ns)));
    let on = match settings.parity_on {
        ParityImages::None => None,
        ParityImages::Noise => Some("noise, the same on every machine"),
        ParityImages::Images => Some("images of the user"),
    };
    add("runtimes compared on", on.map(str::to_owned));
    add("adwp", Some(report.version.clone()));
    facts
}

/// Names of the models of a report: as much of the end of their paths as makes them different. The
/// files of all runs are called `model.onnx`.
fn names(report: &BenchReport) -> Vec<String> {
    let paths: Vec<PathBuf> =
        report.models.iter().map(|model| model.path.with_extension("")).collect();
    let end = |path: &Path, parts: usize| {
        path.components().skip(path.components().count().saturating_sub(parts)).collect::<PathBuf>()
    };
    let name = |path: &PathBuf| {
        let is_alone = |parts: usize| {
            paths.iter().filter(|other| end(other, parts) == end(path, parts)).count() == 1
        };
        let parts = (1..=path.components().count()).find(|&parts| is_alone(parts)).unwrap_or(1);
        end(path, parts).display().to_string()
    };
    paths.iter().map(name).collect()
}

fn model(model: &ModelReport, name: String) -> BenchModel {
    let cost = model.cost.counted();
    let mut uncounted: Vec<String> = cost.iter().flat_map(|cost| named(&cost.unknown)).collect();
    if let CostReport::Failed(reason) = &model.cost {
        uncounted.push(reason.clone());
    }
    BenchModel {
        name,
        path: model.path.display().to_string(),
        producer: model.producer.clone(),
        input: model.input,
        classes: model.classes,
        file_bytes: model.file_bytes,
        params: cost.map(|cost| cost.params),
        madds: cost.map(|cost| cost.madds),
        weight_bytes: cost.map(|cost| cost.weight_bytes),
        activation_bytes: cost.and_then(|cost| cost.peak_activation_bytes),
        // Exporters write a share or a percentage.
        accuracy: model
            .stated_test_accuracy
            .map(|accuracy| if accuracy > 1.0 { accuracy / 100.0 } else { accuracy }),
        images: cost.and_then(images),
        uncounted,
        genotype: model.genotype.clone(),
        latency: model.latency.iter().map(latency).collect(),
        parity: model.parity.iter().map(parity).collect(),
        profiles: model.profile.iter().map(profile).collect(),
    }
}

fn session(runtime: impl std::fmt::Display, threads: usize) -> String {
    format!("{runtime}, {threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// What reports show of a latency. The one place where what `deploy` measured becomes a row.
pub fn latency_row(l: &LatencyReport) -> LatencyRow {
    LatencyRow {
        runtime: l.runtime.to_string(),
        runtime_version: l.runtime_version.clone(),
        threads: l.threads,
        batch: l.batch,
        load_ms: l.load_ms,
        first_ms: l.first_ms,
        n: l.n,
        min_ms: l.min_ms,
        mean_ms: l.mean_ms,
        sd_ms: l.sd_ms,
        p50_ms: l.p50_ms,
        p90_ms: l.p90_ms,
        p95_ms: l.p95_ms,
        p99_ms: l.p99_ms,
        median_repeat_mean_ms: l.median_repeat_mean_ms,
    }
}

fn latency(l: &LatencyReport) -> BenchLatency {
    BenchLatency {
        row: latency_row(l),
        optimization: l.optimization.clone(),
        warm_up_runs: l.warm_up_runs,
        stable: l.stable,
        spread: l.spread,
        noisy: l.is_noisy(),
        percentiles_ms: l.percentiles_ms.clone(),
        images_per_s: l.throughput,
        peak_bytes: l.memory.map(|memory| memory.peak_bytes),
        model_bytes: l.memory.map(|memory| memory.peak_bytes.saturating_sub(memory.before_bytes)),
    }
}

fn parity(p: &adwp_measure::bench::RuntimeParity) -> BenchParity {
    let difference = p.parts_at.as_ref().map(|at| {
        let after =
            at.after.as_ref().map_or_else(String::new, |node| format!("; {node} still agrees"));
        format!("{} ({}), by {:.2e} of {:.2e}{after}", at.node, at.op, at.max_abs, at.largest)
    });
    BenchParity {
        reference: session(p.reference, p.reference_threads),
        session: session(p.runtime, p.threads),
        max_abs: p.parity.max_abs,
        mean_abs: p.parity.mean_abs,
        cosine: p.parity.cosine,
        top1_agree: p.parity.top1_agree,
        top5_agree: p.parity.top5_agree,
        n: p.parity.n,
        agrees: p.parity.agrees(),
        parts_at: difference,
    }
}

fn profile(p: &Profile) -> BenchProfile {
    let node = |n: &adwp_measure::profile::NodeTime| BenchNode {
        name: n.name.clone(),
        op: n.op.clone(),
        ms: n.ms,
        share: n.share,
        gmacs: n.gmacs,
    };
    let fold = |f: &adwp_measure::profile::Fold| BenchFold {
        path: f.path.clone(),
        depth: f.depth,
        ms: f.ms,
        share: f.share,
    };
    BenchProfile {
        session: session(p.runtime, p.threads),
        runs: p.runs,
        run_ms: p.run_ms,
        nodes: p.nodes.iter().map(node).collect(),
        folded: p.folded.iter().map(fold).collect(),
    }
}
