//! Published cells of wider spaces than that of DARTS.

use adwp_engine::{Candidate, Conv2d, EngineError, NodeId, Op, Owner, Pool};
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Depthwise, Weights};
use crate::cells::{CellPlan, Choice};
use crate::{CellKind, Discrete, Heads, ModelError, Skeleton};

/// The inputs of a cell: its first states.
const INPUTS: usize = 2;
/// Pairs that a node sums at most.
const PAIRS: usize = 2;

/// An operation of a wider space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WideOperation {
    /// The input itself; at stride 2 a factorised reduction.
    #[serde(rename = "identity")]
    Identity,
    /// Average of 3×3, padding not counted.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool3x3,
    /// Maximum of 3×3.
    #[serde(rename = "max_pool_3x3")]
    MaxPool3x3,
    /// Maximum of 3×3, normalised.
    #[serde(rename = "max_pool_3x3_bn")]
    MaxPool3x3Norm,
    /// Maximum of 2×2, only at stride 2.
    #[serde(rename = "max_pool_2x2")]
    MaxPool2x2,
    /// A pointwise convolution.
    #[serde(rename = "conv_1x1")]
    Conv1x1,
    /// A 3×3 convolution of a quarter of the channels, between two pointwise ones.
    #[serde(rename = "bottleneck_3x3")]
    Bottleneck3x3,
    /// A 1×7 and a 7×1 convolution of a quarter of the channels, between two pointwise ones.
    #[serde(rename = "conv_1x7_7x1")]
    Conv1x7Then7x1,
    /// A 1×3 and a 3×1 convolution in 8 groups, then a pointwise one.
    #[serde(rename = "conv_1x3_3x1_g8")]
    Conv1x3Then3x1,
    /// Two depthwise-separable 3×3 convolutions.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3x3,
    /// Two depthwise-separable 5×5 convolutions.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5x5,
    /// Two depthwise-separable 7×7 convolutions.
    #[serde(rename = "sep_conv_7x7")]
    SepConv7x7,
    /// Two depthwise-separable 5×5 convolutions with dilation 2.
    #[serde(rename = "dil_sep_conv_5x5")]
    DilSepConv5x5,
}

impl WideOperation {
    fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::AvgPool3x3 => "avg_pool_3x3",
            Self::MaxPool3x3 => "max_pool_3x3",
            Self::MaxPool3x3Norm => "max_pool_3x3_bn",
            Self::MaxPool2x2 => "max_pool_2x2",
            Self::Conv1x1 => "conv_1x1",
            Self::Bottleneck3x3 => "bottleneck_3x3",
            Self::Conv1x7Then7x1 => "conv_1x7_7x1",
            Self::Conv1x3Then3x1 => "conv_1x3_3x1_g8",
            Self::SepConv3x3 => "sep_conv_3x3",
            Self::SepConv5x5 => "sep_conv_5x5",
            Self::SepConv7x7 => "sep_conv_7x7",
            Self::DilSepConv5x5 => "dil_sep_conv_5x5",
        }
    }

    fn build(
        self,
        b: &mut Builder,
        name: &str,
        x: NodeId,
        stride: usize,
    ) -> Result<NodeId, ModelError> {
        let separable = |b: &mut Builder, kernel: usize, dilation: usize| {
            b.separable_twice(name, x, Depthwise { kernel, stride, dilation }, Weights::Own)
        };
        let pool = |b: &mut Builder, name: &str, op: fn(Pool) -> Op, kernel: usize| {
            b.graph.add(name, op(Pool { kernel, stride, padding: (kernel - 1) / 2 }), &[x])
        };
        Ok(match self {
            Self::Identity if stride == 1 => x,
            Self::Identity => b.factorized_reduction(name, x, b.channels(x), Weights::Own)?,
            Self::AvgPool3x3 => pool(b, name, Op::AvgPool, 3)?,
            Self::MaxPool3x3 => pool(b, name, Op::MaxPool, 3)?,
            Self::MaxPool2x2 if stride == 1 => {
                return Err(ModelError::Invalid(format!(
                    "{name}: at stride 1 a 2×2 pool has no size to keep"
                )));
            }
            Self::MaxPool2x2 => pool(b, name, Op::MaxPool, 2)?,
            Self::MaxPool3x3Norm => {
                let y = pool(b, &format!("{name}/pool"), Op::MaxPool, 3)?;
                b.batch_norm(&format!("{name}/bn"), y)?
            }
            Self::Conv1x1 => b.relu_conv_norm(name, x, b.channels(x), 1, stride, Weights::Own)?,
            Self::Bottleneck3x3 => bottleneck(b, name, x, |b, x| {
                let strided = Conv2d { stride: [stride; 2], padding: [1; 2], ..Conv2d::default() };
                b.conv(&format!("{name}/conv"), x, b.channels(x), 3, strided, Weights::Own)
            })?,
            Self::Conv1x7Then7x1 => bottleneck(b, name, x, |b, x| {
                b.across_and_down(name, x, 7, stride, 1, |b, x| {
                    let x = b.batch_norm(&format!("{name}/middle_bn"), x)?;
                    b.relu(x)
                })
            })?,
            Self::Conv1x3Then3x1 => {
                let channels = b.channels(x);
                if !channels.is_multiple_of(GROUPS) {
                    let message =
                        format!("{name}: {channels} channels do not split into {GROUPS} groups");
                    return Err(ModelError::Invalid(message));
                }
                let x = b.relu(x)?;
                let x = b.across_and_down(name, x, 3, stride, GROUPS, |_, x| Ok(x))?;
                let x = b.batch_norm(&format!("{name}/middle_bn"), x)?;
                let x = b.relu(x)?;
                let x =
                    b.conv(&format!("{name}/pw"), x, channels, 1, Conv2d::default(), Weights::Own)?;
                b.batch_norm(&format!("{name}/bn"), x)?
            }
            Self::SepConv3x3 => separable(b, 3, 1)?,
            Self::SepConv5x5 => separable(b, 5, 1)?,
            Self::SepConv7x7 => separable(b, 7, 1)?,
            Self::DilSepConv5x5 => separable(b, 5, 2)?,
        })
    }
}

/// Groups of the convolutions of [`WideOperation::Conv1x3Then3x1`].
const GROUPS: usize = 8;

/// A convolution of a quarter of the channels between two pointwise ones; without these where there
/// are fewer than four channels.
fn bottleneck(
    b: &mut Builder,
    name: &str,
    x: NodeId,
    convolution: impl FnOnce(&mut Builder, NodeId) -> Result<NodeId, EngineError>,
) -> Result<NodeId, ModelError> {
    let (channels, mut x) = (b.channels(x), b.relu(x)?);
    let narrow = channels / 4;
    if narrow > 0 {
        x = b.conv(&format!("{name}/pre"), x, narrow, 1, Conv2d::default(), Weights::Own)?;
        x = b.batch_norm(&format!("{name}/pre_bn"), x)?;
        x = b.relu(x)?;
    }
    x = convolution(b, x)?;
    x = b.batch_norm(&format!("{name}/bn"), x)?;
    if narrow > 0 {
        x = b.relu(x)?;
        x = b.conv(&format!("{name}/post"), x, channels, 1, Conv2d::default(), Weights::Own)?;
        x = b.batch_norm(&format!("{name}/post_bn"), x)?;
    }
    Ok(x)
}

/// What a node sums: an operation on an earlier state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WidePair {
    /// 0 and 1 are the outputs of the cell before the last and of the last, 2 is the first node.
    pub input: usize,
    /// What is done to it.
    pub op: WideOperation,
}

impl Choice for WidePair {
    fn input(self) -> usize {
        self.input
    }

    fn operation(self) -> &'static str {
        self.op.name()
    }

    fn is_identity(self) -> bool {
        self.op == WideOperation::Identity
    }

    fn name(self, candidate: Candidate) -> String {
        // A node may have the same pair twice.
        format!("{}/{}", Owner::Candidate(candidate), candidate.place)
    }

    fn build(
        self,
        b: &mut Builder,
        name: &str,
        x: NodeId,
        stride: usize,
        _: Weights,
    ) -> Result<Option<NodeId>, ModelError> {
        self.op.build(b, name, x, stride).map(Some)
    }
}

/// A cell whose output concatenates some of its states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideCell {
    /// For each node the one or two pairs it sums.
    pub nodes: Vec<Vec<WidePair>>,
    /// The states that are concatenated; one of another size than the last node's is reduced.
    pub output: Vec<usize>,
}

/// Cells of a wider space; the normal cells of a network are all alike, as its reduction cells are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideCells {
    /// The cell that keeps the size.
    pub normal: WideCell,
    /// The cell that halves it.
    pub reduction: WideCell,
}

impl WideCell {
    fn validate(&self) -> Result<(), String> {
        let states = INPUTS + self.nodes.len();
        for (node, pairs) in self.nodes.iter().enumerate() {
            if !(1..=PAIRS).contains(&pairs.len()) {
                return Err(format!(
                    "node {node} sums {} pairs, expected 1 or {PAIRS}",
                    pairs.len()
                ));
            }
            if let Some(pair) = pairs.iter().find(|pair| pair.input >= INPUTS + node) {
                return Err(format!(
                    "node {node} reads state {}, which is none before it",
                    pair.input
                ));
            }
        }
        if self.output.is_empty()
            || !self.output.iter().all(|&state| state < states)
            || !self.output.is_sorted_by(|a, b| a < b)
        {
            return Err(format!("its output must be some of its {states} states in order"));
        }
        Ok(())
    }
}

impl WideCells {
    /// Builds the network of these cells for a batch size: for training with the heads given, else
    /// for inference.
    ///
    /// # Errors
    /// When the cells or the sizes make no network.
    pub fn build(
        &self,
        skeleton: &Skeleton,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Discrete, ModelError> {
        self.validate()?;
        Discrete::stack(skeleton, batch, heads, |site| {
            let cell = match site.kind {
                CellKind::Normal => &self.normal,
                CellKind::Reduction => &self.reduction,
            };
            Ok(CellPlan { nodes: &cell.nodes, output: &cell.output })
        })
    }

    /// What the channels of a node in the first cell must be a multiple of, so that all channels
    /// split into their groups.
    pub(crate) fn channel_step(&self) -> usize {
        let has_groups = |cell: &WideCell| {
            cell.nodes.iter().flatten().any(|pair| pair.op == WideOperation::Conv1x3Then3x1)
        };
        // A reduction cell has at least twice as many.
        match (has_groups(&self.normal), has_groups(&self.reduction)) {
            (true, _) => GROUPS,
            (false, true) => GROUPS / 2,
            (false, false) => 1,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        for (name, cell) in [("normal", &self.normal), ("reduction", &self.reduction)] {
            cell.validate()
                .map_err(|message| ModelError::Invalid(format!("{name} cell: {message}")))?;
        }
        Ok(())
    }
}
