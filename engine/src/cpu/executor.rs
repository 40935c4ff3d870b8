use std::time::{Duration, Instant};

use crate::cpu::Device;
use crate::cpu::device::Reservation;
use crate::ops::{self, Write, batch_norm, conv, elementwise, layout, linear, loss, pool};
use crate::ops::{batch_norm::Affine, batch_norm::Moments};
use crate::plan::Plan;
use crate::program::{GradTarget, Program, Statistics, Step, Tensor};
use crate::{EngineError, Graph, NodeId, Op, Pool, Result, Shape, Variables};

/// A program ready to run on the CPU.
#[derive(Debug)]
pub struct Executor {
    program: Program,
    device: Device,
    plan: Plan,
    /// Content of the buffers that outlive a run; none before the first.
    own: Vec<Vec<f32>>,
    shared: Reservation,
    /// Per node; filled for BatchNorms that use batch statistics.
    moments: Vec<Moments>,
    /// How far a run moves the running statistics towards those of the batch; 0.1 unless set.
    pub statistics_momentum: f32,
}

/// How long one step of a program took.
#[derive(Clone, Debug, PartialEq)]
pub struct StepTime {
    /// Name of the node it computes or goes back through.
    pub node: String,
    /// Name of the node's operation.
    pub op: &'static str,
    /// Whether it is part of the backward pass.
    pub backward: bool,
    /// Wall-clock time.
    pub time: Duration,
}

impl Executor {
    /// Plans the buffers of `program`. Memory is taken by the first run: [`Self::own_bytes`] for itself, and [`Device::working_bytes`]
    /// for all executors of the device together.
    pub fn new(program: Program, device: &Device) -> Self {
        let plan = Plan::new(&program.graph, &program.steps, &program.persistent);
        let moments = vec![Moments::default(); program.graph.len()];
        let shared = device.memory().reserve(plan.shared.clone());
        Self { program, device: device.clone(), plan, own: Vec::new(), shared, moments, statistics_momentum: 0.1 }
    }

    /// The program it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Bytes of what stays readable after a run: outputs and gradients.
    pub fn own_bytes(&self) -> usize {
        self.plan.bytes().0
    }

    /// Bytes of the working memory of a run, which all executors of a device share.
    pub fn working_bytes(&self) -> usize {
        self.plan.bytes().1
    }

    /// Runs all steps once. `feeds` gives the value of every input node the program reads, row-major.
    ///
    /// # Errors
    /// A feed that is missing or has the wrong length, a variable that is missing or has another shape.
    pub fn run(&mut self, variables: &mut Variables, feeds: &[(NodeId, &[f32])]) -> Result<()> {
        self.run_steps(variables, feeds, |_, _| ())
    }

    /// [`Self::run`], and how long each step took.
    pub fn profile(&mut self, variables: &mut Variables, feeds: &[(NodeId, &[f32])]) -> Result<Vec<StepTime>> {
        let mut times = Vec::new();
        self.run_steps(variables, feeds, |step, time| times.push((step.clone(), time)))?;
        let graph = &self.program.graph;
        let describe = |(step, time)| {
            let (id, backward) = match step {
                Step::Forward(id) => (id, false),
                Step::Seed(id) | Step::Backward { node: id, .. } => (id, true),
            };
            StepTime { node: graph[id].name.clone(), op: graph[id].op.name(), backward, time }
        };
        Ok(times.into_iter().map(describe).collect())
    }

    fn run_steps(
        &mut self,
        variables: &mut Variables,
        feeds: &[(NodeId, &[f32])],
        mut done: impl FnMut(&Step, Duration) + Send,
    ) -> Result<()> {
        let Self { program, device, plan, own, shared, moments, statistics_momentum } = self;
        let Program { graph, steps, statistics, .. } = program;
        let sources = resolve(graph, steps, variables, feeds)?;
        if own.is_empty() {
            own.extend(plan.own.iter().map(|&length| vec![0.0; length]));
        }
        shared.with(|shared| {
            let mut slots: Vec<Vec<f32>> = own.iter_mut().chain(shared.iter_mut()).map(std::mem::take).collect();
            let mut run = Run {
                graph,
                plan,
                sources,
                slots: &mut slots,
                moments,
                variables,
                statistics: *statistics,
                momentum: *statistics_momentum,
            };
            let result = device.install(|| {
                for step in steps.iter() {
                    let start = Instant::now();
                    match step {
                        Step::Forward(id) => run.forward(*id)?,
                        Step::Seed(id) => run.slots[run.plan.location[&Tensor::Gradient(*id)]][0] = 1.0,
                        Step::Backward { node, targets } => run.backward(*node, targets)?,
                    }
                    done(step, start.elapsed());
                }
                Ok(())
            });
            own.iter_mut().chain(shared.iter_mut()).zip(slots).for_each(|(home, buffer)| *home = buffer);
            result
        })
    }

    /// The value of an output or of the loss after a run, row-major.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as an output, or has not run.
    pub fn value(&self, id: NodeId) -> &[f32] {
        &self.own[self.kept(Tensor::Value(id))]
    }

    /// The gradient of the loss with respect to a trainable node after a run, row-major.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as trainable, or has not run.
    pub fn gradient(&self, id: NodeId) -> &[f32] {
        &self.own[self.kept(Tensor::Gradient(id))]
    }

    /// The gradient of a trainable node, to be changed in place before an optimiser reads it.
    ///
    /// # Panics
    /// When the program was compiled without naming `id` as trainable, or has not run.
    pub fn gradient_mut(&mut self, id: NodeId) -> &mut [f32] {
        let slot = self.kept(Tensor::Gradient(id));
        &mut self.own[slot]
    }

    fn kept(&self, tensor: Tensor) -> usize {
        let slot = self.plan.location.get(&tensor).filter(|slot| **slot < self.plan.own.len());
        *slot.unwrap_or_else(|| panic!("{tensor:?} was not asked for when the program was compiled"))
    }
}

/// Where the value of a node comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Slot,
    Variable(usize),
    Feed(&'a [f32]),
}

/// Finds the value of every leaf that the steps read, and checks its size.
fn resolve<'a>(graph: &Graph, steps: &[Step], variables: &Variables, feeds: &[(NodeId, &'a [f32])]) -> Result<Vec<Source<'a>>> {
    let mut sources = vec![Source::Slot; graph.len()];
    for step in steps {
        let Step::Forward(id) = step else { continue };
        for &input in &graph[*id].inputs {
            let node = &graph[input];
            sources[input.index()] = match node.op {
                Op::Parameter { .. } => Source::Variable(variables.expect(&node.name, &node.shape)?),
                Op::Input => {
                    let feed = feeds.iter().find(|(id, _)| *id == input).map_or(&[][..], |(_, data)| data);
                    let expected = node.shape.elements();
                    if feed.len() != expected {
                        return Err(EngineError::Feed { node: node.name.clone(), expected, found: feed.len() });
                    }
                    Source::Feed(feed)
                }
                _ => continue,
            };
        }
    }
    Ok(sources)
}

/// The state of one run.
struct Run<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    sources: Vec<Source<'a>>,
    slots: &'a mut Vec<Vec<f32>>,
    moments: &'a mut Vec<Moments>,
    variables: &'a mut Variables,
    statistics: Statistics,
    momentum: f32,
}

impl Run<'_> {
    fn shape(&self, id: NodeId) -> &Shape {
        &self.graph[id].shape
    }

    /// Extents of a node that the graph checked to be an image or a convolution's weight.
    fn dims4(&self, id: NodeId) -> [usize; 4] {
        self.shape(id).dims4().expect("the graph checked that this has four dimensions")
    }

    fn value(&self, id: NodeId) -> &[f32] {
        match self.sources[id.index()] {
            Source::Feed(data) => data,
            Source::Variable(position) => &self.variables.at(position).data,
            Source::Slot => self.planned(Tensor::Value(id)),
        }
    }

    fn planned(&self, tensor: Tensor) -> &[f32] {
        let (Tensor::Value(id) | Tensor::Gradient(id)) = tensor;
        &self.slots[self.plan.location[&tensor]][..self.shape(id).elements()]
    }

    /// Lets `fill` write a planned tensor while it reads others: the buffer is taken out of the slots and put back.
    fn write<R>(&mut self, tensor: Tensor, fill: impl FnOnce(&Self, &mut [f32]) -> R) -> R {
        let (Tensor::Value(id) | Tensor::Gradient(id)) = tensor;
        let slot = self.plan.location[&tensor];
        let mut buffer = std::mem::take(&mut self.slots[slot]);
        let result = fill(self, &mut buffer[..self.graph[id].shape.elements()]);
        self.slots[slot] = buffer;
        result
    }

    fn pool_window(&self, pool: &Pool, x: NodeId, y: NodeId) -> ops::Window {
        let ([_, _, h, w], [_, _, out_h, out_w]) = (self.dims4(x), self.dims4(y));
        ops::Window::new([h, w], [out_h, out_w], pool.kernel, pool.stride, pool.padding, 1)
    }

    fn conv_geometry(&self, conv: &crate::Conv2d, inputs: &[NodeId], y: NodeId) -> conv::Geometry {
        conv::Geometry::new(conv, self.dims4(inputs[0]), self.dims4(inputs[1]), self.dims4(y))
    }

    fn crop(&self, x: NodeId, top: usize, left: usize) -> layout::Crop {
        let [_, _, h, w] = self.dims4(x);
        layout::Crop { h, w, top, left }
    }

    fn forward(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let node = &graph[id];
        if let Op::BatchNorm(norm) = &node.op {
            return self.batch_norm(id, norm.epsilon);
        }
        self.write(Tensor::Value(id), |run, y| {
            let x = run.value(node.inputs[0]);
            match &node.op {
                Op::Input | Op::Parameter { .. } | Op::BatchNorm(_) => unreachable!("leaves have no step, BatchNorm is handled above"),
                Op::Conv2d(conv) => {
                    let geometry = run.conv_geometry(conv, &node.inputs, id);
                    conv::forward(&geometry, x, run.value(node.inputs[1]), node.inputs.get(2).map(|&b| run.value(b)), y);
                }
                Op::Relu => elementwise::relu(x, y),
                Op::MaxPool(p) => pool::max_forward(&run.pool_window(p, node.inputs[0], id), x, y),
                Op::AvgPool(p) => pool::avg_forward(&run.pool_window(p, node.inputs[0], id), x, y),
                Op::GlobalAvgPool => layout::global_avg_pool(x, run.shape(node.inputs[0])[2..].iter().product(), y),
                Op::Add => {
                    let terms: Vec<(f32, &[f32])> = node.inputs.iter().map(|&i| (1.0, run.value(i))).collect();
                    elementwise::weighted_sum(&terms, y);
                }
                Op::Scale { factor } => elementwise::scale(x, *factor, y, Write::Set),
                Op::WeightedSum { terms } => {
                    let terms: Vec<(f32, &[f32])> = terms.iter().zip(&node.inputs[1..]).map(|(&t, &i)| (x[t], run.value(i))).collect();
                    elementwise::weighted_sum(&terms, y);
                }
                Op::Concat => {
                    let whole: usize = node.shape[1..].iter().product();
                    let mut at = 0;
                    for &input in &node.inputs {
                        let part: usize = run.shape(input)[1..].iter().product();
                        layout::insert(run.value(input), part, y, whole, at);
                        at += part;
                    }
                }
                Op::Crop { top, left } => layout::crop(run.crop(node.inputs[0], *top, *left), x, y),
                Op::Select { index } => y[0] = x[*index],
                Op::Linear => {
                    let inputs = run.shape(node.inputs[0])[1];
                    linear::forward(x, inputs, run.value(node.inputs[1]), node.inputs.get(2).map(|&b| run.value(b)), y);
                }
                Op::Reshape => elementwise::copy(x, y, Write::Set),
                Op::Softmax => loss::softmax(x, last(&node.shape), y),
                Op::DropPath => elementwise::scale_samples(x, run.value(node.inputs[1]), y, Write::Set),
                Op::CrossEntropy { smoothing } => y[0] = loss::cross_entropy(x, run.value(node.inputs[1]), *smoothing),
            }
        });
        Ok(())
    }

    fn batch_norm(&mut self, id: NodeId, epsilon: f32) -> Result<()> {
        let graph = self.graph;
        let node = &graph[id];
        let [_, channels, h, w] = self.dims4(id);
        let statistic = |run: &Self, name: String| run.variables.expect(&name, &[channels].into());
        let (mean, variance) = (statistic(self, node.running_mean())?, statistic(self, node.running_var())?);
        let moments = match self.statistics {
            Statistics::Batch => batch_norm::moments(self.value(node.inputs[0]), channels, h * w, epsilon),
            Statistics::Running => {
                let (mean, variance) = (self.variables.at(mean).data.clone(), self.variables.at(variance).data.clone());
                let inverse_sd = batch_norm::inverse_sd(&variance, epsilon);
                Moments { mean, variance, inverse_sd }
            }
        };
        self.write(Tensor::Value(id), |run, y| {
            let affine = run.affine(&node.inputs);
            batch_norm::normalize(run.value(node.inputs[0]), h * w, &moments.mean, &moments.inverse_sd, affine, y);
        });
        if self.statistics == Statistics::Batch {
            let count = (node.shape.elements() / channels) as f32;
            // The running variance is the unbiased one, as PyTorch keeps it; a single value has none, its biased 0 stands in.
            let unbiased = if count > 1.0 { count / (count - 1.0) } else { 1.0 };
            let momentum = self.momentum;
            let mix = |running: &mut [f32], batch: &[f32], factor: f32| {
                running.iter_mut().zip(batch).for_each(|(r, b)| *r = (1.0 - momentum) * *r + momentum * factor * b);
            };
            mix(self.variables.data_mut(mean), &moments.mean, 1.0);
            mix(self.variables.data_mut(variance), &moments.variance, unbiased);
        }
        self.moments[id.index()] = moments;
        Ok(())
    }

    fn affine(&self, inputs: &[NodeId]) -> Option<Affine<'_>> {
        match *inputs {
            [_, scale, shift] => Some(Affine { scale: self.value(scale), shift: self.value(shift) }),
            _ => None,
        }
    }

    fn backward(&mut self, id: NodeId, targets: &[GradTarget]) -> Result<()> {
        let graph = self.graph;
        let node = &graph[id];
        // The sums over the batch serve the gradients of input, scale and shift alike.
        let sums = matches!(node.op, Op::BatchNorm(_)).then(|| {
            let plane = node.shape[2..].iter().product();
            let dy = self.planned(Tensor::Gradient(id));
            batch_norm::gradient_sums(self.value(node.inputs[0]), dy, plane, &self.moments[id.index()])
        });
        for &GradTarget { input, accumulate } in targets {
            let write = if accumulate { Write::Add } else { Write::Set };
            self.write(Tensor::Gradient(node.inputs[input]), |run, dx| {
                let dy = run.planned(Tensor::Gradient(id));
                let value = |input: usize| run.value(node.inputs[input]);
                match &node.op {
                    Op::Input | Op::Parameter { .. } => unreachable!("leaves have no backward step"),
                    Op::Conv2d(conv) => {
                        let geometry = run.conv_geometry(conv, &node.inputs, id);
                        match input {
                            0 => conv::backward_input(&geometry, value(1), dy, dx, write),
                            1 => conv::backward_weight(&geometry, value(0), dy, dx, write),
                            _ => conv::backward_bias(&geometry, dy, dx, write),
                        }
                    }
                    Op::BatchNorm(_) => {
                        let sums = sums.as_ref().expect("computed above for every BatchNorm");
                        match input {
                            0 => {
                                let plane = node.shape[2..].iter().product();
                                let scale = run.affine(&node.inputs).map(|affine| affine.scale);
                                batch_norm::backward_input(value(0), dy, plane, &run.moments[id.index()], sums, scale, dx, write);
                            }
                            1 => write.apply(dx, sums.dy_x.iter().copied()),
                            _ => write.apply(dx, sums.dy.iter().copied()),
                        }
                    }
                    Op::Relu => elementwise::relu_backward(run.value(id), dy, dx, write),
                    Op::MaxPool(p) => pool::max_backward(&run.pool_window(p, node.inputs[0], id), value(0), dy, dx, write),
                    Op::AvgPool(p) => pool::avg_backward(&run.pool_window(p, node.inputs[0], id), dy, dx, write),
                    Op::GlobalAvgPool => {
                        layout::global_avg_pool_backward(dy, run.shape(node.inputs[0])[2..].iter().product(), dx, write);
                    }
                    Op::Add | Op::Reshape => elementwise::copy(dy, dx, write),
                    Op::Scale { factor } => elementwise::scale(dy, *factor, dx, write),
                    Op::WeightedSum { terms } if input == 0 => {
                        write.clear(dx);
                        for (i, &term) in terms.iter().enumerate() {
                            dx[term] += elementwise::inner_product(dy, value(i + 1));
                        }
                    }
                    Op::WeightedSum { terms } => elementwise::scale(dy, value(0)[terms[input - 1]], dx, write),
                    Op::Concat => {
                        let size = |id: &NodeId| -> usize { run.shape(*id)[1..].iter().product() };
                        let at = node.inputs[..input].iter().map(size).sum();
                        layout::extract(dy, size(&id), at, dx, size(&node.inputs[input]), write);
                    }
                    Op::Crop { top, left } => layout::crop_backward(run.crop(node.inputs[0], *top, *left), dy, dx, write),
                    Op::Select { index } => {
                        write.clear(dx);
                        dx[*index] += dy[0];
                    }
                    Op::Linear => {
                        let inputs = run.shape(node.inputs[0])[1];
                        match input {
                            0 => linear::backward_input(value(1), inputs, dy, dx, write),
                            1 => linear::backward_weight(value(0), inputs, dy, dx, write),
                            _ => linear::backward_bias(dy, dx, write),
                        }
                    }
                    Op::Softmax => loss::softmax_backward(run.value(id), last(&node.shape), dy, dx, write),
                    Op::DropPath if input == 0 => elementwise::scale_samples(dy, value(1), dx, write),
                    Op::DropPath => elementwise::scale_samples_mask_backward(value(0), dy, dx, write),
                    // Labels are class indices: the loss does not change with them continuously.
                    Op::CrossEntropy { .. } if input == 1 => write.clear(dx),
                    Op::CrossEntropy { smoothing } => loss::cross_entropy_backward(value(0), value(1), *smoothing, dy[0], dx, write),
                }
            });
        }
        Ok(())
    }
}

fn last(shape: &Shape) -> usize {
    shape.last().copied().unwrap_or(1)
}
