//! Architectures: the operations and cells of the search space, the genotype file, builders that
//! turn them into an engine graph, and cost.
//!
//! The space is that of the DARTS line of papers as ADWPNAS uses it (sections 3.1 and 4.1): a cell
//! has two input nodes, four intermediate nodes and one output node; each intermediate node sums
//! what operations make of earlier nodes.

mod blocks;
mod blueprint;
mod budget;
mod cells;
pub mod cost;
mod discrete;
mod error;
mod expectation;
mod generator;
mod genotype;
mod hypernetwork;
mod mixture;
mod operation;
mod pair;
mod relaxed;
mod skeleton;
pub mod space;
mod wiring;
pub mod zoo;

pub use blocks::{BATCH_NORM_EPSILON, Dropped};
pub use blueprint::{Blueprint, Bounds, Sizes};
pub use budget::{ChoiceCosts, Limit, Resource, most_probable_within};
pub use discrete::{Discrete, Heads, Training};
pub use error::ModelError;
pub use generator::{Generator, GeneratorActivation};
pub use genotype::{CellGenotype, Genotype};
pub use hypernetwork::{GeneratorInput, Hypernetwork, HypernetworkOptions};
pub use operation::Operation;
pub use pair::Pair;
pub use relaxed::{Relaxed, RelaxedAlphas};
pub use skeleton::{CellKind, CellSite, Skeleton, Stem};
pub use space::{
    Choices, Decision, FeatureValues, Features, Intensive, IntensiveCell, IntensiveSpace,
    NasBench201, NasBenchMacro, Space, stability,
};
pub use wiring::CellWiring;
pub use zoo::{Zoo, ZooEntry};

/// Inputs of a cell: the outputs of the two cells before. They are its first states.
pub(crate) const INPUTS: usize = 2;

/// Intermediate nodes of a cell.
pub const NODES: usize = 4;

/// Edges of a cell of the original space: every intermediate node is connected with all earlier
/// nodes.
pub const EDGES: usize = 14;

/// Position of the edge from node `input` to intermediate node `node` (0-based) among the
/// [`EDGES`].
pub fn edge(node: usize, input: usize) -> usize {
    (0..node).map(|n| n + INPUTS).sum::<usize>() + input
}
