use adwp_base::{Failure, Kind};
use adwp_engine::EngineError;
use candle_core::DType;

/// Result of this crate's fallible functions.
pub type Result<T, E = CandleError> = std::result::Result<T, E>;

/// What can go wrong when a graph is executed in candle.
#[derive(Debug, thiserror::Error)]
pub enum CandleError {
    /// candle refused an operation.
    #[error("{node} ({op}): {source}")]
    Op {
        /// Name of the node.
        node: String,
        /// Name of its operation.
        op: &'static str,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
    /// candle's backward pass failed.
    #[error("backward pass from {loss:?}: {source}")]
    Backward {
        /// Name of the node that was differentiated.
        loss: String,
        /// What candle said.
        source: Box<candle_core::Error>,
    },
    /// The graph, its variables and what is fed to it do not fit together.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A type that networks are not computed in.
    #[error("networks are computed in F32 or F64, not in {0:?}")]
    DType(DType),
    /// A network was given a tensor that its input node does not take.
    #[error("input {node:?} takes {expected_dtype:?} {expected:?}, got {found_dtype:?} {found:?}")]
    Input {
        /// Name of the input node.
        node: String,
        /// Shape of the node.
        expected: Vec<usize>,
        /// Shape of the tensor given.
        found: Vec<usize>,
        /// Type of the network.
        expected_dtype: DType,
        /// Type of the tensor given.
        found_dtype: DType,
    },
    /// The output of a network does not depend on its input.
    #[error("{output:?} does not depend on {input:?}")]
    Unrelated {
        /// Name of the input node.
        input: String,
        /// Name of the output node.
        output: String,
    },
}

impl From<CandleError> for Failure {
    fn from(e: CandleError) -> Self {
        Self::of(Kind::Failed, &e, None)
    }
}
