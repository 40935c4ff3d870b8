use std::collections::HashMap;

use adwp_engine::{Activation, Graph, Node, NodeId, Op, Pool, Shape, Variables};

use super::proto::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::{ExportError, Result};

/// Version of the standard operator set that files use.
pub const OPSET: i64 = 17;

/// IR version of the format that goes with [`OPSET`].
const IR_VERSION: i64 = 8;

/// The ONNX model of what `output` needs. The batch, whatever it is in the graph, is dynamic in the
/// file; values are named after their nodes, the input `images` and the output `logits`.
///
/// # Errors
/// [`ExportError::NotExportable`] for operations of training and search.
pub fn graph_to_onnx(
    graph: &Graph,
    variables: &Variables,
    input: NodeId,
    output: NodeId,
) -> Result<ModelProto> {
    let mut writer = Writer {
        graph,
        variables,
        input,
        output,
        onnx: GraphProto { name: "adwp".into(), ..GraphProto::default() },
        twins: HashMap::new(),
    };
    let needed = graph.ancestors(&[output]);
    for (id, node) in graph.nodes().filter(|(id, _)| needed[id.index()]) {
        writer.node(id, node)?;
    }
    let mut onnx = writer.onnx;
    onnx.input.push(value_info("images", &graph[input].shape));
    onnx.output.push(value_info("logits", &graph[output].shape));
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "adwp".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        doc_string: String::new(),
        graph: Some(onnx),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: Vec::new(),
    })
}

/// A value whose first extent is the batch.
fn value_info(name: &str, shape: &Shape) -> ValueInfoProto {
    let batch = DimensionProto { dim_param: Some("batch".into()), dim_value: None };
    let rest =
        shape[1..].iter().map(|&d| DimensionProto { dim_value: Some(d as i64), dim_param: None });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(rest).collect() };
    let tensor = TensorTypeProto { elem_type: FLOAT, shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

struct Writer<'a> {
    graph: &'a Graph,
    variables: &'a Variables,
    input: NodeId,
    output: NodeId,
    onnx: GraphProto,
    /// Values that an earlier node gives already, such as the pool of one tensor in two nodes of a
    /// cell, with what it calls them.
    twins: HashMap<String, String>,
}

impl Writer<'_> {
    fn value(&self, id: NodeId) -> String {
        match id {
            id if id == self.input => "images".into(),
            id if id == self.output => "logits".into(),
            id => self.graph[id].name.clone(),
        }
    }

    fn inputs(&self, node: &Node) -> Vec<String> {
        node.inputs.iter().map(|&id| self.value(id)).collect()
    }

    /// Adds a node, unless one is there that does the same to the same values.
    fn push(
        &mut self,
        name: &str,
        op_type: &str,
        input: Vec<String>,
        output: String,
        attribute: Vec<AttributeProto>,
    ) {
        let input: Vec<String> = input
            .into_iter()
            .map(|value| self.twins.get(&value).cloned().unwrap_or(value))
            .collect();
        let does_the_same = |node: &&NodeProto| {
            node.op_type == op_type && node.input == input && node.attribute == attribute
        };
        let is_output = self.value(self.output) == output;
        if let Some(twin) = self.onnx.node.iter().find(does_the_same).filter(|_| !is_output) {
            let twin = twin.output[0].clone();
            self.twins.insert(output, twin);
            return;
        }
        self.onnx.node.push(NodeProto {
            input,
            output: vec![output],
            name: name.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
        });
    }

    fn floats(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        self.onnx.initializer.push(TensorProto::floats(name, shape, data));
    }

    fn integers(&mut self, name: String, data: &[i64]) -> String {
        let raw_data = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.onnx.initializer.push(TensorProto {
            dims: vec![data.len() as i64],
            data_type: INT64,
            name: name.clone(),
            raw_data,
        });
        name
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Result<()> {
        let (name, output) = (node.name.as_str(), self.value(id));
        let inputs = self.inputs(node);
        match &node.op {
            Op::Input if id == self.input => {}
            Op::Parameter { .. } => {
                let variable = self.variables.get(name)?;
                self.floats(name, &variable.shape, variable.data()?);
            }
            Op::Conv2d(conv) => {
                let weight = &self.graph[node.inputs[1]].shape;
                let ([top, left], [below, right]) = (conv.padding, conv.trailing);
                let attributes = vec![
                    AttributeProto::integers("dilations", &[conv.dilation as i64; 2]),
                    AttributeProto::integer("group", conv.groups as i64),
                    AttributeProto::integers(
                        "kernel_shape",
                        &[weight[2], weight[3]].map(|side| side as i64),
                    ),
                    AttributeProto::integers(
                        "pads",
                        &[top, left, top + below, left + right].map(|zeros| zeros as i64),
                    ),
                    AttributeProto::integers("strides", &conv.stride.map(|step| step as i64)),
                ];
                self.push(name, "Conv", inputs, output, attributes);
            }
            Op::BatchNorm(norm) => self.batch_norm(node, inputs, output, norm.epsilon)?,
            Op::Relu => self.push(name, "Relu", inputs, output, Vec::new()),
            Op::Activation(activation) => self.activation(*activation, name, inputs, output),
            Op::Gate => {
                let axes = self.integers(format!("{name}/axes"), &[2, 3]);
                let planes = format!("{name}/planes");
                self.push(
                    &planes,
                    "Unsqueeze",
                    vec![inputs[1].clone(), axes],
                    planes.clone(),
                    Vec::new(),
                );
                self.push(name, "Mul", vec![inputs[0].clone(), planes], output, Vec::new());
            }
            Op::MaxPool(pool) => self.push(name, "MaxPool", inputs, output, pool_attributes(pool)),
            Op::AvgPool(pool) => {
                let mut attributes = pool_attributes(pool);
                attributes.push(AttributeProto::integer("count_include_pad", 0));
                self.push(name, "AveragePool", inputs, output, attributes);
            }
            Op::GlobalAvgPool => {
                let pooled = format!("{name}/pooled");
                self.push(&pooled, "GlobalAveragePool", inputs, pooled.clone(), Vec::new());
                self.push(
                    name,
                    "Flatten",
                    vec![pooled],
                    output,
                    vec![AttributeProto::integer("axis", 1)],
                );
            }
            Op::Add => {
                let op = if inputs.len() == 2 { "Add" } else { "Sum" };
                self.push(name, op, inputs, output, Vec::new());
            }
            Op::Scale { factor } => {
                let constant = format!("{name}/factor");
                self.floats(&constant, &[1], &[*factor]);
                self.push(name, "Mul", [inputs, vec![constant]].concat(), output, Vec::new());
            }
            Op::Concat => {
                self.push(name, "Concat", inputs, output, vec![AttributeProto::integer("axis", 1)])
            }
            Op::Crop { top, left } => {
                let starts = self.integers(format!("{name}/starts"), &[*top as i64, *left as i64]);
                let ends = self.integers(format!("{name}/ends"), &[i64::MAX; 2]);
                let axes = self.integers(format!("{name}/axes"), &[2, 3]);
                self.push(
                    name,
                    "Slice",
                    [inputs, vec![starts, ends, axes]].concat(),
                    output,
                    Vec::new(),
                );
            }
            &Op::Channels { groups: 1, from, count } => {
                let bounds = [("starts", from), ("ends", from + count), ("axes", 1)];
                let bounds = bounds
                    .map(|(bound, at)| self.integers(format!("{name}/{bound}"), &[at as i64]));
                self.push(name, "Slice", [inputs, bounds.to_vec()].concat(), output, Vec::new());
            }
            // One node for all that a shuffle and what follows it take three to five for.
            &Op::Channels { groups, from, count } => {
                let each = self.graph[node.inputs[0]].shape[1] / groups;
                let source = |to: usize| (to % groups * each + to / groups) as i64;
                let sources: Vec<i64> = (from..from + count).map(source).collect();
                let sources = self.integers(format!("{name}/channels"), &sources);
                let axis = vec![AttributeProto::integer("axis", 1)];
                self.push(name, "Gather", [inputs, vec![sources]].concat(), output, axis);
            }
            Op::Linear => {
                self.push(name, "Gemm", inputs, output, vec![AttributeProto::integer("transB", 1)])
            }
            Op::Softmax => self.push(
                name,
                "Softmax",
                inputs,
                output,
                vec![AttributeProto::integer("axis", -1)],
            ),
            op @ (Op::Input
            | Op::WeightedSum { .. }
            | Op::Select { .. }
            | Op::Reshape
            | Op::DropPath
            | Op::CrossEntropy { .. }) => {
                return Err(ExportError::NotExportable { node: name.to_owned(), op: op.name() });
            }
        }
        Ok(())
    }

    fn activation(
        &mut self,
        activation: Activation,
        name: &str,
        inputs: Vec<String>,
        output: String,
    ) {
        match activation {
            Activation::Relu6 => {
                let bounds = [("low", 0.0), ("high", 6.0)].map(|(bound, value)| {
                    let constant = format!("{name}/{bound}");
                    self.floats(&constant, &[], &[value]);
                    constant
                });
                self.push(name, "Clip", [inputs, bounds.to_vec()].concat(), output, Vec::new());
            }
            Activation::HardSigmoid => self.push(
                name,
                "HardSigmoid",
                inputs,
                output,
                vec![AttributeProto::real("alpha", 1.0 / 6.0), AttributeProto::real("beta", 0.5)],
            ),
            Activation::HardSwish => self.push(name, "HardSwish", inputs, output, Vec::new()),
            Activation::Sigmoid => self.push(name, "Sigmoid", inputs, output, Vec::new()),
            Activation::Silu => {
                let sigmoid = format!("{name}/sigmoid");
                self.push(&sigmoid, "Sigmoid", inputs.clone(), sigmoid.clone(), Vec::new());
                self.push(name, "Mul", [inputs, vec![sigmoid]].concat(), output, Vec::new());
            }
        }
    }

    fn batch_norm(
        &mut self,
        node: &Node,
        mut inputs: Vec<String>,
        output: String,
        epsilon: f32,
    ) -> Result<()> {
        if inputs.len() == 1 {
            for (part, value) in [("scale", 1.0), ("shift", 0.0)] {
                let constant = format!("{}/{part}", node.name);
                self.floats(&constant, &[node.shape[1]], &vec![value; node.shape[1]]);
                inputs.push(constant);
            }
        }
        for statistic in [node.running_mean(), node.running_var()] {
            let variable = self.variables.get(&statistic)?;
            self.floats(&statistic, &variable.shape, variable.data()?);
            inputs.push(statistic);
        }
        self.push(
            &node.name,
            "BatchNormalization",
            inputs,
            output,
            vec![AttributeProto::real("epsilon", epsilon)],
        );
        Ok(())
    }
}

fn pool_attributes(pool: &Pool) -> Vec<AttributeProto> {
    vec![
        AttributeProto::integers("kernel_shape", &[pool.kernel as i64; 2]),
        AttributeProto::integers("pads", &[pool.padding as i64; 4]),
        AttributeProto::integers("strides", &[pool.stride as i64; 2]),
    ]
}
