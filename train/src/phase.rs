use std::path::Path;
use std::time::Instant;

use adwp_data::DataError;
use serde_json::{Map, Value};

use crate::metrics::Metrics;
use crate::{Checkpoint, Interrupt, Progress, Reporter, Result, RunDir, TrainError};

/// A point of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step of the epoch, from 0.
    pub step: usize,
}

/// What a step tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss that was lowered.
    pub loss: f32,
    /// Training images of the step, and how many were classified right.
    pub images: usize,
    /// See `images`.
    pub correct: usize,
}

/// A training phase: what [`run_phase`] repeats.
pub trait Phase {
    /// What one step consumes.
    type Batch;

    /// Its name in metrics, checkpoints and messages.
    const NAME: &'static str;

    /// Epochs in all.
    fn epochs(&self) -> usize;

    /// Steps of an epoch.
    fn steps(&self) -> usize;

    /// The batches of an epoch from step `first` on; the same ones as an uninterrupted epoch has there.
    fn batches(&self, epoch: usize, first: usize) -> Result<Box<dyn Iterator<Item = Result<Self::Batch, DataError>>>>;

    /// One update.
    fn step(&mut self, at: At, batch: Self::Batch) -> Result<StepReport>;

    /// What follows an epoch, such as validation; gives what its metrics have beside the losses.
    fn finish_epoch(&mut self, epoch: usize, reporter: &mut dyn Reporter) -> Result<Map<String, Value>>;

    /// Stores everything that [`Self::restore`] needs.
    fn save(&self, checkpoint: &mut Checkpoint);

    /// Goes back to what [`Self::save`] stored; `path` is for messages.
    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()>;
}

/// What a phase needs of its surroundings.
pub struct Context<'a> {
    /// The folder of the run.
    pub run: &'a RunDir,
    /// Continue from a checkpoint that is there; else start afresh.
    pub resume: bool,
    /// Asked after every step.
    pub interrupt: &'a Interrupt,
    /// Hears of the progress.
    pub reporter: &'a mut dyn Reporter,
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Done,
    /// It was asked to stop; its checkpoint is written.
    Interrupted,
}

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    loss: f64,
    images: u64,
    correct: u64,
    seconds: f64,
}

/// Runs a phase to its end or to the next interrupt, which is met after the step it falls into or the one that follows.
///
/// A checkpoint is written after every epoch and on an interrupt. A loss that is not finite ends the phase with the last checkpoint kept.
pub fn run_phase<P: Phase>(phase: &mut P, context: &mut Context<'_>) -> Result<Outcome> {
    let outcome = drive(phase, context);
    context.reporter.phase_end();
    outcome
}

fn drive<P: Phase>(phase: &mut P, context: &mut Context<'_>) -> Result<Outcome> {
    let path = context.run.checkpoint(P::NAME);
    let (mut at, mut totals) = (At { epoch: 0, step: 0 }, Totals::default());
    if context.resume && path.exists() {
        (at, totals) = restore(phase, &path)?;
        context.reporter.message(&format!("{}: continuing at epoch {}, step {}", P::NAME, at.epoch + 1, at.step));
    }
    let metrics = Metrics::open(&context.run.metrics(), P::NAME, at.epoch)?;
    let mut pace = Pace::default();

    while at.epoch < phase.epochs() {
        for batch in phase.batches(at.epoch, at.step)? {
            let batch = batch?;
            let start = Instant::now();
            let report = phase.step(at, batch)?;
            let seconds = start.elapsed().as_secs_f64();
            if !report.loss.is_finite() {
                return Err(TrainError::NotFinite { phase: P::NAME, epoch: at.epoch, step: at.step, loss: report.loss });
            }
            at.step += 1;
            totals.add(report, seconds);
            pace.add(report.images, seconds);
            context.reporter.step(&pace.progress(phase, at, &totals));
            if context.interrupt.is_requested() {
                save(phase, at, totals, &path)?;
                return Ok(Outcome::Interrupted);
            }
        }
        let mut entry = totals.metrics(P::NAME, at);
        entry.append(&mut phase.finish_epoch(at.epoch, context.reporter)?);
        metrics.append(&entry)?;
        context.reporter.epoch(&entry);
        (at, totals) = (At { epoch: at.epoch + 1, step: 0 }, Totals::default());
        save(phase, at, totals, &path)?;
    }
    Ok(Outcome::Done)
}

fn save<P: Phase>(phase: &P, at: At, totals: Totals, path: &Path) -> Result<()> {
    let mut checkpoint = Checkpoint::default();
    phase.save(&mut checkpoint);
    let values = &mut checkpoint.values;
    values.insert("phase".into(), P::NAME.into());
    values.insert("epoch".into(), at.epoch.into());
    values.insert("step".into(), at.step.into());
    values.insert("epoch_loss".into(), totals.loss.into());
    values.insert("epoch_images".into(), totals.images.into());
    values.insert("epoch_correct".into(), totals.correct.into());
    values.insert("epoch_seconds".into(), totals.seconds.into());
    checkpoint.write(path)
}

fn restore<P: Phase>(phase: &mut P, path: &Path) -> Result<(At, Totals)> {
    let mut checkpoint = Checkpoint::read(path)?;
    let name: String = checkpoint.value("phase", path)?;
    if name != P::NAME {
        return Err(TrainError::Damaged { path: path.to_owned(), reason: format!("it belongs to the phase {name:?}") });
    }
    phase.restore(&mut checkpoint, path)?;
    let at = At { epoch: checkpoint.value("epoch", path)?, step: checkpoint.value("step", path)? };
    let totals = Totals {
        loss: checkpoint.value("epoch_loss", path)?,
        images: checkpoint.value("epoch_images", path)?,
        correct: checkpoint.value("epoch_correct", path)?,
        seconds: checkpoint.value("epoch_seconds", path)?,
    };
    Ok((at, totals))
}

impl Totals {
    fn add(&mut self, report: StepReport, seconds: f64) {
        self.loss += f64::from(report.loss) * report.images as f64;
        self.images += report.images as u64;
        self.correct += report.correct as u64;
        self.seconds += seconds;
    }

    fn mean_loss(&self) -> f64 {
        self.loss / self.images.max(1) as f64
    }

    fn metrics(&self, phase: &str, at: At) -> Map<String, Value> {
        let per_step = 1e3 * self.seconds / at.step.max(1) as f64;
        [
            ("phase", phase.into()),
            ("epoch", at.epoch.into()),
            ("step_ms", per_step.into()),
            ("images_per_s", (self.images as f64 / self.seconds.max(1e-9)).into()),
            ("train_loss", self.mean_loss().into()),
            ("train_accuracy", (self.correct as f64 / self.images.max(1) as f64).into()),
        ]
        .map(|(key, value): (&str, Value)| (key.to_owned(), value))
        .into_iter()
        .collect()
    }
}

/// Speed since the phase was started or continued.
#[derive(Default)]
struct Pace {
    images: f64,
    seconds: f64,
    steps: f64,
}

impl Pace {
    fn add(&mut self, images: usize, seconds: f64) {
        self.images += images as f64;
        self.seconds += seconds;
        self.steps += 1.0;
    }

    fn progress<P: Phase>(&self, phase: &P, at: At, totals: &Totals) -> Progress {
        let left = (phase.epochs() - at.epoch) * phase.steps() - at.step;
        Progress {
            phase: P::NAME,
            epoch: at.epoch,
            epochs: phase.epochs(),
            step: at.step,
            steps: phase.steps(),
            loss: totals.mean_loss() as f32,
            images_per_s: self.images / self.seconds.max(1e-9),
            seconds_left: left as f64 * self.seconds / self.steps,
        }
    }
}
