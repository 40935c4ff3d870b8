//! Small ONNX models, written as protocol buffers.

use std::path::PathBuf;

use adwp_measure::onnx::OnnxModel;
use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value as Dim},
    type_proto,
};

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: value, ..attribute(name, AttributeType::Int) }
}

pub(crate) fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: value.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

fn tensor(name: &str, kind: DataType, dims: &[i64]) -> TensorProto {
    let (name, dims) = (name.into(), dims.to_vec());
    TensorProto { name, dims, data_type: kind as i32, ..Default::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&size: &i64| {
        let value = if size < 0 { Dim::DimParam("batch".into()) } else { Dim::DimValue(size) };
        Dimension { value: Some(value), ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    let r#type =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.into(), r#type: Some(r#type), ..Default::default() }
}

/// A model under construction: `x` is its input, and each node reads the tensors it names.
#[derive(Clone)]
pub(crate) struct Builder {
    pub(crate) model: ModelProto,
    seed: u32,
}

impl Builder {
    /// A model of operator set 17 that takes `x` of `input` `[batch, channels, height, width]`; -1
    /// is an open batch.
    pub(crate) fn new(input: [i64; 4]) -> Self {
        let graph = GraphProto {
            name: "test".into(),
            input: vec![value("x", &input)],
            ..Default::default()
        };
        let opset = OperatorSetIdProto { domain: String::new(), version: 17 };
        let model = ModelProto {
            ir_version: 8,
            producer_name: "adwp-measure tests".into(),
            opset_import: vec![opset],
            graph: Some(graph),
            ..Default::default()
        };
        Self { model, seed: 1 }
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    /// Stores a float tensor of small numbers that differ.
    pub(crate) fn weight(&mut self, name: &str, dims: &[i64]) -> &mut Self {
        let len = dims.iter().product::<i64>() as usize;
        let mut next = || {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.seed >> 8) as f32 / (1 << 24) as f32 - 0.5
        };
        let values: Vec<f32> = (0..len).map(|_| next()).collect();
        self.floats(name, dims, &values)
    }

    pub(crate) fn floats(&mut self, name: &str, dims: &[i64], values: &[f32]) -> &mut Self {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.stored(TensorProto { raw_data, ..tensor(name, DataType::Float, dims) })
    }

    fn stored(&mut self, tensor: TensorProto) -> &mut Self {
        self.graph().initializer.push(tensor);
        self
    }

    /// Stores a tensor of bytes.
    pub(crate) fn integers(&mut self, name: &str, kind: DataType, dims: &[i64]) -> &mut Self {
        let byte = if kind == DataType::Bool { 1 } else { 3 };
        let raw_data = vec![byte; dims.iter().product::<i64>() as usize];
        self.stored(TensorProto { raw_data, ..tensor(name, kind, dims) })
    }

    pub(crate) fn indices(&mut self, name: &str, values: &[i64]) -> &mut Self {
        let tensor = tensor(name, DataType::Int64, &[values.len() as i64]);
        self.stored(TensorProto { int64_data: values.to_vec(), ..tensor })
    }

    /// Adds a node called like its result.
    pub(crate) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> &mut Self {
        let node = NodeProto {
            op_type: op.into(),
            name: output.into(),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            attribute,
            ..Default::default()
        };
        self.graph().node.push(node);
        self
    }

    pub(crate) fn metadata(&mut self, key: &str, value: &str) -> &mut Self {
        self.model
            .metadata_props
            .push(StringStringEntryProto { key: key.into(), value: value.into() });
        self
    }

    /// Declares a shape inside the graph.
    pub(crate) fn value_info(&mut self, name: &str, dims: &[i64]) -> &mut Self {
        self.graph().value_info.push(value(name, dims));
        self
    }

    pub(crate) fn output(&mut self, name: &str, dims: &[i64]) -> &mut Self {
        self.graph().output.push(value(name, dims));
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }

    /// Decodes what was built.
    pub(crate) fn read(&self) -> Result<OnnxModel, adwp_measure::DeployError> {
        OnnxModel::from_bytes(&self.bytes(), "test.onnx")
    }

    /// Writes what was built as `name` into `dir`.
    pub(crate) fn write(&self, dir: &TempDir, name: &str) -> PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, self.bytes()).unwrap();
        path
    }
}

/// A classifier with one of everything that the exporter writes: 3 channels of 8 × 8 to 4 classes.
///
/// Parameters: stem 6·3·3·3 = 162, BatchNorm 6 + 6, depthwise 6·1·3·3 = 54, pointwise 8·6 = 48,
/// dilated 4·2·3·3 = 72, Gemm 22·4 + 4. Multiply-adds: stem 64·162, depthwise 16·54, pointwise
/// 16·48, dilated 16·72, Gemm 88.
pub(crate) fn classifier(batch: i64) -> Builder {
    let mut model = Builder::new([batch, 3, 8, 8]);
    let three = || vec![ints("kernel_shape", &[3, 3]), ints("pads", &[1, 1, 1, 1])];
    model
        .weight("stem.w", &[6, 3, 3, 3])
        .node("Conv", &["x", "stem.w"], "stem", three())
        .weight("bn.scale", &[6])
        .weight("bn.bias", &[6])
        .weight("bn.mean", &[6])
        .floats("bn.var", &[6], &[0.5, 1.0, 1.5, 2.0, 0.7, 0.9])
        .node(
            "BatchNormalization",
            &["stem", "bn.scale", "bn.bias", "bn.mean", "bn.var"],
            "bn",
            vec![],
        )
        .node("Relu", &["bn"], "relu", vec![])
        .weight("dw.w", &[6, 1, 3, 3])
        .node(
            "Conv",
            &["relu", "dw.w"],
            "dw",
            vec![int("group", 6), ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])],
        )
        .weight("pw.w", &[8, 6, 1, 1])
        .node("Conv", &["dw", "pw.w"], "pw", vec![])
        .weight("dil.w", &[4, 2, 3, 3])
        .node(
            "Conv",
            &["pw", "dil.w"],
            "dil",
            vec![int("group", 4), ints("dilations", &[2, 2]), ints("pads", &[2, 2, 2, 2])],
        )
        .node("AveragePool", &["pw"], "avg", [three(), vec![int("count_include_pad", 0)]].concat())
        .node("MaxPool", &["pw"], "max", three())
        .indices("starts", &[1])
        .indices("ends", &[3])
        .indices("axes", &[1])
        .node("Slice", &["max", "starts", "ends", "axes"], "slice", vec![])
        .node("Concat", &["dil", "avg", "slice", "max"], "concat", vec![int("axis", 1)])
        .node("GlobalAveragePool", &["concat"], "gap", vec![])
        .node("Flatten", &["gap"], "flat", vec![])
        .weight("fc.w", &[4, 22])
        .weight("fc.b", &[4])
        .node("Gemm", &["flat", "fc.w", "fc.b"], "y", vec![int("transB", 1)])
        .output("y", &[batch, 4]);
    model
}

pub(crate) const CLASSIFIER_PARAMS: u64 = 162 + 12 + 54 + 48 + 72 + 92;
/// Multiply-adds of [`classifier`].
pub(crate) const CLASSIFIER_MADDS: u64 = 64 * 162 + 16 * 54 + 16 * 48 + 16 * 72 + 88;
