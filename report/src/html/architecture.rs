//! What the page reads of `genotype.json` and `space.json`, and how it names it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The inputs of a cell: the outputs of the two previous ones.
pub(super) const INPUTS: usize = 2;

/// The operations of the search space in the order of the columns of α.
pub(super) const OPERATIONS: [&str; 8] = [
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "avg_pool_3x3",
    "max_pool_3x3",
    "identity",
    "zero",
];

#[derive(Deserialize)]
pub(crate) struct Genotype {
    pub(super) cells: Vec<Cell>,
}

/// A cell as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// `normal` or `reduction`.
    pub kind: String,
    /// Number of its inputs, the outputs of so many cells before it.
    #[serde(default = "two")]
    pub inputs: usize,
    /// For each node the pairs that it sums.
    pub nodes: Vec<Vec<Pair>>,
    /// The states that make its output, counted from the inputs on; all nodes where it is empty.
    #[serde(default)]
    pub output: Vec<usize>,
}

/// An operation on an earlier state of its cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The state that it reads: the inputs come first.
    pub input: usize,
    /// Name of the operation.
    pub op: String,
}

fn two() -> usize {
    INPUTS
}

/// For each node of normal and reduction cells the pairs that it may sum.
#[derive(Deserialize)]
pub(super) struct Space {
    pub(super) normal: Vec<Vec<Pair>>,
    pub(super) reduction: Vec<Vec<Pair>>,
}

impl Genotype {
    /// Nothing where the value is none.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// The cells of a value; none where it is no genotype.
    pub(crate) fn cells(value: &Value) -> Vec<Cell> {
        Self::read(value).map(|genotype| genotype.cells).unwrap_or_default()
    }
}

impl Space {
    /// Nothing where the value is none.
    pub(super) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// The candidates of a kind of cell.
    pub(super) fn cell(&self, kind: &str) -> Option<&[Vec<Pair>]> {
        match kind {
            "normal" => Some(&self.normal),
            "reduction" => Some(&self.reduction),
            _ => None,
        }
    }
}

/// An operation as people read it: `sep conv 3×3`.
pub(super) fn operation(name: &str) -> String {
    name.replace('_', " ").replace("1x1", "1×1").replace("3x3", "3×3").replace("5x5", "5×5")
}

/// What an operation reads, as the graph counts it: a cell's `inputs`, then its nodes.
pub(super) fn state(state: usize, inputs: usize) -> String {
    if state < inputs { format!("k−{}", inputs - state) } else { state.to_string() }
}

/// [`state`] in a cell of two inputs.
pub(super) fn source(input: usize) -> String {
    state(input, INPUTS)
}
