//! Parameters and multiply-adds of a graph.

use adwp_engine::{Graph, Op, Owner};
use serde::Serialize;

/// Cost of a network or a layer.
///
/// Multiply-adds count convolutions and linear layers alone, one per multiply-accumulate, for one
/// image. Some publications of the DARTS line count other operations too; the notes of
/// [`crate::zoo`] say which. Parameters are trainable ones; a network built for inference has no
/// auxiliary head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Number of trainable values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub madds: u64,
    /// The layers that have either, in order.
    pub layers: Vec<LayerCost>,
}

/// Cost of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerCost {
    /// Name of the node.
    pub name: String,
    /// The section of the network that it belongs to.
    #[serde(skip)]
    pub owner: Owner,
    /// Name of its operation.
    pub op: &'static str,
    /// Shape of its value for one image.
    pub shape: Vec<usize>,
    /// Trainable values it reads.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub madds: u64,
}

/// Counts a graph. Each layer owns the parameters it reads.
pub fn count(graph: &Graph) -> Cost {
    let elements = |dims: &[usize]| dims.iter().map(|&d| d as u64).product::<u64>();
    let mut cost = Cost::default();
    for (id, node) in graph.nodes() {
        let params = node
            .inputs
            .iter()
            .map(|&input| &graph[input])
            .filter(|input| matches!(input.op, Op::Parameter { .. }))
            .map(|input| elements(&input.shape))
            .sum();
        let batch = node.shape.first().map_or(1, |&images| images as u64);
        let madds = graph.multiply_adds(id) / batch;
        if params + madds == 0 {
            continue;
        }
        let mut shape = node.shape.to_vec();
        shape[0] = 1;
        cost.params += params;
        cost.madds += madds;
        cost.layers.push(LayerCost {
            name: node.name.clone(),
            owner: node.owner,
            op: node.op.name(),
            shape,
            params,
            madds,
        });
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_engine::{Conv2d, Init};

    #[test]
    fn a_depthwise_convolution_and_a_linear_layer_are_counted_by_hand() {
        let mut graph = Graph::new();
        let images = graph.input("images", [5, 6, 8, 8]).unwrap();
        let kernel = graph.parameter("conv/weight", [6, 1, 3, 3], Init::FanIn).unwrap();
        let conv = Conv2d { stride: [2; 2], padding: [1; 2], groups: 6, ..Conv2d::default() };
        let x = graph.add("conv", Op::Conv2d(conv), &[images, kernel]).unwrap();
        let x = graph.add("relu", Op::Relu, &[x]).unwrap();
        let x = graph.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        let weight = graph.parameter("linear/weight", [10, 6], Init::FanIn).unwrap();
        let bias = graph.parameter("linear/bias", [10], Init::Constant(0.0)).unwrap();
        graph.add("linear", Op::Linear, &[x, weight, bias]).unwrap();
        let cost = count(&graph);
        let layers: Vec<_> = cost
            .layers
            .iter()
            .map(|l| (l.name.as_str(), l.shape.clone(), l.params, l.madds))
            .collect();
        let conv = ("conv", vec![1, 6, 4, 4], 6 * 9, 6 * 4 * 4 * 9);
        assert_eq!(
            layers,
            [conv, ("linear", vec![1, 10], 60 + 10, 60)],
            "for one image of the five"
        );
        assert_eq!((cost.params, cost.madds), (6 * 9 + 70, 6 * 4 * 4 * 9 + 60));
    }
}
