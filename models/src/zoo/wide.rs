//! Published cells of wider spaces than that of DARTS.

use adwp_engine::{Conv2d, NodeId, Op, Pool};
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Weights};
use crate::discrete::Drops;
use crate::{CellKind, Discrete, Heads, ModelError, Skeleton};

/// The inputs of a cell: its first states.
const INPUTS: usize = 2;

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
    /// Maximum of 2×2, only at stride 2.
    #[serde(rename = "max_pool_2x2")]
    MaxPool2x2,
    /// A pointwise convolution.
    #[serde(rename = "conv_1x1")]
    Conv1x1,
    /// A dense 3×3 convolution.
    #[serde(rename = "conv_3x3")]
    Conv3x3,
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
            Self::MaxPool2x2 => "max_pool_2x2",
            Self::Conv1x1 => "conv_1x1",
            Self::Conv3x3 => "conv_3x3",
            Self::SepConv3x3 => "sep_conv_3x3",
            Self::SepConv5x5 => "sep_conv_5x5",
            Self::SepConv7x7 => "sep_conv_7x7",
            Self::DilSepConv5x5 => "dil_sep_conv_5x5",
        }
    }

    fn build(self, b: &mut Builder, name: &str, x: NodeId, stride: usize) -> Result<NodeId, ModelError> {
        let conv = |b: &mut Builder, kernel: usize| {
            let x = b.relu(x)?;
            let (channels, conv) = (b.channels(x), Conv2d { stride, padding: kernel / 2, ..Conv2d::default() });
            let x = b.conv(&format!("{name}/conv"), x, channels, kernel, conv, Weights::Own)?;
            b.batch_norm(&format!("{name}/bn"), x)
        };
        let separable = |b: &mut Builder, kernel: usize, dilation: usize| {
            let x = b.separable(name, "1", x, kernel, stride, dilation, Weights::Own)?;
            b.separable(name, "2", x, kernel, 1, dilation, Weights::Own)
        };
        let pool = |b: &mut Builder, op: fn(Pool) -> Op, kernel: usize| {
            b.graph.add(name, op(Pool { kernel, stride, padding: (kernel - 1) / 2 }), &[x])
        };
        Ok(match self {
            Self::Identity if stride == 1 => x,
            Self::Identity => b.factorized_reduction(name, x, b.channels(x), Weights::Own)?,
            Self::AvgPool3x3 => pool(b, Op::AvgPool, 3)?,
            Self::MaxPool3x3 => pool(b, Op::MaxPool, 3)?,
            Self::MaxPool2x2 if stride == 1 => {
                return Err(ModelError::Invalid(format!("{name}: at stride 1 a 2×2 pool has no size to keep")));
            }
            Self::MaxPool2x2 => pool(b, Op::MaxPool, 2)?,
            Self::Conv1x1 => conv(b, 1)?,
            Self::Conv3x3 => conv(b, 3)?,
            Self::SepConv3x3 => separable(b, 3, 1)?,
            Self::SepConv5x5 => separable(b, 5, 1)?,
            Self::SepConv7x7 => separable(b, 7, 1)?,
            Self::DilSepConv5x5 => separable(b, 5, 2)?,
        })
    }
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

/// A cell whose output concatenates some of its states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideCell {
    /// For each node the pairs it sums.
    pub nodes: Vec<[WidePair; 2]>,
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
            if let Some(pair) = pairs.iter().find(|pair| pair.input >= INPUTS + node) {
                return Err(format!("node {node} reads state {}, which is none before it", pair.input));
            }
        }
        if self.output.is_empty() || !self.output.iter().all(|&state| state < states) || !self.output.is_sorted_by(|a, b| a < b) {
            return Err(format!("its output must be some of its {states} states in order"));
        }
        Ok(())
    }

    fn build(&self, b: &mut Builder, drops: &mut Drops, name: &str, inputs: [NodeId; 2], kind: CellKind) -> Result<NodeId, ModelError> {
        let mut states = inputs.to_vec();
        for (node, pairs) in self.nodes.iter().enumerate() {
            let mut terms = Vec::with_capacity(pairs.len());
            for (place, pair) in pairs.iter().enumerate() {
                let name = format!("{name}/node{}/{}@{}/{place}", node + INPUTS, pair.op.name(), pair.input);
                let stride = if kind == CellKind::Reduction && pair.input < INPUTS { 2 } else { 1 };
                let y = pair.op.build(b, &name, states[pair.input], stride)?;
                let droppable = !(pair.op == WideOperation::Identity && stride == 1);
                terms.push(if droppable { drops.drop(b, &name, y)? } else { y });
            }
            states.push(b.graph.add(format!("{name}/node{}", node + INPUTS), Op::Add, &terms)?);
        }
        let last = *states.last().expect("a cell has inputs");
        let mut output = Vec::with_capacity(self.output.len());
        for &state in &self.output {
            let x = states[state];
            let smaller = b.graph[x].shape[2..] != b.graph[last].shape[2..];
            let channels = b.channels(last);
            output.push(match smaller {
                true => b.factorized_reduction(&format!("{name}/state{state}"), x, channels, Weights::Own)?,
                false => x,
            });
        }
        Ok(b.graph.add(format!("{name}/output"), Op::Concat, &output)?)
    }
}

impl WideCells {
    /// Builds the network of these cells for a batch size: for training with the heads given, else for inference.
    ///
    /// # Errors
    /// When the cells or the sizes make no network.
    pub fn build(&self, skeleton: &Skeleton, batch: usize, heads: Option<Heads>) -> Result<Discrete, ModelError> {
        self.validate()?;
        Discrete::stack(skeleton, batch, heads, |b, drops, site, name, inputs| {
            let cell = match site.kind {
                CellKind::Normal => &self.normal,
                CellKind::Reduction => &self.reduction,
            };
            cell.build(b, drops, name, inputs, site.kind)
        })
    }

    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        for (name, cell) in [("normal", &self.normal), ("reduction", &self.reduction)] {
            cell.validate().map_err(|message| ModelError::Invalid(format!("{name} cell: {message}")))?;
        }
        Ok(())
    }
}
