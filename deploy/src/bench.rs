//! Everything that is measured of one or more model files, as one report.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use adwp_base::JsonError;
use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result,
    bisect::{self, Difference},
    cost::{self, Cost},
    latency::{self, LatencyOptions, LatencyReport, TimedSession},
    machine::Machine,
    memory,
    onnx::{BatchSize, OnnxModel},
    ort_library::OrtLibrary,
    parity::{self, Parity},
    profile::{self, Profile},
    runtime::{Runtime, SessionOptions},
};

mod compare;

pub use compare::{Change, Metric, Verdict, compare};

/// The schema of a report.
pub const SCHEMA: &str = "adwp/bench/2";

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
    /// A program with the command [`memory::PROBE`], that the memory of each session is measured
    /// with; `None` measures none.
    pub memory_probe: Option<PathBuf>,
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
            memory_probe: None,
            profile: None,
        }
    }
}

/// A report of [`run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
    /// The version of this crate.
    pub version: String,
    /// The machine.
    pub machine: Machine,
    /// The settings of the latency measurement.
    pub settings: Settings,
    /// The models, in the order they were given.
    pub models: Vec<ModelReport>,
}

/// The settings that a latency depends on and its own record does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The least time of one repeat, in milliseconds.
    pub min_time_ms: f64,
    /// Repeats.
    pub repeats: usize,
    /// The longest warm-up, in milliseconds.
    pub max_warm_up_ms: f64,
    /// What the runtimes were compared on.
    pub parity_on: ParityImages,
    /// Nanoseconds that measuring adds to one run.
    pub overhead_ns: f64,
}

/// Images that runtimes are compared on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParityImages {
    /// Nothing was compared.
    None,
    /// The same noise on every machine.
    Noise,
    /// Images that the user gave.
    Images,
}

/// What was measured of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelReport {
    /// The path that was given.
    pub path: PathBuf,
    /// The size of the file in bytes, with the weights that it keeps in other files.
    pub file_bytes: u64,
    /// Who wrote the file.
    pub producer: String,
    /// Its operator set.
    pub opset: i64,
    /// One image: `[channels, height, width]`.
    pub input: [usize; 3],
    /// The number of classes.
    pub classes: usize,
    /// Parameters and multiply-adds of the file, or why they could not be counted.
    pub cost: CostReport,
    /// Trainable parameters that the exporter states.
    pub stated_params: Option<u64>,
    /// Multiply-adds that the exporter states.
    pub stated_madds: Option<u64>,
    /// Test accuracy that the exporter states, in its own unit.
    pub stated_test_accuracy: Option<f64>,
    /// The architecture that the exporter states.
    pub genotype: Option<serde_json::Value>,
    /// Latency for each runtime and number of threads.
    pub latency: Vec<LatencyReport>,
    /// The agreement of every other session with the first one.
    pub parity: Vec<RuntimeParity>,
    /// Where the time goes, for each session; empty where it was not asked for.
    pub profile: Vec<Profile>,
}

/// The cost of a file, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CostReport {
    /// The cost.
    Counted(Cost),
    /// The message of the error.
    Failed(String),
}

impl CostReport {
    /// The cost, when it was counted.
    pub fn counted(&self) -> Option<&Cost> {
        match self {
            Self::Counted(cost) => Some(cost),
            Self::Failed(_) => None,
        }
    }
}

/// The agreement of a session with a reference session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeParity {
    /// The runtime compared with.
    pub reference: Runtime,
    /// Its threads.
    pub reference_threads: usize,
    /// The runtime judged.
    pub runtime: Runtime,
    /// Its threads.
    pub threads: usize,
    /// The agreement.
    pub parity: Parity,
    /// Where the two part, if they do not agree and it could be found.
    pub parts_at: Option<Difference>,
}

/// Measures the model files `paths`. All sessions of all models are measured together, interleaved.
/// `progress` is told what is about to happen, in words for people.
///
/// # Errors
/// A file is not an image classifier, a runtime refuses it, or a setting leaves nothing to measure.
/// A cost that cannot be counted is part of the report.
pub fn run(
    paths: &[PathBuf],
    options: &BenchOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<BenchReport> {
    options.latency.check()?;
    let plan = sessions_of(options)?;
    if paths.is_empty() {
        return Err(DeployError::Setting { name: "models", detail: "none was given".to_owned() });
    }
    let mut machine = Machine::read();
    let mut models = Vec::with_capacity(paths.len());
    let (mut loaded, mut sessions) = (Vec::with_capacity(paths.len()), Vec::new());
    for path in paths {
        progress(&format!("reading {}", path.display()));
        let model = OnnxModel::load(path)?;
        let batch = match model.input().batch {
            BatchSize::Dynamic => options.latency.batch,
            BatchSize::Fixed(fixed) => fixed,
        };
        let first = sessions.len();
        for &(runtime, threads) in &plan {
            progress(&format!("loading {} into {runtime} ({threads} threads)", path.display()));
            sessions.push(TimedSession::start(
                &model,
                runtime,
                threads,
                batch,
                options.ort_library.as_ref(),
            )?);
        }
        let mut report = describe(&model);
        report.parity = agreement(&model, &mut sessions[first..], options, progress)?;
        models.push(report);
        loaded.push((model, batch));
    }
    progress(&format!("measuring {} sessions", sessions.len()));
    let mut latencies = latency::measure(&mut sessions, &options.latency, progress)?.into_iter();
    machine.finish();
    drop(sessions);
    for (report, (model, batch)) in models.iter_mut().zip(&loaded) {
        report.latency.extend(latencies.by_ref().take(plan.len()));
        for latency in &mut report.latency {
            let (runtime, threads) = (latency.runtime, latency.threads);
            if let Some(program) = &options.memory_probe {
                progress(&format!(
                    "memory of {} under {runtime} ({threads} threads)",
                    model.path().display()
                ));
                let library = options.ort_library.as_ref();
                latency.memory = memory::of_own_process(
                    program,
                    model.path(),
                    runtime,
                    threads,
                    *batch,
                    library,
                );
            }
            if let Some(time) = options.profile {
                progress(&format!(
                    "profiling {} under {runtime} ({threads} threads)",
                    model.path().display()
                ));
                let session = SessionOptions {
                    threads,
                    ort_library: options.ort_library.as_ref(),
                    batch: *batch,
                };
                report.profile.push(profile::profile(
                    model,
                    runtime,
                    &session,
                    time,
                    report.cost.counted(),
                )?);
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
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The runtimes and threads to measure, each once.
fn sessions_of(options: &BenchOptions) -> Result<Vec<(Runtime, usize)>> {
    if options.threads.contains(&0) {
        return Err(DeployError::Setting {
            name: "threads",
            detail: "it must be at least 1".to_owned(),
        });
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
        return Err(DeployError::Setting {
            name: "runtimes",
            detail: "no runtime or no number of threads".to_owned(),
        });
    }
    Ok(sessions)
}

fn describe(model: &OnnxModel) -> ModelReport {
    let (input, stated) = (model.input(), model.metadata());
    ModelReport {
        path: model.path().to_owned(),
        file_bytes: model.file_bytes(),
        producer: model.producer().to_owned(),
        opset: model.opset(),
        input: [input.channels, input.height, input.width],
        classes: model.output().classes,
        cost: cost::cost(model)
            .map_or_else(|error| CostReport::Failed(error.to_string()), CostReport::Counted),
        stated_params: stated.params,
        stated_madds: stated.madds,
        stated_test_accuracy: stated.test_accuracy,
        genotype: stated.genotype.clone(),
        latency: Vec::new(),
        parity: Vec::new(),
        profile: Vec::new(),
    }
}

fn agreement(
    model: &OnnxModel,
    sessions: &mut [TimedSession],
    options: &BenchOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<RuntimeParity>> {
    let Some((reference, others)) = sessions.split_first_mut() else { return Ok(Vec::new()) };
    if others.is_empty() || (options.images.is_none() && options.parity_images == 0) {
        return Ok(Vec::new());
    }
    let images = match &options.images {
        Some(source) => (source.0)(model)?,
        None => latency::noise(model.input(), options.parity_images),
    };
    let count = images.len() / model.input().image_len().max(1);
    let reference = &mut reference.session;
    let expected = reference.run(&images, count)?;
    let mut agreements = Vec::with_capacity(others.len());
    for other in others {
        let other = &mut other.session;
        let parity =
            parity::compare(&expected, &other.run(&images, count)?, model.output().classes)?;
        let (a, b) =
            ((reference.runtime(), reference.threads()), (other.runtime(), other.threads()));
        let mut parts_at = None;
        if !parity.agrees() {
            progress(&format!(
                "{} and {} do not agree on {}; looking for the node where they part",
                a.0,
                b.0,
                model.path().display()
            ));
            parts_at =
                bisect::first_difference(model, [a, b], &images, options.ort_library.as_ref());
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

/// A load of the machine that is not this measurement's.
const BUSY: f64 = 0.5;
/// A change of the processors' frequency that shows in a latency.
const THROTTLED: f64 = 0.1;

impl BenchReport {
    /// Why the latencies may not be what they seem, in words; empty on a quiet machine.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some([load, ..]) = self.machine.load_before
            && load > BUSY
        {
            warnings.push(format!(
                "the machine was busy with other work: its load was {load:.1} on {} cores",
                self.machine.cores
            ));
        }
        if let (Some(before), Some(after)) = (self.machine.mhz_before, self.machine.mhz_after)
            && (after - before).abs() > THROTTLED * before
        {
            warnings.push(format!(
                "the processors changed their frequency from {before:.0} to {after:.0} MHz"
            ));
        }
        for model in &self.models {
            for latency in &model.latency {
                let name = model.path.file_name().unwrap_or_default().to_string_lossy();
                let plural = if latency.threads == 1 { "" } else { "s" };
                let of = format!(
                    "{name} under {} with {} thread{plural}",
                    latency.runtime, latency.threads
                );
                if latency.is_noisy() {
                    warnings.push(format!(
                        "{of}: the medians of the repeats lie {:.0} % apart",
                        100.0 * latency.spread
                    ));
                }
                if !latency.stable {
                    warnings
                        .push(format!("{of}: the latency had not settled when the warm-up ended"));
                }
            }
        }
        warnings
    }

    /// Reads a report.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON, has another schema, or has a key that this schema does
    /// not know.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        adwp_base::from_json(&adwp_base::read_text(path)?, SCHEMA).map_err(|error| {
            let detail = match error {
                JsonError::Schema { found, expected } => {
                    format!("`schema` is {found}, expected {expected}")
                }
                JsonError::Form(error) => error.to_string(),
            };
            DeployError::Report { path: path.to_owned(), detail }
        })
    }

    /// Writes the report, all of it or nothing: a kill leaves the old file or the new one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(adwp_base::write_atomic(path.as_ref(), adwp_base::to_json(self).as_bytes())?)
    }
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
