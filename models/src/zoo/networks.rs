//! Published networks that are no stack of cells.

use adwp_engine::{Activation, Conv2d, EngineError, NodeId, Op, Pool};
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Weights};
use crate::discrete::Drops;
use crate::skeleton::check_image;
use crate::zoo::Width;
use crate::{Discrete, Heads, ModelError};

/// Layers of a DenseNet-BC's dense block that a depth leaves: two convolutions a layer, three
/// blocks, and four layers around them.
const DENSE_BLOCKS: usize = 3;

// Far beyond any network of use, so that no product of sizes overflows.
const MAX_DEPTH: usize = 1000;
const MAX_GROWTH: usize = 1000;

/// A network that was drawn as a whole. Its batch normalisation is that of all networks here,
/// whatever its publication used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Handmade {
    /// Inception-v1 (GoogLeNet) as TensorFlow and PyTorch have it: a BatchNorm after each
    /// convolution in the place of local response normalisation, 3×3 convolutions where the
    /// publication has 5×5; here without auxiliary classifiers.
    InceptionV1,
    /// DenseNet-BC for small images: three dense blocks, bottlenecks of four times the growth,
    /// transitions that halve the channels.
    DensenetBc {
        /// Convolutions and the linear layer: 6n + 4.
        depth: usize,
        /// Channels that each layer adds.
        growth: usize,
    },
    /// MobileNet: depthwise and pointwise convolutions in turn.
    MobilenetV1,
    /// MobileNetV2: inverted residuals.
    MobilenetV2,
    /// MobileNetV3-Large: inverted residuals with squeeze and excitation, hard swish.
    MobilenetV3Large,
    /// MobileNetV3-Small: the same in fewer blocks.
    MobilenetV3Small,
    /// ShuffleNetV2: half of the channels pass by each block, and then the channels of both halves
    /// are shuffled.
    ShufflenetV2,
    /// EfficientNet-B0: inverted residuals with squeeze and excitation, swish.
    EfficientnetB0,
    /// EfficientNet-Lite0: the same without squeeze and excitation, with ReLU6; padded as
    /// TensorFlow's `SAME` does it, which at stride 2 puts more zeros at the bottom and at the right
    /// of an even size.
    EfficientnetLite0,
}

impl Handmade {
    /// Builds the network of a width for images `[channels, height, width]` and a batch size: for
    /// training with the heads given, else for inference.
    ///
    /// Channels are multiplied by the width as published code does it: MobileNet cuts them to whole
    /// numbers, MobileNetV2 and V3 and EfficientNet round to multiples of 8 (torchvision's
    /// `_make_divisible`), of which MobileNetV2 never narrows the last convolution, and
    /// EfficientNet-Lite0 changes neither the first nor the last one. ShuffleNetV2, whose published
    /// widths are a table and not proportional, has even numbers of channels and never narrows the
    /// last convolution. Inception-v1 follows the later Inceptions of tensorflow/models, with 16
    /// channels at least; of a DenseNet-BC it is the growth, to which all its channels are
    /// proportional.
    ///
    /// None of them has the auxiliary classifier of [`Heads`]; what can be dropped is what a
    /// residual connection passes by.
    ///
    /// # Errors
    /// When the network or the sizes make none.
    pub fn build(
        self,
        width: Width,
        image: [usize; 3],
        classes: usize,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Discrete, ModelError> {
        self.validate()?;
        check_image(image, classes, self.smallest_side())?;
        Discrete::with_logits(image, batch, heads, |b, drops, images| {
            let features = match self {
                Self::InceptionV1 => inception_v1(b, width, images)?,
                Self::DensenetBc { depth, growth } => {
                    densenet_bc(b, images, depth, width.cut(growth, 1))?
                }
                Self::MobilenetV1 => mobilenet_v1(b, width, images)?,
                Self::MobilenetV2 => mobilenet_v2(b, drops, width, images)?,
                Self::MobilenetV3Large => {
                    mobilenet_v3(b, drops, width, images, &MOBILENET_V3_LARGE)?
                }
                Self::MobilenetV3Small => {
                    mobilenet_v3(b, drops, width, images, &MOBILENET_V3_SMALL)?
                }
                Self::ShufflenetV2 => shufflenet_v2(b, width, images)?,
                Self::EfficientnetB0 => efficientnet_b0(b, drops, width, images)?,
                Self::EfficientnetLite0 => efficientnet_lite0(b, drops, width, images)?,
            };
            // The publication of MobileNetV3 has a 1×1 convolution before the classifier, of what is
            // one position by then.
            let hidden = match self {
                Self::MobilenetV3Large => Some(1280),
                Self::MobilenetV3Small => Some(1024),
                _ => None,
            };
            let logits = drops.classifier_of(b, features, classes, |b, name, x| match hidden {
                Some(channels) => {
                    let hidden = format!("{name}/hidden");
                    let x = b.linear(&hidden, x, width.eights(channels))?;
                    active(b, &hidden, x, &Op::Activation(Activation::HardSwish))
                }
                None => Ok(x),
            })?;
            Ok((logits, None))
        })
    }

    /// Whether it has residual connections, so that what these pass by can be dropped.
    pub fn has_residuals(self) -> bool {
        match self {
            Self::MobilenetV2
            | Self::MobilenetV3Large
            | Self::MobilenetV3Small
            | Self::EfficientnetB0
            | Self::EfficientnetLite0 => true,
            Self::InceptionV1
            | Self::DensenetBc { .. }
            | Self::MobilenetV1
            | Self::ShufflenetV2 => false,
        }
    }

    /// The probability with which its published training dropped what the last linear layer reads;
    /// 0 where it dropped nothing.
    pub fn dropout(self) -> f32 {
        match self {
            // Szegedy et al., 2015, section 5.
            Self::InceptionV1 => 0.4,
            // Of `research/slim/nets/mobilenet_v1.py` in tensorflow/models, which keeps 0.999.
            Self::MobilenetV1 => 0.001,
            // Of torchvision 0.29.
            Self::MobilenetV2
            | Self::MobilenetV3Large
            | Self::MobilenetV3Small
            | Self::EfficientnetB0 => 0.2,
            Self::ShufflenetV2 => 0.0,
            // Of `models/official/efficientnet/lite` in tensorflow/tpu.
            Self::EfficientnetLite0 => 0.2,
            // Where Huang et al., 2017, section 4.2, drop anything, it is inside of the blocks, and
            // without augmentation.
            Self::DensenetBc { .. } => 0.0,
        }
    }

    /// Checks its own numbers.
    pub(crate) fn validate(self) -> Result<(), ModelError> {
        let fail = |message: String| Err(ModelError::Invalid(message));
        match self {
            Self::DensenetBc { depth, .. }
                if !(10..=MAX_DEPTH).contains(&depth) || depth % (2 * DENSE_BLOCKS) != 4 =>
            {
                fail(format!(
                    "DenseNet-BC has a depth of 6n + 4 from 10 to {MAX_DEPTH}, got {depth}"
                ))
            }
            Self::DensenetBc { growth, .. } if !(1..=MAX_GROWTH).contains(&growth) => {
                fail(format!("DenseNet-BC has a growth from 1 to {MAX_GROWTH}, got {growth}"))
            }
            Self::InceptionV1
            | Self::DensenetBc { .. }
            | Self::MobilenetV1
            | Self::MobilenetV2
            | Self::MobilenetV3Large
            | Self::MobilenetV3Small
            | Self::ShufflenetV2
            | Self::EfficientnetB0
            | Self::EfficientnetLite0 => Ok(()),
        }
    }

    /// The smallest side of an image that leaves at least one position for the classifier.
    fn smallest_side(self) -> usize {
        match self {
            Self::DensenetBc { .. } => 4,
            Self::InceptionV1
            | Self::MobilenetV1
            | Self::MobilenetV2
            | Self::MobilenetV3Large
            | Self::MobilenetV3Small
            | Self::ShufflenetV2
            | Self::EfficientnetB0
            | Self::EfficientnetLite0 => 32,
        }
    }
}

/// A convolution that keeps the size, or divides it by the stride.
fn same(kernel: usize, stride: usize) -> Conv2d {
    Conv2d { stride: [stride; 2], padding: [kernel / 2; 2], ..Conv2d::default() }
}

/// The same as TensorFlow's `SAME` pads it, for an image of these sides: as many zeros as the
/// windows need, of which the bottom and the right get one more where they are odd.
fn same_as_tensorflow(kernel: usize, stride: usize, image: [usize; 2]) -> Conv2d {
    let zeros = image.map(|side| {
        let reach = (side.div_ceil(stride) - 1) * stride + kernel;
        reach.saturating_sub(side)
    });
    Conv2d {
        stride: [stride; 2],
        padding: zeros.map(|zeros| zeros / 2),
        trailing: zeros.map(|zeros| zeros % 2),
        ..Conv2d::default()
    }
}

/// Convolution, BatchNorm.
fn conv_norm(
    b: &mut Builder,
    name: &str,
    x: NodeId,
    out: usize,
    kernel: usize,
    conv: Conv2d,
) -> Result<NodeId, ModelError> {
    let x = b.conv(name, x, out, kernel, conv, Weights::Own)?;
    Ok(b.batch_norm(&format!("{name}/bn"), x)?)
}

/// Convolution, BatchNorm, activation.
fn conv_active(
    b: &mut Builder,
    name: &str,
    x: NodeId,
    out: usize,
    kernel: usize,
    conv: Conv2d,
    activation: &Op,
) -> Result<NodeId, ModelError> {
    let x = conv_norm(b, name, x, out, kernel, conv)?;
    Ok(active(b, name, x, activation)?)
}

/// An activation of what the layer `name` gives.
fn active(b: &mut Builder, name: &str, x: NodeId, activation: &Op) -> Result<NodeId, EngineError> {
    b.graph.add(format!("{name}/{}", activation.name()), activation.clone(), &[x])
}

/// What the inverted residuals of a network have in common.
struct Style {
    /// What channels are multiplied by.
    width: Width,
    /// What follows the first two convolutions.
    activation: Op,
    /// Inside of a squeeze and excitation, where a block has one.
    inner: Op,
    /// What makes its gate.
    gate: Op,
    /// Whether it is padded as by TensorFlow.
    tensorflow: bool,
}

impl Style {
    fn same(&self, b: &Builder, x: NodeId, kernel: usize, stride: usize) -> Conv2d {
        let [height, width] = [2, 3].map(|axis| b.graph[x].shape[axis]);
        match self.tensorflow {
            true => same_as_tensorflow(kernel, stride, [height, width]),
            false => same(kernel, stride),
        }
    }
}

/// Sizes of an inverted residual.
#[derive(Clone, Copy)]
struct Inverted {
    kernel: usize,
    expanded: usize,
    out: usize,
    stride: usize,
    /// Channels inside of the squeeze and excitation, where there is one.
    squeezed: Option<usize>,
}

/// Sandler et al., 2018, section 3.3: expand, convolve each channel, squeeze and excite, project;
/// added to the input where the shape stays.
fn inverted(
    b: &mut Builder,
    drops: &mut Drops,
    name: &str,
    input: NodeId,
    style: &Style,
    sizes: Inverted,
) -> Result<NodeId, ModelError> {
    let Inverted { kernel, expanded, out, stride, squeezed } = sizes;
    let mut x = input;
    if expanded != b.channels(x) {
        let name = format!("{name}/expand");
        x = conv_active(b, &name, x, expanded, 1, Conv2d::default(), &style.activation)?;
    }
    let depthwise = Conv2d { groups: expanded, ..style.same(b, x, kernel, stride) };
    x = conv_active(b, &format!("{name}/dw"), x, expanded, kernel, depthwise, &style.activation)?;
    if let Some(squeezed) = squeezed {
        let name = format!("{name}/se");
        let pooled = b.graph.add(format!("{name}/pool"), Op::GlobalAvgPool, &[x])?;
        let reduced = b.linear(&format!("{name}/reduce"), pooled, squeezed)?;
        let reduced = active(b, &format!("{name}/reduce"), reduced, &style.inner)?;
        let gate = b.linear(&format!("{name}/expand"), reduced, expanded)?;
        let gate = active(b, &format!("{name}/expand"), gate, &style.gate)?;
        x = b.graph.add(format!("{name}/gate"), Op::Gate, &[x, gate])?;
    }
    x = conv_norm(b, &format!("{name}/project"), x, out, 1, Conv2d::default())?;
    if stride > 1 || b.channels(input) != out {
        return Ok(x);
    }
    x = drops.mask(b, name, x)?;
    Ok(b.graph.add(format!("{name}/add"), Op::Add, &[input, x])?)
}

/// A stage of inverted residuals, of which the first changes size and channels: expansion, channels,
/// blocks, stride and kernel.
type Stage = (usize, usize, usize, usize, usize);

/// A convolution to `first` channels, the stages times the width, and a convolution to `last`.
/// `squeezed` maps the input channels of a block to the hidden channels of its squeeze and
/// excitation, where it has one.
fn inverted_stages(
    b: &mut Builder,
    drops: &mut Drops,
    images: NodeId,
    style: &Style,
    stages: [Stage; 7],
    [first, last]: [usize; 2],
    squeezed: impl Fn(usize) -> Option<usize>,
) -> Result<NodeId, ModelError> {
    let conv = style.same(b, images, 3, 2);
    let mut x = conv_active(b, "conv", images, first, 3, conv, &style.activation)?;
    for (stage, (expansion, out, blocks, stride, kernel)) in stages.into_iter().enumerate() {
        for block in 0..blocks {
            let (channels, stride) = (b.channels(x), if block == 0 { stride } else { 1 });
            let (expanded, squeezed) = (expansion * channels, squeezed(channels));
            let sizes =
                Inverted { kernel, expanded, out: style.width.eights(out), stride, squeezed };
            x = inverted(b, drops, &format!("stage{stage}/block{block}"), x, style, sizes)?;
        }
    }
    conv_active(b, "head", x, last, 1, Conv2d::default(), &style.activation)
}

/// Sandler et al., 2018, Table 2.
fn mobilenet_v2(
    b: &mut Builder,
    drops: &mut Drops,
    width: Width,
    images: NodeId,
) -> Result<NodeId, ModelError> {
    const STAGES: [Stage; 7] = [
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 32, 3, 2, 3),
        (6, 64, 4, 2, 3),
        (6, 96, 3, 1, 3),
        (6, 160, 3, 2, 3),
        (6, 320, 1, 1, 3),
    ];
    let activation = Op::Activation(Activation::Relu6);
    let gate = Op::Activation(Activation::Sigmoid);
    let style = Style { width, activation, inner: Op::Relu, gate, tensorflow: false };
    let ends = [width.eights(32), width.at_least(Width::PUBLISHED).eights(1280)];
    inverted_stages(b, drops, images, &style, STAGES, ends, |_| None)
}

/// Stages of Tan and Le, 2019, Table 1.
const EFFICIENTNET_B0: [Stage; 7] = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
];

/// Tan and Le, 2019, Table 1; the squeezed channels are a quarter of those of the block's input.
fn efficientnet_b0(
    b: &mut Builder,
    drops: &mut Drops,
    width: Width,
    images: NodeId,
) -> Result<NodeId, ModelError> {
    let silu = Op::Activation(Activation::Silu);
    let gate = Op::Activation(Activation::Sigmoid);
    let style = Style { width, activation: silu.clone(), inner: silu, gate, tensorflow: false };
    let ends = [width.eights(32), width.eights(1280)];
    inverted_stages(b, drops, images, &style, EFFICIENTNET_B0, ends, |channels| Some(channels / 4))
}

/// `models/official/efficientnet/lite/efficientnet_lite_builder.py` in tensorflow/tpu.
fn efficientnet_lite0(
    b: &mut Builder,
    drops: &mut Drops,
    width: Width,
    images: NodeId,
) -> Result<NodeId, ModelError> {
    let activation = Op::Activation(Activation::Relu6);
    let gate = Op::Activation(Activation::Sigmoid);
    let style = Style { width, activation, inner: Op::Relu, gate, tensorflow: true };
    inverted_stages(b, drops, images, &style, EFFICIENTNET_B0, [32, 1280], |_| None)
}

/// Kernel, expanded channels, channels, squeeze and excitation, hard swish, stride.
type V3Block = (usize, usize, usize, bool, bool, usize);

/// Howard et al., 2019, Table 1.
const MOBILENET_V3_LARGE: [V3Block; 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

/// Howard et al., 2019, Table 2.
const MOBILENET_V3_SMALL: [V3Block; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

/// Howard et al., 2019, up to the classifier.
fn mobilenet_v3(
    b: &mut Builder,
    drops: &mut Drops,
    width: Width,
    images: NodeId,
    blocks: &[V3Block],
) -> Result<NodeId, ModelError> {
    let hard_swish = Op::Activation(Activation::HardSwish);
    let style = |activation| Style {
        width,
        activation,
        inner: Op::Relu,
        gate: Op::Activation(Activation::HardSigmoid),
        tensorflow: false,
    };
    let (plain, swish) = (style(Op::Relu), style(hard_swish.clone()));
    let mut x = conv_active(b, "conv", images, width.eights(16), 3, same(3, 2), &hard_swish)?;
    for (i, &(kernel, expanded, out, squeezes, swishes, stride)) in blocks.iter().enumerate() {
        let (expanded, out) = (width.eights(expanded), width.eights(out));
        let squeezed = squeezes.then(|| Width::PUBLISHED.eights(expanded / 4));
        let sizes = Inverted { kernel, expanded, out, stride, squeezed };
        let style = if swishes { &swish } else { &plain };
        x = inverted(b, drops, &format!("block{i}"), x, style, sizes)?;
    }
    let last = 6 * b.channels(x);
    conv_active(b, "head", x, last, 1, Conv2d::default(), &hard_swish)
}

/// Ma et al., 2018, Table 5 and Figure 3, up to the classifier.
fn shufflenet_v2(b: &mut Builder, width: Width, images: NodeId) -> Result<NodeId, ModelError> {
    // Channels and blocks, of which the first halves the size.
    const STAGES: [(usize, usize); 3] = [(116, 4), (232, 8), (464, 4)];
    let first = width.cut(24, 1);
    let x = conv_active(b, "conv", images, first, 3, same(3, 2), &Op::Relu)?;
    let pool = Pool { kernel: 3, stride: 2, padding: 1 };
    let mut x = b.graph.add("pool", Op::MaxPool(pool), &[x])?;
    for (stage, (channels, blocks)) in STAGES.into_iter().enumerate() {
        let half = width.cut(channels / 2, 1);
        for block in 0..blocks {
            x = shuffled(b, &format!("stage{stage}/block{block}"), x, half, block == 0)?;
        }
    }
    let last = width.at_least(Width::PUBLISHED).cut(1024, 1);
    conv_active(b, "head", x, last, 1, Conv2d::default(), &Op::Relu)
}

/// Two branches of `half` channels each, whose channels are then shuffled: of one that keeps the size
/// half of the channels of x pass by, of one that `halves` it both branches read all of them.
fn shuffled(
    b: &mut Builder,
    name: &str,
    x: NodeId,
    half: usize,
    halves: bool,
) -> Result<NodeId, ModelError> {
    let depthwise = |b: &mut Builder, branch: &str, x| {
        let (channels, stride) = (b.channels(x), if halves { 2 } else { 1 });
        let conv = Conv2d { groups: channels, ..same(3, stride) };
        conv_norm(b, &format!("{name}/{branch}/dw"), x, channels, 3, conv)
    };
    let pointwise = |b: &mut Builder, conv: &str, x| {
        conv_active(b, &format!("{name}/{conv}"), x, half, 1, Conv2d::default(), &Op::Relu)
    };
    let take = |b: &mut Builder, part: &str, from| {
        let op = Op::Channels { groups: 1, from, count: half };
        b.graph.add(format!("{name}/{part}"), op, &[x])
    };
    let (passing, worked_on) = match halves {
        true => {
            let y = depthwise(b, "shortcut", x)?;
            (pointwise(b, "shortcut/project", y)?, x)
        }
        false => (take(b, "passing", 0)?, take(b, "taken", half)?),
    };
    let y = pointwise(b, "expand", worked_on)?;
    let y = depthwise(b, "main", y)?;
    let y = pointwise(b, "project", y)?;
    let both = b.graph.add(format!("{name}/concat"), Op::Concat, &[passing, y])?;
    let shuffle = Op::Channels { groups: 2, from: 0, count: 2 * half };
    Ok(b.graph.add(format!("{name}/shuffle"), shuffle, &[both])?)
}

/// Howard et al., 2017, Table 1, whose last stride of 2 is a mistake: the size stays 7×7.
fn mobilenet_v1(b: &mut Builder, width: Width, images: NodeId) -> Result<NodeId, ModelError> {
    const BLOCKS: [(usize, usize); 13] = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (512, 1),
        (1024, 2),
        (1024, 1),
    ];
    let of = |channels| width.cut(channels, 8);
    let mut x = conv_active(b, "conv", images, of(32), 3, same(3, 2), &Op::Relu)?;
    for (i, (out, stride)) in BLOCKS.into_iter().enumerate() {
        let channels = b.channels(x);
        let depthwise = Conv2d { groups: channels, ..same(3, stride) };
        x = conv_active(b, &format!("block{i}/dw"), x, channels, 3, depthwise, &Op::Relu)?;
        x = conv_active(b, &format!("block{i}/pw"), x, of(out), 1, Conv2d::default(), &Op::Relu)?;
    }
    Ok(x)
}

/// Huang et al., 2017, sections 3 and 4.2.
fn densenet_bc(
    b: &mut Builder,
    images: NodeId,
    depth: usize,
    growth: usize,
) -> Result<NodeId, ModelError> {
    let layers = (depth - 4) / (2 * DENSE_BLOCKS);
    let mut x = b.conv("conv", images, 2 * growth, 3, same(3, 1), Weights::Own)?;
    for block in 0..DENSE_BLOCKS {
        for layer in 0..layers {
            let name = format!("block{block}/layer{layer}");
            let narrow = norm_relu_conv(b, &format!("{name}/bottleneck"), x, 4 * growth, 1)?;
            let new = norm_relu_conv(b, &format!("{name}/conv"), narrow, growth, 3)?;
            x = b.graph.add(format!("{name}/concat"), Op::Concat, &[x, new])?;
        }
        if block + 1 < DENSE_BLOCKS {
            let name = format!("transition{block}");
            let half = b.channels(x) / 2;
            x = norm_relu_conv(b, &name, x, half, 1)?;
            x = b.graph.add(
                format!("{name}/pool"),
                Op::AvgPool(Pool { kernel: 2, stride: 2, padding: 0 }),
                &[x],
            )?;
        }
    }
    let x = b.batch_norm("bn", x)?;
    Ok(b.graph.add("relu", Op::Relu, &[x])?)
}

/// BatchNorm, ReLU, convolution.
fn norm_relu_conv(
    b: &mut Builder,
    name: &str,
    x: NodeId,
    out: usize,
    kernel: usize,
) -> Result<NodeId, ModelError> {
    let x = b.batch_norm(&format!("{name}/bn"), x)?;
    let x = b.graph.add(format!("{name}/relu"), Op::Relu, &[x])?;
    Ok(b.conv(name, x, out, kernel, same(kernel, 1), Weights::Own)?)
}

/// Channels of the four branches of an inception module: 1×1; 3×3 after what reduces before it; the
/// same again; what follows the pool.
type Branches = (usize, [usize; 2], [usize; 2], usize);

/// Szegedy et al., 2015, Table 1, with the changes that [`Handmade::InceptionV1`] tells. Pools are
/// centred.
fn inception_v1(b: &mut Builder, width: Width, images: NodeId) -> Result<NodeId, ModelError> {
    const STAGES: [&[(&str, Branches)]; 3] = [
        &[("3a", (64, [96, 128], [16, 32], 32)), ("3b", (128, [128, 192], [32, 96], 64))],
        &[
            ("4a", (192, [96, 208], [16, 48], 64)),
            ("4b", (160, [112, 224], [24, 64], 64)),
            ("4c", (128, [128, 256], [24, 64], 64)),
            ("4d", (112, [144, 288], [32, 64], 64)),
            ("4e", (256, [160, 320], [32, 128], 128)),
        ],
        &[("5a", (256, [160, 320], [32, 128], 128)), ("5b", (384, [192, 384], [48, 128], 128))],
    ];
    let pool = |b: &mut Builder, name: String, x, stride| {
        b.graph.add(name, Op::MaxPool(Pool { kernel: 3, stride, padding: 1 }), &[x])
    };
    let conv = |b: &mut Builder, name: &str, x, out, kernel, stride| {
        let out = width.cut(out, 16.min(out));
        conv_active(b, name, x, out, kernel, same(kernel, stride), &Op::Relu)
    };
    let x = conv(b, "conv1", images, 64, 7, 2)?;
    let x = pool(b, "pool1".into(), x, 2)?;
    let x = conv(b, "conv2/reduce", x, 64, 1, 1)?;
    let mut x = conv(b, "conv2", x, 192, 3, 1)?;
    for (stage, modules) in STAGES.into_iter().enumerate() {
        x = pool(b, format!("pool{}", stage + 2), x, 2)?;
        for &(module, (plain, narrow, wide, pooled)) in modules {
            let name = |part: &str| format!("inception{module}/{part}");
            let mut branches = vec![conv(b, &name("1x1"), x, plain, 1, 1)?];
            for (branch, [reduced, out]) in [("narrow", narrow), ("wide", wide)] {
                let y = conv(b, &name(&format!("{branch}/reduce")), x, reduced, 1, 1)?;
                branches.push(conv(b, &name(branch), y, out, 3, 1)?);
            }
            let y = pool(b, name("pool"), x, 1)?;
            branches.push(conv(b, &name("pool/project"), y, pooled, 1, 1)?);
            x = b.graph.add(name("concat"), Op::Concat, &branches)?;
        }
    }
    Ok(x)
}
