//! Networks to be timed: those that a part is measured with, and whole ones.

use adwp_engine::{
    Conv2d, Graph, Init, NodeId, Op, Role, Variable, VariableKind, VariableSpec, Variables,
};
use adwp_export::fold_batch_norms;
use adwp_export::onnx::onnx_bytes;
use adwp_models::{CellGenotype, Discrete, Genotype, ModelError, NODES, Operation, Pair, Skeleton};
use rand::seq::index::sample;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Result;
use crate::part::{Image, Part, classifier, convolution};

/// Copies of a part that a network with it has more than one without it.
pub(crate) const COPIES: usize = 8;

/// Classes of a network that is built around a part.
const CLASSES: usize = 2;

/// A network that can be timed: a graph as an exported file has it, for one image.
#[derive(Clone, Debug)]
pub struct Timeable {
    /// The graph.
    pub graph: Graph,
    /// Its variables.
    pub variables: Variables,
    /// Input `[1, channels, height, width]`.
    pub images: NodeId,
    /// Output `[1, classes]`.
    pub logits: NodeId,
}

impl Timeable {
    /// The network of a genotype, as the exporter would write it, with random weights.
    ///
    /// # Errors
    /// When the genotype is not one of the skeleton.
    pub fn whole(genotype: &Genotype, skeleton: &Skeleton) -> Result<Self> {
        let Discrete { graph, images, logits, .. } = Discrete::build(genotype, skeleton, 1, None)?;
        let (folded, variables, logits) = fold_batch_norms(&graph, &weights(&graph)?, logits)?;
        let images = folded.find(&graph[images].name)?;
        Ok(Self { graph: folded, variables, images, logits })
    }

    /// The bytes of its ONNX file.
    pub fn onnx(&self) -> Result<Vec<u8>> {
        Ok(onnx_bytes(&self.graph, &self.variables, self.images, self.logits)?)
    }

    fn new(graph: Graph, images: NodeId, logits: NodeId) -> Result<Self> {
        let variables = weights(&graph)?;
        Ok(Self { graph, variables, images, logits })
    }
}

/// Random values for a graph. Biases are as large as what they are added to: values that shrink
/// from layer to layer would end as denormal numbers, with which processors compute many times
/// slower.
fn weights(graph: &Graph) -> Result<Variables> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut variables = Variables::new();
    for VariableSpec { name, shape, kind, .. } in graph.variables() {
        if kind == (VariableKind::Parameter { init: Init::Constant(0.0) }) {
            let data = Init::Uniform(1.0).draw(&shape, &mut rng);
            variables.insert(Variable::new(name, shape, data, Role::Parameter));
        }
    }
    variables.initialize(graph, &mut rng)?;
    Ok(variables)
}

/// What a part is measured with.
pub(crate) struct Probe {
    /// The network with [`Self::copies`] copies more of the part.
    pub(crate) with: Timeable,
    /// The network without them; `None` where the part is all that [`Self::with`] is.
    pub(crate) without: Option<Timeable>,
    /// Copies that the difference of the two networks is the latency of.
    pub(crate) copies: usize,
}

impl Probe {
    pub(crate) fn new(part: Part) -> Result<Self> {
        match part {
            Part::Classifier { image, classes } => {
                let mut graph = Graph::new();
                let images = input(&mut graph, image)?;
                let logits = classifier(&mut graph, "classifier", images, classes)?;
                Ok(Self { with: Timeable::new(graph, images, logits)?, without: None, copies: 1 })
            }
            part => Ok(Self {
                with: carrier(part, true)?,
                without: Some(carrier(part, false)?),
                copies: COPIES,
            }),
        }
    }
}

fn input(graph: &mut Graph, [channels, height, width]: Image) -> Result<NodeId> {
    Ok(graph.input("images", [1, channels, height, width])?)
}

/// A network that carries copies of a part as a cell carries its operations.
///
/// Two chains of cheap convolutions run through it: x at the size of what the part reads, y at the
/// size of what it gives. A link of y adds what a copy of the part makes of one link of x, or,
/// without that copy, what the only copy makes of the end of x. So the networks with and without
/// differ by the copies alone: the part reads what a convolution gave and what others read too, its
/// result is joined with that of a convolution, and no two copies compute the same, which a runtime
/// would notice.
fn carrier(part: Part, copies: bool) -> Result<Timeable> {
    let mut graph = Graph::new();
    let g = &mut graph;
    let images = input(g, part.inputs()[0])?;
    let mut x = vec![link(g, "x0", images)?];
    for i in 1..=COPIES {
        x.push(link(g, &format!("x{i}"), x[i - 1])?);
    }
    // A reduction's crop is a part of its own: all copies read the same.
    let cropped = match part {
        Part::Reduce { .. } => Some(g.add("crop", Op::Crop { top: 1, left: 1 }, &[x[0]])?),
        _ => None,
    };
    let place = |g: &mut Graph, name: &str, x: NodeId| {
        let inputs: Vec<NodeId> = match cropped {
            Some(cropped) => vec![x, cropped],
            None => vec![x; part.inputs().len()],
        };
        part.add(g, name, &inputs)
    };
    let only = match part {
        Part::Sum { .. } => x[COPIES],
        _ => place(g, "only", x[COPIES])?,
    };
    let mut y = only;
    for (i, &from) in x[..COPIES].iter().enumerate() {
        y = link(g, &format!("y{i}"), y)?;
        y = match part {
            Part::Sum { terms, .. } if copies => {
                g.add(format!("sum{i}"), Op::Add, &[vec![y], vec![only; terms - 1]].concat())?
            }
            Part::Sum { .. } => y,
            _ => {
                let term = if copies { place(g, &format!("copy{i}"), from)? } else { only };
                g.add(format!("sum{i}"), Op::Add, &[y, term])?
            }
        };
    }
    let logits = classifier(g, "classifier", y, CLASSES)?;
    Timeable::new(graph, images, logits)
}

/// The cheapest convolution: one weight a channel.
fn link(graph: &mut Graph, name: &str, x: NodeId) -> Result<NodeId> {
    let channels = graph[x].shape[1];
    Ok(convolution(graph, name, x, channels, 1, Conv2d { groups: channels, ..Conv2d::default() })?)
}

/// An architecture drawn evenly from all of the space: every node sums `keep` pairs of all that it
/// can have.
///
/// # Errors
/// When a node has fewer pairs, or `keep` is 0.
pub fn random_genotype(
    skeleton: &Skeleton,
    keep: usize,
    rng: &mut impl Rng,
) -> Result<Genotype, ModelError> {
    let fewest = 2 * Operation::CONNECTING.len();
    if !(1..=fewest).contains(&keep) {
        return Err(ModelError::Invalid(format!(
            "a node cannot sum {keep} pairs: the first one has {fewest} to choose from"
        )));
    }
    let mut node = |node: usize| {
        let ops = Operation::CONNECTING;
        let mut places = sample(rng, (node + 2) * ops.len(), keep).into_vec();
        places.sort_unstable();
        places
            .into_iter()
            .map(|place| Pair { input: place / ops.len(), op: ops[place % ops.len()] })
            .collect()
    };
    let cells = skeleton
        .cells()
        .into_iter()
        .map(|site| CellGenotype { kind: site.kind, nodes: (0..NODES).map(&mut node).collect() });
    Genotype::new(cells.collect())
}
