use std::io;
use std::path::PathBuf;

use adwp_base::{Failure, FileError, Kind};
use adwp_data::DataError;
use adwp_engine::EngineError;

use crate::bytes::{MemoryLocation, in_units};

/// Result of the training loop's fallible functions.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// What can go wrong in a phase.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file of the run could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was attempted: "read", "write", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the run is cut off or holds something else.
    #[error("{} is damaged or no file of this kind: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The loss is no longer a number.
    #[error(
        "{phase}: the loss is {loss} at epoch {}, step {}{}",
        epoch + 1,
        step + 1,
        what_went_first(first.as_deref())
    )]
    NotFinite {
        /// The phase.
        phase: &'static str,
        /// Epoch, from 0.
        epoch: usize,
        /// Step of the epoch, from 0.
        step: usize,
        /// The loss.
        loss: f32,
        /// The first tensor with a value that is not finite, as
        /// [`first_not_finite`](crate::first_not_finite) names it; `None` where none was found.
        first: Option<String>,
    },
    /// The last update before a checkpoint left values that are not finite, while the loss before
    /// it was.
    #[error("{phase}: {tensor} has values that are not finite after epoch {epoch}, step {step}")]
    Spoiled {
        /// The phase.
        phase: &'static str,
        /// Epochs that are done.
        epoch: usize,
        /// Steps of the next one that are done.
        step: usize,
        /// The first such tensor of the checkpoint, which was not written.
        tensor: String,
    },
    /// A phase that the machine, or its GPU, cannot hold.
    #[error(
        "{phase} needs about {} of {location}, and {} are available",
        in_units(*needed),
        in_units(*available)
    )]
    Memory {
        /// The phase.
        phase: &'static str,
        /// Where there is too little.
        location: MemoryLocation,
        /// Bytes it needs at its peak.
        needed: u64,
        /// Bytes there are for it.
        available: u64,
    },
    /// Settings that make no run.
    #[error("{0}")]
    Settings(String),
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refused a graph or a run.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl TrainError {
    /// What to do next, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Some(
                    "free space on that disk; the files written before are whole, --resume \
                     continues"
                        .into(),
                ),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose a folder that can be written to with --run".into())
                }
                _ => None,
            },
            Self::Damaged { .. } => Some(
                "restore the file, or delete it to have its step done \
                 again"
                    .into(),
            ),
            Self::NotFinite { phase, .. } | Self::Spoiled { phase, .. } => Some(format!(
                "a smaller learning rate may help: lower {phase}.rate in config.toml of the run \
                 folder, take out its first line, the checksum, and --resume goes on from checkpoints/{phase}.safetensors, which is kept \
                 from before, where there is one; or take another --seed in a new run folder"
            )),
            Self::Memory { phase, location, .. } => {
                let less = match location {
                    MemoryLocation::Host => "",
                    MemoryLocation::Gpu => ", and so does --precision bf16",
                };
                Some(format!(
                    "a smaller {phase}.batch or {phase}.channels needs less (--set \
                     {phase}.batch=N){less}; --no-memory-check starts it all \
                     the same"
                ))
            }
            Self::Data(e) => e.hint(),
            Self::Settings(_) | Self::Engine(_) => None,
        }
    }
}

/// The end of a message.
fn what_went_first(first: Option<&str>) -> String {
    first.map(|first| format!("; what went first: {first}")).unwrap_or_default()
}

impl From<FileError> for TrainError {
    fn from(e: FileError) -> Self {
        match e {
            FileError::Io { action, path, source } => Self::File { action, path, source },
            FileError::Damaged { path, reason } => Self::Damaged { path, reason },
        }
    }
}

impl From<TrainError> for Failure {
    fn from(e: TrainError) -> Self {
        let kind = match e {
            TrainError::Engine(e) => return e.into(),
            TrainError::File { .. }
            | TrainError::Damaged { .. }
            | TrainError::Memory { .. }
            | TrainError::Settings(_)
            | TrainError::Data(_) => Kind::Input,
            TrainError::NotFinite { .. } | TrainError::Spoiled { .. } => Kind::Failed,
        };
        Self::of(kind, &e, e.hint())
    }
}
