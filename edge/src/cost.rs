use std::{collections::BTreeMap, path::Path};

use adwp_base::Result;
use adwp_base::output::{self, name};
use adwp_measure::{
    cost::{self as counter, Batch, Contradicted, Cost, LeftOut, Once, TakenApart, Uncounted},
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
    if as_json { output::as_json(&cost) } else { Ok(text(&cost)) }
}

/// The figures for people, with a table of the nodes where there are some.
fn text(cost: &Cost) -> String {
    let mut text = String::new();
    if !cost.layers.is_empty() {
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
    text += &images(cost).map_or_else(String::new, |line| format!("\n{line}\n"));
    let once = |of: &Once| format!("{} ({}): {}", short(&of.name), short(&of.op), of.madds);
    text += &list("multiply-adds without an image, done once and not counted", &cost.once, once);
    let left_out = |of: &LeftOut| format!("{}: {}", short(&of.name), of.reason);
    text += &list("not taken for parameters", &cost.left_out, left_out);
    text += &list("taken for parameters, and may be none", &cost.doubtful, left_out);
    let apart = |of: &TakenApart| format!("{}: at most {} params", short(&of.name), of.elements);
    let title = "parts of one array, counted as if they had no element in common";
    text += &list(title, &cost.taken_apart, apart);
    let contradicted = |of: &Contradicted| {
        let stated = of.stated.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string()));
        let stated = stated.collect::<Vec<_>>().join(", ");
        format!("{}: the file states [{stated}], and it has {:?}", short(&of.name), of.inferred)
    };
    let title = "shapes that the file states and that cannot be";
    text += &list(title, &cost.contradicted, contradicted);
    let title = format!("not in these figures, {}", plural(cost.unknown.len(), "node"));
    text += &list(&title, &cost.unknown, uncounted);
    text
}

/// What to say of the images that the multiply-adds are of, where a run takes several.
pub(crate) fn images(cost: &Cost) -> Option<String> {
    let Batch { input, images, joined_by } = cost.batch.as_ref()?;
    let input = short(input);
    Some(match joined_by {
        None => format!(
            "the first dimension of {input} is {images}, taken for images: multiply-adds are those \
             of one of them, activations those of all"
        ),
        Some(node) => format!(
            "the first dimension of {input} is {images}, and {} joins what lies along it: \
             multiply-adds are those of a whole run",
            short(node)
        ),
    })
}

/// A paragraph of the text: a line for each of `all`, but for those beyond [`MOST_NAMED`]; nothing
/// where there is none.
fn list<T>(title: &str, all: &[T], line: impl Fn(&T) -> String) -> String {
    let lines = cut(all, line).into_iter().map(|line| format!("  {line}\n"));
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n{title}:\n{lines}") }
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

/// Nodes or arrays that are listed.
const MOST_NAMED: usize = 50;

/// Characters.
const LONGEST: usize = 99;

/// A line for each node that could not be counted, but for those beyond [`MOST_NAMED`].
pub(crate) fn named(unknown: &[Uncounted]) -> Vec<String> {
    cut(unknown, uncounted)
}

fn uncounted(of: &Uncounted) -> String {
    format!("{} ({}): {}", short(&of.name), short(&of.op), name(&of.reason))
}

fn cut<T>(all: &[T], line: impl Fn(&T) -> String) -> Vec<String> {
    let more = all.len().saturating_sub(MOST_NAMED);
    let rest = (more > 0).then(|| format!("and {more} more, which --json lists"));
    all.iter().take(MOST_NAMED).map(line).chain(rest).collect()
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// The cost of an ONNX file with inputs of the given `shapes`: of one image, as far as the network
/// keeps several apart.
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
    fn what_the_file_states_and_cannot_be_is_shown() {
        let of = |i: usize| Contradicted {
            name: format!("t{i}"),
            stated: vec![None, Some(3)],
            inferred: vec![1, 4],
        };
        let shown =
            |n: usize| text(&Cost { contradicted: (0..n).map(of).collect(), ..Cost::default() });
        assert!(!shown(0).contains("states"));
        let few = shown(2);
        assert!(few.contains("t1: the file states [?, 3], and it has [1, 4]\n"), "{few}");
        let many = shown(5000);
        assert!(many.ends_with("and 4950 more, which --json lists\n") && many.len() < 5000);
    }

    #[test]
    fn of_how_many_images_the_figures_are_is_shown() {
        let of = |joined_by: Option<&str>| {
            let joined_by = joined_by.map(str::to_owned);
            text(&Cost {
                batch: Some(Batch { input: "x".into(), images: 4, joined_by }),
                ..Cost::default()
            })
        };
        assert!(of(None).contains("the first dimension of x is 4, taken for images"));
        let joined = of(Some("fc (Gemm)"));
        assert!(joined.contains("fc (Gemm) joins") && joined.contains("a whole run"), "{joined}");
        assert!(!text(&Cost::default()).contains("dimension"));
        let once = vec![Once { name: "gram".into(), op: "MatMul".into(), madds: 70 }];
        let once = text(&Cost { once, ..Cost::default() });
        assert!(once.contains("without an image") && once.contains("  gram (MatMul): 70\n"));
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
