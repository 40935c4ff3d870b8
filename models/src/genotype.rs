use adwp_base::JsonError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pair::check_pairs;
use crate::{CellKind, ModelError, NODES, Pair};

const SCHEMA: &str = "adwp/genotype/1";

/// One cell of an architecture: what each intermediate node sums. The cell's output concatenates
/// all intermediate nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellGenotype {
    /// Normal or reduction.
    pub kind: CellKind,
    /// For each intermediate node the pairs it sums.
    pub nodes: Vec<Vec<Pair>>,
}

/// An architecture: each cell its own (macro search). Sizes (channels, image, classes) belong to
/// the [`crate::Skeleton`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genotype {
    schema: String,
    /// From the image to the classifier.
    pub cells: Vec<CellGenotype>,
}

impl Genotype {
    /// An architecture from its cells, checked as [`Self::from_json`] checks.
    pub fn new(cells: Vec<CellGenotype>) -> Result<Self, ModelError> {
        let genotype = Self { schema: SCHEMA.to_owned(), cells };
        genotype.validate()?;
        Ok(genotype)
    }

    /// Reads `genotype.json`.
    ///
    /// # Errors
    /// Unknown schema, unknown keys or operations, pairs that read later nodes, cells without the
    /// four nodes.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let genotype: Self = parse(text, "genotype", SCHEMA)?;
        genotype.validate()?;
        Ok(genotype)
    }

    /// The text of `genotype.json`.
    pub fn to_json(&self) -> String {
        adwp_base::to_json(self)
    }

    fn validate(&self) -> Result<(), ModelError> {
        if self.cells.is_empty() {
            return Err(ModelError::Invalid("genotype: there are no cells".into()));
        }
        for (i, cell) in self.cells.iter().enumerate() {
            let fail = |message: String| {
                Err(ModelError::Invalid(format!("genotype: cell {i}: {message}")))
            };
            if cell.nodes.len() != NODES {
                return fail(format!("{} nodes, expected {NODES}", cell.nodes.len()));
            }
            for (node, pairs) in cell.nodes.iter().enumerate() {
                check_pairs(node, pairs).or_else(fail)?;
                if pairs.is_empty() {
                    return fail(format!("node {node} sums nothing"));
                }
            }
        }
        Ok(())
    }
}

/// Parses a versioned JSON file; the error says what it was.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &str,
    what: &'static str,
    expected: &'static str,
) -> Result<T, ModelError> {
    adwp_base::from_json(text, expected).map_err(|e| match e {
        JsonError::Schema { found, expected } => ModelError::Schema { what, found, expected },
        e => ModelError::Parse { what, message: e.to_string() },
    })
}
