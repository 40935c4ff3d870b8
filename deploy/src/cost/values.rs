//! What is known of the graph's tensors before anything runs: shapes, element types, small
//! contents, and which stored weight a tensor is.

use std::collections::{BTreeMap, HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType};

use super::{Shape, fold, kinds};
use crate::onnx::{MAX_ELEMENTS, declared, element_bits, tensor_dims};

/// Longer tensors are never shapes, axes, pads or scales.
pub(super) const LONGEST: usize = 1024;

/// The contents of a small tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Ints(Vec<i64>),
    Reals(Vec<f64>),
}

pub(super) struct Values<'a> {
    shapes: HashMap<&'a str, Shape>,
    kinds: HashMap<&'a str, DataType>,
    contents: HashMap<&'a str, Content>,
    /// Elements of stored tensors, by the name they are stored under.
    elements: HashMap<&'a str, u64>,
    /// The stored tensor that a tensor is a view of.
    roots: HashMap<&'a str, &'a str>,
    /// Tensors that no input of the graph determines.
    constants: HashSet<&'a str>,
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

    fn define_tensor(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let Ok(dims) = tensor_dims(tensor) else { return };
        let elements = dims.iter().product::<usize>();
        self.contents.extend(fold::stored(tensor, elements).map(|content| (name, content)));
        self.kinds.extend(DataType::try_from(tensor.data_type).ok().map(|kind| (name, kind)));
        self.define_stored(name, dims);
    }

    fn define_stored(&mut self, name: &'a str, dims: Shape) {
        self.elements.insert(name, dims.iter().map(|&size| size as u64).product());
        self.roots.insert(name, name);
        self.constants.insert(name);
        self.shapes.insert(name, dims);
    }

    /// Takes in a `Constant` node.
    pub(super) fn define_constant(&mut self, node: &'a NodeProto) -> Result<(), String> {
        let Some(name) = node.output.first() else { return Ok(()) };
        let Some(attribute) = node.attribute.first() else {
            return Err("it has no value".to_owned());
        };
        let (kind, content, dims) = match (attribute.name.as_str(), &attribute.t) {
            ("value", Some(tensor)) => {
                self.define_tensor(name, tensor);
                return Ok(());
            }
            ("value_int", _) => (DataType::Int64, Content::Ints(vec![attribute.i]), vec![]),
            ("value_ints", _) => {
                (DataType::Int64, Content::Ints(attribute.ints.clone()), vec![attribute.ints.len()])
            }
            ("value_float", _) => {
                (DataType::Float, Content::Reals(vec![attribute.f.into()]), vec![])
            }
            ("value_floats", _) => {
                let reals = attribute.floats.iter().map(|&value| value.into()).collect();
                (DataType::Float, Content::Reals(reals), vec![attribute.floats.len()])
            }
            (other, _) => return Err(format!("a constant given as `{other}` is not supported")),
        };
        if dims.first().is_none_or(|&len| len <= LONGEST) {
            self.contents.insert(name, content);
        }
        self.kinds.insert(name, kind);
        self.define_stored(name, dims);
        Ok(())
    }

    /// Takes in the results of `node`, which have `shapes`. The error is one that is too large.
    pub(super) fn define(&mut self, node: &'a NodeProto, shapes: Vec<Shape>) -> Result<(), Shape> {
        if let Some(shape) = shapes.iter().find(|shape| !fits(shape)) {
            return Err(shape.clone());
        }
        let named = || node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
        for (index, name) in named() {
            self.kinds
                .extend(kinds::of_result(node, index, self).map(|kind| (name.as_str(), kind)));
        }
        if let Some(output) = node.output.first().filter(|name| !name.is_empty()) {
            self.contents.extend(
                fold::folded(node, self)
                    .filter(|content| content.len() <= LONGEST)
                    .map(|content| (output.as_str(), content)),
            );
            if let Some(root) = self.viewed(node) {
                self.roots.insert(output, root);
            }
            // A weight that is all one value is not written out by every exporter.
            if node.op_type == "ConstantOfShape"
                && self.is_determined(node)
                && let Some(shape) = shapes.first()
            {
                self.define_stored(output, shape.clone());
            }
        }
        if self.is_determined(node) {
            self.constants.extend(named().map(|(_, name)| name.as_str()));
        }
        for ((_, name), shape) in named().zip(shapes) {
            self.shapes.insert(name, shape);
        }
        Ok(())
    }

    /// Whether the results of `node` are the same in every run.
    fn is_determined(&self, node: &NodeProto) -> bool {
        let random = node.op_type.starts_with("Random")
            || matches!(node.op_type.as_str(), "Multinomial" | "Bernoulli");
        !random && node.input.iter().all(|name| name.is_empty() || self.is_constant(name))
    }

    /// The weight that the result of `node` is another view of.
    fn viewed(&self, node: &NodeProto) -> Option<&'a str> {
        let view = matches!(
            node.op_type.as_str(),
            "Identity"
                | "Transpose"
                | "Reshape"
                | "Squeeze"
                | "Unsqueeze"
                | "Flatten"
                | "Cast"
                | "QuantizeLinear"
                | "DequantizeLinear"
        );
        view.then(|| self.roots.get(node.input.first()?.as_str()).copied()).flatten()
    }
}

/// More than any tensor has. Without a limit, a chain of `Gather` would double them with every
/// node.
const MOST_DIMENSIONS: usize = 64;

fn fits(shape: &[usize]) -> bool {
    let product = |product: u64, &size: &usize| {
        product.checked_mul(size.max(1) as u64).filter(|&product| product <= MAX_ELEMENTS)
    };
    shape.len() <= MOST_DIMENSIONS && shape.iter().try_fold(1, product).is_some()
}
