//! What the kernels do for each action of a program.

use std::collections::HashMap;

use crate::cuda::Precision;
use crate::cuda::problem::{
    Address, Extents, GradientsAt, Problem, Region, TensorAt, ValuesAt, coefficients,
};
use crate::cuda::problems::conv::{
    ConvBackwardBias, ConvBackwardInput, ConvBackwardWeight, ConvForward, ConvSizes, Reduce,
};
use crate::cuda::problems::depthwise::{
    self, DepthwiseBackwardInput, DepthwiseBackwardWeight, DepthwiseForward,
};
use crate::cuda::problems::elementwise::{
    Activate, ActivateBackward, Combine, Fill, MaskBackward, Products, ScatterProducts, Send, Term,
};
use crate::cuda::problems::layout::{
    ChannelsBackward, ChannelsForward, CropBackward, CropForward, SelectBackward, SelectForward,
    Taken,
};
use crate::cuda::problems::linear::{
    LinearBackwardBias, LinearBackwardInput, LinearBackwardWeight, LinearForward,
};
use crate::cuda::problems::loss::{
    CrossEntropyBackward, CrossEntropyForward, SoftmaxBackward, SoftmaxForward,
};
use crate::cuda::problems::norm::{NormBackward, NormMoments, NormRunning};
use crate::cuda::problems::pool::{
    AvgPoolBackward, AvgPoolForward, GlobalAvgPoolBackward, GlobalAvgPoolForward, MaxPoolBackward,
    MaxPoolForward, PoolSizes,
};
use crate::cuda::schedule::Task;
use crate::lower::{Action, Gradient, Lowered, Target, Value};
use crate::program::{Program, Statistics, Tensor};
use crate::properties::{BackwardStep, Carried, Formula};
use crate::{Conv2d, Graph, NodeId, Op, Pool};

/// All work of a run, in an order that is right.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) tasks: Vec<Task>,
    /// Elements of each [`Region::Partial`].
    pub(crate) partials: Vec<usize>,
    /// Whether the value of a node, and so its gradient, is stored in bf16.
    pub(crate) halves: Vec<bool>,
}

impl Work {
    pub(crate) fn new(program: &Program, lowered: &Lowered, precision: Precision) -> Self {
        let halves = halves(program, lowered, precision);
        let contributions = contributions(lowered);
        let mut lister = Lister {
            program,
            graph: &program.graph,
            lowered,
            halves,
            contributions,
            tasks: Vec::new(),
            partials: Vec::new(),
        };
        lowered.actions.iter().for_each(|action| lister.act(action));
        Self { tasks: lister.tasks, partials: lister.partials, halves: lister.halves }
    }

    /// Bytes of a region that the program computes; none of one that it is given.
    pub(crate) fn bytes(&self, program: &Program, region: Region) -> Option<usize> {
        let tensor = |id: NodeId| {
            program.graph[id].shape.elements() * if self.halves[id.index()] { 2 } else { 4 }
        };
        match region {
            Region::Value(id) if program.graph[id].op.leaf().is_some() => None,
            Region::Value(id) | Region::Gradient(id) | Region::Part(id, _) => Some(tensor(id)),
            Region::Forward(id) => {
                Some(coefficients::FORWARD * program.graph[id].shape[1] * size_of::<f32>())
            }
            Region::Backward(id) => {
                Some(coefficients::BACKWARD * program.graph[id].shape[1] * size_of::<f32>())
            }
            Region::Partial(number) => Some(self.partials[number as usize] * size_of::<f32>()),
            Region::RunningMean(_)
            | Region::RunningVariance(_)
            | Region::Momentum
            | Region::Operand(_) => None,
        }
    }
}

/// Which values are stored in bf16: images that are computed, and that no operation reads as
/// anything but an image. What stays readable after a run is not.
fn halves(program: &Program, lowered: &Lowered, precision: Precision) -> Vec<bool> {
    let Program { graph, persistent, .. } = program;
    let mut halves: Vec<bool> = graph
        .nodes()
        .map(|(_, node)| {
            precision == Precision::Bf16 && node.shape.dims4().is_some() && node.op.leaf().is_none()
        })
        .collect();
    for (_, node) in graph.nodes() {
        let readable = node.op.properties().halves;
        for (_, &x) in node.inputs.iter().enumerate().filter(|&(i, _)| !readable.contains(i)) {
            // A formula that is applied is applied to what is stored.
            let mut at = x;
            halves[at.index()] = false;
            while lowered.values[at.index()] == Value::Applied {
                at = graph[at].inputs[0];
                halves[at.index()] = false;
            }
        }
    }
    for &(Tensor::Value(id) | Tensor::Gradient(id)) in persistent {
        halves[id.index()] = false;
    }
    halves
}

/// How many actions contribute to each gradient.
fn contributions(lowered: &Lowered) -> HashMap<NodeId, Contributions> {
    let mut contributions: HashMap<NodeId, Contributions> = HashMap::new();
    for action in &lowered.actions {
        if let Action::Backward { targets, .. } = action {
            for target in targets {
                contributions.entry(owner(target)).or_default().expected += 1;
            }
        }
    }
    contributions
}

fn owner(target: &Target) -> NodeId {
    let (Tensor::Value(id) | Tensor::Gradient(id)) = target.tensor;
    id
}

/// Contributions to a gradient: several are written apart and then added up, so that none has to
/// wait for another.
#[derive(Clone, Copy, Debug, Default)]
struct Contributions {
    expected: u32,
    made: u32,
}

struct Lister<'a> {
    program: &'a Program,
    graph: &'a Graph,
    lowered: &'a Lowered,
    halves: Vec<bool>,
    contributions: HashMap<NodeId, Contributions>,
    tasks: Vec<Task>,
    partials: Vec<usize>,
}

impl Lister<'_> {
    fn push<P: Problem>(&mut self, problem: &P) {
        self.tasks.push(Task::new(problem));
    }

    /// The region for partial sums that [`Self::reserve`] makes next.
    fn next_partial(&self) -> Region {
        Region::Partial(u32::try_from(self.partials.len()).expect("fewer than 2³² regions"))
    }

    /// Makes room for partial sums.
    fn reserve(&mut self, elements: usize) -> Region {
        let region = self.next_partial();
        self.partials.push(elements);
        region
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Forward(id) => self.forward(*id),
            Action::Moments(id) => self.moments(*id),
            Action::Seed(id) => {
                self.push(&Fill { to: Region::Gradient(*id).into(), elements: 1, value: 1.0 })
            }
            Action::Backward { node, targets } => self.backward(*node, targets),
        }
    }

    fn extents(&self, id: NodeId) -> Extents {
        let shape = &self.graph[id].shape;
        match shape.dims4() {
            Some([batch, channels, h, w]) => Extents { batch, channels, plane: h * w },
            None => {
                let plane: usize = shape[1..].iter().product();
                Extents { batch: shape.elements() / plane, channels: 1, plane }
            }
        }
    }

    /// Where the elements of a node are that has a buffer, or is a reshape of one.
    fn region(&self, id: NodeId) -> Region {
        Region::Value(self.lowered.base(self.graph, id))
    }

    fn tensor(&self, id: NodeId) -> TensorAt {
        let base = self.lowered.base(self.graph, id);
        TensorAt { region: Region::Value(base), half: self.halves[base.index()] }
    }

    fn gradient_tensor(&self, id: NodeId) -> TensorAt {
        TensorAt { region: Region::Gradient(id), half: self.halves[id.index()] }
    }

    /// A node as those see it that read it.
    fn values(&self, id: NodeId) -> ValuesAt {
        let mut values = ValuesAt { x: self.tensor(id), norm: None, mask: None, relu: false };
        let mut at = id;
        while self.lowered.values[at.index()] == Value::Applied {
            values = self.apply(at, values);
            at = self.graph[at].inputs[0];
        }
        values
    }

    /// `values` with the operation of `id` applied.
    fn apply(&self, id: NodeId, values: ValuesAt) -> ValuesAt {
        let node = &self.graph[id];
        match node.op.properties().formula {
            Some(Formula::Relu) => ValuesAt { relu: true, ..values },
            Some(Formula::Norm) => ValuesAt { norm: Some((id, node.shape[1])), ..values },
            Some(Formula::Mask) => ValuesAt { mask: Some(self.region(node.inputs[1])), ..values },
            Some(Formula::Same) | None => values,
        }
    }

    /// The input of `id` with the operation of `id` applied, whether readers of `id` do that or
    /// not.
    fn applied(&self, id: NodeId) -> ValuesAt {
        self.apply(id, self.values(self.graph[id].inputs[0]))
    }

    /// What masks a gradient that is sent to the input `x`: the view of it, where it has a ReLU.
    fn gate(&self, x: NodeId) -> Option<ValuesAt> {
        Some(self.values(x)).filter(|values| values.relu)
    }

    /// The gradient of a node as those see it that carry it on.
    fn gradients(&self, id: NodeId) -> GradientsAt {
        let (base, _) = self.lowered.gradient_base(self.graph, id);
        let mut gradients = plain(self.gradient_tensor(base));
        let mut at = id;
        while let Gradient::Of(reader, input) = self.lowered.gradients[at.index()] {
            let node = &self.graph[reader];
            match node.op.properties().carried {
                Some(Carried::Weighted(terms)) => {
                    gradients.scale = Some(self.weight_of_term(node.inputs[0], terms[input - 1]))
                }
                Some(Carried::Masked) => gradients.mask = Some(self.region(node.inputs[1])),
                Some(Carried::Normalized) => gradients.norm = Some(self.carried_through(reader)),
                Some(Carried::Same) | None => {}
            }
            at = reader;
        }
        gradients
    }

    /// A normalisation that a gradient is carried back through.
    fn carried_through(&self, norm: NodeId) -> (NodeId, usize, TensorAt) {
        let node = &self.graph[norm];
        (norm, node.shape[1], self.tensor(node.inputs[0]))
    }

    fn weight_of_term(&self, weights: NodeId, term: usize) -> Address {
        Address { region: self.region(weights), offset: term }
    }

    fn conv_sizes(&self, id: NodeId, conv: &Conv2d) -> ConvSizes {
        let node = &self.graph[id];
        let dims = |id: NodeId| {
            self.graph[id].shape.dims4().expect("the graph checked that this has four dimensions")
        };
        let ([batch, channels, height, width], [out, _, kernel_h, kernel_w]) =
            (dims(node.inputs[0]), dims(node.inputs[1]));
        let [_, _, out_height, out_width] = dims(id);
        // What trails is beyond the last window that begins inside: the sizes of y say how far that is.
        let Conv2d { stride, padding, trailing: _, dilation, groups } = *conv;
        let kernel = [kernel_h, kernel_w];
        ConvSizes {
            batch,
            channels,
            height,
            width,
            out,
            out_height,
            out_width,
            kernel,
            stride,
            padding,
            dilation,
            groups,
        }
    }

    fn pool_sizes(&self, id: NodeId, pool: &Pool) -> PoolSizes {
        let dims = |id: NodeId| {
            self.graph[id].shape.dims4().expect("the graph checked that this has four dimensions")
        };
        let ([batch, channels, height, width], [_, _, out_height, out_width]) =
            (dims(self.graph[id].inputs[0]), dims(id));
        let Pool { kernel, stride, padding } = *pool;
        PoolSizes { batch, channels, height, width, out_height, out_width, kernel, stride, padding }
    }

    /// `to` = Σ `terms`, in as many rounds as the kernel needs.
    fn combine(
        &mut self,
        terms: &[Term],
        extents: Extents,
        y: TensorAt,
        y_stride: usize,
        y_offset: usize,
    ) {
        for (round, terms) in terms.chunks(Combine::MAX_TERMS).enumerate() {
            let terms = terms.to_vec();
            let accumulate = round > 0;
            self.push(&Combine { y, terms, extents, y_stride, y_offset, accumulate });
        }
    }

    fn forward(&mut self, id: NodeId) {
        let graph = self.graph;
        let node = &graph[id];
        let (y, extents) = (self.tensor(id), self.extents(id));
        let x = node.inputs.first().copied().expect("leaves have no step");
        match &node.op {
            Op::Input | Op::Parameter { .. } => unreachable!("leaves have no step"),
            Op::Conv2d(conv) => {
                let (sizes, x, weight) =
                    (self.conv_sizes(id, conv), self.values(x), self.region(node.inputs[1]));
                let bias = node.inputs.get(2).map(|&bias| self.region(bias));
                let problem = ConvForward { sizes, x, weight, bias, y };
                match depthwise::handles(&sizes) {
                    true => self.push(&DepthwiseForward(problem)),
                    false => self.push(&problem),
                }
            }
            Op::BatchNorm(_) | Op::Relu | Op::DropPath | Op::Reshape => {
                let extents = self.extents(x);
                self.combine(&[self.applied(id).into()], extents, y, extents.sample(), 0);
            }
            Op::Activation(activation) => {
                let x = self.values(x);
                self.push(&Activate { activation: *activation, x, y, extents });
            }
            Op::Gate => {
                let values = ValuesAt { mask: Some(self.region(node.inputs[1])), ..self.values(x) };
                let planes = extents.planes_alone();
                self.combine(&[values.into()], planes, y, planes.sample(), 0);
            }
            Op::MaxPool(pool) => {
                let (sizes, x) = (self.pool_sizes(id, pool), self.values(x));
                self.push(&MaxPoolForward { sizes, x, y });
            }
            Op::AvgPool(pool) => {
                let (sizes, x) = (self.pool_sizes(id, pool), self.values(x));
                self.push(&AvgPoolForward { sizes, x, y });
            }
            Op::GlobalAvgPool => {
                let Extents { batch, channels, plane } = self.extents(x);
                let (planes, x) = (batch * channels, self.tensor(x));
                self.push(&GlobalAvgPoolForward { planes, plane, x, y });
            }
            Op::Add => {
                let terms: Vec<Term> = node.inputs.iter().map(|&x| self.values(x).into()).collect();
                self.combine(&terms, extents, y, extents.sample(), 0);
            }
            Op::WeightedSum { terms } => {
                let term = |(&term, &input): (&usize, &NodeId)| Term {
                    scale: Some(self.weight_of_term(x, term)),
                    ..self.values(input).into()
                };
                let terms: Vec<Term> = terms.iter().zip(&node.inputs[1..]).map(term).collect();
                self.combine(&terms, extents, y, extents.sample(), 0);
            }
            Op::Scale { factor } => {
                let term = Term { constant: f64::from(*factor), ..self.values(x).into() };
                self.combine(&[term], extents, y, extents.sample(), 0);
            }
            Op::Concat => {
                let mut offset = 0;
                for &input in &node.inputs {
                    let part = self.extents(input);
                    self.combine(&[self.values(input).into()], part, y, extents.sample(), offset);
                    offset += part.sample();
                }
            }
            Op::Crop { top, left } => {
                let ((planes, height, width), top, left) = (self.planes(x), *top, *left);
                let x = self.tensor(x);
                self.push(&CropForward { planes, height, width, top, left, x, y });
            }
            &Op::Channels { groups, from, count } => {
                let taken = self.taken(x, groups, from, count);
                self.push(&ChannelsForward { taken, x: self.tensor(x), y });
            }
            Op::Select { index } => {
                self.push(&SelectForward { index: *index, x: self.tensor(x), y: y.region })
            }
            Op::Linear => {
                let ([batch, inputs], outputs) = (self.matrix(x), node.shape[1]);
                let (x, weight) = (self.tensor(x), self.region(node.inputs[1]));
                let bias = node.inputs.get(2).map(|&bias| self.region(bias));
                self.push(&LinearForward { batch, inputs, outputs, x, weight, bias, y });
            }
            Op::Softmax => {
                let (rows, width) = self.rows(id);
                self.push(&SoftmaxForward { rows, width, x: self.tensor(x), y });
            }
            Op::CrossEntropy { smoothing } => {
                let ([batch, classes], labels) = (self.matrix(x), self.region(node.inputs[1]));
                let (logits, loss, smoothing) = (self.tensor(x), y.region, *smoothing);
                self.push(&CrossEntropyForward { batch, classes, smoothing, logits, labels, loss });
            }
        }
    }

    fn planes(&self, x: NodeId) -> (usize, usize, usize) {
        let [batch, channels, height, width] =
            self.graph[x].shape.dims4().expect("the graph checked that this has four dimensions");
        (batch * channels, height, width)
    }

    fn taken(&self, x: NodeId, groups: usize, from: usize, count: usize) -> Taken {
        let [batch, channels, height, width] =
            self.graph[x].shape.dims4().expect("the graph checked that this has four dimensions");
        Taken { batch, channels, plane: height * width, groups, from, count }
    }

    fn matrix(&self, x: NodeId) -> [usize; 2] {
        let shape = &self.graph[x].shape;
        [shape[0], shape[1]]
    }

    /// Rows, and elements of a row, of what softmax is taken of.
    fn rows(&self, id: NodeId) -> (usize, usize) {
        let shape = &self.graph[id].shape;
        let width = shape.last().copied().unwrap_or(1);
        (shape.elements() / width, width)
    }

    fn moments(&mut self, id: NodeId) {
        let node = &self.graph[id];
        let Op::BatchNorm(norm) = &node.op else {
            unreachable!("only normalisations have moments")
        };
        let affine = match *node.inputs {
            [_, scale, shift] => Some((self.region(scale), self.region(shift))),
            _ => None,
        };
        let (extents, epsilon) = (self.extents(id), norm.epsilon);
        match self.program.statistics {
            Statistics::Running => {
                let channels = extents.channels;
                self.push(&NormRunning { norm: id, channels, epsilon, affine });
            }
            Statistics::Batch => {
                let x = self.tensor(node.inputs[0]);
                self.push(&NormMoments { norm: id, x, extents, epsilon, affine });
            }
        }
    }

    /// Where an action writes its contribution to a gradient.
    fn contribute(&mut self, target: &Target) -> TensorAt {
        let id = owner(target);
        let contributions = self.contributions.get_mut(&id).expect("counted before");
        let part = contributions.made;
        contributions.made += 1;
        let region =
            if contributions.expected == 1 { Region::Gradient(id) } else { Region::Part(id, part) };
        TensorAt { region, half: self.halves[id.index()] }
    }

    /// Adds up the contributions to a gradient once the last is there.
    fn add_up(&mut self, id: NodeId) {
        let Contributions { expected, made } = self.contributions[&id];
        if expected == 1 || made < expected {
            return;
        }
        let half = self.halves[id.index()];
        let part = |part| {
            let x = TensorAt { region: Region::Part(id, part), half };
            ValuesAt { x, norm: None, mask: None, relu: false }.into()
        };
        let (terms, extents): (Vec<Term>, _) =
            ((0..expected).map(part).collect(), self.extents(id));
        self.combine(&terms, extents, self.gradient_tensor(id), extents.sample(), 0);
    }

    fn backward(&mut self, id: NodeId, targets: &[Target]) {
        match self.graph[id].op.properties().backward {
            BackwardStep::Normalization => self.norm_backward(id, targets),
            BackwardStep::Each | BackwardStep::Convolution | BackwardStep::Sum => {
                for target in targets {
                    let to = self.contribute(target);
                    self.backward_into(id, target.input, to);
                }
            }
        }
        // Two inputs can be one node.
        let mut owners: Vec<NodeId> = targets.iter().map(owner).collect();
        owners.sort_unstable();
        owners.dedup();
        owners.into_iter().for_each(|id| self.add_up(id));
    }

    fn norm_backward(&mut self, id: NodeId, targets: &[Target]) {
        let extents = self.extents(id);
        let outputs: Vec<(usize, TensorAt)> =
            targets.iter().map(|target| (target.input, self.contribute(target))).collect();
        let to = |input: usize| outputs.iter().find(|(at, _)| *at == input).map(|(_, to)| *to);
        let (dy, x) = (self.gradients(id), self.tensor(self.graph[id].inputs[0]));
        let parameter = |input: usize| to(input).map(|to| to.region);
        let (scale_gradient, shift_gradient) = (parameter(1), parameter(2));
        self.push(&NormBackward { norm: id, dy, x, extents, scale_gradient, shift_gradient });
        if let Some(dx) = to(0) {
            self.send(id, GradientsAt { norm: Some(self.carried_through(id)), ..dy }, None, dx);
        }
    }

    /// Sends a gradient with the extents of `id` on as it is seen.
    fn send(&mut self, id: NodeId, dy: GradientsAt, gate: Option<ValuesAt>, dx: TensorAt) {
        let extents = self.extents(id);
        self.push(&Send { dx, dy, dy_stride: extents.sample(), dy_offset: 0, gate, extents });
    }

    /// What the node `id` contributes to the gradient of one of its inputs.
    fn backward_into(&mut self, id: NodeId, input: usize, to: TensorAt) {
        let graph = self.graph;
        let node = &graph[id];
        let x = node.inputs[0];
        match &node.op {
            Op::Input | Op::Parameter { .. } => unreachable!("leaves have no backward step"),
            Op::BatchNorm(_) => unreachable!("it has a step of its own"),
            Op::Conv2d(conv) => self.conv_backward(id, conv, input, to),
            Op::Add => self.send(id, plain(self.gradient_tensor(id)), None, to),
            Op::WeightedSum { terms } if input == 0 => self.term_gradients(id, terms, to),
            Op::WeightedSum { terms } => {
                let scale = Some(self.weight_of_term(x, terms[input - 1]));
                self.send(id, GradientsAt { scale, ..plain(self.gradient_tensor(id)) }, None, to);
            }
            Op::Relu => self.send(id, self.gradients(id), Some(self.applied(id)), to),
            Op::Activation(activation) => {
                let (x, dy, activation) = (self.values(x), self.gradient_tensor(id), *activation);
                let extents = self.extents(id);
                self.push(&ActivateBackward { activation, x, dy, dx: to, extents });
            }
            Op::Gate => {
                let extents = self.extents(id).planes_alone();
                let dy = self.gradient_tensor(id);
                if input == 0 {
                    let dy = GradientsAt { mask: Some(self.region(node.inputs[1])), ..plain(dy) };
                    let (dy_stride, gate) = (extents.sample(), None);
                    self.push(&Send { dx: to, dy, dy_stride, dy_offset: 0, gate, extents });
                } else {
                    let (x, mask_gradient) = (self.values(x), to.region);
                    self.push(&MaskBackward { extents, x, dy, mask_gradient });
                }
            }
            Op::MaxPool(pool) => {
                let (sizes, dy) = (self.pool_sizes(id, pool), self.gradients(id));
                self.push(&MaxPoolBackward { sizes, x: self.values(x), dy, dx: to });
            }
            Op::AvgPool(pool) => {
                let (sizes, dy) = (self.pool_sizes(id, pool), self.gradients(id));
                self.push(&AvgPoolBackward { sizes, gate: self.gate(x), dy, dx: to });
            }
            Op::GlobalAvgPool => {
                let Extents { batch, channels, plane } = self.extents(x);
                let dy = self.gradient_tensor(id);
                self.push(&GlobalAvgPoolBackward { planes: batch * channels, plane, dy, dx: to });
            }
            Op::Reshape => self.send(id, plain(self.gradient_tensor(id)), None, to),
            Op::Scale { factor } => {
                self.send(
                    id,
                    GradientsAt { constant: f64::from(*factor), ..plain(self.gradient_tensor(id)) },
                    None,
                    to,
                );
            }
            Op::Concat => {
                let (dy_stride, extents) =
                    (self.extents(id).sample(), self.extents(node.inputs[input]));
                let dy_offset =
                    node.inputs[..input].iter().map(|&input| self.extents(input).sample()).sum();
                let dy = plain(self.gradient_tensor(id));
                self.push(&Send { dx: to, dy, dy_stride, dy_offset, gate: None, extents });
            }
            Op::Crop { top, left } => {
                let ((planes, height, width), top, left) = (self.planes(x), *top, *left);
                let (dy, dx) = (self.gradient_tensor(id), to);
                self.push(&CropBackward { planes, height, width, top, left, dy, dx });
            }
            &Op::Channels { groups, from, count } => {
                let taken = self.taken(x, groups, from, count);
                self.push(&ChannelsBackward { taken, dy: self.gradient_tensor(id), dx: to });
            }
            Op::Select { index } => {
                let (elements, dy) = (graph[x].shape.elements(), Region::Gradient(id));
                self.push(&SelectBackward { elements, index: *index, dy, dx: to });
            }
            Op::Linear => {
                let ([batch, inputs], outputs, dy) =
                    (self.matrix(x), node.shape[1], self.gradient_tensor(id));
                match input {
                    0 => {
                        let (weight, dx) = (self.region(node.inputs[1]), to);
                        self.push(&LinearBackwardInput { batch, inputs, outputs, dy, weight, dx });
                    }
                    1 => {
                        let x = self.tensor(x);
                        self.push(&LinearBackwardWeight {
                            batch,
                            inputs,
                            outputs,
                            x,
                            dy,
                            weight_gradient: to.region,
                        });
                    }
                    _ => self.push(&LinearBackwardBias {
                        batch,
                        outputs,
                        dy,
                        bias_gradient: to.region,
                    }),
                }
            }
            Op::Softmax => {
                let (rows, width) = self.rows(id);
                let (y, dy) = (self.tensor(id), self.gradient_tensor(id));
                self.push(&SoftmaxBackward { rows, width, y, dy, dx: to });
            }
            Op::DropPath if input == 0 => {
                let mask = Some(self.region(node.inputs[1]));
                self.send(id, GradientsAt { mask, ..self.gradients(id) }, None, to);
            }
            Op::DropPath => {
                let (x, dy, mask_gradient) = (self.values(x), self.gradient_tensor(id), to.region);
                self.push(&MaskBackward { extents: self.extents(id), x, dy, mask_gradient });
            }
            // Labels are class indices: the loss does not change with them continuously.
            Op::CrossEntropy { .. } if input == 1 => {
                let elements = graph[node.inputs[1]].shape.elements();
                self.push(&Fill { to: to.region.into(), elements, value: 0.0 });
            }
            Op::CrossEntropy { smoothing } => {
                let ([batch, classes], labels) = (self.matrix(x), self.region(node.inputs[1]));
                let (logits, loss_gradient, smoothing) =
                    (self.tensor(x), Region::Gradient(id), *smoothing);
                self.push(&CrossEntropyBackward {
                    batch,
                    classes,
                    smoothing,
                    logits,
                    labels,
                    loss_gradient,
                    dx: to,
                });
            }
        }
    }

    fn conv_backward(&mut self, id: NodeId, conv: &Conv2d, input: usize, to: TensorAt) {
        let node = &self.graph[id];
        let (sizes, x, dy, weight) = (
            self.conv_sizes(id, conv),
            node.inputs[0],
            self.gradients(id),
            self.region(node.inputs[1]),
        );
        let depthwise = depthwise::handles(&sizes);
        match input {
            0 => {
                let gate = self.gate(x);
                let problem = ConvBackwardInput { sizes, dy, weight, gate, dx: to };
                match depthwise {
                    true => self.push(&DepthwiseBackwardInput(problem)),
                    false => self.push(&problem),
                }
            }
            1 => {
                let (x, elements) = (self.values(x), self.graph[node.inputs[1]].shape.elements());
                let problem = ConvBackwardWeight { sizes, x, dy, partial: self.next_partial() };
                let chunks = if depthwise {
                    let problem = DepthwiseBackwardWeight(problem);
                    self.push(&problem);
                    problem.chunks()
                } else {
                    self.push(&problem);
                    problem.chunks()
                };
                let partial = self.reserve(chunks * elements);
                self.push(&Reduce { partial, chunks, elements, to: to.region });
            }
            _ => self.push(&ConvBackwardBias { sizes, dy, bias_gradient: to.region }),
        }
    }

    /// The gradient of the weights of a sum: for each term the product of the sum's gradient with
    /// what was summed.
    fn term_gradients(&mut self, id: NodeId, terms: &[usize], to: TensorAt) {
        let node = &self.graph[id];
        let extents = self.extents(id);
        let dy = self.gradient_tensor(id);
        let mut products: Vec<Products> = node.inputs[1..]
            .iter()
            .map(|&x| {
                let (values, partial) = (self.values(x), to.region.into());
                Products { dy, values, extents, partial }
            })
            .collect();
        let chunks = products[0].chunks();
        let partial = self.reserve(chunks * terms.len());
        for (row, product) in products.iter_mut().enumerate() {
            product.partial = Address { region: partial, offset: row * chunks };
            self.push(product);
        }
        let elements = self.graph[node.inputs[0]].shape.elements();
        for (round, indices) in terms.chunks(ScatterProducts::MAX_TERMS).enumerate() {
            let (indices, first_row) = (indices.to_vec(), round * ScatterProducts::MAX_TERMS);
            let accumulate = round > 0;
            self.push(&ScatterProducts {
                partial,
                chunks,
                indices,
                first_row,
                to: to.region,
                elements,
                accumulate,
            });
        }
    }
}

fn plain(dy: TensorAt) -> GradientsAt {
    GradientsAt { dy, constant: 1.0, scale: None, mask: None, norm: None }
}
