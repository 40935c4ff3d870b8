//! What limits add to the objective that α lowers.

use adwp_engine::Op;

use crate::{Hypernetwork, Limit, ModelError};

impl Hypernetwork {
    /// Adds to the objective what the expected architecture takes beyond `limit`: strength · max(0,
    /// E / most - 1).
    ///
    /// E is the fixed cost and, for every option, `keep` times its probability times its cost: a
    /// decision's probabilities sum to one, and `keep` of its options stay. It is differentiable in
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
        let mut rest = &limit.costs.decisions[..];
        for (cell, probabilities) in self.probabilities.iter().enumerate() {
            let g = &mut self.graph;
            let (decisions, later) = rest.split_at(g[*probabilities].shape[0]);
            rest = later;
            let costs = decisions.concat();
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
        assert!(rest.is_empty(), "costs are those of a network with as many cells");
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ChoiceCosts, HypernetworkOptions, Intensive, IntensiveSpace, NODES, Resource, Skeleton,
        Space, Stem,
    };
    use adwp_engine::{Device, Executor, NodeId, Program, Variables};
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
        let space = Intensive::new(space, SKELETON, KEEP).unwrap();
        let mut net =
            space.hypernetwork(&space.widest(), 2, HypernetworkOptions::default()).unwrap();
        let mut variables = Variables::new();
        variables.initialize(&net.graph, &mut rng).unwrap();
        let costs = ChoiceCosts::madds(&space).unwrap();
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
        let limit = Limit { resource: Resource::Madds, most: most(expected), costs };
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
        let space = Intensive::new(space, SKELETON, KEEP).unwrap();
        let mut net =
            space.hypernetwork(&space.widest(), 2, HypernetworkOptions::default()).unwrap();
        let limit = Limit::params(100, &space).unwrap();
        net.limit(&limit, KEEP, STRENGTH).unwrap();
        assert!(net.limit(&limit, KEEP, STRENGTH).is_err());
        net.limit(&Limit::madds(100, &space).unwrap(), KEEP, STRENGTH).unwrap();
    }
}
