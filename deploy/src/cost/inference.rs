use super::values::Shape;

/// What a node gives.
pub(super) struct Inferred {
    /// The shapes of its results, from the first on; later results that nobody can need are left
    /// out.
    pub(super) shapes: Vec<Shape>,
    /// Multiply-adds at the batch that the shapes have.
    pub(super) madds: u64,
    /// Inputs that are parameters when they are stored in the file.
    pub(super) params: Vec<usize>,
}

/// Why nothing is inferred.
pub(super) enum Uninferred {
    /// The operator is not known.
    Unknown,
    /// The operator is known, and something that its result depends on is not.
    Undetermined(String),
    /// The operator is known and its inputs do not fit.
    Shape(String),
}

impl From<String> for Uninferred {
    fn from(detail: String) -> Self {
        Self::Shape(detail)
    }
}

impl From<&str> for Uninferred {
    fn from(detail: &str) -> Self {
        Self::Shape(detail.to_owned())
    }
}

pub(super) type Inference = Result<Inferred, Uninferred>;
