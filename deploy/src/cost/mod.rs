//! Parameters and multiply-adds of an ONNX file, counted from the file alone.
//!
//! **Multiply-adds** are those of convolutions and linear layers, one per multiply-accumulate, for one image; biases, normalisation,
//! activations and pooling count nothing, and padding is counted like any other input.
//!
//! **Parameters** are the elements of the stored float tensors that are weights, biases or scales, each tensor once however many
//! nodes read it: every float input of `Conv`, `ConvTranspose`, `Gemm` and `MatMul`; scale and bias of normalisations, never the running
//! mean and variance; slopes of `PRelu`; and operands of `Add` and `Mul` of more than one element, as an exporter writes
//! the bias of a `MatMul`. Stored integers that a `DequantizeLinear` makes a weight of count as that weight, their scales do not. Scalars of
//! arithmetic, operands of `Sub` and `Div` (input normalisation), bounds of `Clip` and integers are not parameters.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tract_onnx::pb::NodeProto;

use crate::{
    DeployError, Result,
    onnx::{OnnxModel, is_standard_domain, node_label},
};

mod attributes;
mod layout;
mod operators;
mod values;
mod window;

use values::Values;

/// The shape of a tensor.
type Shape = Vec<usize>;

/// What one node costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerCost {
    /// The name of the node, or of its first result when it has none.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// The shape of its first result, at batch 1 or at the batch that the file fixes.
    pub output_shape: Vec<usize>,
    /// Parameters that no earlier node reads.
    pub params: u64,
    /// Multiply-adds of one image.
    pub madds: u64,
}

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Parameters.
    pub params: u64,
    /// Multiply-adds of one image.
    pub madds: u64,
    /// The nodes in execution order, without constants.
    pub layers: Vec<LayerCost>,
    /// Nodes whose operator is not known, as `name (operator)`: what they cost is not in the totals.
    pub unknown: Vec<String>,
}

/// Counts the cost of `model`.
///
/// # Errors
/// [`DeployError::Shape`] for a node whose attributes do not fit its inputs, [`DeployError::UnknownOperator`] for an operator that is
/// not known when the file does not state the shape of its result either. When it does, the node goes to [`Cost::unknown`].
pub fn cost(model: &OnnxModel) -> Result<Cost> {
    let mut values = Values::of(model);
    let mut counted = HashSet::new();
    let mut cost = Cost::default();
    let images = model.input().nominal_batch() as u64;
    for node in model.nodes() {
        let shape_error =
            |detail| DeployError::Shape { path: model.path().to_owned(), node: node_label(node), op: node.op_type.clone(), detail };
        if node.op_type == "Constant" && is_standard_domain(&node.domain) {
            values.define_constant(node).map_err(shape_error)?;
            continue;
        }
        let inferred = match operators::infer(node, &values, model.opset()) {
            Ok(inferred) => inferred,
            Err(operators::Failure::Shape(detail)) => return Err(shape_error(detail)),
            Err(operators::Failure::Unknown) => {
                take_declared_shapes(node, model, &mut values)?;
                cost.unknown.push(format!("{} ({})", node_label(node), full_op(node)));
                continue;
            }
        };
        let params = inferred
            .params
            .iter()
            .filter_map(|&input| values.stored_float(node.input.get(input)?))
            .filter(|(root, _)| counted.insert(root.to_string()))
            .map(|(_, elements)| elements)
            .sum();
        let layer = LayerCost {
            name: node_label(node),
            op: node.op_type.clone(),
            output_shape: inferred.shapes.first().cloned().unwrap_or_default(),
            params,
            madds: inferred.madds / images,
        };
        values.define(node, inferred.shapes).map_err(shape_error)?;
        let too_large = || shape_error("the totals are too large to count".to_owned());
        cost.params = cost.params.checked_add(layer.params).ok_or_else(too_large)?;
        cost.madds = cost.madds.checked_add(layer.madds).ok_or_else(too_large)?;
        cost.layers.push(layer);
    }
    Ok(cost)
}

fn full_op(node: &NodeProto) -> String {
    if is_standard_domain(&node.domain) { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) }
}

fn take_declared_shapes<'a>(node: &'a NodeProto, model: &OnnxModel, values: &mut Values<'a>) -> Result<()> {
    let unknown = || DeployError::UnknownOperator { path: model.path().to_owned(), node: node_label(node), op: full_op(node) };
    for name in node.output.iter().filter(|name| !name.is_empty()) {
        let shape = values.declared_shape(name).ok_or_else(unknown)?;
        values.define_shape(name, shape);
    }
    Ok(())
}
