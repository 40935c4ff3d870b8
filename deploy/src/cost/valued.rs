//! Which few values the results of a node have.

use tract_onnx::pb::NodeProto;

use super::{attributes, levels::Levels, values::Values};

/// The values that the first result of a node, or one like it, has of those of its inputs.
pub(super) fn of_result(node: &NodeProto, values: &Values<'_>) -> Option<Levels> {
    let input = |index: usize| values.levels(node.input.get(index)?);
    let pairs = |operate| input(0)?.paired(&input(1)?, operate);
    match node.op_type.as_str() {
        "Identity" | "Cast" | "CastLike" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze"
        | "Flatten" | "Expand" | "Tile" | "Slice" | "Split" | "Gather" | "GatherElements"
        | "GatherND" | "DepthToSpace" | "SpaceToDepth" | "Dropout" => input(0),
        "Trilu" => input(0)?.with(&Levels::of([0.0])?),
        "Pad" => match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(_) => input(0)?.with(&input(2)?),
            None => input(0)?.with(&Levels::of([attributes::real(node, "value").unwrap_or(0.0)])?),
        },
        "Concat" => {
            let mut all = input(0)?;
            for index in 1..node.input.len() {
                all = all.with(&input(index)?)?;
            }
            Some(all)
        }
        "Where" => input(1)?.with(&input(2)?),
        "Neg" => input(0)?.map(|value| -value),
        "Add" => pairs(|a, b| a + b),
        "Sub" => pairs(|a, b| a - b),
        "Mul" => pairs(|a, b| a * b),
        "Div" => pairs(|a, b| a / b),
        "Max" if node.input.len() == 2 => pairs(f64::max),
        "Min" if node.input.len() == 2 => pairs(f64::min),
        "ConstantOfShape" => match attributes::tensor(node, "value") {
            Some(value) => Levels::of_tensor(value),
            None => Levels::of([0.0]),
        },
        _ => None,
    }
}
