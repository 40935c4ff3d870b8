use adwp_base::{Failure, Kind};
use adwp_engine::EngineError;

/// What can be wrong with an architecture.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is no JSON of the expected form; the message of the parser names key, line and
    /// column.
    #[error("{what}: {message}")]
    Parse {
        /// What was being read.
        what: &'static str,
        /// The parser's message.
        message: String,
    },
    /// A file has a schema this version does not know.
    #[error("{what}: unknown schema {found:?}, expected {expected:?}")]
    Schema {
        /// What was being read.
        what: &'static str,
        /// The schema in the file.
        found: String,
        /// The schema this version reads.
        expected: &'static str,
    },
    /// The zoo has no architecture of this name.
    #[error("the zoo has no {name:?}; the nearest are {nearest}")]
    UnknownArchitecture {
        /// The name.
        name: String,
        /// Names that it has.
        nearest: String,
    },
    /// An architecture that cannot be built.
    #[error("{0}")]
    Invalid(String),
    /// The engine refused the graph.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl From<ModelError> for Failure {
    fn from(e: ModelError) -> Self {
        match e {
            ModelError::Engine(_) => Self::of(Kind::Failed, &e, None),
            e => Self::of(Kind::Input, &e, None),
        }
    }
}
