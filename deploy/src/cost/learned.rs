//! Which stored tensors a constant tensor is computed from, and which of them a node learns with.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use tract_onnx::pb::{NodeProto, tensor_proto::DataType};

use super::{
    attributes, layout,
    levels::Levels,
    statistics,
    values::{Part, Places, Role, Values, is_place, is_real, is_wide},
};

/// What has been counted of every stored tensor.
pub(super) struct Counted<'a> {
    cuts: HashSet<(&'a str, &'a str)>,
    /// The places of those cuts where they are known.
    places: HashSet<(&'a str, Rc<Places>)>,
    /// The elements at these, a bit for each of the stored tensor.
    marked: HashMap<&'a str, Vec<u64>>,
    elements: HashMap<&'a str, u64>,
    /// How many cuts there are of a tensor, and whether it is known of all which elements they have.
    known: HashMap<&'a str, (usize, bool)>,
    /// What may still be marked.
    work: u64,
}

impl Default for Counted<'_> {
    fn default() -> Self {
        Self {
            cuts: HashSet::new(),
            places: HashSet::new(),
            marked: HashMap::new(),
            elements: HashMap::new(),
            known: HashMap::new(),
            work: MOST_MARKED,
        }
    }
}

/// Elements that are marked, and a quarter of those of every tensor that has some: a file of a few
/// bytes may speak of more than there is time and memory for.
const MOST_MARKED: u64 = 1 << 28;

impl<'a> Counted<'a> {
    /// Elements of `parts` that were not counted before. Cuts of which it is not known what they
    /// take are taken to be apart from each other, until together they have more elements than the
    /// tensor.
    pub(super) fn add(&mut self, parts: &[Part<'a>], values: &Values<'a>) -> u64 {
        let mut sum = 0;
        for part in parts {
            // Of what is repeated one number is stored.
            if values.repeated.contains(part.root) || !self.cuts.insert((part.root, part.cut)) {
                continue;
            }
            let marked = self.marked(part, values);
            let (count, is_known) = self.known.entry(part.root).or_insert((0, true));
            *count += 1;
            *is_known &= marked.is_some();
            let new = marked.unwrap_or(part.elements);
            let all = values.elements_of(part.root);
            let so_far = self.elements.entry(part.root).or_default();
            let new = new.min(all.saturating_sub(*so_far));
            *so_far += new;
            sum += new;
        }
        sum
    }

    /// Whether anything of a stored tensor was counted.
    pub(super) fn has(&self, root: &str) -> bool {
        self.elements.get(root).is_some_and(|&elements| elements > 0)
    }

    /// The stored tensors of which several parts were counted as if they had no element in common,
    /// each with its elements, by name.
    pub(super) fn taken_apart(&self, values: &Values<'a>) -> Vec<(&'a str, u64)> {
        let guessed = self.known.iter().filter(|(root, (count, is_known))| {
            *count > 1 && !is_known && !self.cuts.contains(&(**root, **root))
        });
        let mut guessed: Vec<_> =
            guessed.map(|(&root, _)| (root, values.elements_of(root))).collect();
        guessed.sort_unstable();
        guessed
    }

    /// The elements of a part that no other has marked; `None` where it is not known which they
    /// are.
    fn marked(&mut self, part: &Part<'a>, values: &Values<'a>) -> Option<u64> {
        let (places, shape) = (part.places.as_ref()?, values.shape(part.root)?);
        if !self.places.insert((part.root, Rc::clone(places))) {
            return Some(0);
        }
        let all = values.elements_of(part.root);
        let taken = shape
            .iter()
            .zip(places.iter())
            .map(|(&size, taken)| taken.as_ref().map_or(size, Vec::len) as u64);
        let count = taken.product::<u64>();
        if count == 0 {
            return Some(0);
        }
        let work = count.checked_add(all / 4)?;
        self.work = self.work.checked_sub(work)?;
        let bits = self.marked.entry(part.root);
        let bits = bits.or_insert_with(|| vec![0; all as usize / 64 + 1]);
        Some(mark(bits, shape, places, 0))
    }
}

/// Marks the elements at `places` of a tensor of `shape`, and counts those that were not.
fn mark(bits: &mut [u64], shape: &[usize], places: &[Option<Vec<u32>>], at: usize) -> u64 {
    let ([size, shape @ ..], [taken, places @ ..]) = (shape, places) else {
        let (word, bit) = (&mut bits[at / 64], 1 << (at % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        return is_new.into();
    };
    let mut inner = |place: usize| mark(bits, shape, places, at * size + place);
    match taken {
        Some(taken) => taken.iter().map(|&place| inner(place as usize)).sum(),
        None => (0..*size).map(inner).sum(),
    }
}

/// Operators whose result has the values of their first input, and which read other real numbers:
/// bounds, scales, what is put around.
#[rustfmt::skip]
const OF_THE_FIRST: [&str; 9] = [
    "CastLike", "Clip", "DequantizeLinear", "Dropout", "DynamicQuantizeLinear", "Pad",
    "QuantizeLinear", "Resize", "Upsample",
];

/// Those that take a part of the first.
const CUTS: [&str; 5] = ["Slice", "Gather", "GatherElements", "GatherND", "Split"];

/// Those that join values of all inputs, whatever their type.
const JOINED: [&str; 12] =
    ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "Concat", "MatMul", "Einsum"];

/// Those that compute many numbers with one, if that is all that an input has.
#[rustfmt::skip]
const SPREADING: [&str; 13] = [
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "Where", "PRelu", "Range",
];

/// Those that leave every element of the first in its place.
const IN_PLACE: [&str; 5] = ["Identity", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear"];

/// Those whose result has the values of the first as they are, in another order, shape or type.
#[rustfmt::skip]
const MOVED: [&str; 14] = [
    "Identity", "Cast", "CastLike", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten",
    "Expand", "Tile", "Slice", "Split", "Gather", "Concat",
];

/// Those that only answer questions.
#[rustfmt::skip]
const ASKING: [&str; 10] = [
    "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "IsNaN", "IsInf", "Shape", "Size",
    "NonZero",
];

/// Whether input `index` says how a node computes: statistics, scales, zero points, first states.
fn steers(op: &str, index: usize) -> bool {
    match op {
        "BatchNormalization" => index > 2,
        "ConvInteger" | "MatMulInteger" => index > 1,
        "QLinearConv" | "QLinearMatMul" => !matches!(index, 0 | 3 | 8),
        "RNN" | "GRU" => index == 5,
        "LSTM" => matches!(index, 5 | 6),
        _ => false,
    }
}

/// Stored tensors that one is followed to be computed from, at most: a chain of sums lists them
/// anew with every node.
const MOST_PARTS: usize = 1000;

/// What result `index` of a node that no input of the graph determines has of stored tensors;
/// `None` of more than are followed.
pub(super) fn parts<'a>(
    node: &'a NodeProto,
    index: usize,
    elements: u64,
    values: &mut Values<'a>,
) -> Option<Vec<Part<'a>>> {
    if node.input.iter().any(|name| values.overfull.contains(name.as_str())) {
        return None;
    }
    let parts = match CUTS.contains(&node.op_type.as_str()) {
        true => cut(node, index, elements, values),
        false => followed(node, index, elements, values),
    };
    (parts.len() <= MOST_PARTS).then_some(parts)
}

/// What a node passes on, whatever its operator: all that its floats are computed from, but for
/// those inputs that are known to be no values of its result.
fn followed<'a>(
    node: &'a NodeProto,
    index: usize,
    elements: u64,
    values: &mut Values<'a>,
) -> Vec<Part<'a>> {
    let Some(output) = node.output.get(index) else { return Vec::new() };
    let op = node.op_type.as_str();
    if let Some(variance) = statistics::variance_under(node, values) {
        values.left_out.push((variance, statistics::VARIANCE));
        return Vec::new();
    }
    if let (true, Some(input)) = (IN_PLACE.contains(&op), node.input.first())
        && values.laid.contains(input.as_str())
    {
        values.laid.insert(output);
    }
    let sources = sources(node, index, values);
    let judged = (0..sources.len()).map(|at| taken(node, at, &sources, values));
    let judged: Vec<Taken> = judged.collect();
    // Nothing else is there that they could be next to.
    let keeps_all = judged.iter().all(|taken| matches!(taken, Taken::Out(_)));
    let (mut parts, mut known): (Vec<Part<'a>>, _) = (Vec::new(), HashSet::new());
    for (name, taken) in sources.iter().zip(judged) {
        // One number that many are computed with is a factor or a bound.
        if elements > 1 && SPREADING.contains(&op) && is_single(name, values) {
            continue;
        }
        let of = values.parts(name).to_vec();
        let arrays = of.iter().filter(|part| part.elements > 1).map(|part| part.root);
        match taken {
            Taken::Out(reason) if !keeps_all => {
                values.left_out.extend(arrays.map(|root| (root, reason)));
                continue;
            }
            Taken::Doubtful(reason) => values.doubtful.extend(arrays.map(|root| (root, reason))),
            _ => {}
        }
        parts.extend(of.into_iter().filter(|part| known.insert((part.root, part.cut))));
    }
    let reduction = attributes::string(node, "reduction");
    let replaces = op.starts_with("Scatter") && reduction.is_none_or(|how| how == "none");
    if let (true, [data, .., updates], [part, ..]) = (replaces, &sources[..], &mut parts[..])
        && values.parts(data) == [part.clone()]
        && let (Some(all), Some(shape)) = (values.shape(data), values.shape(updates))
        && all.iter().map(|&size| size as u64).product::<u64>() == part.elements
    {
        // Of the first is left what is not written over, where it has every element once.
        let over = shape.iter().map(|&size| size as u64).product();
        let elements = part.elements.saturating_sub(over);
        let mut how = DefaultHasher::new();
        (op, part.root, part.cut).hash(&mut how);
        node.input.get(1).map(|places| values.ints(places).ok_or(places)).hash(&mut how);
        let cut = *values.cuts.entry(how.finish()).or_insert(output);
        *part = Part { root: part.root, cut, elements, places: None };
    }
    // A factor or a bound is no weight next to one.
    if parts.iter().any(|part| part.elements > 1) {
        parts.retain(|part| part.elements > 1);
    }
    parts
}

/// What an array is taken for.
#[derive(Clone, Copy)]
pub(super) enum Taken {
    /// A parameter.
    In,
    /// A parameter that may be none, and why.
    Doubtful(&'static str),
    /// No parameter, and what it is instead.
    Out(&'static str),
}

const PRUNES: &str = "a mask, zeros and ones that a weight is multiplied with";
const FORBIDS: &str = "a mask, zeros and what forbids places when it is added to scores";
const CHOOSES: &str = "a mask, zeros and ones that values are multiplied with or gathered from";
const FILLS: &str =
    "a filling, one value or zeros and ones, that others are put into or chosen from";
const UNSCALED: &str = "ones and zeros, which stand for a normalisation without scale and bias";
const GAIN: &str =
    "one value in every place that a weight is multiplied with: a gain before training?";
const BINARY: &str = "zeros and ones that fewer numbers scale: a weight of two values, or a mask?";
const BOUND: &str = "one value in every place: a bound or a filling?";
const FACTOR: &str = "one value in every place: a factor or an offset?";
const LOWERS: &str = "zeros and one number below them, added to what the network computes: a mask?";

/// Whether `name` has one element.
fn is_single(name: &str, values: &Values<'_>) -> bool {
    elements(name, values) == 1
}

/// The elements of a tensor; 0 of one whose shape is not known.
fn elements(name: &str, values: &Values<'_>) -> usize {
    values.shape(name).map_or(0, |shape| shape.iter().product())
}

/// What the source at `at` of a weight is, that `node` computes from `sources`.
fn taken<'a>(node: &'a NodeProto, at: usize, sources: &[&'a String], values: &Values<'a>) -> Taken {
    let op = node.op_type.as_str();
    let has = |at: usize, are_so: fn(&Levels) -> bool| {
        sources.get(at).is_some_and(|name| values.has(name, are_so))
    };
    // Arithmetic on shapes is no weight.
    if matches!(values.kind(sources[at]), Some(DataType::Int32 | DataType::Int64)) {
        return Taken::In;
    }
    let is_mean = node.input.iter().position(|name| name == sources[at]);
    if is_mean.is_some_and(|index| statistics::is_mean(node, index, values)) {
        return Taken::Out(statistics::MEAN);
    }
    match op {
        "Mul" if sources.len() == 2 => {
            let elements = |at: usize| elements(sources[at], values);
            let other = 1 - at;
            if values.chooses(sources[at]) && !values.chooses(sources[other]) {
                // A weight has as many elements as what prunes it, or more.
                match elements(other) >= elements(at) {
                    true => Taken::Out(PRUNES),
                    false if elements(other) > 1 && prunes(node, elements(at), values) => {
                        Taken::Out(PRUNES)
                    }
                    false if elements(other) > 1 => Taken::Doubtful(BINARY),
                    false => Taken::In,
                }
            } else if has(at, |levels| levels.only().is_some())
                && elements(other) >= elements(at)
                && !has(other, |levels| levels.only().is_some())
            {
                Taken::Doubtful(GAIN)
            } else {
                Taken::In
            }
        }
        "Where" | "ScatterElements" | "ScatterND" if has(at, Levels::fill) => Taken::Out(FILLS),
        _ if op.ends_with("Normalization") && at > 0 => {
            let is_kept = |at: usize| sources.len() > at && !has(at, Levels::are_bits);
            // With a bias that is learned, ones are a scale before training.
            let is_gain = at == 1 && has(1, |levels| levels.only() == Some(1.0)) && is_kept(2);
            match has(at, Levels::are_bits) && !is_gain {
                true => Taken::Out(UNSCALED),
                false => Taken::In,
            }
        }
        _ => Taken::In,
    }
}

/// Whether all readers of the result of `node` multiply weights with it that have as many elements as
/// the mask it is made of, `of`, or more.
fn prunes(node: &NodeProto, of: usize, values: &Values<'_>) -> bool {
    let Some(output) = node.output.first() else { return false };
    let readers = values.links.readers(output);
    !readers.is_empty()
        && readers.iter().all(|reader| {
            let mut others = reader.input.iter().filter(|name| *name != output);
            reader.op_type == "Mul"
                && others.all(|name| values.is_constant(name) && elements(name, values) >= of)
        })
}

/// The inputs that the result of a node has values of.
fn sources<'a>(node: &'a NodeProto, index: usize, values: &Values<'_>) -> Vec<&'a String> {
    let at = |places: &[usize]| places.iter().filter_map(|&at| node.input.get(at)).collect();
    match node.op_type.as_str() {
        op if ASKING.contains(&op) => Vec::new(),
        "DynamicQuantizeLinear" if index > 0 => Vec::new(),
        "Where" => at(&[1, 2]),
        "ScatterElements" | "ScatterND" => at(&[0, 2]),
        op @ ("QLinearConv" | "QLinearMatMul" | "ConvInteger" | "MatMulInteger") => {
            (0..node.input.len())
                .filter(|&index| !steers(op, index))
                .map(|index| &node.input[index])
                .collect()
        }
        "Cast" | "CastLike" => {
            let is_weight = |name: &&String| {
                !is_wide(values.kind(name))
                    || !values.is_ordered(name)
                        && (!is_place(values.kind(name))
                            || weighs(node, elements(name, values), FARTHEST, values))
            };
            node.input.first().filter(is_weight).into_iter().collect()
        }
        op if OF_THE_FIRST.contains(&op) => at(&[0]),
        op if JOINED.contains(&op) => match of_codes(node, values) {
            Some(place) => at(&[place]),
            None if op != "Concat" && node.input.iter().any(|name| is_wide(values.kind(name))) => {
                Vec::new()
            }
            None => node.input.iter().collect(),
        },
        op => {
            let inputs = node.input.iter().enumerate();
            let reals =
                inputs.filter(|&(index, name)| !steers(op, index) && is_real(values.kind(name)));
            let reals: Vec<_> = reals.map(|(_, name)| name).collect();
            if reals.is_empty() { at(&[0]) } else { reals }
        }
    }
}

/// Nodes between integers that are made real and the layer that has them as weights, at most.
const FARTHEST: usize = 8;

/// Whether a layer multiplies computed values with the constant result of `node`, which has `of`
/// elements, once it is moved and scaled. Its integers are then quantised weights, and not places or
/// sizes.
fn weighs(node: &NodeProto, of: usize, far: usize, values: &Values<'_>) -> bool {
    let Some(output) = node.output.first().filter(|_| far > 0) else { return false };
    values.links.readers(output).iter().any(|reader| {
        let mut others = reader.input.iter().filter(|name| *name != output);
        let is_first = reader.input.first() == Some(output);
        match reader.op_type.as_str() {
            "Conv" | "ConvTranspose" => !is_first && reader.input.get(1) == Some(output),
            "MatMul" | "Gemm" => others.next().is_some_and(|name| !values.is_constant(name)),
            "Mul" | "Div" | "Sub" | "Add" => {
                let is_scale = |name| values.is_constant(name) && elements(name, values) < of;
                others.all(|name| is_scale(name)) && weighs(reader, of, far - 1, values)
            }
            op => is_first && MOVED.contains(&op) && weighs(reader, of, far - 1, values),
        }
    })
}

/// Which input of a node are the integers of quantisation that it scales or moves by a zero point:
/// what else it reads is no more than that, and smaller.
fn of_codes(node: &NodeProto, values: &Values<'_>) -> Option<usize> {
    if !matches!(node.op_type.as_str(), "Mul" | "Div" | "Sub") {
        return None;
    }
    let place = node.input.iter().position(|name| values.is_codes(name))?;
    let elements = |name: &String| values.shape(name).map(|shape| shape.iter().product::<usize>());
    let own = elements(node.input.get(place)?);
    let mut others = node.input.iter().enumerate().filter(|&(at, _)| at != place);
    others.all(|(_, name)| elements(name) < own).then_some(place)
}

/// What a result that is cut out of the first input has of stored tensors.
fn cut<'a>(
    node: &'a NodeProto,
    index: usize,
    elements: u64,
    values: &mut Values<'a>,
) -> Vec<Part<'a>> {
    let (Some(input), Some(output)) = (node.input.first(), node.output.get(index)) else {
        return Vec::new();
    };
    let whole = values.parts(input).to_vec();
    let of_all = whole.iter().map(|part| part.elements).sum::<u64>() <= elements;
    // Rows of a table, more of them than it has: those that no constant chooses are learned too.
    if of_all && node.op_type.starts_with("Gather") {
        return whole;
    }
    if let ([part], true) = (&whole[..], values.laid.contains(input.as_str()))
        && let Some(places) = places(node, index, part, values)
    {
        let count = |taken: &Option<Vec<u32>>, size: usize| match taken {
            Some(taken) => taken.iter().collect::<HashSet<_>>().len(),
            None => size,
        };
        let shape = values.shape(part.root).into_iter().flatten();
        let elements = places.iter().zip(shape).map(|(taken, &size)| count(taken, size) as u64);
        let (elements, places) = (elements.product(), Some(Rc::new(places)));
        let is_list = |name: &String| values.shape(name).is_some_and(|shape| shape.len() == 1);
        if node.op_type != "Gather" || node.input.get(1).is_some_and(is_list) {
            values.laid.insert(output);
        }
        return vec![Part { root: part.root, cut: output, elements, places }];
    }
    if of_all {
        return whole;
    }
    let cut = *values.cuts.entry(how_cut(node, index, values)).or_insert(output);
    let mut left = elements;
    // Of what was joined before, as much as there is of each, in its order.
    let taken = whole.iter().map(|part| {
        let elements = part.elements.min(left);
        left -= elements;
        Part { root: part.root, cut, elements, places: None }
    });
    let mut taken: Vec<Part<'a>> = taken.filter(|part| part.elements > 0).collect();
    taken.dedup_by_key(|part| (part.root, part.cut));
    taken
}

/// A number that cuts of one tensor share which take the same of it.
fn how_cut(node: &NodeProto, index: usize, values: &Values<'_>) -> u64 {
    let mut how = DefaultHasher::new();
    (&node.op_type, node.input.first(), index).hash(&mut how);
    for name in node.input.iter().skip(1).take(4) {
        values.ints(name).ok_or(name).hash(&mut how);
    }
    for of in &node.attribute {
        (&of.name, of.i, &of.ints).hash(&mut how);
    }
    how.finish()
}

/// The places that a cut takes of the stored tensor that `part` is of, of which its first input has
/// those of `part` in their order; `None` where they are not known, or too many.
fn places<'a>(
    node: &NodeProto,
    index: usize,
    part: &Part<'a>,
    values: &mut Values<'a>,
) -> Option<Places> {
    let shape = values.shape(node.input.first()?).filter(|_| values.places_left > 0)?;
    let cuts: Vec<(usize, Vec<usize>)> = match node.op_type.as_str() {
        "Slice" => {
            let list = |name, input| layout::list(node, name, input, values).ok();
            let (starts, ends) = (list("starts", 1)??, list("ends", 2)??);
            let (axes, steps) = (list("axes", 3)?, list("steps", 4)?);
            let of_axis = |(at, (&start, &end)): (usize, (&i64, &i64))| {
                let axis = axes.as_ref().map_or(Some(at as i64), |axes| axes.get(at).copied())?;
                let axis = layout::axis(axis, shape.len()).ok()?;
                let step = steps.as_ref().map_or(Some(1), |steps| steps.get(at).copied())?;
                Some((axis, layout::slice_places(shape[axis], start, end, step)?))
            };
            starts.iter().zip(&ends).enumerate().map(of_axis).collect::<Option<_>>()?
        }
        "Split" => {
            let axis = attributes::int(node, "axis").unwrap_or(0);
            let axis = layout::axis(axis, shape.len()).ok()?;
            let results = layout::split(node, shape, values).ok()?;
            let size = |shape: &Vec<usize>| shape[axis];
            let start: usize = results.get(..index)?.iter().map(size).sum();
            let end = start + size(results.get(index)?);
            vec![(axis, layout::slice_places(shape[axis], start as i64, end as i64, 1)?)]
        }
        "Gather" => {
            let axis = attributes::int(node, "axis").unwrap_or(0);
            let axis = layout::axis(axis, shape.len()).ok()?;
            let of_end = |&at: &i64| if at < 0 { at + shape[axis] as i64 } else { at };
            let indices = values.ints(node.input.get(1)?)?.iter();
            let places = indices.map(|at| usize::try_from(of_end(at)).ok());
            vec![(axis, places.collect::<Option<_>>()?)]
        }
        _ => return None,
    };
    let mut places = match &part.places {
        Some(places) => Places::clone(places),
        None => vec![None; values.shape(part.root)?.len()],
    };
    for (axis, taken) in cuts {
        let axis = places.get_mut(axis)?;
        let of_root = |place: usize| match axis {
            Some(before) => before.get(place).copied(),
            None => u32::try_from(place).ok(),
        };
        let taken: Vec<u32> = taken.into_iter().map(of_root).collect::<Option<_>>()?;
        *axis = Some(taken);
    }
    let kept = places.iter().flatten().map(Vec::len).sum::<usize>();
    let left = values.places_left.checked_sub(kept);
    values.places_left = left.unwrap_or(0);
    left.is_some().then_some(places)
}

/// Whether a node computed at run time reads stored arrays that may be learned.
pub(super) fn reads_arrays(node: &NodeProto, values: &Values<'_>) -> bool {
    let mut inputs = node.input.iter().enumerate();
    inputs.any(|(index, name)| {
        !steers(&node.op_type, index) && values.is_constant(name) && is_array(name, values)
    })
}

/// Whether `name` is an array of real numbers, or of quantised ones.
pub(super) fn is_array(name: &str, values: &Values<'_>) -> bool {
    // Of more than are followed not even the number is known.
    let is_long =
        values.parts(name).iter().any(|part| part.elements > 1) || values.overfull.contains(name);
    is_long && (is_real(values.kind(name)) || values.is_codes(name))
}

/// The inputs that a node computed at run time learns with, of those operators that treat stored
/// and computed values alike.
pub(super) fn inputs<'a>(node: &'a NodeProto, values: &Values<'a>) -> Vec<usize> {
    let judged = judged(node, values).into_iter();
    judged.filter(|(_, taken)| !matches!(taken, Taken::Out(_))).map(|(index, _)| index).collect()
}

/// Whether `node` normalises with ones for scale and zeros for bias. `InstanceNormalization` has to
/// have both, also where a network has neither, or has them behind it, as a group normalisation.
pub(super) fn is_unscaled(node: &NodeProto, values: &Values<'_>) -> bool {
    let is_all = |index: usize, value: f64| {
        let name = node.input.get(index);
        name.is_some_and(|name| values.has(name, |levels| levels.only() == Some(value)))
    };
    node.op_type == "InstanceNormalization" && is_all(1, 1.0) && is_all(2, 0.0)
}

/// The stored arrays of real numbers that a node computed at run time reads, by the index of the
/// input, and what they are taken for.
pub(super) fn judged<'a>(node: &'a NodeProto, values: &Values<'a>) -> Vec<(usize, Taken)> {
    if is_unscaled(node, values) {
        return vec![(1, Taken::Out(UNSCALED)), (2, Taken::Out(UNSCALED))];
    }
    let places = match node.op_type.as_str() {
        "Add" | "Mul" | "Sub" | "Div" | "Pow" | "Max" | "Min" | "Sum" | "Mean" | "Concat" => {
            0..node.input.len()
        }
        "Where" => 1..3,
        "ScatterElements" | "ScatterND" => 0..3,
        "Expand" | "Tile" | "Gather" | "GatherElements" | "GatherND" => 0..1,
        _ if becomes_real(node) => 0..1,
        _ => return Vec::new(),
    };
    let computed = node.input.iter().filter(|name| !name.is_empty() && !values.is_constant(name));
    let computed: Vec<&String> = computed.collect();
    // Nothing is learned with yet where all is constant, nor in arithmetic on shapes.
    if computed.iter().all(|name| values.is_measured(name)) {
        return Vec::new();
    }
    let of_codes = of_codes(node, values).is_some();
    let scales =
        of_codes || node.op_type != "Add" && computed.iter().any(|name| values.is_scaled(name));
    let prepares = computed.iter().all(|name| values.is_pixels(name));
    let judge = |index: usize| {
        let name = node.input.get(index)?;
        // What was gathered of stored integers is learned with where it becomes numbers.
        if becomes_real(node) {
            let is_gathered = values.is_codes(name) && !values.is_constant(name);
            return is_gathered.then_some((index, Taken::In));
        }
        if !values.is_constant(name) {
            return None;
        }
        let elements = values.parts(name).iter().map(|part| part.elements).sum::<u64>();
        let taken = match is_arithmetic(node) {
            true if of_codes && node.op_type == "Sub" => {
                Taken::Out("a zero point of quantised values")
            }
            true if scales => Taken::Out("a scale of quantised values"),
            true if prepares && elements <= MOST_CHANNELS => Taken::Out("it prepares pixels"),
            _ => next_to_values(node, index, name, values),
        };
        (is_real(values.kind(name)) && is_array(name, values)).then_some((index, taken))
    };
    places.filter_map(judge).collect()
}

/// What the constant array `name` is by its values, which input `index` of `node` has and computed
/// values are another of.
fn next_to_values<'a>(
    node: &'a NodeProto,
    index: usize,
    name: &'a str,
    values: &Values<'a>,
) -> Taken {
    let has = |are_so: fn(&Levels) -> bool| values.has(name, are_so);
    let is_only = |is_so: fn(f64) -> bool| {
        values.has(name, |levels: &Levels| levels.only().is_some_and(is_so))
    };
    let sign = if node.op_type == "Sub" && index == 1 { -1.0 } else { 1.0 };
    // Whoever counts leaves out what nothing learns, by the names that it is stored under.
    let parts = values.parts(name);
    let is_regular = |part: &Part<'_>| values.never_learned(part.root).is_some();
    if !parts.is_empty() && parts.iter().all(is_regular) {
        return Taken::In;
    }
    if statistics::is_mean(node, index, values) {
        return Taken::Out(statistics::MEAN);
    }
    match node.op_type.as_str() {
        _ if values.has(name, |levels| levels.forbid(sign)) => Taken::Out(FORBIDS),
        "Mul" | "Gather" | "GatherElements" | "GatherND" | "Expand" | "Tile"
            if values.chooses(name) =>
        {
            Taken::Out(CHOOSES)
        }
        "ScatterElements" | "ScatterND" if has(Levels::fill) => Taken::Out(FILLS),
        "Where" | "Max" | "Min" | "Concat" if has(Levels::fill) => Taken::Doubtful(BOUND),
        "Add" | "Sub" if values.has(name, |levels| levels.lower(sign)) => Taken::Doubtful(LOWERS),
        // Gains before training are 1 or less, biases 0.
        "Mul" if is_only(|value| value.abs() > 1.0) => Taken::Doubtful(FACTOR),
        "Add" | "Sub" if is_only(|value| value != 0.0) => Taken::Doubtful(FACTOR),
        "Div" | "Pow" if is_only(|_| true) => Taken::Doubtful(FACTOR),
        "Add" | "Sub" | "Mul" | "Div" => {
            let standardises = statistics::standardises(node, index, values);
            let laid_out = || match values.parts(name) {
                [part] => values.laid_out(part.root),
                _ => None,
            };
            standardises.or_else(laid_out).map_or(Taken::In, Taken::Doubtful)
        }
        _ => Taken::In,
    }
}

/// Means and deviations of pixels are one for each channel.
const MOST_CHANNELS: u64 = 4;

/// Whether a node makes real numbers of integers.
fn becomes_real(node: &NodeProto) -> bool {
    let to = attributes::int(node, "to").and_then(|to| DataType::try_from(to as i32).ok());
    node.op_type == "DequantizeLinear" || node.op_type == "Cast" && is_real(to)
}

fn is_arithmetic(node: &NodeProto) -> bool {
    matches!(node.op_type.as_str(), "Add" | "Mul" | "Sub" | "Div")
}

/// The role of result `index`.
pub(super) fn role(node: &NodeProto, index: usize, values: &Values<'_>) -> Option<Role> {
    let op = node.op_type.as_str();
    match (op, index) {
        ("Shape" | "Size", _) => return Some(Role::Measured),
        ("DynamicQuantizeLinear", 1) | ("ConvInteger" | "MatMulInteger", 0) => {
            return Some(Role::Scaled);
        }
        _ => {}
    }
    let moves = MOVED.contains(&op) || matches!(op, "GatherElements" | "GatherND" | "Sub");
    if moves && node.input.first().is_some_and(|name| values.is_codes(name)) {
        return Some(Role::Codes);
    }
    let computed = node.input.iter().filter(|name| !name.is_empty() && !values.is_constant(name));
    let computed: Vec<&String> = computed.collect();
    if computed.is_empty() {
        return None;
    }
    if computed.iter().all(|name| values.is_measured(name)) {
        return Some(Role::Measured);
    }
    let keeps = matches!(
        op,
        "Cast" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Identity" | "Flatten"
    );
    if (keeps || op == "Mul") && computed.iter().all(|name| values.is_scaled(name)) {
        // A product of two scales is one; a sum that was scaled is a value again.
        let is_sum = |name: &&&String| values.kind(name) == Some(DataType::Int32);
        return (keeps || !computed.iter().any(|name| is_sum(&name))).then_some(Role::Scaled);
    }
    let prepares = keeps
        || matches!(op, "Resize" | "Slice" | "Gather" | "Pad" | "Split" | "Concat")
        || is_arithmetic(node);
    (prepares && computed.iter().all(|name| values.is_pixels(name))).then_some(Role::Pixels)
}
