use adwp_base::{Failure, Kind};
use adwp_data::DataError;
use adwp_engine::EngineError;
use adwp_models::ModelError;
use adwp_train::TrainError;

/// Result of the exporter's fallible functions.
pub type Result<T, E = ExportError> = std::result::Result<T, E>;

/// What can go wrong between a genotype and an ONNX file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The architecture cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The training loop failed, or a file could not be read or written.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The engine refused a graph or a run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Images could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// An operation of the graph has no place in an exported network.
    #[error("{node} ({op}) cannot be written to ONNX: it belongs to training or search")]
    NotExportable {
        /// Name of the node.
        node: String,
        /// Name of its operation.
        op: &'static str,
    },
    /// A weight that a 16-bit float cannot hold.
    #[error("{tensor} has the value {value:e}, which is too large for a 16-bit float")]
    TooLarge {
        /// The weight.
        tensor: String,
        /// Its value.
        value: f32,
    },
    /// A tensor for which no scale can be chosen.
    #[error("{tensor} {reason}: it cannot be quantised")]
    Calibration {
        /// The tensor.
        tensor: String,
        /// What is known of it.
        reason: String,
    },
}

impl From<ExportError> for Failure {
    fn from(e: ExportError) -> Self {
        let hint = match e {
            ExportError::Model(e) => return e.into(),
            ExportError::Train(e) => return e.into(),
            ExportError::Engine(e) => return e.into(),
            ExportError::Data(e) => return e.into(),
            ExportError::NotExportable { .. } | ExportError::Calibration { .. } => None,
            ExportError::TooLarge { .. } => {
                Some("export without --fp16, or retrain with more weight decay".into())
            }
        };
        Self::of(Kind::Failed, &e, hint)
    }
}
