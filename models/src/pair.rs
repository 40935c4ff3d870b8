use std::collections::HashSet;

use adwp_engine::NodeId;
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Weights};
use crate::cells::Choice;
use crate::{INPUTS, ModelError, Operation};

/// An operation applied to an earlier node of the cell: 0 and 1 are the cell's inputs, 2 is the
/// first intermediate node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The node read.
    pub input: usize,
    /// What is done to it.
    pub op: Operation,
}

impl Choice for Pair {
    fn input(self) -> usize {
        self.input
    }

    fn operation(self) -> &'static str {
        self.op.name()
    }

    fn is_identity(self) -> bool {
        self.op == Operation::Identity
    }

    fn build(
        self,
        b: &mut Builder,
        name: &str,
        x: NodeId,
        stride: usize,
        weights: Weights,
    ) -> Result<Option<NodeId>, ModelError> {
        Ok(b.operation(name, self.op, x, stride, weights)?)
    }
}

/// Checks that the pairs of intermediate node `node` read earlier nodes, connect, and are distinct.
pub(crate) fn check_pairs(node: usize, pairs: &[Pair]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for pair in pairs {
        if pair.input >= node + INPUTS {
            return Err(format!("node {node} reads node {}, which is not before it", pair.input));
        }
        if pair.op == Operation::Zero {
            return Err(format!("node {node} has a zero operation, which connects nothing"));
        }
        if !seen.insert(pair) {
            return Err(format!("node {node} has {} of node {} twice", pair.op, pair.input));
        }
    }
    Ok(())
}
