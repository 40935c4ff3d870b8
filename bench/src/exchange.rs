//! A network as files that another program can build it from: `case.json` and the values as raw
//! little-endian `f32`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use adwp_engine::{Graph, Leaf, Op, Variables};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cases::{Network, Update};
use crate::failure::{Context, Result};

const VALUES: &str = "values.f32";

/// What `case.json` holds.
#[derive(Debug, Serialize)]
struct CaseFile {
    schema: &'static str,
    /// In topological order; only what is computed, and the leaves that it reads.
    nodes: Vec<NodeEntry>,
    loss: String,
    /// What is timed where nothing is updated; the loss is, where something is.
    output: String,
    trainable: Vec<String>,
    update: Update,
    /// Where the values of inputs, parameters and statistics lie, in the order of the file.
    values: Vec<ValueEntry>,
    /// Name of the file with the values.
    file: &'static str,
}

#[derive(Debug, Serialize)]
struct NodeEntry {
    name: String,
    /// `kind` and the attributes of the operation.
    op: Value,
    /// Names of what it reads.
    inputs: Vec<String>,
    shape: Vec<usize>,
}

#[derive(Debug, Serialize)]
struct ValueEntry {
    name: String,
    shape: Vec<usize>,
}

pub(crate) fn write(network: &Network, variables: &Variables, folder: &Path) -> Result<()> {
    let path = folder.join(VALUES);
    let cannot = format!("cannot write {}", path.display());
    let mut file = File::create(&path).context(&cannot)?;
    let mut values = Vec::new();
    for (entry, data) in values_of(network, variables)? {
        let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes).context(&cannot)?;
        values.push(entry);
    }

    let path = folder.join("case.json");
    let text = serde_json::to_vec(&case_file(network, values))
        .context("cannot describe a case as JSON")?;
    std::fs::write(&path, text).context(format_args!("cannot write {}", path.display()))
}

/// The values of all leaves and statistics of the part that is computed.
fn values_of<'a>(
    network: &'a Network,
    variables: &'a Variables,
) -> Result<Vec<(ValueEntry, &'a [f32])>> {
    let computed = network.graph.ancestors(&[network.loss, network.output]);
    let mut values = Vec::new();
    for (id, node) in network.graph.nodes().filter(|(id, _)| computed[id.index()]) {
        let names = match node.op.leaf() {
            Some(Leaf::Input) => {
                let feed = network
                    .feeds
                    .iter()
                    .find(|(fed, _)| *fed == id)
                    .map_or(&[][..], |(_, data)| data);
                values.push((
                    ValueEntry { name: node.name.clone(), shape: node.shape.to_vec() },
                    feed,
                ));
                continue;
            }
            Some(Leaf::Parameter(_)) => vec![node.name.clone()],
            None if node.op.keeps_statistics() => vec![node.running_mean(), node.running_var()],
            None => continue,
        };
        for name in names {
            let variable = variables.get(&name)?;
            values.push((ValueEntry { name, shape: variable.shape.to_vec() }, variable.data()?));
        }
    }
    Ok(values)
}

fn case_file(network: &Network, values: Vec<ValueEntry>) -> CaseFile {
    let Network { graph, loss, output, trainable, update, .. } = network;
    let name = |id: &adwp_engine::NodeId| graph[*id].name.clone();
    CaseFile {
        schema: "adwp/bench-case/1",
        nodes: nodes(graph, &graph.ancestors(&[*loss, *output])),
        loss: name(loss),
        output: name(output),
        trainable: trainable.iter().map(name).collect(),
        update: *update,
        values,
        file: VALUES,
    }
}

fn nodes(graph: &Graph, wanted: &[bool]) -> Vec<NodeEntry> {
    let entry = |(_, node): (_, &adwp_engine::Node)| NodeEntry {
        name: node.name.clone(),
        op: op(&node.op),
        inputs: node.inputs.iter().map(|&input| graph[input].name.clone()).collect(),
        shape: node.shape.to_vec(),
    };
    graph.nodes().filter(|(id, _)| wanted[id.index()]).map(entry).collect()
}

fn op(op: &Op) -> Value {
    let mut value = match op {
        Op::Conv2d(c) => {
            json!({
                "stride": c.stride,
                "padding": c.padding,
                "trailing": c.trailing,
                "dilation": c.dilation,
                "groups": c.groups,
            })
        }
        Op::BatchNorm(b) => json!({ "epsilon": b.epsilon }),
        Op::MaxPool(p) | Op::AvgPool(p) => {
            json!({ "kernel": p.kernel, "stride": p.stride, "padding": p.padding })
        }
        Op::Scale { factor } => json!({ "factor": factor }),
        Op::WeightedSum { terms } => json!({ "terms": terms }),
        Op::Crop { top, left } => json!({ "top": top, "left": left }),
        Op::Channels { groups, from, count } => {
            json!({ "groups": groups, "from": from, "count": count })
        }
        Op::Select { index } => json!({ "index": index }),
        Op::CrossEntropy { smoothing } => json!({ "smoothing": smoothing }),
        Op::Input
        | Op::Parameter { .. }
        | Op::Relu
        | Op::Activation(_)
        | Op::Gate
        | Op::GlobalAvgPool
        | Op::Add
        | Op::Concat
        | Op::Linear
        | Op::Reshape
        | Op::Softmax
        | Op::DropPath => json!({}),
    };
    value["kind"] = op.name().into();
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::{self, Size};

    #[test]
    fn a_written_case_has_every_field_and_every_value() {
        let network =
            cases::named("op/depthwise-5x5-stride2/16x32x32").unwrap().network(Size::Tiny).unwrap();
        let variables = network.variables().unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(&network, &variables, folder.path()).unwrap();

        let case: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("case.json")).unwrap())
                .unwrap();
        let node = |name: &str| {
            case["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap()
        };
        let expected = json!({
            "name": "depthwise",
            "op": {
                "kind": "conv2d",
                "stride": [2, 2],
                "padding": [2, 2],
                "trailing": [0, 0],
                "dilation": 1,
                "groups": 4,
            },
            "inputs": ["x", "depthwise/weight"],
            "shape": [3, 4, 4, 4],
        });
        assert_eq!(*node("depthwise"), expected);
        assert_eq!(node("head/loss")["op"], json!({ "kind": "cross_entropy", "smoothing": 0.0 }));
        assert_eq!((&case["loss"], &case["output"]), (&json!("head/loss"), &json!("depthwise")));
        assert_eq!(case["trainable"], json!(["x", "depthwise/weight"]));
        assert_eq!(case["update"], json!({ "kind": "none" }));

        let bytes = std::fs::read(folder.path().join(VALUES)).unwrap();
        let all: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let mut at = 0;
        for entry in case["values"].as_array().unwrap() {
            let (name, shape) =
                (entry["name"].as_str().unwrap(), entry["shape"].as_array().unwrap());
            let elements: usize =
                shape.iter().map(|extent| extent.as_u64().unwrap() as usize).product();
            let values = &all[at..at + elements];
            match variables.get(name) {
                Ok(variable) => assert_eq!(values, variable.data().unwrap(), "{name}"),
                Err(_) => {
                    let id = network.graph.find(name).unwrap();
                    let (_, feed) = network.feeds.iter().find(|(fed, _)| *fed == id).unwrap();
                    assert_eq!(values, feed, "{name}");
                }
            }
            at += elements;
        }
        assert_eq!(at, all.len());
    }

    #[test]
    fn statistics_are_written_and_what_is_not_computed_is_not() {
        let network = cases::named("step/hypernetwork-alpha").unwrap().network(Size::Tiny).unwrap();
        let variables = network.variables().unwrap();
        let values = values_of(&network, &variables).unwrap();
        let names: Vec<&str> = values.iter().map(|(entry, _)| entry.name.as_str()).collect();
        assert!(names.contains(&"stem/bn/running_var"));
        let case = case_file(&network, Vec::new());
        assert_eq!(serde_json::to_value(case.update).unwrap()["kind"], "adam");
        let leaves = |kind: &str| case.nodes.iter().filter(|node| node.op["kind"] == kind).count();
        assert_eq!(names.len(), leaves("input") + leaves("parameter") + 2 * leaves("batch_norm"));
        assert!(
            case.nodes
                .iter()
                .flat_map(|node| &node.inputs)
                .all(|input| case.nodes.iter().any(|node| node.name == *input))
        );
    }
}
