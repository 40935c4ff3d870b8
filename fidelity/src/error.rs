use adwp_base::Failure;
use adwp_export::ExportError;
use adwp_models::ModelError;
use adwp_search::SearchError;
use adwp_train::TrainError;

/// Result of the study's fallible functions.
pub type Result<T, E = FidelityError> = std::result::Result<T, E>;

/// What can go wrong in a study.
#[derive(Debug, thiserror::Error)]
pub enum FidelityError {
    /// An architecture cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Scoring or searching failed.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// Retraining failed.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A file could not be read or written, or settings that cannot be.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<FidelityError> for Failure {
    fn from(e: FidelityError) -> Self {
        match e {
            FidelityError::Model(e) => e.into(),
            FidelityError::Search(e) => e.into(),
            FidelityError::Export(e) => e.into(),
            FidelityError::Train(e) => e.into(),
        }
    }
}
