//! What was measured of models, as the page and the tables take it.

use serde_json::Value;

use crate::LatencyRow;

/// What was measured on some machines.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchPage {
    /// The machines, in the order in which they are shown.
    pub machines: Vec<BenchMachine>,
}

/// What was measured on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchMachine {
    /// The name it is shown under.
    pub name: String,
    /// What is known of it and of how it was measured: name and value.
    pub facts: Vec<(String, String)>,
    /// Why the latencies may not be what they seem.
    pub warnings: Vec<String>,
    /// One entry a file.
    pub models: Vec<BenchModel>,
}

/// What was measured of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchModel {
    /// The name it is shown under.
    pub name: String,
    /// Path that was given.
    pub path: String,
    /// Who wrote it.
    pub producer: String,
    /// One image: channels, height, width.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Parameters; this and the next three are none where they could not be counted.
    pub params: Option<u64>,
    /// Multiply-adds of one image, unless `images` says that they are of a run.
    pub madds: Option<u64>,
    /// Bytes of all stored tensors.
    pub weight_bytes: Option<u64>,
    /// The most bytes of activations alive at one time.
    pub activation_bytes: Option<u64>,
    /// Test accuracy as a share of 1, as the file states it.
    pub accuracy: Option<f64>,
    /// What the counts are of, where a run takes several images.
    pub images: Option<String>,
    /// What the counts are without.
    pub uncounted: Vec<String>,
    /// Its architecture, as `genotype.json` holds it.
    pub genotype: Option<Value>,
    /// One entry a runtime and number of threads.
    pub latency: Vec<BenchLatency>,
    /// How far its sessions agree.
    pub parity: Vec<BenchParity>,
    /// Where the time goes.
    pub profiles: Vec<BenchProfile>,
}

/// The latency of a session.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchLatency {
    /// What the report of a run has of it too.
    pub row: LatencyRow,
    /// What the runtime was asked to do to the graph.
    pub optimization: String,
    /// Runs thrown away before.
    pub warm_up_runs: usize,
    /// Whether the latency had settled by then.
    pub stable: bool,
    /// How far the repeats' medians lie apart, as a share of the smallest.
    pub spread: f64,
    /// Whether that is too far to rely on.
    pub noisy: bool,
    /// Percentiles at equal distances, from the fastest run to the slowest.
    pub percentiles_ms: Vec<f64>,
    /// Images a second.
    pub images_per_s: f64,
    /// The most bytes that a process held which did nothing else.
    pub peak_bytes: Option<u64>,
    /// Of these, what it did not hold before it read the model.
    pub model_bytes: Option<u64>,
}

/// How far a session agrees with another.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchParity {
    /// The session compared with.
    pub reference: String,
    /// The session judged.
    pub session: String,
    /// The largest absolute difference of a logit.
    pub max_abs: f64,
    /// The mean absolute difference.
    pub mean_abs: f64,
    /// The cosine of the angle between the logits.
    pub cosine: f64,
    /// Images with the same first class.
    pub top1_agree: usize,
    /// Images with the same first five classes.
    pub top5_agree: usize,
    /// Images.
    pub n: usize,
    /// Whether the differences are those of rounding.
    pub agrees: bool,
    /// Where the two part, in words.
    pub parts_at: Option<String>,
}

/// Where the time of a session goes.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchProfile {
    /// Runtime and threads, in words.
    pub session: String,
    /// Runs that were timed.
    pub runs: usize,
    /// Milliseconds of one of them.
    pub run_ms: f64,
    /// The nodes, the slowest first.
    pub nodes: Vec<BenchNode>,
    /// The nodes folded by the parts of their names.
    pub folded: Vec<BenchFold>,
}

/// The time of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchNode {
    /// Name of the node in the file.
    pub name: String,
    /// ONNX operator.
    pub op: String,
    /// Milliseconds in one run.
    pub ms: f64,
    /// The share of the time of all nodes.
    pub share: f64,
    /// Thousand million multiply-adds a second.
    pub gmacs: Option<f64>,
}

/// The time of nodes whose names have a beginning in common.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchFold {
    /// How they begin.
    pub path: String,
    /// Parts of that.
    pub depth: usize,
    /// Milliseconds in one run.
    pub ms: f64,
    /// The share of the time of all nodes.
    pub share: f64,
}
