use half::f16;

use super::proto::{AttributeProto, FLOAT, FLOAT16, ModelProto, NodeProto, TensorProto};
use crate::{ExportError, Result};

/// Makes weights and computation 16-bit floats; input and output stay 32-bit floats and are cast.
///
/// A linear layer at the end stays in 32-bit floats: its sums are the longest, and tract has no
/// `Gemm` of 16-bit floats.
///
/// # Errors
/// [`ExportError::TooLarge`] for a weight that a 16-bit float cannot hold.
pub(super) fn to_half(model: &mut ModelProto) -> Result<()> {
    let Some(graph) = &mut model.graph else { return Ok(()) };
    let (Some(input), Some(output)) = (graph.input.first(), graph.output.first()) else {
        return Ok(());
    };
    let cast = |from: &str, to: &str, kind: i32| {
        NodeProto::new("Cast", to, vec![from.to_owned()], to)
            .with(AttributeProto::integer("to", kind.into()))
    };
    let mut kept = Vec::new();
    let end = match graph
        .node
        .iter()
        .position(|node| node.op_type == "Gemm" && node.output[0] == output.name)
    {
        Some(last) => {
            let node = &mut graph.node[last];
            let single = format!("{}/f32", node.name);
            let half = std::mem::replace(&mut node.input[0], single.clone());
            kept.extend_from_slice(&node.input[1..]);
            (last, cast(&half, &single, FLOAT))
        }
        None => {
            let half = format!("{}/f16", output.name);
            let given = graph
                .node
                .iter_mut()
                .flat_map(|node| &mut node.output)
                .filter(|name| **name == output.name);
            given.for_each(|name| name.clone_from(&half));
            (graph.node.len(), cast(&half, &output.name, FLOAT))
        }
    };
    graph.node.insert(end.0, end.1);
    let half = format!("{}/f16", input.name);
    let read =
        graph.node.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == input.name);
    read.for_each(|name| name.clone_from(&half));
    graph.node.insert(0, cast(&input.name, &half, FLOAT16));
    for tensor in graph.initializer.iter_mut().filter(|tensor| !kept.contains(&tensor.name)) {
        if let Some(values) = tensor.as_floats() {
            *tensor = halved(tensor, &values)?;
        }
    }
    Ok(())
}

fn halved(tensor: &TensorProto, values: &[f32]) -> Result<TensorProto> {
    let mut raw_data = Vec::with_capacity(2 * values.len());
    for &value in values {
        let half = f16::from_f32(value);
        if !half.is_finite() {
            return Err(ExportError::TooLarge { tensor: tensor.name.clone(), value });
        }
        raw_data.extend(half.to_le_bytes());
    }
    Ok(TensorProto { data_type: FLOAT16, raw_data, ..tensor.clone() })
}
