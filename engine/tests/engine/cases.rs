//! Random graphs: every operation alone, and the small combinations that networks are made of. One
//! list for every executor.

use std::fmt;

use adwp_engine::{
    Activation, BatchNorm, Conv2d, Device, Executor, Graph, Init, NodeId, Op, Pool, Program, Role,
    Shape, Variable, Variables,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Adds an operation, or several, with random shapes and values, and returns the node to look at.
pub(crate) type Build = fn(&mut Builder) -> NodeId;

/// Every operation alone.
pub(crate) const OPERATIONS: &[(&str, Build)] = &[
    ("depthwise convolution", |b| convolution(b, Channels::Depthwise)),
    ("depthwise convolution, two outputs a channel", |b| convolution(b, Channels::Multiplied)),
    ("pointwise convolution", |b| convolution(b, Channels::Pointwise)),
    ("dense convolution", |b| convolution(b, Channels::Dense)),
    ("grouped convolution", |b| convolution(b, Channels::Grouped)),
    ("separable shapes of the search space", searched_depthwise),
    ("wide depthwise convolution", wide_depthwise),
    ("wide convolution", wide_dense),
    ("convolution of many samples", |b| {
        let (samples, kernel, channels) =
            (b.pick(&[8, 9, 17, 20]), b.pick(&[1, 3]), b.pick(&[1, 2]));
        let groups = b.pick(&[1, channels]);
        conv_of(
            b,
            [samples, channels, 4, 5],
            2,
            kernel,
            Conv2d { padding: [kernel / 2; 2], groups, ..Conv2d::default() },
        )
    }),
    ("convolution of many channels", |b| {
        let (channels, out, kernel) =
            (b.pick(&[16, 31, 40, 64]), b.pick(&[16, 33, 70]), b.pick(&[1, 1, 3]));
        let (h, w) = (b.between(1, 3), b.between(1, 3));
        conv_of(
            b,
            [2, channels, h, w],
            out,
            kernel,
            Conv2d { padding: [kernel / 2; 2], ..Conv2d::default() },
        )
    }),
    ("convolution whose directions differ", rectangular),
    ("batch norm", batch_norm),
    ("relu", |b| {
        let x = b.any_leaf(Fill::Distinct);
        b.add(Op::Relu, &[x])
    }),
    ("activations", |b| {
        let x = b.any_leaf(Fill::Wide);
        activated(b, x)
    }),
    ("gate", |b| {
        let x = b.image_leaf(Fill::Normal);
        gated(b, x)
    }),
    ("max pool", |b| pool(b, Op::MaxPool)),
    ("avg pool", |b| pool(b, Op::AvgPool)),
    ("global avg pool", |b| {
        let x = b.image_leaf(Fill::Normal);
        b.add(Op::GlobalAvgPool, &[x])
    }),
    ("add", add),
    ("scale", |b| {
        let x = b.any_leaf(Fill::Normal);
        let factor = b.normal();
        b.add(Op::Scale { factor }, &[x])
    }),
    ("weighted sum", weighted_sum),
    ("concat", concat),
    ("crop", |b| {
        let x = b.image_leaf(Fill::Normal);
        let [_, _, h, w] = b.dims4(x);
        let (top, left) = (b.between(0, h - 1).min(3), b.between(0, w - 1).min(3));
        b.add(Op::Crop { top, left }, &[x])
    }),
    ("channels", |b| {
        let (groups, each) = (b.between(1, 4), b.between(1, 6));
        let (n, h, w) = (b.between(1, 3), b.between(1, 6), b.between(1, 6));
        let x = b.image_of(n, groups * each, h, w, Fill::Normal);
        let from = b.between(0, groups * each - 1);
        let count = b.between(1, groups * each - from);
        b.add(Op::Channels { groups, from, count }, &[x])
    }),
    ("select", |b| {
        let x = b.any_leaf(Fill::Normal);
        let index = b.between(0, b.graph[x].shape.elements() - 1);
        b.add(Op::Select { index }, &[x])
    }),
    ("linear", |b| {
        let shape = [b.between(1, 20), b.between(1, 40)];
        let x = b.leaf(shape, Fill::Normal);
        let out = b.between(1, 40);
        b.linear(x, out)
    }),
    ("reshape", |b| {
        let x = b.image_leaf(Fill::Normal);
        let [n, c, h, w] = b.dims4(x);
        b.reshape(x, [c * h, n * w])
    }),
    ("softmax", |b| {
        let x = b.any_leaf(Fill::Normal);
        b.add(Op::Softmax, &[x])
    }),
    ("drop path", |b| {
        let x = b.any_leaf(Fill::Normal);
        drop_path(b, x)
    }),
    ("cross entropy", |b| {
        let shape = [b.between(1, 12), b.between(2, 20)];
        let logits = b.leaf(shape, Fill::Normal);
        cross_entropy(b, logits)
    }),
];

/// Tensors that executors cut into several pieces of work, none of a round size.
pub(crate) const LARGE: &[(&str, Build)] = &[
    ("large relu", |b| large(b, |b, x| b.add(Op::Relu, &[x]))),
    ("large activation", |b| large(b, activated)),
    ("large gate", |b| large(b, gated)),
    ("large scale", |b| large(b, |b, x| b.add(Op::Scale { factor: 0.3 }, &[x]))),
    ("large batch norm", |b| large(b, normalised)),
    ("large max pool", |b| {
        let x = b.large_image();
        b.add(Op::MaxPool(Pool { kernel: 3, stride: 2, padding: 1 }), &[x])
    }),
    ("large avg pool", |b| {
        let x = b.large_image();
        b.add(Op::AvgPool(Pool { kernel: 3, stride: 1, padding: 1 }), &[x])
    }),
    ("large global avg pool", |b| large(b, |b, x| b.add(Op::GlobalAvgPool, &[x]))),
    ("large sums", |b| {
        let (x, y, z) = (b.large_image(), b.large_image(), b.large_image());
        let weights = b.leaf([3], Fill::Normal);
        let weighted = b.add(Op::WeightedSum { terms: vec![1, 2, 1] }, &[weights, x, y, z]);
        b.add(Op::Add, &[weighted, y, y])
    }),
    ("large concat and crop", |b| {
        let (x, y) = (b.large_image(), b.large_image());
        let both = b.add(Op::Concat, &[x, y, x]);
        b.add(Op::Crop { top: 1, left: 2 }, &[both])
    }),
    ("large channels", |b| {
        let x = b.large_image();
        let both = b.add(Op::Concat, &[x, x, x, x]);
        let channels = b.dims4(both)[1];
        b.add(Op::Channels { groups: 4, from: 1, count: channels - 2 }, &[both])
    }),
    ("large drop path", |b| large(b, drop_path)),
    ("large depthwise convolution", |b| {
        let x = b.large_image();
        let conv = Conv2d { padding: [4; 2], dilation: 2, groups: 7, ..Conv2d::default() };
        b.conv(x, 7, 5, conv)
    }),
    ("large convolution", |b| {
        let x = b.large_image();
        b.conv(x, 9, 3, Conv2d { stride: [2; 2], padding: [1; 2], ..Conv2d::default() })
    }),
    ("large linear", |b| {
        let x = b.leaf([37, 301], Fill::Normal);
        b.linear(x, 515)
    }),
    ("generator of a large weight", |b| {
        let x = b.leaf([1, 64], Fill::Normal);
        b.linear(x, 1031)
    }),
    ("large classifier", |b| {
        let logits = b.leaf([98, 100], Fill::Normal);
        cross_entropy(b, logits)
    }),
];

/// Small combinations, where one operation's result is read by several others or an executor may
/// merge neighbours.
pub(crate) const BLOCKS: &[(&str, Build)] = &[
    ("relu, convolution, batch norm", |b| small(b, |b, x| relu_conv_bn(b, x, 1, 1))),
    ("separable convolution", |b| small(b, |b, x| separable(b, x, 3, 1, 1))),
    ("strided, dilated separable convolution", |b| small(b, |b, x| separable(b, x, 3, 2, 2))),
    ("relu read by two convolutions and a pool", |b| {
        let x = b.small_image();
        let active = b.add(Op::Relu, &[x]);
        let left = b.conv(active, 3, 1, Conv2d::default());
        let right = b.conv(active, 3, 3, Conv2d { padding: [1; 2], ..Conv2d::default() });
        let pooled = b.add(Op::AvgPool(Pool { kernel: 3, stride: 1, padding: 1 }), &[active]);
        b.add(Op::Concat, &[left, right, pooled, active])
    }),
    ("relu of a relu", |b| {
        let x = b.small_image();
        let once = b.add(Op::Relu, &[x]);
        let twice = b.add(Op::Relu, &[once]);
        b.add(Op::Add, &[once, twice, x])
    }),
    ("batch norm read twice", |b| {
        let x = b.small_image();
        let normal = b.add(Op::BatchNorm(BatchNorm::default()), &[x]);
        let pooled = b.add(Op::MaxPool(Pool { kernel: 3, stride: 1, padding: 1 }), &[normal]);
        b.add(Op::Add, &[pooled, normal, normal])
    }),
    ("convolution, batch norm, activation", |b| {
        let x = b.small_image();
        let convolved = b.conv(x, 3, 3, Conv2d { padding: [1; 2], ..Conv2d::default() });
        let normal = normalised(b, convolved);
        // A smooth one, so that a rounded value is on no other side of a bend.
        let active = b.add(Op::Activation(Activation::Silu), &[normal]);
        b.add(Op::Add, &[active, normal])
    }),
    ("squeeze and excitation", |b| {
        let x = b.small_image();
        let channels = b.dims4(x)[1];
        let squeezed = b.add(Op::GlobalAvgPool, &[x]);
        let narrow = b.linear(squeezed, 2);
        let narrow = b.add(Op::Activation(Activation::Silu), &[narrow]);
        let wide = b.linear(narrow, channels);
        let gate = b.add(Op::Activation(Activation::Sigmoid), &[wide]);
        b.add(Op::Gate, &[x, gate])
    }),
    ("pool, batch norm", |b| {
        let x = b.small_image();
        let pooled = b.add(Op::AvgPool(Pool { kernel: 3, stride: 2, padding: 1 }), &[x]);
        b.add(Op::BatchNorm(BatchNorm::default()), &[pooled])
    }),
    ("factorised reduction", |b| {
        let x = b.image_of(2, 2, 6, 8, Fill::Distinct);
        let active = b.add(Op::Relu, &[x]);
        let stride = Conv2d { stride: [2; 2], ..Conv2d::default() };
        let even = b.conv(active, 3, 1, stride);
        let cropped = b.add(Op::Crop { top: 1, left: 1 }, &[active]);
        let odd = b.conv(cropped, 2, 1, Conv2d { padding: [0; 2], ..stride });
        b.concat_cropped(even, odd)
    }),
    ("generated convolution", |b| {
        let x = b.small_image();
        let alpha = b.leaf([6], Fill::Normal);
        let p = b.add(Op::Softmax, &[alpha]);
        generated_conv(b, x, p, 8)
    }),
    ("mixed node", mixed_node),
    ("a node as every input of a sum", |b| {
        let x = b.small_image();
        let doubled = b.add(Op::Add, &[x, x]);
        let again = b.add(Op::Add, &[doubled, x, doubled]);
        b.add(Op::Scale { factor: -0.5 }, &[again])
    }),
    ("weights of a sum that are also an operand", |b| {
        let x = b.leaf([2, 3], Fill::Normal);
        let y = b.leaf([2, 3], Fill::Normal);
        b.add(Op::WeightedSum { terms: vec![4, 0, 4] }, &[x, x, y, y])
    }),
    ("classifier", |b| {
        let x = b.small_image();
        let features = b.add(Op::GlobalAvgPool, &[x]);
        let logits = b.linear(features, 5);
        cross_entropy(b, logits)
    }),
    ("drop path into a sum", |b| {
        let x = b.small_image();
        let branch = b.conv(x, 3, 3, Conv2d { padding: [1; 2], ..Conv2d::default() });
        let dropped = drop_path(b, branch);
        let other = b.conv(x, 3, 1, Conv2d::default());
        b.add(Op::Add, &[dropped, other])
    }),
    ("reshape of a leaf and of a sum", |b| {
        let x = b.leaf([2, 12], Fill::Normal);
        let image = b.reshape(x, [2, 3, 2, 2]);
        let normal = b.add(Op::BatchNorm(BatchNorm::default()), &[image]);
        let sum = b.add(Op::Add, &[image, normal]);
        b.reshape(sum, [4, 6])
    }),
];

/// A graph with values, reduced to one number by a random projection of the node under test.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) seed: u64,
    pub(crate) graph: Graph,
    /// The node under test.
    pub(crate) output: NodeId,
    /// One element.
    pub(crate) loss: NodeId,
    pub(crate) variables: Variables,
    pub(crate) feeds: Vec<(NodeId, Vec<f32>)>,
    /// Every leaf that has a gradient and reaches the loss.
    pub(crate) trainable: Vec<NodeId>,
}

/// What an executor made of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) output: Vec<f32>,
    pub(crate) loss: f32,
    pub(crate) gradients: Vec<Vec<f32>>,
}

impl Case {
    pub(crate) fn new(name: &'static str, build: Build, seed: u64) -> Self {
        let mut b = Builder {
            rng: ChaCha8Rng::seed_from_u64(seed),
            graph: Graph::new(),
            variables: Variables::new(),
            feeds: Vec::new(),
            trainable: Vec::new(),
        };
        let output = build(&mut b);
        let elements = b.graph[output].shape.elements();
        let row = b.reshape(output, [1, elements]);
        let projection = b.leaf([1, elements], Fill::Normal);
        let loss = b.add(Op::Linear, &[row, projection]);
        let Builder { graph, mut variables, feeds, mut trainable, mut rng } = b;
        let reaches_loss = graph.ancestors(&[loss]);
        trainable.retain(|id| reaches_loss[id.index()]);
        variables.initialize(&graph, &mut rng).unwrap();
        Self { name, seed, graph, output, loss, variables, feeds, trainable }
    }

    /// The feeds as executors take them.
    pub(crate) fn feeds(&self) -> Vec<(NodeId, &[f32])> {
        self.feeds.iter().map(|(id, data)| (*id, &data[..])).collect()
    }

    /// A training step on the engine.
    pub(crate) fn run(&self, device: &Device) -> Outcome {
        self.step(&mut Executor::new(self.program(), device).unwrap())
    }

    /// That of a training step.
    pub(crate) fn program(&self) -> Program {
        Program::training(&self.graph, self.loss, &[self.output], &self.trainable).unwrap()
    }

    /// A training step on an executor of this case's graph.
    pub(crate) fn step(&self, executor: &mut Executor) -> Outcome {
        self.step_with(executor, &mut self.variables.clone())
    }

    /// [`Self::step`] with variables that the caller keeps.
    pub(crate) fn step_with(&self, executor: &mut Executor, variables: &mut Variables) -> Outcome {
        executor.run(variables, &self.feeds()).unwrap_or_else(|e| panic!("{e}\n{self}"));
        Outcome {
            output: executor.value(self.output).unwrap().into_owned(),
            loss: executor.value(self.loss).unwrap()[0],
            gradients: self
                .trainable
                .iter()
                .map(|&id| executor.gradient(id).unwrap().into_owned())
                .collect(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} (seed {}):", self.name, self.seed)?;
        for (_, node) in self.graph.nodes() {
            let inputs: Vec<&str> =
                node.inputs.iter().map(|&i| self.graph[i].name.as_str()).collect();
            writeln!(f, "  {} = {:?}({}) {}", node.name, node.op, inputs.join(", "), node.shape)?;
        }
        Ok(())
    }
}

/// What random values look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fill {
    /// Standard normal.
    Normal,
    /// In (-1, 1), no two equal and none zero, so that small steps cross no kink of a ReLU or a
    /// maximum.
    Distinct,
    /// The same in (-7.9, 7.9): beyond where the hard activations bend, and not at those places.
    Wide,
}

/// A graph that grows with random leaves.
pub(crate) struct Builder {
    rng: ChaCha8Rng,
    graph: Graph,
    variables: Variables,
    feeds: Vec<(NodeId, Vec<f32>)>,
    trainable: Vec<NodeId>,
}

impl Builder {
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        self.rng.random_range(low..=high)
    }

    pub(crate) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.between(0, options.len() - 1)]
    }

    pub(crate) fn normal(&mut self) -> f32 {
        let mut uniform = || self.rng.random::<f64>();
        let (radius, angle) =
            ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
        (radius * angle.cos()) as f32
    }

    fn fill(&mut self, n: usize, fill: Fill) -> Vec<f32> {
        match fill {
            Fill::Normal => (0..n).map(|_| self.normal()).collect(),
            Fill::Distinct | Fill::Wide => {
                let largest = if fill == Fill::Wide { 7.9 } else { 1.0 };
                let mut values: Vec<f32> = (0..n)
                    .map(|i| (largest * (2.0 * (i as f64 + 0.25) / n as f64 - 1.0)) as f32)
                    .collect();
                for i in (1..n).rev() {
                    let j = self.between(0, i);
                    values.swap(i, j);
                }
                values
            }
        }
    }

    /// A leaf that gets a gradient, as an input or as a parameter.
    pub(crate) fn leaf(&mut self, shape: impl Into<Shape>, fill: Fill) -> NodeId {
        let shape = shape.into();
        let data = self.fill(shape.elements(), fill);
        let name = format!("leaf{}", self.graph.len());
        let id = if self.rng.random() {
            let id = self.graph.input(name, shape).unwrap();
            self.feeds.push((id, data));
            id
        } else {
            let id =
                self.graph.parameter(name.clone(), shape.clone(), Init::Constant(0.0)).unwrap();
            self.variables.insert(Variable::new(name, shape, data, Role::Parameter));
            id
        };
        self.trainable.push(id);
        id
    }

    /// An input that gets no gradient.
    pub(crate) fn fixed(&mut self, shape: impl Into<Shape>, data: Vec<f32>) -> NodeId {
        let id = self.graph.input(format!("fixed{}", self.graph.len()), shape).unwrap();
        self.feeds.push((id, data));
        id
    }

    pub(crate) fn add(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let name = format!("{}{}", op.name(), self.graph.len());
        self.graph.add(name, op, inputs).unwrap()
    }

    pub(crate) fn reshape(&mut self, x: NodeId, shape: impl Into<Shape>) -> NodeId {
        let name = format!("reshape{}", self.graph.len());
        self.graph.reshape(name, x, shape).unwrap()
    }

    pub(crate) fn dims4(&self, x: NodeId) -> [usize; 4] {
        self.graph[x].shape.dims4().expect("an image")
    }

    pub(crate) fn image_of(
        &mut self,
        n: usize,
        c: usize,
        h: usize,
        w: usize,
        fill: Fill,
    ) -> NodeId {
        self.leaf([n, c, h, w], fill)
    }

    fn side(&mut self) -> usize {
        self.pick(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16, 17, 19, 33])
    }

    fn image_leaf(&mut self, fill: Fill) -> NodeId {
        let (h, w) = (self.side(), self.side());
        let (n, c) = (self.pick(&[1, 2, 3, 5]), self.pick(&[1, 2, 3, 4, 7]));
        let n = n.min((3000 / (h * w * c)).max(1));
        self.image_of(n, c, h, w, fill)
    }

    fn large_image(&mut self) -> NodeId {
        self.image_of(5, 7, 33, 37, Fill::Normal)
    }

    /// A leaf of one to four dimensions.
    fn any_leaf(&mut self, fill: Fill) -> NodeId {
        let rank = self.between(1, 4);
        let shape: Vec<usize> = (0..rank).map(|_| self.pick(&[1, 2, 3, 5, 8, 17])).collect();
        self.leaf(shape, fill)
    }

    fn small_image(&mut self) -> NodeId {
        let (n, h, w) = (self.between(1, 2), self.between(4, 7), self.between(4, 7));
        self.image_of(n, 3, h, w, Fill::Distinct)
    }

    /// A dense convolution to `out` channels with a weight of its own.
    pub(crate) fn conv(&mut self, x: NodeId, out: usize, kernel: usize, conv: Conv2d) -> NodeId {
        let channels = self.dims4(x)[1];
        let weight = self.leaf([out, channels / conv.groups, kernel, kernel], Fill::Normal);
        self.add(Op::Conv2d(conv), &[x, weight])
    }

    pub(crate) fn linear(&mut self, x: NodeId, out: usize) -> NodeId {
        let width = self.graph[x].shape[1];
        self.weighted(Op::Linear, x, &[out, width])
    }

    /// An operation with a weight, and with or without a bias.
    fn weighted(&mut self, op: Op, x: NodeId, weight: &[usize]) -> NodeId {
        let mut inputs = vec![x, self.leaf(weight, Fill::Normal)];
        if self.rng.random() {
            inputs.push(self.leaf([weight[0]], Fill::Normal));
        }
        self.add(op, &inputs)
    }

    /// Concatenates two images of almost one size.
    pub(crate) fn concat_cropped(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let ([_, _, h1, w1], [_, _, h2, w2]) = (self.dims4(a), self.dims4(b));
        let to = |(h, w): (usize, usize), b: &mut Self, x| {
            b.add(Op::Crop { top: h - h1.min(h2), left: w - w1.min(w2) }, &[x])
        };
        let (a, b) = (to((h1, w1), self, a), to((h2, w2), self, b));
        self.add(Op::Concat, &[a, b])
    }
}

#[derive(Clone, Copy)]
enum Channels {
    Depthwise,
    Multiplied,
    Pointwise,
    Dense,
    Grouped,
}

fn convolution(b: &mut Builder, channels: Channels) -> NodeId {
    let (input, out, groups) = match channels {
        Channels::Depthwise => {
            let c = b.pick(&[1, 2, 3, 5, 9]);
            (c, c, c)
        }
        Channels::Multiplied => {
            let c = b.pick(&[2, 3, 5]);
            (c, 2 * c, c)
        }
        Channels::Pointwise | Channels::Dense => {
            (b.pick(&[1, 2, 3, 5, 9]), b.pick(&[1, 2, 3, 7, 17]), 1)
        }
        Channels::Grouped => {
            let groups = b.pick(&[2, 3]);
            (groups * b.between(1, 3), groups * b.between(1, 4), groups)
        }
    };
    let kernel: usize = match channels {
        Channels::Pointwise => 1,
        _ => b.pick(&[1, 2, 3, 3, 3, 5, 5, 7]),
    };
    let (h, w) = (b.side(), b.side());
    let (stride, dilation) = (b.pick(&[1, 1, 2, 3]), b.pick(&[1, 1, 2, 3]));
    let reach = dilation * (kernel - 1) + 1;
    let fitting = reach.saturating_sub(h.min(w)).div_ceil(2);
    let usual = if b.rng.random() { reach / 2 } else { b.between(0, 3) };
    let padding = usual.max(fitting);
    let trailing = trailing(b);
    let n = b.pick(&[1, 2, 3, 5]).min((2000 / (h * w * input)).max(1));
    conv_of(
        b,
        [n, input, h, w],
        out,
        kernel,
        Conv2d { stride: [stride; 2], padding: [padding; 2], trailing, dilation, groups },
    )
}

/// Most often nothing.
fn trailing(b: &mut Builder) -> [usize; 2] {
    b.pick(&[[0; 2], [0; 2], [0; 2], [1; 2], [2, 0], [0, 3]])
}

/// Dense, in groups, or each channel for itself; with the sizes of published cells more often than
/// others.
fn rectangular(b: &mut Builder) -> NodeId {
    let (input, out, groups) =
        b.pick(&[(3, 2, 1), (1, 4, 1), (17, 9, 1), (4, 6, 2), (3, 3, 3), (2, 2, 2)]);
    let kernel = b.pick(&[[1, 7], [7, 1], [1, 3], [3, 1], [2, 5], [3, 3], [1, 1]]);
    let stride = b.pick(&[[1, 1], [1, 2], [2, 1], [3, 2]]);
    let dilation = b.pick(&[1, 1, 1, 2]);
    let (h, w) = (b.side(), b.side());
    let padding = [(0, h), (1, w)].map(|(axis, size): (usize, usize)| {
        let reach: usize = dilation * (kernel[axis] - 1) + 1;
        let usual = b.pick(&[reach / 2, reach / 2, 0, 2]);
        usual.max(reach.saturating_sub(size).div_ceil(2))
    });
    let n = b.pick(&[1, 2, 5]).min((1500 / (h * w * input)).max(1));
    let x = b.image_of(n, input, h, w, Fill::Normal);
    let trailing = trailing(b);
    let conv = Op::Conv2d(Conv2d { stride, padding, trailing, dilation, groups });
    b.weighted(conv, x, &[out, input / groups, kernel[0], kernel[1]])
}

fn conv_of(
    b: &mut Builder,
    [n, c, h, w]: [usize; 4],
    out: usize,
    kernel: usize,
    conv: Conv2d,
) -> NodeId {
    let x = b.image_of(n, c, h, w, Fill::Normal);
    b.weighted(Op::Conv2d(conv), x, &[out, c / conv.groups, kernel, kernel])
}

/// The depthwise layers of the search space, which executors may have special code for.
fn searched_depthwise(b: &mut Builder) -> NodeId {
    let (kernel, dilation) = (b.pick(&[3, 5]), b.pick(&[1, 2]));
    let conv = Conv2d {
        stride: [b.pick(&[1, 2]); 2],
        padding: [dilation * (kernel / 2); 2],
        trailing: b.pick(&[[0; 2], [0; 2], [1; 2]]),
        dilation,
        groups: 2,
    };
    let side = b.pick(&[3, 4, 7, 8, 16, 17, 32]);
    let height = b.pick(&[side, side, side + 1]);
    let n = b.between(1, 2);
    conv_of(b, [n, 2, height, side], 2, kernel, conv)
}

fn wide_depthwise(b: &mut Builder) -> NodeId {
    let kernel = b.pick(&[3, 5]);
    let dilation = b.pick(&[1, 2]);
    let (h, w) = (b.between(5, 9), b.pick(&[64, 65, 70, 97, 131]));
    let (h, w) = if b.rng.random() { (h, w) } else { (w, h) };
    let (stride, padding) = (b.pick(&[1, 2]), b.pick(&[2, dilation * (kernel / 2)]));
    let trailing = trailing(b);
    conv_of(
        b,
        [1, 2, h, w],
        2,
        kernel,
        Conv2d { stride: [stride; 2], padding: [padding; 2], trailing, dilation, groups: 2 },
    )
}

fn wide_dense(b: &mut Builder) -> NodeId {
    let (h, w) = (b.between(3, 5), b.pick(&[64, 65, 70, 97, 131]));
    let (h, w) = if b.rng.random() { (h, w) } else { (w, h) };
    let (out, kernel) = (b.pick(&[2, 7]), b.pick(&[1, 3]));
    let conv =
        Conv2d { stride: [b.pick(&[1, 2]); 2], padding: [kernel / 2; 2], ..Conv2d::default() };
    conv_of(b, [1, 3, h, w], out, kernel, conv)
}

fn batch_norm(b: &mut Builder) -> NodeId {
    let (n, c) = (b.between(1, 5), b.pick(&[1, 2, 3, 5, 17]));
    let (h, w) = (b.side(), b.side());
    let n = n.min((3000 / (h * w * c)).max(1));
    // A channel of few values can have a variance so small that central differences are off.
    let n = n.max(6_usize.div_ceil(h * w));
    let x = b.image_of(n, c, h, w, Fill::Distinct);
    let epsilon = b.pick(&[1e-5, 1e-3, 1e-2]);
    let mut inputs = vec![x];
    if b.rng.random() {
        inputs.push(b.leaf([c], Fill::Normal));
        inputs.push(b.leaf([c], Fill::Normal));
    }
    b.add(Op::BatchNorm(BatchNorm { epsilon }), &inputs)
}

fn pool(b: &mut Builder, op: fn(Pool) -> Op) -> NodeId {
    let kernel = b.pick(&[1, 2, 3, 3, 3, 5]);
    let (stride, mut padding) = (b.pick(&[1, 1, 2, 3]), b.between(0, kernel / 2));
    let (h, w) = (b.side(), b.side());
    while kernel > h.min(w) + 2 * padding && padding < kernel / 2 {
        padding += 1;
    }
    let (h, w) = (h.max(kernel - 2 * padding), w.max(kernel - 2 * padding));
    let (n, c) = (b.pick(&[1, 2, 3]), b.pick(&[1, 2, 3]));
    let wide = if b.pick(&[0, 0, 0, 1]) == 1 { b.pick(&[65, 131]) } else { w };
    let n = n.min((3000 / (h * wide * c)).max(1));
    let x = b.image_of(n, c, h, wide, Fill::Distinct);
    b.add(op(Pool { kernel, stride, padding }), &[x])
}

fn add(b: &mut Builder) -> NodeId {
    let first = b.any_leaf(Fill::Normal);
    let shape = b.graph[first].shape.clone();
    let mut inputs = vec![first];
    for _ in 0..b.between(0, 4) {
        let again = b.pick(&inputs);
        let input = if b.rng.random() { b.leaf(shape.clone(), Fill::Normal) } else { again };
        inputs.push(input);
    }
    b.add(Op::Add, &inputs)
}

fn weighted_sum(b: &mut Builder) -> NodeId {
    let weights = b.any_leaf(Fill::Normal);
    let count = b.graph[weights].shape.elements();
    let first = b.any_leaf(Fill::Normal);
    let shape = b.graph[first].shape.clone();
    let mut inputs = vec![weights, first];
    for _ in 0..b.between(0, 6) {
        let again = b.pick(&inputs[1..]);
        let input =
            if b.pick(&[true, true, false]) { b.leaf(shape.clone(), Fill::Normal) } else { again };
        inputs.push(input);
    }
    let terms = (1..inputs.len()).map(|_| b.between(0, count - 1)).collect();
    b.add(Op::WeightedSum { terms }, &inputs)
}

fn concat(b: &mut Builder) -> NodeId {
    let first = b.image_leaf(Fill::Normal);
    let [n, _, h, w] = b.dims4(first);
    let mut inputs = vec![first];
    for _ in 0..b.between(0, 3) {
        let again = b.pick(&inputs);
        let channels = b.between(1, 4);
        let input = if b.pick(&[true, true, false]) {
            b.image_of(n, channels, h, w, Fill::Normal)
        } else {
            again
        };
        inputs.push(input);
    }
    b.add(Op::Concat, &inputs)
}

pub(crate) fn drop_path(b: &mut Builder, x: NodeId) -> NodeId {
    let n = b.graph[x].shape[0];
    let values = (0..n).map(|_| b.pick(&[0.0, 1.25])).collect();
    let mask = if b.rng.random() { b.fixed([n], values) } else { b.leaf([n], Fill::Normal) };
    b.add(Op::DropPath, &[x, mask])
}

pub(crate) fn cross_entropy(b: &mut Builder, logits: NodeId) -> NodeId {
    let [n, classes] = b.graph[logits].shape.dims2().expect("logits are a matrix");
    let labels = (0..n).map(|_| b.between(0, classes - 1) as f32).collect();
    let labels = b.fixed([n], labels);
    let smoothing = b.pick(&[0.0, 0.1]);
    b.add(Op::CrossEntropy { smoothing }, &[logits, labels])
}

/// An operation on a large image.
fn large(b: &mut Builder, operation: impl FnOnce(&mut Builder, NodeId) -> NodeId) -> NodeId {
    let x = b.large_image();
    operation(b, x)
}

/// An operation on a small image.
fn small(b: &mut Builder, operation: impl FnOnce(&mut Builder, NodeId) -> NodeId) -> NodeId {
    let x = b.small_image();
    operation(b, x)
}

fn gated(b: &mut Builder, x: NodeId) -> NodeId {
    let [n, c, ..] = b.dims4(x);
    let gate = b.leaf([n, c], Fill::Normal);
    b.add(Op::Gate, &[x, gate])
}

fn relu_conv_bn(b: &mut Builder, x: NodeId, kernel: usize, stride: usize) -> NodeId {
    let channels = b.dims4(x)[1];
    let active = b.add(Op::Relu, &[x]);
    let y = b.conv(
        active,
        channels,
        kernel,
        Conv2d { stride: [stride; 2], padding: [kernel / 2; 2], ..Conv2d::default() },
    );
    normalised(b, y)
}

fn activated(b: &mut Builder, x: NodeId) -> NodeId {
    let activation = b.pick(&Activation::ALL);
    b.add(Op::Activation(activation), &[x])
}

pub(crate) fn normalised(b: &mut Builder, x: NodeId) -> NodeId {
    let channels = b.dims4(x)[1];
    let (scale, shift) = (b.leaf([channels], Fill::Normal), b.leaf([channels], Fill::Normal));
    b.add(Op::BatchNorm(BatchNorm::default()), &[x, scale, shift])
}

/// ReLU, depthwise, pointwise, BatchNorm.
pub(crate) fn separable(
    b: &mut Builder,
    x: NodeId,
    kernel: usize,
    stride: usize,
    dilation: usize,
) -> NodeId {
    let groups = b.dims4(x)[1];
    let active = b.add(Op::Relu, &[x]);
    let padding = dilation * (kernel / 2);
    let depthwise = b.conv(
        active,
        groups,
        kernel,
        Conv2d {
            stride: [stride; 2],
            padding: [padding; 2],
            dilation,
            groups,
            ..Conv2d::default()
        },
    );
    let pointwise = b.conv(depthwise, groups, 1, Conv2d::default());
    b.add(Op::BatchNorm(BatchNorm::default()), &[pointwise])
}

/// A depthwise and a pointwise convolution whose weights are linear in one probability each.
pub(crate) fn generated_conv(b: &mut Builder, x: NodeId, p: NodeId, hidden: usize) -> NodeId {
    let c = b.dims4(x)[1];
    let index = b.between(0, b.graph[p].shape.elements() - 1);
    let p = b.add(Op::Select { index }, &[p]);
    let mut generate = |shape: [usize; 4]| {
        let (weight, bias) = (b.leaf([hidden, 1], Fill::Normal), b.leaf([hidden], Fill::Normal));
        let features = b.add(Op::Linear, &[p, weight, bias]);
        let elements = shape.iter().product();
        let (weight, bias) =
            (b.leaf([elements, hidden], Fill::Normal), b.leaf([elements], Fill::Normal));
        let weight = b.add(Op::Linear, &[features, weight, bias]);
        b.reshape(weight, shape)
    };
    let (depthwise, pointwise) = (generate([c, 1, 3, 3]), generate([c, c, 1, 1]));
    let y = b.add(
        Op::Conv2d(Conv2d { padding: [1; 2], groups: c, ..Conv2d::default() }),
        &[x, depthwise],
    );
    b.add(Op::Conv2d(Conv2d::default()), &[y, pointwise])
}

/// A node of a cell: a softmax-weighted sum of pools, convolutions and the identity of two inputs.
fn mixed_node(b: &mut Builder) -> NodeId {
    let first = b.image_of(2, 3, 5, 4, Fill::Distinct);
    let second = b.image_of(2, 3, 5, 4, Fill::Distinct);
    let alpha = b.leaf([2, 3], Fill::Normal);
    let p = b.add(Op::Softmax, &[alpha]);
    let window = Pool { kernel: 3, stride: 1, padding: 1 };
    let pooled = b.add(Op::MaxPool(window), &[first]);
    let averaged = b.add(Op::AvgPool(window), &[second]);
    let convolved = separable(b, first, 3, 1, 1);
    let generated = generated_conv(b, second, p, 8);
    b.add(
        Op::WeightedSum { terms: vec![0, 4, 2, 3, 5] },
        &[p, pooled, averaged, convolved, generated, first],
    )
}
