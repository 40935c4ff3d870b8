//! The commands that work in a run folder.

use std::path::PathBuf;
use std::time::Instant;

use adwp_base::{Failure, output};
use adwp_export::onnx::{Format, Precision};
use adwp_report::terminal_table;

use super::Style;
use crate::args::{ExportArgs, RetrainArgs, RunArgs, TrainArgs};
use crate::formats;
use crate::memory::Training;
use crate::session::{Existing, Session};
use crate::steps;
use crate::transfer::Origin;

/// Training images that `adwp export --int8` calibrates on unless told otherwise.
const CALIBRATION_IMAGES: usize = 512;

/// `adwp run`: everything in order.
pub(crate) fn run(args: &TrainArgs, style: Style) -> Result<(), Failure> {
    let deadline = deadline(args);
    let mut session =
        Session::open(&args.run, style.verbosity, Existing::NeedsResume, &Training::ALL)?
            .until(deadline);
    session.announce();
    steps::space(&mut session, "run")?;
    steps::search(&mut session, "run")?;
    steps::retrain(&mut session, "run")?;
    steps::export(&mut session)?;
    steps::bench(&mut session)?;
    finish(&mut session, style)
}

fn finish(session: &mut Session, style: Style) -> Result<(), Failure> {
    let report = steps::report(session)?;
    if style.json {
        return output::data(&report.to_json());
    }
    output::data(&terminal_table(&report))?;
    let path = session.run.file("report.html");
    output::data(&format!("\n{}\n", std::path::absolute(&path).unwrap_or(path).display()))
}

/// `adwp retrain`, of the architecture in the folder or of another run's.
pub(crate) fn retrain(args: &RetrainArgs, style: Style) -> Result<(), Failure> {
    let Some(origin) = Origin::read(args)? else {
        return train(&args.train, style, Training::Retrain);
    };
    let deadline = deadline(&args.train);
    let run = &args.train.run;
    let session = Session::open_from(
        Some(&origin),
        run,
        style.verbosity,
        Existing::NeedsResume,
        &[Training::Retrain],
    )?;
    train_in(session.until(deadline), style, Training::Retrain)
}

/// `adwp space`, `search`, `retrain`: one training step in a run folder.
pub(crate) fn train(args: &TrainArgs, style: Style, training: Training) -> Result<(), Failure> {
    let deadline = deadline(args);
    train_in(
        Session::open(&args.run, style.verbosity, Existing::Continues, &[training])?
            .until(deadline),
        style,
        training,
    )
}

fn train_in(mut session: Session, style: Style, training: Training) -> Result<(), Failure> {
    session.announce();
    match training {
        Training::Space => steps::space(&mut session, training.name()),
        Training::Search => steps::search(&mut session, training.name()),
        Training::Retrain => steps::retrain(&mut session, training.name()),
    }?;
    wrote(&session, style, training.name(), training.result())
}

/// `adwp export`: the one step that trains nothing.
pub(crate) fn export(args: &ExportArgs, style: Style) -> Result<(), Failure> {
    let precision = match args {
        ExportArgs { fp16: true, .. } => Precision::F16,
        ExportArgs { int8: true, .. } => Precision::Int8,
        _ => Precision::F32,
    };
    let format = Format { precision, pixels: args.preprocess };
    let mut session = Session::open(&args.run, style.verbosity, Existing::Continues, &[])?;
    session.announce();
    if format == Format::default() {
        steps::export(&mut session)?;
    } else {
        formats::export(
            &mut session,
            format,
            args.calibration_images.map_or(CALIBRATION_IMAGES, |images| images as usize),
        )?;
    }
    wrote(&session, style, "export", &format.file())
}

/// When training is to stop, counted from now; `None` for never.
pub(super) fn deadline(args: &TrainArgs) -> Option<Instant> {
    Instant::now().checked_add(args.max_minutes?)
}

/// Prints what a step has written.
fn wrote(session: &Session, style: Style, step: &str, file: &str) -> Result<(), Failure> {
    let path = session.run.file(file);
    if style.json {
        return output::json(&serde_json::json!({ "step": step, "file": path }));
    }
    output::data(&format!("{}\n", path.display()))
}

/// `adwp report`: the report of a finished run, written again.
pub(crate) fn report(run: PathBuf, style: Style) -> Result<(), Failure> {
    if !run.join("config.toml").exists() {
        return Err(Failure::input(format!(
            "{} is no folder of a run: it has no config.toml",
            run.display()
        )));
    }
    // Nothing is computed.
    let args = RunArgs { run: Some(run), device: "cpu".into(), resume: true, ..RunArgs::default() };
    finish(&mut Session::open(&args, style.verbosity, Existing::Continues, &[])?, style)
}
