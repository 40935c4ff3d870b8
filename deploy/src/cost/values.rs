//! What is known of the graph's tensors before anything runs: shapes, element types, small
//! contents, and which stored weight a tensor is.

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType};

use crate::onnx::{MAX_ELEMENTS, declared, element_bits, tensor_dims};

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

pub(super) struct Values<'a> {
    pub(super) shapes: HashMap<&'a str, Shape>,
    pub(super) kinds: HashMap<&'a str, DataType>,
    pub(super) contents: HashMap<&'a str, Content>,
    /// Elements of stored tensors, by the name they are stored under.
    elements: HashMap<&'a str, u64>,
    /// The stored tensor that a tensor is a view of.
    pub(super) roots: HashMap<&'a str, &'a str>,
    /// Tensors that no input of the graph determines.
    pub(super) constants: HashSet<&'a str>,
    declared: HashMap<&'a str, &'a ValueInfoProto>,
    batch: usize,
}

impl<'a> Values<'a> {
    /// What the file stores and declares, with `inputs` of these shapes.
    pub(super) fn of(
        graph: &'a GraphProto,
        inputs: &BTreeMap<&'a str, Shape>,
        batch: usize,
    ) -> Self {
        let mut values = Self {
            shapes: HashMap::new(),
            kinds: HashMap::new(),
            contents: HashMap::new(),
            elements: HashMap::new(),
            roots: HashMap::new(),
            constants: HashSet::new(),
            declared: graph
                .value_info
                .iter()
                .chain(&graph.output)
                .map(|value| (value.name.as_str(), value))
                .collect(),
            batch,
        };
        for input in &graph.input {
            if let Some(shape) = inputs.get(input.name.as_str()) {
                values.shapes.insert(&input.name, shape.clone());
                let kind = declared(input).and_then(|(kind, _)| DataType::try_from(kind).ok());
                values.kinds.extend(kind.map(|kind| (input.name.as_str(), kind)));
            }
        }
        for tensor in &graph.initializer {
            values.define_tensor(&tensor.name, tensor);
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

    /// The stored tensor behind `name` and its number of elements.
    pub(super) fn stored(&self, name: &str) -> Option<(&'a str, u64)> {
        let root = *self.roots.get(name)?;
        Some((root, *self.elements.get(root)?))
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

    /// The element type and shape that the file states for `name`; an open first dimension is the
    /// batch.
    fn declared_shape(&self, name: &str) -> Option<(Option<DataType>, Shape)> {
        let (kind, dims) = declared(self.declared.get(name)?)?;
        let dims = dims.iter().enumerate();
        let shape: Shape = dims
            .map(|(index, dim)| dim.or((index == 0).then_some(self.batch)))
            .collect::<Option<_>>()?;
        fits(&shape).then(|| (DataType::try_from(kind).ok(), shape))
    }

    pub(super) fn define_tensor(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let Ok(dims) = tensor_dims(tensor) else { return };
        let elements = dims.iter().product::<usize>();
        self.contents.extend(stored(tensor, elements).map(|content| (name, content)));
        self.kinds.extend(DataType::try_from(tensor.data_type).ok().map(|kind| (name, kind)));
        self.define_stored(name, dims);
    }

    pub(super) fn define_stored(&mut self, name: &'a str, dims: Shape) {
        self.elements.insert(name, dims.iter().map(|&size| size as u64).product());
        self.roots.insert(name, name);
        self.constants.insert(name);
        self.shapes.insert(name, dims);
    }
}

/// More than any tensor has. Without a limit, a chain of `Gather` would double them with every
/// node.
const MOST_DIMENSIONS: usize = 64;

pub(super) fn fits(shape: &[usize]) -> bool {
    let product = |product: u64, &size: &usize| {
        product.checked_mul(size.max(1) as u64).filter(|&product| product <= MAX_ELEMENTS)
    };
    shape.len() <= MOST_DIMENSIONS && shape.iter().try_fold(1, product).is_some()
}
