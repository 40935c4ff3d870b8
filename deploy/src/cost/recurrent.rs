//! `RNN`, `GRU` and `LSTM`.

use tract_onnx::pb::NodeProto;

use super::{
    attributes,
    inference::{Inference, Inferred, Uninferred},
    values::Shape,
};

/// `input` of steps, `weight` and `recurrent` as the standard lays them out: for each direction the
/// matrices of all gates, which a step multiplies its input and the state before it with.
pub(super) fn infer(
    node: &NodeProto,
    input: &Shape,
    weight: &Shape,
    recurrent: &Shape,
) -> Inference {
    let wrong = || Uninferred::Shape(format!("{input:?} with {weight:?} and {recurrent:?}"));
    let (&[first, second, features], &[directions, rows, columns], &[directions_r, rows_r, hidden]) =
        (input.as_slice(), weight.as_slice(), recurrent.as_slice())
    else {
        return Err(wrong());
    };
    let gates = match node.op_type.as_str() {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1_usize,
    };
    let fits = features == columns
        && (directions, rows) == (directions_r, rows_r)
        && gates.checked_mul(hidden) == Some(rows);
    if !fits {
        return Err(wrong());
    }
    let batch_first = attributes::flag(node, "layout", false);
    let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
    let (all, last) = match batch_first {
        true => (vec![batch, steps, directions, hidden], vec![batch, directions, hidden]),
        false => (vec![steps, directions, batch, hidden], vec![directions, batch, hidden]),
    };
    let madds = columns
        .checked_add(hidden)
        .and_then(|width| {
            [steps, batch, directions, rows]
                .iter()
                .try_fold(width as u64, |product, &size| product.checked_mul(size as u64))
        })
        .ok_or("its multiply-adds are too many to count")?;
    // The last are an LSTM's connections from its cells to its gates.
    let params = if node.op_type == "LSTM" { vec![1, 2, 3, 7] } else { vec![1, 2, 3] };
    Ok(Inferred { shapes: vec![all, last.clone(), last], madds, params })
}
