//! What the measurements of some models are kept as.

use std::path::{Path, PathBuf};

use adwp_base::JsonError;
use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result, bisect::Difference, cost::Cost, latency::LatencyReport, machine::Machine,
    parity::Parity, profile::Profile, runtime::Runtime,
};

/// The schema of a report.
pub const SCHEMA: &str = "adwp/bench/2";

/// A report of [`super::run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BenchReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it was made, in seconds since 1970.
    pub created_unix_s: u64,
    /// The version of this crate.
    pub version: String,
    /// The machine that it was made on.
    pub machine: Machine,
    /// The settings of the latency measurement.
    pub settings: Settings,
    /// The models, in the order they were given.
    pub models: Vec<ModelReport>,
    /// Files that nothing was measured of, in the order they were given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedFile>,
}

/// A file that is no model to be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedFile {
    /// The path that was given.
    pub path: PathBuf,
    /// Why, with the path.
    pub reason: String,
}

/// The settings that a latency depends on and its own record does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The least time of one repeat, in milliseconds.
    pub min_time_ms: f64,
    /// How often each session is timed for that long.
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
    /// Runtimes that could not load the file or run it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedRuntime>,
}

/// A runtime that nothing was measured of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRuntime {
    /// The runtime.
    pub runtime: Runtime,
    /// Threads that it was to use for one operator.
    pub threads: usize,
    /// What it said, with the file.
    pub reason: String,
}

/// The cost of a file, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CostReport {
    /// What the counter found.
    Counted(Box<Cost>),
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
    /// Threads that the reference may use for one operator.
    pub reference_threads: usize,
    /// The runtime judged.
    pub runtime: Runtime,
    /// Threads that it may use for one operator.
    pub threads: usize,
    /// How closely their logits agree.
    pub parity: Parity,
    /// Where the two part, if they do not agree and it could be found.
    pub parts_at: Option<Difference>,
}

/// A load of the machine that is not this measurement's.
const BUSY: f64 = 0.5;
/// A change of the processors' frequency that shows in a latency.
const THROTTLED: f64 = 0.1;

impl BenchReport {
    /// Why the latencies may not be what they seem, in words; empty on a quiet machine.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings_beyond(0.0)
    }

    /// The same where the program that measured may have been `own` of the load itself before, such
    /// as by training.
    pub fn warnings_beyond(&self, own: f64) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some([load, ..]) = self.machine.load_before
            && load > own + BUSY
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
        warnings.extend(self.failed.iter().map(|failed| failed.reason.clone()));
        for model in &self.models {
            // The reason is the same for all numbers of threads.
            let failed = model.failed.iter().map(|failed| &failed.reason);
            let mut reasons: Vec<String> = failed.cloned().collect();
            reasons.dedup();
            warnings.extend(reasons);
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
        adwp_base::from_json(&adwp_base::read_json_text(path)?, SCHEMA).map_err(|error| {
            let detail = match error {
                JsonError::Schema { found, expected } => {
                    format!("`schema` is {found}, expected {expected}")
                }
                error => error.to_string(),
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
