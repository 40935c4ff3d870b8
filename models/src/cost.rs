//! Parameters and multiply-adds of a graph.

use adwp_engine::{Graph, Op};
use serde::Serialize;

/// Cost of a network or a layer.
///
/// Multiply-adds count convolutions and linear layers alone, one per multiply-accumulate, for one image: the convention of the DARTS
/// line of papers. Parameters are trainable ones; a network built for inference has no auxiliary head.
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
    for (_, node) in graph.nodes() {
        let params = node
            .inputs
            .iter()
            .map(|&input| &graph[input])
            .filter(|input| matches!(input.op, Op::Parameter { .. }))
            .map(|input| elements(&input.shape))
            .sum();
        let madds = match node.op {
            Op::Conv2d(_) => elements(&node.shape[1..]) * elements(&graph[node.inputs[1]].shape[1..]),
            Op::Linear => elements(&graph[node.inputs[1]].shape),
            Op::Input
            | Op::Parameter { .. }
            | Op::BatchNorm(_)
            | Op::Relu
            | Op::MaxPool(_)
            | Op::AvgPool(_)
            | Op::GlobalAvgPool
            | Op::Add
            | Op::Scale { .. }
            | Op::WeightedSum { .. }
            | Op::Concat
            | Op::Crop { .. }
            | Op::Select { .. }
            | Op::Reshape
            | Op::Softmax
            | Op::DropPath
            | Op::CrossEntropy { .. } => 0,
        };
        if params + madds == 0 {
            continue;
        }
        let mut shape = node.shape.to_vec();
        shape[0] = 1;
        cost.params += params;
        cost.madds += madds;
        cost.layers.push(LayerCost { name: node.name.clone(), op: node.op.name(), shape, params, madds });
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CellGenotype, CellKind, Discrete, Genotype, Operation, Pair, Skeleton, Stem};

    /// DARTS (second order), as published with its code: each node lists (operation, input).
    fn darts_v2(cells: usize) -> Genotype {
        use Operation::{DilConv3x3, Identity, MaxPool3x3, SepConv3x3};
        let cell = |kind, nodes: [[(Operation, usize); 2]; 4]| CellGenotype {
            kind,
            nodes: nodes.map(|pairs| pairs.map(|(op, input)| Pair { input, op }).to_vec()).to_vec(),
        };
        let normal = cell(
            CellKind::Normal,
            [
                [(SepConv3x3, 0), (SepConv3x3, 1)],
                [(SepConv3x3, 0), (SepConv3x3, 1)],
                [(SepConv3x3, 1), (Identity, 0)],
                [(Identity, 0), (DilConv3x3, 2)],
            ],
        );
        let reduction = cell(
            CellKind::Reduction,
            [
                [(MaxPool3x3, 0), (MaxPool3x3, 1)],
                [(Identity, 2), (MaxPool3x3, 1)],
                [(MaxPool3x3, 0), (Identity, 2)],
                [(Identity, 2), (MaxPool3x3, 1)],
            ],
        );
        let at = |i| if [cells / 3, 2 * cells / 3].contains(&i) { reduction.clone() } else { normal.clone() };
        Genotype::new((0..cells).map(at).collect()).unwrap()
    }

    fn cost(skeleton: Skeleton) -> Cost {
        count(&Discrete::build(&darts_v2(skeleton.cells), &skeleton, 1, None).unwrap().graph)
    }

    #[test]
    fn darts_on_imagenet_counts_the_reported_params() {
        let cost = cost(Skeleton { stem: Stem::Imagenet, cells: 14, channels: 48, classes: 1000, image: [3, 224, 224] });
        // The publication says 574M multiply-adds. Convolutions and linear layers alone are these; what else it counted is not said.
        assert_eq!(cost.madds, 529_911_552);
        assert_eq!((cost.params as f64 / 1e5).round(), 47.0, "{}", cost.params);
    }

    #[test]
    fn darts_on_cifar_counts_the_reported_params() {
        let cost = cost(Skeleton { stem: Stem::Cifar, cells: 20, channels: 36, classes: 10, image: [3, 32, 32] });
        assert_eq!((cost.params as f64 / 1e5).round(), 33.0, "{}", cost.params);
    }
}
