//! Running statistics of a normalisation that the graph writes out in arithmetic.

use tract_onnx::pb::NodeProto;

use super::values::{Content, Values};

pub(super) const MEAN: &str = "a running mean, which a normalisation subtracts";
pub(super) const VARIANCE: &str = "a running variance, whose root a normalisation divides by";
pub(super) const CENTRE: &str =
    "subtracted before a division by as many positive numbers: a running mean?";
pub(super) const DEVIATION: &str =
    "positive, and divides what as many numbers were subtracted from: a running deviation?";

/// Nodes between a stored statistic and the one that normalises with it, at most.
const FARTHEST: usize = 8;

/// Operators that show their first input in another shape or type.
const SHOWING: [&str; 8] =
    ["Identity", "Cast", "CastLike", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Expand"];

/// The stored array that `name` shows, whatever its shape and type, and its sign where `negated`
/// counts as well.
fn shown<'a>(name: &'a str, negated: bool, values: &Values<'a>) -> Option<&'a str> {
    let mut name = name;
    for _ in 0..FARTHEST {
        if values.is_stored(name) {
            return (values.elements_of(name) > 1).then_some(name);
        }
        let node = values.links.writer(name)?;
        let op = node.op_type.as_str();
        if !(SHOWING.contains(&op) || negated && op == "Neg") {
            return None;
        }
        name = node.input.first()?;
    }
    None
}

/// Whether `name` is one number, not several.
fn is_single(name: &str, values: &Values<'_>) -> bool {
    values.shape(name).is_some_and(|shape| shape.iter().product::<usize>() == 1)
}

/// The stored variance that constant `node` takes the root of, or one over it.
pub(super) fn variance_under<'a>(node: &'a NodeProto, values: &Values<'a>) -> Option<&'a str> {
    let is_root = match node.op_type.as_str() {
        "Sqrt" => true,
        "Pow" => match values.content(node.input.get(1)?)? {
            Content::Reals(reals) => matches!(reals[..], [power] if power.abs() == 0.5),
            Content::Ints(_) => false,
        },
        _ => false,
    };
    let of = node.input.first().filter(|_| is_root)?;
    let variance = shown(of, false, values).or_else(|| {
        // Something small is added, or is the least, so that no root is 0.
        let node = values.links.writer(of)?;
        let [a, b] = &node.input[..] else { return None };
        let other = if is_single(b, values) { a } else { b };
        let is_bounded = matches!(node.op_type.as_str(), "Add" | "Max")
            && (is_single(a, values) || is_single(b, values));
        shown(other, false, values).filter(|_| is_bounded)
    })?;
    values.is_unsigned(variance).then_some(variance)
}

/// Whether the constant tensor `name` is computed from the root of a stored variance.
fn has_root<'a>(name: &'a str, far: usize, values: &Values<'a>) -> bool {
    let Some(node) = values.links.writer(name).filter(|_| far > 0) else { return false };
    variance_under(node, values).is_some()
        || (matches!(node.op_type.as_str(), "Mul" | "Div" | "Reciprocal")
            || SHOWING.contains(&node.op_type.as_str()))
            && node.input.iter().any(|name| has_root(name, far - 1, values))
}

/// Whether input `index` of `node` is a running mean: what is subtracted from values that are then
/// divided by the root of a stored variance, or, scaled by that, from a bias.
pub(super) fn is_mean<'a>(node: &'a NodeProto, index: usize, values: &Values<'a>) -> bool {
    let (Some(name), Some(output)) = (node.input.get(index), node.output.first()) else {
        return false;
    };
    let normalises = |output: &str| {
        values.links.readers(output).iter().any(|reader| {
            matches!(reader.op_type.as_str(), "Mul" | "Div")
                && reader.input.iter().any(|name| has_root(name, FARTHEST, values))
        })
    };
    match node.op_type.as_str() {
        "Sub" if index == 1 => shown(name, false, values).is_some() && normalises(output),
        "Add" => {
            let is_negated = shown(name, false, values).is_none();
            is_negated && shown(name, true, values).is_some() && normalises(output)
        }
        "Mul" if shown(name, true, values).is_some() => {
            let other = node.input.get(1 - index.min(1));
            let is_scaled = other.is_some_and(|name| has_root(name, FARTHEST, values));
            let readers = values.links.readers(output);
            is_scaled
                && !readers.is_empty()
                && readers.iter().all(|reader| match reader.op_type.as_str() {
                    "Sub" => reader.input.get(1) == Some(output),
                    "Neg" => true,
                    _ => false,
                })
        }
        _ => false,
    }
}

/// What a stored array is that input `index` of `node` has, which is subtracted from values before
/// a division by another, or is that other one.
pub(super) fn standardises<'a>(
    node: &'a NodeProto,
    index: usize,
    values: &Values<'a>,
) -> Option<&'static str> {
    let root = shown(node.input.get(index).filter(|_| index == 1)?, false, values)?;
    let elements = values.elements_of(root);
    let divides = |of: &'a NodeProto| {
        let divisor = shown(of.input.get(1)?, false, values).filter(|_| of.op_type == "Div")?;
        (values.elements_of(divisor) == elements && values.is_unsigned(divisor)).then_some(())
    };
    match node.op_type.as_str() {
        "Sub" => {
            let readers = values.links.readers(node.output.first()?);
            readers.iter().find_map(|reader| divides(reader)).map(|()| CENTRE)
        }
        "Div" => {
            let before = values.links.writer(node.input.first()?)?;
            let centre = shown(before.input.get(1)?, false, values)?;
            let fits = before.op_type == "Sub" && values.elements_of(centre) == elements;
            divides(node).filter(|()| fits).map(|()| DEVIATION)
        }
        _ => None,
    }
}
