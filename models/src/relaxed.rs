use adwp_engine::{Graph, Init, NodeId, Op};

use crate::blocks::{Builder, Dropped, Weights};
use crate::{CellKind, EDGES, ModelError, NODES, Operation, Skeleton, edge};

/// The architecture parameters of the relaxation, one set for each kind of cell: `[EDGES,
/// operations]`.
#[derive(Clone, Copy, Debug)]
pub struct RelaxedAlphas {
    /// Of normal cells.
    pub normal: NodeId,
    /// Of reduction cells.
    pub reduction: NodeId,
}

/// The continuous relaxation of the original space (equation 1): every edge is the softmax-weighted
/// sum of all operations.
#[derive(Clone, Debug)]
pub struct Relaxed {
    /// Its graph, for one batch size.
    pub graph: Graph,
    /// Input `[batch, channels, height, width]`.
    pub images: NodeId,
    /// Input `[batch]`: class indices.
    pub labels: NodeId,
    /// Output `[batch, classes]`.
    pub logits: NodeId,
    /// Mean cross-entropy.
    pub loss: NodeId,
    /// Inputs `[batch]`: a mask for every operation that can be dropped.
    pub masks: Vec<NodeId>,
    /// Architecture parameters.
    pub alphas: RelaxedAlphas,
    /// Their softmax over the operations of each edge.
    pub probabilities: RelaxedAlphas,
}

impl Relaxed {
    /// Builds the relaxation for a batch size.
    pub fn build(skeleton: &Skeleton, batch: usize, dropped: Dropped) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let mut b = Builder::new(false);
        let [c, h, w] = skeleton.image;
        let images = b.graph.input("images", [batch, c, h, w])?;
        let labels = b.graph.input("labels", [batch])?;
        // 1e-3 · standard normal, as DARTS starts.
        let mut alpha = |name: &str| -> Result<(NodeId, NodeId), ModelError> {
            let alpha = b.graph.parameter(
                format!("alpha/{name}"),
                [EDGES, Operation::ALL.len()],
                Init::Normal(1e-3),
            )?;
            Ok((alpha, b.graph.add(format!("probabilities/{name}"), Op::Softmax, &[alpha])?))
        };
        let ((normal, p_normal), (reduction, p_reduction)) =
            (alpha("normal")?, alpha("reduction")?);
        let mut previous = b.stem(skeleton.stem, images, skeleton.channels)?;
        let mut masks = Vec::new();
        for site in skeleton.cells() {
            let cell = format!("cell{}", site.index);
            let probabilities = match site.kind {
                CellKind::Normal => p_normal,
                CellKind::Reduction => p_reduction,
            };
            let mut states = b.cell_inputs(&cell, previous, site.channels)?.to_vec();
            for node in 0..NODES {
                let mut inputs = vec![probabilities];
                let mut terms = Vec::new();
                for (input, &state) in states.iter().enumerate() {
                    let stride = if site.kind == CellKind::Reduction && input < 2 { 2 } else { 1 };
                    for op in Operation::ALL {
                        let name = format!("{cell}/node{}/{op}@{input}", node + 2);
                        // Zero takes its share of the probability and adds nothing.
                        if let Some(y) = b.candidate(
                            &name,
                            op,
                            state,
                            stride,
                            Weights::Own,
                            dropped,
                            &mut masks,
                        )? {
                            inputs.push(y);
                            terms.push(edge(node, input) * Operation::ALL.len() + op.index());
                        }
                    }
                }
                states.push(b.graph.add(
                    format!("{cell}/node{}", node + 2),
                    Op::WeightedSum { terms },
                    &inputs,
                )?);
            }
            let output = b.graph.add(format!("{cell}/output"), Op::Concat, &states[2..])?;
            previous = [previous[1], output];
        }
        let logits = b.classifier(previous[1], skeleton.classes)?;
        let loss = b.loss("loss", logits, labels, 0.0)?;
        Ok(Self {
            graph: b.graph,
            images,
            labels,
            logits,
            loss,
            masks,
            alphas: RelaxedAlphas { normal, reduction },
            probabilities: RelaxedAlphas { normal: p_normal, reduction: p_reduction },
        })
    }

    /// The parameters that are not α and on which the loss depends.
    pub fn weights(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.graph
            .parameters()
            .filter(|id| {
                live[id.index()] && ![self.alphas.normal, self.alphas.reduction].contains(id)
            })
            .collect()
    }
}
