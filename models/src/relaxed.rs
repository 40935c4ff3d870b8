use adwp_engine::{Candidate, Graph, Init, NodeId, Op};

use crate::blocks::{Builder, Dropped};
use crate::cells::{CellPlan, Stacked, stack};
use crate::discrete::{Drops, OUTPUT};
use crate::mixture::{Mixed, Mixture};
use crate::{
    CellKind, CellSite, EDGES, INPUTS, ModelError, NODES, Operation, Pair, Skeleton, edge,
};

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
        let place = |candidate: Candidate| {
            edge(candidate.node - INPUTS, 0) * Operation::ALL.len() + candidate.place
        };
        let mut mixture = Mixture::new(dropped, place, |_: &mut Builder, site: CellSite| {
            let probabilities = match site.kind {
                CellKind::Normal => p_normal,
                CellKind::Reduction => p_reduction,
            };
            Ok(Mixed { probabilities, generated: None })
        });
        // Zero takes its share of the probability and adds nothing.
        let every = |input| Operation::ALL.map(|op| Pair { input, op });
        let nodes: Vec<Vec<Pair>> =
            (0..NODES).map(|node| (0..node + 2).flat_map(every).collect()).collect();
        let Stacked { last, .. } = stack(&mut b, &mut mixture, skeleton, images, |_| {
            Ok(CellPlan { nodes: &nodes, output: &OUTPUT })
        })?;
        let logits = Drops::new(None, batch).classifier(&mut b, last, skeleton.classes)?;
        let loss = b.loss("loss", logits, labels, 0.0)?;
        Ok(Self {
            graph: b.graph,
            images,
            labels,
            logits,
            loss,
            masks: mixture.masks,
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
