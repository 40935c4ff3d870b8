//! What is known of the graph's tensors before anything runs: shapes, element types, small
//! contents, and which stored weight a tensor is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    rc::Rc,
};

use tract_onnx::pb::{
    GraphProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
};

use super::{levels::Levels, links::Links, numbers::Numbers, regular};
use crate::onnx::{MAX_ELEMENTS, declared, element_bits, first_symbol, tensor_dims};

pub(super) type Shape = Vec<usize>;

/// Longer tensors are never shapes, axes, pads or scales.
pub(super) const LONGEST: usize = 1024;

/// The contents of a small tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Ints(Vec<i64>),
    Reals(Vec<f64>),
}

impl Content {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Ints(ints) => ints.len(),
            Self::Reals(reals) => reals.len(),
        }
    }

    /// As numbers with a point.
    pub(super) fn reals(&self) -> Vec<f64> {
        match self {
            Self::Ints(ints) => ints.iter().map(|&value| value as f64).collect(),
            Self::Reals(reals) => reals.clone(),
        }
    }

    /// The values at some places, the order kept.
    pub(super) fn pick(&self, places: impl Iterator<Item = usize>) -> Option<Self> {
        Some(match self {
            Self::Ints(ints) => {
                Self::Ints(places.map(|place| ints.get(place).copied()).collect::<Option<_>>()?)
            }
            Self::Reals(reals) => {
                Self::Reals(places.map(|place| reals.get(place).copied()).collect::<Option<_>>()?)
            }
        })
    }
}

/// The contents of a stored tensor, where it is small.
pub(super) fn stored(tensor: &TensorProto, elements: usize) -> Option<Content> {
    if elements > LONGEST {
        return None;
    }
    let raw = &tensor.raw_data;
    let content = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Int64 if raw.is_empty() => Content::Ints(tensor.int64_data.clone()),
        DataType::Int64 => Content::Ints(
            raw.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
        ),
        DataType::Int32 | DataType::Bool if raw.is_empty() => {
            Content::Ints(tensor.int32_data.iter().map(|&value| value.into()).collect())
        }
        DataType::Int32 => Content::Ints(
            raw.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect(),
        ),
        DataType::Bool => Content::Ints(raw.iter().map(|&value| i64::from(value != 0)).collect()),
        DataType::Float if raw.is_empty() => {
            Content::Reals(tensor.float_data.iter().map(|&value| value.into()).collect())
        }
        DataType::Float => Content::Reals(
            raw.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
        ),
        _ => return None,
    };
    // What lies outside of the file has no contents here.
    (content.len() == elements).then_some(content)
}

/// The number that a stored tensor has alone, or else one that a `Constant` node gives.
pub(crate) fn single_number(stored: Option<&TensorProto>, node: Option<&NodeProto>) -> Option<f64> {
    let of_tensor = |tensor: &TensorProto| {
        let is_one = tensor_dims(tensor).is_ok_and(|dims| dims.iter().product::<usize>() == 1);
        Levels::of_tensor(tensor).filter(|_| is_one)?.only()
    };
    if let Some(tensor) = stored {
        return of_tensor(tensor);
    }
    let attributes = &node.filter(|node| node.op_type == "Constant")?.attribute;
    attributes.iter().find_map(|of| match of.name.as_str() {
        "value" => of_tensor(of.t.as_ref()?),
        "value_float" => Some(of.f.into()),
        "value_int" => Some(of.i as f64),
        "value_floats" if of.floats.len() == 1 => Some(of.floats[0].into()),
        _ => None,
    })
}

/// What a constant tensor has of a stored one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// The stored tensor.
    pub(super) root: &'a str,
    /// What cut it out of that: the result of a `Slice`, or the tensor itself.
    pub(super) cut: &'a str,
    /// How many elements it has.
    pub(super) elements: u64,
    /// Which these are of the stored tensor, where it is cut and that is known.
    pub(super) places: Option<Rc<Places>>,
}

/// The places that are taken along each axis; `None` where all are.
pub(super) type Places = Vec<Option<Vec<u32>>>;

/// Places that are kept in memory, at most.
const MOST_PLACES: usize = 1 << 22;

/// What becomes known of the results of a node that is computed at run time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// An image as it came in: cut, turned, or prepared by arithmetic with constants.
    Pixels,
    /// Computed from shapes alone: what an exporter sizes a result with.
    Measured,
    /// Sums of quantised products, or a scale that the run determines: what is multiplied with them
    /// is a scale.
    Scaled,
    /// Stored integers of quantisation before they are scaled, or what was gathered of them.
    Codes,
}

/// The input that has the images, of those with `shapes`: the first with four dimensions, otherwise
/// the first with two or more.
pub(super) fn of_images<'a>(
    graph: &'a GraphProto,
    shapes: &BTreeMap<&str, Shape>,
) -> Option<&'a ValueInfoProto> {
    let with = |fits: fn(usize) -> bool| {
        let is = |input: &&ValueInfoProto| {
            shapes.get(input.name.as_str()).is_some_and(|shape| fits(shape.len()))
        };
        graph.input.iter().find(is)
    };
    with(|rank| rank == 4).or_else(|| with(|rank| rank > 1))
}

pub(super) struct Values<'a> {
    pub(super) shapes: HashMap<&'a str, Shape>,
    pub(super) kinds: HashMap<&'a str, DataType>,
    pub(super) contents: HashMap<&'a str, Content>,
    /// Elements of stored tensors, by the name they are stored under.
    elements: HashMap<&'a str, u64>,
    /// What a constant tensor has of stored ones.
    pub(super) parts: HashMap<&'a str, Vec<Part<'a>>>,
    /// Tensors computed from more stored ones than are followed.
    pub(super) overfull: HashSet<&'a str>,
    /// Tensors that have the elements of their one part in its order.
    pub(super) laid: HashSet<&'a str>,
    /// The first result of all cuts that are alike.
    pub(super) cuts: HashMap<u64, &'a str>,
    /// [`MOST_PLACES`] less those that are kept.
    pub(super) places_left: usize,
    /// The different values of constant tensors that have few.
    pub(super) levels: HashMap<&'a str, Levels>,
    /// The numbers of stored tensors.
    numbers: HashMap<&'a str, Numbers<'a>>,
    /// Stored tensors of numbers that nothing learns, and what they are.
    regular: HashMap<&'a str, &'static str>,
    /// Stored tensors without a negative number.
    unsigned: HashSet<&'a str>,
    /// Stored integers that rise or fall in equal steps along every axis.
    ordered: HashSet<&'a str>,
    /// Whether a stored tensor looks like places on a grid, once that was asked for.
    laid_out: RefCell<HashMap<String, Option<&'static str>>>,
    /// Tensors of which one number is stored, which `ConstantOfShape` repeats.
    pub(super) repeated: HashSet<&'a str>,
    /// Stored tensors that a weight is computed with and that are taken for no parameters, and why.
    pub(super) left_out: Vec<(&'a str, &'static str)>,
    /// Those that are taken for parameters and may be none, and why.
    pub(super) doubtful: Vec<(&'a str, &'static str)>,
    /// What is known of computed tensors.
    pub(super) roles: HashMap<&'a str, Role>,
    /// The name of the batch where the input has it open.
    symbol: Option<&'a str>,
    /// Tensors that no input of the graph determines.
    pub(super) constants: HashSet<&'a str>,
    /// Which nodes write and read a tensor.
    pub(super) links: Links<'a>,
    declared: HashMap<&'a str, &'a ValueInfoProto>,
    batch: Option<usize>,
}

impl<'a> Values<'a> {
    /// What the file stores and declares, with `inputs` of these shapes.
    pub(super) fn of(graph: &'a GraphProto, inputs: &BTreeMap<&'a str, Shape>) -> Self {
        let images = of_images(graph, inputs);
        let mut values = Self {
            shapes: HashMap::new(),
            kinds: HashMap::new(),
            contents: HashMap::new(),
            elements: HashMap::new(),
            parts: HashMap::new(),
            overfull: HashSet::new(),
            laid: HashSet::new(),
            cuts: HashMap::new(),
            places_left: MOST_PLACES,
            levels: HashMap::new(),
            numbers: HashMap::new(),
            regular: HashMap::new(),
            unsigned: HashSet::new(),
            ordered: HashSet::new(),
            laid_out: RefCell::default(),
            repeated: HashSet::new(),
            left_out: Vec::new(),
            doubtful: Vec::new(),
            roles: HashMap::new(),
            symbol: images.and_then(first_symbol),
            constants: HashSet::new(),
            links: Links::of(graph),
            declared: graph
                .value_info
                .iter()
                .chain(&graph.output)
                .map(|value| (value.name.as_str(), value))
                .collect(),
            batch: images.and_then(|input| inputs.get(input.name.as_str())?.first().copied()),
        };
        for input in &graph.input {
            if let Some(shape) = inputs.get(input.name.as_str()) {
                values.shapes.insert(&input.name, shape.clone());
                values.roles.insert(&input.name, Role::Pixels);
                let kind = declared(input).and_then(|(kind, _)| DataType::try_from(kind).ok());
                values.kinds.extend(kind.map(|kind| (input.name.as_str(), kind)));
            }
        }
        for tensor in &graph.initializer {
            values.define_tensor(&tensor.name, tensor);
        }
        for sparse in &graph.sparse_initializer {
            if let Some(stored) = &sparse.values {
                values.define_sparse(&stored.name, sparse);
            }
        }
        values
    }

    pub(super) fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }

    pub(super) fn kind(&self, name: &str) -> Option<DataType> {
        self.kinds.get(name).copied()
    }

    pub(super) fn content(&self, name: &str) -> Option<&Content> {
        self.contents.get(name)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.contents.get(name)? {
            Content::Ints(ints) => Some(ints),
            Content::Reals(_) => None,
        }
    }

    pub(super) fn is_constant(&self, name: &str) -> bool {
        self.constants.contains(name)
    }

    /// Whether `name` is the same in every run with inputs of these shapes, or not given.
    pub(super) fn is_of_no_run(&self, name: &str) -> bool {
        name.is_empty() || self.is_constant(name) || self.is_measured(name)
    }

    /// What `name` has of stored tensors.
    pub(super) fn parts(&self, name: &str) -> &[Part<'a>] {
        self.parts.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the file stores `name` itself.
    pub(super) fn is_stored(&self, name: &str) -> bool {
        self.elements.contains_key(name)
    }

    /// The numbers of the stored tensor `root`, and its shape.
    pub(super) fn numbers(&self, root: &str) -> Option<(&Numbers<'a>, &Shape)> {
        Some((self.numbers.get(root)?, self.shape(root)?))
    }

    /// What the stored tensor `root` is where its numbers are such that nothing learns.
    pub(super) fn never_learned(&self, root: &str) -> Option<&'static str> {
        self.regular.get(root).copied()
    }

    /// Whether the stored tensor `root` has no negative number.
    pub(super) fn is_unsigned(&self, root: &str) -> bool {
        self.unsigned.contains(root)
    }

    /// Whether `name` has nothing but stored integers in order, such as positions.
    pub(super) fn is_ordered(&self, name: &str) -> bool {
        let parts = self.parts(name);
        !parts.is_empty() && parts.iter().all(|part| self.ordered.contains(part.root))
    }

    /// What the stored tensor `root` may be that computed values are moved or scaled by, where its
    /// numbers look like those of a grid.
    pub(super) fn laid_out(&self, root: &str) -> Option<&'static str> {
        if let Some(&known) = self.laid_out.borrow().get(root) {
            return known;
        }
        // Codes of quantised weights are whole numbers, whatever they stand for.
        let numbers = self.numbers(root).filter(|_| is_real(self.kind(root)));
        let found = numbers.and_then(|(numbers, shape)| regular::laid_out(numbers, shape));
        self.laid_out.borrow_mut().insert(root.to_owned(), found);
        found
    }

    /// Takes in the numbers of a stored tensor whose kind and shape are known.
    pub(super) fn define_numbers(&mut self, name: &'a str, numbers: Option<Numbers<'a>>) {
        let (Some(numbers), Some(shape)) = (numbers, self.shapes.get(name)) else { return };
        let kind = self.kinds.get(name).copied();
        if is_real(kind) {
            self.regular.extend(regular::never_learned(&numbers, shape).map(|of| (name, of)));
        }
        if is_wide(kind) && regular::are_ordered(&numbers, shape) {
            self.ordered.insert(name);
        }
        if numbers.iter().all(|value| value >= 0.0) {
            self.unsigned.insert(name);
        }
        self.numbers.insert(name, numbers);
    }

    /// Elements of a stored tensor.
    pub(super) fn elements_of(&self, root: &str) -> u64 {
        self.elements.get(root).copied().unwrap_or_default()
    }

    /// Whether nothing of `name` is stored but numbers that `ConstantOfShape` repeats.
    pub(super) fn is_repeated(&self, name: &str) -> bool {
        self.parts(name).iter().all(|part| self.repeated.contains(part.root))
    }

    /// The different values that a constant tensor has, or may have, where they are few.
    pub(super) fn levels(&self, name: &str) -> Option<Levels> {
        if self.kind(name) == Some(DataType::Bool) {
            return Some(Levels::bits());
        }
        self.levels.get(name).cloned()
    }

    /// Whether `name` is a constant tensor whose values are so.
    pub(super) fn has(&self, name: &str, are_so: impl Fn(&Levels) -> bool) -> bool {
        self.is_constant(name) && self.levels(name).is_some_and(|levels| are_so(&levels))
    }

    /// Whether `name` is a mask: a constant tensor of zeros and ones, or of zeros and one other
    /// number, which scales them. Of fewer than 8 elements weights may be so too, unless they are
    /// computed from zeros and ones.
    pub(super) fn chooses(&self, name: &str) -> bool {
        let is_of_bits = |part: &Part<'_>| self.has(part.root, Levels::choose);
        let parts = self.parts(name);
        self.has(name, Levels::choose)
            || self.has(name, Levels::choose_scaled)
                && (self.shape(name).is_some_and(|shape| shape.iter().product::<usize>() > 7)
                    || !parts.is_empty() && parts.iter().all(is_of_bits))
    }

    /// Whether `name` has the integers of quantisation, unscaled.
    pub(super) fn is_codes(&self, name: &str) -> bool {
        let is_short = |kind: DataType| matches!(kind as i32, 2..=5 | 17..=23);
        self.roles.get(name) == Some(&Role::Codes)
            || self.is_constant(name)
                && (self.kind(name).is_some_and(is_short) || self.is_table(name))
                && !self.has(name, Levels::are_bits)
    }

    /// Whether `name` is a stored table of wide integers that are in no order: quantised weights, or
    /// places, which nothing makes real numbers of.
    fn is_table(&self, name: &str) -> bool {
        let long = |shape: &Shape| shape.iter().filter(|&&size| size > 1).count();
        self.is_stored(name)
            && is_wide(self.kind(name))
            && self.shape(name).is_some_and(|shape| long(shape) > 1)
            && !self.ordered.contains(name)
    }

    pub(super) fn is_pixels(&self, name: &str) -> bool {
        self.roles.get(name) == Some(&Role::Pixels)
    }

    pub(super) fn is_measured(&self, name: &str) -> bool {
        self.roles.get(name) == Some(&Role::Measured)
    }

    pub(super) fn is_scaled(&self, name: &str) -> bool {
        self.roles.get(name) == Some(&Role::Scaled)
    }

    /// The bytes of a tensor whose shape and element type are known.
    pub(super) fn bytes(&self, name: &str) -> Option<u64> {
        let elements: u64 = self.shape(name)?.iter().map(|&size| size as u64).product();
        Some((elements * element_bits(self.kind(name)?)?).div_ceil(8))
    }

    /// Takes the shapes and element types of the results of `node` from what the file states;
    /// whether it states all shapes.
    pub(super) fn define_declared(&mut self, node: &'a NodeProto) -> bool {
        let mut all = true;
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            match self.declared_shape(name) {
                Some((kind, shape)) => {
                    self.shapes.insert(name, shape);
                    self.kinds.extend(kind.map(|kind| (name.as_str(), kind)));
                }
                None => all = false,
            }
        }
        all
    }

    /// The element type and shape that the file states for `name`; a first dimension that is called
    /// as that of the images is their number.
    fn declared_shape(&self, name: &str) -> Option<(Option<DataType>, Shape)> {
        let value = self.declared.get(name)?;
        let (kind, dims) = declared(value)?;
        let is_batch = self.symbol.is_some() && first_symbol(value) == self.symbol;
        let dims = dims.iter().enumerate();
        let shape: Shape = dims
            .map(|(index, dim)| dim.or(self.batch.filter(|_| index == 0 && is_batch)))
            .collect::<Option<_>>()?;
        fits(&shape).then(|| (DataType::try_from(kind).ok(), shape))
    }

    pub(super) fn define_tensor(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let Ok(dims) = tensor_dims(tensor) else { return };
        let elements = dims.iter().product::<usize>();
        self.contents.extend(stored(tensor, elements).map(|content| (name, content)));
        self.kinds.extend(DataType::try_from(tensor.data_type).ok().map(|kind| (name, kind)));
        self.levels.extend(Levels::of_tensor(tensor).map(|levels| (name, levels)));
        self.define_stored(name, dims);
        self.define_numbers(name, Numbers::of(tensor));
    }

    /// A tensor of which only what is not zero is stored: that alone can be learned.
    pub(super) fn define_sparse(&mut self, name: &'a str, sparse: &'a SparseTensorProto) {
        let Some(stored) = &sparse.values else { return };
        let dims = sparse.dims.iter().map(|&size| usize::try_from(size).ok());
        let (Ok(count), Some(dims)) = (tensor_dims(stored), dims.collect::<Option<Shape>>()) else {
            return;
        };
        if fits(&dims) {
            self.kinds.extend(DataType::try_from(stored.data_type).ok().map(|kind| (name, kind)));
            self.define_stored(name, count);
            self.laid.remove(name);
            self.shapes.insert(name, dims);
        }
    }

    pub(super) fn define_stored(&mut self, name: &'a str, dims: Shape) {
        let elements = dims.iter().map(|&size| size as u64).product();
        self.elements.insert(name, elements);
        self.parts.insert(name, vec![Part { root: name, cut: name, elements, places: None }]);
        self.constants.insert(name);
        self.laid.insert(name);
        self.shapes.insert(name, dims);
    }
}

/// Whether a type has integers that places and sizes are computed in. Quantised biases have some.
pub(super) fn is_wide(kind: Option<DataType>) -> bool {
    kind == Some(DataType::Int32) || is_place(kind)
}

/// Whether a type has integers that are always places or sizes.
pub(super) fn is_place(kind: Option<DataType>) -> bool {
    matches!(kind, Some(DataType::Int64 | DataType::Uint32 | DataType::Uint64))
}

/// Whether a type has numbers with a point.
pub(super) fn is_real(kind: Option<DataType>) -> bool {
    matches!(
        kind,
        Some(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double)
    )
}

/// More than any tensor has. Without a limit, a chain of `Gather` would double them with every
/// node.
pub(super) const MOST_DIMENSIONS: usize = 64;

pub(super) fn fits(shape: &[usize]) -> bool {
    let product = |product: u64, &size: &usize| {
        product.checked_mul(size.max(1) as u64).filter(|&product| product <= MAX_ELEMENTS)
    };
    shape.len() <= MOST_DIMENSIONS && shape.iter().try_fold(1, product).is_some()
}
