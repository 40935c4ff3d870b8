//! Where the images of a run lie in its tensors: what a node does for each of them, and what it does
//! once for all.

use std::collections::{BTreeMap, HashMap};

use tract_onnx::pb::{GraphProto, NodeProto, tensor_shape_proto::dimension::Value};

use super::{
    attributes, layout,
    values::{Shape, Values, of_images},
};
use crate::onnx::{first_symbol, is_standard_domain, tensor_shape};

/// Where the images are in a tensor that depends on them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Images {
    /// The tensor is `outer` blocks, in each of which every image has `inner` values in a row.
    Along { outer: u64, inner: u64 },
    /// Values of several images went into one, or so it must be taken: at the node of this index.
    Joined(usize),
}

impl Images {
    /// The index of the node that joined them.
    fn joined(&self) -> Option<usize> {
        match *self {
            Self::Joined(at) => Some(at),
            Self::Along { .. } => None,
        }
    }
}

/// The axis that the images lie along, with `outer` values of it before they change and `inner` of
/// it for each: more than 1 where a `Reshape` has laid other axes together with theirs.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Along {
    axis: usize,
    outer: u64,
    inner: u64,
}

/// What a node works on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Each image by itself.
    OfEach,
    /// No image: once in a run of any number of them.
    OfRun,
    /// Images that were joined at the node of this index.
    Joined(usize),
}

/// Several images of one run.
pub(super) struct Batch<'a> {
    /// The input that has them along its first dimension.
    pub(super) input: &'a str,
    /// How many they are, 2 or more.
    pub(super) images: u64,
    lies: HashMap<&'a str, Images>,
}

impl<'a> Batch<'a> {
    /// The images of a run with inputs of `shapes`; `None` of one image.
    pub(super) fn of(graph: &'a GraphProto, shapes: &BTreeMap<&'a str, Shape>) -> Option<Self> {
        let input = of_images(graph, shapes)?;
        let images = shapes.get(input.name.as_str())?[0] as u64;
        if images < 2 {
            return None;
        }
        let mut batch = Self { input: &input.name, images, lies: HashMap::new() };
        let symbol = first_symbol(input);
        for other in &graph.input {
            let Some(shape) = shapes.get(other.name.as_str()) else { continue };
            // What the file calls as the images are called is theirs, such as the second of states.
            let called =
                |dim: &Value| matches!(dim, Value::DimParam(name) if Some(&**name) == symbol);
            let dims = tensor_shape(other).map_or(&[][..], |shape| &shape.dim);
            let named = dims.iter().position(|dim| dim.value.as_ref().is_some_and(called));
            let axis = named.filter(|&axis| axis < shape.len()).unwrap_or(0);
            if shape.get(axis).is_some_and(|&size| size as u64 == images) {
                batch.lay(&other.name, Along { axis, outer: 1, inner: 1 }, shape);
            }
        }
        Some(batch)
    }

    /// What `node` works on, once [`Batch::run`] has seen it.
    pub(super) fn work(&self, node: &NodeProto) -> Work {
        let of = |names: &[String]| -> Vec<Images> {
            names.iter().filter_map(|name| self.lies.get(name.as_str()).copied()).collect()
        };
        let read = of(&node.input);
        let joined = read.iter().chain(&of(&node.output)).find_map(Images::joined);
        match joined {
            Some(at) => Work::Joined(at),
            None if read.is_empty() => Work::OfRun,
            None => Work::OfEach,
        }
    }

    /// The index of the node that joined the images before tensor `name`.
    pub(super) fn joined(&self, name: &str) -> Option<usize> {
        self.lies.get(name).and_then(Images::joined)
    }

    /// Takes in node `index`, whose results `values` knows. One that the counter does not know is
    /// taken to keep the images apart where its result has as many first.
    pub(super) fn run(
        &mut self,
        index: usize,
        node: &'a NodeProto,
        is_known: bool,
        values: &Values<'a>,
        opset: i64,
    ) {
        let lies = |name: &String| self.lies.get(name.as_str()).copied();
        let read: Vec<Option<Images>> = node.input.iter().map(lies).collect();
        let is_of_shapes =
            is_standard_domain(&node.domain) && matches!(node.op_type.as_str(), "Shape" | "Size");
        // A graph inside of a node reads what it does not list.
        let inner = attributes::has_graphs(node);
        if is_of_shapes || !inner && read.iter().all(Option::is_none) {
            return;
        }
        let before = read.iter().flatten().find_map(Images::joined);
        // Of the second input only the type is read.
        if node.op_type == "CastLike" && read.first().is_none_or(Option::is_none) {
            return;
        }
        for (output, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            // One number for all of them, whatever their number.
            if node.op_type == "DynamicQuantizeLinear" && output > 0 {
                continue;
            }
            let images = match before {
                Some(at) => Some(Images::Joined(at)),
                None if is_known && !inner => self.kept(node, output, &read, values, opset),
                None => self.first(name, values),
            };
            self.lies.insert(name, images.unwrap_or(Images::Joined(index)));
        }
    }

    /// Where the images lie in `output` of a node that keeps them apart.
    fn kept(
        &self,
        node: &NodeProto,
        output: usize,
        read: &[Option<Images>],
        values: &Values<'_>,
        opset: i64,
    ) -> Option<Images> {
        let shape = values.shape(node.output.get(output)?)?;
        if UNMOVED.contains(&node.op_type.as_str()) {
            let &Images::Along { outer, inner } = read.first()?.as_ref()? else { return None };
            let elements = shape.iter().map(|&size| size as u64).product::<u64>();
            return (outer * self.images * inner == elements)
                .then_some(Images::Along { outer, inner });
        }
        let mut lies = None;
        for (index, images) in read.iter().enumerate() {
            let Some(images) = images else { continue };
            let of = values.shape(&node.input[index])?;
            let along = self.along(*images, of)?;
            let moved = Moved { node, index, axis: along.axis, of, output, shape, values, opset };
            let along = Along { axis: moved.axis()?, ..along };
            if *lies.get_or_insert(along) != along {
                return None;
            }
        }
        let Along { axis, outer, inner } = lies?;
        let fits = *shape.get(axis)? as u64 == outer * self.images * inner;
        fits.then(|| self.laid(Along { axis, outer, inner }, shape))
    }

    /// Along the first axis of `name`, where it has as many.
    fn first(&self, name: &str, values: &Values<'_>) -> Option<Images> {
        let shape = values.shape(name)?;
        let fits = *shape.first()? as u64 == self.images;
        fits.then(|| self.laid(Along { axis: 0, outer: 1, inner: 1 }, shape))
    }

    fn lay(&mut self, name: &'a str, along: Along, shape: &[usize]) {
        self.lies.insert(name, self.laid(along, shape));
    }

    fn laid(&self, along: Along, shape: &[usize]) -> Images {
        let product = |shape: &[usize]| shape.iter().map(|&size| size as u64).product::<u64>();
        Images::Along {
            outer: product(&shape[..along.axis]) * along.outer,
            inner: product(&shape[along.axis + 1..]) * along.inner,
        }
    }

    /// The axis of a tensor of `shape` that `images` lie along; `None` where it is not one.
    fn along(&self, images: Images, shape: &[usize]) -> Option<Along> {
        let Images::Along { outer, .. } = images else { return None };
        let mut before = 1_u64;
        for (axis, &size) in shape.iter().enumerate() {
            if before == 0 || before > outer {
                return None;
            }
            let with = before * size as u64;
            if outer.is_multiple_of(before) && with > 0 && with.is_multiple_of(outer * self.images)
            {
                let inner = with / (outer * self.images);
                return Some(Along { axis, outer: outer / before, inner });
            }
            before = with;
        }
        None
    }
}

/// Operators whose result has the values of their first input where they were, or each computed from
/// the one in its place.
#[rustfmt::skip]
const UNMOVED: [&str; 58] = [
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Sigmoid", "HardSigmoid",
    "HardSwish", "Tanh", "Softplus", "Softsign", "Gelu", "Mish", "Swish", "Shrink", "Erf", "Exp",
    "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos",
    "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Not", "BitwiseNot",
    "IsNaN", "IsInf", "Identity", "Cast", "CastLike", "Trilu", "QuantizeLinear",
    "DequantizeLinear", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Dropout",
    "DynamicQuantizeLinear", "Reshape", "Flatten", "Squeeze", "Unsqueeze",
];

/// Those that compute every value from those in its place, of shapes that are broadcast.
#[rustfmt::skip]
const BROADCAST: [&str; 25] = [
    "Add", "Mul", "Sub", "Div", "Pow", "Mod", "Equal", "Less", "LessOrEqual", "Greater",
    "GreaterOrEqual", "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitShift",
    "Sum", "Mean", "Max", "Min", "Where", "PRelu", "Expand",
];

/// Input `index` of `node`, of shape `of`, with the images along `axis`; and `output` of `shape`.
struct Moved<'v, 'a> {
    node: &'v NodeProto,
    index: usize,
    axis: usize,
    of: &'v [usize],
    output: usize,
    shape: &'v [usize],
    values: &'v Values<'a>,
    opset: i64,
}

impl Moved<'_, '_> {
    /// The axis of the output that the images lie along; `None` where the node joins them.
    fn axis(&self) -> Option<usize> {
        let &Self { node, index, axis, of, output, shape, .. } = self;
        let rank = of.len();
        let int = |name: &str, default| attributes::int(node, name).unwrap_or(default);
        let stated = |default| layout::axis(int("axis", default), rank).ok();
        let if_first = |is: bool| (index == 0 && is).then_some(axis);
        match node.op_type.as_str() {
            op if BROADCAST.contains(&op) => Some(shape.len().checked_sub(rank)? + axis),
            "BatchNormalization" | "Slice" | "Pad" | "Resize" | "Upsample" => if_first(true),
            "Conv" | "ConvInteger" | "QLinearConv" | "ConvTranspose" | "GroupNormalization"
            | "LRN" | "DepthToSpace" | "SpaceToDepth" => if_first(axis == 0),
            "InstanceNormalization"
            | "MaxPool"
            | "AveragePool"
            | "LpPool"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "GlobalLpPool" => if_first(axis < 2),
            "LayerNormalization" | "RMSNormalization" => if_first(axis < stated(-1)?),
            // Before operator set 13 all axes from that one on were one.
            "Softmax" | "LogSoftmax" | "Hardmax" if self.opset < 13 => if_first(axis < stated(1)?),
            "Softmax" | "LogSoftmax" | "Hardmax" | "LpNormalization" | "TopK" => {
                if_first(axis != stated(-1)?)
            }
            "MeanVarianceNormalization" => {
                let axes = attributes::ints(node, "axes").unwrap_or(&[0, 2, 3]);
                if_first(!self.holds(axes, rank)?)
            }
            "CumSum" => if_first(!self.holds(self.values.ints(node.input.get(1)?)?, rank)?),
            "Split" => if_first(axis != stated(0)?),
            "Concat" => (axis != stated(0)?).then_some(axis),
            "ScatterElements" => (axis != stated(0)?).then_some(axis),
            "GatherElements" => (index == 1 || axis != stated(0)?).then_some(axis),
            "GatherND" => {
                let batch = usize::try_from(int("batch_dims", 0)).ok()?;
                (if index == 0 { axis < batch } else { axis + 1 < rank }).then_some(axis)
            }
            "GridSample" => (axis == 0).then_some(0),
            "Gather" => {
                let (data, places) = (self.rank(0)?, self.rank(1)?);
                let gathered = layout::axis(int("axis", 0), data).ok()?;
                match index {
                    0 if axis < gathered => Some(axis),
                    0 if axis > gathered => Some(axis + places - 1),
                    1 => Some(gathered + axis),
                    _ => None,
                }
            }
            "Tile" => if_first(true),
            "Transpose" => match attributes::ints(node, "perm") {
                Some(order) => order.iter().position(|&dim| layout::axis(dim, rank) == Ok(axis)),
                None => Some(rank - 1 - axis),
            },
            "ArgMax" | "ArgMin" => self.reduced(&[int("axis", 0)]),
            op if op.starts_with("Reduce") && index == 0 => {
                let axes = layout::list(node, "axes", 1, self.values).ok()?.unwrap_or_default();
                match axes.is_empty() && attributes::flag(node, "noop_with_empty_axes", false) {
                    true => Some(axis),
                    false if axes.is_empty() => None,
                    false => self.reduced(&axes),
                }
            }
            "Gemm" => {
                let rows = usize::from(attributes::flag(node, "transA", false));
                let columns = usize::from(!attributes::flag(node, "transB", false));
                match index {
                    0 => (axis == rows).then_some(0),
                    1 => (axis == columns).then_some(1),
                    _ => Some(2_usize.checked_sub(rank)? + axis),
                }
            }
            "MatMul" | "MatMulInteger" => self.multiplied(1),
            "QLinearMatMul" => self.multiplied(3),
            "Einsum" => {
                let equation = attributes::string(node, "equation")?;
                let equation: String = equation.split_whitespace().collect();
                let (left, right) = equation.split_once("->")?;
                let letter = left.split(',').nth(index)?.chars().nth(axis)?;
                right.chars().position(|other| other == letter)
            }
            "RNN" | "GRU" | "LSTM" => {
                let is_first = attributes::flag(node, "layout", false);
                let is_batch = match index {
                    0 | 5 | 6 => axis == usize::from(!is_first),
                    4 => axis == 0,
                    _ => false,
                };
                let kept = if output == 0 { 2 } else { 1 };
                is_batch.then_some(if is_first { 0 } else { kept })
            }
            _ => None,
        }
    }

    fn rank(&self, index: usize) -> Option<usize> {
        self.values.shape(self.node.input.get(index)?).map(Vec::len)
    }

    /// Whether the images' axis is one of `axes`.
    fn holds(&self, axes: &[i64], rank: usize) -> Option<bool> {
        let axes: Option<Vec<usize>> =
            axes.iter().map(|&axis| layout::axis(axis, rank).ok()).collect();
        Some(axes?.contains(&self.axis))
    }

    /// Where they are once `axes` are reduced.
    fn reduced(&self, axes: &[i64]) -> Option<usize> {
        let rank = self.of.len();
        if self.index > 0 || self.holds(axes, rank)? {
            return None;
        }
        let is_before = |of: &&i64| layout::axis(**of, rank).is_ok_and(|of| of < self.axis);
        let gone = match attributes::flag(self.node, "keepdims", true) {
            true => 0,
            false => axes.iter().filter(is_before).count(),
        };
        Some(self.axis - gone)
    }

    /// Where they are in a product of the first input by the one at `second`.
    fn multiplied(&self, second: usize) -> Option<usize> {
        let (rank, is_left) = (self.of.len(), self.index == 0);
        if !is_left && self.index != second || rank < 2 {
            return None;
        }
        let other = self.rank(if is_left { second } else { 0 })?;
        // A vector has no axis of its own in the product.
        let own = self.shape.len().checked_sub(1 + usize::from(other > 1))?;
        let (summed, free) = if is_left { (rank - 1, rank - 2) } else { (rank - 2, rank - 1) };
        match self.axis {
            axis if axis == summed => None,
            axis if axis == free && is_left => Some(own),
            axis if axis == free => self.shape.len().checked_sub(1),
            axis => Some((own + 2).checked_sub(rank)? + axis),
        }
    }
}
