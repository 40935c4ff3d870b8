use std::{collections::BTreeMap, path::Path};

use adwp_base::Result;
use adwp_base::output::{self, name};
use adwp_measure::{
    cost::{self as counter, Cost, Uncounted},
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
        let names: Vec<String> = cost.layers.iter().map(|layer| short(&layer.name)).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for (layer, shown) in cost.layers.iter().zip(&names) {
            let shape =
                layer.output_shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            text += &format!(
                "{shown:<width$}  {:<20} {shape:>16} {:>12} {:>14}\n",
                short(&layer.op),
                layer.params,
                layer.madds
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
            text += &format!(
                "peak activations  {}                  at {}\n",
                millions(bytes),
                short(node)
            )
        }
        _ => text += "peak activations  not known, since the size of a result is not\n",
    }
    if !cost.left_out.is_empty() {
        text += "\nnot taken for parameters:\n";
        for of in &cost.left_out {
            text += &format!("  {}: {}\n", short(&of.name), of.reason);
        }
    }
    if !cost.taken_apart.is_empty() {
        text += "\nparts of one array, counted as if they had no element in common:\n";
        for of in &cost.taken_apart {
            text += &format!("  {}: at most {} params\n", short(&of.name), of.elements);
        }
    }
    if !cost.unknown.is_empty() {
        text += &format!("\nnot in these figures, {}:\n", plural(cost.unknown.len(), "node"));
        named(&cost.unknown).iter().for_each(|line| text += &format!("  {line}\n"));
    }
    Ok(text)
}

/// A name as it is shown, cut where it is longer than [`LONGEST`]: a file may call a node or a class
/// anything, and the column of a table is as wide as the longest name.
pub(crate) fn short(of: &str) -> String {
    let whole = name(of);
    let length = whole.chars().count();
    if length <= LONGEST {
        return whole;
    }
    let part = (LONGEST - 1) / 2;
    let (start, end) = (whole.chars().take(part), whole.chars().skip(length - part));
    start.chain(['…']).chain(end).collect()
}

/// Nodes that are listed.
const MOST_NAMED: usize = 50;

/// Characters.
const LONGEST: usize = 99;

/// A line for each node that could not be counted, but for those beyond [`MOST_NAMED`].
pub(crate) fn named(unknown: &[Uncounted]) -> Vec<String> {
    let line =
        |of: &Uncounted| format!("{} ({}): {}", short(&of.name), short(&of.op), name(&of.reason));
    let more = unknown.len().saturating_sub(MOST_NAMED);
    let rest = (more > 0).then(|| format!("and {more} more, which --json lists"));
    unknown.iter().take(MOST_NAMED).map(line).chain(rest).collect()
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
    // A file that is none is read again, rather than every file being held twice.
    if shapes.is_empty()
        && let Ok(model) = OnnxModel::from_file(OnnxFile::load(path)?)
    {
        return Ok(counter::cost(&model)?);
    }
    let file = OnnxFile::load(path)?;
    let shapes: BTreeMap<_, _> =
        shapes.iter().map(|shape| (shape.name.clone(), shape.shape.clone())).collect();
    Ok(counter::cost_of_file(&file, &shapes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_nodes_are_listed_than_anyone_reads() {
        let of =
            |i: usize| Uncounted { name: format!("n{i}"), op: "Op".into(), reason: "r".into() };
        let lines = named(&(0..499_000).map(of).collect::<Vec<_>>());
        assert_eq!(lines.len(), MOST_NAMED + 1);
        assert_eq!(
            (lines[0].as_str(), &*lines[MOST_NAMED]),
            ("n0 (Op): r", "and 498950 more, which --json lists")
        );
        assert_eq!(named(&[of(3)]), ["n3 (Op): r"]);
    }

    #[test]
    fn names_keep_their_ends_and_lose_their_middle() {
        assert_eq!(short("stem/conv"), "stem/conv");
        let name = format!("begin{}end\n", "é".repeat(1 << 20));
        let shown = short(&name);
        assert_eq!(shown.chars().count(), LONGEST);
        assert!(shown.starts_with("beginé") && shown.ends_with("éend\\n") && shown.contains('…'));
    }
}
