//! One run of an executor: what each action computes, from where to where.

use crate::cpu::buffer::Buffer;
use crate::lower::{Action, Gradient, Lowered, Sizes, Target, Value};
use crate::ops::batch_norm::{self, Backward, Moments, PlaneMoments, PlaneSums, Sums};
use crate::ops::conv::{self, Chain, Geometry};
use crate::ops::layout::Taken;
use crate::ops::view::{Gradients, Values};
use crate::ops::window::Window;
use crate::ops::{Write, activation, depthwise, elementwise, layout, linear, loss, pool};
use crate::plan::Plan;
use crate::program::{Program, Statistics, Step, Tensor};
use crate::properties::{BackwardStep, Carried, Formula};
use crate::{Feed, Graph, Leaf, NodeId, Op, Result, Shape, Variables};

/// Where the value of a node comes from.
#[derive(Clone, Copy)]
pub(crate) enum ValueSource<'a> {
    Slot,
    Variable(usize),
    Feed(&'a [f32]),
}

/// Finds the value of every leaf that the program reads, and checks its size; those of parameters
/// are on the host then.
pub(crate) fn resolve<'a>(
    program: &Program,
    variables: &Variables,
    feeds: &[(NodeId, Feed<'a>)],
) -> Result<Vec<ValueSource<'a>>> {
    let graph = &program.graph;
    let mut sources = vec![ValueSource::Slot; graph.len()];
    for step in &program.steps {
        let Step::Forward(id) = step else { continue };
        for &input in &graph[*id].inputs {
            let node = &graph[input];
            sources[input.index()] = match node.op.leaf() {
                Some(Leaf::Parameter(_)) => {
                    let position = variables.expect(&node.name, &node.shape)?;
                    variables.at(position).data()?;
                    ValueSource::Variable(position)
                }
                Some(Leaf::Input) => ValueSource::Feed(program.feed(input, feeds)?.on_host(node)?),
                None => continue,
            };
        }
    }
    Ok(sources)
}

/// What normalisations leave for later actions of a run; one entry a node, empty where it is none.
#[derive(Debug)]
pub(crate) struct Normalizations {
    moments: Vec<Moments>,
    backward: Vec<Backward>,
    /// Left by the pass that had the planes in cache; empty again when they were used.
    plane_moments: Vec<Vec<PlaneMoments>>,
    plane_sums: Vec<Vec<PlaneSums>>,
}

impl Normalizations {
    pub(crate) fn new(graph: &Graph) -> Self {
        let nodes = graph.len();
        Self {
            moments: vec![Moments::default(); nodes],
            backward: vec![Backward::default(); nodes],
            plane_moments: vec![Vec::new(); nodes],
            plane_sums: vec![Vec::new(); nodes],
        }
    }
}

pub(crate) struct Run<'a> {
    pub(crate) program: &'a Program,
    pub(crate) lowered: &'a Lowered,
    pub(crate) plan: &'a Plan<Tensor>,
    pub(crate) sources: Vec<ValueSource<'a>>,
    pub(crate) slots: Vec<Buffer>,
    pub(crate) normalizations: &'a mut Normalizations,
    pub(crate) variables: &'a mut Variables,
    pub(crate) momentum: f32,
}

impl<'a> Run<'a> {
    pub(crate) fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Forward(id) => self.forward(*id),
            Action::Moments(id) => return self.finish_moments(*id),
            Action::Seed(id) => self.slots[self.plan.location[&Tensor::Gradient(*id)]][0] = 1.0,
            Action::Backward { node, targets } => {
                match self.graph()[*node].op.properties().backward {
                    BackwardStep::Convolution => self.conv_backward(*node, targets),
                    BackwardStep::Normalization => self.norm_backward(*node, targets),
                    BackwardStep::Sum => self.sum_backward(*node, targets),
                    BackwardStep::Each => self.backward(*node, targets),
                }
            }
        }
        Ok(())
    }

    fn graph(&self) -> &'a Graph {
        &self.program.graph
    }

    fn shape(&self, id: NodeId) -> &'a Shape {
        &self.graph()[id].shape
    }

    /// Channels and elements of a plane; what is no image counts as one plane a sample.
    fn extents(&self, id: NodeId) -> (usize, usize) {
        let shape = self.shape(id);
        match shape.dims4() {
            Some([_, c, h, w]) => (c, h * w),
            None => (1, shape[1..].iter().product()),
        }
    }

    /// The elements of a node that has a buffer, or is a reshape of one.
    fn value(&self, id: NodeId) -> &[f32] {
        let id = self.lowered.base(self.graph(), id);
        match self.sources[id.index()] {
            ValueSource::Feed(data) => data,
            ValueSource::Variable(position) => self.variables.at(position).on_host(),
            ValueSource::Slot => self.planned(Tensor::Value(id)),
        }
    }

    /// A node as those see it that read it.
    fn values(&self, id: NodeId) -> Values<'_> {
        let (channels, plane) = self.extents(id);
        let mut values = Values::plain(self.value(id), channels, plane);
        let mut at = id;
        while self.lowered.values[at.index()] == Value::Applied {
            values = self.apply(at, values);
            at = self.graph()[at].inputs[0];
        }
        values
    }

    /// `values` with the operation of `id` applied.
    fn apply<'v>(&'v self, id: NodeId, values: Values<'v>) -> Values<'v> {
        match self.graph()[id].op.properties().formula {
            Some(Formula::Relu) => Values { relu: true, ..values },
            Some(Formula::Norm) => {
                let moments = &self.normalizations.moments[id.index()];
                Values { affine: Some(moments.affine()), ..values }
            }
            Some(Formula::Mask) => {
                Values { mask: Some(self.value(self.graph()[id].inputs[1])), ..values }
            }
            Some(Formula::Same) | None => values,
        }
    }

    /// The input of `id` with the operation of `id` applied, whether readers of `id` do that or
    /// not.
    fn applied(&self, id: NodeId) -> Values<'_> {
        let x = self.values(self.graph()[id].inputs[0]);
        let (channels, plane) = self.extents(id);
        self.apply(id, Values { channels, plane, ..x })
    }

    /// The gradient of a node as those see it that carry it on.
    fn gradients(&self, id: NodeId) -> Gradients<'_> {
        let (channels, plane) = self.extents(id);
        let (base, _) = self.lowered.gradient_base(self.graph(), id);
        let mut gradients = Gradients::plain(self.planned(Tensor::Gradient(base)), channels, plane);
        let mut at = id;
        while let Gradient::Of(reader, input) = self.lowered.gradients[at.index()] {
            let node = &self.graph()[reader];
            match node.op.properties().carried {
                Some(Carried::Weighted(terms)) => {
                    gradients.scale = self.value(node.inputs[0])[terms[input - 1]]
                }
                Some(Carried::Masked) => gradients.mask = Some(self.value(node.inputs[1])),
                Some(Carried::Normalized) => {
                    let (moments, backward) = (
                        &self.normalizations.moments[reader.index()],
                        &self.normalizations.backward[reader.index()],
                    );
                    gradients.normal = Some(moments.gradient(backward, self.value(node.inputs[0])));
                }
                Some(Carried::Same) | None => {}
            }
            at = reader;
        }
        gradients
    }

    /// A tensor times its gate: each plane is a sample of its own, which the gate masks.
    fn gated(&self, x: NodeId, gate: NodeId) -> Values<'_> {
        Values {
            mask: Some(self.value(gate)),
            ..Values::plain(self.value(x), 1, self.extents(x).1)
        }
    }

    fn planned(&self, tensor: Tensor) -> &[f32] {
        let (Tensor::Value(id) | Tensor::Gradient(id)) = tensor;
        &self.slots[self.plan.location[&tensor]][..self.shape(id).elements()]
    }

    /// Lets `fill` write planned tensors while it reads others: their buffers are taken out of the
    /// slots and put back.
    fn write_all<R>(
        &mut self,
        tensors: &[Tensor],
        fill: impl FnOnce(&Self, Vec<&mut [f32]>) -> R,
    ) -> R {
        let mut buffers: Vec<Buffer> = tensors
            .iter()
            .map(|tensor| std::mem::take(&mut self.slots[self.plan.location[tensor]]))
            .collect();
        let lengths = tensors
            .iter()
            .map(|(Tensor::Value(id) | Tensor::Gradient(id))| self.shape(*id).elements());
        let slices =
            buffers.iter_mut().zip(lengths).map(|(buffer, length)| &mut buffer[..length]).collect();
        let result = fill(self, slices);
        for (tensor, buffer) in tensors.iter().zip(buffers) {
            self.slots[self.plan.location[tensor]] = buffer;
        }
        result
    }

    fn write<R>(&mut self, tensor: Tensor, fill: impl FnOnce(&Self, &mut [f32]) -> R) -> R {
        self.write_all(&[tensor], |run, slices| match slices.into_iter().next() {
            Some(slice) => fill(run, slice),
            None => unreachable!("one slice for one tensor"),
        })
    }

    fn geometry(&self, id: NodeId) -> &'a Geometry {
        match &self.lowered.sizes[id.index()] {
            Some(Sizes::Conv(geometry)) => geometry,
            _ => unreachable!("computed for every convolution"),
        }
    }

    fn window(&self, id: NodeId) -> &'a Window {
        match &self.lowered.sizes[id.index()] {
            Some(Sizes::Pool(window)) => window,
            _ => unreachable!("computed for every pool"),
        }
    }

    fn crop(&self, x: NodeId, top: usize, left: usize) -> layout::Crop {
        let [_, _, h, w] =
            self.shape(x).dims4().expect("the graph checked that this has four dimensions");
        layout::Crop { h, w, top, left }
    }

    fn taken(&self, x: NodeId, groups: usize, from: usize, count: usize) -> Taken {
        let (channels, plane) = self.extents(x);
        Taken { channels, plane, groups, from, count }
    }

    /// The convolution `id` with what is computed inside of it.
    fn chain(&self, id: NodeId) -> Chain<'_> {
        let node = &self.graph()[id];
        let inside = self.lowered.depthwise(self.graph(), id);
        let x = self.values(inside.map_or(node.inputs[0], |d| self.graph()[d].inputs[0]));
        let depthwise = inside.and_then(|d| {
            let window = self.geometry(d).depthwise()?;
            Some(conv::Depthwise { window, weight: self.value(self.graph()[d].inputs[1]) })
        });
        Chain::new(self.geometry(id), x, depthwise, self.value(node.inputs[1]))
    }

    fn forward(&mut self, id: NodeId) {
        let graph = self.graph();
        let node = &graph[id];
        let mut moments = Vec::new();
        if self.lowered.moments_for[id.index()].is_some() {
            let (_, plane) = self.extents(id);
            moments.resize(node.shape.elements() / plane, PlaneMoments::default());
        }
        self.write(Tensor::Value(id), |run, y| {
            let wanted = (!moments.is_empty()).then_some(&mut moments[..]);
            let x = node.inputs[0];
            match &node.op {
                Op::Input | Op::Parameter { .. } => unreachable!("leaves have no step"),
                Op::Conv2d(_) => {
                    let (geometry, bias) =
                        (run.geometry(id), node.inputs.get(2).map(|&b| run.value(b)));
                    if let Some(window) = geometry.depthwise() {
                        depthwise::forward(
                            window,
                            run.values(x),
                            run.value(node.inputs[1]),
                            bias,
                            y,
                            wanted,
                        );
                    } else {
                        run.chain(id).forward(bias, y, wanted);
                    }
                }
                Op::BatchNorm(_) | Op::Relu | Op::DropPath | Op::Reshape => {
                    elementwise::materialize(run.applied(id), y)
                }
                Op::Activation(function) => activation::forward(*function, run.values(x), y),
                Op::Gate => elementwise::materialize(run.gated(x, node.inputs[1]), y),
                Op::MaxPool(_) => pool::max_forward(run.window(id), run.values(x), y, wanted),
                Op::AvgPool(_) => pool::avg_forward(run.window(id), run.values(x), y, wanted),
                Op::GlobalAvgPool => layout::global_avg_pool(run.value(x), run.extents(x).1, y),
                Op::Add => {
                    let terms: Vec<_> = node.inputs.iter().map(|&i| (1.0, run.values(i))).collect();
                    elementwise::weighted_sum(&terms, y);
                }
                Op::WeightedSum { terms } => {
                    let weights = run.value(x);
                    let terms: Vec<_> = terms
                        .iter()
                        .zip(&node.inputs[1..])
                        .map(|(&t, &i)| (weights[t], run.values(i)))
                        .collect();
                    elementwise::weighted_sum(&terms, y);
                }
                Op::Scale { factor } => elementwise::scale(run.value(x), *factor, y, Write::Set),
                Op::Concat => {
                    let whole: usize = node.shape[1..].iter().product();
                    let mut at = 0;
                    for &input in &node.inputs {
                        layout::insert(run.values(input), y, whole, at);
                        at += run.shape(input)[1..].iter().product::<usize>();
                    }
                }
                Op::Crop { top, left } => layout::crop(run.crop(x, *top, *left), run.value(x), y),
                &Op::Channels { groups, from, count } => {
                    layout::channels(run.taken(x, groups, from, count), run.value(x), y)
                }
                Op::Select { index } => y[0] = run.value(x)[*index],
                Op::Linear => {
                    let inputs = run.shape(x)[1];
                    linear::forward(
                        run.value(x),
                        inputs,
                        run.value(node.inputs[1]),
                        node.inputs.get(2).map(|&b| run.value(b)),
                        y,
                    );
                }
                Op::Softmax => loss::softmax(run.value(x), last(&node.shape), y),
                Op::CrossEntropy { smoothing } => {
                    y[0] = loss::cross_entropy(run.value(x), run.value(node.inputs[1]), *smoothing)
                }
            }
        });
        if let Some(norm) = self.lowered.moments_for[id.index()] {
            self.normalizations.plane_moments[norm.index()] = moments;
        }
    }

    fn affine_inputs(&self, id: NodeId) -> Option<(&[f32], &[f32])> {
        match *self.graph()[id].inputs {
            [_, scale, shift] => Some((self.value(scale), self.value(shift))),
            _ => None,
        }
    }

    /// Statistics, and the coefficients that readers apply.
    fn finish_moments(&mut self, id: NodeId) -> Result<()> {
        let node = &self.graph()[id];
        let Op::BatchNorm(norm) = &node.op else {
            unreachable!("only normalisations have moments")
        };
        let (channels, plane) = self.extents(id);
        let affine = self.affine_inputs(id);
        let moments = match self.program.statistics {
            Statistics::Running => {
                let (mean, variance) = self.running(id)?;
                let statistic =
                    |position: usize| self.variables.at(position).data().map(<[f32]>::to_vec);
                Moments::new(statistic(mean)?, statistic(variance)?, norm.epsilon, affine)
            }
            Statistics::Batch => {
                let mut computed = Vec::new();
                let left = &self.normalizations.plane_moments[id.index()];
                let planes = if left.is_empty() {
                    let x = Values::plain(self.value(node.inputs[0]), channels, plane);
                    computed.resize(x.data.len() / plane, PlaneMoments::default());
                    batch_norm::moments_of_planes(x, &mut computed);
                    &computed
                } else {
                    left
                };
                Moments::of_batch(planes, channels, plane, norm.epsilon, affine)
            }
        };
        self.keep_moments(id, moments)
    }

    /// Positions of the running mean and variance.
    fn running(&self, id: NodeId) -> Result<(usize, usize)> {
        let (node, (channels, _)) = (&self.graph()[id], self.extents(id));
        let statistic = |name: String| self.variables.expect(&name, &[channels].into());
        Ok((statistic(node.running_mean())?, statistic(node.running_var())?))
    }

    /// Keeps moments for the rest of the run, and moves the running statistics towards those of a
    /// batch.
    fn keep_moments(&mut self, id: NodeId, moments: Moments) -> Result<()> {
        if self.program.statistics == Statistics::Batch {
            self.normalizations.plane_moments[id.index()].clear();
            let (mean, variance) = self.running(id)?;
            let count = (self.shape(id).elements() / moments.mean.len()) as f32;
            // The running variance is the unbiased one, as PyTorch keeps it; a single value has
            // none, and its biased 0 is used.
            let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
            let momentum = self.momentum;
            let mix = |running: &mut [f32], batch: &[f32], factor: f32| {
                running
                    .iter_mut()
                    .zip(batch)
                    .for_each(|(r, b)| *r = (1.0 - momentum) * *r + momentum * factor * b);
            };
            mix(self.variables.data_mut(mean)?, &moments.mean, 1.0);
            mix(self.variables.data_mut(variance)?, &moments.variance, unbiased);
        }
        self.normalizations.moments[id.index()] = moments;
        Ok(())
    }

    fn conv_backward(&mut self, id: NodeId, targets: &[Target]) {
        let lowered = self.lowered;
        let inside = lowered.depthwise(self.graph(), id);
        let first = inside.unwrap_or(id);
        let norm = lowered.sums_for[first.index()]
            .filter(|_| targets.iter().any(|target| (target.node, target.input) == (first, 0)));
        let mut sums = norm.map_or_else(Vec::new, |norm| {
            let (_, plane) = self.extents(norm);
            vec![PlaneSums::default(); self.shape(norm).elements() / plane]
        });
        let tensors: Vec<Tensor> = targets.iter().map(|target| target.tensor).collect();
        // Two gradients in one buffer are written one after the other.
        let mut rounds: Vec<Vec<usize>> = Vec::new();
        for (i, tensor) in tensors.iter().enumerate() {
            match rounds
                .iter_mut()
                .find(|round| round.iter().all(|&other| tensors[other] != *tensor))
            {
                Some(round) => round.push(i),
                None => rounds.push(vec![i]),
            }
        }
        for round in rounds {
            let here: Vec<Tensor> = round.iter().map(|&i| tensors[i]).collect();
            self.write_all(&here, |run, slices| {
                let mut slots: Vec<(&Target, Option<&mut [f32]>)> =
                    round.iter().map(|&i| &targets[i]).zip(slices.into_iter().map(Some)).collect();
                let mut take = |node: NodeId, input: usize| {
                    let (target, slice) = slots
                        .iter_mut()
                        .find(|(target, _)| (target.node, target.input) == (node, input))?;
                    Some((slice.take()?, writing(target)))
                };
                let (dx, ddepthwise) = (take(first, 0), inside.and_then(|d| take(d, 1)));
                let (dweight, dbias) = (take(id, 1), take(id, 2));
                let dy = run.gradients(id);
                let geometry = run.geometry(id);
                if let Some((dbias, write)) = dbias {
                    conv::backward_bias(dy, dbias, write);
                }
                if dx.is_none() && dweight.is_none() && ddepthwise.is_none() {
                    return;
                }
                let planes = dx.is_some().then_some(&mut sums[..]).filter(|sums| !sums.is_empty());
                let means =
                    norm.map_or(&[][..], |norm| &run.normalizations.moments[norm.index()].mean);
                let sums = planes.map(|planes| Sums { planes, means });
                if let (Some(window), None) = (geometry.depthwise(), inside) {
                    let inputs = &run.graph()[id].inputs;
                    let (x, weight) = (run.values(inputs[0]), run.value(inputs[1]));
                    depthwise::backward(
                        window,
                        x,
                        weight,
                        dy,
                        depthwise::Wanted { dx, sums, dweight },
                    );
                } else {
                    run.chain(id).backward(dy, conv::Wanted { dx, sums, dweight, ddepthwise });
                }
            });
        }
        if let Some(norm) = norm {
            self.normalizations.plane_sums[norm.index()] = sums;
        }
    }

    fn norm_backward(&mut self, id: NodeId, targets: &[Target]) {
        let node = &self.graph()[id];
        let mut sums = std::mem::take(&mut self.normalizations.plane_sums[id.index()]);
        let (_, plane) = self.extents(id);
        {
            let dy = self.gradients(id);
            let moments = &self.normalizations.moments[id.index()];
            if sums.is_empty() {
                sums.resize(dy.data.len() / plane, PlaneSums::default());
                let sums = Sums { planes: &mut sums, means: &moments.mean };
                batch_norm::sums_of_planes(dy.data, self.value(node.inputs[0]), plane, sums);
            }
            let backward = Backward::new(&sums, &dy, moments);
            self.normalizations.backward[id.index()] = backward;
        }
        for target in targets {
            self.write(target.tensor, |run, to| {
                let write = writing(target);
                let backward = &run.normalizations.backward[id.index()];
                match target.input {
                    0 => {
                        let moments = &run.normalizations.moments[id.index()];
                        let normal = moments.gradient(backward, run.value(node.inputs[0]));
                        elementwise::send(
                            Gradients { normal: Some(normal), ..run.gradients(id) },
                            None,
                            write,
                            to,
                        );
                    }
                    1 => write.apply(to, backward.dscale.iter().copied()),
                    _ => write.apply(to, backward.dshift.iter().copied()),
                }
            });
        }
    }

    fn sum_backward(&mut self, id: NodeId, targets: &[Target]) {
        let (graph, lowered) = (self.graph(), self.lowered);
        let node = &graph[id];
        let terms = match node.op.properties().carried {
            Some(Carried::Weighted(terms)) => Some(terms),
            Some(Carried::Same | Carried::Masked | Carried::Normalized) | None => None,
        };
        let inputs = lowered.products_of_sum(graph, id, targets);
        if !inputs.is_empty() {
            let norms: Vec<Option<NodeId>> =
                inputs.iter().map(|&input| lowered.norm_behind(graph, id, input)).collect();
            // The normalisations that readers apply: the products are then taken with x less its
            // mean, since the difference of two large sums would lose digits.
            let applied: Vec<Option<NodeId>> =
                inputs.iter().map(|&input| self.norm_applied(node.inputs[input])).collect();
            let factors: Vec<elementwise::Term<'_>> = inputs
                .iter()
                .zip(&applied)
                .map(|(&input, applied)| elementwise::Term {
                    values: self.values(node.inputs[input]),
                    means: applied.map(|norm| &self.normalizations.moments[norm.index()].mean[..]),
                })
                .collect();
            let (dy, products) = elementwise::products(self.gradients(id).data, &factors);
            let weights: Vec<f64> = factors
                .iter()
                .zip(&products)
                .map(|(factor, products)| elementwise::inner_product(factor, &dy, products))
                .collect();
            drop(factors);
            for ((norm, applied), products) in norms.iter().zip(&applied).zip(&products) {
                let Some(norm) = *norm else { continue };
                // Where readers do not apply the normalisation, the products were not taken with
                // its input.
                if *applied == Some(norm) {
                    self.normalizations.plane_sums[norm.index()] = dy
                        .iter()
                        .zip(products)
                        .map(|(&dy, &dy_x)| PlaneSums { dy, dy_x })
                        .collect();
                }
            }
            if let (Some(terms), Some(target)) =
                (terms, targets.iter().find(|target| target.input == 0))
            {
                let write = writing(target);
                self.write(target.tensor, |_, to| {
                    write.clear(to);
                    inputs
                        .iter()
                        .zip(weights)
                        .for_each(|(&input, gradient)| to[terms[input - 1]] += gradient as f32);
                });
            }
        }
        for target in targets {
            let scale = match terms {
                Some(_) if target.input == 0 => continue,
                Some(terms) => self.value(node.inputs[0])[terms[target.input - 1]],
                None => 1.0,
            };
            let write = writing(target);
            self.write(target.tensor, |run, dx| {
                elementwise::scale(run.gradients(id).data, scale, dx, write)
            });
        }
    }

    /// The normalisation that readers of `id` apply.
    fn norm_applied(&self, mut id: NodeId) -> Option<NodeId> {
        while self.lowered.values[id.index()] == Value::Applied {
            if self.graph()[id].op.properties().formula == Some(Formula::Norm) {
                return Some(id);
            }
            id = self.graph()[id].inputs[0];
        }
        None
    }

    fn backward(&mut self, id: NodeId, targets: &[Target]) {
        let node = &self.graph()[id];
        for target in targets {
            let (input, write) = (target.input, writing(target));
            self.write(target.tensor, |run, dx| {
                let value = |input: usize| run.value(node.inputs[input]);
                let x = node.inputs[0];
                let bare = || run.planned(Tensor::Gradient(id));
                match &node.op {
                    Op::Input | Op::Parameter { .. } => {
                        unreachable!("leaves have no backward step")
                    }
                    Op::Conv2d(_) | Op::BatchNorm(_) | Op::Add | Op::WeightedSum { .. } => {
                        unreachable!("these have steps of their own")
                    }
                    Op::Relu => {
                        elementwise::send(run.gradients(id), Some(run.applied(id)), write, dx)
                    }
                    Op::Activation(function) => {
                        activation::backward(*function, run.values(x), bare(), dx, write)
                    }
                    Op::Gate if input == 0 => {
                        let (_, plane) = run.extents(id);
                        elementwise::send(
                            Gradients {
                                mask: Some(value(1)),
                                ..Gradients::plain(bare(), 1, plane)
                            },
                            None,
                            write,
                            dx,
                        );
                    }
                    Op::Gate => elementwise::mask_backward(
                        Values::plain(value(0), 1, run.extents(id).1),
                        bare(),
                        dx,
                        write,
                    ),
                    Op::MaxPool(_) => pool::max_backward(
                        run.window(id),
                        run.values(x),
                        run.gradients(id),
                        dx,
                        write,
                    ),
                    Op::AvgPool(_) => {
                        let through =
                            run.lowered.applies_relu(run.graph(), x).then(|| run.values(x));
                        pool::avg_backward(run.window(id), through, run.gradients(id), dx, write);
                    }
                    Op::GlobalAvgPool => {
                        layout::global_avg_pool_backward(bare(), run.extents(x).1, dx, write)
                    }
                    Op::Reshape => elementwise::scale(bare(), 1.0, dx, write),
                    Op::Scale { factor } => elementwise::scale(bare(), *factor, dx, write),
                    Op::Concat => {
                        let size = |id: &NodeId| -> usize { run.shape(*id)[1..].iter().product() };
                        let at = node.inputs[..input].iter().map(size).sum();
                        layout::extract(
                            bare(),
                            size(&id),
                            at,
                            dx,
                            size(&node.inputs[input]),
                            write,
                        );
                    }
                    Op::Crop { top, left } => {
                        layout::crop_backward(run.crop(x, *top, *left), bare(), dx, write)
                    }
                    &Op::Channels { groups, from, count } => {
                        let taken = run.taken(x, groups, from, count);
                        layout::channels_backward(taken, bare(), dx, write);
                    }
                    Op::Select { index } => {
                        write.clear(dx);
                        dx[*index] += bare()[0];
                    }
                    Op::Linear => {
                        let inputs = run.shape(x)[1];
                        match input {
                            0 => linear::backward_input(value(1), inputs, bare(), dx, write),
                            1 => linear::backward_weight(value(0), inputs, bare(), dx, write),
                            _ => linear::backward_bias(bare(), dx, write),
                        }
                    }
                    Op::Softmax => loss::softmax_backward(
                        run.planned(Tensor::Value(id)),
                        last(&node.shape),
                        bare(),
                        dx,
                        write,
                    ),
                    Op::DropPath if input == 0 => {
                        elementwise::send(
                            Gradients { mask: Some(value(1)), ..run.gradients(id) },
                            None,
                            write,
                            dx,
                        );
                    }
                    Op::DropPath => elementwise::mask_backward(run.values(x), bare(), dx, write),
                    // Labels are class indices: the loss does not change with them continuously.
                    Op::CrossEntropy { .. } if input == 1 => write.clear(dx),
                    Op::CrossEntropy { smoothing } => loss::cross_entropy_backward(
                        value(0),
                        value(1),
                        *smoothing,
                        bare()[0],
                        dx,
                        write,
                    ),
                }
            });
        }
    }
}

/// Whether the gradient is the first that is written there.
fn writing(target: &Target) -> Write {
    if target.accumulate { Write::Add } else { Write::Set }
}

fn last(shape: &Shape) -> usize {
    shape.last().copied().unwrap_or(1)
}
