//! The building blocks of all networks: operations of the space, preprocessing, stems, heads.

use adwp_engine::{BatchNorm, Conv2d, Graph, Init, NodeId, Op, Pool, Result};

use crate::hypernetwork::{Generator, GeneratorActivation};
use crate::{Operation, Stem};

/// Added to every variance, as in PyTorch.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;

/// The last linear layer of every network.
pub(crate) const CLASSIFIER: &str = "classifier/linear";

/// Where the weights of an operation's convolutions come from.
#[derive(Clone, Copy)]
pub(crate) enum Weights {
    /// Each is a parameter of its own.
    Own,
    /// Each is predicted by a generating block of its own from one architecture probability.
    Generated {
        /// The probabilities.
        probabilities: NodeId,
        /// Which of them, read flat.
        index: usize,
        /// The two linear layers.
        generator: Generator,
    },
}

/// What can be dropped from a network while it is searched, sample by sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dropped {
    /// Nothing.
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
}

impl Builder {
    pub(crate) fn new(affine: bool) -> Self {
        Self { graph: Graph::new(), affine }
    }

    pub(crate) fn channels(&self, x: NodeId) -> usize {
        self.graph[x].shape[1]
    }

    fn weight(&mut self, name: &str, shape: [usize; 4], weights: Weights) -> Result<NodeId> {
        match weights {
            Weights::Own => self.graph.parameter(format!("{name}/weight"), shape, Init::FanIn),
            Weights::Generated {
                probabilities,
                index,
                generator: Generator { hidden, activation, gain },
            } => {
                let g = &mut self.graph;
                let elements = shape.iter().product();
                let probability =
                    g.add(format!("{name}/generator/p"), Op::Select { index }, &[probabilities])?;
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
                let mut encoded = linear(g, "fc1", probability, 1, hidden, 1.0)?;
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
        let name = format!("{}/relu", self.graph[x].name);
        match self.graph.find(&name) {
            Ok(id) => Ok(id),
            Err(_) => self.graph.add(name, Op::Relu, &[x]),
        }
    }

    /// Depthwise, then pointwise, then BatchNorm.
    // a kernel is told by all of these, and only operations of cells call it
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn separable(
        &mut self,
        name: &str,
        suffix: &str,
        x: NodeId,
        kernel: usize,
        stride: usize,
        dilation: usize,
        weights: Weights,
    ) -> Result<NodeId> {
        let channels = self.channels(x);
        let depthwise = Conv2d {
            stride: [stride; 2],
            padding: [dilation * (kernel - 1) / 2; 2],
            dilation,
            groups: channels,
        };
        let x = self.relu(x)?;
        let x =
            self.conv(&format!("{name}/dw{suffix}"), x, channels, kernel, depthwise, weights)?;
        let x =
            self.conv(&format!("{name}/pw{suffix}"), x, channels, 1, Conv2d::default(), weights)?;
        self.batch_norm(&format!("{name}/bn{suffix}"), x)
    }

    /// One operation of the space. Zero is `None`; identity at stride 1 is its input.
    pub(crate) fn operation(
        &mut self,
        name: &str,
        op: Operation,
        x: NodeId,
        stride: usize,
        weights: Weights,
    ) -> Result<Option<NodeId>> {
        let pool = Pool { kernel: 3, stride, padding: 1 };
        let y = match op {
            Operation::Zero => return Ok(None),
            Operation::Identity if stride == 1 => x,
            Operation::Identity => self.factorized_reduction(name, x, self.channels(x), weights)?,
            Operation::SepConv3x3 | Operation::SepConv5x5 => {
                let kernel = if op == Operation::SepConv3x3 { 3 } else { 5 };
                let x = self.separable(name, "1", x, kernel, stride, 1, weights)?;
                self.separable(name, "2", x, kernel, 1, 1, weights)?
            }
            Operation::DilConv3x3 => self.separable(name, "", x, 3, stride, 2, weights)?,
            Operation::DilConv5x5 => self.separable(name, "", x, 5, stride, 2, weights)?,
            Operation::AvgPool3x3 => self.pool(name, Op::AvgPool(pool), x)?,
            Operation::MaxPool3x3 => self.pool(name, Op::MaxPool(pool), x)?,
        };
        Ok(Some(y))
    }

    /// [`Self::operation`] in a network to be searched. An identity that can be dropped gets a mask
    /// input, which is added to `masks`.
    // those of an operation, and what can be dropped with where its mask goes
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn candidate(
        &mut self,
        name: &str,
        op: Operation,
        x: NodeId,
        stride: usize,
        weights: Weights,
        dropped: Dropped,
        masks: &mut Vec<NodeId>,
    ) -> Result<Option<NodeId>> {
        let y = self.operation(name, op, x, stride, weights)?;
        match (y, op, dropped) {
            (Some(y), Operation::Identity, Dropped::Identities) => {
                let batch = self.graph[x].shape[0];
                let mask = self.graph.input(format!("{name}/mask"), [batch])?;
                masks.push(mask);
                Ok(Some(self.graph.add(format!("{name}/drop"), Op::DropPath, &[y, mask])?))
            }
            (y, _, Dropped::Identities | Dropped::Nothing) => Ok(y),
        }
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
        let shifted_name = format!("{}/shifted", self.graph[x].name);
        let shifted = match self.graph.find(&shifted_name) {
            Ok(id) => id,
            Err(_) => self.graph.add(shifted_name, Op::Crop { top: 1, left: 1 }, &[x])?,
        };
        let even = self.conv(&format!("{name}/even"), x, out / 2, 1, stride2, weights)?;
        let even = self.batch_norm(&format!("{name}/even_bn"), even)?;
        let odd = self.conv(&format!("{name}/odd"), shifted, out - out / 2, 1, stride2, weights)?;
        let odd = self.batch_norm(&format!("{name}/odd_bn"), odd)?;
        self.graph.add(format!("{name}/concat"), Op::Concat, &[even, odd])
    }

    /// relu, 1×1 convolution, BatchNorm: brings a cell's input to its channels.
    fn preprocess(&mut self, name: &str, x: NodeId, out: usize) -> Result<NodeId> {
        let x = self.relu(x)?;
        let x = self.conv(&format!("{name}/conv"), x, out, 1, Conv2d::default(), Weights::Own)?;
        self.batch_norm(&format!("{name}/bn"), x)
    }

    /// The two inputs of a cell at its channels and at one size.
    pub(crate) fn cell_inputs(
        &mut self,
        cell: &str,
        previous: [NodeId; 2],
        channels: usize,
    ) -> Result<[NodeId; 2]> {
        let height = |x: NodeId| self.graph[x].shape[2];
        let first = format!("{cell}/input0");
        let before = if height(previous[0]) != height(previous[1]) {
            self.factorized_reduction(&first, previous[0], channels, Weights::Own)?
        } else {
            self.preprocess(&first, previous[0], channels)?
        };
        Ok([before, self.preprocess(&format!("{cell}/input1"), previous[1], channels)?])
    }

    /// Images in, the two inputs of the first cell out.
    pub(crate) fn stem(
        &mut self,
        stem: Stem,
        images: NodeId,
        channels: usize,
    ) -> Result<[NodeId; 2]> {
        let conv3 = |stride| Conv2d { stride: [stride; 2], padding: [1; 2], ..Conv2d::default() };
        match stem {
            Stem::Cifar => {
                let x = self.conv("stem/conv", images, 3 * channels, 3, conv3(1), Weights::Own)?;
                let x = self.batch_norm("stem/bn", x)?;
                Ok([x, x])
            }
            Stem::Imagenet => {
                let x = self.conv("stem/conv1", images, channels / 2, 3, conv3(2), Weights::Own)?;
                let x = self.batch_norm("stem/bn1", x)?;
                let x = self.relu(x)?;
                let x = self.conv("stem/conv2", x, channels, 3, conv3(2), Weights::Own)?;
                let first = self.batch_norm("stem/bn2", x)?;
                let x = self.relu(first)?;
                let x = self.conv("stem/conv3", x, channels, 3, conv3(2), Weights::Own)?;
                Ok([first, self.batch_norm("stem/bn3", x)?])
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

    /// The global average that a classifier begins with.
    pub(crate) fn pool_all(&mut self, x: NodeId) -> Result<NodeId> {
        self.graph.add("classifier/pool", Op::GlobalAvgPool, &[x])
    }

    /// Global average and a linear layer.
    pub(crate) fn classifier(&mut self, x: NodeId, classes: usize) -> Result<NodeId> {
        let x = self.pool_all(x)?;
        self.linear(CLASSIFIER, x, classes)
    }

    /// The auxiliary classifier of the DARTS line: an average pool down to 2×2, 128 then 768
    /// channels, a linear layer.
    ///
    /// The pool is 5×5 with stride 3 on the 8×8 of CIFAR and stride 2 on the 7×7 of ImageNet; other
    /// sizes take the stride that leaves 2×2.
    pub(crate) fn auxiliary(&mut self, x: NodeId, classes: usize) -> Result<NodeId> {
        let side = self.graph[x].shape[2].min(self.graph[x].shape[3]);
        let mut x = self.relu(x)?;
        if side > 2 {
            let kernel = 5.min(side - 1);
            let pool = Pool { kernel, stride: side - kernel, padding: 0 };
            x = self.graph.add("auxiliary/pool", Op::AvgPool(pool), &[x])?;
        }
        let x = self.conv("auxiliary/conv1", x, 128, 1, Conv2d::default(), Weights::Own)?;
        let x = self.batch_norm("auxiliary/bn1", x)?;
        let x = self.relu(x)?;
        let x =
            self.conv("auxiliary/conv2", x, 768, side.min(2), Conv2d::default(), Weights::Own)?;
        let x = self.batch_norm("auxiliary/bn2", x)?;
        let x = self.relu(x)?;
        let x = self.graph.add("auxiliary/gap", Op::GlobalAvgPool, &[x])?;
        self.linear("auxiliary/linear", x, classes)
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
