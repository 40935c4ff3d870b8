use crate::Init;

/// A two-dimensional convolution. The weight, `[out, in / groups, kernel height, kernel width]`, is
/// an input of the operation; pairs are of the directions down and across.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2d {
    /// Step between windows.
    pub stride: [usize; 2],
    /// Zeros added on each side.
    pub padding: [usize; 2],
    /// Zeros added at the bottom and at the right in addition: at stride 2 an even size is padded
    /// so by TensorFlow's `SAME`.
    pub trailing: [usize; 2],
    /// Distance between the taps of the kernel.
    pub dilation: usize,
    /// Number of groups that input and output channels are split into.
    pub groups: usize,
}

impl Default for Conv2d {
    fn default() -> Self {
        Self { stride: [1; 2], padding: [0; 2], trailing: [0; 2], dilation: 1, groups: 1 }
    }
}

/// A two-dimensional pooling window; the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Positions added on each side; they are never the maximum and do not count in an average.
    pub padding: usize,
}

/// Normalisation of each channel over batch and space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// A function of each element, for which readers have no formula of their own as they have for a
/// ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// min(max(x, 0), 6).
    Relu6,
    /// min(max(x + 3, 0), 6) / 6.
    HardSigmoid,
    /// x · min(max(x + 3, 0), 6) / 6.
    HardSwish,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
    /// x / (1 + exp(-x)), also called swish.
    Silu,
}

impl Activation {
    /// In the order of their declaration.
    pub const ALL: [Self; 5] =
        [Self::Relu6, Self::HardSigmoid, Self::HardSwish, Self::Sigmoid, Self::Silu];

    /// The name used in messages and profiles.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu6 => "relu6",
            Self::HardSigmoid => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::Sigmoid => "sigmoid",
            Self::Silu => "silu",
        }
    }
}

/// An operation of the graph. Inputs are given in the order named here; `n` is the batch.
///
/// Every reader of the graph matches it without a wildcard arm, so that a new operation does not
/// compile until all of them know it.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Values given anew for each step: images, labels, masks.
    Input,
    /// Values owned by [`crate::Variables`] under the node's name.
    Parameter {
        /// First values.
        init: Init,
    },
    /// `x [n, c, h, w]`, `weight [o, c / groups, kh, kw]`, optionally `bias [o]` → `[n, o, h',
    /// w']`.
    Conv2d(Conv2d),
    /// `x [n, c, h, w]`, optionally `scale [c]` and `shift [c]` → the shape of x.
    BatchNorm(BatchNorm),
    /// max(x, 0), any shape.
    Relu,
    /// Any other function of each element, any shape.
    Activation(Activation),
    /// `x [n, c, h, w]` → the maximum of each window.
    MaxPool(Pool),
    /// `x [n, c, h, w]` → the mean of each window, padding not counted.
    AvgPool(Pool),
    /// `x [n, c, h, w]` → `[n, c]`.
    GlobalAvgPool,
    /// Sum of inputs of one shape.
    Add,
    /// x · factor.
    Scale {
        /// Any finite number.
        factor: f32,
    },
    /// `weights` (any shape, read flat), `x_0 … x_{k-1}` of one shape → Σ weights\[terms\[i\]\] ·
    /// x_i.
    WeightedSum {
        /// Flat index into the weights, one for each x.
        terms: Vec<usize>,
    },
    /// Images of one batch and size → their channels, one after the other.
    Concat,
    /// `x [n, c, h, w]` without its first rows and columns.
    Crop {
        /// Rows dropped.
        top: usize,
        /// Columns dropped.
        left: usize,
    },
    /// `x [n, c, h, w]` → `[n, count, h, w]`: some of its channels after they were shuffled, which
    /// puts the first of every group first, then the second of every group (ShuffleNet, Zhang et
    /// al., 2018, section 3.1). One group leaves them as they are.
    Channels {
        /// Groups of channels that are shuffled, which divide the channels.
        groups: usize,
        /// The first channel taken, counted after that.
        from: usize,
        /// Channels taken, at least 1.
        count: usize,
    },
    /// One element of a tensor, read flat → `[1, 1]`.
    Select {
        /// Flat index.
        index: usize,
    },
    /// `x [n, i]`, `weight [o, i]`, optionally `bias [o]` → `[n, o]`.
    Linear,
    /// The same elements under another shape.
    Reshape,
    /// Softmax over the last dimension.
    Softmax,
    /// `x [n, …]`, `mask [n]` → each sample times its mask value. The mask holds 0 or 1 / keep
    /// probability.
    DropPath,
    /// `x [n, c, h, w]`, `gate [n, c]` → each channel of each sample times its gate.
    Gate,
    /// `logits [n, classes]`, `labels [n]` (class indices stored as floats) → mean cross-entropy,
    /// `[1]`.
    CrossEntropy {
        /// Share of the target spread evenly over all classes.
        smoothing: f32,
    },
}

impl Op {
    /// The name used in messages and profiles.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Parameter { .. } => "parameter",
            Op::Conv2d(_) => "conv2d",
            Op::BatchNorm(_) => "batch_norm",
            Op::Relu => "relu",
            Op::Activation(activation) => activation.name(),
            Op::MaxPool(_) => "max_pool",
            Op::AvgPool(_) => "avg_pool",
            Op::GlobalAvgPool => "global_avg_pool",
            Op::Add => "add",
            Op::Scale { .. } => "scale",
            Op::WeightedSum { .. } => "weighted_sum",
            Op::Concat => "concat",
            Op::Crop { .. } => "crop",
            Op::Channels { .. } => "channels",
            Op::Select { .. } => "select",
            Op::Linear => "linear",
            Op::Reshape => "reshape",
            Op::Softmax => "softmax",
            Op::DropPath => "drop_path",
            Op::Gate => "gate",
            Op::CrossEntropy { .. } => "cross_entropy",
        }
    }
}
