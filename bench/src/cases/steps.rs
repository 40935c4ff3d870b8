use adwp_base::Failure;
use adwp_engine::{Graph, NodeId};
use adwp_models::{
    Discrete, Dropped, Heads, HypernetworkOptions, Intensive, IntensiveSpace, Relaxed, Skeleton,
    Space, Stem,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cases::network::{Network, Size, Update, labels, noise};
use crate::failure::Result;

/// What is updated, as in the paper's phases and with their optimisers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// HyperNetwork training: the generating blocks learn.
    HypernetworkWeights,
    /// Search: α of the HyperNetwork learns.
    HypernetworkAlpha,
    /// The phase that derives the intensive space, weights.
    RelaxedWeights,
    /// The same, α.
    RelaxedAlpha,
    /// A found network from scratch.
    Retrain,
}

pub(super) fn all() -> [Step; 5] {
    [
        Step::HypernetworkWeights,
        Step::HypernetworkAlpha,
        Step::RelaxedWeights,
        Step::RelaxedAlpha,
        Step::Retrain,
    ]
}

const CLASSES: usize = 10;
/// Candidates of a node.
const WIDTH: usize = 6;
/// Operations that the found network keeps of them.
const KEEP: usize = 2;

const WEIGHTS: Update = Update::Sgd { clip: 5.0, rate: 0.025, momentum: 0.9, weight_decay: 3e-4 };
const ALPHAS: Update = Update::Adam { rate: 3e-4, betas: (0.5, 0.999), weight_decay: 1e-3 };

impl Step {
    pub(super) fn name(self) -> &'static str {
        match self {
            Step::HypernetworkWeights => "step/hypernetwork-weights",
            Step::HypernetworkAlpha => "step/hypernetwork-alpha",
            Step::RelaxedWeights => "step/relaxed-weights",
            Step::RelaxedAlpha => "step/relaxed-alpha",
            Step::Retrain => "step/retrain",
        }
    }

    /// Images in a batch: the paper's, but for the relaxation, which at its 200 would need more
    /// memory than most machines have.
    fn batch(self) -> usize {
        match self {
            Step::HypernetworkWeights | Step::HypernetworkAlpha => 98,
            Step::RelaxedWeights | Step::RelaxedAlpha => 32,
            Step::Retrain => 96,
        }
    }

    pub(super) fn network(self, size: Size) -> Result<Network> {
        let skeleton = |cells, channels, side| Skeleton {
            stem: Stem::Cifar,
            cells,
            channels,
            classes: CLASSES,
            image: [3, side, side],
        };
        let (skeleton, batch) = match size {
            Size::Full => (skeleton(8, 16, 32), self.batch()),
            Size::Tiny => (skeleton(3, 4, 16), 8),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let space = IntensiveSpace::random(WIDTH, &mut rng)?;
        let network = |graph: Graph, images, labels, logits, loss, trainable, update| {
            let feeds = vec![
                (images, noise(graph[images].shape.elements(), 3)),
                (labels, self::labels(graph[labels].shape.elements(), CLASSES)),
            ];
            Network { graph, loss, output: logits, trainable, feeds, update }
        };
        match self {
            Step::HypernetworkWeights | Step::HypernetworkAlpha => {
                let space = Intensive::new(space, skeleton, 2)?;
                let net =
                    space.hypernetwork(&space.widest(), batch, HypernetworkOptions::default())?;
                let (trainable, update) = match self {
                    Step::HypernetworkWeights => (net.weights(), WEIGHTS),
                    _ => (net.live_alphas(), ALPHAS),
                };
                Ok(network(
                    net.graph, net.images, net.labels, net.logits, net.loss, trainable, update,
                ))
            }
            Step::RelaxedWeights | Step::RelaxedAlpha => {
                let net = Relaxed::build(&skeleton, batch, Dropped::Nothing)?;
                let (trainable, update) = match self {
                    Step::RelaxedWeights => (net.weights(), WEIGHTS),
                    _ => (vec![net.alphas.normal, net.alphas.reduction], ALPHAS),
                };
                Ok(network(
                    net.graph, net.images, net.labels, net.logits, net.loss, trainable, update,
                ))
            }
            Step::Retrain => {
                let genotype = space.random_genotype(&skeleton, KEEP, &mut rng)?;
                let heads = Heads { drop_path: true, ..Heads::PLAIN };
                let net = Discrete::build(&genotype, &skeleton, batch, Some(heads))?;
                let training = net
                    .training
                    .ok_or_else(|| Failure::failed("a network built with heads has none"))?;
                let trainable: Vec<NodeId> = net.graph.parameters().collect();
                let mut network = network(
                    net.graph,
                    net.images,
                    training.labels,
                    net.logits,
                    training.loss,
                    trainable,
                    WEIGHTS,
                );
                network.feeds.extend(training.masks.iter().map(|&mask| (mask, vec![1.0; batch])));
                Ok(network)
            }
        }
    }
}
