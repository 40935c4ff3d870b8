//! What every other module relies on: a graph is complete and in order, its tensors have their
//! values, and its operators are those of a known set.

use std::{collections::HashSet, path::Path};

use tract_onnx::pb::{GraphProto, OperatorSetIdProto, TensorProto, tensor_proto::DataType};

use super::{
    external,
    tensors::{is_standard_domain, node_label, stored_bits, tensor_dims, tensors},
};
use crate::{DeployError, Result};

/// The oldest operator set of the standard domain that is read.
pub const OLDEST_OPSET: i64 = 7;
/// The newest operator set of the standard domain that is read.
pub const NEWEST_OPSET: i64 = 28;

pub(super) fn standard_opset(imports: &[OperatorSetIdProto], path: &Path) -> Result<i64> {
    let opset = imports
        .iter()
        .find(|import| is_standard_domain(&import.domain))
        .map(|import| import.version);
    let Some(opset) = opset else {
        let path = path.to_owned();
        let others: Vec<String> =
            imports.iter().map(|of| format!("{} {}", of.domain, of.version)).collect();
        return Err(if others.is_empty() {
            let detail = "it does not say which operator set it uses".to_owned();
            DeployError::Truncated { path, detail }
        } else {
            let others = others.join(", ");
            let detail = format!("it uses the operator sets {others}, and not the standard one");
            DeployError::InvalidGraph { path, detail }
        });
    };
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(DeployError::UnsupportedOpset {
            path: path.to_owned(),
            opset,
            oldest: OLDEST_OPSET,
            newest: NEWEST_OPSET,
        });
    }
    Ok(opset)
}

/// The runtimes trust a graph to be well formed; some of them panic when it is not.
pub(super) fn check_graph(graph: &GraphProto) -> Result<(), String> {
    let mut defined = HashSet::new();
    for tensor in &graph.initializer {
        if !defined.insert(tensor.name.as_str()) {
            return Err(format!("two initializers are called `{}`", tensor.name));
        }
    }
    for sparse in graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref()) {
        if !defined.insert(sparse.name.as_str()) {
            return Err(format!("two initializers are called `{}`", sparse.name));
        }
    }
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if !inputs.insert(input.name.as_str()) {
            return Err(format!("two inputs are called `{}`", input.name));
        }
        defined.insert(&input.name);
    }
    for node in &graph.node {
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            if !defined.contains(name.as_str()) {
                let later = graph.node.iter().any(|other| other.output.contains(name));
                let why = if later {
                    "which only a later node writes: a cycle, or nodes out of order"
                } else {
                    "which nothing before it defines"
                };
                return Err(format!(
                    "node `{}` ({}) reads `{name}`, {why}",
                    node_label(node),
                    node.op_type
                ));
            }
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(name) {
                return Err(format!(
                    "node `{}` ({}) writes `{name}`, which is defined already",
                    node_label(node),
                    node.op_type
                ));
            }
        }
    }
    let mut stored = Ok(());
    tensors(graph, &mut |tensor| {
        if stored.is_ok() {
            stored = check_tensor(tensor);
        }
    });
    stored?;
    match graph.output.iter().find(|output| !defined.contains(output.name.as_str())) {
        Some(output) => Err(format!("nothing defines the output `{}`", output.name)),
        None => Ok(()),
    }
}

fn check_tensor(tensor: &TensorProto) -> Result<(), String> {
    let elements: usize = tensor_dims(tensor)?.iter().product();
    let (bits, kind) = (stored_bits(tensor.data_type), DataType::try_from(tensor.data_type));
    if bits.is_none() && kind.is_err() {
        let (name, kind) = (&tensor.name, tensor.data_type);
        return Err(format!("tensor `{name}` has the unknown data type {kind}"));
    }
    if external::is_external(tensor) {
        return Ok(());
    }
    let kind = kind.unwrap_or(DataType::Undefined);
    let packed = |bits: u64| (elements as u64 * bits).div_ceil(8) as usize;
    let (stored, unit, may_be_more) = match (bits, &tensor.raw_data[..]) {
        // Of what has no type nothing can be stored.
        (None, _) if kind != DataType::String => (0, elements, false),
        (None, _) => (tensor.string_data.len(), elements, false),
        // Types of less than a byte are packed, and some exporters pad them.
        (Some(bits), []) if bits < 8 => (tensor.int32_data.len(), packed(bits), true),
        (Some(bits), raw) if !raw.is_empty() => (raw.len(), packed(bits), bits < 8),
        _ => match kind {
            DataType::Float => (tensor.float_data.len(), elements, false),
            DataType::Double => (tensor.double_data.len(), elements, false),
            // As two.
            DataType::Complex64 => (tensor.float_data.len(), 2 * elements, false),
            DataType::Complex128 => (tensor.double_data.len(), 2 * elements, false),
            DataType::Int64 => (tensor.int64_data.len(), elements, false),
            DataType::Uint32 | DataType::Uint64 => (tensor.uint64_data.len(), elements, false),
            _ => (tensor.int32_data.len(), elements, false),
        },
    };
    if stored == unit || may_be_more && stored > unit {
        return Ok(());
    }
    Err(format!(
        "tensor `{}` of shape {:?} should hold {unit} values or bytes and holds {stored}",
        tensor.name, tensor.dims
    ))
}
