use std::process::ExitCode;

use adwp_engine::EngineError;
use adwp_models::ModelError;

pub(crate) type Result<T, E = BenchError> = std::result::Result<T, E>;

/// What is printed when there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// What was asked makes no sense: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// It could not be done: exit code 1.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Says what was tried when it failed.
pub(crate) trait Context<T> {
    /// `what` comes before what the system said.
    fn context(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|reason| BenchError::Failed(format!("{what}: {reason}")))
    }
}

impl BenchError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Engine(_) | Self::Model(_) => 1,
        })
    }
}
