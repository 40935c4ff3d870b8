use adwp_engine::{BatchNorm, Conv2d, Graph, Init, NodeId, Op, Pool};

use crate::cases::network::{HEAD, Network, Size, Update, labels, noise};
use crate::failure::Result;

const BATCH: usize = 96;
/// Classes of the head; few, so that it costs little.
const CLASSES: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Depthwise {
        kernel: usize,
        stride: usize,
        dilation: usize,
    },
    Pointwise,
    /// relu, depthwise, pointwise, BatchNorm: what separable convolutions are made of.
    Separable {
        kernel: usize,
        stride: usize,
    },
    /// A dense 3×3 convolution to that many channels.
    Conv3x3 {
        out: usize,
    },
    BatchNorm {
        affine: bool,
    },
    MaxPool,
    AvgPool,
    Relu,
    WeightedSum {
        terms: usize,
    },
    Concat {
        parts: usize,
    },
    /// The second layer of a generating block: one row of that many values, and how many weights it
    /// makes of them.
    Generator {
        hidden: usize,
        out: usize,
    },
}

/// An operator at batch 96 on images of one size, with gradients of all that it reads.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    kind: Kind,
    /// Channels, height, width.
    image: [usize; 3],
}

pub(super) fn all() -> Vec<Operator> {
    const SIZES: [[usize; 3]; 3] = [[16, 32, 32], [32, 16, 16], [64, 8, 8]];
    let mut all = Vec::new();
    for (kernel, stride, dilation) in [(3, 1, 1), (5, 1, 1), (3, 1, 2), (5, 1, 2), (5, 2, 1)] {
        all.extend(
            SIZES.map(|image| Operator {
                kind: Kind::Depthwise { kernel, stride, dilation },
                image,
            }),
        );
    }
    all.extend(SIZES.map(|image| Operator { kind: Kind::Pointwise, image }));
    all.push(Operator { kind: Kind::Conv3x3 { out: 48 }, image: [3, 32, 32] });
    for kind in [
        Kind::Separable { kernel: 5, stride: 1 },
        Kind::Separable { kernel: 3, stride: 2 },
        Kind::MaxPool,
        Kind::AvgPool,
    ] {
        all.extend(SIZES.map(|image| Operator { kind, image }));
    }
    let others = [
        Kind::BatchNorm { affine: true },
        Kind::BatchNorm { affine: false },
        Kind::Relu,
        Kind::WeightedSum { terms: 6 },
        Kind::Concat { parts: 4 },
    ];
    all.extend(others.map(|kind| Operator { kind, image: SIZES[0] }));
    all.push(Operator { kind: Kind::Generator { hidden: 64, out: 25_600 }, image: [0; 3] });
    all
}

impl Operator {
    pub(super) fn name(&self) -> String {
        let [c, h, w] = self.image;
        let kind = match self.kind {
            Kind::Depthwise { kernel, stride, dilation } => {
                let stride = strided(stride);
                let dilation =
                    if dilation == 1 { String::new() } else { format!("-dilation{dilation}") };
                format!("depthwise-{kernel}x{kernel}{stride}{dilation}")
            }
            Kind::Pointwise => "pointwise".to_owned(),
            Kind::Separable { kernel, stride } => {
                format!("separable-block-{kernel}x{kernel}{}", strided(stride))
            }
            Kind::Conv3x3 { out } => format!("conv-3x3-to-{out}"),
            Kind::BatchNorm { affine: true } => "batch-norm-affine".to_owned(),
            Kind::BatchNorm { affine: false } => "batch-norm".to_owned(),
            Kind::MaxPool => "max-pool-3x3".to_owned(),
            Kind::AvgPool => "avg-pool-3x3".to_owned(),
            Kind::Relu => "relu".to_owned(),
            Kind::WeightedSum { terms } => format!("weighted-sum-of-{terms}"),
            Kind::Concat { parts } => format!("concat-of-{parts}"),
            Kind::Generator { hidden, out } => {
                return format!("op/generating-linear/{hidden}-to-{out}");
            }
        };
        format!("op/{kind}/{c}x{h}x{w}")
    }

    pub(super) fn network(&self, size: Size) -> Result<Network> {
        let (batch, image) = match size {
            Size::Full => (BATCH, self.image),
            Size::Tiny => {
                (3, self.image.map(|extent| if extent < 4 { extent } else { extent / 4 }))
            }
        };
        let mut b =
            Builder { graph: Graph::new(), batch, image, trainable: Vec::new(), feeds: Vec::new() };
        let output = b.operator(self.kind, size)?;
        let (labels, loss) = b.head(output)?;
        let mut feeds: Vec<_> = b
            .feeds
            .iter()
            .map(|&id| (id, noise(b.graph[id].shape.elements(), 10 + id.index() as u64)))
            .collect();
        feeds.push((labels, self::labels(b.graph[labels].shape.elements(), CLASSES)));
        Ok(Network {
            graph: b.graph,
            loss,
            output,
            trainable: b.trainable,
            feeds,
            update: Update::None,
        })
    }
}

/// What a name says of a stride.
fn strided(stride: usize) -> String {
    if stride == 1 { String::new() } else { format!("-stride{stride}") }
}

struct Builder {
    graph: Graph,
    batch: usize,
    image: [usize; 3],
    trainable: Vec<NodeId>,
    feeds: Vec<NodeId>,
}

impl Builder {
    /// An image whose gradient is asked for.
    fn x(&mut self, name: &str) -> Result<NodeId> {
        let [c, h, w] = self.image;
        let id = self.graph.input(name, [self.batch, c, h, w])?;
        self.feeds.push(id);
        self.trainable.push(id);
        Ok(id)
    }

    fn parameter(
        &mut self,
        name: &str,
        shape: impl Into<adwp_engine::Shape>,
        init: Init,
    ) -> Result<NodeId> {
        let id = self.graph.parameter(name, shape, init)?;
        self.trainable.push(id);
        Ok(id)
    }

    fn conv(
        &mut self,
        name: &str,
        x: NodeId,
        out: usize,
        kernel: usize,
        conv: Conv2d,
    ) -> Result<NodeId> {
        let channels = self.graph[x].shape[1];
        let weight = self.parameter(
            &format!("{name}/weight"),
            [out, channels / conv.groups, kernel, kernel],
            Init::FanIn,
        )?;
        Ok(self.graph.add(name, Op::Conv2d(conv), &[x, weight])?)
    }

    fn depthwise(
        &mut self,
        x: NodeId,
        kernel: usize,
        stride: usize,
        dilation: usize,
    ) -> Result<NodeId> {
        let channels = self.image[0];
        let conv = Conv2d {
            stride: [stride; 2],
            padding: [dilation * (kernel - 1) / 2; 2],
            dilation,
            groups: channels,
            ..Conv2d::default()
        };
        self.conv("depthwise", x, channels, kernel, conv)
    }

    fn operator(&mut self, kind: Kind, size: Size) -> Result<NodeId> {
        let channels = self.image[0];
        let pool = Pool { kernel: 3, stride: 1, padding: 1 };
        match kind {
            Kind::Depthwise { kernel, stride, dilation } => {
                let x = self.x("x")?;
                self.depthwise(x, kernel, stride, dilation)
            }
            Kind::Pointwise => {
                let x = self.x("x")?;
                self.conv("pointwise", x, channels, 1, Conv2d::default())
            }
            Kind::Separable { kernel, stride } => {
                let x = self.x("x")?;
                let x = self.graph.add("relu", Op::Relu, &[x])?;
                let x = self.depthwise(x, kernel, stride, 1)?;
                let x = self.conv("pointwise", x, channels, 1, Conv2d::default())?;
                Ok(self.graph.add("norm", Op::BatchNorm(BatchNorm::default()), &[x])?)
            }
            Kind::Conv3x3 { out } => {
                let x = self.x("x")?;
                self.conv("conv", x, out, 3, Conv2d { padding: [1; 2], ..Conv2d::default() })
            }
            Kind::BatchNorm { affine } => {
                let mut inputs = vec![self.x("x")?];
                if affine {
                    inputs.push(self.parameter("scale", [channels], Init::Normal(1.0))?);
                    inputs.push(self.parameter("shift", [channels], Init::Normal(1.0))?);
                }
                Ok(self.graph.add("norm", Op::BatchNorm(BatchNorm::default()), &inputs)?)
            }
            Kind::MaxPool => self.unary("pool", Op::MaxPool(pool)),
            Kind::AvgPool => self.unary("pool", Op::AvgPool(pool)),
            Kind::Relu => self.unary("relu", Op::Relu),
            Kind::WeightedSum { terms } => {
                let mut inputs = vec![self.parameter("weights", [1, terms], Init::Normal(1.0))?];
                for i in 0..terms {
                    inputs.push(self.x(&format!("x{i}"))?);
                }
                Ok(self.graph.add(
                    "sum",
                    Op::WeightedSum { terms: (0..terms).collect() },
                    &inputs,
                )?)
            }
            Kind::Concat { parts } => {
                let inputs =
                    (0..parts).map(|i| self.x(&format!("x{i}"))).collect::<Result<Vec<_>>>()?;
                Ok(self.graph.add("concat", Op::Concat, &inputs)?)
            }
            Kind::Generator { hidden, out } => {
                let out = if size == Size::Full { out } else { out / 100 };
                let x = self.graph.input("encoded", [1, hidden])?;
                self.feeds.push(x);
                self.trainable.push(x);
                let weight = self.parameter("generator/weight", [out, hidden], Init::FanIn)?;
                let bias = self.parameter("generator/bias", [out], Init::Uniform(0.1))?;
                Ok(self.graph.add("generator", Op::Linear, &[x, weight, bias])?)
            }
        }
    }

    fn unary(&mut self, name: &str, op: Op) -> Result<NodeId> {
        let x = self.x("x")?;
        Ok(self.graph.add(name, op, &[x])?)
    }

    /// A loss that depends on every element in a way of its own, so that a wrong gradient anywhere
    /// shows; gives labels and loss.
    fn head(&mut self, output: NodeId) -> Result<(NodeId, NodeId)> {
        let g = &mut self.graph;
        let name = |part: &str| format!("{HEAD}{part}");
        let batch = g[output].shape[0];
        let features = g[output].shape.elements() / batch;
        let flat = g.reshape(name("flat"), output, [batch, features])?;
        let weight = g.parameter(name("weight"), [CLASSES, features], Init::FanIn)?;
        let logits = g.add(name("logits"), Op::Linear, &[flat, weight])?;
        let labels = g.input(name("labels"), [batch])?;
        Ok((labels, g.add(name("loss"), Op::CrossEntropy { smoothing: 0.0 }, &[logits, labels])?))
    }
}
