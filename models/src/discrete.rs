use adwp_engine::{EngineError, Graph, NodeId, Op};

use crate::blocks::{Builder, CLASSIFIER, Weights};
use crate::{CellKind, CellSite, Genotype, ModelError, Operation, Skeleton};

/// What is added to a network for training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heads {
    /// Weight of the auxiliary classifier's loss; 0 leaves it out.
    pub auxiliary: f32,
    /// Whether operations can be dropped: each gets a mask input.
    pub drop_path: bool,
    /// Whether what the last linear layer reads can be dropped: it gets a mask input.
    pub dropout: bool,
    /// Label smoothing of the loss.
    pub smoothing: f32,
}

/// A network to be trained or deployed: that of a [`Genotype`], or one that was built by hand. What
/// no output depends on, such as the preprocessing of a cell input that no node reads, is not part
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
    /// Input `[batch, features]`: what each feature that the last linear layer reads is multiplied
    /// by, where these can be dropped.
    pub dropout: Option<NodeId>,
}

/// What can be dropped from a network in training.
pub(crate) struct Drops {
    paths: bool,
    features: bool,
    batch: usize,
    masks: Vec<NodeId>,
    dropout: Option<NodeId>,
}

impl Drops {
    pub(crate) fn new(heads: Option<Heads>, batch: usize) -> Self {
        let (paths, features) =
            heads.map_or((false, false), |heads| (heads.drop_path, heads.dropout));
        Self { paths, features, batch, masks: Vec::new(), dropout: None }
    }

    /// `y`, which the operation `name` gave, times a mask where operations can be dropped.
    pub(crate) fn drop(
        &mut self,
        b: &mut Builder,
        name: &str,
        y: NodeId,
    ) -> Result<NodeId, EngineError> {
        if !self.paths {
            return Ok(y);
        }
        let mask = b.graph.input(format!("{name}/mask"), [self.batch])?;
        self.masks.push(mask);
        b.graph.add(format!("{name}/drop"), Op::DropPath, &[y, mask])
    }

    /// What the last linear layer reads, `[batch, features]`, times a mask where that is wanted
    /// (dropout).
    pub(crate) fn features(&mut self, b: &mut Builder, x: NodeId) -> Result<NodeId, EngineError> {
        if !self.features {
            return Ok(x);
        }
        let [batch, features] = [b.graph[x].shape[0], b.graph[x].shape[1]];
        let mask = b.graph.input("classifier/mask", [batch, features])?;
        self.dropout = Some(mask);
        // A gate belongs to a channel of an image; here the image is one pixel.
        let pixels = b.graph.reshape("classifier/pixels", x, [batch, features, 1, 1])?;
        let kept = b.graph.add("classifier/drop", Op::Gate, &[pixels, mask])?;
        b.graph.reshape("classifier/features", kept, [batch, features])
    }

    /// Global average, dropout where that is wanted, and a linear layer.
    pub(crate) fn classifier(
        &mut self,
        b: &mut Builder,
        x: NodeId,
        classes: usize,
    ) -> Result<NodeId, EngineError> {
        let x = b.pool_all(x)?;
        let x = self.features(b, x)?;
        b.linear(CLASSIFIER, x, classes)
    }
}

impl Discrete {
    /// Builds the network for a batch size: for training with the heads given, else for inference.
    pub fn build(
        genotype: &Genotype,
        skeleton: &Skeleton,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Self, ModelError> {
        skeleton.validate()?;
        if genotype.cells.len() != skeleton.cells {
            let (found, expected) = (genotype.cells.len(), skeleton.cells);
            return Err(ModelError::Invalid(format!(
                "the genotype has {found} cells, the network {expected}"
            )));
        }
        Self::stack(skeleton, batch, heads, |b, drops, site, name, inputs| {
            let cell = &genotype.cells[site.index];
            if cell.kind != site.kind {
                let (found, expected) = (cell.kind, site.kind);
                let message = format!(
                    "cell {} of the genotype is a {found:?} cell, the network has a {expected:?} \
                     cell there",
                    site.index
                );
                return Err(ModelError::Invalid(message));
            }
            let mut states = inputs.to_vec();
            for (node, pairs) in cell.nodes.iter().enumerate() {
                let mut terms = Vec::with_capacity(pairs.len());
                for pair in pairs {
                    let name = format!("{name}/node{}/{}@{}", node + 2, pair.op, pair.input);
                    let stride =
                        if site.kind == CellKind::Reduction && pair.input < 2 { 2 } else { 1 };
                    let Some(y) =
                        b.operation(&name, pair.op, states[pair.input], stride, Weights::Own)?
                    else {
                        continue;
                    };
                    let droppable = !(pair.op == Operation::Identity && stride == 1);
                    terms.push(if droppable { drops.drop(b, &name, y)? } else { y });
                }
                states.push(match terms[..] {
                    [only] => only,
                    _ => b.graph.add(format!("{name}/node{}", node + 2), Op::Add, &terms)?,
                });
            }
            Ok(b.graph.add(format!("{name}/output"), Op::Concat, &states[2..])?)
        })
    }

    /// A network of cells, each of which `cell` makes at its site, under its name, of its two
    /// inputs.
    pub(crate) fn stack(
        skeleton: &Skeleton,
        batch: usize,
        heads: Option<Heads>,
        mut cell: impl FnMut(
            &mut Builder,
            &mut Drops,
            CellSite,
            &str,
            [NodeId; 2],
        ) -> Result<NodeId, ModelError>,
    ) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let mut b = Builder::new(true);
        let [c, h, w] = skeleton.image;
        let images = b.graph.input("images", [batch, c, h, w])?;
        let mut previous = b.stem(skeleton.stem, images, skeleton.channels)?;
        let mut drops = Drops::new(heads, batch);
        let mut auxiliary_input = None;
        for site in skeleton.cells() {
            let name = format!("cell{}", site.index);
            let inputs = b.cell_inputs(&name, previous, site.channels)?;
            let output = cell(&mut b, &mut drops, site, &name, inputs)?;
            if site.index == skeleton.auxiliary_cell() {
                auxiliary_input = Some(output);
            }
            previous = [previous[1], output];
        }
        let logits = drops.classifier(&mut b, previous[1], skeleton.classes)?;
        Self::finish(b, images, logits, heads, auxiliary_input, drops)
    }

    /// The network that gives `logits`, with the loss where it is to be trained. The auxiliary
    /// classifier reads `auxiliary_input`.
    pub(crate) fn finish(
        mut b: Builder,
        images: NodeId,
        logits: NodeId,
        heads: Option<Heads>,
        auxiliary_input: Option<NodeId>,
        drops: Drops,
    ) -> Result<Self, ModelError> {
        let [batch, classes] = [b.graph[logits].shape[0], b.graph[logits].shape[1]];
        let training = match heads {
            None => None,
            Some(heads) => {
                let labels = b.graph.input("labels", [batch])?;
                let mut loss = b.loss("loss/main", logits, labels, heads.smoothing)?;
                if let (Some(input), true) = (auxiliary_input, heads.auxiliary > 0.0) {
                    let auxiliary = b.auxiliary(input, classes)?;
                    let auxiliary = b.loss("loss/auxiliary", auxiliary, labels, heads.smoothing)?;
                    let weighted = b.graph.add(
                        "loss/auxiliary_weighted",
                        Op::Scale { factor: heads.auxiliary },
                        &[auxiliary],
                    )?;
                    loss = b.graph.add("loss", Op::Add, &[loss, weighted])?;
                }
                Some(Training { labels, loss, masks: drops.masks, dropout: drops.dropout })
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
            dropout: t.dropout.and_then(now),
        });
        Ok(Self {
            graph,
            images: now(images).expect(kept),
            logits: now(logits).expect(kept),
            training,
        })
    }
}
