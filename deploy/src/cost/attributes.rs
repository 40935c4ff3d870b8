//! Typed access to a node's attributes.

use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

fn find<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

pub(super) fn int(node: &NodeProto, name: &str) -> Option<i64> {
    find(node, name).map(|attribute| attribute.i)
}

pub(super) fn real(node: &NodeProto, name: &str) -> Option<f64> {
    find(node, name).map(|attribute| attribute.f.into())
}

pub(super) fn flag(node: &NodeProto, name: &str, default: bool) -> bool {
    int(node, name).map_or(default, |value| value != 0)
}

pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    find(node, name).map(|attribute| attribute.ints.as_slice())
}

/// A list of sizes that must be at least 1, one for each of `rank` dimensions; all 1 when the
/// attribute is absent.
pub(super) fn sizes(node: &NodeProto, name: &str, rank: usize) -> Result<Vec<usize>, String> {
    let Some(values) = ints(node, name) else { return Ok(vec![1; rank]) };
    if values.len() != rank {
        return Err(format!("`{name}` has {} values for {rank} spatial dimensions", values.len()));
    }
    values
        .iter()
        .map(|&value| match u32::try_from(value) {
            Ok(value) if value > 0 => Ok(value as usize),
            _ => Err(format!("`{name}` is {values:?}")),
        })
        .collect()
}

pub(super) fn string<'a>(node: &'a NodeProto, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    find(node, name).map(|attribute| String::from_utf8_lossy(&attribute.s))
}

pub(super) fn tensor<'a>(node: &'a NodeProto, name: &str) -> Option<&'a TensorProto> {
    find(node, name).and_then(|attribute| attribute.t.as_ref())
}

pub(super) fn floats<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [f32]> {
    find(node, name).map(|attribute| attribute.floats.as_slice())
}

/// Whether an operator has graphs of its own, as `If`, `Loop` and `Scan` have.
pub(super) fn has_graphs(node: &NodeProto) -> bool {
    node.attribute.iter().any(|of| of.g.is_some() || !of.graphs.is_empty())
}
