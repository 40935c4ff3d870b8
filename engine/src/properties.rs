//! What readers of a graph ask about an operation, in one table. A new operation does not compile
//! until it has a row, and what the row does not say is what holds for any operation: it is a step
//! of its own between tensors in f32, and nothing is fused with it.

use crate::Init;
use crate::op::{Conv2d, Op, Pool};

/// Where a value comes from that no step computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf {
    /// It is fed for each run.
    Input,
    /// It is a variable, which starts with these values.
    Parameter(Init),
}

/// Some of the inputs of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inputs {
    None,
    First,
    AllButFirst,
    All,
}

impl Inputs {
    pub(crate) fn contains(self, input: usize) -> bool {
        match self {
            Inputs::None => false,
            Inputs::First => input == 0,
            Inputs::AllButFirst => input > 0,
            Inputs::All => true,
        }
    }
}

/// An operation on each element of the first input, which readers of its value can apply
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Formula {
    /// The element as it is.
    Same,
    /// max(x, 0).
    Relu,
    /// A normalisation of its channel.
    Norm,
    /// Times the value of its sample in the second input.
    Mask,
}

impl Formula {
    /// Whether the readers that apply it write the gradient of its input, masked where it has to
    /// be, so that its own backward step is left to them.
    pub(crate) fn is_passed_over(self) -> bool {
        match self {
            Formula::Same | Formula::Relu => true,
            Formula::Norm | Formula::Mask => false,
        }
    }
}

/// How the gradient of an input follows from that of the output, element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried<'a> {
    /// Of every input: it is the same.
    Same,
    /// Of every input but the first: times the element of the first that the term names.
    Weighted(&'a [usize]),
    /// Of the first input: times the mask, the second input.
    Masked,
    /// Of the first input: through the normalisation.
    Normalized,
}

/// A window that slides over images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sliding<'a> {
    Conv(&'a Conv2d),
    Pool(&'a Pool),
}

/// How the gradients of the inputs are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackwardStep {
    /// Each input by itself.
    Each,
    /// All at once, while a plane is in cache; the sums for the gradient of a normalisation before
    /// it are then left as well.
    Convolution,
    /// Sums over each channel first, even where no gradient is written.
    Normalization,
    /// Products with the inputs first, even where no gradient is written.
    Sum,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Properties<'a> {
    /// Set where no step computes the value.
    pub(crate) leaf: Option<Leaf>,
    /// Whether it keeps a running mean and variance of each channel in variables.
    pub(crate) statistics: bool,
    /// The input of which each element of the output takes one row, `[…]` of `[out, …]`, in as
    /// many multiply-adds.
    pub(crate) weight: Option<usize>,
    pub(crate) window: Option<Sliding<'a>>,
    /// The inputs that the kernels for GPUs can read from bf16.
    pub(crate) halves: Inputs,
    /// The inputs that can be read through a ReLU, and whose gradient is then masked.
    pub(crate) through_relu: Inputs,
    /// The inputs that can be read through a normalisation.
    pub(crate) through_norm: Inputs,
    pub(crate) formula: Option<Formula>,
    pub(crate) carried: Option<Carried<'a>>,
    /// Whether it works plane by plane: it can leave the moments of the planes it writes, and read
    /// its gradient through formulas.
    pub(crate) by_planes: bool,
    pub(crate) backward: BackwardStep,
    /// Whether the backward step reads what was computed.
    pub(crate) reads_output: bool,
}

/// What holds for any operation.
const ANY: Properties<'static> = Properties {
    leaf: None,
    statistics: false,
    weight: None,
    window: None,
    halves: Inputs::None,
    through_relu: Inputs::None,
    through_norm: Inputs::None,
    formula: None,
    carried: None,
    by_planes: false,
    backward: BackwardStep::Each,
    reads_output: false,
};

impl Op {
    /// Set where the value comes from outside of a program.
    pub fn leaf(&self) -> Option<Leaf> {
        self.properties().leaf
    }

    /// Whether it keeps running statistics in variables.
    pub fn keeps_statistics(&self) -> bool {
        self.properties().statistics
    }

    pub(crate) fn properties(&self) -> Properties<'_> {
        let windowed = |window| Properties {
            window: Some(window),
            halves: Inputs::First,
            through_relu: Inputs::First,
            through_norm: Inputs::First,
            by_planes: true,
            ..ANY
        };
        let sum = Properties { backward: BackwardStep::Sum, ..ANY };
        let of_first = Properties { halves: Inputs::First, ..ANY };
        match self {
            Op::Input => Properties { leaf: Some(Leaf::Input), ..ANY },
            Op::Parameter { init } => Properties { leaf: Some(Leaf::Parameter(*init)), ..ANY },
            Op::Conv2d(conv) => Properties {
                weight: Some(1),
                backward: BackwardStep::Convolution,
                ..windowed(Sliding::Conv(conv))
            },
            Op::MaxPool(pool) | Op::AvgPool(pool) => windowed(Sliding::Pool(pool)),
            Op::BatchNorm(_) => Properties {
                statistics: true,
                formula: Some(Formula::Norm),
                carried: Some(Carried::Normalized),
                backward: BackwardStep::Normalization,
                ..of_first
            },
            Op::Relu => {
                Properties { through_norm: Inputs::First, formula: Some(Formula::Relu), ..of_first }
            }
            Op::Activation(_) => Properties { through_norm: Inputs::First, ..of_first },
            Op::Add => Properties {
                halves: Inputs::All,
                through_norm: Inputs::All,
                carried: Some(Carried::Same),
                ..sum
            },
            Op::WeightedSum { terms } => Properties {
                halves: Inputs::AllButFirst,
                through_norm: Inputs::AllButFirst,
                carried: Some(Carried::Weighted(terms)),
                ..sum
            },
            Op::Concat => Properties { halves: Inputs::All, through_norm: Inputs::All, ..ANY },
            Op::DropPath => Properties {
                through_norm: Inputs::First,
                formula: Some(Formula::Mask),
                carried: Some(Carried::Masked),
                ..of_first
            },
            Op::Reshape => Properties { formula: Some(Formula::Same), ..of_first },
            Op::Linear => Properties { weight: Some(1), ..of_first },
            Op::Softmax => Properties { reads_output: true, ..of_first },
            Op::GlobalAvgPool
            | Op::Scale { .. }
            | Op::Crop { .. }
            | Op::Channels { .. }
            | Op::Select { .. }
            | Op::Gate
            | Op::CrossEntropy { .. } => of_first,
        }
    }
}
