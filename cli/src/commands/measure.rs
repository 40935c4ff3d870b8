//! The commands that run ONNX files through the runtimes.

use std::path::Path;

use adwp_data::Normalization;
use adwp_deploy::accuracy;
use adwp_deploy::bench::{self, BenchOptions, BenchReport};
use adwp_deploy::onnx::OnnxModel;
use adwp_deploy::ort_library::OrtLibrary;
use adwp_deploy::runtime::{Runtime, Session, SessionOptions};
use adwp_train::{BatchSource, watched};
use serde_json::json;

use super::Style;
use crate::args::{BenchArgs, EvalArgs};
use crate::config::check_latency;
use crate::failure::Failure;
use crate::output;
use crate::progress::Console;
use crate::session::open_splits;
use crate::steps::{available, find_library, latency_options, runtime_batch};

/// Images of noise that the runtimes are compared on.
const PARITY_IMAGES: usize = 8;

/// The runtimes asked for, or all that can be used.
fn choose(wanted: &[Runtime], library: Option<&OrtLibrary>, console: &mut Console) -> Vec<Runtime> {
    if !wanted.is_empty() {
        return wanted.to_vec();
    }
    if library.is_none() {
        console.say("going on without ONNX Runtime: no library found; `adwp doctor` says where it was looked for");
    }
    available(library)
}

/// `adwp bench`.
pub(crate) fn bench(args: &BenchArgs, style: Style) -> Result<(), Failure> {
    check_latency(&args.threads, args.min_time, args.repeat, |name| match name {
        "min_time" => "--min-time".into(),
        "repeats" => "--repeat".into(),
        name => format!("--{name}"),
    })?;
    let mut console = Console::new(style.verbosity);
    let library = find_library(args.ort.ort_lib.as_deref(), &args.runtime)?;
    let options = BenchOptions {
        runtimes: choose(&args.runtime, library.as_ref(), &mut console),
        threads: args.threads.clone(),
        latency: latency_options(args.batch, args.min_time, args.repeat),
        ort_library: library,
        parity_images: PARITY_IMAGES,
    };
    let report = bench::run(&args.models, &options, &mut |text| console.say(text))?;
    if let Some(path) = &args.out {
        report.write(path)?;
    }
    if style.json {
        return output::json(&report);
    }
    output::data(&table(&report))
}

fn table(report: &BenchReport) -> String {
    let mut text = format!("{}, {} cores\n", report.machine.cpu, report.machine.cores);
    for model in &report.models {
        text += &format!("\n{}\n", model.path.display());
        match &model.cost {
            bench::CostReport::Counted(cost) => {
                text += &format!("  params {:.3} M, multiply-adds {:.3} M\n", cost.params as f64 / 1e6, cost.madds as f64 / 1e6);
                if !cost.unknown.is_empty() {
                    text += &format!("  not counted: {}\n", cost.unknown.join(", "));
                }
            }
            bench::CostReport::Failed(reason) => text += &format!("  cost not counted: {reason}\n"),
        }
        text += "  runtime        threads  batch   p50 ms   p90 ms   p99 ms  mean ms    sd ms  first ms   load ms       n\n";
        for l in &model.latency {
            text += &format!(
                "  {:<14} {:>7} {:>6} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>9.2} {:>9.2} {:>7}\n",
                format!("{} {}", l.runtime, l.runtime_version),
                l.threads,
                l.batch,
                l.p50_ms,
                l.p90_ms,
                l.p99_ms,
                l.mean_ms,
                l.sd_ms,
                l.first_ms,
                l.load_ms,
                l.n
            );
        }
        for p in &model.parity {
            text += &format!(
                "  {} against {}: logits differ by at most {:.1e}, {} of {} images of the same class\n",
                p.runtime, p.reference, p.parity.max_abs, p.parity.top1_agree, p.parity.n
            );
        }
    }
    text
}

/// `adwp eval`.
pub(crate) fn eval(args: &EvalArgs, style: Style) -> Result<(), Failure> {
    if args.batch == 0 {
        return Err(Failure::input("--batch must be at least 1"));
    }
    let mut console = Console::new(style.verbosity);
    let model = OnnxModel::load(&args.model)?;
    let input = model.input();
    let splits = open_splits(args.dataset, args.data.as_deref(), input.height)?;
    let shape = splits.test.shape();
    let (found, expected) = ([shape.channels, shape.height, shape.width], [input.channels, input.height, input.width]);
    if found != expected {
        return Err(Failure::input(format!(
            "the model takes images of {expected:?} (channels, height, width), {} has {found:?}",
            args.dataset
        )));
    }
    let (classes, outputs) = (splits.test.classes().len(), model.output().classes);
    if classes != outputs {
        return Err(Failure::input(format!("the model tells {outputs} classes apart, {} has {classes}", args.dataset)));
    }
    // The file says how its images are prepared; without a word of it, the data set's constants are the best guess.
    let normalization = match model.preparation() {
        Some(n) => Normalization { mean: n.mean, std: n.std },
        None => splits.normalization.clone(),
    };
    let images = BatchSource { indices: splits.test.indices(), dataset: splits.test, normalization, batch: args.batch, stored: None };
    let library = find_library(args.ort.ort_lib.as_deref(), &args.runtime)?;
    let mut rows = Vec::new();
    for runtime in choose(&args.runtime, library.as_ref(), &mut console) {
        let options = SessionOptions { threads: 1, ort_library: library.as_ref(), batch: args.batch };
        let mut session = Session::from_model(runtime, &model, &options)?;
        let label = format!("batch under {runtime}");
        let batches = watched(&mut console, &label, images.arrays(0)?);
        let result = accuracy::evaluate(&mut session, batches.map(runtime_batch));
        console.clear();
        rows.push((runtime, result?));
    }
    if style.json {
        let row = |(runtime, a): &(Runtime, accuracy::Accuracy)| json!({ "runtime": runtime, "images": a.n, "top1": a.top1_share(), "top5": a.top5_share(), "top1_correct": a.top1, "top5_correct": a.top5 });
        return output::json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let line = |(runtime, a): &(Runtime, accuracy::Accuracy)| {
        format!("{runtime:<6} top-1 {:.2}%  top-5 {:.2}%  ({} of {} images)\n", 100.0 * a.top1_share(), 100.0 * a.top5_share(), a.top1, a.n)
    };
    output::data(&rows.iter().map(line).collect::<String>())
}

/// `adwp compare`.
pub(crate) fn compare(a: &Path, b: &Path, threshold: f64, style: Style) -> Result<(), Failure> {
    let (old, new) = (BenchReport::read(a)?, BenchReport::read(b)?);
    let regressions = bench::compare(&old, &new, threshold)?;
    if style.json {
        output::json(&regressions)?;
    } else {
        output::data(&regressions.iter().map(|r| format!("{r}\n")).collect::<String>())?;
    }
    match regressions.len() {
        0 => Ok(()),
        n => Err(Failure::failed(format!("{n} regression{} beyond {:.1}%", if n == 1 { "" } else { "s" }, 100.0 * threshold))),
    }
}
