use std::path::PathBuf;

use adwp_base::{Failure, FileError, Kind};
use adwp_engine::EngineError;
use adwp_models::ModelError;

/// Result of this room's fallible functions.
pub type Result<T, E = WeightsError> = std::result::Result<T, E>;

/// What can go wrong between a file of weights and a network.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The network cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine refused its graph.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The file holds something else, or is damaged.
    #[error("{path}: {detail}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The names of the tensors belong to no layout that is known.
    #[error("the weights are of no known layout: their first names are {first}")]
    Unknown {
        /// Some of the names.
        first: String,
    },
    /// Nobody is known to publish weights of this network in that layout.
    #[error("{layout} has no weights of this network in a known layout")]
    NoLayout {
        /// The layout that the names are of.
        layout: &'static str,
    },
    /// The weights are of another network.
    #[error("the weights do not fit: {detail}")]
    Misfit {
        /// The first tensor that does not fit, and why.
        detail: String,
    },
}

impl From<WeightsError> for Failure {
    fn from(e: WeightsError) -> Self {
        let hint = match e {
            WeightsError::File(e) => return e.into(),
            WeightsError::Model(e) => return e.into(),
            WeightsError::Engine(e) => return e.into(),
            WeightsError::Format { .. } => Some(
                "weights are read from .safetensors files and from what \
                 torch.save(model.state_dict(), FILE) writes"
                    .to_owned(),
            ),
            WeightsError::Unknown { .. } => Some(
                "the names that torchvision, timm and EfficientNet-PyTorch give are known"
                    .to_owned(),
            ),
            WeightsError::NoLayout { .. } => None,
            WeightsError::Misfit { .. } => Some(
                "name the architecture that the weights are of, at the width they were published \
                 with"
                    .to_owned(),
            ),
        };
        Self::of(Kind::Input, &e, hint)
    }
}
