//! What the page reads of `genotype.json` and `space.json`, and how it names it.

use serde::Deserialize;
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

#[derive(Deserialize, PartialEq)]
pub(super) struct Cell {
    pub(super) kind: String,
    /// For each node the pairs that it sums.
    pub(super) nodes: Vec<Vec<Pair>>,
}

#[derive(Deserialize, PartialEq)]
pub(super) struct Pair {
    pub(super) input: usize,
    pub(super) op: String,
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
    name.replace('_', " ").replace("3x3", "3×3").replace("5x5", "5×5")
}

/// What an operation reads, as the graph counts it: the inputs are 0 and 1, the first node is 2.
pub(super) fn source(input: usize) -> String {
    match input {
        0 => "k−2".to_owned(),
        1 => "k−1".to_owned(),
        node => node.to_string(),
    }
}
