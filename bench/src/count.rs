//! Multiply-adds of a training step: convolutions and linear layers alone, one for each
//! multiply-accumulate, over the whole batch.

use adwp_engine::{Graph, Node, NodeId};
use serde::Serialize;

/// Multiply-accumulates of a step. Taps that fall on padding count, as in every such count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct MultiplyAdds {
    pub(crate) forward: u64,
    /// As many as forward for each of a layer's two factors whose gradient is needed.
    pub(crate) backward: u64,
}

impl MultiplyAdds {
    pub(crate) fn total(self) -> u64 {
        self.forward + self.backward
    }
}

/// Counts the nodes that `counted` picks, in a step that computes `outputs` and the gradients of
/// `loss` for `trainable`.
pub(crate) fn step(
    graph: &Graph,
    loss: NodeId,
    outputs: &[NodeId],
    trainable: &[NodeId],
    counted: impl Fn(&Node) -> bool,
) -> MultiplyAdds {
    let computed = graph.ancestors(&[outputs, &[loss]].concat());
    let reaches_loss = graph.ancestors(&[loss]);
    let mut needs_gradient = vec![false; graph.len()];
    for id in trainable {
        needs_gradient[id.index()] = true;
    }
    let mut count = MultiplyAdds::default();
    for (id, node) in graph.nodes() {
        let below = node.inputs.iter().any(|input| needs_gradient[input.index()]);
        needs_gradient[id.index()] |= below && reaches_loss[id.index()];
        if !(computed[id.index()] && counted(node)) {
            continue;
        }
        let once = graph.multiply_adds(id);
        count.forward += once;
        if needs_gradient[id.index()] {
            let factors =
                node.inputs.iter().take(2).filter(|input| needs_gradient[input.index()]).count();
            count.backward += once * factors as u64;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_engine::{Conv2d, Init, Op};

    /// Images 2×3×4×4; a 3×3 convolution to 6 channels, a depthwise one whose weight is generated
    /// from `alpha`, a linear layer.
    fn graph() -> Graph {
        let mut g = Graph::new();
        let init = Init::Constant(0.1);
        let images = g.input("images", [2, 3, 4, 4]).unwrap();
        let labels = g.input("labels", [2]).unwrap();
        let stem = g.parameter("stem/weight", [6, 3, 3, 3], init).unwrap();
        let x = g
            .add(
                "stem",
                Op::Conv2d(Conv2d { padding: [1; 2], ..Conv2d::default() }),
                &[images, stem],
            )
            .unwrap();
        let alpha = g.parameter("alpha", [1, 5], init).unwrap();
        let generator = g.parameter("generator/weight", [54, 5], init).unwrap();
        let generated = g.add("generator", Op::Linear, &[alpha, generator]).unwrap();
        let weight = g.reshape("dw/weight", generated, [6, 1, 3, 3]).unwrap();
        let depthwise = Conv2d { stride: [2; 2], padding: [1; 2], groups: 6, ..Conv2d::default() };
        let x = g.add("dw", Op::Conv2d(depthwise), &[x, weight]).unwrap();
        let x = g.add("pool", Op::GlobalAvgPool, &[x]).unwrap();
        let classifier = g.parameter("classifier/weight", [7, 6], init).unwrap();
        let x = g.add("classifier", Op::Linear, &[x, classifier]).unwrap();
        g.add("loss", Op::CrossEntropy { smoothing: 0.0 }, &[x, labels]).unwrap();
        // Not on the way to the loss, so it is never computed.
        let unused = g.parameter("unused/weight", [100, 6], init).unwrap();
        let pool = g.find("pool").unwrap();
        g.add("unused", Op::Linear, &[pool, unused]).unwrap();
        g
    }

    // 2 images · 6 channels · 4×4 places · 3 channels · 3×3 taps.
    const STEM: u64 = 2 * 6 * 16 * 27;
    const GENERATOR: u64 = 54 * 5;
    // Stride 2 leaves 2×2 places.
    const DEPTHWISE: u64 = 2 * 6 * 4 * 9;
    const CLASSIFIER: u64 = 2 * 7 * 6;
    const FORWARD: u64 = STEM + GENERATOR + DEPTHWISE + CLASSIFIER;

    fn count(trainable: &[&str]) -> MultiplyAdds {
        let g = graph();
        let trainable: Vec<NodeId> = trainable.iter().map(|name| g.find(name).unwrap()).collect();
        step(&g, g.find("loss").unwrap(), &[], &trainable, |_| true)
    }

    #[test]
    fn every_weight_trained() {
        // Images and alpha need no gradient, so stem and generator go back once.
        let backward = STEM + GENERATOR + 2 * DEPTHWISE + 2 * CLASSIFIER;
        let trained = count(&["stem/weight", "generator/weight", "classifier/weight"]);
        assert_eq!(trained, MultiplyAdds { forward: FORWARD, backward });
    }

    #[test]
    fn only_alpha_trained() {
        // Down to the depthwise weight, through it, and through the generator; the stem has nothing
        // to learn.
        let backward = GENERATOR + DEPTHWISE + CLASSIFIER;
        assert_eq!(count(&["alpha"]), MultiplyAdds { forward: FORWARD, backward });
    }

    #[test]
    fn an_output_beside_the_loss_is_forward_alone() {
        let g = graph();
        let [loss, unused, alpha] = ["loss", "unused", "alpha"].map(|name| g.find(name).unwrap());
        let with = step(&g, loss, &[unused], &[alpha], |_| true);
        assert_eq!(
            with,
            MultiplyAdds {
                forward: FORWARD + 2 * 100 * 6,
                backward: GENERATOR + DEPTHWISE + CLASSIFIER
            }
        );
        let of_stem = step(&g, loss, &[], &[alpha], |node| node.name == "stem");
        assert_eq!(of_stem, MultiplyAdds { forward: STEM, backward: 0 });
    }
}
