//! Shape, multiply-adds and parameter inputs of each operator.

use tract_onnx::pb::NodeProto;

use super::{
    attributes, einsum, fold,
    inference::{Inference, Inferred, Uninferred},
    layout, learned, recurrent,
    values::{Shape, Values},
    window::Window,
};
use crate::onnx::is_standard_domain;

fn free(shape: Shape) -> Inference {
    several(vec![shape])
}

/// Results that cost nothing.
fn several(shapes: Vec<Shape>) -> Inference {
    Ok(Inferred { shapes, madds: 0, params: vec![] })
}

/// Operators whose result has the shape of their first input.
#[rustfmt::skip]
const OF_ONE_SHAPE: [&str; 59] = [
    "Relu", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "Clip", "Sigmoid", "HardSigmoid",
    "HardSwish", "Tanh", "Softplus", "Softsign", "Gelu", "Mish", "Swish", "Shrink", "Erf", "Exp",
    "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos",
    "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Not", "BitwiseNot",
    "IsNaN", "IsInf", "Identity", "Cast", "CastLike", "Softmax", "LogSoftmax", "Hardmax", "LRN",
    "LpNormalization", "MeanVarianceNormalization", "CumSum", "Trilu", "QuantizeLinear",
    "DequantizeLinear", "RandomNormalLike", "RandomUniformLike", "Bernoulli",
];

/// Operators with multiply-adds.
#[rustfmt::skip]
const WITH_MADDS: [&str; 12] = [
    "Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "ConvInteger", "QLinearMatMul",
    "MatMulInteger", "Einsum", "RNN", "GRU", "LSTM",
];

/// Whether an operator has multiply-adds.
pub(super) fn has_madds(node: &NodeProto) -> bool {
    is_standard_domain(&node.domain) && WITH_MADDS.contains(&node.op_type.as_str())
}

/// Infers what `node` gives from what is known of its inputs.
pub(super) fn infer<'a>(node: &'a NodeProto, values: &Values<'a>, opset: i64) -> Inference {
    let mut inferred = of_operator(node, values, opset)?;
    let is_constant = node.input.iter().all(|name| name.is_empty() || values.is_constant(name));
    if is_constant && !has_madds(node) {
        // Whoever reads the result learns with what it is computed from. Of a product of matrices
        // that is all of both, whatever part of it is read.
        inferred.params.clear();
    } else if inferred.params.is_empty() {
        inferred.params = learned::inputs(node, values);
    }
    Ok(inferred)
}

fn of_operator(node: &NodeProto, values: &Values<'_>, opset: i64) -> Inference {
    if !is_standard_domain(&node.domain) {
        return Err(Uninferred::Unknown);
    }
    let input = |index: usize| shape_of(node, index, values);
    match node.op_type.as_str() {
        "Conv" => conv(node, input(0)?, input(1)?, &[1, 2]),
        "ConvInteger" => conv(node, input(0)?, input(1)?, &[1]),
        "QLinearConv" => conv(node, input(0)?, input(3)?, &[3, 8]),
        "ConvTranspose" => conv_transpose(node, input(0)?, input(1)?),
        "Gemm" => gemm(node, input(0)?, input(1)?),
        "MatMul" | "MatMulInteger" => matmul(input(0)?, input(1)?, &[0, 1]),
        "QLinearMatMul" => matmul(input(0)?, input(3)?, &[0, 3]),
        "Einsum" => {
            let factors = (0..node.input.len()).map(input).collect::<Result<Vec<_>, _>>()?;
            einsum::infer(node, &factors)
        }
        "RNN" | "GRU" | "LSTM" => recurrent::infer(node, input(0)?, input(1)?, input(2)?),
        "BatchNormalization" => {
            // Statistics follow: two, or four before operator set 14.
            let mut shapes = vec![input(1)?.clone(); 5];
            shapes[0] = input(0)?.clone();
            Ok(Inferred { shapes, madds: 0, params: vec![1, 2] })
        }
        "InstanceNormalization" if learned::is_unscaled(node, values) => free(input(0)?.clone()),
        "InstanceNormalization" | "GroupNormalization" | "RMSNormalization" => {
            Ok(Inferred { shapes: vec![input(0)?.clone()], madds: 0, params: vec![1, 2] })
        }
        "LayerNormalization" => {
            let shape = input(0)?;
            let from = layout::axis(attributes::int(node, "axis").unwrap_or(-1), shape.len())?;
            // One mean and one deviation of what is normalised together.
            let ones = vec![1; shape.len() - from];
            let statistics = [&shape[..from], &ones].concat();
            let shapes = vec![shape.clone(), statistics.clone(), statistics];
            Ok(Inferred { shapes, madds: 0, params: vec![1, 2] })
        }
        "PRelu" => Ok(Inferred { shapes: vec![input(0)?.clone()], madds: 0, params: vec![1] }),
        "Add" | "Mul" | "Sub" | "Div" | "Pow" | "Mod" | "Equal" | "Less" | "LessOrEqual"
        | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor" | "BitwiseAnd" | "BitwiseOr"
        | "BitwiseXor" | "BitShift" => free(layout::broadcast(input(0)?, input(1)?)?),
        "Sum" | "Mean" | "Max" | "Min" | "Where" => {
            let mut shape = input(0)?.clone();
            for index in 1..node.input.len() {
                shape = layout::broadcast(&shape, input(index)?)?;
            }
            free(shape)
        }
        op if OF_ONE_SHAPE.contains(&op) => free(input(0)?.clone()),
        "DynamicQuantizeLinear" => several(vec![input(0)?.clone(), vec![], vec![]]),
        "Dropout" => several(vec![input(0)?.clone(); 2]),
        "MaxPool" | "AveragePool" | "LpPool" => pool(node, input(0)?),
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => match input(0)?.as_slice() {
            [batch, channels, spatial @ ..] if !spatial.is_empty() => {
                free([&[*batch, *channels], vec![1; spatial.len()].as_slice()].concat())
            }
            shape => Err(format!("its input has shape {shape:?}").into()),
        },
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceL1"
        | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceSumSquare" => {
            free(layout::reduce(node, input(0)?, values)?)
        }
        "ArgMax" | "ArgMin" => free(layout::arg(node, input(0)?)?),
        "TopK" => several(vec![layout::top_k(node, input(0)?, values)?; 2]),
        "Concat" => {
            let shapes = (0..node.input.len()).map(input).collect::<Result<Vec<_>, _>>()?;
            free(layout::concat(node, &shapes)?)
        }
        "Slice" => free(layout::slice(node, input(0)?, values)?),
        "Split" => several(layout::split(node, input(0)?, values)?),
        "Pad" => free(layout::pad(node, input(0)?, values)?),
        "Resize" | "Upsample" => free(layout::resize(node, input(0)?, values)?),
        "DepthToSpace" | "SpaceToDepth" => free(layout::blocks(node, input(0)?)?),
        "Flatten" => free(layout::flatten(node, input(0)?)?),
        "Reshape" => free(layout::reshape(node, input(0)?, values)?),
        "Squeeze" => free(layout::squeeze(node, input(0)?, values)?),
        "Unsqueeze" => free(layout::unsqueeze(node, input(0)?, values)?),
        "Transpose" => free(layout::transpose(node, input(0)?)?),
        "Gather" => free(layout::gather(node, input(0)?, input(1)?)?),
        "GatherND" => free(layout::gather_nd(node, input(0)?, input(1)?)?),
        "GridSample" => free(layout::grid_sample(input(0)?, input(1)?)?),
        "GatherElements" => free(input(1)?.clone()),
        "ScatterElements" | "ScatterND" => free(input(0)?.clone()),
        "Expand" => free(layout::expand(node, input(0)?, values)?),
        "Tile" => free(layout::tile(node, input(0)?, values)?),
        "ConstantOfShape" => free(layout::target(node, "input", 0, values)?),
        "Range" => match fold::range_len(node, values) {
            Some(len) => free(vec![len]),
            None => {
                Err(Uninferred::Undetermined("its length is only known when it runs".to_owned()))
            }
        },
        "Size" => free(vec![]),
        "Shape" => {
            let rank = input(0)?.len();
            let bound =
                |name, default| layout::clamp(attributes::int(node, name).unwrap_or(default), rank);
            // `start` and `end` came with operator set 15.
            let len = if opset < 15 {
                rank
            } else {
                bound("end", rank as i64).saturating_sub(bound("start", 0))
            };
            free(vec![len])
        }
        _ => Err(Uninferred::Unknown),
    }
}

fn shape_of<'v>(
    node: &NodeProto,
    index: usize,
    values: &'v Values<'_>,
) -> Result<&'v Shape, Uninferred> {
    let name = node
        .input
        .get(index)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| format!("input {index} is missing"))?;
    values
        .shape(name)
        .ok_or_else(|| Uninferred::Undetermined(format!("the shape of `{name}` is not known")))
}

fn product<'a>(sizes: impl IntoIterator<Item = &'a usize>) -> Result<u64, Uninferred> {
    sizes
        .into_iter()
        .try_fold(1_u64, |product, &size| product.checked_mul(size as u64))
        .ok_or_else(|| Uninferred::from("its multiply-adds are too many to count"))
}

/// `[batch, channels, spatial…]` and a kernel `[_, _, spatial…]` of the same rank.
struct ConvShapes<'a> {
    batch: usize,
    channels: usize,
    spatial: &'a [usize],
    weight: [usize; 2],
    kernel: &'a [usize],
    groups: usize,
}

impl<'a> ConvShapes<'a> {
    fn read(node: &NodeProto, input: &'a Shape, weight: &'a Shape) -> Result<Self, String> {
        let ([batch, channels, spatial @ ..], [first, second, kernel @ ..]) =
            (input.as_slice(), weight.as_slice())
        else {
            return Err(format!("input {input:?}, weight {weight:?}"));
        };
        if spatial.len() != kernel.len() || spatial.is_empty() {
            return Err(format!("input {input:?}, weight {weight:?}"));
        }
        let stated = attributes::ints(node, "kernel_shape");
        if stated.is_some_and(|stated| {
            !stated.iter().copied().eq(kernel.iter().map(|&size| size as i64))
        }) {
            return Err(format!("`kernel_shape` {stated:?} and weight {weight:?} differ"));
        }
        if kernel.contains(&0) {
            return Err(format!("weight {weight:?}"));
        }
        let groups = attributes::int(node, "group").unwrap_or(1);
        let groups = usize::try_from(groups)
            .ok()
            .filter(|&groups| groups > 0)
            .ok_or_else(|| format!("`group` is {groups}"))?;
        Ok(Self {
            batch: *batch,
            channels: *channels,
            spatial,
            weight: [*first, *second],
            kernel,
            groups,
        })
    }
}

fn conv(node: &NodeProto, input: &Shape, weight: &Shape, params: &[usize]) -> Inference {
    let shapes = ConvShapes::read(node, input, weight)?;
    let [filters, depth] = shapes.weight;
    if depth.checked_mul(shapes.groups) != Some(shapes.channels) || filters % shapes.groups != 0 {
        return Err(format!("input {input:?}, weight {weight:?}, {} groups", shapes.groups).into());
    }
    let spatial = Window::read(node, shapes.kernel.to_vec())?.slide(shapes.spatial, false)?;
    let output = [&[shapes.batch, filters], spatial.as_slice()].concat();
    let madds = product(output.iter().chain([&depth]).chain(shapes.kernel))?;
    Ok(Inferred { shapes: vec![output], madds, params: params.to_vec() })
}

fn conv_transpose(node: &NodeProto, input: &Shape, weight: &Shape) -> Inference {
    let shapes = ConvShapes::read(node, input, weight)?;
    let [depth, filters_each] = shapes.weight;
    if depth != shapes.channels || depth % shapes.groups != 0 {
        return Err(format!("input {input:?}, weight {weight:?}, {} groups", shapes.groups).into());
    }
    let rank = shapes.kernel.len();
    let same_rank = |name: &str| match attributes::ints(node, name) {
        Some(list) if list.len() != rank => {
            Err(format!("`{name}` has {} values for {rank} spatial dimensions", list.len()))
        }
        list => Ok(list),
    };
    let spatial = match same_rank("output_shape")? {
        Some(sizes) => sizes
            .iter()
            .map(|&given| layout::size(given).ok_or_else(|| format!("`output_shape` is {sizes:?}")))
            .collect::<Result<_, _>>()?,
        None => {
            let extra = same_rank("output_padding")?.map_or_else(|| vec![0; rank], <[i64]>::to_vec);
            Window::read(node, shapes.kernel.to_vec())?.spread(shapes.spatial, &extra)?
        }
    };
    let filters =
        filters_each.checked_mul(shapes.groups).ok_or_else(|| format!("weight {weight:?}"))?;
    let output = [&[shapes.batch, filters], spatial.as_slice()].concat();
    let madds = product(input.iter().chain([&filters_each]).chain(shapes.kernel))?;
    Ok(Inferred { shapes: vec![output], madds, params: vec![1, 2] })
}

fn gemm(node: &NodeProto, a: &Shape, b: &Shape) -> Inference {
    let (&[a0, a1], &[b0, b1]) = (a.as_slice(), b.as_slice()) else {
        return Err(format!("{a:?} times {b:?}").into());
    };
    let (rows, depth) = if attributes::flag(node, "transA", false) { (a1, a0) } else { (a0, a1) };
    let (depth_b, columns) =
        if attributes::flag(node, "transB", false) { (b1, b0) } else { (b0, b1) };
    if depth != depth_b {
        return Err(format!("{a:?} times {b:?}").into());
    }
    Ok(Inferred {
        shapes: vec![vec![rows, columns]],
        madds: product([&rows, &depth, &columns])?,
        params: vec![0, 1, 2],
    })
}

fn matmul(a: &Shape, b: &Shape, params: &[usize]) -> Inference {
    let mismatch = || Uninferred::Shape(format!("{a:?} times {b:?}"));
    let (a_batch, rows, depth) = match a.as_slice() {
        [] => return Err(mismatch()),
        [depth] => (&[][..], None, *depth),
        [batch @ .., rows, depth] => (batch, Some(*rows), *depth),
    };
    let (b_batch, depth_b, columns) = match b.as_slice() {
        [] => return Err(mismatch()),
        [depth] => (&[][..], *depth, None),
        [batch @ .., depth, columns] => (batch, *depth, Some(*columns)),
    };
    if depth != depth_b {
        return Err(mismatch());
    }
    let mut output = layout::broadcast(a_batch, b_batch)?;
    output.extend(rows);
    output.extend(columns);
    let madds = product(output.iter().chain([&depth]))?;
    Ok(Inferred { shapes: vec![output], madds, params: params.to_vec() })
}

fn pool(node: &NodeProto, input: &Shape) -> Inference {
    let [batch, channels, spatial @ ..] = input.as_slice() else {
        return Err(format!("its input has shape {input:?}").into());
    };
    if attributes::ints(node, "kernel_shape").is_none() {
        return Err("`kernel_shape` is missing".into());
    }
    let kernel = attributes::sizes(node, "kernel_shape", spatial.len())?;
    let spatial =
        Window::read(node, kernel)?.slide(spatial, attributes::flag(node, "ceil_mode", false))?;
    // A maximum pool can tell where the maxima were.
    several(vec![[&[*batch, *channels], spatial.as_slice()].concat(); 2])
}
