use serde_json::{Map, Value};

/// How far a phase is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Name of the phase.
    pub phase: &'static str,
    /// Epoch, from 0.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Mean training loss of the epoch so far.
    pub loss: f32,
    /// Training images a second, over this session.
    pub images_per_s: f64,
    /// Seconds left of the phase at this rate; without validation.
    pub seconds_left: f64,
}

/// Hears of a run's progress.
pub trait Reporter {
    /// After every step.
    fn step(&mut self, progress: &Progress);
    /// During work outside the steps, such as validation: `done` of `total` batches of `what`.
    fn aside(&mut self, what: &str, done: usize, total: usize);
    /// After every epoch, with what goes into `metrics.jsonl`.
    fn epoch(&mut self, metrics: &Map<String, Value>);
    /// When something worth a line happens: what a phase starts or continues with, what it found.
    fn message(&mut self, text: &str);
    /// When a phase ends, however.
    fn phase_end(&mut self);
}

/// Passes items on and reports how many there were.
pub fn watched<'a, I: ExactSizeIterator>(
    reporter: &'a mut dyn Reporter,
    what: &'a str,
    items: I,
) -> impl Iterator<Item = I::Item> + use<'a, I> {
    let total = items.len();
    let mut done = 0;
    items.inspect(move |_| {
        done += 1;
        reporter.aside(what, done, total);
    })
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Reporter for Quiet {
    fn step(&mut self, _: &Progress) {}
    fn aside(&mut self, _: &str, _: usize, _: usize) {}
    fn epoch(&mut self, _: &Map<String, Value>) {}
    fn message(&mut self, _: &str) {}
    fn phase_end(&mut self) {}
}

/// Passes on how far a phase is, and not what each of its epochs gave: for work that consists of many.
pub struct ProgressAlone<'a>(pub &'a mut dyn Reporter);

impl Reporter for ProgressAlone<'_> {
    fn step(&mut self, progress: &Progress) {
        self.0.step(progress);
    }

    fn aside(&mut self, what: &str, done: usize, total: usize) {
        self.0.aside(what, done, total);
    }

    fn epoch(&mut self, _: &Map<String, Value>) {}

    fn message(&mut self, _: &str) {}

    fn phase_end(&mut self) {
        self.0.phase_end();
    }
}
