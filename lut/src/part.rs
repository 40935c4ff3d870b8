// A new operation must be met here.
#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::HashMap;
use std::fmt::{self, Write};

use adwp_engine::{
    Candidate, Conv2d, EngineError, Graph, Init, NodeId, Op, Owner, Pool, Result, Shape,
};

/// Operations of a network that are timed together: what belongs to one section of its graph, as an
/// exported file has it, for one image. What several sections read of one value, its ReLU or the
/// value without its first row and column, is there once and a part of its own.
///
/// Its text ([`fmt::Display`]) is equal for parts that compute the same: it has the shapes of what
/// the part reads, `x0`, `x1` and so on, and its operations, `y0`, `y1` and so on, each with its
/// operands and settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Shapes of what it reads.
    inputs: Vec<Shape>,
    operations: Vec<Operation>,
}

#[derive(Clone, Debug, PartialEq)]
struct Operation {
    op: Op,
    operands: Vec<Operand>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// What the part reads, by position.
    Input(usize),
    /// What an operation of the part gave, by position.
    Before(usize),
    /// Parameters of a shape.
    Weights(Shape),
}

/// A part of one network.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) owner: Owner,
    pub(crate) part: Part,
    /// The candidates that read it.
    pub(crate) readers: Vec<Candidate>,
}

/// Cuts the graph of an exported network into its parts.
pub(crate) fn cut(graph: &Graph) -> Vec<Cut> {
    let mut readers: HashMap<NodeId, Vec<Owner>> = HashMap::new();
    for (_, node) in graph.nodes() {
        for &input in &node.inputs {
            readers.entry(input).or_default().push(node.owner);
        }
    }
    let readers = |id: NodeId| readers.get(&id).map_or(&[][..], Vec::as_slice);
    let mut units: Vec<Vec<NodeId>> = Vec::new();
    let mut unit_of: HashMap<Owner, usize> = HashMap::new();
    for (id, node) in graph.nodes().filter(|(_, node)| node.op.leaf().is_none()) {
        let is_shared = matches!(node.op, Op::Relu | Op::Crop { .. })
            && readers(id).iter().any(|owner| *owner != node.owner);
        if is_shared {
            units.push(vec![id]);
        } else {
            let unit = *unit_of.entry(node.owner).or_insert_with(|| {
                units.push(Vec::new());
                units.len() - 1
            });
            units[unit].push(id);
        }
    }
    let of_unit = |unit: Vec<NodeId>| {
        let outside = unit.iter().flat_map(|&id| readers(id));
        let readers = outside.filter_map(|owner| owner.candidate()).collect();
        Cut { owner: graph[unit[0]].owner, part: Part::of(graph, &unit), readers }
    };
    units.into_iter().map(of_unit).collect()
}

impl Part {
    /// The operations of a graph, in order.
    fn of(graph: &Graph, unit: &[NodeId]) -> Self {
        let (mut inputs, mut operations) = (Vec::new(), Vec::new());
        for &id in unit {
            let node = &graph[id];
            let operands = node.inputs.iter().map(|&x| {
                if let Some(before) = unit.iter().position(|&other| other == x) {
                    return Operand::Before(before);
                }
                let shape = graph[x].shape.clone();
                if matches!(graph[x].op, Op::Parameter { .. }) {
                    return Operand::Weights(shape);
                }
                inputs.push(shape);
                Operand::Input(inputs.len() - 1)
            });
            let operands = operands.collect();
            operations.push(Operation { op: node.op.clone(), operands, shape: node.shape.clone() });
        }
        Self { inputs, operations }
    }

    /// The sum of so many values of a shape.
    pub(crate) fn sum(terms: usize, shape: &Shape) -> Self {
        let operands = (0..terms).map(Operand::Input).collect();
        let sum = Operation { op: Op::Add, operands, shape: shape.clone() };
        Self { inputs: vec![shape.clone(); terms], operations: vec![sum] }
    }

    /// How many values it adds, where that is all that it does.
    pub(crate) fn terms(&self) -> Option<usize> {
        let is_sum = matches!(&self.operations[..], [Operation { op: Op::Add, .. }]);
        is_sum.then_some(self.inputs.len())
    }

    /// Whether it is nothing but the value without its first row and column.
    pub(crate) fn is_crop(&self) -> bool {
        matches!(&self.operations[..], [Operation { op: Op::Crop { .. }, .. }])
    }

    /// Shapes of what it reads.
    pub(crate) fn inputs(&self) -> &[Shape] {
        &self.inputs
    }

    /// Shape of what it gives.
    pub(crate) fn output(&self) -> &Shape {
        &self.operations.last().expect("a part has operations").shape
    }

    /// Adds it to a graph under names that begin with `name`. `inputs` are of the shapes of
    /// [`Self::inputs`].
    ///
    /// # Errors
    /// When the names are taken.
    pub(crate) fn add(&self, graph: &mut Graph, name: &str, inputs: &[NodeId]) -> Result<NodeId> {
        let mut values: Vec<NodeId> = Vec::with_capacity(self.operations.len());
        for (i, operation) in self.operations.iter().enumerate() {
            let name = format!("{name}/{i}");
            let mut operands = Vec::with_capacity(operation.operands.len());
            for (k, operand) in operation.operands.iter().enumerate() {
                operands.push(match operand {
                    Operand::Input(input) => inputs[*input],
                    Operand::Before(before) => values[*before],
                    Operand::Weights(shape) => {
                        // Matrices and kernels keep the scale of values; the rest are biases.
                        let init = if shape.len() > 1 { Init::FanIn } else { Init::Constant(0.0) };
                        graph.parameter(format!("{name}/weights{k}"), shape.clone(), init)?
                    }
                });
            }
            values.push(match &operation.op {
                Op::Reshape => graph.reshape(name, operands[0], operation.shape.clone())?,
                op @ (Op::Input
                | Op::Parameter { .. }
                | Op::Conv2d(_)
                | Op::BatchNorm(_)
                | Op::Relu
                | Op::Activation(_)
                | Op::MaxPool(_)
                | Op::AvgPool(_)
                | Op::GlobalAvgPool
                | Op::Add
                | Op::Scale { .. }
                | Op::WeightedSum { .. }
                | Op::Concat
                | Op::Crop { .. }
                | Op::Channels { .. }
                | Op::Select { .. }
                | Op::Linear
                | Op::Softmax
                | Op::DropPath
                | Op::Gate
                | Op::CrossEntropy { .. }) => graph.add(name, op.clone(), &operands)?,
            });
        }
        values.pop().ok_or_else(|| EngineError::UnknownNode(name.to_owned()))
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, shape) in self.inputs.iter().enumerate() {
            write!(f, "x{i} {} ", extents(shape))?;
        }
        f.write_char('→')?;
        for (i, Operation { op, operands, shape }) in self.operations.iter().enumerate() {
            let operands = operands.iter().map(|operand| match operand {
                Operand::Input(i) => format!("x{i}"),
                Operand::Before(i) => format!("y{i}"),
                Operand::Weights(shape) => extents(shape),
            });
            let operands = operands.collect::<Vec<_>>().join(" ");
            let separator = if i == 0 { "" } else { ";" };
            write!(f, "{separator} {}({operands}){} {}", op.name(), settings(op), extents(shape))?;
        }
        Ok(())
    }
}

/// A shape; of one that begins with the batch of one image, the rest.
fn extents(shape: &Shape) -> String {
    let extents = match shape[..] {
        [1, ref image @ ..] if !image.is_empty() => image,
        ref all => all,
    };
    extents.iter().map(usize::to_string).collect::<Vec<_>>().join("×")
}

/// What an operation does beside its name, as far as it is not the usual.
fn settings(op: &Op) -> String {
    let mut text = String::new();
    let mut say = |name: &str, values: &[usize], usual: usize| {
        if values.iter().any(|&value| value != usual) {
            let values = values.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            write!(text, " {name} {values}").expect("a string takes all");
        }
    };
    match op {
        Op::Conv2d(Conv2d { stride, padding, trailing, dilation, groups }) => {
            say("stride", stride, 1);
            say("padding", padding, 0);
            say("trailing", trailing, 0);
            say("dilation", &[*dilation], 1);
            say("groups", &[*groups], 1);
        }
        Op::MaxPool(Pool { kernel, stride, padding })
        | Op::AvgPool(Pool { kernel, stride, padding }) => {
            say("of", &[*kernel], 0);
            say("stride", &[*stride], 1);
            say("padding", &[*padding], 0);
        }
        Op::Crop { top, left } => say("of", &[*top, *left], 1),
        Op::Channels { groups, from, count } => {
            say("groups", &[*groups], 1);
            say("from", &[*from], usize::MAX);
            say("count", &[*count], usize::MAX);
        }
        Op::WeightedSum { terms } => say("terms", terms, usize::MAX),
        Op::Select { index } => say("index", &[*index], usize::MAX),
        Op::Scale { factor } => return format!(" by {factor}"),
        Op::CrossEntropy { smoothing } => return format!(" smoothing {smoothing}"),
        Op::Input
        | Op::Parameter { .. }
        | Op::BatchNorm(_)
        | Op::Relu
        | Op::Activation(_)
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Linear
        | Op::Reshape
        | Op::Softmax
        | Op::DropPath
        | Op::Gate => {}
    }
    text
}
