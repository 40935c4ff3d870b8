//! Which stored tensors a constant tensor is computed from, and which of them a node learns with.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tract_onnx::pb::{NodeProto, tensor_proto::DataType};

use super::{
    attributes, layout,
    region::{self, Boxes, Region},
    values::{Part, Role, Values},
};
use crate::onnx::element_bits;

/// The most that has been counted of every stored tensor.
#[derive(Default)]
pub(super) struct Counted<'a> {
    cuts: HashSet<(&'a str, &'a str)>,
    elements: HashMap<&'a str, u64>,
    boxes: HashMap<&'a str, Boxes>,
}

impl<'a> Counted<'a> {
    /// Elements of `parts` that were not counted before. Cuts of one tensor whose places are not
    /// known are taken to be apart from each other, until together they have more elements than
    /// it.
    pub(super) fn add(&mut self, parts: &[Part<'a>], values: &Values<'a>) -> u64 {
        let new = parts.iter().filter(|part| self.cuts.insert((part.root, part.cut))).map(|part| {
            let all = values.elements_of(part.root);
            let so_far = self.elements.entry(part.root).or_default();
            let apart = part
                .region
                .as_ref()
                .and_then(|region| self.boxes.entry(part.root).or_default().add(region));
            let new = apart.unwrap_or(part.elements).min(all.saturating_sub(*so_far));
            *so_far += new;
            new
        });
        new.sum()
    }
}

/// Operators whose result has the values of their first input, in another type, shape or order, or
/// computed from them; what else they read says how.
#[rustfmt::skip]
const OF_THE_FIRST: [&str; 49] = [
    "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast", "CastLike",
    "QuantizeLinear", "DequantizeLinear", "Pad", "Clip", "Tile", "Expand", "Trilu", "DepthToSpace",
    "SpaceToDepth", "Abs", "Sign", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Round", "Floor",
    "Ceil", "Relu", "Sigmoid", "Tanh", "Softmax", "Softplus", "Erf", "ReduceL1", "ReduceL2",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare", "LpNormalization",
    "HardSigmoid", "Resize", "Dropout", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
    "BitwiseNot",
];

/// Those that take a part of it.
const CUTS: [&str; 5] = ["Slice", "Gather", "GatherElements", "GatherND", "Split"];

/// Those of them that leave the axes as they are.
const ALIGNED: [&str; 8] =
    ["Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Neg", "Slice", "Split"];

/// Those that only answer questions.
const ASKING: [&str; 10] = [
    "Equal",
    "Less",
    "LessOrEqual",
    "Greater",
    "GreaterOrEqual",
    "IsNaN",
    "IsInf",
    "Shape",
    "Size",
    "NonZero",
];

/// Whether input `index` says how a node computes: statistics, scales, zero points, first states.
fn steers(op: &str, index: usize) -> bool {
    match op {
        "BatchNormalization" => index > 2,
        "ConvInteger" | "MatMulInteger" => index > 1,
        "QLinearConv" | "QLinearMatMul" => !matches!(index, 0 | 3 | 8),
        "RNN" | "GRU" => index == 5,
        "LSTM" => matches!(index, 5 | 6),
        _ => false,
    }
}

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
    let op = node.op_type.as_str();
    let of = |name: &String| {
        let mut parts = values.parts(name).to_vec();
        parts.iter_mut().for_each(|part| part.aligned &= ALIGNED.contains(&op));
        parts
    };
    let first = || node.input.first().map(of).unwrap_or_default();
    if OF_THE_FIRST.contains(&op) && index == 0 {
        return first();
    }
    if CUTS.contains(&op) {
        let whole = first();
        if whole.iter().map(|part| part.elements).sum::<u64>() <= elements {
            return whole;
        }
        let mut left = elements.min(gathered(node, values).unwrap_or(elements));
        let Some(cut) = node.output.get(index) else { return Vec::new() };
        if let [part] = &whole[..]
            && let Some(region) = cut_region(node, index, part, values)
        {
            let (elements, region) = (region::elements(&region), Some(Arc::new(region)));
            return vec![Part { cut, elements, region, ..part.clone() }];
        }
        // Of what was joined before, as much as there is of each, in its order.
        let taken = whole.iter().map(|part| {
            let elements = part.elements.min(left);
            left -= elements;
            Part { cut, elements, region: None, aligned: false, ..part.clone() }
        });
        let mut taken: Vec<Part<'a>> = taken.filter(|part| part.elements > 0).collect();
        taken.dedup_by_key(|part| (part.root, part.cut));
        return taken;
    }
    let joined: Vec<&String> = match op {
        "Where" => node.input.iter().skip(1).collect(),
        "Concat" => node.input.iter().collect(),
        _ if ASKING.contains(&op) => return Vec::new(),
        // Whatever else computes with real numbers has them of all inputs.
        _ => {
            let inputs = node.input.iter().enumerate();
            let read =
                inputs.filter(|&(index, name)| !steers(op, index) && is_real(values.kind(name)));
            read.map(|(_, name)| name).collect()
        }
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

/// The elements of what a `Gather` along places that are known takes, each counted once.
fn gathered(node: &NodeProto, values: &Values<'_>) -> Option<u64> {
    let [data, indices] = &node.input[..] else { return None };
    if node.op_type != "Gather" {
        return None;
    }
    let shape = values.shape(data)?;
    let along = layout::axis(axis_of(node), shape.len()).ok()?;
    let size = shape[along] as i64;
    let places = values.ints(indices)?.iter();
    let places: HashSet<i64> =
        places.map(|&at| if at < 0 { at.saturating_add(size) } else { at }).collect();
    let others = shape.iter().enumerate().filter(|&(dim, _)| dim != along);
    Some(others.map(|(_, &size)| size as u64).product::<u64>() * places.len() as u64)
}

fn axis_of(node: &NodeProto) -> i64 {
    attributes::int(node, "axis").unwrap_or(0)
}

/// What `Slice` and `Split` cut out of a stored tensor whose axes their input has; `None` where
/// that is no box or not known.
fn cut_region(
    node: &NodeProto,
    index: usize,
    part: &Part<'_>,
    values: &Values<'_>,
) -> Option<Region> {
    let input = values.shape(node.input.first()?)?;
    let mut region = match &part.region {
        Some(region) => Region::clone(region),
        None if part.cut == part.root => {
            values.shape(part.root)?.iter().map(|&size| (0, size)).collect()
        }
        None => return None,
    };
    let fits = region.iter().map(|(start, end)| end - start).eq(input.iter().copied());
    if !part.aligned || !fits || region::elements(&region) != part.elements {
        return None;
    }
    let mut cut = |axis: usize, start: usize, end: usize| {
        let from = region[axis].0;
        region[axis] = (from + start, from + end.max(start));
    };
    match node.op_type.as_str() {
        "Slice" => {
            for (axis, start, end) in layout::slice_bounds(node, input, values)? {
                cut(axis, start, end);
            }
        }
        "Split" => {
            let shapes = layout::split(node, input, values).ok()?;
            let along = layout::axis(axis_of(node), input.len()).ok()?;
            let start = shapes[..index].iter().map(|shape| shape[along]).sum::<usize>();
            cut(along, start, start + shapes.get(index)?[along]);
        }
        _ => return None,
    }
    Some(region)
}

/// Whether a node computed at run time reads stored arrays that may be learned.
pub(super) fn reads_arrays(node: &NodeProto, values: &Values<'_>) -> bool {
    let mut inputs = node.input.iter().enumerate();
    inputs.any(|(index, name)| !steers(&node.op_type, index) && is_array(name, values))
}

/// Whether `name` is a constant array of real numbers, or of quantised ones.
pub(super) fn is_array(name: &str, values: &Values<'_>) -> bool {
    let kind = values.kind(name);
    let quantised = kind
        .filter(|&kind| kind != DataType::Bool)
        .and_then(element_bits)
        .is_some_and(|bits| bits <= 8);
    let elements = values.parts(name).iter().map(|part| part.elements).sum::<u64>();
    // Of more than are followed not even the number is known.
    (is_real(kind) || quantised) && (elements > 1 || values.overfull.contains(name))
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
        is_array(name, values).then_some((index, reason))
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
