//! The commands that work in the folder of a run.

use std::path::PathBuf;

use adwp_base::{Failure, Result, output};
use adwp_export::onnx::{Format, Precision};
use adwp_report::terminal_table;
use adwp_search::Ingredient;
use adwp_train::Reporter;

use super::explore::refuse_idle_table;
use crate::architecture;
use crate::args::{ExportArgs, RetrainArgs, RunArgs, TrainArgs};
use crate::config::Config;
use crate::idle;
use crate::phases::Training;
use crate::plan::{Existing, Plan};
use crate::run::{Run, not_there};
use crate::steps;
use crate::transfer::Origin;

/// Training images that `adwp export --int8` calibrates on where no number is given.
const CALIBRATION_IMAGES: usize = 512;

/// `adwp run`: everything in order.
pub(crate) fn run(args: &TrainArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let plan = Plan::training(args, None, Existing::NeedsResume, &Training::ALL)?;
    idle::refuse(&args.run, &plan)?;
    refuse_idle_table(&args.run, reads_latency(&plan.config)?)?;
    if !plan.folder.join("bench.json").exists() {
        plan.check_runtime()?;
    }
    let run = begun(plan, reporter)?;
    if run.config().strategy.is_intensive() {
        steps::space(&run, "run", reporter)?;
    }
    steps::search(&run, "run", reporter)?;
    steps::retrain(&run, "run", reporter)?;
    steps::export(&run, reporter)?;
    steps::bench(&run, reporter)?;
    finish(&run, as_json)
}

/// Steps that train run no file: a library of ONNX Runtime that was named is refused.
fn refuse_idle_library(args: &RunArgs) -> Result {
    match &args.ort.ort_lib {
        None => Ok(()),
        Some(_) => Err(Failure::input("--ort-lib has no effect: this step runs no ONNX file")
            .hint("`adwp run` and `adwp export` do")),
    }
}

/// Whether a table of latencies decides anything of a run.
fn reads_latency(config: &Config) -> Result<bool> {
    let strategy = &config.strategy;
    let is_scored = !strategy.is_gradient() && strategy.scorer()?.needs(Ingredient::Latency);
    Ok(config.limits.latency_ms > 0.0 || is_scored)
}

fn finish(run: &Run, as_json: bool) -> Result {
    let report = steps::report(run)?;
    if as_json {
        return output::json(&report);
    }
    output::data(&terminal_table(&report))?;
    let path = run.dir.file("report.html");
    output::data(&format!("\n{}\n", std::path::absolute(&path).unwrap_or(path).display()))
}

/// Derives the intensive space of a run. Prints the file with it; where it was not needed, that with
/// the architecture which is there.
pub(crate) fn space(args: &TrainArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let plan = Plan::training(args, None, Existing::Continues, &[Training::Space])?;
    idle::refuse(&args.run, &plan)?;
    refuse_idle_library(&args.run)?;
    let run = begun(plan, reporter)?;
    steps::space(&run, "space", reporter)?;
    let space = Training::Space.result();
    let is_needed = run.dir.file(space).exists();
    let file = if is_needed { space } else { architecture::file_of(&run.dir).unwrap_or(space) };
    wrote(&run, as_json, "space", file)
}

/// Searches by what the settings of a run say.
pub(crate) fn search(args: &TrainArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let plan = Plan::training(args, None, Existing::Continues, &[Training::Search])?;
    idle::refuse(&args.run, &plan)?;
    refuse_idle_library(&args.run)?;
    refuse_idle_table(&args.run, reads_latency(&plan.config)?)?;
    let run = begun(plan, reporter)?;
    steps::search(&run, "search", reporter)?;
    let file = architecture::file_of(&run.dir).unwrap_or(Training::Search.result());
    wrote(&run, as_json, "search", file)
}

/// `adwp retrain`, of the architecture in the folder or of another run's.
pub(crate) fn retrain(args: &RetrainArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let origin = Origin::read(args)?;
    let existing = match origin {
        Some(_) => Existing::NeedsResume,
        None => Existing::Continues,
    };
    let plan = Plan::training(&args.train, origin, existing, &[Training::Retrain])?;
    idle::refuse(&args.train.run, &plan)?;
    refuse_idle_library(&args.train.run)?;
    let run = begun(plan, reporter)?;
    steps::retrain(&run, "retrain", reporter)?;
    wrote(&run, as_json, "retrain", Training::Retrain.result())
}

/// `adwp export`: the one step that trains nothing.
pub(crate) fn export(args: &ExportArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let precision = match args {
        ExportArgs { fp16: true, .. } => Precision::F16,
        ExportArgs { int8: true, .. } => Precision::Int8,
        _ => Precision::F32,
    };
    let format = Format { precision, pixels: args.preprocess };
    let (plan, weights) = (Plan::of(&args.run)?, Training::Retrain.result());
    idle::refuse(&args.run, &plan)?;
    // Before the folder is touched, which may be none of a run.
    if !plan.folder.join(weights).exists() {
        return Err(not_there(&plan.folder, weights, "retrain"));
    }
    plan.check_runtime()?;
    let run = begun(plan, reporter)?;
    if format == Format::default() {
        steps::export(&run, reporter)?;
    } else {
        let images = args.calibration_images.map_or(CALIBRATION_IMAGES, |images| images as usize);
        steps::export_form(&run, format, images, reporter)?;
    }
    wrote(&run, as_json, "export", &format.file())
}

/// The run of a plan, after its first words.
fn begun(plan: Plan, reporter: &mut dyn Reporter) -> Result<Run> {
    let run = Run::open(plan, reporter)?;
    run.announce(reporter);
    Ok(run)
}

/// Prints what a step has written.
fn wrote(run: &Run, as_json: bool, step: &str, file: &str) -> Result {
    let path = run.dir.file(file);
    if as_json {
        return output::json(&serde_json::json!({ "step": step, "file": path }));
    }
    output::data(&format!("{}\n", path.display()))
}

/// `adwp report`: the report of a finished run, written again.
pub(crate) fn report(folder: PathBuf, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    if !folder.join(Config::FILE).exists() {
        return Err(Failure::input(format!(
            "{} is no folder of a run: it has no {}",
            folder.display(),
            Config::FILE
        )));
    }
    // Nothing is computed.
    let args =
        RunArgs { run: Some(folder), device: "cpu".into(), resume: true, ..RunArgs::default() };
    finish(&Run::open(Plan::of(&args)?, reporter)?, as_json)
}
