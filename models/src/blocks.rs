//! The building blocks of all networks: operations of the space, preprocessing, stems, heads.

use adwp_engine::{BatchNorm, Conv2d, Graph, Init, NodeId, Op, Owner, Pool, Result};

use crate::generator::{Generator, GeneratorActivation};
use crate::wiring::CellWiring;
use crate::{Operation, Stem};

/// Added to every variance, as in PyTorch.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// Where the weights of an operation's convolutions come from.
#[derive(Clone, Copy)]
pub(crate) enum Weights {
    /// Each is a parameter of its own.
    Own,
    /// Each is predicted by a generating block of its own.
    Generated {
        /// The architecture as the blocks read it; without an `entry`, `[1, n]`.
        encoding: NodeId,
        /// Which of its values a block reads, counted flat; `None` for all of them.
        entry: Option<usize>,
        /// The two linear layers.
        generator: Generator,
    },
}

/// A depthwise convolution that pads its input so that stride 1 keeps the size.
#[derive(Clone, Copy)]
pub(crate) struct Depthwise {
    /// Side of the kernel, odd.
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
}

/// What can be dropped from a network while it is searched, sample by sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dropped {
    /// Every candidate stays in every sample.
    #[default]
    Nothing,
    /// Identities, so that a node does not come to rely on them: the dropout on skip connections of
    /// P-DARTS (Chen et al., 2019, section 3.3), here of a whole sample at once.
    Identities,
}

/// Adds blocks to a graph.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    /// Whether BatchNorms scale and shift, and pools go without one: networks to be retrained, not
    /// search networks.
    pub(crate) affine: bool,
    /// The cells that were added.
    pub(crate) wiring: Vec<CellWiring>,
    /// What each of them gives.
    pub(crate) outputs: Vec<NodeId>,
}

impl Builder {
    pub(crate) fn new(affine: bool) -> Self {
        Self { graph: Graph::new(), affine, wiring: Vec::new(), outputs: Vec::new() }
    }

    /// Adds what belongs to a section of the network; `work` gets what its names begin with.
    pub(crate) fn owned<T, E>(
        &mut self,
        owner: Owner,
        work: impl FnOnce(&mut Self, &str) -> Result<T, E>,
    ) -> Result<T, E> {
        let before = self.graph.set_owner(owner);
        let result = work(self, &owner.to_string());
        self.graph.set_owner(before);
        result
    }

    pub(crate) fn channels(&self, x: NodeId) -> usize {
        self.graph[x].shape[1]
    }

    fn weight(&mut self, name: &str, shape: [usize; 4], weights: Weights) -> Result<NodeId> {
        match weights {
            Weights::Own => self.graph.parameter(format!("{name}/weight"), shape, Init::FanIn),
            Weights::Generated {
                encoding,
                entry,
                generator: Generator { hidden, activation, gain },
            } => {
                let g = &mut self.graph;
                let elements = shape.iter().product();
                let input = match entry {
                    Some(index) => {
                        g.add(format!("{name}/generator/p"), Op::Select { index }, &[encoding])?
                    }
                    None => encoding,
                };
                let inputs = g[input].shape[1];
                // The first values of PyTorch's linear layers, times `gain`.
                let linear =
                    |g: &mut Graph, layer: &str, x, inputs: usize, outputs: usize, gain: f32| {
                        let first = Init::Uniform(gain / (inputs as f32).sqrt());
                        let weight = g.parameter(
                            format!("{name}/generator/{layer}/weight"),
                            [outputs, inputs],
                            first,
                        )?;
                        let bias = g.parameter(
                            format!("{name}/generator/{layer}/bias"),
                            [outputs],
                            first,
                        )?;
                        g.add(format!("{name}/generator/{layer}"), Op::Linear, &[x, weight, bias])
                    };
                let mut encoded = linear(g, "fc1", input, inputs, hidden, 1.0)?;
                if activation == GeneratorActivation::Relu {
                    encoded = g.add(format!("{name}/generator/relu"), Op::Relu, &[encoded])?;
                }
                let flat = linear(g, "fc2", encoded, hidden, elements, gain)?;
                g.reshape(format!("{name}/weight"), flat, shape)
            }
        }
    }

    pub(crate) fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        conv: Conv2d,
        weights: Weights,
    ) -> Result<NodeId> {
        let weight =
            self.weight(name, [out, self.channels(x) / conv.groups, kernel, kernel], weights)?;
        self.graph.add(name, Op::Conv2d(conv), &[x, weight])
    }

    /// A convolution of `side` taps across and then one of as many down, both with the channels of
    /// x; the stride is that of the two together. `between` follows the first.
    pub(crate) fn across_and_down(
        &mut self,
        name: &str,
        x: NodeId,
        side: usize,
        stride: usize,
        groups: usize,
        between: impl FnOnce(&mut Self, NodeId) -> Result<NodeId>,
    ) -> Result<NodeId> {
        let (channels, padding) = (self.channels(x), side / 2);
        let conv = |b: &mut Self, x, kernel: [usize; 2], conv: Conv2d| {
            let name = format!("{name}/{}x{}", kernel[0], kernel[1]);
            let weight =
                b.weight(&name, [channels, channels / groups, kernel[0], kernel[1]], Weights::Own)?;
            b.graph.add(name, Op::Conv2d(Conv2d { groups, ..conv }), &[x, weight])
        };
        let across = Conv2d { stride: [1, stride], padding: [0, padding], ..Conv2d::default() };
        let x = conv(self, x, [1, side], across)?;
        let x = between(self, x)?;
        let down = Conv2d { stride: [stride, 1], padding: [padding, 0], ..Conv2d::default() };
        conv(self, x, [side, 1], down)
    }

    pub(crate) fn batch_norm(&mut self, name: &str, x: NodeId) -> Result<NodeId> {
        let op = Op::BatchNorm(BatchNorm { epsilon: BATCH_NORM_EPSILON });
        if !self.affine {
            return self.graph.add(name, op, &[x]);
        }
        let channels = self.channels(x);
        let scale =
            self.graph.parameter(format!("{name}/scale"), [channels], Init::Constant(1.0))?;
        let shift =
            self.graph.parameter(format!("{name}/shift"), [channels], Init::Constant(0.0))?;
        self.graph.add(name, op, &[x, scale, shift])
    }

    /// relu(x); one node for all that read it.
    pub(crate) fn relu(&mut self, x: NodeId) -> Result<NodeId> {
        self.shared("relu", Op::Relu, x)
    }

    /// An operation on x that is there once for all that read it, and belongs to what x belongs to.
    fn shared(&mut self, name: &str, op: Op, x: NodeId) -> Result<NodeId> {
        let name = format!("{}/{name}", self.graph[x].name);
        match self.graph.find(&name) {
            Ok(id) => Ok(id),
            Err(_) => self.owned(self.graph[x].owner, |b, _| b.graph.add(name, op, &[x])),
        }
    }

    /// Depthwise, then pointwise, then BatchNorm.
    pub(crate) fn separable(
        &mut self,
        name: &str,
        suffix: &str,
        x: NodeId,
        depthwise: Depthwise,
        weights: Weights,
    ) -> Result<NodeId> {
        let (channels, Depthwise { kernel, stride, dilation }) = (self.channels(x), depthwise);
        let padding = [dilation * (kernel - 1) / 2; 2];
        let (stride, groups) = ([stride; 2], channels);
        let depthwise = Conv2d { stride, padding, dilation, groups, ..Conv2d::default() };
        let x = self.relu(x)?;
        let x =
            self.conv(&format!("{name}/dw{suffix}"), x, channels, kernel, depthwise, weights)?;
        let pointwise = Conv2d::default();
        let x = self.conv(&format!("{name}/pw{suffix}"), x, channels, 1, pointwise, weights)?;
        self.batch_norm(&format!("{name}/bn{suffix}"), x)
    }

    /// [`Self::separable`] with a stride, and again without.
    pub(crate) fn separable_twice(
        &mut self,
        name: &str,
        x: NodeId,
        depthwise: Depthwise,
        weights: Weights,
    ) -> Result<NodeId> {
        let x = self.separable(name, "1", x, depthwise, weights)?;
        self.separable(name, "2", x, Depthwise { stride: 1, ..depthwise }, weights)
    }

    /// One operation of the DARTS space. Zero is `None`; identity at stride 1 is its input.
    pub(crate) fn operation(
        &mut self,
        name: &str,
        op: Operation,
        x: NodeId,
        stride: usize,
        weights: Weights,
    ) -> Result<Option<NodeId>> {
        let pool = Pool { kernel: 3, stride, padding: 1 };
        let depthwise = |kernel, dilation| Depthwise { kernel, stride, dilation };
        let mut twice = |kernel| self.separable_twice(name, x, depthwise(kernel, 1), weights);
        let y = match op {
            Operation::Zero => return Ok(None),
            Operation::Identity if stride == 1 => x,
            Operation::Identity => self.factorized_reduction(name, x, self.channels(x), weights)?,
            Operation::SepConv3x3 => twice(3)?,
            Operation::SepConv5x5 => twice(5)?,
            Operation::DilConv3x3 => self.separable(name, "", x, depthwise(3, 2), weights)?,
            Operation::DilConv5x5 => self.separable(name, "", x, depthwise(5, 2), weights)?,
            Operation::AvgPool3x3 => self.pool(name, Op::AvgPool(pool), x)?,
            Operation::MaxPool3x3 => self.pool(name, Op::MaxPool(pool), x)?,
        };
        Ok(Some(y))
    }

    fn pool(&mut self, name: &str, op: Op, x: NodeId) -> Result<NodeId> {
        if self.affine {
            return self.graph.add(name, op, &[x]);
        }
        let x = self.graph.add(format!("{name}/pool"), op, &[x])?;
        self.batch_norm(&format!("{name}/bn"), x)
    }

    /// Halves the image: two 1×1 convolutions of stride 2, one of them a pixel further, each giving
    /// half of the channels.
    ///
    /// Each half has a BatchNorm of its own, which is the one over both halves of the original,
    /// channel by channel.
    pub(crate) fn factorized_reduction(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        weights: Weights,
    ) -> Result<NodeId> {
        let stride2 = Conv2d { stride: [2; 2], ..Conv2d::default() };
        let x = self.relu(x)?;
        let shifted = self.shared("shifted", Op::Crop { top: 1, left: 1 }, x)?;
        let even = self.conv(&format!("{name}/even"), x, out / 2, 1, stride2, weights)?;
        let even = self.batch_norm(&format!("{name}/even_bn"), even)?;
        let odd = self.conv(&format!("{name}/odd"), shifted, out - out / 2, 1, stride2, weights)?;
        let odd = self.batch_norm(&format!("{name}/odd_bn"), odd)?;
        self.graph.add(format!("{name}/concat"), Op::Concat, &[even, odd])
    }

    /// Convolution and BatchNorm, with `suffix` in their names.
    #[expect(clippy::too_many_arguments, reason = "a convolution and its name have these parts")]
    pub(crate) fn conv_norm(
        &mut self,
        name: &str,
        suffix: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        conv: Conv2d,
        weights: Weights,
    ) -> Result<NodeId> {
        let x = self.conv(&format!("{name}/conv{suffix}"), x, out, kernel, conv, weights)?;
        self.batch_norm(&format!("{name}/bn{suffix}"), x)
    }

    /// ReLU, convolution, BatchNorm; padded so that stride 1 keeps the size.
    pub(crate) fn relu_conv_norm(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        stride: usize,
        weights: Weights,
    ) -> Result<NodeId> {
        let padding = [(kernel - 1) / 2; 2];
        let conv = Conv2d { stride: [stride; 2], padding, ..Conv2d::default() };
        let x = self.relu(x)?;
        self.conv_norm(name, "", x, out, kernel, conv, weights)
    }

    /// Brings a cell's input to its channels.
    fn preprocess(&mut self, name: &str, x: NodeId, out: usize) -> Result<NodeId> {
        self.relu_conv_norm(name, x, out, 1, 1, Weights::Own)
    }

    /// The basic block of ResNet with pre-activation at stride 2, whose shortcut is an average pool
    /// and a 1×1 convolution (NAS-Bench-201).
    pub(crate) fn residual_reduction(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
    ) -> Result<NodeId> {
        let y = self.relu_conv_norm(&format!("{name}/1"), x, out, 3, 2, Weights::Own)?;
        let y = self.relu_conv_norm(&format!("{name}/2"), y, out, 3, 1, Weights::Own)?;
        let pool = Pool { kernel: 2, stride: 2, padding: 0 };
        let shortcut = self.graph.add(format!("{name}/pool"), Op::AvgPool(pool), &[x])?;
        let (name, conv) = (format!("{name}/shortcut"), Conv2d::default());
        let shortcut = self.conv(&name, shortcut, out, 1, conv, Weights::Own)?;
        self.graph.add(format!("{name}/sum"), Op::Add, &[y, shortcut])
    }

    /// The two inputs of a cell at its channels and at one size.
    pub(crate) fn cell_inputs(
        &mut self,
        cell: usize,
        previous: [NodeId; 2],
        channels: usize,
    ) -> Result<[NodeId; 2]> {
        let [before, last] = previous;
        let differ = self.graph[before].shape[2] != self.graph[last].shape[2];
        let before = self.owned(Owner::Input { cell, input: 0 }, |b, name| match differ {
            true => b.factorized_reduction(name, before, channels, Weights::Own),
            false => b.preprocess(name, before, channels),
        })?;
        let last = self
            .owned(Owner::Input { cell, input: 1 }, |b, name| b.preprocess(name, last, channels))?;
        Ok([before, last])
    }

    /// Images in, the two inputs of the first cell out.
    pub(crate) fn stem(
        &mut self,
        stem: Stem,
        images: NodeId,
        channels: usize,
    ) -> Result<[NodeId; 2]> {
        let conv = |b: &mut Self, number: &str, x, channels: usize, stride: usize| {
            let conv3 = Conv2d { stride: [stride; 2], padding: [1; 2], ..Conv2d::default() };
            let x = b.conv(&format!("stem/conv{number}"), x, channels, 3, conv3, Weights::Own)?;
            b.batch_norm(&format!("stem/bn{number}"), x)
        };
        match stem {
            Stem::Cifar => self.owned(Owner::Stem { stage: 0 }, |b, _| {
                let x = conv(b, "", images, 3 * channels, 1)?;
                Ok([x, x])
            }),
            Stem::Imagenet => {
                let first = self.owned(Owner::Stem { stage: 0 }, |b, _| {
                    let x = conv(b, "1", images, channels / 2, 2)?;
                    let x = b.relu(x)?;
                    conv(b, "2", x, channels, 2)
                })?;
                let x = self.relu(first)?;
                let second =
                    self.owned(Owner::Stem { stage: 1 }, |b, _| conv(b, "3", x, channels, 2))?;
                Ok([first, second])
            }
        }
    }

    pub(crate) fn linear(&mut self, name: &str, x: NodeId, out: usize) -> Result<NodeId> {
        let inputs = self.channels(x);
        let weight = self.graph.parameter(format!("{name}/weight"), [out, inputs], Init::FanIn)?;
        let bias = self.graph.parameter(
            format!("{name}/bias"),
            [out],
            Init::Uniform(1.0 / (inputs as f32).sqrt()),
        )?;
        self.graph.add(name, Op::Linear, &[x, weight, bias])
    }

    /// The auxiliary classifier of the DARTS line: an average pool down to 2×2, 128 then 768
    /// channels, a linear layer.
    ///
    /// The pool is 5×5 with stride 3 on the 8×8 of CIFAR and stride 2 on the 7×7 of ImageNet; other
    /// sizes take the stride that leaves 2×2.
    pub(crate) fn auxiliary(&mut self, x: NodeId, classes: usize) -> Result<NodeId> {
        let side = self.graph[x].shape[2].min(self.graph[x].shape[3]);
        let mut x = self.relu(x)?;
        self.owned(Owner::Auxiliary, |b, name| {
            if side > 2 {
                let kernel = 5.min(side - 1);
                let pool = Pool { kernel, stride: side - kernel, padding: 0 };
                x = b.graph.add(format!("{name}/pool"), Op::AvgPool(pool), &[x])?;
            }
            for (number, channels, kernel) in [(1, 128, 1), (2, 768, side.min(2))] {
                let (conv, norm) = (format!("{name}/conv{number}"), format!("{name}/bn{number}"));
                x = b.conv(&conv, x, channels, kernel, Conv2d::default(), Weights::Own)?;
                x = b.batch_norm(&norm, x)?;
                x = b.relu(x)?;
            }
            x = b.graph.add(format!("{name}/gap"), Op::GlobalAvgPool, &[x])?;
            b.linear(&format!("{name}/linear"), x, classes)
        })
    }

    /// The logits of a classifier after every cell before the last.
    pub(crate) fn exits(&mut self, classes: usize) -> Result<Vec<NodeId>> {
        let outputs = self.outputs.split_last().map_or(Vec::new(), |(_, before)| before.to_vec());
        let exit = |(cell, x): (usize, NodeId)| {
            self.owned(Owner::Exit { cell }, |b, name| {
                let x = b.graph.add(format!("{name}/pool"), Op::GlobalAvgPool, &[x])?;
                b.linear(&format!("{name}/linear"), x, classes)
            })
        };
        outputs.into_iter().enumerate().map(exit).collect()
    }

    /// Mean cross-entropy under the given name.
    pub(crate) fn loss(
        &mut self,
        name: &str,
        logits: NodeId,
        labels: NodeId,
        smoothing: f32,
    ) -> Result<NodeId> {
        self.graph.add(name, Op::CrossEntropy { smoothing }, &[logits, labels])
    }
}
