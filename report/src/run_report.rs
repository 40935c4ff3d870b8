use adwp_base::{JsonError, to_json};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::html::Cell;

/// The result of a run: `report.json`.
///
/// Numbers that are not finite are written as `null`, and `null` is read as NaN: a training that
/// diverged still gets its report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunReport {
    /// [`RunReport::SCHEMA`].
    pub schema: String,
    /// The data set's name.
    pub dataset: String,
    /// The preset that the settings started from.
    pub preset: Option<String>,
    /// The seed of all randomness.
    pub seed: u64,
    /// What trained: `cpu`, or the name of a GPU.
    pub device: String,
    /// Images in the training set.
    pub train_images: usize,
    /// Images in the test set.
    pub test_images: usize,
    /// The classes' names, in the order of the labels.
    pub classes: Vec<String>,
    /// Trainable parameters, auxiliary head excluded.
    pub params: u64,
    /// Parameters in the ONNX file, where BatchNorm is folded into the convolutions.
    pub params_in_file: u64,
    /// Multiply-adds of one image: one per multiply-accumulate of a convolution or linear layer.
    pub madds: u64,
    /// Share of test images that the trained network classifies correctly in the engine, 0 to 1.
    #[serde(deserialize_with = "number_or_nan")]
    pub test_accuracy: f64,
    /// Test images that the trained network classifies correctly in the engine.
    pub test_correct: usize,
    /// Those it classifies correctly by the mean of the logits of an image and of its mirror image;
    /// none where that was not asked for. All other accuracies are of one look at each image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_correct_with_flips: Option<usize>,
    /// What the network was trained with, in words.
    #[serde(default)]
    pub recipe: Vec<String>,
    /// Image files that could not be read, and were left out of training and test.
    #[serde(default)]
    pub skipped_images: SkippedImages,
    /// Accuracy of the exported file, by runtime.
    pub runtime_accuracy: Vec<RuntimeAccuracy>,
    /// The largest difference of a logit between the engine and any runtime.
    #[serde(deserialize_with = "number_or_nan")]
    pub parity_max_abs: f64,
    /// How far two executors of the network agree, by pair.
    pub parity: Vec<ParityRow>,
    /// Wall time and memory of every phase, in order.
    pub phases: Vec<PhaseTime>,
    /// Latency of the exported file.
    pub latency: Vec<LatencyRow>,
    /// Why the latencies may not be what they seem; empty on a quiet machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What was scored; none where no strategy has found the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchRecord>,
    /// What the network was asked to keep to; empty where nothing was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetRow>,
    /// Further files of the network: pixels in, 16-bit floats, 8-bit integers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<FormatRow>,
    /// The machine: what is known of it, as strings and numbers.
    pub machine: Map<String, Value>,
    /// The name of the architecture, where it was not searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The architecture, as `genotype.json` holds it, or `architecture.json` where it is no
    /// genotype.
    pub genotype: Value,
    /// The cells of an architecture that is no genotype, as they are drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cells: Vec<Cell>,
}

/// A search that scored one architecture after another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRecord {
    /// What chose the architectures.
    pub strategy: String,
    /// What scored them, as people call it.
    pub scorer: String,
    /// What a score is, with its unit.
    pub axis: String,
    /// What a score is multiplied with in that unit.
    pub factor: f64,
    /// The space that they are of.
    pub space: String,
    /// The scores, in the order of the trials.
    pub scores: Vec<f64>,
    /// The trials by where they came from, in order, in the unit of the axis.
    pub parts: Vec<PartRow>,
    /// How much more the trials scored that followed from earlier scores than those that were
    /// drawn at random, on average, with the standard error, in the unit of the axis; none where
    /// there were no two of both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<[f64; 2]>,
    /// The number of the one that was delivered, from 0.
    pub found: usize,
    /// The trainings of the finalists; empty where there were none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalists: Vec<FinalistRow>,
}

/// Trials that have one origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartRow {
    /// Where they come from, in words.
    pub origin: String,
    /// How many there are.
    pub count: usize,
    /// The mean of their scores.
    pub mean: f64,
    /// The standard deviation of these; none of a single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// The highest of them.
    pub best: f64,
}

/// A training of a finalist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinalistRow {
    /// The number of its trial, from 0.
    pub trial: usize,
    /// Epochs of the training.
    pub epochs: usize,
    /// Share of the validation images that were classified right.
    pub accuracy: f64,
}

/// Another file of the network, and what it lost against the float one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatRow {
    /// Name in the folder of the run.
    pub file: String,
    /// Its numbers: `f32`, `f16` or `int8`.
    pub precision: String,
    /// Whether it takes pixels and normalises them itself.
    pub pixels: bool,
    /// Size in bytes.
    pub bytes: u64,
    /// How the scales of activations were found, and on how many images; none where there are none.
    pub calibration: Option<String>,
    /// The difference of a logit that was accepted; none where only accuracy is measured.
    pub tolerance: Option<f64>,
    /// Test images that the trained network classifies correctly in the engine.
    pub correct_before: usize,
    /// Accuracy of the file, by runtime.
    pub runtimes: Vec<RuntimeAccuracy>,
    /// How far its logits agree with those of the engine, by runtime.
    pub parity: Vec<ParityRow>,
    /// Runtimes that cannot run it, with what they say.
    pub refused: Vec<String>,
}

/// Image files that were left out because they could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkippedImages {
    /// Of the training images.
    pub train: usize,
    /// Of the test images.
    pub test: usize,
}

/// Accuracy of the exported file in one runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeAccuracy {
    /// The runtime's name.
    pub runtime: String,
    /// Images classified correctly.
    pub correct: usize,
    /// Images classified.
    pub images: usize,
    /// Indices of the images that are classified differently from the engine.
    pub differing: Vec<usize>,
}

/// How far the logits of two executors agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParityRow {
    /// The reference.
    pub a: String,
    /// What was compared with it.
    pub b: String,
    /// The largest absolute difference of a logit.
    #[serde(deserialize_with = "number_or_nan")]
    pub max_abs: f64,
    /// The mean absolute difference.
    #[serde(deserialize_with = "number_or_nan")]
    pub mean_abs: f64,
    /// Images on whose class both agree.
    pub top1_agree: usize,
    /// Images compared.
    pub n: usize,
}

/// Wall time and memory of one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseTime {
    /// The phase: `space`, `search`, `retrain`, …
    pub name: String,
    /// Wall time in seconds.
    #[serde(deserialize_with = "number_or_nan")]
    pub seconds: f64,
    /// Bytes of memory that it was planned to hold at its peak; none where nothing was planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned_bytes: Option<u64>,
    /// Bytes that the process held at its peak; none where that was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
}

/// Latency of the exported file in one runtime. Times are wall-clock milliseconds of one run of
/// `batch` images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRow {
    /// The runtime's name.
    pub runtime: String,
    /// Version that the runtime states.
    pub runtime_version: String,
    /// Threads that one operator may use.
    pub threads: usize,
    /// Images in one run.
    pub batch: usize,
    /// From the file to a session that is ready to run.
    #[serde(deserialize_with = "number_or_nan")]
    pub load_ms: f64,
    /// The first run.
    #[serde(deserialize_with = "number_or_nan")]
    pub first_ms: f64,
    /// Measured runs.
    pub n: usize,
    /// The fastest run.
    #[serde(deserialize_with = "number_or_nan")]
    pub min_ms: f64,
    /// Mean of all runs.
    #[serde(deserialize_with = "number_or_nan")]
    pub mean_ms: f64,
    /// The standard deviation.
    #[serde(deserialize_with = "number_or_nan")]
    pub sd_ms: f64,
    /// Median of all runs.
    #[serde(deserialize_with = "number_or_nan")]
    pub p50_ms: f64,
    /// The 90th percentile.
    #[serde(deserialize_with = "number_or_nan")]
    pub p90_ms: f64,
    /// The 95th percentile.
    #[serde(deserialize_with = "number_or_nan")]
    pub p95_ms: f64,
    /// The 99th percentile.
    #[serde(deserialize_with = "number_or_nan")]
    pub p99_ms: f64,
    /// The median of the repeats' means.
    #[serde(deserialize_with = "number_or_nan")]
    pub median_repeat_mean_ms: f64,
}

impl LatencyRow {
    /// `ort 1.31.1, 2 threads`.
    pub(crate) fn session(&self) -> String {
        let batch = if self.batch == 1 { String::new() } else { format!(", batch {}", self.batch) };
        format!(
            "{} {}, {} thread{}{batch}",
            self.runtime,
            self.runtime_version,
            self.threads,
            if self.threads == 1 { "" } else { "s" }
        )
    }
}

/// A limit of the network, and how far it was kept. The three numbers have one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetRow {
    /// What is limited: `params`, `multiply-adds`, `latency`, …
    pub resource: String,
    /// The most that was asked for.
    #[serde(deserialize_with = "number_or_nan")]
    pub limit: f64,
    /// The unit; empty for plain counts.
    pub unit: String,
    /// What the search expected of the network; none where it was not predicted.
    pub predicted: Option<f64>,
    /// Mean of the absolute relative errors of such predictions for random networks; none where it
    /// is not known.
    pub prediction_error: Option<f64>,
    /// What the network has; none where it was not measured.
    pub value: Option<f64>,
}

impl RunReport {
    /// The version of `report.json` that is written, and the only one that is read.
    pub const SCHEMA: &str = "adwp/report/1";

    /// Reads `report.json`.
    ///
    /// # Errors
    /// Unknown schema, unknown or missing keys, values of another type.
    pub fn from_json(text: &str) -> Result<Self, JsonError> {
        adwp_base::from_json(text, Self::SCHEMA)
    }

    /// The text of `report.json`.
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
