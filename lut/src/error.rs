use std::path::PathBuf;

use adwp_base::{Failure, Kind};
use adwp_engine::EngineError;
use adwp_export::ExportError;
use adwp_measure::DeployError;
use adwp_models::ModelError;

use adwp_train::TrainError;

/// Result of this crate's fallible functions.
pub type Result<T, E = LutError> = std::result::Result<T, E>;

/// What can go wrong with a table of latencies.
#[derive(Debug, thiserror::Error)]
pub enum LutError {
    /// The table does not cover a network.
    #[error("the latency table has no {what}")]
    Missing {
        /// The entry or calibration that is not there, with its sizes.
        what: String,
        /// Flags of `adwp lut build` that measure it.
        flags: String,
    },
    /// A file is no table that this version reads.
    #[error("{}: {detail}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; names the key or the schema.
        detail: String,
    },
    /// What was measured elsewhere cannot be added to a table.
    #[error("the latency table was measured with {what} {table}, and this is {here}")]
    Elsewhere {
        /// What is different.
        what: &'static str,
        /// What the table has.
        table: String,
        /// What there is here.
        here: String,
    },
    /// A network cannot be handed to a runtime.
    #[error("{}: a temporary file cannot be written: {source}", folder.display())]
    Temporary {
        /// Where it was to be.
        folder: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An architecture or its sizes make no network.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine refused a graph.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A network could not be written as ONNX.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A runtime refused a network.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// A file could not be read or written.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl LutError {
    /// What to do next about an error of this room.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { flags, .. } => Some(format!(
                "on the machine of the table, `adwp lut build {flags} --out TABLE --resume` \
                 measures what it lacks"
            )),
            Self::Table { .. } => Some("`adwp lut build --out TABLE` measures a new one".into()),
            Self::Elsewhere { .. } => Some("write a table of its own to another file".into()),
            Self::Temporary { .. } => Some("TMPDIR names the folder for temporary files".into()),
            Self::Model(_)
            | Self::Engine(_)
            | Self::Export(_)
            | Self::Deploy(_)
            | Self::Train(_) => None,
        }
    }
}

impl From<LutError> for Failure {
    fn from(e: LutError) -> Self {
        match e {
            LutError::Model(e) => e.into(),
            LutError::Engine(e) => e.into(),
            LutError::Export(e) => e.into(),
            LutError::Deploy(e) => e.into(),
            LutError::Train(e) => e.into(),
            LutError::Missing { .. } | LutError::Table { .. } | LutError::Elsewhere { .. } => {
                Self::of(Kind::Input, &e, e.hint())
            }
            LutError::Temporary { .. } => Self::of(Kind::Failed, &e, e.hint()),
        }
    }
}
