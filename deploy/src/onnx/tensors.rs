//! What a graph says of tensors: names, sizes and types.

use tract_onnx::pb::{
    GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as Dim, type_proto::Value as TypeValue,
};

/// Whether a domain is the one of the ONNX standard.
pub(crate) fn is_standard_domain(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// What messages call a node: its name, or the first tensor it writes.
pub(crate) fn node_label(node: &NodeProto) -> String {
    if !node.name.is_empty() {
        return node.name.clone();
    }
    node.output
        .iter()
        .find(|name| !name.is_empty())
        .cloned()
        .unwrap_or_else(|| node.op_type.clone())
}

/// The dimensions of a tensor, refused when negative or beyond what can be addressed.
pub(crate) fn tensor_dims(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let mut elements = 1_u64;
    tensor
        .dims
        .iter()
        .map(|&dim| {
            let size = u32::try_from(dim)
                .map_err(|_| format!("tensor `{}` has dimension {dim}", tensor.name))?;
            // Zeros are left out so that no later dimension escapes the bound.
            elements = elements
                .checked_mul(u64::from(size.max(1)))
                .filter(|&elements| elements <= MAX_ELEMENTS)
                .ok_or_else(|| {
                    format!("tensor `{}` has too many elements: {:?}", tensor.name, tensor.dims)
                })?;
            Ok(size as usize)
        })
        .collect()
}

/// No tensor of an image classifier comes near this; with it, products of sizes cannot overflow.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 40;

/// Every tensor that is stored in a graph and in the graphs inside its nodes, however deep:
/// [`super::wire`] bounds the depth.
pub(super) fn tensors<'a>(graph: &'a GraphProto, visit: &mut dyn FnMut(&'a TensorProto)) {
    graph.initializer.iter().for_each(&mut *visit);
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).for_each(&mut *visit);
        attribute.g.iter().chain(&attribute.graphs).for_each(|inner| tensors(inner, visit));
    }
}

/// The bits of one element; `None` for strings and types without a fixed size.
pub(crate) fn element_bits(kind: DataType) -> Option<u64> {
    Some(match kind {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 8,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 64,
        _ => return None,
    })
}

/// A declared dimension: a number, or whatever the run gives.
pub(crate) type DeclaredDim = Option<usize>;

/// The declared element type and dimensions of a graph value, when both are declared.
pub(crate) fn declared(value: &ValueInfoProto) -> Option<(i32, Vec<DeclaredDim>)> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter();
    let dims = dims.map(|dim| match dim.value {
        // Some exporters write -1 or 0 for a dimension that is open.
        Some(Dim::DimValue(size)) => {
            u32::try_from(size).ok().filter(|&size| size > 0).map(|size| size as usize)
        }
        Some(Dim::DimParam(_)) | None => None,
    });
    Some((tensor.elem_type, dims.collect()))
}

pub(super) fn show(dims: &[DeclaredDim]) -> String {
    let dims: Vec<_> = dims
        .iter()
        .map(|dim| dim.map_or_else(|| "?".to_owned(), |size| size.to_string()))
        .collect();
    format!("[{}]", dims.join(", "))
}
