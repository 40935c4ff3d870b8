//! What is known of the graph's tensors before anything runs: shapes, small integer contents, and which stored weight a tensor is.

use std::collections::HashMap;

use tract_onnx::pb::{NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType};

use super::{Shape, attributes, layout};
use crate::onnx::{MAX_ELEMENTS, OnnxModel, declared, tensor_dims};

/// Longer integer tensors are never shapes, axes or pads.
const LONGEST_INTS: usize = 1024;

pub(super) struct Values<'a> {
    shapes: HashMap<&'a str, Shape>,
    ints: HashMap<&'a str, Vec<i64>>,
    /// Stored float tensors, and stored integers that a `DequantizeLinear` reads, by the name they are stored under.
    floats: HashMap<&'a str, u64>,
    /// The elements of every stored tensor.
    stored: HashMap<&'a str, u64>,
    /// The stored tensor that a tensor is a view of.
    roots: HashMap<&'a str, &'a str>,
    declared: HashMap<&'a str, &'a ValueInfoProto>,
    batch: usize,
}

impl<'a> Values<'a> {
    pub(super) fn of(model: &'a OnnxModel) -> Self {
        let graph = model.graph();
        let input = model.input();
        let mut values = Self {
            shapes: HashMap::new(),
            ints: HashMap::new(),
            floats: HashMap::new(),
            stored: HashMap::new(),
            roots: HashMap::new(),
            declared: graph.value_info.iter().chain(&graph.output).map(|value| (value.name.as_str(), value)).collect(),
            batch: input.nominal_batch(),
        };
        values.shapes.insert(&input.name, input.shape(values.batch).to_vec());
        for tensor in &graph.initializer {
            values.define_tensor(&tensor.name, tensor);
        }
        values
    }

    pub(super) fn shape(&self, name: &str) -> Option<&Shape> {
        self.shapes.get(name)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.ints.get(name).map(Vec::as_slice)
    }

    /// The stored float tensor behind `name` and its number of elements.
    pub(super) fn stored_float(&self, name: &str) -> Option<(&'a str, u64)> {
        let root = *self.roots.get(name)?;
        Some((root, *self.floats.get(root)?))
    }

    /// The shape that the file states for `name`; an open first dimension is the batch.
    pub(super) fn declared_shape(&self, name: &str) -> Option<Shape> {
        let (_, dims) = declared(self.declared.get(name)?)?;
        let batch = self.batch;
        let dims = dims.iter().enumerate();
        let shape: Shape = dims.map(|(index, dim)| dim.or((index == 0).then_some(batch))).collect::<Option<_>>()?;
        check_size(&shape).ok().map(|()| shape)
    }

    pub(super) fn define_shape(&mut self, name: &'a str, shape: Shape) {
        self.shapes.insert(name, shape);
    }

    fn define_tensor(&mut self, name: &'a str, tensor: &'a TensorProto) {
        let Ok(dims) = tensor_dims(tensor) else { return };
        let elements = dims.iter().product::<usize>();
        self.stored.insert(name, elements as u64);
        match DataType::try_from(tensor.data_type) {
            Ok(DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double) => {
                self.floats.insert(name, elements as u64);
                self.roots.insert(name, name);
            }
            Ok(DataType::Int64 | DataType::Int32) if elements <= LONGEST_INTS => {
                self.ints.insert(name, stored_ints(tensor));
            }
            _ => {}
        }
        self.shapes.insert(name, dims);
    }

    /// Takes in a `Constant` node.
    pub(super) fn define_constant(&mut self, node: &'a NodeProto) -> Result<(), String> {
        let Some(name) = node.output.first() else { return Ok(()) };
        let Some(attribute) = node.attribute.first() else { return Err("it has no value".to_owned()) };
        match (attribute.name.as_str(), &attribute.t) {
            ("value", Some(tensor)) => self.define_tensor(name, tensor),
            ("value_int", _) => {
                self.ints.insert(name, vec![attribute.i]);
                self.shapes.insert(name, vec![]);
            }
            ("value_ints", _) => {
                self.ints.insert(name, attribute.ints.clone());
                self.shapes.insert(name, vec![attribute.ints.len()]);
            }
            ("value_float", _) => {
                self.shapes.insert(name, vec![]);
            }
            ("value_floats", _) => {
                self.shapes.insert(name, vec![attribute.floats.len()]);
                self.floats.insert(name, attribute.floats.len() as u64);
                self.roots.insert(name, name);
            }
            (other, _) => return Err(format!("a constant given as `{other}` is not supported")),
        }
        Ok(())
    }

    /// Takes in the results of `node`, which have `shapes`.
    pub(super) fn define(&mut self, node: &'a NodeProto, shapes: Vec<Shape>) -> Result<(), String> {
        for shape in &shapes {
            check_size(shape)?;
        }
        if let Some(output) = node.output.first().filter(|name| !name.is_empty()) {
            if let Some(ints) = self.folded(node) {
                self.ints.insert(output, ints);
            }
            if let Some(root) = self.dequantized(node) {
                self.floats.entry(root).or_insert(self.stored[root]);
                self.roots.insert(output, root);
            }
            if let Some(root) = self.viewed(node) {
                self.roots.insert(output, root);
            }
        }
        for (name, shape) in node.output.iter().zip(shapes).filter(|(name, _)| !name.is_empty()) {
            self.shapes.insert(name, shape);
        }
        Ok(())
    }

    /// The stored integers that `node` turns into a weight.
    fn dequantized(&self, node: &NodeProto) -> Option<&'a str> {
        let input = node.input.first().filter(|_| node.op_type == "DequantizeLinear")?;
        self.stored.get_key_value(input.as_str()).map(|(name, _)| *name)
    }

    /// The weight that the result of `node` is another view of.
    fn viewed(&self, node: &NodeProto) -> Option<&'a str> {
        let view = matches!(node.op_type.as_str(), "Identity" | "Transpose" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Cast");
        view.then(|| self.roots.get(node.input.first()?.as_str()).copied()).flatten()
    }

    /// The integers that `node` gives, when they follow from shapes and constants: exporters compute the target of a `Reshape` so.
    fn folded(&self, node: &NodeProto) -> Option<Vec<i64>> {
        let input = |index: usize| self.ints(node.input.get(index)?);
        let folded = match node.op_type.as_str() {
            "Shape" => {
                let shape = self.shape(node.input.first()?)?;
                let bound = |name, default| layout::clamp(attributes::int(node, name).unwrap_or(default), shape.len());
                let (start, end) = (bound("start", 0), bound("end", shape.len() as i64));
                shape.get(start..end.max(start))?.iter().map(|&size| size as i64).collect()
            }
            "Identity" | "Cast" | "Squeeze" | "Unsqueeze" => input(0)?.to_vec(),
            "Gather" => {
                let data = input(0)?;
                let pick = |&index: &i64| {
                    let index = if index < 0 { index.checked_add(data.len() as i64)? } else { index };
                    data.get(usize::try_from(index).ok()?).copied()
                };
                input(1)?.iter().map(pick).collect::<Option<_>>()?
            }
            "Concat" => {
                let mut all = Vec::new();
                for name in &node.input {
                    all.extend_from_slice(self.ints(name)?);
                }
                all
            }
            "Slice" => {
                let data = input(0)?;
                let one = |index: usize| match input(index) {
                    Some(&[value]) => Some(value),
                    _ => None,
                };
                if node.input.len() > 4 && one(4)? != 1 {
                    return None;
                }
                let (start, end) = (layout::clamp(one(1)?, data.len()), layout::clamp(one(2)?, data.len()));
                data.get(start..end.max(start))?.to_vec()
            }
            _ => return None,
        };
        (folded.len() <= LONGEST_INTS).then_some(folded)
    }
}

fn check_size(shape: &[usize]) -> Result<(), String> {
    let fits =
        shape.iter().try_fold(1_u64, |product, &size| product.checked_mul(size.max(1) as u64).filter(|&product| product <= MAX_ELEMENTS));
    fits.map(|_| ()).ok_or_else(|| format!("a result of shape {shape:?} is too large"))
}

fn stored_ints(tensor: &TensorProto) -> Vec<i64> {
    if tensor.data_type == DataType::Int32 as i32 {
        if tensor.raw_data.is_empty() {
            return tensor.int32_data.iter().map(|&value| i64::from(value)).collect();
        }
        return tensor.raw_data.as_chunks().0.iter().map(|&bytes| i64::from(i32::from_le_bytes(bytes))).collect();
    }
    if tensor.raw_data.is_empty() {
        return tensor.int64_data.clone();
    }
    tensor.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}
