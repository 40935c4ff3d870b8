//! Element types of results.

use tract_onnx::pb::{NodeProto, tensor_proto::DataType};

use super::{attributes, values::Values};

/// The element type of result `index` of `node`; `None` where it is not known.
pub(super) fn of_result(node: &NodeProto, index: usize, values: &Values<'_>) -> Option<DataType> {
    let input = |index: usize| node.input.get(index).and_then(|name| values.kind(name));
    let attribute = |name: &str| {
        attributes::int(node, name).and_then(|kind| DataType::try_from(kind as i32).ok())
    };
    Some(match (node.op_type.as_str(), index) {
        ("Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero", _) | ("TopK" | "MaxPool", 1) => {
            DataType::Int64
        }
        (
            "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" | "And" | "Or" | "Xor"
            | "Not" | "IsNaN" | "IsInf",
            _,
        )
        | ("Dropout", 1) => DataType::Bool,
        ("Cast", _) => attribute("to")?,
        ("Where", _) => input(1)?,
        ("QuantizeLinear", _) => {
            input(2).or_else(|| attribute("output_dtype")).unwrap_or(DataType::Uint8)
        }
        ("DynamicQuantizeLinear", 0) => DataType::Uint8,
        ("DynamicQuantizeLinear", 1) => DataType::Float,
        ("DynamicQuantizeLinear", _) => DataType::Uint8,
        ("DequantizeLinear", _) => input(1)?,
        ("QLinearConv" | "QLinearMatMul", _) => input(7)?,
        ("ConvInteger" | "MatMulInteger", _) => DataType::Int32,
        ("ConstantOfShape", _) => attributes::tensor(node, "value")
            .map_or(Some(DataType::Float), |value| DataType::try_from(value.data_type).ok())?,
        ("RandomNormalLike" | "RandomUniformLike" | "Bernoulli", _) => {
            attribute("dtype").or_else(|| input(0))?
        }
        ("OneHot", _) => input(2)?,
        ("BatchNormalization" | "LayerNormalization", 1..) => DataType::Float,
        _ => input(0)?,
    })
}
