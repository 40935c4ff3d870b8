//! What a graph says of tensors: names, sizes and types.

use tract_onnx::pb::{
    GraphProto, NodeProto, SparseTensorProto, TensorProto, TensorShapeProto, ValueInfoProto,
    tensor_proto::DataType, tensor_shape_proto::dimension::Value as Dim,
    type_proto::Value as TypeValue,
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
    if tensor.dims.len() > MOST_DIMENSIONS {
        return Err(format!("tensor `{}` has {} dimensions", tensor.name, tensor.dims.len()));
    }
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

/// More than any tensor has.
const MOST_DIMENSIONS: usize = 64;

/// No tensor of an image classifier comes near this; with it, products of sizes cannot overflow.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 40;

/// Every tensor that is stored in a graph and in the graphs inside its nodes, however deep:
/// [`super::wire`] bounds the depth. Of a sparse tensor these are its values and their places.
pub(super) fn tensors<'a>(graph: &'a GraphProto, visit: &mut dyn FnMut(&'a TensorProto)) {
    graph.initializer.iter().for_each(&mut *visit);
    graph.sparse_initializer.iter().for_each(|sparse| sparse_tensors(sparse, visit));
    tensors_of_nodes(&graph.node, visit);
}

/// The same of nodes alone, as functions have them.
pub(super) fn tensors_of_nodes<'a>(nodes: &'a [NodeProto], visit: &mut dyn FnMut(&'a TensorProto)) {
    for attribute in nodes.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).for_each(&mut *visit);
        let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
        sparse.for_each(|sparse| sparse_tensors(sparse, visit));
        attribute.g.iter().chain(&attribute.graphs).for_each(|inner| tensors(inner, visit));
    }
}

fn sparse_tensors<'a>(sparse: &'a SparseTensorProto, visit: &mut dyn FnMut(&'a TensorProto)) {
    sparse.values.iter().chain(&sparse.indices).for_each(visit);
}

/// Bytes of the lists that constants are given as.
pub(super) fn listed_bytes(nodes: &[NodeProto]) -> u64 {
    let of = |node: &NodeProto| -> u64 {
        let inner = node.attribute.iter().flat_map(|of| of.g.iter().chain(&of.graphs));
        let inner: u64 = inner.map(|graph| listed_bytes(&graph.node)).sum();
        let is_constant = node.op_type == "Constant" && is_standard_domain(&node.domain);
        let own = node.attribute.iter().filter(|_| is_constant).map(|of| match of.name.as_str() {
            "value_float" => 4,
            "value_int" => 8,
            "value_floats" => 4 * of.floats.len() as u64,
            "value_ints" => 8 * of.ints.len() as u64,
            "value_string" => of.s.len() as u64,
            "value_strings" => of.strings.iter().map(|text| text.len() as u64).sum(),
            _ => 0,
        });
        inner + own.sum::<u64>()
    };
    nodes.iter().map(of).sum()
}

/// The bits of one element; `None` for strings and types without a fixed size.
pub(crate) fn element_bits(kind: DataType) -> Option<u64> {
    stored_bits(kind as i32)
}

/// The same by the number of a type in the ONNX standard, of which the newest have no name here:
/// FLOAT8E8M0, UINT2, INT2, FLOAT6E2M3 and FLOAT6E3M2.
pub(crate) fn stored_bits(kind: i32) -> Option<u64> {
    Some(match kind {
        25 | 26 => 2,
        21..=23 => 4,
        27 | 28 => 6,
        2 | 3 | 9 | 17..=20 | 24 => 8,
        4 | 5 | 10 | 16 => 16,
        1 | 6 | 12 => 32,
        7 | 11 | 13 | 14 => 64,
        15 => 128,
        _ => return None,
    })
}

/// The bytes that a tensor takes.
pub(crate) fn stored_bytes(tensor: &TensorProto) -> Option<u64> {
    if tensor.data_type == DataType::String as i32 {
        return Some(tensor.string_data.iter().map(|text| text.len() as u64).sum());
    }
    let elements: u64 = tensor_dims(tensor).ok()?.iter().map(|&size| size as u64).product();
    Some((elements * stored_bits(tensor.data_type)?).div_ceil(8))
}

/// The declared dimensions of a value, as they are written.
pub(crate) fn tensor_shape(value: &ValueInfoProto) -> Option<&TensorShapeProto> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    tensor.shape.as_ref()
}

/// The name of the open first dimension of a value.
pub(crate) fn first_symbol(value: &ValueInfoProto) -> Option<&str> {
    match tensor_shape(value)?.dim.first()?.value.as_ref()? {
        Dim::DimParam(name) if !name.is_empty() => Some(name),
        _ => None,
    }
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

/// The declared element type of a tensor.
pub(super) fn element_type(value: &ValueInfoProto) -> Option<i32> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    Some(tensor.elem_type)
}

pub(super) fn show(dims: &[DeclaredDim]) -> String {
    let dims: Vec<_> = dims
        .iter()
        .map(|dim| dim.map_or_else(|| "?".to_owned(), |size| size.to_string()))
        .collect();
    format!("[{}]", dims.join(", "))
}
