use adwp_engine::{Graph, NodeId, Op};

use crate::blocks::{Builder, Weights};
use crate::{CellKind, Genotype, ModelError, Operation, Skeleton};

/// What is added to a network for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Weight of the auxiliary classifier's loss; 0 leaves it out.
    pub auxiliary: f32,
    /// Whether operations can be dropped: each gets a mask input.
    pub drop_path: bool,
    /// Label smoothing of the loss.
    pub smoothing: f32,
}

/// The network of a [`Genotype`]. What no output depends on, such as the preprocessing of a cell input that no node reads, is not part
/// of it.
#[derive(Clone, Debug)]
pub struct Discrete {
    /// Its graph, for one batch size.
    pub graph: Graph,
    /// Input `[batch, channels, height, width]`.
    pub images: NodeId,
    /// Output `[batch, classes]`.
    pub logits: NodeId,
    /// What training needs, where it was built for training.
    pub training: Option<Training>,
}

/// The nodes that only training uses.
#[derive(Clone, Debug)]
pub struct Training {
    /// Input `[batch]`: class indices.
    pub labels: NodeId,
    /// The loss, auxiliary part included.
    pub loss: NodeId,
    /// Inputs `[batch]`: one drop-path mask for every operation that can be dropped.
    pub masks: Vec<NodeId>,
}

impl Discrete {
    /// Builds the network for a batch size: for training with the heads given, else for inference.
    pub fn build(genotype: &Genotype, skeleton: &Skeleton, batch: usize, heads: Option<Heads>) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let sites = skeleton.cells();
        if genotype.cells.len() != sites.len() {
            let (found, expected) = (genotype.cells.len(), sites.len());
            return Err(ModelError::Invalid(format!("the genotype has {found} cells, the network {expected}")));
        }
        let mut b = Builder::new(true);
        let [c, h, w] = skeleton.image;
        let images = b.graph.input("images", [batch, c, h, w])?;
        let mut previous = b.stem(skeleton.stem, images, skeleton.channels)?;
        let mut masks = Vec::new();
        let mut auxiliary_input = None;
        for (site, cell) in sites.iter().zip(&genotype.cells) {
            if cell.kind != site.kind {
                let (found, expected) = (cell.kind, site.kind);
                let message = format!("cell {} of the genotype is a {found:?} cell, the network has a {expected:?} cell there", site.index);
                return Err(ModelError::Invalid(message));
            }
            let name = format!("cell{}", site.index);
            let mut states = b.cell_inputs(&name, previous, site.channels)?.to_vec();
            for (node, pairs) in cell.nodes.iter().enumerate() {
                let mut terms = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    let name = format!("{name}/node{}/{}@{}", node + 2, pair.op, pair.input);
                    let stride = if site.kind == CellKind::Reduction && pair.input < 2 { 2 } else { 1 };
                    let Some(mut y) = b.operation(&name, pair.op, states[pair.input], stride, Weights::Own)? else { continue };
                    let droppable = !(pair.op == Operation::Identity && stride == 1);
                    if droppable && heads.is_some_and(|heads| heads.drop_path) {
                        let mask = b.graph.input(format!("{name}/mask"), [batch])?;
                        masks.push(mask);
                        y = b.graph.add(format!("{name}/drop"), Op::DropPath, &[y, mask])?;
                    }
                    terms.push(y);
                }
                states.push(match terms[..] {
                    [only] => only,
                    _ => b.graph.add(format!("{name}/node{}", node + 2), Op::Add, &terms)?,
                });
            }
            let output = b.graph.add(format!("{name}/output"), Op::Concat, &states[2..])?;
            if site.index == skeleton.auxiliary_cell() {
                auxiliary_input = Some(output);
            }
            previous = [previous[1], output];
        }
        let logits = b.classifier(previous[1], skeleton.classes)?;
        let training = match heads {
            None => None,
            Some(heads) => {
                let labels = b.graph.input("labels", [batch])?;
                let mut loss = b.loss("loss/main", logits, labels, heads.smoothing)?;
                if let (Some(input), true) = (auxiliary_input, heads.auxiliary > 0.0) {
                    let auxiliary = b.auxiliary(input, skeleton.classes)?;
                    let auxiliary = b.loss("loss/auxiliary", auxiliary, labels, heads.smoothing)?;
                    let weighted = b.graph.add("loss/auxiliary_weighted", Op::Scale { factor: heads.auxiliary }, &[auxiliary])?;
                    loss = b.graph.add("loss", Op::Add, &[loss, weighted])?;
                }
                Some(Training { labels, loss, masks })
            }
        };
        let mut roots = vec![images, logits];
        if let Some(training) = &training {
            roots.push(training.loss);
        }
        let (graph, place) = b.graph.prune(&roots);
        let now = |id: NodeId| place[id.index()];
        let kept = "roots and what they depend on are kept";
        let training = training.map(|t| Training {
            labels: now(t.labels).expect(kept),
            loss: now(t.loss).expect(kept),
            masks: t.masks.into_iter().filter_map(now).collect(),
        });
        Ok(Self { graph, images: now(images).expect(kept), logits: now(logits).expect(kept), training })
    }
}
