use std::fmt;

use adwp_engine::{Conv2d, Graph, Init, NodeId, Op, Pool, Result};
use adwp_models::{NODES, Operation};
use serde::{Deserialize, Serialize};

/// Channels, height and width of an image.
pub type Image = [usize; 3];

/// What a network of the space consists of, as it is in an exported file: every BatchNorm is folded
/// into its convolution, and what several operations compute of the same input is there once and a
/// part of its own. `image` is what a part reads.
///
/// The identity at stride 1 is no part: it is its input. At stride 2 it is a [`Part::Reduce`] that
/// keeps the channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// Global average and linear layer, with what every run of a session takes.
    Classifier {
        /// What it averages.
        image: Image,
        /// Values it gives.
        classes: usize,
    },
    /// A 3×3 convolution and its ReLU.
    CifarStem {
        /// The image to classify.
        image: Image,
        /// Channels it gives.
        outputs: usize,
    },
    /// Two 3×3 convolutions of stride 2 and their ReLUs, the first of half the channels.
    ImagenetStem {
        /// The image to classify.
        image: Image,
        /// Channels it gives.
        outputs: usize,
    },
    /// The third 3×3 convolution of stride 2 and its ReLU.
    ImagenetStemEnd {
        /// What [`Part::ImagenetStem`] gives.
        image: Image,
    },
    /// The ReLU that every operation with a convolution begins with: one for all that read the same
    /// image.
    Relu {
        /// What it rectifies.
        image: Image,
    },
    /// The image without its first row and column: one for all factorised reductions that read the
    /// same image.
    Crop {
        /// What it crops.
        image: Image,
    },
    /// The 1×1 convolution that brings a cell's input to the cell's channels.
    Project {
        /// What it reads, rectified.
        image: Image,
        /// Channels it gives.
        outputs: usize,
    },
    /// A factorised reduction without its crop: two 1×1 convolutions of stride 2, joined.
    Reduce {
        /// What it reads, rectified.
        image: Image,
        /// Channels it gives.
        outputs: usize,
    },
    /// An operation of the space that is neither identity nor zero, without the ReLU that it begins
    /// with.
    Operation {
        /// Which.
        op: Operation,
        /// What it reads, rectified where it begins with a ReLU.
        image: Image,
        /// 1, or 2 on the inputs of a reduction cell.
        stride: usize,
    },
    /// The sum of a node, of which at least one term is given by a convolution: runtimes join the
    /// two.
    Sum {
        /// How many images it adds.
        terms: usize,
        /// One of them.
        image: Image,
    },
    /// A cell's output: all of its nodes, joined.
    Concat {
        /// One of the nodes.
        image: Image,
    },
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |[c, h, w]: Image| format!("{c}×{h}×{w}");
        match *self {
            Self::Classifier { image, classes } => {
                write!(f, "classifier of {} into {classes} classes", size(image))
            }
            Self::CifarStem { image, outputs } => {
                write!(f, "cifar stem of {} to {outputs} channels", size(image))
            }
            Self::ImagenetStem { image, outputs } => {
                write!(f, "imagenet stem of {} to {outputs} channels", size(image))
            }
            Self::ImagenetStemEnd { image } => {
                write!(f, "end of the imagenet stem at {}", size(image))
            }
            Self::Relu { image } => write!(f, "ReLU of {}", size(image)),
            Self::Crop { image } => write!(f, "crop of {}", size(image)),
            Self::Project { image, outputs } => {
                write!(f, "preprocessing of {} to {outputs} channels", size(image))
            }
            Self::Reduce { image, outputs } => {
                write!(f, "factorised reduction of {} to {outputs} channels", size(image))
            }
            Self::Operation { op, image, stride } => {
                write!(f, "{op} of {} at stride {stride}", size(image))
            }
            Self::Sum { terms, image } => write!(f, "sum of {terms} {}", size(image)),
            Self::Concat { image } => write!(f, "concatenation of {NODES} {}", size(image)),
        }
    }
}

impl Part {
    /// The images it reads.
    pub(crate) fn inputs(&self) -> Vec<Image> {
        match *self {
            Self::Classifier { image, .. }
            | Self::CifarStem { image, .. }
            | Self::ImagenetStem { image, .. }
            | Self::ImagenetStemEnd { image }
            | Self::Relu { image }
            | Self::Crop { image }
            | Self::Project { image, .. }
            | Self::Operation { image, .. } => vec![image],
            Self::Reduce { image, .. } => vec![image, cropped(image)],
            Self::Sum { terms, image } => vec![image; terms],
            Self::Concat { image } => vec![image; NODES],
        }
    }

    /// Adds it to a graph under names that begin with `name`. `inputs` are images of
    /// [`Self::inputs`].
    pub(crate) fn add(&self, graph: &mut Graph, name: &str, inputs: &[NodeId]) -> Result<NodeId> {
        let x = inputs[0];
        let conv3 = Conv2d { stride: [2; 2], padding: [1; 2], ..Conv2d::default() };
        match *self {
            Self::Classifier { classes, .. } => classifier(graph, name, x, classes),
            Self::CifarStem { outputs, .. } => {
                let x = convolution(
                    graph,
                    &format!("{name}/conv"),
                    x,
                    outputs,
                    3,
                    Conv2d { stride: [1; 2], ..conv3 },
                )?;
                graph.add(format!("{name}/relu"), Op::Relu, &[x])
            }
            Self::ImagenetStem { outputs, .. } => {
                let x = convolution(graph, &format!("{name}/conv1"), x, outputs / 2, 3, conv3)?;
                let x = graph.add(format!("{name}/relu1"), Op::Relu, &[x])?;
                let x = convolution(graph, &format!("{name}/conv2"), x, outputs, 3, conv3)?;
                graph.add(format!("{name}/relu2"), Op::Relu, &[x])
            }
            Self::ImagenetStemEnd { image: [channels, ..] } => {
                let x = convolution(graph, &format!("{name}/conv"), x, channels, 3, conv3)?;
                graph.add(format!("{name}/relu"), Op::Relu, &[x])
            }
            Self::Relu { .. } => graph.add(name, Op::Relu, &[x]),
            Self::Crop { .. } => graph.add(name, Op::Crop { top: 1, left: 1 }, &[x]),
            Self::Project { outputs, .. } => {
                convolution(graph, name, x, outputs, 1, Conv2d::default())
            }
            Self::Reduce { outputs, .. } => {
                let stride2 = Conv2d { stride: [2; 2], ..Conv2d::default() };
                let even = convolution(graph, &format!("{name}/even"), x, outputs / 2, 1, stride2)?;
                let odd = convolution(
                    graph,
                    &format!("{name}/odd"),
                    inputs[1],
                    outputs - outputs / 2,
                    1,
                    stride2,
                )?;
                graph.add(format!("{name}/concat"), Op::Concat, &[even, odd])
            }
            Self::Operation { op, stride, .. } => operation(graph, name, op, x, stride),
            Self::Sum { .. } => graph.add(name, Op::Add, inputs),
            Self::Concat { .. } => graph.add(name, Op::Concat, inputs),
        }
    }
}

/// An image without its first row and column.
pub(crate) fn cropped([channels, height, width]: Image) -> Image {
    [channels, height - 1, width - 1]
}

/// A convolution with a bias, as folding leaves it.
pub(crate) fn convolution(
    graph: &mut Graph,
    name: &str,
    x: NodeId,
    outputs: usize,
    kernel: usize,
    conv: Conv2d,
) -> Result<NodeId> {
    let per_group = graph[x].shape[1] / conv.groups;
    let weight = graph.parameter(
        format!("{name}/weight"),
        [outputs, per_group, kernel, kernel],
        Init::FanIn,
    )?;
    let bias = graph.parameter(format!("{name}/bias"), [outputs], Init::Constant(0.0))?;
    graph.add(name, Op::Conv2d(conv), &[x, weight, bias])
}

/// Global average and a linear layer.
pub(crate) fn classifier(
    graph: &mut Graph,
    name: &str,
    x: NodeId,
    classes: usize,
) -> Result<NodeId> {
    let channels = graph[x].shape[1];
    let x = graph.add(format!("{name}/pool"), Op::GlobalAvgPool, &[x])?;
    let weight =
        graph.parameter(format!("{name}/linear/weight"), [classes, channels], Init::FanIn)?;
    let bias = graph.parameter(format!("{name}/linear/bias"), [classes], Init::Constant(0.0))?;
    graph.add(format!("{name}/linear"), Op::Linear, &[x, weight, bias])
}

fn operation(
    graph: &mut Graph,
    name: &str,
    op: Operation,
    x: NodeId,
    stride: usize,
) -> Result<NodeId> {
    let pool = Pool { kernel: 3, stride, padding: 1 };
    match op {
        Operation::SepConv3x3 | Operation::SepConv5x5 => {
            let kernel = if op == Operation::SepConv3x3 { 3 } else { 5 };
            let x = separable(graph, &format!("{name}/1"), x, kernel, stride, 1)?;
            let x = graph.add(format!("{name}/relu"), Op::Relu, &[x])?;
            separable(graph, &format!("{name}/2"), x, kernel, 1, 1)
        }
        Operation::DilConv3x3 => separable(graph, name, x, 3, stride, 2),
        Operation::DilConv5x5 => separable(graph, name, x, 5, stride, 2),
        Operation::AvgPool3x3 => graph.add(name, Op::AvgPool(pool), &[x]),
        Operation::MaxPool3x3 => graph.add(name, Op::MaxPool(pool), &[x]),
        Operation::Identity | Operation::Zero => Ok(x),
    }
}

/// Depthwise, then pointwise. No BatchNorm stands between the two, so the first has no bias.
fn separable(
    graph: &mut Graph,
    name: &str,
    x: NodeId,
    kernel: usize,
    stride: usize,
    dilation: usize,
) -> Result<NodeId> {
    let channels = graph[x].shape[1];
    let depthwise = Conv2d {
        stride: [stride; 2],
        padding: [dilation * (kernel - 1) / 2; 2],
        dilation,
        groups: channels,
    };
    let weight =
        graph.parameter(format!("{name}/dw/weight"), [channels, 1, kernel, kernel], Init::FanIn)?;
    let x = graph.add(format!("{name}/dw"), Op::Conv2d(depthwise), &[x, weight])?;
    convolution(graph, &format!("{name}/pw"), x, channels, 1, Conv2d::default())
}
