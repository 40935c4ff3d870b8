use adwp_base::{Failure, Kind};

use crate::Shape;

/// Result of the engine's fallible functions.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// What can be wrong with a graph, a program or what it is run on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The inputs of an operation do not fit together.
    #[error("{node} ({op}): {reason}; input shapes {inputs}")]
    Shape {
        /// Name of the offending node.
        node: String,
        /// Name of its operation.
        op: &'static str,
        /// What does not fit.
        reason: String,
        /// The shapes given, printed.
        inputs: String,
    },
    /// Two nodes of a graph have the same name.
    #[error("two nodes are named {0:?}")]
    DuplicateName(String),
    /// A node was asked for by a name that the graph lacks.
    #[error("the graph has no node named {0:?}")]
    UnknownNode(String),
    /// A variable was asked for by a name that is not there.
    #[error("there is no variable named {0:?}")]
    UnknownVariable(String),
    /// A variable does not have the shape its graph expects.
    #[error("variable {name:?} has shape {found}, expected {expected}")]
    VariableShape {
        /// Name of the variable.
        name: String,
        /// Shape that is stored.
        found: Shape,
        /// Shape that the graph asks for.
        expected: Shape,
    },
    /// A node marked trainable is neither a parameter nor an input, or the loss does not depend on
    /// it.
    #[error("{node:?} cannot be trained: {reason}")]
    NotTrainable {
        /// Name of the node.
        node: String,
        /// What it is instead, or lacks; it follows a colon.
        reason: &'static str,
    },
    /// A node asked for as an output, or as the loss, is an input or a parameter: there is nothing
    /// to compute.
    #[error("{0:?} is an input or a parameter, not something a program computes")]
    LeafOutput(String),
    /// The loss of a training program is not a single number.
    #[error("the loss {node:?} has shape {shape}, expected one element")]
    LossShape {
        /// Name of the node.
        node: String,
        /// The shape that should have been `[1]`.
        shape: Shape,
    },
    /// A program was run without one of its inputs, or with one of the wrong length.
    #[error("input {node:?} needs {expected} values, got {found}")]
    Feed {
        /// Name of the input node.
        node: String,
        /// Number of elements of its shape.
        expected: usize,
        /// Number of elements given; 0 where it was not given at all.
        found: usize,
    },
    /// Images that a GPU stores, or is to store, cannot be used as asked.
    #[error("stored images: {0}")]
    StoredImages(String),
    /// The threads of the executor could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// An optimiser's state does not belong to the variables it is applied to.
    #[error("optimiser state {name:?} has {found} values, expected {expected}")]
    OptimizerState {
        /// Name of the state tensor.
        name: String,
        /// Elements expected.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// Something about the GPU: no driver, no such device, no compiler for its kernels, a call that
    /// failed.
    #[error("{what}{}", hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
    Cuda {
        /// What went wrong.
        what: String,
        /// What can be done about it.
        hint: Option<String>,
    },
}

impl EngineError {
    /// A [`EngineError::Cuda`] without a hint.
    pub(crate) fn cuda(what: impl Into<String>) -> Self {
        Self::Cuda { what: what.into(), hint: None }
    }

    /// With what can be done about it, where it is a [`EngineError::Cuda`].
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Cuda { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }
}

impl From<EngineError> for Failure {
    fn from(e: EngineError) -> Self {
        if let EngineError::Cuda { what, hint } = e {
            return Self { message: what, hint, kind: Kind::Failed };
        }
        Self::of(Kind::Failed, &e, None)
    }
}
