use adwp_engine::{Graph, Init, NodeId, Op};
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Weights};
use crate::{CellKind, IntensiveSpace, ModelError, NODES, Skeleton};

/// Over what the softmax runs whose entry a generating block reads.
///
/// Section 3.2.1 says "the probabilities of all the operations in the cell"; equation 4 normalises over the candidates of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorInput {
    /// The node's candidates: the same probability that weighs the operation (equation 4).
    #[default]
    Node,
    /// All candidates of the cell (the sentence in section 3.2.1).
    Cell,
}

/// How a HyperNetwork's generating blocks are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HypernetworkOptions {
    /// Width between the two linear layers of a generating block; 64 in section 4.2.
    pub hidden: usize,
    /// Over what the probabilities they read are normalised.
    pub input: GeneratorInput,
}

impl Default for HypernetworkOptions {
    fn default() -> Self {
        Self { hidden: 64, input: GeneratorInput::Node }
    }
}

/// The HyperNetwork (section 3.2.1): every cell has its own α, every convolution of a candidate operation its own generating block.
#[derive(Clone, Debug)]
pub struct Hypernetwork {
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
    /// For each cell its architecture parameters, `[NODES, K]`.
    pub alphas: Vec<NodeId>,
    /// For each cell the softmax of each node's candidates, `[NODES, K]`.
    pub probabilities: Vec<NodeId>,
}

impl Hypernetwork {
    /// Builds the HyperNetwork for a batch size.
    pub fn build(space: &IntensiveSpace, skeleton: &Skeleton, batch: usize, options: HypernetworkOptions) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let k = space.width();
        let mut b = Builder::new(false);
        let [c, h, w] = skeleton.image;
        let images = b.graph.input("images", [batch, c, h, w])?;
        let labels = b.graph.input("labels", [batch])?;
        let (mut alphas, mut probabilities) = (Vec::new(), Vec::new());
        let mut previous = b.stem(skeleton.stem, images, skeleton.channels)?;
        for site in skeleton.cells() {
            let cell = format!("cell{}", site.index);
            let alpha = b.graph.parameter(format!("{cell}/alpha"), [NODES, k], Init::Normal(1.0))?;
            let over_node = b.graph.add(format!("{cell}/probabilities"), Op::Softmax, &[alpha])?;
            let encoding = match options.input {
                GeneratorInput::Node => over_node,
                GeneratorInput::Cell => {
                    let flat = b.graph.reshape(format!("{cell}/alpha_flat"), alpha, [1, NODES * k])?;
                    b.graph.add(format!("{cell}/probabilities_over_cell"), Op::Softmax, &[flat])?
                }
            };
            alphas.push(alpha);
            probabilities.push(over_node);
            let mut states = b.cell_inputs(&cell, previous, site.channels)?.to_vec();
            for (node, pairs) in space.cell(site.kind).iter().enumerate() {
                let mut inputs = vec![over_node];
                let mut terms = Vec::with_capacity(k);
                for (i, pair) in pairs.iter().enumerate() {
                    let index = node * k + i;
                    let weights = Weights::Generated { probabilities: encoding, index, hidden: options.hidden };
                    let stride = if site.kind == CellKind::Reduction && pair.input < 2 { 2 } else { 1 };
                    let name = format!("{cell}/node{}/{}@{}", node + 2, pair.op, pair.input);
                    if let Some(y) = b.operation(&name, pair.op, states[pair.input], stride, weights)? {
                        inputs.push(y);
                        terms.push(index);
                    }
                }
                states.push(b.graph.add(format!("{cell}/node{}", node + 2), Op::WeightedSum { terms }, &inputs)?);
            }
            let output = b.graph.add(format!("{cell}/output"), Op::Concat, &states[2..])?;
            previous = [previous[1], output];
        }
        let logits = b.classifier(previous[1], skeleton.classes)?;
        let loss = b.loss("loss", logits, labels, 0.0)?;
        Ok(Self { graph: b.graph, images, labels, logits, loss, alphas, probabilities })
    }

    /// The parameters that are not α and on which the loss depends: generating blocks, stem, preprocessing, classifier.
    pub fn weights(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.graph.parameters().filter(|id| live[id.index()] && !self.alphas.contains(id)).collect()
    }

    /// The α on which the loss depends: all, unless no candidate of the next two cells reads a cell.
    pub fn live_alphas(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.alphas.iter().copied().filter(|id| live[id.index()]).collect()
    }
}
