//! Networks to be timed: those that a part is measured with, and whole ones.

use adwp_engine::{
    Conv2d, Graph, Init, NodeId, Op, Role, Variable, VariableKind, VariableSpec, Variables,
};
use adwp_export::fold_batch_norms;
use adwp_export::onnx::onnx_bytes;
use adwp_models::{Blueprint, Discrete};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::Result;
use crate::part::Part;

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
    /// A network as the exporter would write it, with random weights.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn whole(blueprint: &Blueprint) -> Result<Self> {
        let Discrete { graph, images, logits, .. } = blueprint.build(1, None)?;
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
    /// # Errors
    /// When the part reads values that are not cut out of one image.
    pub(crate) fn new(part: &Part) -> Result<Self> {
        // What gives no image is the end of a network, with what every run of a session takes.
        if part.output().len() == 4 {
            let (with, without) = (carrier(part, true)?, Some(carrier(part, false)?));
            return Ok(Self { with, without, copies: COPIES });
        }
        let mut graph = Graph::new();
        let images = graph.input("images", part.inputs()[0].clone())?;
        let logits = part.add(&mut graph, "part", &vec![images; part.inputs().len()])?;
        Ok(Self { with: Timeable::new(graph, images, logits)?, without: None, copies: 1 })
    }
}

/// A network that carries copies of a part as a cell carries its operations.
///
/// Two chains of cheap convolutions run through it: x at the size of what the part reads, y at the
/// size of what it gives. A link of y adds what a copy of the part makes of one link of x, or,
/// without that copy, what the only copy makes of the end of x. So the networks with and without
/// differ by the copies alone: the part reads what a convolution gave and what others read too, its
/// result is joined with that of a convolution, and no two copies compute the same, which a runtime
/// would notice.
fn carrier(part: &Part, copies: bool) -> Result<Timeable> {
    let mut graph = Graph::new();
    let g = &mut graph;
    let largest = part.inputs().iter().max_by_key(|shape| shape.elements());
    let image = largest.cloned().unwrap_or_else(|| part.output().clone());
    let images = g.input("images", image.clone())?;
    let mut x = vec![link(g, "x0", images)?];
    for i in 1..=COPIES {
        x.push(link(g, &format!("x{i}"), x[i - 1])?);
    }
    // What is cut out of a value is there once for all that read it: all copies read the same.
    let mut cropped = Vec::with_capacity(part.inputs().len());
    for (i, shape) in part.inputs().iter().enumerate() {
        let less = |axis: usize| image[axis].saturating_sub(shape[axis]);
        let (top, left) = (less(2), less(3));
        cropped.push(match (top, left) {
            (0, 0) => None,
            _ => Some(g.add(format!("crop{i}"), Op::Crop { top, left }, &[x[0]])?),
        });
    }
    let place = |g: &mut Graph, name: &str, x: NodeId| {
        let inputs: Vec<NodeId> = cropped.iter().map(|cropped| cropped.unwrap_or(x)).collect();
        part.add(g, name, &inputs)
    };
    let only = match part.terms() {
        Some(_) => x[COPIES],
        None => place(g, "only", x[COPIES])?,
    };
    let mut y = only;
    for (i, &from) in x[..COPIES].iter().enumerate() {
        y = link(g, &format!("y{i}"), y)?;
        y = match part.terms() {
            Some(terms) if copies => {
                g.add(format!("sum{i}"), Op::Add, &[vec![y], vec![only; terms - 1]].concat())?
            }
            Some(_) => y,
            None => {
                let term = if copies { place(g, &format!("copy{i}"), from)? } else { only };
                g.add(format!("sum{i}"), Op::Add, &[y, term])?
            }
        };
    }
    let x = g.add("classifier/pool", Op::GlobalAvgPool, &[y])?;
    let weight = g.parameter("classifier/weight", [CLASSES, g[x].shape[1]], Init::FanIn)?;
    let logits = g.add("classifier", Op::Linear, &[x, weight])?;
    Timeable::new(graph, images, logits)
}

/// The cheapest convolution: one weight a channel.
fn link(graph: &mut Graph, name: &str, x: NodeId) -> Result<NodeId> {
    let channels = graph[x].shape[1];
    let weight = graph.parameter(format!("{name}/weight"), [channels, 1, 1, 1], Init::FanIn)?;
    let bias = graph.parameter(format!("{name}/bias"), [channels], Init::Constant(0.0))?;
    let conv = Conv2d { groups: channels, ..Conv2d::default() };
    Ok(graph.add(name, Op::Conv2d(conv), &[x, weight, bias])?)
}
