use std::io::ErrorKind;
use std::path::PathBuf;

use adwp_base::{Failure, FileError, Kind, output::name};

use crate::runtime::kind::{OLDEST_MINOR, Runtime};

/// Characters of a message.
const LONGEST_MESSAGE: usize = 2000;

/// The result of every fallible function of this crate.
pub type Result<T, E = DeployError> = std::result::Result<T, E>;

/// What can go wrong between an ONNX file and its report. [`DeployError::hint`] says what to do
/// next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployError {
    /// The model file is not there.
    #[error("{}: no such file", .0.display())]
    Missing(PathBuf),
    /// A file is there and cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// As it was given.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Unwritable {
        /// As it was given.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The model file has no bytes.
    #[error("{}: the file is empty", .0.display())]
    Empty(PathBuf),
    /// The file starts as ONNX and ends too early.
    #[error("{}: the file is truncated: {detail}", path.display())]
    Truncated {
        /// As it was given.
        path: PathBuf,
        /// Where it ends and what was expected there.
        detail: String,
    },
    /// The file states a checksum that its bytes do not have.
    #[error(
        "{}: the file is damaged: its metadata `adwp.checksum` is not that of its bytes",
        .0.display()
    )]
    Damaged(PathBuf),
    /// The file is something else.
    #[error("{}: not an ONNX file: {detail}", path.display())]
    NotOnnx {
        /// As it was given.
        path: PathBuf,
        /// What gave it away.
        detail: String,
    },
    /// The operator set of the file is not one that this crate counts and runs.
    #[error("{}: operator set {opset} is not supported ({oldest} to {newest} are)", path.display())]
    UnsupportedOpset {
        /// As it was given.
        path: PathBuf,
        /// The operator set that the file imports.
        opset: i64,
        /// The oldest supported one.
        oldest: i64,
        /// The newest supported one.
        newest: i64,
    },
    /// The file is ONNX and contradicts itself.
    #[error("{}: the graph is invalid: {detail}", path.display())]
    InvalidGraph {
        /// As it was given.
        path: PathBuf,
        /// The contradiction, with the names of nodes and tensors.
        detail: String,
    },
    /// The file is a valid ONNX model and not an image classifier.
    #[error("{}: not an image classifier: {detail}", path.display())]
    NotClassifier {
        /// As it was given.
        path: PathBuf,
        /// Which input or output does not fit, with its shape.
        detail: String,
    },
    /// A metadata entry `adwp.*` of the file is malformed or does not fit the graph.
    #[error("{}: metadata `{key}`: {detail}", path.display())]
    Metadata {
        /// As it was given.
        path: PathBuf,
        /// The metadata key.
        key: String,
        /// What is wrong with its value.
        detail: String,
    },
    /// An input whose shape neither the file nor the caller gives.
    #[error(
        "{}: input `{input}` has shape {shape}, which leaves its size open",
        path.display()
    )]
    OpenShape {
        /// As it was given.
        path: PathBuf,
        /// The name of the input.
        input: String,
        /// What the file says, with `?` for what is open.
        shape: String,
        /// One that the file allows, as `--input` takes it: `1x3x224x224`.
        example: String,
    },
    /// A node whose attributes and input shapes do not fit together.
    #[error("{}: node `{node}` ({op}): {detail}", path.display())]
    Shape {
        /// As it was given.
        path: PathBuf,
        /// Name of the node, or the first tensor it writes.
        node: String,
        /// The operator as ONNX calls it: `Conv`.
        op: String,
        /// What does not fit, with the shapes.
        detail: String,
    },
    /// A model that needs more memory than there is.
    #[error("{}: too large: {detail}", path.display())]
    TooLarge {
        /// As it was given.
        path: PathBuf,
        /// What needs how much, and what there is.
        detail: String,
    },
    /// No ONNX Runtime library was found.
    #[error("no ONNX Runtime library found ({} places searched)", searched.len())]
    OrtNotFound {
        /// The folders and files that were looked at, in order.
        searched: Vec<PathBuf>,
    },
    /// A place that was named explicitly holds no ONNX Runtime library.
    #[error("{}: no ONNX Runtime library there (named by {named_by})", path.display())]
    OrtNotThere {
        /// The named place.
        path: PathBuf,
        /// What named it: a flag or an environment variable.
        named_by: &'static str,
    },
    /// The ONNX Runtime library was found and cannot be loaded.
    #[error("{}: cannot be loaded as ONNX Runtime: {detail}", path.display())]
    OrtLoad {
        /// The shared library that was found.
        path: PathBuf,
        /// What the loader said.
        detail: String,
    },
    /// A process can hold one ONNX Runtime library only.
    #[error(
        "{}: this process has already loaded the ONNX Runtime library {}",
        requested.display(),
        loaded.display()
    )]
    OrtConflict {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        requested: PathBuf,
    },
    /// A runtime refused the model.
    #[error("{}: {runtime} cannot load the model: {detail}", path.display())]
    Load {
        /// The file of the model, as it was given.
        path: PathBuf,
        /// The runtime that was asked for.
        runtime: Runtime,
        /// What the runtime said.
        detail: String,
    },
    /// A runtime failed while running the model.
    #[error("{}: {runtime} cannot run the model: {detail}", path.display())]
    Run {
        /// The file of the model, as it was given.
        path: PathBuf,
        /// The runtime that was asked for.
        runtime: Runtime,
        /// What the runtime said.
        detail: String,
    },
    /// A runtime did not get through the trial of a model.
    #[error("{}: {runtime} {detail}", path.display())]
    Trial {
        /// The file of the model, as it was given.
        path: PathBuf,
        /// The runtime that was asked for.
        runtime: Runtime,
        /// How it ended, and where.
        detail: String,
        /// What may help.
        hint: Option<&'static str>,
    },
    /// A number of threads that the runtime cannot use.
    #[error("{runtime} cannot run on {threads} threads")]
    Threads {
        /// The runtime that was asked for.
        runtime: Runtime,
        /// The number asked for.
        threads: usize,
    },
    /// Arrays whose lengths do not fit the model or each other.
    #[error("{what}: expected {expected}, got {actual}")]
    Length {
        /// Which array.
        what: &'static str,
        /// The length it must have, in words or as a number.
        expected: String,
        /// The length it has.
        actual: usize,
    },
    /// A runtime gave an infinite value or NaN.
    #[error("{}: {runtime} gives {value} in the output `{output}`", path.display())]
    Output {
        /// The file of the model, as it was given.
        path: PathBuf,
        /// The runtime.
        runtime: Runtime,
        /// The name of the output.
        output: String,
        /// An infinity or not a number.
        value: f32,
    },
    /// Logits that are not finite cannot be compared or averaged.
    #[error("{what}: value {index} is {value}")]
    NotFinite {
        /// Which array.
        what: &'static str,
        /// The index of the first such value.
        index: usize,
        /// The value: an infinity or not a number.
        value: f32,
    },
    /// The images could not be read.
    #[error("batch {batch} of the images: {source}")]
    Images {
        /// The index of the batch that failed, from 0.
        batch: usize,
        /// What the reader of the images said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting that cannot be honoured.
    #[error("{name}: {detail}")]
    Setting {
        /// The setting as the command line names it.
        name: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A report file that is not what it should be.
    #[error("{}: {detail}", path.display())]
    Report {
        /// As it was given.
        path: PathBuf,
        /// What is wrong, with the key.
        detail: String,
    },
}

impl DeployError {
    pub(crate) fn setting(name: &'static str, detail: impl Into<String>) -> Self {
        Self::Setting { name, detail: detail.into() }
    }

    /// One sentence that says what to do next, or `None` when the message says it already.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } => {
                "check the path; a run has its model in model.onnx and its measurement in \
                 bench.json"
                    .to_owned()
            }
            Self::Empty { .. } | Self::Truncated { .. } => {
                "the file was not written or copied completely; export or copy it again".to_owned()
            }
            Self::Damaged(_) => {
                "export or copy it again; where the change was meant, take the entry \
                 `adwp.checksum` out of its metadata"
                    .to_owned()
            }
            Self::NotOnnx { .. } => "give the path of a .onnx file".to_owned(),
            Self::UnsupportedOpset { opset, newest, .. } if opset > newest => {
                format!(
                    "export the model with operator set {newest} or older (17 and 18 run \
                     everywhere)"
                )
            }
            Self::UnsupportedOpset { oldest, .. } => {
                format!(
                    "convert the model to operator set {oldest} or newer, for instance with \
                     onnx.version_converter"
                )
            }
            Self::NotClassifier { .. } => {
                "the model must take one input of images, floats or uint8, [batch, channels, \
                 height, width] or with the channels last, and give floats [batch, classes]; \
                 --input and --output say what a file leaves open; `adwp cost` counts other \
                 networks too"
                    .to_owned()
            }
            Self::Trial { hint, .. } => return hint.map(str::to_owned),
            Self::OpenShape { input, example, .. } => {
                format!("give its shape, such as --input {input}={example}")
            }
            Self::OrtNotFound { .. } | Self::OrtNotThere { .. } => {
                "get one with `pip install onnxruntime` or, in a checkout, `make runtime`; or \
                 name it with --ort-lib or ORT_DYLIB_PATH"
                    .to_owned()
            }
            Self::OrtLoad { .. } => format!(
                "ONNX Runtime 1.{} or newer for this machine is needed; `pip install onnxruntime` \
                 has one",
                OLDEST_MINOR
            ),
            Self::OrtConflict { .. } => "use one ONNX Runtime library per process".to_owned(),
            Self::Threads { runtime: Runtime::Tract, .. } => {
                "tract runs on one thread: ask for 1".to_owned()
            }
            Self::Threads { .. } => "ask for at least 1".to_owned(),
            Self::Metadata { .. } => "export the model again, or remove the entry".to_owned(),
            Self::Report { .. } => "write the report again with `adwp bench`".to_owned(),
            _ => return None,
        };
        Some(hint)
    }
}

impl From<FileError> for DeployError {
    fn from(e: FileError) -> Self {
        match e {
            FileError::Io { action: "write", path, source } => Self::Unwritable { path, source },
            FileError::Io { path, source, .. } if source.kind() == ErrorKind::NotFound => {
                Self::Missing(path)
            }
            FileError::Io { path, source, .. } => Self::Unreadable { path, source },
            FileError::Damaged { path, reason } => Self::Report { path, detail: reason },
        }
    }
}

impl DeployError {
    /// The message on one line of readable length: names of files, nodes and tensors are in it, and
    /// what runtimes say of them, and any of these may have line breaks or a million characters.
    pub fn one_line(&self) -> String {
        let whole = name(&self.to_string());
        let length = whole.chars().count();
        if length <= LONGEST_MESSAGE {
            return whole;
        }
        let part = LONGEST_MESSAGE / 2;
        let (start, end) = (whole.chars().take(part), whole.chars().skip(length - part));
        format!("{} … {}", start.collect::<String>(), end.collect::<String>())
    }

    /// Whether a runtime could not do its part with the file: another one may.
    pub fn is_of_runtime(&self) -> bool {
        matches!(
            self,
            Self::Load { .. } | Self::Run { .. } | Self::Output { .. } | Self::Trial { .. }
        )
    }
}

impl From<DeployError> for Failure {
    fn from(e: DeployError) -> Self {
        let kind = match e {
            DeployError::Run { .. }
            | DeployError::Trial { .. }
            | DeployError::NotFinite { .. }
            | DeployError::Output { .. }
            | DeployError::OrtConflict { .. } => Kind::Failed,
            _ => Kind::Input,
        };
        Self { message: e.one_line(), hint: e.hint(), kind }
    }
}
