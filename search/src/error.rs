use adwp_base::Failure;
use adwp_engine::EngineError;
use adwp_models::ModelError;
use adwp_train::TrainError;

/// Result of the search's fallible functions.
pub type Result<T, E = SearchError> = std::result::Result<T, E>;

/// What can go wrong in a search.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The architecture cannot be built.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The training loop failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The engine refused a graph or a run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The graph network cannot be computed.
    #[error("the graph network: {0}")]
    Candle(#[from] candle_core::Error),
    /// A search that was asked for and cannot be: an unknown name, a table without what is needed.
    #[error("{0}")]
    Input(String),
}

impl From<SearchError> for Failure {
    fn from(e: SearchError) -> Self {
        match e {
            SearchError::Model(e) => e.into(),
            SearchError::Train(e) => e.into(),
            SearchError::Engine(e) => e.into(),
            SearchError::Candle(e) => Self::failed(format!("the graph network: {e}")),
            SearchError::Input(message) => Self::input(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_base::Kind;

    #[test]
    fn a_failing_engine_is_not_reported_as_wrong_input() {
        let engine = || EngineError::UnknownVariable("w".into());
        for error in [
            SearchError::Engine(engine()),
            ModelError::from(engine()).into(),
            TrainError::from(engine()).into(),
        ] {
            assert_eq!(Failure::from(error).kind, Kind::Failed);
        }
        let wrong = ModelError::Invalid("a node sums nothing".into());
        assert_eq!(Failure::from(SearchError::from(wrong)).kind, Kind::Input);
    }
}
