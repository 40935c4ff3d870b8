//! Arithmetic on shapes: exporters compute the target of a `Reshape` or `Resize` in the graph.

use tract_onnx::pb::{NodeProto, tensor_proto::DataType};

use super::{
    attributes, layout,
    values::{Content, LONGEST, Values, stored},
};
use crate::onnx::MAX_ELEMENTS;

/// What `node` gives, when that follows from shapes and constants.
pub(super) fn folded(node: &NodeProto, values: &Values<'_>) -> Option<Content> {
    let content = computed(node, values)?;
    let kind = match node.op_type.as_str() {
        "Cast" => attributes::int(node, "to").and_then(|to| DataType::try_from(to as i32).ok()),
        _ => node.input.first().and_then(|name| values.kind(name)),
    };
    Some(match (content, kind) {
        // The runtimes round every step to what the type holds.
        (Content::Reals(reals), Some(DataType::Float)) => {
            Content::Reals(reals.into_iter().map(|value| f64::from(value as f32)).collect())
        }
        (content, _) => content,
    })
}

/// The length of a `Range` of integers that are known.
pub(super) fn range_len(node: &NodeProto, values: &Values<'_>) -> Option<usize> {
    let one = |index: usize| match values.ints(node.input.get(index)?)? {
        &[value] => Some(i128::from(value)),
        _ => None,
    };
    if let Some([start, limit, step]) = real_range(node, values) {
        let steps = ((limit - start) / step).ceil().max(0.0);
        return (step != 0.0 && steps < MAX_ELEMENTS as f64).then_some(steps as usize);
    }
    let (start, limit, step) = (one(0)?, one(1)?, one(2)?);
    let (distance, step) = if step < 0 { (start - limit, -step) } else { (limit - start, step) };
    // Towards zero would be one too few where a step is begun.
    let steps = if step == 0 { return None } else { distance.max(0) + step - 1 };
    usize::try_from(steps / step).ok()
}

/// Start, limit and step of a `Range` of numbers with a point.
fn real_range(node: &NodeProto, values: &Values<'_>) -> Option<[f64; 3]> {
    let one = |index: usize| match values.content(node.input.get(index)?)? {
        Content::Reals(reals) if reals.len() == 1 => Some(reals[0]),
        _ => None,
    };
    Some([one(0)?, one(1)?, one(2)?])
}

fn computed(node: &NodeProto, values: &Values<'_>) -> Option<Content> {
    let input = |index: usize| values.content(node.input.get(index)?);
    let ints = |index: usize| values.ints(node.input.get(index)?);
    // Of lists and numbers the values pair in order; tables would have to be broadcast and joined
    // by their axes.
    let alike =
        node.input.iter().all(|name| values.shape(name).is_some_and(|shape| shape.len() <= 1));
    Some(match node.op_type.as_str() {
        "Shape" => {
            let shape = values.shape(node.input.first()?)?;
            let bound = |name, default| {
                layout::clamp(attributes::int(node, name).unwrap_or(default), shape.len())
            };
            let (start, end) = (bound("start", 0), bound("end", shape.len() as i64));
            Content::Ints(
                shape.get(start..end.max(start))?.iter().map(|&size| size as i64).collect(),
            )
        }
        "Size" => {
            let shape = values.shape(node.input.first()?)?;
            Content::Ints(vec![
                shape.iter().try_fold(1_i64, |product, &size| product.checked_mul(size as i64))?,
            ])
        }
        "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => input(0)?.clone(),
        "Cast" => match DataType::try_from(attributes::int(node, "to")? as i32).ok()? {
            // Towards zero, and to the nearest that there is: what casting does.
            DataType::Int64 | DataType::Int32 => match input(0)? {
                Content::Ints(ints) => Content::Ints(ints.clone()),
                Content::Reals(reals) => {
                    Content::Ints(reals.iter().map(|&value| value as i64).collect())
                }
            },
            DataType::Float | DataType::Double => Content::Reals(input(0)?.reals()),
            _ => return None,
        },
        "Gather" if attributes::int(node, "axis").unwrap_or(0) == 0 => {
            // A list of lists would be gathered by rows.
            if values.shape(node.input.first()?)?.len() != 1 {
                return None;
            }
            let (data, len) = (input(0)?, input(0)?.len() as i64);
            let places = ints(1)?.iter().map(|&index| {
                usize::try_from(if index < 0 { index.checked_add(len)? } else { index }).ok()
            });
            data.pick(places.collect::<Option<Vec<_>>>()?.into_iter())?
        }
        "Concat" if alike => {
            let parts =
                node.input.iter().map(|name| values.content(name)).collect::<Option<Vec<_>>>()?;
            if parts.iter().all(|part| matches!(part, Content::Ints(_))) {
                Content::Ints(
                    node.input
                        .iter()
                        .filter_map(|name| values.ints(name))
                        .flatten()
                        .copied()
                        .take(LONGEST + 1)
                        .collect(),
                )
            } else {
                Content::Reals(
                    parts.iter().flat_map(|part| part.reals()).take(LONGEST + 1).collect(),
                )
            }
        }
        "Slice" => {
            let list =
                |index: usize, name: &str| ints(index).or_else(|| attributes::ints(node, name));
            // Contents that are known are short, which bounds all that follows, unless there are
            // none: then other axes have any length.
            let data = input(0)?;
            if data.len() == 0 {
                return Some(data.clone());
            }
            let shape = values.shape(node.input.first()?)?;
            let (starts, ends) = (list(1, "starts")?, list(2, "ends")?);
            // Each axis is taken whole unless it is named.
            let mut places: Vec<Vec<usize>> =
                shape.iter().map(|&size| (0..size).collect()).collect();
            for (index, (&start, &end)) in starts.iter().zip(ends).enumerate() {
                let axis =
                    list(3, "axes").map_or(Some(index as i64), |axes| axes.get(index).copied())?;
                let axis = layout::axis(axis, shape.len()).ok()?;
                let step = if node.input.len() > 4 { *ints(4)?.get(index)? } else { 1 };
                places[axis] = layout::slice_places(shape[axis], start, end, step)?;
            }
            data.pick(positions(shape, &places).into_iter())?
        }
        "Transpose" => {
            let data = input(0)?;
            if data.len() == 0 {
                return Some(data.clone());
            }
            let shape = values.shape(node.input.first()?)?;
            let order: Vec<usize> = match attributes::ints(node, "perm") {
                Some(order) => order
                    .iter()
                    .map(|&dim| layout::axis(dim, shape.len()).ok())
                    .collect::<Option<_>>()?,
                None => (0..shape.len()).rev().collect(),
            };
            let strides: Vec<usize> =
                (0..shape.len()).map(|dim| shape[dim + 1..].iter().product()).collect();
            // The places of the result, in its order, counted in the order of the input.
            let places = order.iter().fold(vec![0], |places: Vec<usize>, &dim| {
                places
                    .iter()
                    .flat_map(|place| (0..shape[dim]).map(move |index| (place, index)))
                    .map(|(place, index)| place + index * strides[dim])
                    .collect()
            });
            data.pick(places.into_iter())?
        }
        "ConstantOfShape" => {
            let len = ints(0)?.iter().try_fold(1_usize, |product, &size| {
                product.checked_mul(usize::try_from(size).ok()?)
            })?;
            if len > LONGEST {
                return None;
            }
            match attributes::tensor(node, "value") {
                Some(value) => stored(value, 1)?.pick(std::iter::repeat_n(0, len))?,
                None => Content::Reals(vec![0.0; len]),
            }
        }
        "Range" => match (ints(0)?, ints(1)?, ints(2)?) {
            (&[start], &[limit], &[step]) if step != 0 => {
                let values = std::iter::successors(Some(start), |value| value.checked_add(step));
                Content::Ints(
                    values
                        .take_while(|&value| if step > 0 { value < limit } else { value > limit })
                        .take(LONGEST + 1)
                        .collect(),
                )
            }
            _ => return None,
        },
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Max" | "Min" | "Equal"
            if alike && node.input.len() == 2 =>
        {
            let truncates = node.op_type == "Mod" && attributes::flag(node, "fmod", false);
            paired(if truncates { "fmod" } else { &node.op_type }, input(0)?, input(1)?)?
        }
        "Where" if alike => {
            let (condition, then, otherwise) = (ints(0)?, ints(1)?, ints(2)?);
            let len = condition.len().max(then.len()).max(otherwise.len());
            let at = |list: &[i64], place: usize| {
                list.get(if list.len() == 1 { 0 } else { place }).copied()
            };
            let choose = |place| {
                if at(condition, place)? != 0 { at(then, place) } else { at(otherwise, place) }
            };
            Content::Ints((0..len).map(choose).collect::<Option<_>>()?)
        }
        "ReduceProd" if values.shape(node.input.first()?)?.len() == 1 => Content::Ints(vec![
            ints(0)?.iter().try_fold(1_i64, |product, &value| product.checked_mul(value))?,
        ]),
        "ReduceMin" | "ReduceMax" if values.shape(node.input.first()?)?.len() == 1 => {
            let least = node.op_type == "ReduceMin";
            match input(0)? {
                Content::Ints(ints) => {
                    let ints = ints.iter().copied();
                    Content::Ints(vec![if least { ints.min() } else { ints.max() }?])
                }
                Content::Reals(reals) => {
                    let reals = reals.iter().copied();
                    let choose = if least { f64::min } else { f64::max };
                    Content::Reals(vec![reals.reduce(choose)?])
                }
            }
        }
        "Floor" | "Ceil" | "Neg" => {
            let operate = |value: f64| match node.op_type.as_str() {
                "Floor" => value.floor(),
                "Ceil" => value.ceil(),
                _ => -value,
            };
            match input(0)? {
                Content::Reals(reals) => {
                    Content::Reals(reals.iter().map(|&value| operate(value)).collect())
                }
                Content::Ints(ints) if node.op_type == "Neg" => Content::Ints(
                    ints.iter().map(|value| value.checked_neg()).collect::<Option<_>>()?,
                ),
                Content::Ints(_) => return None,
            }
        }
        _ => return None,
    })
}

/// The places of a tensor of `shape` at which each axis has one of its `places`, in order.
fn positions(shape: &[usize], places: &[Vec<usize>]) -> Vec<usize> {
    shape.iter().zip(places).fold(vec![0], |found, (size, places)| {
        found
            .iter()
            .flat_map(|found| places.iter().map(move |place| found * size + place))
            .collect()
    })
}

/// An operator on each pair of values, where both lists are of one length or one has one value.
fn paired(op: &str, a: &Content, b: &Content) -> Option<Content> {
    let len = a.len().max(b.len());
    if [a, b].iter().any(|list| list.len() == 0 || (list.len() != len && list.len() != 1)) {
        return None;
    }
    if let (Content::Ints(a), Content::Ints(b)) = (a, b) {
        let operate = |place: usize| {
            let (a, b) = (a[place % a.len()], b[place % b.len()]);
            match op {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Div" => a.checked_div(b),
                // Of the sign of the divisor, as in Python.
                "Mod" => match a.checked_rem(b)? {
                    rest if rest != 0 && (rest < 0) != (b < 0) => Some(rest + b),
                    rest => Some(rest),
                },
                // Of that of the dividend, as in C.
                "fmod" => a.checked_rem(b),
                "Max" => Some(a.max(b)),
                "Min" => Some(a.min(b)),
                "Equal" => Some(i64::from(a == b)),
                _ => None,
            }
        };
        return Some(Content::Ints((0..len).map(operate).collect::<Option<_>>()?));
    }
    let (a, b) = (a.reals(), b.reals());
    let operate = |place: usize| {
        let (a, b) = (a[place % a.len()], b[place % b.len()]);
        match op {
            "Add" => Some(a + b),
            "Sub" => Some(a - b),
            "Mul" => Some(a * b),
            "Div" => Some(a / b),
            "fmod" => Some(a % b),
            "Max" => Some(a.max(b)),
            "Min" => Some(a.min(b)),
            _ => None,
        }
    };
    Some(Content::Reals((0..len).map(operate).collect::<Option<_>>()?))
}
