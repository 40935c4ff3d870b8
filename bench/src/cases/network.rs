use adwp_engine::{Graph, Node, NodeId, Variables};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::count::{self, MultiplyAdds};
use crate::failure::Result;

/// Nodes that are there only to give an operator a loss start with this; they are neither timed nor
/// counted.
pub(crate) const HEAD: &str = "head/";

/// How large the networks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What is measured.
    Full,
    /// The same networks at a size for tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests are this small"))]
    Tiny,
}

/// What happens to the trainable parameters after the gradients are there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Update {
    /// They stay as they are.
    None,
    /// The gradient's norm is bounded, then a step with momentum.
    Sgd { clip: f32, rate: f32, momentum: f32, weight_decay: f32 },
    /// A step of Adam.
    Adam { rate: f32, betas: (f32, f32), weight_decay: f32 },
}

/// A network with everything that a training step on it needs.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) graph: Graph,
    pub(crate) loss: NodeId,
    /// The operator's result, or the logits.
    pub(crate) output: NodeId,
    pub(crate) trainable: Vec<NodeId>,
    pub(crate) feeds: Vec<(NodeId, Vec<f32>)>,
    pub(crate) update: Update,
}

impl Network {
    /// Parameters and statistics as the network starts with them, the same at every call.
    pub(crate) fn variables(&self) -> Result<Variables> {
        let mut variables = Variables::new();
        variables.initialize(&self.graph, &mut ChaCha8Rng::seed_from_u64(2))?;
        Ok(variables)
    }

    /// Bytes that clipping and optimiser read and write on a GPU: for each parameter its gradient
    /// once to clip, then gradient, value and moments read, value and moments written.
    pub(crate) fn update_bytes(&self) -> usize {
        let numbers = match self.update {
            Update::None => 0,
            Update::Sgd { .. } => 6,
            Update::Adam { .. } => 7,
        };
        let elements: usize =
            self.trainable.iter().map(|&id| self.graph[id].shape.elements()).sum();
        numbers * elements * size_of::<f32>()
    }

    /// Multiply-adds of what is timed.
    pub(crate) fn multiply_adds(&self) -> MultiplyAdds {
        count::step(&self.graph, self.loss, &[self.output], &self.trainable, |node: &Node| {
            !node.name.starts_with(HEAD)
        })
    }
}

/// Values that look like normalised images: the same at every call, neighbours differ.
pub(super) fn noise(elements: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..elements).map(|_| 4.0 * rng.random::<f32>() - 2.0).collect()
}

/// Class indices, as the engine takes them.
pub(super) fn labels(batch: usize, classes: usize) -> Vec<f32> {
    (0..batch).map(|i| (i % classes) as f32).collect()
}
