//! Where the time of a run goes, node by node, and folded by the names of nodes.
//!
//! The nodes are those of the file: what a runtime made of one node, or fused with it, is counted
//! under the name of that node as far as the runtime's own names tell; anything else keeps the
//! runtime's name. A name such as `cell3/node2/sep_conv_5x5/dw1` is folded into its first three
//! parts: cell, node of the cell, operation.

use std::{collections::HashMap, time::Duration};

use serde::{Deserialize, Serialize};
use tract_onnx::pb::NodeProto;

use crate::{
    Result,
    cost::Cost,
    noise::noise,
    onnx::{OnnxModel, node_label},
    runtime::{self, RunProfile, Runtime, SessionOptions},
};

/// How long each node of a model takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The runtime that was timed.
    pub runtime: Runtime,
    /// Threads that one operator may use.
    pub threads: usize,
    /// Images in one run.
    pub batch: usize,
    /// Runs that were timed.
    pub runs: usize,
    /// Milliseconds of one run with every node being timed: more than the latency. All times are
    /// means of the middle half of the runs.
    pub run_ms: f64,
    /// The nodes, the slowest first.
    pub nodes: Vec<NodeTime>,
    /// The same, summed by the first part of the name, the first two, and the first three.
    pub folded: Vec<Fold>,
}

/// How long one node takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTime {
    /// Its name in the file, or in the runtime.
    pub name: String,
    /// Its operator in the file, or in the runtime; operators joined by `+` where the runtime made
    /// several of it.
    pub op: String,
    /// Milliseconds in one run.
    pub ms: f64,
    /// The share of the time of all nodes, in [0, 1].
    pub share: f64,
    /// Multiply-adds of one run; none for a node that has none or is not of the file.
    pub madds: Option<u64>,
    /// Thousand million multiply-adds a second.
    pub gmacs: Option<f64>,
}

/// Nodes whose names begin with the same parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// How their names begin: `cell3`, `cell3/node2` or `cell3/node2/sep_conv_5x5`.
    pub path: String,
    /// The parts of that: 1 for a cell, 2 for a node of a cell, 3 for an operation.
    pub depth: usize,
    /// Milliseconds in one run.
    pub ms: f64,
    /// The share of the time of all nodes, in [0, 1].
    pub share: f64,
    /// Multiply-adds of one run.
    pub madds: u64,
}

/// Runs `model` on noise for at least `time`, timing each node. `cost` has the nodes'
/// multiply-adds.
///
/// # Errors
/// As [`runtime::profile`].
pub fn profile(
    model: &OnnxModel,
    runtime: Runtime,
    options: &SessionOptions<'_>,
    time: Duration,
    cost: Option<&Cost>,
) -> Result<Profile> {
    let images = noise(model.input(), options.batch);
    let run = runtime::profile(runtime, model, options, &images, time)?;
    Ok(assemble(runtime, options, run, model.nodes(), cost))
}

fn assemble(
    runtime: Runtime,
    options: &SessionOptions<'_>,
    run: RunProfile,
    nodes: &[NodeProto],
    cost: Option<&Cost>,
) -> Profile {
    let file = FileNodes::of(nodes);
    let madds: HashMap<&str, u64> = cost
        .iter()
        .flat_map(|cost| &cost.layers)
        .map(|layer| (layer.name.as_str(), layer.madds))
        .collect();
    let mut order: Vec<(String, String, f64)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (name, op, ms) in run.nodes {
        let of_file = file.made_of(&name, &op);
        let name = of_file.map_or(name, node_label);
        let place = *places.entry(name.clone()).or_insert_with(|| {
            order.push((name, String::new(), 0.0));
            order.len() - 1
        });
        let row = &mut order[place];
        row.2 += ms;
        match of_file {
            Some(node) => row.1.clone_from(&node.op_type),
            None if row.1.is_empty() => row.1 = op,
            None if row.1.split('+').any(|known| known == op) => {}
            None => row.1 += &format!("+{op}"),
        }
    }
    let total: f64 = order.iter().map(|(_, _, ms)| ms).sum();
    let share = |ms: f64| if total > 0.0 { ms / total } else { 0.0 };
    let mut nodes: Vec<NodeTime> = order
        .into_iter()
        .map(|(name, op, ms)| {
            let madds = madds
                .get(name.as_str())
                .filter(|&&madds| madds > 0)
                .map(|madds| madds * options.batch as u64);
            // Nodes that take no time at all are below the resolution of the clock.
            let gmacs = madds.filter(|_| ms > 0.0).map(|madds| madds as f64 / ms / 1e6);
            NodeTime { name, op, ms, share: share(ms), madds, gmacs }
        })
        .collect();
    let folded = fold(&nodes, share);
    nodes.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Profile {
        runtime,
        threads: options.threads,
        batch: options.batch,
        runs: run.runs,
        run_ms: run.run_ms,
        nodes,
        folded,
    }
}

/// The nodes of the file, by their names and by the tensors that they write.
struct FileNodes<'a> {
    nodes: &'a [NodeProto],
    named: HashMap<String, usize>,
    writers: HashMap<&'a str, usize>,
}

impl<'a> FileNodes<'a> {
    fn of(nodes: &'a [NodeProto]) -> Self {
        let named =
            nodes.iter().enumerate().map(|(index, node)| (node_label(node), index)).collect();
        let outputs = |(index, node): (usize, &'a NodeProto)| {
            node.output.iter().map(move |name| (name.as_str(), index))
        };
        Self { nodes, named, writers: nodes.iter().enumerate().flat_map(outputs).collect() }
    }

    /// The node that a runtime's node `name` was made of: the longest name of a node or tensor that
    /// its name begins with, up to a sign that ends a name. ONNX Runtime writes `fused` before
    /// some, and calls what it merged by the last tensor; a convolution is then the one before that
    /// tensor.
    fn made_of(&self, name: &str, op: &str) -> Option<&'a NodeProto> {
        let name = name.strip_prefix("fused ").unwrap_or(name);
        let ends = name
            .char_indices()
            .filter(|(_, c)| !c.is_alphanumeric())
            .map(|(at, _)| at)
            .chain([name.len()]);
        let known =
            |end: usize| self.named.get(&name[..end]).or_else(|| self.writers.get(&name[..end]));
        let found = &self.nodes[*ends.rev().find_map(known)?];
        let linear = |op: &str| ["Conv", "Gemm", "MatMul"].iter().any(|known| op.contains(known));
        if !linear(op) || linear(&found.op_type) {
            return Some(found);
        }
        let before = |node: &&'a NodeProto| {
            let inputs = node.input.iter().filter_map(|input| self.writers.get(input.as_str()));
            // Of two that are added, the one that was merged is the later one.
            inputs.max().map(|&index| &self.nodes[index])
        };
        std::iter::successors(Some(found), before)
            .take(MOST_MERGED)
            .find(|node| linear(&node.op_type))
            .or(Some(found))
    }
}

/// Nodes that a runtime merges into a convolution, at most: normalisation, sum and activation, each
/// of a few operators.
const MOST_MERGED: usize = 8;

fn fold(nodes: &[NodeTime], share: impl Fn(f64) -> f64) -> Vec<Fold> {
    let mut folds: Vec<Fold> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for depth in 1..=3 {
        for node in nodes {
            let parts: Vec<&str> = node.name.split('/').filter(|part| !part.is_empty()).collect();
            // What has fewer parts is a whole of its own, such as the stem.
            if parts.len() < depth {
                continue;
            }
            let path = parts[..depth].join("/");
            let place = *places.entry(path.clone()).or_insert_with(|| {
                folds.push(Fold { path, depth, ms: 0.0, share: 0.0, madds: 0 });
                folds.len() - 1
            });
            folds[place].ms += node.ms;
            folds[place].madds += node.madds.unwrap_or(0);
        }
    }
    for fold in &mut folds {
        fold.share = share(fold.ms);
    }
    folds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::LayerCost;

    #[test]
    fn nodes_of_a_runtime_are_those_of_the_file_and_folded_by_name() {
        let names = [
            "cell0/node2/sep_conv_3x3/dw1",
            "cell0/node2/sep_conv_3x3/pw1",
            "cell1/concat",
            "classifier",
        ];
        let node = |name: &str, op: &str, input: &str, output: &str| NodeProto {
            name: name.into(),
            op_type: op.into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..NodeProto::default()
        };
        let file = [
            node(names[0], "Conv", "x", "dw"),
            node(names[1], "Conv", "dw", "pw"),
            node("cell0/node2/relu", "Relu", "pw", "rectified"),
            node(names[2], "Concat", "rectified", "joined"),
            node(names[3], "Gemm", "joined", "y"),
        ];
        let layer = |name: &str, madds| LayerCost {
            name: name.into(),
            op: "Conv".into(),
            output_shape: vec![],
            params: 0,
            madds,
        };
        let cost = Cost {
            layers: vec![layer(names[0], 1_000_000), layer(names[2], 0)],
            ..Cost::default()
        };
        let node = |name: &str, op: &str, ms| (name.to_owned(), op.to_owned(), ms);
        let run = RunProfile {
            runs: 7,
            run_ms: 11.0,
            nodes: vec![
                node("cell0/node2/sep_conv_3x3/dw1.im2col", "Im2col", 1.0),
                node("cell0/node2/sep_conv_3x3/dw1", "Matmul", 1.0),
                node("rectified_nchwc", "Conv", 3.0),
                node("fused cell0/node2/sep_conv_3x3/pw1", "Conv", 1.0),
                node("cell1/concat", "Concat", 1.5),
                node("reorder_7", "ReorderOutput", 0.5),
                node("classifier", "Gemm", 0.0),
            ],
        };
        let options = SessionOptions { batch: 2, ..SessionOptions::default() };
        let profile = assemble(Runtime::Ort, &options, run, &file, Some(&cost));
        let rows: Vec<_> =
            profile.nodes.iter().map(|node| (node.name.as_str(), node.ms, node.madds)).collect();
        let expected = [
            (names[1], 4.0, None),
            (names[0], 2.0, Some(2_000_000)),
            (names[2], 1.5, None),
            ("reorder_7", 0.5, None),
            (names[3], 0.0, None),
        ];
        assert_eq!(rows, expected);
        assert_eq!((profile.nodes[1].gmacs, profile.nodes[0].share), (Some(1.0), 0.5));
        assert_eq!(
            (profile.nodes[1].op.as_str(), profile.nodes[3].op.as_str()),
            ("Conv", "ReorderOutput")
        );
        let folded: Vec<_> = profile
            .folded
            .iter()
            .map(|fold| (fold.path.as_str(), fold.depth, fold.ms, fold.madds))
            .collect();
        assert_eq!(folded[0], ("cell0", 1, 6.0, 2_000_000));
        assert!(
            folded.contains(&("cell0/node2", 2, 6.0, 2_000_000))
                && folded.contains(&("cell1/concat", 2, 1.5, 0))
        );
        assert!(folded.contains(&("cell0/node2/sep_conv_3x3", 3, 6.0, 2_000_000)));
    }
}
