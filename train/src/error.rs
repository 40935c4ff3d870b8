use std::io;
use std::path::PathBuf;

use adwp_data::DataError;
use adwp_engine::EngineError;

use crate::memory::{Place, in_units};

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
    #[error("{phase}: the loss is {loss} at epoch {epoch}, step {step}")]
    NotFinite {
        /// The phase.
        phase: &'static str,
        /// Epoch, from 0.
        epoch: usize,
        /// Step of the epoch, from 0.
        step: usize,
        /// The loss.
        loss: f32,
    },
    /// A phase that the machine, or its GPU, cannot hold.
    #[error("{phase} needs about {} of {place}, and {} are available", in_units(*needed), in_units(*available))]
    Memory {
        /// The phase.
        phase: &'static str,
        /// Where there is too little.
        place: Place,
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
                io::ErrorKind::StorageFull => {
                    Some("free space on that disk; the files written before are whole, --resume continues".into())
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("choose a folder that can be written to with --run".into())
                }
                _ => None,
            },
            Self::Damaged { .. } => Some("restore the file, or delete it to have its step done again".into()),
            Self::NotFinite { .. } => {
                Some("the last checkpoint is kept; a smaller learning rate, or another --seed in a new run folder, may help".into())
            }
            Self::Memory { phase, place, .. } => {
                let less = match place {
                    Place::Host => "",
                    Place::Gpu => ", and so does --precision bf16",
                };
                Some(format!(
                    "a smaller {phase}.batch or {phase}.channels needs less (--set {phase}.batch=N){less}; --no-memory-check starts it all \
                     the same"
                ))
            }
            Self::Data(e) => e.hint(),
            Self::Settings(_) | Self::Engine(_) => None,
        }
    }
}
