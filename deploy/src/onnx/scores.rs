//! What the numbers of an output are: logits, probabilities, or something computed from either.

use std::collections::HashSet;

use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto, tensor_proto::DataType};

use super::tensors::{element_type, is_standard_domain, node_label};
use crate::cost::{Links, single_number};

/// What the numbers of an output are, as far as its graph says it.
#[derive(Debug, Clone, PartialEq)]
pub enum Scores {
    /// What the last layers give, whose softmax is the distribution: logits, or logarithms of
    /// probabilities.
    Logits,
    /// `factor * p + offset` of probabilities p, with a `factor` above 0: 1 and 0 where the graph
    /// ends in a `Softmax` or `Sigmoid`, or in one of their hard or quantised forms, but for what
    /// takes, moves or converts its values; 100 and 0 for percent.
    Probabilities {
        /// What they are multiplied by.
        factor: f64,
        /// What is added then.
        offset: f64,
    },
    /// Computed from probabilities by the node of this name, in a way that is not followed: a mean
    /// of several is a distribution still, a power of them is not.
    OfProbabilities(String),
    /// Computed by the node of this name, after which the softmax may give another distribution than
    /// the network's own: a class as ones and zeros, codes of quantised values, a logarithm to
    /// another base, an operator that nothing is known of.
    Unclear(String),
}

impl Scores {
    /// Those of the tensor `name` of a graph.
    pub(super) fn of(graph: &GraphProto, name: &str) -> Self {
        let writers = Writers::of(graph);
        let (mut at, mut factor, mut offset) = (name, 1_f64, 0_f64);
        // The node that made whole numbers of them.
        let is_whole = graph.output.iter().any(|of| of.name == name && gives_whole(of));
        let mut rounded = writers.writer(name).filter(|_| is_whole);
        // Codes of quantised values are what they were before only where they are made numbers
        // again.
        let mut codes = 0;
        // Some node that is no step to a result in this way, of which messages name the last.
        let mut last = None;
        while let Some(node) = writers.writer(at) {
            let op = node.op_type.as_str();
            codes += i32::from(op == "DequantizeLinear");
            codes -=
                i32::from(matches!(op, "QuantizeLinear" | "QLinearSoftmax" | "QLinearSigmoid"));
            if codes < 0 || op == "Cast" && casts_to_whole(node) {
                rounded.get_or_insert(node);
            }
            let is_followed = factor > 0.0 && factor.is_finite() && offset.is_finite();
            if makes_probabilities(node) || writers.is_written_sigmoid(node) {
                match is_followed && codes == 0 {
                    true => return Self::Probabilities { factor, offset },
                    false => break,
                }
            }
            last.get_or_insert(node);
            let Some((input, by, plus)) = step(node, at, graph, &writers) else { break };
            (at, factor, offset) = (input, factor * by, offset + factor * plus);
        }
        match last.or(writers.writer(at)) {
            Some(node) if writers.come_from_probabilities(name) => {
                Self::OfProbabilities(node_label(node))
            }
            _ => rounded
                .or_else(|| writers.unclear(at, factor == 1.0 && codes == 0))
                .map_or(Self::Logits, |node| Self::Unclear(node_label(node))),
        }
    }
}

/// The nodes of a graph by what they write.
struct Writers<'a>(Links<'a>);

impl<'a> Writers<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        Self(Links::of(graph))
    }

    fn writer(&self, name: &str) -> Option<&'a NodeProto> {
        self.0.writer(name)
    }

    /// Whether a node divides by 1 and an exponential: a sigmoid that is written out.
    fn is_written_sigmoid(&self, node: &NodeProto) -> bool {
        let divisor = match node.op_type.as_str() {
            "Reciprocal" => node.input.first(),
            "Div" => node.input.get(1),
            _ => None,
        };
        let of = |name: &String, op: &str| self.writer(name).filter(|node| node.op_type == op);
        let sum = divisor.and_then(|name| of(name, "Add"));
        is_standard_domain(&node.domain)
            && sum.is_some_and(|sum| sum.input.iter().any(|name| of(name, "Exp").is_some()))
    }

    /// A node from which on the values of a tensor are no logits, as far as is known. `is_plain` says
    /// that nothing has multiplied them.
    fn unclear(&self, name: &'a str, is_plain: bool) -> Option<&'a NodeProto> {
        let is_logarithm = |node: &NodeProto| match node.op_type.as_str() {
            "Log" => node.input.first().is_some_and(|of| self.is_softmax(of)),
            op => op == "LogSoftmax",
        };
        if is_plain && self.writer(name).is_some_and(is_logarithm) {
            return None;
        }
        let (mut open, mut seen) = (vec![name], HashSet::new());
        while let Some(name) = open.pop() {
            let Some(node) = self.writer(name).filter(|_| seen.insert(name)) else { continue };
            let op = node.op_type.as_str();
            let inputs = node.input.iter().map(String::as_str);
            match is_standard_domain(&node.domain) {
                // One number for all classes of an image changes no softmax.
                true if op == "Sub" && node.input.get(1).is_some_and(|of| self.is_shift(of)) => {
                    open.extend(inputs.take(1));
                }
                true if MOVES.contains(&op) => open.extend(inputs.take(1)),
                true if SUMS.contains(&op) => open.extend(inputs),
                true if LAYERS.contains(&op) => {}
                false if node.domain == "com.microsoft" && is_fused_layer(op) => {}
                _ => return Some(node),
            }
        }
        None
    }

    /// Whether a tensor is a softmax, but for what moves it or keeps it from 0.
    fn is_softmax(&self, name: &str) -> bool {
        let Some(node) = self.writer(name) else { return false };
        match node.op_type.as_str() {
            "Softmax" => is_standard_domain(&node.domain),
            "Identity" | "Clip" | "Max" | "Add" | "Cast" => {
                node.input.first().is_some_and(|of| self.is_softmax(of))
            }
            _ => false,
        }
    }

    /// Whether a tensor has the largest of the scores, or the logarithm of the sum of their
    /// exponentials, as a softmax that is written out has.
    fn is_shift(&self, name: &str) -> bool {
        let Some(node) = self.writer(name) else { return false };
        let of_sum = || {
            let sum = node.input.first().and_then(|of| self.writer(of));
            sum.is_some_and(|sum| sum.op_type == "ReduceSum")
        };
        match node.op_type.as_str() {
            "ReduceMax" | "ReduceLogSumExp" => true,
            "Log" => of_sum(),
            "Add" => node.input.iter().all(|of| self.is_shift(of)),
            _ => false,
        }
    }

    /// Whether arithmetic alone leads from probabilities to a tensor.
    fn come_from_probabilities(&self, name: &'a str) -> bool {
        let (mut open, mut seen) = (vec![name], HashSet::new());
        while let Some(name) = open.pop() {
            let Some(node) = self.writer(name).filter(|_| seen.insert(name)) else { continue };
            if makes_probabilities(node) || self.is_written_sigmoid(node) {
                return true;
            }
            let op = node.op_type.as_str();
            if is_standard_domain(&node.domain) && (MOVES.contains(&op) || ARITHMETIC.contains(&op))
            {
                open.extend(node.input.iter().map(String::as_str));
            }
        }
        false
    }
}

/// Operators that take, move or convert the values of their first input.
#[rustfmt::skip]
const MOVES: [&str; 15] = [
    "Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
    "QuantizeLinear", "DequantizeLinear", "Dropout", "Clip", "Slice", "Split", "Gather",
];

/// Operators that compute values from others, without weights that a layer has. `Log` is not among
/// them: the softmax of logarithms of probabilities gives these again.
#[rustfmt::skip]
const ARITHMETIC: [&str; 20] = [
    "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Neg", "Reciprocal", "Sum", "Mean", "Max",
    "Min", "Concat", "ReduceMean", "ReduceSum", "ReduceMax", "ReduceProd", "Round", "Where",
];

/// Operators that add up or scale what layers give: logits of several heads, biases, gains, the mean
/// over places.
#[rustfmt::skip]
const SUMS: [&str; 12] = [
    "Add", "Sub", "Mul", "Div", "Neg", "Sum", "Mean", "Concat", "ReduceMean", "ReduceSum",
    "Expand", "Pad",
];

/// Operators that a network may end in before its softmax.
#[rustfmt::skip]
const LAYERS: [&str; 38] = [
    "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "ConvInteger", "Gemm", "MatMul",
    "MatMulInteger", "Einsum", "QLinearConv", "QLinearMatMul", "BatchNormalization",
    "InstanceNormalization", "LayerNormalization", "RMSNormalization", "GroupNormalization", "LRN",
    "MeanVarianceNormalization", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
    "GlobalMaxPool", "GlobalLpPool", "ReduceMax", "RNN", "GRU", "LSTM", "Attention", "Relu",
    "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "HardSwish", "Mish",
];

/// Whether an operator of ONNX Runtime's own domain is one of [`LAYERS`] with another inside.
fn is_fused_layer(op: &str) -> bool {
    op.starts_with("Fused") || op.starts_with("QLinear") || matches!(op, "QGemm" | "NhwcConv")
}

/// Whether an output has whole numbers.
fn gives_whole(output: &ValueInfoProto) -> bool {
    element_type(output).is_some_and(|kind| is_whole_kind(i64::from(kind)))
}

fn casts_to_whole(node: &NodeProto) -> bool {
    node.attribute.iter().any(|of| of.name == "to" && is_whole_kind(of.i))
}

fn is_whole_kind(kind: i64) -> bool {
    use DataType::{Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    let whole = [Bool, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64];
    whole.iter().any(|&whole| whole as i64 == kind)
}

fn makes_probabilities(node: &NodeProto) -> bool {
    match (node.op_type.as_str(), node.domain.as_str()) {
        ("Softmax" | "Sigmoid" | "Hardmax" | "HardSigmoid", domain) => is_standard_domain(domain),
        (op, "com.microsoft") => matches!(op, "QLinearSoftmax" | "QLinearSigmoid"),
        _ => false,
    }
}

/// The tensor that a node only moves, or multiplies by a number and adds one to, and these numbers.
fn step<'a>(
    node: &'a NodeProto,
    output: &str,
    graph: &GraphProto,
    writers: &Writers<'_>,
) -> Option<(&'a str, f64, f64)> {
    let op = node.op_type.as_str();
    if !is_standard_domain(&node.domain) {
        return None;
    }
    let input = |at: usize| node.input.get(at).map(String::as_str);
    if MOVES.contains(&op) {
        // What else a node gives is a mask, and no values.
        let is_values = op == "Split" || node.output.first().is_some_and(|first| first == output);
        return Some((input(0).filter(|_| is_values)?, 1.0, 0.0));
    }
    let number = |at: usize| {
        let name = input(at)?;
        let stored = graph.initializer.iter().find(|tensor| tensor.name == name);
        single_number(stored, writers.writer(name))
    };
    match (op, number(0), number(1)) {
        ("Mul", None, Some(by)) => Some((input(0)?, by, 0.0)),
        ("Mul", Some(by), None) => Some((input(1)?, by, 0.0)),
        ("Div", None, Some(by)) => Some((input(0)?, 1.0 / by, 0.0)),
        ("Add", None, Some(plus)) => Some((input(0)?, 1.0, plus)),
        ("Add", Some(plus), None) => Some((input(1)?, 1.0, plus)),
        ("Sub", None, Some(minus)) => Some((input(0)?, 1.0, -minus)),
        ("Sub", Some(from), None) => Some((input(1)?, -1.0, from)),
        ("Neg", ..) => Some((input(0)?, -1.0, 0.0)),
        _ => None,
    }
}
