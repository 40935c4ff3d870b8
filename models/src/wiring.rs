use crate::CellKind;

/// How the cell of a network is wired, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellWiring {
    /// Whether it keeps the size.
    pub kind: CellKind,
    /// Number of its inputs, which are its first states.
    pub inputs: usize,
    /// For each node the states that it reads and the names of the operations on them, without those
    /// that give nothing.
    pub nodes: Vec<Vec<(usize, &'static str)>>,
    /// The states that make its output.
    pub output: Vec<usize>,
}
