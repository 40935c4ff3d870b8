use std::collections::HashMap;

use crate::op::Op;
use crate::{EngineError, Init, Owner, Result, Shape};

/// Index of a node in its [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Position of the node in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// One operation of a graph with what it reads and the shape it gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique in the graph, made for people: `cell3/node2/sep_conv_5x5/dw1`.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// What it reads; always earlier nodes.
    pub inputs: Vec<NodeId>,
    /// Shape of its value.
    pub shape: Shape,
    /// The section of the network that it belongs to.
    pub owner: Owner,
}

impl Node {
    /// Name of the variable with a BatchNorm's running mean.
    pub fn running_mean(&self) -> String {
        format!("{}/running_mean", self.name)
    }

    /// Name of the variable with a BatchNorm's running variance.
    pub fn running_var(&self) -> String {
        format!("{}/running_var", self.name)
    }
}

/// A network: named operations in topological order, shapes inferred as they are added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    nodes: Vec<Node>,
    names: HashMap<String, NodeId>,
    /// Of the nodes that are added now.
    owner: Owner,
}

impl Graph {
    /// A graph without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the owner of the nodes that are added from now on, and gives the one before.
    pub fn set_owner(&mut self, owner: Owner) -> Owner {
        std::mem::replace(&mut self.owner, owner)
    }

    /// Adds an input with the given shape.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Result<NodeId> {
        self.push(name.into(), Op::Input, Vec::new(), shape.into())
    }

    /// Adds a parameter with the given shape.
    pub fn parameter(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        init: Init,
    ) -> Result<NodeId> {
        self.push(name.into(), Op::Parameter { init }, Vec::new(), shape.into())
    }

    /// Adds the elements of `x` under another shape of as many elements.
    pub fn reshape(
        &mut self,
        name: impl Into<String>,
        x: NodeId,
        shape: impl Into<Shape>,
    ) -> Result<NodeId> {
        let (name, shape) = (name.into(), shape.into());
        if shape.elements() != self[x].shape.elements() {
            return Err(self.misfit(
                &name,
                &Op::Reshape,
                &[x],
                format!("{shape} has another number of elements"),
            ));
        }
        self.push(name, Op::Reshape, vec![x], shape)
    }

    /// Adds an operation whose shape follows from its inputs: every one but inputs, parameters and
    /// reshapes.
    ///
    /// # Errors
    /// [`EngineError::Shape`] when the inputs do not fit, [`EngineError::DuplicateName`] when the
    /// name is taken.
    pub fn add(&mut self, name: impl Into<String>, op: Op, inputs: &[NodeId]) -> Result<NodeId> {
        let name = name.into();
        let shape =
            self.infer(&op, inputs).map_err(|reason| self.misfit(&name, &op, inputs, reason))?;
        self.push(name, op, inputs.to_vec(), shape)
    }

    fn push(&mut self, name: String, op: Op, inputs: Vec<NodeId>, shape: Shape) -> Result<NodeId> {
        if shape.elements() == 0 {
            return Err(self.misfit(
                &name,
                &op,
                &inputs,
                format!("its value {shape} would be empty"),
            ));
        }
        if self.names.contains_key(&name) {
            return Err(EngineError::DuplicateName(name));
        }
        let id = NodeId(self.nodes.len());
        self.names.insert(name.clone(), id);
        self.nodes.push(Node { name, op, inputs, shape, owner: self.owner });
        Ok(id)
    }

    fn misfit(&self, node: &str, op: &Op, inputs: &[NodeId], reason: String) -> EngineError {
        let inputs =
            inputs.iter().map(|&i| self[i].shape.to_string()).collect::<Vec<_>>().join(", ");
        EngineError::Shape { node: node.to_owned(), op: op.name(), reason, inputs }
    }

    fn infer(&self, op: &Op, inputs: &[NodeId]) -> Result<Shape, String> {
        let shapes: Vec<&Shape> = inputs.iter().map(|&i| &self[i].shape).collect();
        let one = |shapes: &[&Shape]| match shapes {
            [x] => Ok((*x).clone()),
            _ => Err("takes one input".to_owned()),
        };
        let image = |x: &Shape| {
            x.dims4().ok_or_else(|| {
                "the first input must be [batch, channels, height, width]".to_owned()
            })
        };
        match op {
            Op::Input | Op::Parameter { .. } | Op::Reshape => Err("needs a shape".to_owned()),
            Op::Relu | Op::Activation(_) | Op::Scale { .. } | Op::Softmax => one(&shapes),
            Op::Conv2d(conv) => {
                let (x, weight, bias) = match shapes[..] {
                    [x, weight] => (x, weight, None),
                    [x, weight, bias] => (x, weight, Some(bias)),
                    _ => return Err("takes an image, a weight and at most one bias".into()),
                };
                let [n, c, h, w] = image(x)?;
                let [out, per_group, kernel_h, kernel_w] =
                    weight.dims4().ok_or("the weight must have four dimensions")?;
                if conv.groups == 0 || c % conv.groups != 0 || out % conv.groups != 0 {
                    return Err(format!(
                        "{c} input and {out} output channels do not split into {} groups",
                        conv.groups
                    ));
                }
                if per_group != c / conv.groups {
                    return Err(format!(
                        "the weight must be [out, {}, height, width]",
                        c / conv.groups
                    ));
                }
                if bias.is_some_and(|bias| **bias != [out]) {
                    return Err(format!("the bias must be [{out}]"));
                }
                let extent = |axis: usize, size, kernel| {
                    let padding = 2 * conv.padding[axis] + conv.trailing[axis];
                    window(size, kernel, conv.stride[axis], padding, conv.dilation)
                };
                Ok([n, out, extent(0, h, kernel_h)?, extent(1, w, kernel_w)?].into())
            }
            Op::BatchNorm(_) => {
                let (x, affine) = match shapes[..] {
                    [x] => (x, None),
                    [x, scale, shift] => (x, Some([scale, shift])),
                    _ => return Err("takes an image, or an image, a scale and a shift".into()),
                };
                let [_, c, ..] = image(x)?;
                if affine.is_some_and(|affine| affine.iter().any(|s| ***s != [c])) {
                    return Err(format!("scale and shift must be [{c}]"));
                }
                Ok(x.clone())
            }
            Op::MaxPool(pool) | Op::AvgPool(pool) => {
                let [n, c, h, w] = image(&one(&shapes)?)?;
                if pool.padding * 2 > pool.kernel {
                    return Err(format!(
                        "padding {} exceeds half of the kernel {}",
                        pool.padding, pool.kernel
                    ));
                }
                let extent = |size| window(size, pool.kernel, pool.stride, 2 * pool.padding, 1);
                Ok([n, c, extent(h)?, extent(w)?].into())
            }
            Op::GlobalAvgPool => {
                let [n, c, ..] = image(&one(&shapes)?)?;
                Ok([n, c].into())
            }
            Op::Add => match shapes[..] {
                [first, ref rest @ ..] if rest.iter().all(|s| *s == first) => Ok(first.clone()),
                _ => Err("takes inputs of one shape".into()),
            },
            Op::WeightedSum { terms } => match shapes[..] {
                [weights, first, ref rest @ ..]
                    if rest.iter().all(|s| *s == first) && rest.len() + 1 == terms.len() =>
                {
                    if terms.iter().any(|&t| t >= weights.elements()) {
                        return Err("a term lies outside of the weights".into());
                    }
                    Ok(first.clone())
                }
                _ => Err(format!("takes weights and {} inputs of one shape", terms.len())),
            },
            Op::Concat => {
                let [first, rest @ ..] = &shapes[..] else {
                    return Err("takes at least one input".into());
                };
                let [n, mut channels, h, w] = image(first)?;
                for other in rest {
                    match other.dims4() {
                        Some([n2, c, h2, w2]) if [n2, h2, w2] == [n, h, w] => channels += c,
                        _ => return Err("batch, height and width must agree".into()),
                    }
                }
                Ok([n, channels, h, w].into())
            }
            Op::Crop { top, left } => {
                let [n, c, h, w] = image(&one(&shapes)?)?;
                if *top >= h || *left >= w {
                    return Err(format!("cannot drop {top} rows and {left} columns"));
                }
                Ok([n, c, h - top, w - left].into())
            }
            Op::Channels { groups, from, count } => {
                let [n, c, h, w] = image(&one(&shapes)?)?;
                if *groups == 0 || !c.is_multiple_of(*groups) {
                    return Err(format!("{c} channels do not split into {groups} groups"));
                }
                if *count == 0 || from.checked_add(*count).is_none_or(|end| end > c) {
                    return Err(format!("of {c} channels cannot take {count} from {from} on"));
                }
                Ok([n, *count, h, w].into())
            }
            Op::Select { index } => {
                if *index >= one(&shapes)?.elements() {
                    return Err(format!("there is no element {index}"));
                }
                Ok([1, 1].into())
            }
            Op::Linear => {
                let (x, weight, bias) = match shapes[..] {
                    [x, weight] => (x, weight, None),
                    [x, weight, bias] => (x, weight, Some(bias)),
                    _ => return Err("takes a matrix, a weight and at most one bias".into()),
                };
                match (x.dims2(), weight.dims2()) {
                    (Some([n, i]), Some([o, i2]))
                        if i == i2 && bias.is_none_or(|bias| **bias == [o]) =>
                    {
                        Ok([n, o].into())
                    }
                    _ => Err("takes [n, in], [out, in] and a bias [out]".into()),
                }
            }
            Op::DropPath => match shapes[..] {
                [x, mask] if x.first() == mask.first() && mask.len() == 1 => Ok(x.clone()),
                _ => Err("takes [n, …] and a mask [n]".into()),
            },
            Op::Gate => match shapes[..] {
                [x, gate] if x.dims4().is_some_and(|[n, c, ..]| **gate == [n, c]) => Ok(x.clone()),
                _ => Err("takes [n, c, h, w] and a gate [n, c]".into()),
            },
            Op::CrossEntropy { smoothing } => match shapes[..] {
                _ if !(0.0..1.0).contains(smoothing) => {
                    Err(format!("smoothing {smoothing} is not in [0, 1)"))
                }
                [logits, labels] if logits.len() == 2 && **labels == [logits[0]] => Ok([1].into()),
                _ => Err("takes logits [n, classes] and labels [n]".into()),
            },
        }
    }

    /// All nodes in topological order.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(i, node)| (NodeId(i), node))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Multiply-accumulates that a node takes to compute, over the whole batch: of convolutions and
    /// linear layers alone, one for each.
    pub fn multiply_adds(&self, id: NodeId) -> u64 {
        let node = &self[id];
        let elements = |dims: &[usize]| dims.iter().map(|&d| d as u64).product::<u64>();
        node.op.properties().weight.map_or(0, |weight| {
            elements(&node.shape) * elements(&self[node.inputs[weight]].shape[1..])
        })
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Result<NodeId> {
        self.names.get(name).copied().ok_or_else(|| EngineError::UnknownNode(name.to_owned()))
    }

    /// All parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|(_, node)| matches!(node.op, Op::Parameter { .. })).map(|(id, _)| id)
    }

    /// The part of the graph that `roots` depend on, and for every node where it is now.
    pub fn prune(&self, roots: &[NodeId]) -> (Self, Vec<Option<NodeId>>) {
        let needed = self.ancestors(roots);
        let (mut pruned, mut place) = (Self::new(), vec![None; self.nodes.len()]);
        for (id, node) in self.nodes().filter(|(id, _)| needed[id.0]) {
            let inputs = node.inputs.iter().filter_map(|input| place[input.0]).collect();
            let new = NodeId(pruned.nodes.len());
            pruned.names.insert(node.name.clone(), new);
            pruned.nodes.push(Node { inputs, ..node.clone() });
            place[id.0] = Some(new);
        }
        (pruned, place)
    }

    /// For every node, whether one of `roots` depends on it (or is it).
    pub fn ancestors(&self, roots: &[NodeId]) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        for root in roots {
            needed[root.0] = true;
        }
        for (i, node) in self.nodes.iter().enumerate().rev() {
            if needed[i] {
                for input in &node.inputs {
                    needed[input.0] = true;
                }
            }
        }
        needed
    }
}

impl std::ops::Index<NodeId> for Graph {
    type Output = Node;

    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

/// Number of window positions along one direction, with `padding` on both sides together.
fn window(
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
) -> Result<usize, String> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err("kernel, stride and dilation must be at least 1".into());
    }
    let reach = dilation * (kernel - 1) + 1;
    let padded = size + padding;
    if reach > padded {
        return Err(format!("a window of {reach} does not fit into {padded}, with its padding"));
    }
    Ok((padded - reach) / stride + 1)
}
