use half::f16;

use super::proto::{AttributeProto, FLOAT, FLOAT16, ModelProto, NodeProto, TensorProto};
use crate::{ExportError, Result};

/// Makes weights and computation 16-bit floats; input and output stay 32-bit floats and are cast.
///
/// # Errors
/// [`ExportError::TooLarge`] for a weight that a 16-bit float cannot hold.
pub(super) fn to_half(model: &mut ModelProto) -> Result<()> {
    let Some(graph) = &mut model.graph else { return Ok(()) };
    for tensor in &mut graph.initializer {
        if let Some(values) = tensor.as_floats() {
            *tensor = halved(tensor, &values)?;
        }
    }
    let (Some(input), Some(output)) = (graph.input.first(), graph.output.first()) else { return Ok(()) };
    let (first, last) = (format!("{}/f16", input.name), format!("{}/f16", output.name));
    for node in &mut graph.node {
        node.input.iter_mut().filter(|name| **name == input.name).for_each(|name| name.clone_from(&first));
        node.output.iter_mut().filter(|name| **name == output.name).for_each(|name| name.clone_from(&last));
    }
    let cast = |from: &str, name: &str, to: &str, kind: i32| {
        NodeProto::new("Cast", name, vec![from.to_owned()], to).with(AttributeProto::integer("to", kind.into()))
    };
    let ends = [cast(&input.name, &first, &first, FLOAT16), cast(&last, &format!("{}/f32", output.name), &output.name, FLOAT)];
    let [begin, end] = ends;
    graph.node.insert(0, begin);
    graph.node.push(end);
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
