use adwp_engine::{Graph, Init, NodeId, Op, Owner};
use serde::{Deserialize, Serialize};

use crate::blocks::{Builder, Dropped};
use crate::cells::{CellPlan, Stacked, stack};
use crate::discrete::{Drops, OUTPUT};
use crate::generator::Generator;
use crate::mixture::{Mixed, Mixture};
use crate::{CellSite, IntensiveSpace, Limit, ModelError, NODES, Skeleton};

/// Over what the softmax runs whose entry a generating block reads.
///
/// Section 3.2.1 says "the probabilities of all the operations in the cell"; equation 4 normalises
/// over the candidates of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorInput {
    /// The node's candidates: the same probability that weighs the operation (equation 4).
    #[default]
    Node,
    /// All candidates of the cell (the sentence in section 3.2.1).
    Cell,
}

/// How a HyperNetwork is built.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HypernetworkOptions {
    /// Its generating blocks.
    pub generator: Generator,
    /// Over what the probabilities they read are normalised.
    pub input: GeneratorInput,
    /// What can be dropped in training.
    pub dropped: Dropped,
}

/// The HyperNetwork (section 3.2.1): every cell has its own α, every convolution of a candidate
/// operation its own generating block.
#[derive(Clone, Debug)]
pub struct Hypernetwork {
    /// Its graph, for one batch size.
    pub graph: Graph,
    /// Input `[batch, channels, height, width]`.
    pub images: NodeId,
    /// Input `[batch]`: class indices.
    pub labels: NodeId,
    /// Output `[batch, classes]`.
    pub logits: NodeId,
    /// Mean cross-entropy.
    pub loss: NodeId,
    /// What α lowers: the loss, and what [`Self::limit`] adds to it.
    pub objective: NodeId,
    /// The inputs that limits read, with their constant values.
    pub constants: Vec<(NodeId, Vec<f32>)>,
    /// Inputs `[batch]`: a mask for every operation that can be dropped.
    pub masks: Vec<NodeId>,
    /// For each cell its architecture parameters, `[NODES, K]`.
    pub alphas: Vec<NodeId>,
    /// For each cell the softmax of each node's candidates, `[NODES, K]`.
    pub probabilities: Vec<NodeId>,
}

impl Hypernetwork {
    /// Builds the HyperNetwork for a batch size.
    pub fn build(
        space: &IntensiveSpace,
        skeleton: &Skeleton,
        batch: usize,
        options: HypernetworkOptions,
    ) -> Result<Self, ModelError> {
        skeleton.validate()?;
        let k = space.width();
        let mut b = Builder::new(false);
        let [c, h, w] = skeleton.image;
        let images = b.graph.input("images", [batch, c, h, w])?;
        let labels = b.graph.input("labels", [batch])?;
        let (mut alphas, mut probabilities) = (Vec::new(), Vec::new());
        let first = [0; 2].into_iter().chain((0..NODES).map(|node| node * k)).collect();
        let mut mixture =
            Mixture::new(options.dropped, first, |b: &mut Builder, site: CellSite| {
                let (g, cell) = (&mut b.graph, Owner::Cell { cell: site.index });
                let alpha = g.parameter(format!("{cell}/alpha"), [NODES, k], Init::Normal(1.0))?;
                let over_node = g.add(format!("{cell}/probabilities"), Op::Softmax, &[alpha])?;
                let encoding = match options.input {
                    GeneratorInput::Node => over_node,
                    GeneratorInput::Cell => {
                        let flat =
                            g.reshape(format!("{cell}/alpha_flat"), alpha, [1, NODES * k])?;
                        g.add(format!("{cell}/probabilities_over_cell"), Op::Softmax, &[flat])?
                    }
                };
                alphas.push(alpha);
                probabilities.push(over_node);
                let generated = Some((encoding, options.generator));
                Ok(Mixed { probabilities: over_node, generated })
            });
        let Stacked { last, .. } = stack(&mut b, &mut mixture, skeleton, images, |site| {
            Ok(CellPlan { nodes: space.cell(site.kind), output: &OUTPUT })
        })?;
        let masks = mixture.masks;
        let logits = Drops::new(None, batch).classifier(&mut b, last, skeleton.classes)?;
        let loss = b.loss("loss", logits, labels, 0.0)?;
        Ok(Self {
            graph: b.graph,
            images,
            labels,
            logits,
            loss,
            objective: loss,
            constants: Vec::new(),
            masks,
            alphas,
            probabilities,
        })
    }

    /// Adds to the objective what the expected architecture takes beyond `limit`: strength · max(0,
    /// E / most - 1).
    ///
    /// E is the fixed cost and, for every candidate, `keep` times its probability times its cost: a
    /// node's probabilities sum to one, and `keep` of its candidates stay. It is differentiable in
    /// α, as the latency of ProxylessNAS is (Cai et al., 2019, section 3.3).
    ///
    /// # Errors
    /// When there is a limit of this resource already.
    ///
    /// # Panics
    /// When the costs are those of another space or another number of cells.
    pub fn limit(&mut self, limit: &Limit, keep: usize, strength: f32) -> Result<(), ModelError> {
        let name = format!("limit/{:?}", limit.resource).to_lowercase();
        let mut terms = Vec::with_capacity(self.probabilities.len());
        let decisions = &limit.costs.decisions;
        let nodes = self.probabilities.len() * NODES;
        assert_eq!(decisions.len(), nodes, "costs are those of a network with as many cells");
        for (cell, (costs, probabilities)) in
            decisions.chunks_exact(NODES).zip(&self.probabilities).enumerate()
        {
            let costs = costs.concat();
            let g = &mut self.graph;
            let shape = [1, g[*probabilities].shape.elements()];
            assert_eq!(costs.len(), shape[1], "costs are those of the same space");
            let flat =
                g.reshape(format!("{name}/cell{cell}/probabilities"), *probabilities, shape)?;
            let shares = g.input(format!("{name}/cell{cell}/shares"), shape)?;
            self.constants.push((
                shares,
                costs.iter().map(|cost| (keep as f64 * cost / limit.most) as f32).collect(),
            ));
            terms.push(g.add(format!("{name}/cell{cell}/share"), Op::Linear, &[flat, shares])?);
        }
        let g = &mut self.graph;
        let fixed = g.input(format!("{name}/fixed"), [1, 1])?;
        self.constants.push((fixed, vec![(limit.costs.fixed / limit.most - 1.0) as f32]));
        terms.push(fixed);
        let excess = g.add(format!("{name}/excess"), Op::Add, &terms)?;
        let excess = g.reshape(format!("{name}/excess_flat"), excess, [1])?;
        let penalty = g.add(format!("{name}/beyond"), Op::Relu, &[excess])?;
        let penalty =
            g.add(format!("{name}/penalty"), Op::Scale { factor: strength }, &[penalty])?;
        self.objective = g.add(format!("{name}/objective"), Op::Add, &[self.objective, penalty])?;
        Ok(())
    }

    /// The parameters that are not α and on which the loss depends: generating blocks, stem,
    /// preprocessing, classifier.
    pub fn weights(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.graph.parameters().filter(|id| live[id.index()] && !self.alphas.contains(id)).collect()
    }

    /// The α on which the loss depends: all, unless no candidate of the next two cells reads a
    /// cell.
    pub fn live_alphas(&self) -> Vec<NodeId> {
        let live = self.graph.ancestors(&[self.loss]);
        self.alphas.iter().copied().filter(|id| live[id.index()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChoiceCosts, Intensive, Stem};
    use adwp_engine::{Device, Executor, Program, Variables};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
    const KEEP: usize = 2;
    const STRENGTH: f32 = 3.0;

    /// Loss, objective and the gradient of the first cell's α of a HyperNetwork with limits, and
    /// what its expected architecture takes.
    fn limited(most: impl Fn(f64) -> f64) -> (f32, f32, Vec<f32>, f64) {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let space = IntensiveSpace::random(4, &mut rng).unwrap();
        let mut net =
            Hypernetwork::build(&space, &SKELETON, 2, HypernetworkOptions::default()).unwrap();
        let mut variables = Variables::new();
        variables.initialize(&net.graph, &mut rng).unwrap();
        let costs = ChoiceCosts::madds(&Intensive::new(space, SKELETON, KEEP).unwrap()).unwrap();
        let mut expected = costs.fixed;
        for (costs, alpha) in costs.decisions.chunks_exact(NODES).zip(&net.alphas) {
            let alpha = variables.get(&net.graph[*alpha].name).unwrap().data().unwrap();
            for (costs, alpha) in costs.iter().zip(alpha.chunks_exact(4)) {
                let exp: Vec<f64> = alpha.iter().map(|&a| f64::from(a).exp()).collect();
                let sum: f64 = exp.iter().sum();
                expected += costs
                    .iter()
                    .zip(&exp)
                    .map(|(cost, exp)| KEEP as f64 * cost * exp / sum)
                    .sum::<f64>();
            }
        }
        let limit = Limit { resource: crate::Resource::Madds, most: most(expected), costs };
        net.limit(&limit, KEEP, STRENGTH).unwrap();
        let program =
            Program::training(&net.graph, net.objective, &[net.loss], &net.alphas).unwrap();
        let mut executor = Executor::new(program, &Device::cpu(1).unwrap()).unwrap();
        let (images, labels) = (vec![0.5; 2 * 64], vec![0.0, 1.0]);
        let mut feeds: Vec<(NodeId, &[f32])> = vec![(net.images, &images), (net.labels, &labels)];
        feeds.extend(net.constants.iter().map(|(id, values)| (*id, &values[..])));
        executor.run(&mut variables, &feeds).unwrap();
        let value = |id| executor.value(id).unwrap()[0];
        (
            value(net.loss),
            value(net.objective),
            executor.gradient(net.alphas[0]).unwrap().to_vec(),
            expected,
        )
    }

    #[test]
    fn what_is_expected_beyond_a_limit_adds_to_the_objective() {
        let (loss, objective, _, _) = limited(|expected| expected / 1.5);
        assert!((objective - loss - STRENGTH * 0.5).abs() < 1e-4, "{loss} {objective}");
        let (_, _, within, _) = limited(|expected| 1.01 * expected);
        let (loss, objective, free, _) = limited(|_| 1e12);
        assert_eq!(objective, loss);
        assert_eq!(within, free, "a limit that is kept moves nothing");
        let (_, _, beyond, _) = limited(|expected| expected / 1.5);
        assert!(beyond != free && beyond.iter().all(|g| g.is_finite()));
    }

    #[test]
    fn a_second_limit_of_a_resource_is_refused() {
        let space = IntensiveSpace::random(4, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let mut net =
            Hypernetwork::build(&space, &SKELETON, 2, HypernetworkOptions::default()).unwrap();
        let space = Intensive::new(space, SKELETON, KEEP).unwrap();
        let limit = Limit::params(100, &space).unwrap();
        net.limit(&limit, KEEP, STRENGTH).unwrap();
        assert!(net.limit(&limit, KEEP, STRENGTH).is_err());
        net.limit(&Limit::madds(100, &space).unwrap(), KEEP, STRENGTH).unwrap();
    }
}
