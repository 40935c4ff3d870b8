//! Which stored tensors a constant tensor is computed from, and which of them a node learns with.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{NodeProto, tensor_proto::DataType};

use super::values::{Part, Role, Values};

/// The most that has been counted of every stored tensor.
#[derive(Default)]
pub(super) struct Counted<'a> {
    cuts: HashSet<(&'a str, &'a str)>,
    elements: HashMap<&'a str, u64>,
}

impl<'a> Counted<'a> {
    /// Elements of `parts` that were not counted before. Cuts of one tensor are taken to be apart
    /// from each other, until together they have more elements than it.
    pub(super) fn add(&mut self, parts: &[Part<'a>], values: &Values<'a>) -> u64 {
        let new = parts.iter().filter(|part| self.cuts.insert((part.root, part.cut))).map(|part| {
            let all = values.elements_of(part.root);
            let so_far = self.elements.entry(part.root).or_default();
            let new = part.elements.min(all.saturating_sub(*so_far));
            *so_far += new;
            new
        });
        new.sum()
    }
}

/// Operators whose result has the values of their first input, in another type, shape or order, or
/// computed from them; what else they read says how.
#[rustfmt::skip]
const OF_THE_FIRST: [&str; 44] = [
    "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "CastLike",
    "QuantizeLinear", "DequantizeLinear", "Pad", "Clip", "Tile", "Expand", "Trilu", "DepthToSpace",
    "SpaceToDepth", "Abs", "Sign", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Round", "Floor",
    "Ceil", "Relu", "Sigmoid", "Tanh", "Softmax", "Softplus", "Erf", "ReduceL1", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare", "LpNormalization",
    "HardSigmoid", "Resize", "Dropout",
];

/// Those that take a part of it.
const CUTS: [&str; 5] = ["Slice", "Gather", "GatherElements", "GatherND", "Split"];

/// Those that join values of all inputs.
const JOINED: [&str; 12] =
    ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Concat", "MatMul", "Einsum"];

/// Stored tensors that one is followed to be computed from, at most: a chain of sums lists them
/// anew with every node.
const MOST_PARTS: usize = 1000;

/// What result `index` of a node that no input of the graph determines has of stored tensors;
/// `None` of more than are followed.
pub(super) fn parts<'a>(
    node: &'a NodeProto,
    index: usize,
    elements: u64,
    values: &Values<'a>,
) -> Option<Vec<Part<'a>>> {
    if node.input.iter().any(|name| values.overfull.contains(name.as_str())) {
        return None;
    }
    let parts = followed(node, index, elements, values);
    (parts.len() <= MOST_PARTS).then_some(parts)
}

fn followed<'a>(
    node: &'a NodeProto,
    index: usize,
    elements: u64,
    values: &Values<'a>,
) -> Vec<Part<'a>> {
    let of = |name: &String| values.parts(name).to_vec();
    let op = node.op_type.as_str();
    let first = || node.input.first().map(of).unwrap_or_default();
    if OF_THE_FIRST.contains(&op) && index == 0 {
        return first();
    }
    if CUTS.contains(&op) {
        let (whole, mut left) = (first(), elements);
        if whole.iter().map(|part| part.elements).sum::<u64>() <= elements {
            return whole;
        }
        let Some(cut) = node.output.get(index) else { return Vec::new() };
        // Of what was joined before, as much as there is of each, in its order.
        let taken = whole.iter().map(|part| {
            let elements = part.elements.min(left);
            left -= elements;
            Part { cut, elements, ..*part }
        });
        let mut taken: Vec<Part<'a>> = taken.filter(|part| part.elements > 0).collect();
        taken.dedup_by_key(|part| (part.root, part.cut));
        return taken;
    }
    let joined: Vec<&String> = match op {
        "Where" => node.input.iter().skip(1).collect(),
        _ if JOINED.contains(&op) => node.input.iter().collect(),
        _ => return Vec::new(),
    };
    let masks = op == "Mul" && joined.len() == 2;
    let is_mask = |name: &&String| masks && values.is_mask(name);
    let all_masks = joined.iter().all(is_mask);
    let (mut parts, mut known): (Vec<Part<'a>>, _) = (Vec::new(), HashSet::new());
    for name in joined.iter().filter(|name| all_masks || !is_mask(name)) {
        parts.extend(of(name).into_iter().filter(|part| known.insert((part.root, part.cut))));
    }
    // A factor or a bound is no weight next to one.
    if parts.iter().any(|part| part.elements > 1) {
        parts.retain(|part| part.elements > 1);
    }
    parts
}

/// The inputs that a node computed at run time learns with, of those operators that treat stored
/// and computed values alike.
pub(super) fn inputs(node: &NodeProto, values: &Values<'_>) -> Vec<usize> {
    let judged = judged(node, values).into_iter();
    judged.filter(|(_, reason)| reason.is_none()).map(|(index, _)| index).collect()
}

/// The other stored arrays that such a node reads, and what they are instead.
pub(super) fn left_out<'a>(
    node: &'a NodeProto,
    values: &Values<'a>,
) -> impl Iterator<Item = (&'a str, &'static str)> {
    let judged = judged(node, values).into_iter();
    judged.filter_map(|(index, reason)| Some((node.input.get(index)?.as_str(), reason?)))
}

/// The stored arrays of real numbers that a node computed at run time reads, and why they are not
/// learned where they are not.
fn judged(node: &NodeProto, values: &Values<'_>) -> Vec<(usize, Option<&'static str>)> {
    let places = match node.op_type.as_str() {
        "Add" | "Mul" | "Sub" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Mean" | "Concat" => {
            0..node.input.len()
        }
        "Where" => 1..3,
        "Expand" | "Tile" | "Gather" | "GatherElements" | "GatherND" => 0..1,
        _ => return Vec::new(),
    };
    let computed = node.input.iter().filter(|name| !name.is_empty() && !values.is_constant(name));
    let computed: Vec<&String> = computed.collect();
    // Nothing is learned with yet where all is constant, nor in arithmetic on shapes.
    if computed.iter().all(|name| values.is_measured(name)) {
        return Vec::new();
    }
    let scales = node.op_type != "Add" && computed.iter().any(|name| values.is_scaled(name));
    let prepares = computed.iter().all(|name| values.is_pixels(name));
    let judge = |index: usize| {
        let name = node.input.get(index)?;
        let elements = values.parts(name).iter().map(|part| part.elements).sum::<u64>();
        let reason = match is_arithmetic(node) {
            true if scales => Some("a scale of quantised values"),
            true if prepares && elements <= MOST_CHANNELS => Some("it prepares pixels"),
            _ => None,
        };
        // Of more than are followed not even the number is known.
        let is_array = elements > 1 || values.overfull.contains(name.as_str());
        (is_real(values.kind(name)) && is_array).then_some((index, reason))
    };
    places.filter_map(judge).collect()
}

/// Means and deviations of pixels are one for each channel.
const MOST_CHANNELS: u64 = 4;

fn is_arithmetic(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Add" | "Mul" | "Sub" | "Div")
}

fn is_real(kind: Option<DataType>) -> bool {
    matches!(
        kind,
        Some(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double)
    )
}

/// The role of result `index`.
pub(super) fn role(node: &NodeProto, index: usize, values: &Values<'_>) -> Option<Role> {
    let op = node.op_type.as_str();
    match (op, index) {
        ("Shape" | "Size", _) => return Some(Role::Measured),
        ("DynamicQuantizeLinear", 1) | ("ConvInteger" | "MatMulInteger", 0) => {
            return Some(Role::Scaled);
        }
        _ => {}
    }
    let computed = node.input.iter().filter(|name| !name.is_empty() && !values.is_constant(name));
    let computed: Vec<&String> = computed.collect();
    if computed.is_empty() {
        return None;
    }
    if computed.iter().all(|name| values.is_measured(name)) {
        return Some(Role::Measured);
    }
    let keeps = matches!(
        op,
        "Cast" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Flatten"
    );
    if (keeps || op == "Mul") && computed.iter().all(|name| values.is_scaled(name)) {
        // A product of two scales is one; a sum that was scaled is a value again.
        let is_sum = |name: &&&String| values.kind(name) == Some(DataType::Int32);
        return (keeps || !computed.iter().any(|name| is_sum(&name))).then_some(Role::Scaled);
    }
    let prepares = keeps
        || matches!(op, "Resize" | "Slice" | "Gather" | "Pad" | "Split" | "Concat")
        || is_arithmetic(node);
    (prepares && computed.iter().all(|name| values.is_pixels(name))).then_some(Role::Pixels)
}
