use adwp_engine::{EngineError, Graph, NodeId, Op, Owner};

use crate::blocks::Builder;
use crate::cells::{CellPlan, Choice, Realisation, Stacked, Term, nothing, stack};
use crate::{CellSite, CellWiring, Genotype, ModelError, NODES, Skeleton};

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
    /// Whether a classifier reads every cell: the loss is then the mean of theirs. They are a
    /// global average and a linear layer each.
    pub exits: bool,
}

impl Heads {
    /// The loss alone: no further classifier, nothing dropped, labels as they are.
    pub const PLAIN: Self =
        Self { auxiliary: 0.0, drop_path: false, dropout: false, smoothing: 0.0, exits: false };
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
    /// How its cells are wired, from the image on; none where it has no cells.
    pub cells: Vec<CellWiring>,
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
    /// Outputs `[batch, classes]`: the logits after every cell before the last, where each has a
    /// classifier.
    pub exits: Vec<NodeId>,
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
    pub(crate) fn mask(
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

    /// Global average, dropout where that is wanted, and a linear layer.
    pub(crate) fn classifier(
        &mut self,
        b: &mut Builder,
        x: NodeId,
        classes: usize,
    ) -> Result<NodeId, EngineError> {
        self.classifier_of(b, x, classes, |_, _, x| Ok(x))
    }

    /// The same, where the linear layer reads what `head` makes of the average.
    pub(crate) fn classifier_of(
        &mut self,
        b: &mut Builder,
        x: NodeId,
        classes: usize,
        head: impl FnOnce(&mut Builder, &str, NodeId) -> Result<NodeId, EngineError>,
    ) -> Result<NodeId, EngineError> {
        b.owned(Owner::Classifier, |b, name| {
            let x = b.graph.add(format!("{name}/pool"), Op::GlobalAvgPool, &[x])?;
            let x = head(b, name, x)?;
            let x = self.features(b, name, x)?;
            b.linear(&format!("{name}/linear"), x, classes)
        })
    }

    /// Features `[batch, features]`, times a mask where they can be dropped.
    fn features(&mut self, b: &mut Builder, name: &str, x: NodeId) -> Result<NodeId, EngineError> {
        if !self.features {
            return Ok(x);
        }
        let [batch, features] = [b.graph[x].shape[0], b.graph[x].shape[1]];
        let mask = b.graph.input(format!("{name}/mask"), [batch, features])?;
        self.dropout = Some(mask);
        // A gate belongs to a channel of an image; here the image is one pixel.
        let pixels = b.graph.reshape(format!("{name}/pixels"), x, [batch, features, 1, 1])?;
        let kept = b.graph.add(format!("{name}/drop"), Op::Gate, &[pixels, mask])?;
        b.graph.reshape(format!("{name}/features"), kept, [batch, features])
    }
}

/// One architecture: a node is the sum of its candidates, whose weights are parameters.
impl Realisation for Drops {
    fn drop(
        &mut self,
        b: &mut Builder,
        name: &str,
        y: NodeId,
        identity: bool,
        stride: usize,
    ) -> Result<NodeId, ModelError> {
        Ok(if identity && stride == 1 { y } else { self.mask(b, name, y)? })
    }

    fn join(
        &mut self,
        b: &mut Builder,
        name: &str,
        terms: &[Term],
        states: &[NodeId],
    ) -> Result<NodeId, ModelError> {
        Ok(match terms {
            [] => nothing(b, name, states[0])?,
            [only] => only.value,
            _ => {
                let terms: Vec<NodeId> = terms.iter().map(|term| term.value).collect();
                b.graph.add(name, Op::Add, &terms)?
            }
        })
    }
}

/// The states that the output of a cell of the DARTS space concatenates.
pub(crate) const OUTPUT: [usize; NODES] = [2, 3, 4, 5];

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
        Self::stack(skeleton, batch, heads, |site| {
            let cell = &genotype.cells[site.index];
            if cell.kind != site.kind {
                let (index, found, expected) = (site.index, cell.kind, site.kind);
                return Err(ModelError::Invalid(format!(
                    "cell {index} of the genotype is a {found:?} cell, the network has a \
                     {expected:?} cell there"
                )));
            }
            Ok(CellPlan { nodes: &cell.nodes, output: &OUTPUT })
        })
    }

    /// A network of cells, each of which is as `plan` has it.
    pub(crate) fn stack<'a, C: Choice + 'a>(
        skeleton: &Skeleton,
        batch: usize,
        heads: Option<Heads>,
        plan: impl Fn(CellSite) -> Result<CellPlan<'a, C>, ModelError>,
    ) -> Result<Self, ModelError> {
        skeleton.validate()?;
        Self::with_logits(skeleton.image, batch, heads, |b, drops, images| {
            let Stacked { last, auxiliary } = stack(b, drops, skeleton, images, plan)?;
            Ok((drops.classifier(b, last, skeleton.classes)?, Some(auxiliary)))
        })
    }

    /// The network of images `[channels, height, width]` whose logits `logits` adds. It also names
    /// what the auxiliary classifier reads, where the network can have one.
    pub(crate) fn with_logits(
        [channels, height, width]: [usize; 3],
        batch: usize,
        heads: Option<Heads>,
        logits: impl FnOnce(
            &mut Builder,
            &mut Drops,
            NodeId,
        ) -> Result<(NodeId, Option<NodeId>), ModelError>,
    ) -> Result<Self, ModelError> {
        let mut b = Builder::new(true);
        let images = b.graph.input("images", [batch, channels, height, width])?;
        let mut drops = Drops::new(heads, batch);
        let (logits, auxiliary) = logits(&mut b, &mut drops, images)?;
        Self::finish(b, images, logits, heads, auxiliary, drops)
    }

    /// The network that gives `logits`, with the loss where it is to be trained. The auxiliary
    /// classifier reads `auxiliary_input`.
    fn finish(
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
                let exits = if heads.exits { b.exits(classes)? } else { Vec::new() };
                if !exits.is_empty() {
                    let mut losses = vec![loss];
                    for (cell, &exit) in exits.iter().enumerate() {
                        losses.push(b.loss(
                            &format!("loss/exit{cell}"),
                            exit,
                            labels,
                            heads.smoothing,
                        )?);
                    }
                    let factor = 1.0 / losses.len() as f32;
                    let sum = b.graph.add("loss/sum", Op::Add, &losses)?;
                    loss = b.graph.add("loss/mean", Op::Scale { factor }, &[sum])?;
                }
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
                Some(Training { labels, loss, masks: drops.masks, dropout: drops.dropout, exits })
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
            exits: t.exits.into_iter().filter_map(now).collect(),
        });
        Ok(Self {
            graph,
            images: now(images).expect(kept),
            logits: now(logits).expect(kept),
            training,
            cells: b.wiring,
        })
    }
}
