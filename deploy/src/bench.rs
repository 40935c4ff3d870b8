//! Everything that is measured of one or more model files, as one report.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    DeployError, Result, bisect, cost,
    latency::{self, LatencyOptions, TimedSession},
    machine::Machine,
    noise::noise,
    onnx::{Interface, OnnxModel},
    ort_library::OrtLibrary,
    parity, profile,
    runtime::{Runtime, SessionOptions},
    trial::{Attempt, Trial},
};

mod compare;
mod report;

pub use compare::{Change, Metric, Verdict, compare, matched_otherwise};
pub use report::{
    BenchReport, CostReport, FailedFile, FailedRuntime, ModelReport, ParityImages, RuntimeParity,
    SCHEMA, Settings,
};

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The runtimes, each once.
    pub runtimes: Vec<Runtime>,
    /// Numbers of threads. A runtime leaves out those it cannot use; tract always runs on one
    /// thread.
    pub threads: Vec<usize>,
    /// How latency is measured. A model with a fixed batch is measured at that batch.
    pub latency: LatencyOptions,
    /// The ONNX Runtime library; `None` searches for one.
    pub ort_library: Option<OrtLibrary>,
    /// Images of noise that the runtimes are compared on; 0 compares nothing.
    pub parity_images: usize,
    /// Gives images `[n, channels, height, width]`, prepared as a model wants them, that the
    /// runtimes are compared on instead of noise.
    pub images: Option<ImageSource>,
    /// What the models leave open.
    pub said: Interface,
    /// How each session is tried in a process of its own first, which also measures its memory;
    /// `None` tries none.
    pub trial: Option<Trial>,
    /// How long each session is run once more, timing every node; `None` times none.
    pub profile: Option<Duration>,
}

/// Reads images `[n, channels, height, width]`, prepared as a model wants them.
pub type ReadImages = dyn Fn(&OnnxModel) -> Result<Vec<f32>>;

/// Where the images come from that runtimes are compared on.
#[derive(Clone)]
pub struct ImageSource(pub Arc<ReadImages>);

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImageSource").finish_non_exhaustive()
    }
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            runtimes: Runtime::ALL.to_vec(),
            threads: vec![1],
            latency: LatencyOptions::default(),
            ort_library: None,
            parity_images: 8,
            images: None,
            said: Interface::default(),
            trial: None,
            profile: None,
        }
    }
}

/// Measures the model files `paths`. All sessions of all models are measured together, interleaved.
/// `progress` is called with what is about to happen, in words for people.
///
/// # Errors
/// No file is an image classifier that a runtime runs, or a setting leaves nothing to measure. A
/// file that is none, next to others, and a cost that cannot be counted are part of the report.
pub fn run(
    paths: &[PathBuf],
    options: &BenchOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<BenchReport> {
    options.latency.check()?;
    let plan = sessions_of(options)?;
    if paths.is_empty() {
        return Err(DeployError::setting("models", "none was given"));
    }
    let mut machine = Machine::read();
    let mut models = Vec::with_capacity(paths.len());
    let (mut loaded, mut sessions) = (Vec::with_capacity(paths.len()), Vec::new());
    let (mut failure, mut without) = (None, Vec::new());
    for path in paths {
        match load(path, &plan, options, &mut failure, progress) {
            Ok(Loaded { model, batch, own, report }) => {
                models.push(report);
                loaded.push((model, batch, own.len()));
                sessions.extend(own);
            }
            Err(error) => {
                without.push(FailedFile { path: path.clone(), reason: error.one_line() });
                failure.get_or_insert(error);
            }
        }
    }
    // Where none could, one of the reasons is the error.
    if let (true, Some(error)) = (sessions.is_empty(), failure) {
        return Err(error);
    }
    for FailedFile { reason, .. } in &without {
        progress(&format!("warning: a file is left out: {reason}"));
    }
    progress(&format!("measuring {} sessions", sessions.len()));
    let mut latencies = latency::measure(&mut sessions, &options.latency, progress)?.into_iter();
    machine.finish();
    drop(sessions);
    for (report, (model, batch, count)) in models.iter_mut().zip(&loaded) {
        report.latency.extend(latencies.by_ref().take(*count));
        for latency in &report.latency {
            let (runtime, threads) = (latency.runtime, latency.threads);
            let (batch, ort_library) = (*batch, options.ort_library.as_ref());
            if let Some(time) = options.profile {
                let path = model.path().display();
                progress(&format!("profiling {path} under {runtime} ({threads} threads)"));
                let (options, cost) =
                    (SessionOptions { threads, ort_library, batch }, report.cost.counted());
                match profile::profile(model, runtime, &options, time, cost) {
                    Ok(profile) => report.profile.push(profile),
                    Err(error) if error.is_of_runtime() => {
                        progress(&format!("warning: no profile: {}", error.one_line()));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok(BenchReport {
        schema: SCHEMA.to_owned(),
        created_unix_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        machine,
        settings: Settings {
            min_time_ms: milliseconds(options.latency.min_time),
            repeats: options.latency.repeats,
            max_warm_up_ms: milliseconds(options.latency.max_warm_up),
            parity_on: match (&options.images, options.parity_images) {
                (Some(_), _) => ParityImages::Images,
                (None, 0) => ParityImages::None,
                (None, _) => ParityImages::Noise,
            },
            overhead_ns: latency::overhead().as_secs_f64() * 1e9,
        },
        models,
        failed: without,
    })
}

/// A model with the sessions that it is measured in, and what is known of it before.
struct Loaded {
    model: OnnxModel,
    batch: usize,
    own: Vec<TimedSession>,
    report: ModelReport,
}

/// Reads a model into every runtime of `plan`. The first error of a runtime is kept in `first`.
fn load(
    path: &Path,
    plan: &[(Runtime, usize)],
    options: &BenchOptions,
    first: &mut Option<DeployError>,
    progress: &mut dyn FnMut(&str),
) -> Result<Loaded> {
    progress(&format!("reading {}", path.display()));
    let model = OnnxModel::load_as(path, &options.said)?;
    if let Some(text) = model.choice() {
        progress(&text);
    }
    let batch = model.input().batch_of(options.latency.batch);
    if batch != options.latency.batch {
        let path = path.display();
        progress(&format!("{path} takes {batch} images in every run, so these are timed"));
    }
    let (mut own, mut report) = (Vec::with_capacity(plan.len()), describe(&model));
    for &(runtime, threads) in plan {
        progress(&format!("loading {} into {runtime} ({threads} threads)", path.display()));
        match start(&model, (runtime, threads), batch, options, progress) {
            Ok(session) => own.push(session),
            Err(error) => report.failed.push(failed(runtime, threads, first, error)?),
        }
    }
    report.parity = agreement(&model, &mut own, &mut report.failed, first, options, progress)?;
    Ok(Loaded { model, batch, own, report })
}

/// Values of noise that runtimes are compared on, beyond one image.
const MOST_NOISE: usize = 1 << 26;

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A session of a model that has got through its trial.
fn start(
    model: &OnnxModel,
    (runtime, threads): (Runtime, usize),
    batch: usize,
    options: &BenchOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<TimedSession> {
    let ort_library = options.ort_library.as_ref();
    let session = SessionOptions { threads, ort_library, batch };
    let attempt = Attempt { model, runtime, options: session };
    let memory = match &options.trial {
        Some(trial) => trial.run(&attempt, progress)?,
        None => None,
    };
    let mut started = TimedSession::start(model, runtime, threads, batch, ort_library)?;
    started.memory = memory;
    Ok(started)
}

/// The row of a runtime that could not do its part; what the user has to mend stays an error. The
/// first one is kept in `first`.
fn failed(
    runtime: Runtime,
    threads: usize,
    first: &mut Option<DeployError>,
    error: DeployError,
) -> Result<FailedRuntime> {
    if !error.is_of_runtime() {
        return Err(error);
    }
    let reason = error.one_line();
    first.get_or_insert(error);
    Ok(FailedRuntime { runtime, threads, reason })
}

/// The runtimes and threads to measure, each once.
fn sessions_of(options: &BenchOptions) -> Result<Vec<(Runtime, usize)>> {
    if options.threads.contains(&0) {
        return Err(DeployError::setting("threads", "it must be at least 1"));
    }
    let mut sessions = Vec::new();
    for &runtime in &options.runtimes {
        let usable =
            options.threads.iter().copied().filter(|&threads| runtime.supports_threads(threads));
        let mut threads: Vec<_> = usable.collect();
        if threads.is_empty() && !options.threads.is_empty() {
            threads.push(1);
        }
        for threads in threads {
            if !sessions.contains(&(runtime, threads)) {
                sessions.push((runtime, threads));
            }
        }
    }
    if sessions.is_empty() {
        return Err(DeployError::setting("runtimes", "no runtime or no number of threads"));
    }
    Ok(sessions)
}

fn describe(model: &OnnxModel) -> ModelReport {
    let (input, stated) = (model.input(), model.metadata());
    ModelReport {
        // JSON has no other text than Unicode.
        path: model.path().to_string_lossy().into_owned().into(),
        file_bytes: model.file_bytes(),
        producer: model.producer().to_owned(),
        opset: model.opset(),
        input: [input.channels, input.height, input.width],
        classes: model.output().classes,
        cost: cost::cost(model).map_or_else(
            |error| CostReport::Failed(error.to_string()),
            |cost| CostReport::Counted(Box::new(cost)),
        ),
        stated_params: stated.params,
        stated_madds: stated.madds,
        stated_test_accuracy: stated.test_accuracy,
        genotype: stated.genotype.clone(),
        latency: Vec::new(),
        parity: Vec::new(),
        profile: Vec::new(),
        failed: Vec::new(),
    }
}

/// Logits of `count` images, in runs of as many as the session is timed with: a file may work for no
/// other batch.
fn logits(session: &mut TimedSession, images: &[f32], count: usize) -> Result<Vec<f32>> {
    let (batch, each) = (session.batch().max(1), images.len() / count.max(1));
    let mut logits = Vec::new();
    for images in images.chunks((batch * each).max(1)) {
        logits.extend(session.session.run(images, images.len() / each.max(1))?);
    }
    Ok(logits)
}

/// How the sessions agree with the first. One that fails to run, or gives NaN or infinities, is
/// taken out, and is among `failures`; the `first` of all is kept.
fn agreement(
    model: &OnnxModel,
    sessions: &mut Vec<TimedSession>,
    failures: &mut Vec<FailedRuntime>,
    first: &mut Option<DeployError>,
    options: &BenchOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<RuntimeParity>> {
    if sessions.is_empty() || (options.images.is_none() && options.parity_images == 0) {
        return Ok(Vec::new());
    }
    let images = match &options.images {
        Some(source) => (source.0)(model)?,
        None => {
            // Of huge images fewer: the sessions were tried with no more than they are timed with.
            let most = (MOST_NOISE / model.input().image_len().max(1)).max(1);
            noise(model.input(), options.parity_images.min(most))
        }
    };
    let count = images.len() / model.input().image_len().max(1);
    let mut given = Vec::with_capacity(sessions.len());
    for mut session in std::mem::take(sessions) {
        let (runtime, threads) = (session.session.runtime(), session.session.threads());
        match logits(&mut session, &images, count) {
            Ok(logits) => {
                given.push(((runtime, threads), logits));
                sessions.push(session);
            }
            Err(error) => failures.push(failed(runtime, threads, first, error)?),
        }
    }
    let Some(((a, expected), others)) = given.split_first() else { return Ok(Vec::new()) };
    let a = *a;
    let mut agreements = Vec::with_capacity(others.len());
    for &(b, ref found) in others {
        let parity = parity::compare(expected, found, model.output().classes)?;
        let mut parts_at = None;
        if !parity.agrees() {
            progress(&format!(
                "{} and {} do not agree on {}; looking for the node where they part",
                a.0,
                b.0,
                model.path().display()
            ));
            let (library, trial) = (options.ort_library.as_ref(), options.trial.as_ref());
            parts_at = bisect::first_difference(model, [a, b], &images, library, trial);
        }
        agreements.push(RuntimeParity {
            reference: a.0,
            reference_threads: a.1,
            runtime: b.0,
            threads: b.1,
            parity,
            parts_at,
        });
    }
    Ok(agreements)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(runtimes: &[Runtime], threads: &[usize]) -> Result<Vec<(Runtime, usize)>> {
        sessions_of(&BenchOptions {
            runtimes: runtimes.to_vec(),
            threads: threads.to_vec(),
            ..Default::default()
        })
    }

    #[test]
    fn every_runtime_gets_the_threads_it_can_use() {
        use Runtime::{Ort, Tract};
        assert_eq!(planned(&[Ort, Tract], &[1, 2, 2]).unwrap(), [(Ort, 1), (Ort, 2), (Tract, 1)]);
        assert_eq!(planned(&[Tract], &[4]).unwrap(), [(Tract, 1)]);
        assert!(planned(&[Ort], &[0]).is_err());
        assert!(planned(&[], &[1]).is_err());
        assert!(planned(&[Ort], &[]).is_err());
    }
}
