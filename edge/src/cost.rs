use std::{collections::BTreeMap, path::Path};

use adwp_base::{Result, output};
use adwp_measure::{
    cost::{self as counter, Cost},
    onnx::{OnnxFile, OnnxModel},
};

use crate::ShapeArg;

/// `cost` of an ONNX file: the text that belongs on stdout, with every node where `layers` are
/// asked for.
///
/// # Errors
/// As [`counted`].
pub fn cost(path: &Path, shapes: &[ShapeArg], layers: bool, as_json: bool) -> Result<String> {
    let mut cost = counted(path, shapes)?;
    if !layers {
        cost.layers.clear();
    }
    if as_json {
        return output::as_json(&cost);
    }
    let mut text = String::new();
    if layers {
        let width = cost.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0);
        for layer in &cost.layers {
            let shape =
                layer.output_shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            text += &format!(
                "{:<width$}  {:<20} {:>16} {:>12} {:>14}\n",
                layer.name, layer.op, shape, layer.params, layer.madds
            );
        }
        text += "\n";
    }
    let millions = |value: u64| format!("{value:>14}  ({:.3} M)\n", value as f64 / 1e6);
    text += &format!("params            {}", millions(cost.params));
    text += &format!("multiply-adds     {}", millions(cost.madds));
    text += &format!("weight bytes      {}", millions(cost.weight_bytes));
    match (cost.peak_activation_bytes, &cost.peak_node) {
        (Some(bytes), Some(node)) => {
            text += &format!("peak activations  {}                  at {node}\n", millions(bytes))
        }
        _ => text += "peak activations  not known, since the size of a result is not\n",
    }
    if !cost.left_out.is_empty() {
        text += "\nnot taken for parameters:\n";
        cost.left_out.iter().for_each(|of| text += &format!("  {}: {}\n", of.name, of.reason));
    }
    if !cost.unknown.is_empty() {
        text += &format!("\nnot in these figures, {}:\n", plural(cost.unknown.len(), "node"));
        cost.unknown.iter().for_each(|node| text += &format!("  {node}\n"));
    }
    Ok(text)
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The cost of an ONNX file: of one image where it is a classifier, else of one run with inputs of
/// the given `shapes`.
///
/// # Errors
/// The file is no ONNX or contradicts itself, or an input's shape is open.
pub fn counted(path: &Path, shapes: &[ShapeArg]) -> Result<Cost> {
    let file = OnnxFile::load(path)?;
    if shapes.is_empty()
        && let Ok(model) = OnnxModel::from_file(file.clone())
    {
        return Ok(counter::cost(&model)?);
    }
    let shapes: BTreeMap<_, _> =
        shapes.iter().map(|shape| (shape.name.clone(), shape.shape.clone())).collect();
    Ok(counter::cost_of_file(&file, &shapes)?)
}
