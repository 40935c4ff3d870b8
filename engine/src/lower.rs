//! How a backend computes a program: which values and gradients get a buffer, which are formulas
//! that their readers apply as they load, and the actions that remain.
//!
//! Without fusing, every node has a buffer and an action, and every gradient a buffer.
//! [`Fusion::Formulas`] leaves out
//! - the value of a normalisation, of a ReLU, of drop-path and of a reshape, where all readers can
//!   apply it;
//! - the gradient that a sum, drop-path or a normalisation carries back to one operation that can
//!   apply the formula as it loads.
//!
//! [`Fusion::Cache`], for the CPU, leaves out as well
//! - the value of a depthwise convolution that only a pointwise one reads: both are done while its
//!   planes are in cache;
//! - the passes for the statistics of a normalisation and for the sums of its gradient, where
//!   another pass has the planes in cache.

use std::collections::{HashMap, HashSet};

use crate::ops::conv::Geometry;
use crate::ops::window::Window;
use crate::program::{Program, Step, Tensor};
use crate::properties::{BackwardStep, Carried, Formula, Inputs, Properties, Sliding};
use crate::{Graph, NodeId, Op, Pool, Statistics};

/// What is computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fusion {
    /// Every operation has its own pass and buffer.
    None,
    /// What is a formula of an element is applied by those that read it.
    Formulas,
    /// And what can be done while a sample is in cache is done there.
    Cache,
}

/// Where the value of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// In a buffer of its own, or outside of the program.
    Own,
    /// Nowhere: readers apply the operation to its first input.
    Applied,
    /// Nowhere: the pointwise convolution that reads it computes it on the way.
    Inside(NodeId),
}

/// Where the gradient of a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gradient {
    /// In a buffer of its own.
    Own,
    /// Nowhere: it follows from the gradient of this node, which reads it at this position of its
    /// inputs.
    Of(NodeId, usize),
}

/// One gradient that an action writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The node whose input it is: that of the action, or the depthwise convolution inside it.
    pub(crate) node: NodeId,
    /// Position in that node's inputs.
    pub(crate) input: usize,
    /// Where it is written to.
    pub(crate) tensor: Tensor,
    /// Whether an earlier action wrote there, so that this one adds.
    pub(crate) accumulate: bool,
}

/// What a backend does for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Computes a value, and the moments of its planes where a normalisation by batch statistics
    /// follows.
    Forward(NodeId),
    /// Finishes the statistics of a normalisation.
    Moments(NodeId),
    /// Sets the gradient of the loss to 1.
    Seed(NodeId),
    /// Carries a gradient back.
    Backward { node: NodeId, targets: Vec<Target> },
}

impl Action {
    /// The node it belongs to.
    pub(crate) fn node(&self) -> NodeId {
        match self {
            Action::Forward(id)
            | Action::Moments(id)
            | Action::Seed(id)
            | Action::Backward { node: id, .. } => *id,
        }
    }
}

/// The sizes that kernels need, computed once.
#[derive(Clone, Debug)]
pub(crate) enum Sizes {
    Conv(Geometry),
    Pool(Window),
}

/// A program as a backend computes it.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    pub(crate) values: Vec<Value>,
    pub(crate) gradients: Vec<Gradient>,
    pub(crate) actions: Vec<Action>,
    pub(crate) sizes: Vec<Option<Sizes>>,
    /// The normalisation that takes its batch statistics from the moments that this node leaves.
    pub(crate) moments_for: Vec<Option<NodeId>>,
    /// The normalisation whose gradient sums the backward action of this convolution leaves.
    pub(crate) sums_for: Vec<Option<NodeId>>,
}

/// The largest output of a depthwise convolution, in elements of one sample, that is kept in cache
/// for the pointwise one.
const LARGEST_INSIDE: usize = 1 << 16;

impl Lowered {
    pub(crate) fn new(program: &Program, fusion: Fusion) -> Self {
        let Program { graph, steps, persistent, .. } = program;
        let mut this = Self {
            values: vec![Value::Own; graph.len()],
            gradients: vec![Gradient::Own; graph.len()],
            actions: Vec::new(),
            sizes: graph.nodes().map(|(id, _)| sizes(graph, id)).collect(),
            moments_for: vec![None; graph.len()],
            sums_for: vec![None; graph.len()],
        };
        if fusion >= Fusion::Formulas {
            this.choose_values(program, fusion);
        }
        let edges = this.gradient_edges(graph, steps);
        if fusion >= Fusion::Formulas {
            this.choose_gradients(graph, &edges, persistent);
        }
        if fusion == Fusion::Cache {
            this.choose_passes(program, &edges);
        }
        this.list_actions(graph, steps);
        this
    }

    fn choose_values(&mut self, program: &Program, fusion: Fusion) {
        let Program { graph, steps, persistent, .. } = program;
        let mut readers: Vec<Vec<(NodeId, usize)>> = vec![Vec::new(); graph.len()];
        for step in steps {
            if let Step::Forward(id) = step {
                graph[*id]
                    .inputs
                    .iter()
                    .enumerate()
                    .for_each(|(input, read)| readers[read.index()].push((*id, input)));
            }
        }
        let masks_trained = |id: NodeId| {
            steps.iter().any(|step| match step {
                Step::Backward { node, targets } => {
                    *node == id && targets.iter().any(|target| target.input == 1)
                }
                Step::Forward(_) | Step::Seed(_) => false,
            })
        };
        for step in steps {
            let Step::Forward(id) = step else { continue };
            let (node, readers) = (&graph[*id], &readers[id.index()]);
            if persistent.contains(&Tensor::Value(*id)) || readers.is_empty() {
                continue;
            }
            let image = node.shape.dims4().is_some();
            let all = |through: fn(&Properties<'_>) -> Inputs| {
                readers
                    .iter()
                    .all(|&(reader, input)| through(&graph[reader].op.properties()).contains(input))
            };
            let applied = match node.op.properties().formula {
                Some(Formula::Same) => true,
                Some(Formula::Relu) => image && all(|reader| reader.through_relu),
                Some(Formula::Norm) => all(|reader| reader.through_norm),
                // Its mask would have to get its gradient from whatever reads the product.
                Some(Formula::Mask) => {
                    let by_sums = readers.iter().all(|&(reader, _)| is_sum(&graph[reader].op));
                    image && by_sums && !masks_trained(*id)
                }
                None => false,
            };
            if applied {
                self.values[id.index()] = Value::Applied;
            } else if fusion == Fusion::Cache
                && let (Some(Sizes::Conv(depthwise)), [(reader, 0)], None) =
                    (&self.sizes[id.index()], &readers[..], node.inputs.get(2))
            {
                let pointwise = match &self.sizes[reader.index()] {
                    Some(Sizes::Conv(g)) => {
                        g.is_pointwise() && g.groups == 1 && g.depthwise().is_none()
                    }
                    Some(Sizes::Pool(_)) | None => false,
                };
                let small = node.shape[1..].iter().product::<usize>() <= LARGEST_INSIDE;
                if depthwise.depthwise().is_some() && pointwise && small {
                    self.values[id.index()] = Value::Inside(*reader);
                }
            }
        }
    }

    /// The node that holds the gradient which readers of `id` write: what ReLUs and reshapes were
    /// applied to.
    pub(crate) fn gradient_owner(&self, graph: &Graph, mut id: NodeId) -> NodeId {
        while self.values[id.index()] == Value::Applied
            && graph[id].op.properties().formula.is_some_and(Formula::is_passed_over)
        {
            id = graph[id].inputs[0];
        }
        id
    }

    /// Whether the backward step of a node is left to those that read it.
    fn is_passed_over(&self, graph: &Graph, id: NodeId) -> bool {
        self.gradient_owner(graph, id) != id
    }

    /// For every node with a gradient, who contributes to it: reader and position in the reader's
    /// inputs.
    fn gradient_edges(
        &self,
        graph: &Graph,
        steps: &[Step],
    ) -> HashMap<NodeId, Vec<(NodeId, usize)>> {
        let mut edges: HashMap<NodeId, Vec<(NodeId, usize)>> = HashMap::new();
        for step in steps {
            if let Step::Backward { node, targets } = step
                && !self.is_passed_over(graph, *node)
            {
                for target in targets {
                    let owner = self.gradient_owner(graph, graph[*node].inputs[target.input]);
                    edges.entry(owner).or_default().push((*node, target.input));
                }
            }
        }
        edges
    }

    fn choose_gradients(
        &mut self,
        graph: &Graph,
        edges: &HashMap<NodeId, Vec<(NodeId, usize)>>,
        persistent: &[Tensor],
    ) {
        for (&id, edges) in edges {
            let &[(reader, input)] = &edges[..] else { continue };
            if graph[reader].inputs[input] != id
                || persistent.contains(&Tensor::Gradient(id))
                || graph[id].shape.dims4().is_none()
            {
                continue;
            }
            let Properties { by_planes, formula, .. } = graph[id].op.properties();
            let normalizes = formula == Some(Formula::Norm);
            let applied = |id: NodeId| self.values[id.index()] == Value::Applied;
            let masks = formula == Some(Formula::Mask) && applied(id);
            let follows = match graph[reader].op.properties().carried {
                Some(Carried::Same) => by_planes || normalizes || masks,
                Some(Carried::Weighted(_)) => input > 0 && (by_planes || normalizes || masks),
                Some(Carried::Masked) => input == 0 && applied(reader) && (by_planes || normalizes),
                Some(Carried::Normalized) => input == 0 && by_planes,
                None => false,
            };
            // A convolution inside another has no gradient at all: it is carried back in one go.
            if follows && !matches!(self.values[id.index()], Value::Inside(_)) {
                self.gradients[id.index()] = Gradient::Of(reader, input);
            }
        }
    }

    /// Which normalisations get their statistics and sums from a pass that others make.
    fn choose_passes(&mut self, program: &Program, edges: &HashMap<NodeId, Vec<(NodeId, usize)>>) {
        let Program { graph, steps, statistics, .. } = program;
        for step in steps {
            let Step::Forward(id) = step else { continue };
            if !graph[*id].op.keeps_statistics() {
                continue;
            }
            let x = graph[*id].inputs[0];
            if graph[x].op.properties().by_planes && *statistics == Statistics::Batch {
                self.moments_for[x.index()].get_or_insert(*id);
            }
            // A convolution that writes the whole gradient has every plane of it in cache.
            if let Some(&[(reader, 0)]) = edges.get(id).map(|edges| &edges[..])
                && self.gradients[id.index()] == Gradient::Own
                && self.values[id.index()] == Value::Applied
                && graph[reader].op.properties().backward == BackwardStep::Convolution
            {
                self.sums_for[reader.index()] = Some(*id);
            }
        }
    }

    fn list_actions(&mut self, graph: &Graph, steps: &[Step]) {
        let mut written = HashSet::new();
        let inside: HashMap<NodeId, NodeId> = graph
            .nodes()
            .filter_map(|(id, _)| match self.values[id.index()] {
                Value::Inside(reader) => Some((reader, id)),
                Value::Own | Value::Applied => None,
            })
            .collect();
        let targets_of: HashMap<NodeId, Vec<usize>> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Backward { node, targets } => {
                    Some((*node, targets.iter().map(|target| target.input).collect()))
                }
                Step::Forward(_) | Step::Seed(_) => None,
            })
            .collect();
        let mut actions = Vec::new();
        for step in steps {
            match step {
                Step::Forward(id) => {
                    if graph[*id].op.keeps_statistics() {
                        actions.push(Action::Moments(*id));
                    }
                    if self.values[id.index()] == Value::Own {
                        actions.push(Action::Forward(*id));
                    }
                }
                Step::Seed(id) => {
                    let owner = self.gradient_owner(graph, *id);
                    written.insert(Tensor::Gradient(owner));
                    actions.push(Action::Seed(owner));
                }
                Step::Backward { node, .. } => {
                    if self.is_passed_over(graph, *node)
                        || matches!(self.values[node.index()], Value::Inside(_))
                    {
                        continue;
                    }
                    let depthwise = inside.get(node).copied();
                    let own = targets_of[node]
                        .iter()
                        .filter(|input| depthwise.is_none() || **input != 0)
                        .map(|input| (*node, *input));
                    let of_depthwise = depthwise.iter().flat_map(|d| {
                        targets_of.get(d).into_iter().flatten().map(|input| (*d, *input))
                    });
                    let mut targets = Vec::new();
                    for (node, input) in own.chain(of_depthwise) {
                        let owner = self.gradient_owner(graph, graph[node].inputs[input]);
                        // A gradient that follows from this node's is not written.
                        if self.gradients[owner.index()] == Gradient::Own {
                            let tensor = Tensor::Gradient(owner);
                            targets.push(Target {
                                node,
                                input,
                                tensor,
                                accumulate: !written.insert(tensor),
                            });
                        }
                    }
                    let sums_first = match graph[*node].op.properties().backward {
                        BackwardStep::Normalization | BackwardStep::Sum => true,
                        BackwardStep::Each | BackwardStep::Convolution => false,
                    };
                    if !targets.is_empty() || sums_first {
                        actions.push(Action::Backward { node: *node, targets });
                    }
                }
            }
        }
        self.actions = actions;
    }

    /// Whether the batch statistics of a normalisation come from the step that computes its input.
    pub(crate) fn moments_are_left(&self, program: &Program, norm: NodeId) -> bool {
        let x = program.graph[norm].inputs[0];
        self.moments_for[x.index()] == Some(norm)
    }

    /// Whether an action moves nothing: the statistics of a normalisation, or the sums for its
    /// gradient, that others took from the cache.
    pub(crate) fn is_left(&self, program: &Program, action: &Action) -> bool {
        match action {
            Action::Moments(norm) => self.moments_are_left(program, *norm),
            Action::Backward { node, targets } => {
                targets.is_empty() && self.sums_are_left(&program.graph, *node)
            }
            Action::Forward(_) | Action::Seed(_) => false,
        }
    }

    /// Whether the sums for the gradient of a normalisation come from the step before it in the
    /// backward pass.
    fn sums_are_left(&self, graph: &Graph, norm: NodeId) -> bool {
        let mut at = norm;
        while let Gradient::Of(reader, input) = self.gradients[at.index()] {
            if is_sum(&graph[reader].op) {
                return self.values[norm.index()] == Value::Applied
                    && self.norm_behind(graph, reader, input) == Some(norm);
            }
            at = reader;
        }
        self.sums_for.contains(&Some(norm))
    }

    /// The depthwise convolution that is computed inside of `id`.
    pub(crate) fn depthwise(&self, graph: &Graph, id: NodeId) -> Option<NodeId> {
        let &x = graph[id].inputs.first()?;
        (self.values[x.index()] == Value::Inside(id)).then_some(x)
    }

    /// The node whose buffer the readers of `id` read.
    pub(crate) fn base(&self, graph: &Graph, mut id: NodeId) -> NodeId {
        while self.values[id.index()] == Value::Applied {
            id = graph[id].inputs[0];
        }
        id
    }

    /// The node that holds the gradient from which that of `id` follows, and the normalisation on
    /// the way there.
    pub(crate) fn gradient_base(&self, graph: &Graph, mut id: NodeId) -> (NodeId, Option<NodeId>) {
        let mut normal = None;
        while let Gradient::Of(reader, _) = self.gradients[id.index()] {
            if graph[reader].op.properties().carried == Some(Carried::Normalized) {
                normal = Some(reader);
            }
            id = reader;
        }
        (id, normal)
    }

    /// The inputs of a sum whose products with its gradient are needed, by position: for the
    /// gradient of its weights, and for the normalisations whose gradient follows from that of the
    /// sum.
    pub(crate) fn products_of_sum(
        &self,
        graph: &Graph,
        id: NodeId,
        targets: &[Target],
    ) -> Vec<usize> {
        let node = &graph[id];
        let weights = matches!(node.op.properties().carried, Some(Carried::Weighted(_)));
        let for_weights = weights && targets.iter().any(|target| target.input == 0);
        (usize::from(weights)..node.inputs.len())
            .filter(|&input| for_weights || self.norm_behind(graph, id, input).is_some())
            .collect()
    }

    /// The normalisation whose gradient follows from that of the sum `id` that reads it at position
    /// `input`, through drop-path or directly.
    pub(crate) fn norm_behind(&self, graph: &Graph, id: NodeId, input: usize) -> Option<NodeId> {
        let mut at = (id, input);
        loop {
            let x = graph[at.0].inputs[at.1];
            if self.gradients[x.index()] != Gradient::Of(at.0, at.1) {
                return None;
            }
            match graph[x].op.properties().formula {
                Some(Formula::Norm) => return Some(x),
                Some(Formula::Mask) => at = (x, 0),
                Some(Formula::Same | Formula::Relu) | None => return None,
            }
        }
    }

    /// Multiply-adds of the convolutions and linear layers of an action, those that it computes a
    /// second time left out.
    pub(crate) fn multiply_adds(&self, graph: &Graph, action: &Action) -> u64 {
        let once = |id: NodeId| graph.multiply_adds(id);
        match action {
            Action::Forward(id) => once(*id) + self.depthwise(graph, *id).map_or(0, once),
            Action::Moments(_) | Action::Seed(_) => 0,
            Action::Backward { node, targets } => {
                // Through a convolution around another one the gradient of its input is computed,
                // but has no buffer.
                let between = self
                    .depthwise(graph, *node)
                    .filter(|inner| targets.iter().any(|target| target.node == *inner));
                targets
                    .iter()
                    .filter(|target| target.input < 2)
                    .map(|target| once(target.node))
                    .sum::<u64>()
                    + between.map_or(0, |_| once(*node))
            }
        }
    }

    /// The planned tensors that an action reads and writes.
    pub(crate) fn accesses(
        &self,
        program: &Program,
        action: &Action,
    ) -> (Vec<Tensor>, Vec<Tensor>) {
        let graph = &program.graph;
        let mut reads = Vec::new();
        let value = |reads: &mut Vec<Tensor>, id: NodeId| {
            let base = self.base(graph, id);
            if let Value::Inside(_) = self.values[base.index()] {
                reads.push(Tensor::Value(self.base(graph, graph[base].inputs[0])));
                reads.push(Tensor::Value(self.base(graph, graph[base].inputs[1])));
            } else {
                reads.push(Tensor::Value(base));
            }
            // Masks on the way are inputs or computed values.
            let mut at = id;
            while self.values[at.index()] == Value::Applied {
                graph[at].inputs[1..]
                    .iter()
                    .for_each(|&other| reads.push(Tensor::Value(self.base(graph, other))));
                at = graph[at].inputs[0];
            }
        };
        let mut writes = Vec::new();
        match action {
            Action::Forward(id) => {
                graph[*id].inputs.iter().for_each(|&input| value(&mut reads, input));
                writes.push(Tensor::Value(*id));
            }
            Action::Moments(id) => {
                if program.statistics == Statistics::Batch {
                    value(&mut reads, graph[*id].inputs[0]);
                }
                // The coefficients are made here, scale and shift included.
                graph[*id].inputs[1..].iter().for_each(|&input| value(&mut reads, input));
            }
            Action::Seed(id) => writes.push(Tensor::Gradient(*id)),
            Action::Backward { node: id, targets } => {
                let node = &graph[*id];
                let (base, normal) = self.gradient_base(graph, *id);
                reads.push(Tensor::Gradient(base));
                let mut at = *id;
                while let Gradient::Of(reader, _) = self.gradients[at.index()] {
                    match graph[reader].op.properties().carried {
                        Some(Carried::Weighted(_)) => value(&mut reads, graph[reader].inputs[0]),
                        Some(Carried::Masked) => value(&mut reads, graph[reader].inputs[1]),
                        Some(Carried::Same | Carried::Normalized) | None => {}
                    }
                    at = reader;
                }
                if let Some(norm) = normal {
                    value(&mut reads, graph[norm].inputs[0]);
                }
                for input in self.backward_inputs(graph, *id, targets) {
                    value(&mut reads, node.inputs[input]);
                }
                if node.op.properties().reads_output {
                    reads.push(Tensor::Value(*id));
                }
                writes.extend(targets.iter().map(|target| target.tensor));
            }
        }
        reads.retain(|tensor| match tensor {
            Tensor::Value(id) => graph[*id].op.leaf().is_none(),
            Tensor::Gradient(_) => true,
        });
        (reads, writes)
    }

    /// Which inputs' values the backward action of a node reads.
    fn backward_inputs(&self, graph: &Graph, id: NodeId, targets: &[Target]) -> Vec<usize> {
        let node = &graph[id];
        let wanted =
            |input: usize| targets.iter().any(|target| target.node == id && target.input == input);
        let through_relu = |input: usize| self.applies_relu(graph, node.inputs[input]);
        match &node.op {
            // All of it is read whatever is wanted: for what is computed again, and for the ReLU
            // that the input is read through.
            Op::Conv2d(_) => vec![0, 1],
            Op::Linear => {
                [wanted(1).then_some(0), wanted(0).then_some(1)].into_iter().flatten().collect()
            }
            Op::BatchNorm(_) => (0..node.inputs.len().min(2)).collect(),
            Op::Relu | Op::Activation(_) | Op::MaxPool(_) => vec![0],
            Op::AvgPool(_) if through_relu(0) => vec![0],
            Op::WeightedSum { .. } => {
                std::iter::once(0).chain(self.products_of_sum(graph, id, targets)).collect()
            }
            Op::Add => self.products_of_sum(graph, id, targets),
            Op::DropPath => {
                if wanted(1) {
                    vec![0, 1]
                } else {
                    vec![1]
                }
            }
            Op::Gate => {
                [wanted(1).then_some(0), wanted(0).then_some(1)].into_iter().flatten().collect()
            }
            Op::CrossEntropy { .. } => vec![0, 1],
            Op::Softmax
            | Op::Input
            | Op::Parameter { .. }
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Scale { .. }
            | Op::Concat
            | Op::Crop { .. }
            | Op::Channels { .. }
            | Op::Select { .. }
            | Op::Reshape => Vec::new(),
        }
    }

    /// Whether readers of `id` see it through a ReLU.
    pub(crate) fn applies_relu(&self, graph: &Graph, mut id: NodeId) -> bool {
        while self.values[id.index()] == Value::Applied {
            if graph[id].op.properties().formula == Some(Formula::Relu) {
                return true;
            }
            id = graph[id].inputs[0];
        }
        false
    }
}

fn is_sum(op: &Op) -> bool {
    op.properties().backward == BackwardStep::Sum
}

fn sizes(graph: &Graph, id: NodeId) -> Option<Sizes> {
    let node = &graph[id];
    let dims = |id: NodeId| {
        graph[id].shape.dims4().expect("the graph checked that this has four dimensions")
    };
    Some(match node.op.properties().window? {
        Sliding::Conv(conv) => {
            Sizes::Conv(Geometry::new(conv, dims(node.inputs[0]), dims(node.inputs[1]), dims(id)))
        }
        Sliding::Pool(&Pool { kernel, stride, padding }) => {
            let ([_, _, h, w], [_, _, out_h, out_w]) = (dims(node.inputs[0]), dims(id));
            Sizes::Pool(Window::new([h, w], [out_h, out_w], kernel, stride, padding, 1))
        }
    })
}
