// A new operation must be met here.
#![warn(clippy::wildcard_enum_match_arm)]

use std::collections::{HashMap, HashSet};

use adwp_engine::{Graph, Init, Node, NodeId, Op, Role, Variable, Variables};

use crate::Result;

/// The same network with every BatchNorm that alone follows a convolution folded into its weight
/// and a bias.
///
/// Gives the graph of what `output` needs, its variables, and where `output` is now. The arithmetic
/// is done in f64.
pub fn fold_batch_norms(
    graph: &Graph,
    variables: &Variables,
    output: NodeId,
) -> Result<(Graph, Variables, NodeId)> {
    let needed = graph.ancestors(&[output]);
    let nodes = || graph.nodes().filter(|(id, _)| needed[id.index()]);
    let mut readers: HashMap<NodeId, HashSet<NodeId>> = HashMap::new();
    for (id, node) in nodes() {
        for input in &node.inputs {
            readers.entry(*input).or_default().insert(id);
        }
    }
    let is_parameter = |id: &NodeId| matches!(graph[*id].op, Op::Parameter { .. });
    let folds = |norm: &NodeId, conv: NodeId| {
        let node = &graph[conv];
        matches!(node.op, Op::Conv2d(_))
            && readers[&conv] == HashSet::from([*norm])
            && conv != output
            && node.inputs[1..].iter().all(is_parameter)
    };
    // Each folded BatchNorm with its convolution.
    let folded_norms: HashMap<NodeId, NodeId> = nodes()
        .filter(|(_, node)| matches!(node.op, Op::BatchNorm(_)))
        .map(|(id, node)| (id, node.inputs[0]))
        .filter(|(norm, conv)| folds(norm, *conv))
        .collect();
    let folded_convs: HashSet<NodeId> = folded_norms.values().copied().collect();
    let goes = |id: &NodeId| folded_norms.contains_key(id) || folded_convs.contains(id);

    let mut result = Graph::new();
    let mut kept = Variables::new();
    let mut place: HashMap<NodeId, NodeId> = HashMap::new();
    for (id, node) in nodes() {
        if folded_convs.contains(&id) || (is_parameter(&id) && readers[&id].iter().all(goes)) {
            continue;
        }
        result.set_owner(node.owner);
        let same = |result: &mut Graph| {
            let inputs: Vec<NodeId> = node.inputs.iter().map(|input| place[input]).collect();
            result.add(&node.name, node.op.clone(), &inputs)
        };
        let new = match &node.op {
            Op::BatchNorm(norm) => match folded_norms.get(&id) {
                Some(conv) => {
                    let conv = &graph[*conv];
                    let parts = Parts::new(graph, variables, conv, node, norm.epsilon)?;
                    let x = place[&conv.inputs[0]];
                    let shape = graph[conv.inputs[1]].shape.to_vec();
                    add_convolution(&mut result, &mut kept, conv, shape, x, parts)?
                }
                None => {
                    kept.insert(variables.get(&node.running_mean())?.clone());
                    kept.insert(variables.get(&node.running_var())?.clone());
                    same(&mut result)?
                }
            },
            Op::Parameter { init } => {
                kept.insert(variables.get(&node.name)?.clone());
                result.parameter(&node.name, node.shape.clone(), *init)?
            }
            Op::Input => result.input(&node.name, node.shape.clone())?,
            Op::Reshape => {
                result.reshape(&node.name, place[&node.inputs[0]], node.shape.clone())?
            }
            Op::Conv2d(_)
            | Op::Relu
            | Op::Activation(_)
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Add
            | Op::Scale { .. }
            | Op::WeightedSum { .. }
            | Op::Concat
            | Op::Crop { .. }
            | Op::Channels { .. }
            | Op::Select { .. }
            | Op::Linear
            | Op::Softmax
            | Op::DropPath
            | Op::Gate
            | Op::CrossEntropy { .. } => same(&mut result)?,
        };
        place.insert(id, new);
    }
    Ok((result, kept, place[&output]))
}

/// Weight and bias of a folded convolution.
struct Parts {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Parts {
    fn new(
        graph: &Graph,
        variables: &Variables,
        conv: &Node,
        norm: &Node,
        epsilon: f32,
    ) -> Result<Self> {
        let channels = norm.shape[1];
        let read = |id: Option<&NodeId>, default: f64| -> Result<Vec<f64>> {
            match id {
                Some(id) => Ok(variables
                    .get(&graph[*id].name)?
                    .data()?
                    .iter()
                    .map(|&v| f64::from(v))
                    .collect()),
                None => Ok(vec![default; channels]),
            }
        };
        let (scale, shift) = (read(norm.inputs.get(1), 1.0)?, read(norm.inputs.get(2), 0.0)?);
        let weight = read(conv.inputs.get(1), 0.0)?;
        let bias = read(conv.inputs.get(2), 0.0)?;
        let mean = variables.get(&norm.running_mean())?.data()?;
        let variance = variables.get(&norm.running_var())?.data()?;
        let factor: Vec<f64> = scale
            .iter()
            .zip(variance)
            .map(|(s, v)| s / (f64::from(*v) + f64::from(epsilon)).sqrt())
            .collect();
        let per_channel = weight.len() / channels;
        Ok(Self {
            weight: weight
                .iter()
                .enumerate()
                .map(|(i, w)| (w * factor[i / per_channel]) as f32)
                .collect(),
            bias: (0..channels)
                .map(|c| (shift[c] + (bias[c] - f64::from(mean[c])) * factor[c]) as f32)
                .collect(),
        })
    }
}

fn add_convolution(
    graph: &mut Graph,
    variables: &mut Variables,
    conv: &Node,
    shape: Vec<usize>,
    x: NodeId,
    parts: Parts,
) -> Result<NodeId> {
    let out = parts.bias.len();
    let mut parameter = |name: String, shape: Vec<usize>, data: Vec<f32>| -> Result<NodeId> {
        let id = graph.parameter(&name, shape.clone(), Init::Constant(0.0))?;
        variables.insert(Variable::new(name, shape, data, Role::Parameter));
        Ok(id)
    };
    let weight = parameter(format!("{}/weight", conv.name), shape, parts.weight)?;
    let bias = parameter(format!("{}/bias", conv.name), vec![out], parts.bias)?;
    Ok(graph.add(&conv.name, conv.op.clone(), &[x, weight, bias])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_engine::{BatchNorm, Conv2d};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn folds_where_the_convolution_has_no_other_reader_and_nowhere_else() {
        let mut g = Graph::new();
        let x = g.input("x", [1, 3, 4, 4]).unwrap();
        let conv = |g: &mut Graph, name: &str, x| {
            let weight = g.parameter(format!("{name}/weight"), [3, 3, 1, 1], Init::FanIn).unwrap();
            g.add(name, Op::Conv2d(Conv2d::default()), &[x, weight]).unwrap()
        };
        let alone = conv(&mut g, "alone", x);
        let alone = g.add("alone_bn", Op::BatchNorm(BatchNorm::default()), &[alone]).unwrap();
        let shared = conv(&mut g, "shared", alone);
        let normed = g.add("shared_bn", Op::BatchNorm(BatchNorm::default()), &[shared]).unwrap();
        let y = g.add("y", Op::Add, &[shared, normed]).unwrap();
        let mut variables = Variables::new();
        variables.initialize(&g, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        variables.get_mut("alone_bn/running_mean").unwrap().copy_from_slice(&[0.5, 0.0, -1.0]);
        variables.get_mut("alone_bn/running_var").unwrap().copy_from_slice(&[4.0, 1.0, 0.25]);

        let (folded, kept, output) = fold_batch_norms(&g, &variables, y).unwrap();
        let names: Vec<&str> = folded.nodes().map(|(_, node)| node.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "x",
                "alone/weight",
                "alone/bias",
                "alone",
                "shared/weight",
                "shared",
                "shared_bn",
                "y"
            ]
        );
        assert_eq!(folded[output].name, "y");
        let bias = kept.get("alone/bias").unwrap().data().unwrap();
        for (bias, expected) in bias.iter().zip([-0.5 / 2.0, 0.0, 1.0 / 0.5]) {
            assert!((bias - expected).abs() < 1e-4, "{bias} {expected}");
        }
        assert!(
            kept.get("alone_bn/running_mean").is_err()
                && kept.get("shared_bn/running_mean").is_ok()
        );
    }
}
