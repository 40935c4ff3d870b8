//! Shapes of operators that move or join values.

use tract_onnx::pb::NodeProto;

use super::{
    attributes,
    inference::Uninferred,
    values::{MOST_DIMENSIONS, Shape, Values},
};

/// An axis of which single places are told.
const LONGEST_AXIS: usize = 1 << 20;

/// The shape of an operator's only result.
type OneShape = Result<Shape, Uninferred>;

/// `axis` counted from the front, for a tensor of `rank` dimensions.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_front
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|&axis| axis < rank)
        .ok_or_else(|| format!("axis {axis} of a tensor of {rank} dimensions"))
}

/// Several of them.
fn axes(list: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    list.iter().map(|&dim| axis(dim, rank)).collect()
}

/// A size that a file gives; none where no tensor could have it.
pub(super) fn size(given: i64) -> Option<usize> {
    u32::try_from(given).ok().map(|size| size as usize)
}

/// A start or end of a slice of `len` values, counted from the front and kept inside.
pub(super) fn clamp(index: i64, len: usize) -> usize {
    let len = len as i64;
    let from_front = if index < 0 { index.saturating_add(len) } else { index };
    from_front.clamp(0, len) as usize
}

pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Shape, String> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], dim: usize| {
        (dim + shape.len()).checked_sub(rank).map_or(1, |dim| shape[dim])
    };
    (0..rank)
        .map(|dim| match (size(a, dim), size(b, dim)) {
            (a, b) if a == b => Ok(a),
            (1, size) | (size, 1) => Ok(size),
            _ => Err(format!("{a:?} and {b:?} do not broadcast")),
        })
        .collect()
}

/// A list of integers that older operator sets give as an attribute and newer ones as an input.
/// `None` when it is in neither place.
pub(super) fn list(
    node: &NodeProto,
    name: &str,
    input: usize,
    values: &Values<'_>,
) -> Result<Option<Vec<i64>>, Uninferred> {
    match node.input.get(input).filter(|tensor| !tensor.is_empty()) {
        Some(tensor) => match values.ints(tensor) {
            Some(ints) => Ok(Some(ints.to_vec())),
            None if values.is_stored(tensor) => Err(Uninferred::Shape(format!(
                "`{name}` (`{tensor}`) is no short list of integers"
            ))),
            None => Err(Uninferred::Undetermined(format!(
                "`{name}` (`{tensor}`) is only known when it runs"
            ))),
        },
        None => Ok(attributes::ints(node, name).map(<[i64]>::to_vec)),
    }
}

pub(super) fn concat(node: &NodeProto, shapes: &[&Shape]) -> Result<Shape, String> {
    let [first, rest @ ..] = shapes else { return Err("it has no input".to_owned()) };
    let along = axis(attributes::int(node, "axis").ok_or("`axis` is missing")?, first.len())?;
    let mut joined = (*first).clone();
    for shape in rest {
        let fits = shape.len() == joined.len()
            && (0..joined.len()).all(|dim| dim == along || shape[dim] == joined[dim]);
        if !fits {
            return Err(format!("{first:?} and {shape:?} do not join along axis {along}"));
        }
        joined[along] += shape[along];
    }
    Ok(joined)
}

pub(super) fn slice(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let starts = list(node, "starts", 1, values)?.ok_or("`starts` is missing")?;
    let ends = list(node, "ends", 2, values)?.ok_or("`ends` is missing")?;
    let axes = list(node, "axes", 3, values)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(node, "steps", 4, values)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("`starts`, `ends`, `axes` and `steps` differ in length".into());
    }
    let mut shape = input.clone();
    for index in 0..starts.len() {
        let dim = axis(axes[index], input.len())?;
        shape[dim] = slice_len(input[dim], starts[index], ends[index], steps[index])?;
    }
    Ok(shape)
}

fn slice_len(size: usize, start: i64, end: i64, step: i64) -> Result<usize, String> {
    if step == 0 {
        return Err("a step is 0".to_owned());
    }
    if step > 0 {
        let (start, end) = (clamp(start, size), clamp(end, size));
        return Ok((end.saturating_sub(start) as u64).div_ceil(step.unsigned_abs()) as usize);
    }
    let Some(last) = (size as i64).checked_sub(1).filter(|&last| last >= 0) else { return Ok(0) };
    // Backwards a start before the first value means the first value, and an end there means that
    // it is taken too.
    let from_front = |index: i64| if index < 0 { index.saturating_add(size as i64) } else { index };
    let (start, end) = (from_front(start).clamp(0, last), from_front(end).clamp(-1, last));
    Ok(((start - end).max(0) as u64).div_ceil(step.unsigned_abs()) as usize)
}

/// The places that a slice of an axis of `size` takes; `None` for an axis of more than weights ever
/// have, or where the slice is none.
pub(super) fn slice_places(size: usize, start: i64, end: i64, step: i64) -> Option<Vec<usize>> {
    if size > LONGEST_AXIS {
        return None;
    }
    let count = slice_len(size, start, end, step).ok()?;
    if count == 0 {
        return Some(Vec::new());
    }
    let first = match step > 0 {
        true => clamp(start, size) as i64,
        false => (if start < 0 { start.saturating_add(size as i64) } else { start })
            .clamp(0, size as i64 - 1),
    };
    (0..count as i64)
        .map(|index| usize::try_from(first.checked_add(index.checked_mul(step)?)?).ok())
        .collect()
}

pub(super) fn pad(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let pads = list(node, "pads", 1, values)?.ok_or("`pads` is missing")?;
    let along = match list(node, "axes", 3, values)? {
        Some(list) => axes(&list, input.len())?,
        None => (0..input.len()).collect(),
    };
    if pads.len() != 2 * along.len() {
        return Err(
            format!("`pads` has {} values for {} dimensions", pads.len(), along.len()).into()
        );
    }
    let mut shape = input.clone();
    for (index, &dim) in along.iter().enumerate() {
        let size =
            i128::from(pads[index]) + i128::from(pads[index + along.len()]) + shape[dim] as i128;
        shape[dim] = u32::try_from(size)
            .map_err(|_| format!("`pads` {pads:?} of a tensor {input:?}"))?
            as usize;
    }
    Ok(shape)
}

pub(super) fn flatten(node: &NodeProto, input: &Shape) -> Result<Shape, String> {
    let at = attributes::int(node, "axis").unwrap_or(1);
    let at = if at == input.len() as i64 { input.len() } else { axis(at, input.len())? };
    Ok(vec![input[..at].iter().product(), input[at..].iter().product()])
}

pub(super) fn reshape(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let target = list(node, "shape", 1, values)?.ok_or("`shape` is missing")?;
    let keep_zero = attributes::flag(node, "allowzero", false);
    let elements: usize = input.iter().product();
    let wrong = || Uninferred::Shape(format!("{input:?} does not reshape to {target:?}"));
    let mut shape = Vec::with_capacity(target.len());
    let mut open = None;
    for (dim, &given) in target.iter().enumerate() {
        shape.push(match given {
            -1 if open.is_none() => {
                open = Some(dim);
                1
            }
            0 if !keep_zero => *input.get(dim).ok_or_else(wrong)?,
            given => size(given).ok_or_else(wrong)?,
        });
    }
    let given = shape
        .iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))
        .ok_or_else(wrong)?;
    if let Some(dim) = open {
        if given == 0 || !elements.is_multiple_of(given) {
            return Err(wrong());
        }
        shape[dim] = elements / given;
    } else if given != elements {
        return Err(wrong());
    }
    Ok(shape)
}

pub(super) fn squeeze(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let drop = match list(node, "axes", 1, values)? {
        Some(list) if !list.is_empty() => axes(&list, input.len())?,
        _ => (0..input.len()).filter(|&dim| input[dim] == 1).collect(),
    };
    if let Some(dim) = drop.iter().find(|&&dim| input[dim] != 1) {
        return Err(format!("axis {dim} of {input:?} is not 1").into());
    }
    Ok((0..input.len()).filter(|dim| !drop.contains(dim)).map(|dim| input[dim]).collect())
}

pub(super) fn unsqueeze(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let given = list(node, "axes", 1, values)?.ok_or("`axes` is missing")?;
    let rank = input.len() + given.len();
    if rank > MOST_DIMENSIONS {
        return Err(format!("its result would have {rank} dimensions").into());
    }
    let new = axes(&given, rank)?;
    let mut old = input.iter();
    let shape: Shape = (0..rank)
        .filter_map(|dim| if new.contains(&dim) { Some(1) } else { old.next().copied() })
        .collect();
    if shape.len() == rank { Ok(shape) } else { Err(format!("`axes` {given:?} repeat").into()) }
}

pub(super) fn transpose(node: &NodeProto, input: &Shape) -> Result<Shape, String> {
    let Some(order) = attributes::ints(node, "perm") else {
        return Ok(input.iter().rev().copied().collect());
    };
    let order = axes(order, input.len())?;
    let mut seen = order.clone();
    seen.sort_unstable();
    if !seen.iter().copied().eq(0..input.len()) {
        return Err(format!("`perm` {order:?} of a tensor of {} dimensions", input.len()));
    }
    Ok(order.iter().map(|&dim| input[dim]).collect())
}

pub(super) fn reduce(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let keep = attributes::flag(node, "keepdims", true);
    let given = list(node, "axes", 1, values)?.unwrap_or_default();
    let gone = if given.is_empty() {
        if attributes::flag(node, "noop_with_empty_axes", false) {
            return Ok(input.clone());
        }
        (0..input.len()).collect()
    } else {
        axes(&given, input.len())?
    };
    let left = |dim: usize| match (gone.contains(&dim), keep) {
        (false, _) => Some(input[dim]),
        (true, true) => Some(1),
        (true, false) => None,
    };
    Ok((0..input.len()).filter_map(left).collect())
}

pub(super) fn split(
    node: &NodeProto,
    input: &Shape,
    values: &Values<'_>,
) -> Result<Vec<Shape>, Uninferred> {
    let along = axis(attributes::int(node, "axis").unwrap_or(0), input.len())?;
    let parts = node.output.len().max(1);
    let sizes = match list(node, "split", 1, values)? {
        Some(sizes) => sizes
            .iter()
            .map(|&part| size(part).ok_or_else(|| format!("`split` is {sizes:?}")))
            .collect::<Result<Vec<_>, _>>()?,
        None => {
            let each = input[along].div_ceil(parts);
            (0..parts).map(|part| input[along].saturating_sub(part * each).min(each)).collect()
        }
    };
    if sizes.len() != parts || sizes.iter().sum::<usize>() != input[along] {
        return Err(
            format!("{sizes:?} do not split axis {along} of {input:?} into {parts} parts").into()
        );
    }
    let part = |&size: &usize| {
        let mut shape = input.clone();
        shape[along] = size;
        shape
    };
    Ok(sizes.iter().map(part).collect())
}

pub(super) fn gather(node: &NodeProto, input: &Shape, indices: &Shape) -> Result<Shape, String> {
    let along = axis(attributes::int(node, "axis").unwrap_or(0), input.len())?;
    Ok([&input[..along], indices, &input[along + 1..]].concat())
}

pub(super) fn gather_nd(node: &NodeProto, input: &Shape, indices: &Shape) -> Result<Shape, String> {
    let wrong = || format!("{indices:?} are no places in {input:?}");
    let batch = attributes::int(node, "batch_dims").unwrap_or(0);
    let batch = usize::try_from(batch).map_err(|_| wrong())?;
    let (&depth, places) = indices.split_last().ok_or_else(wrong)?;
    let gone = batch.checked_add(depth).filter(|&gone| gone <= input.len()).ok_or_else(wrong)?;
    if places.len() < batch || places[..batch] != input[..batch] {
        return Err(wrong());
    }
    Ok([places, &input[gone..]].concat())
}

/// `GridSample`: a value of each channel for each place, which the last axis of the grid has.
pub(super) fn grid_sample(input: &Shape, grid: &Shape) -> Result<Shape, String> {
    match (input.as_slice(), grid.as_slice()) {
        ([batch, channels, spatial @ ..], [batch_of_grid, places @ .., axes])
            if batch == batch_of_grid
                && places.len() == spatial.len()
                && *axes == spatial.len() =>
        {
            Ok([&[*batch, *channels], places].concat())
        }
        _ => Err(format!("a grid {grid:?} on {input:?}")),
    }
}

/// A shape that an input gives, such as the target of `Expand`.
pub(super) fn target(
    node: &NodeProto,
    name: &str,
    input: usize,
    values: &Values<'_>,
) -> Result<Shape, Uninferred> {
    let sizes = list(node, name, input, values)?.ok_or_else(|| format!("`{name}` is missing"))?;
    let wrong = || Uninferred::Shape(format!("`{name}` is {sizes:?}"));
    sizes.iter().map(|&given| size(given).ok_or_else(wrong)).collect()
}

pub(super) fn expand(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    Ok(broadcast(input, &target(node, "shape", 1, values)?)?)
}

pub(super) fn tile(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let repeats = target(node, "repeats", 1, values)?;
    if repeats.len() != input.len() {
        return Err(format!("`repeats` {repeats:?} of a tensor {input:?}").into());
    }
    let size = |(&size, &repeat): (&usize, &usize)| {
        size.checked_mul(repeat).ok_or_else(|| format!("`repeats` is {repeats:?}"))
    };
    Ok(input.iter().zip(&repeats).map(size).collect::<Result<_, _>>()?)
}

/// `ArgMax` and `ArgMin`: one axis is reduced.
pub(super) fn arg(node: &NodeProto, input: &Shape) -> Result<Shape, String> {
    let along = axis(attributes::int(node, "axis").unwrap_or(0), input.len())?;
    let mut shape = input.clone();
    if attributes::flag(node, "keepdims", true) {
        shape[along] = 1;
    } else {
        shape.remove(along);
    }
    Ok(shape)
}

pub(super) fn top_k(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let along = axis(attributes::int(node, "axis").unwrap_or(-1), input.len())?;
    let k = match list(node, "k", 1, values)?.as_deref() {
        Some(&[k]) => usize::try_from(k).ok().filter(|&k| k <= input[along]),
        _ => None,
    };
    let mut shape = input.clone();
    shape[along] = k.ok_or_else(|| format!("`k` does not fit {input:?}"))?;
    Ok(shape)
}

/// `Resize` and `Upsample`: by sizes, or by factors rounded down.
pub(super) fn resize(node: &NodeProto, input: &Shape, values: &Values<'_>) -> OneShape {
    let axes = match attributes::ints(node, "axes") {
        Some(list) => axes(list, input.len())?,
        None => (0..input.len()).collect(),
    };
    let wrong = || Uninferred::Shape(format!("`scales` or `sizes` do not fit {input:?}"));
    let mut shape = input.clone();
    // The older forms have the scales second or as an attribute.
    let place = if node.op_type == "Upsample" || node.input.len() == 2 { 1 } else { 2 };
    let given = |index: usize| {
        node.input
            .get(index)
            .filter(|name| !name.is_empty() && values.shape(name).is_none_or(|shape| *shape != [0]))
    };
    if given(3).is_some() {
        if attributes::string(node, "keep_aspect_ratio_policy")
            .is_some_and(|policy| policy != "stretch")
        {
            return Err(Uninferred::Undetermined(
                "`keep_aspect_ratio_policy` is not followed".to_owned(),
            ));
        }
        let sizes = target(node, "sizes", 3, values)?;
        if sizes.len() != axes.len() {
            return Err(wrong());
        }
        axes.iter().zip(sizes).for_each(|(&dim, size)| shape[dim] = size);
        return Ok(shape);
    }
    let scales = match given(place) {
        Some(name) => values
            .content(name)
            .ok_or_else(|| {
                Uninferred::Undetermined(format!("`{name}` is only known when it runs"))
            })?
            .reals(),
        None => attributes::floats(node, "scales")
            .ok_or_else(wrong)?
            .iter()
            .map(|&scale| scale.into())
            .collect(),
    };
    if scales.len() != axes.len() {
        return Err(wrong());
    }
    for (&dim, scale) in axes.iter().zip(scales) {
        // In 32 bits, as the runtimes multiply: seven tenths of ten pixels are seven.
        let size = f64::from((input[dim] as f32 * scale as f32).floor());
        if !(0.0..=f64::from(u32::MAX)).contains(&size) {
            return Err(wrong());
        }
        shape[dim] = size as usize;
    }
    Ok(shape)
}

/// `DepthToSpace` and `SpaceToDepth`.
pub(super) fn blocks(node: &NodeProto, input: &Shape) -> Result<Shape, String> {
    let wrong = || format!("`blocksize` does not fit {input:?}");
    let size = attributes::int(node, "blocksize")
        .and_then(|size| u16::try_from(size).ok())
        .filter(|&size| size > 0);
    let size = usize::from(size.ok_or_else(wrong)?);
    let &[batch, channels, height, width] = input.as_slice() else { return Err(wrong()) };
    let fits =
        |values: usize, by: usize| values.is_multiple_of(by).then(|| values / by).ok_or_else(wrong);
    let times = |value: usize, by: usize| value.checked_mul(by).ok_or_else(wrong);
    if node.op_type == "DepthToSpace" {
        return Ok(vec![
            batch,
            fits(channels, size * size)?,
            times(height, size)?,
            times(width, size)?,
        ]);
    }
    Ok(vec![batch, times(channels, size * size)?, fits(height, size)?, fits(width, size)?])
}
