//! Architectures within a limit: what every choice of a space costs, and the most probable choices
//! that a limit allows.

use std::fmt;

use adwp_engine::Candidate;

use crate::cost::{LayerCost, count};
use crate::{Discrete, Genotype, INPUTS, IntensiveSpace, ModelError, NODES, Skeleton};

/// What every candidate of a space costs in one network: the cost of an architecture is at most
/// `fixed` plus that of its candidates, and less where no node reads the output of a cell or one of
/// its inputs, so that they fall away.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceCosts {
    /// Everything but the candidates: stem, preprocessing of the cells' inputs, classifier.
    pub fixed: f64,
    /// For each cell the cost of its candidates, `[NODES, K]` row-major.
    pub cells: Vec<Vec<f64>>,
}

/// What a network has a limited amount of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Trainable parameters.
    Params,
    /// Multiply-accumulates for one image.
    Madds,
    /// Milliseconds for one image, as a table of measured operators has them.
    Latency,
}

/// The most that a network may take of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Of what.
    pub resource: Resource,
    /// How much.
    pub most: f64,
    /// What each choice takes of it.
    pub costs: ChoiceCosts,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Params => "params",
            Self::Madds => "multiply-adds",
            Self::Latency => "ms of latency",
        })
    }
}

impl ChoiceCosts {
    /// Trainable parameters, auxiliary head excluded.
    ///
    /// # Errors
    /// When the skeleton makes no network.
    pub fn params(space: &IntensiveSpace, skeleton: &Skeleton) -> Result<Self, ModelError> {
        Self::counted(space, skeleton, |layer| layer.params)
    }

    /// Multiply-accumulates for one image.
    ///
    /// # Errors
    /// When the skeleton makes no network.
    pub fn madds(space: &IntensiveSpace, skeleton: &Skeleton) -> Result<Self, ModelError> {
        Self::counted(space, skeleton, |layer| layer.madds)
    }

    /// Adds up the layers of a network in which every node sums all of its candidates.
    fn counted(
        space: &IntensiveSpace,
        skeleton: &Skeleton,
        cost: impl Fn(&LayerCost) -> u64,
    ) -> Result<Self, ModelError> {
        let k = space.width();
        let widest = space.widest(skeleton)?;
        let mut costs = Self { fixed: 0.0, cells: vec![vec![0.0; NODES * k]; skeleton.cells] };
        for layer in count(&Discrete::build(&widest, skeleton, 1, None)?.graph).layers {
            match layer.owner.candidate() {
                Some(Candidate { cell, node, place, .. }) => {
                    costs.cells[cell][(node - INPUTS) * k + place] += cost(&layer) as f64;
                }
                None => costs.fixed += cost(&layer) as f64,
            }
        }
        Ok(costs)
    }

    /// The cost of an architecture of `space`, with everything in it that no output depends on.
    ///
    /// # Panics
    /// When it is none of the space, or of another number of cells.
    pub fn of(&self, space: &IntensiveSpace, genotype: &Genotype) -> f64 {
        assert_eq!(
            self.cells.len(),
            genotype.cells.len(),
            "costs are those of a network with as many cells"
        );
        let mut sum = self.fixed;
        for (costs, cell) in self.cells.iter().zip(&genotype.cells) {
            let candidates = space.cell(cell.kind).iter().zip(costs.chunks_exact(space.width()));
            for ((candidates, costs), pairs) in candidates.zip(&cell.nodes) {
                for pair in pairs {
                    let place = candidates.iter().position(|candidate| candidate == pair);
                    sum += costs
                        [place.expect("an architecture of the space has candidates of the space")];
                }
            }
        }
        sum
    }
}

impl Limit {
    /// At most so many trainable parameters.
    ///
    /// # Errors
    /// When the skeleton makes no network.
    pub fn params(
        most: u64,
        space: &IntensiveSpace,
        skeleton: &Skeleton,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            resource: Resource::Params,
            most: most as f64,
            costs: ChoiceCosts::params(space, skeleton)?,
        })
    }

    /// At most so many multiply-accumulates for one image.
    ///
    /// # Errors
    /// When the skeleton makes no network.
    pub fn madds(
        most: u64,
        space: &IntensiveSpace,
        skeleton: &Skeleton,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            resource: Resource::Madds,
            most: most as f64,
            costs: ChoiceCosts::madds(space, skeleton)?,
        })
    }

    /// What an architecture takes: counted where that can be done, else the sum of its choices.
    ///
    /// # Errors
    /// When the architecture does not fit the skeleton.
    pub fn taken(
        &self,
        space: &IntensiveSpace,
        genotype: &Genotype,
        skeleton: &Skeleton,
    ) -> Result<f64, ModelError> {
        let counted =
            || Ok::<_, ModelError>(count(&Discrete::build(genotype, skeleton, 1, None)?.graph));
        Ok(match self.resource {
            Resource::Params => counted()?.params as f64,
            Resource::Madds => counted()?.madds as f64,
            Resource::Latency => self.costs.of(space, genotype),
        })
    }
}

/// One way to fill a node.
#[derive(Clone, Debug)]
struct Choice {
    /// Which of its candidates, ascending.
    candidates: Vec<usize>,
    /// Sum of the logarithms of their probabilities.
    value: f64,
    /// For each limit, its share of what is allowed.
    shares: Vec<f64>,
}

/// The nodes of all cells with all their choices, and what of each limit is taken whatever is
/// chosen.
struct Choices {
    nodes: Vec<Vec<Choice>>,
    fixed: Vec<f64>,
}

/// Rounds in which the prices of the limits are adjusted.
const PRICE_ROUNDS: usize = 300;

impl IntensiveSpace {
    /// The architecture that sums all candidates in every node.
    pub fn widest(&self, skeleton: &Skeleton) -> Result<Genotype, ModelError> {
        let k = self.width();
        self.discretize(skeleton, &vec![vec![0.0; NODES * k]; skeleton.cells], k)
    }

    /// [`Self::discretize`] within limits, which are those of the network of `skeleton`: of all
    /// that they allow, an architecture with as large a product of the kept probabilities as could
    /// be found. Without limits, or where none binds, it is that of `discretize`.
    ///
    /// Each limit has a price, raised while it is exceeded; every node takes the choice that is
    /// worth most at these prices (Lagrangian relaxation of the multiple-choice knapsack problem).
    /// Single nodes are then changed for the better while the limits allow it.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] when nothing within the limits was found. For one limit there is
    /// nothing then.
    pub fn discretize_within(
        &self,
        skeleton: &Skeleton,
        probabilities: &[Vec<f32>],
        keep: usize,
        limits: &[Limit],
    ) -> Result<Genotype, ModelError> {
        let free = self.discretize(skeleton, probabilities, keep)?;
        if self.exceeded(&free, skeleton, limits)?.is_none() {
            return Ok(free);
        }
        let choices = Choices::new(self, probabilities, keep, limits);
        let chosen = choices.best_within().unwrap_or_else(|| choices.least());
        let chosen: Vec<&Choice> =
            choices.nodes.iter().zip(chosen).map(|(node, choice)| &node[choice]).collect();
        // Among so many candidates, those kept have the only positive scores.
        let scores: Vec<f32> = chosen
            .iter()
            .flat_map(|choice| {
                (0..self.width())
                    .map(|candidate| f32::from(u8::from(choice.candidates.contains(&candidate))))
            })
            .collect();
        let scores: Vec<Vec<f32>> =
            scores.chunks_exact(NODES * self.width()).map(<[f32]>::to_vec).collect();
        let genotype = self.discretize(skeleton, &scores, keep)?;
        match self.exceeded(&genotype, skeleton, limits)? {
            None => Ok(genotype),
            Some((limit, taken)) => {
                let (most, resource) = (limit.most, limit.resource);
                let what = if limits.len() == 1 {
                    "the smallest of this space has"
                } else {
                    "the smallest that was found has"
                };
                Err(ModelError::Invalid(format!(
                    "no architecture with at most {most} {resource}: {what} {taken}"
                )))
            }
        }
    }

    /// The first limit that an architecture exceeds, and what it takes.
    fn exceeded<'a>(
        &self,
        genotype: &Genotype,
        skeleton: &Skeleton,
        limits: &'a [Limit],
    ) -> Result<Option<(&'a Limit, f64)>, ModelError> {
        for limit in limits {
            let taken = limit.taken(self, genotype, skeleton)?;
            if taken > limit.most {
                return Ok(Some((limit, taken)));
            }
        }
        Ok(None)
    }
}

impl Choices {
    fn new(
        space: &IntensiveSpace,
        probabilities: &[Vec<f32>],
        keep: usize,
        limits: &[Limit],
    ) -> Self {
        let k = space.width();
        let subsets = subsets(k, keep);
        let node = |cell: usize, node: usize| {
            let places = node * k..(node + 1) * k;
            let logs: Vec<f64> = probabilities[cell][places.clone()]
                .iter()
                .map(|&p| f64::from(p.max(f32::MIN_POSITIVE)).ln())
                .collect();
            let choice = |candidates: &Vec<usize>| {
                let share = |limit: &Limit| {
                    candidates
                        .iter()
                        .map(|&i| limit.costs.cells[cell][places.start + i])
                        .sum::<f64>()
                        / limit.most
                };
                Choice {
                    value: candidates.iter().map(|&i| logs[i]).sum(),
                    shares: limits.iter().map(share).collect(),
                    candidates: candidates.clone(),
                }
            };
            subsets.iter().map(choice).collect()
        };
        Self {
            nodes: (0..probabilities.len())
                .flat_map(|cell| (0..NODES).map(move |n| (cell, n)))
                .map(|(cell, n)| node(cell, n))
                .collect(),
            fixed: limits.iter().map(|limit| limit.costs.fixed / limit.most).collect(),
        }
    }

    /// For each limit the share that is taken.
    fn taken(&self, chosen: &[usize]) -> Vec<f64> {
        let mut taken = self.fixed.clone();
        for (node, &choice) in self.nodes.iter().zip(chosen) {
            taken.iter_mut().zip(&node[choice].shares).for_each(|(taken, share)| *taken += share);
        }
        taken
    }

    fn value(&self, chosen: &[usize]) -> f64 {
        self.nodes.iter().zip(chosen).map(|(node, &choice)| node[choice].value).sum()
    }

    fn is_within(&self, chosen: &[usize]) -> bool {
        self.taken(chosen).iter().all(|&share| share <= 1.0)
    }

    /// Each node's choice of the largest worth; the first of equals.
    fn most(&self, worth: impl Fn(&Choice) -> f64) -> Vec<usize> {
        let best = |node: &Vec<Choice>| {
            (0..node.len()).rev().max_by(|&a, &b| worth(&node[a]).total_cmp(&worth(&node[b])))
        };
        self.nodes.iter().map(|node| best(node).expect("every node has a choice")).collect()
    }

    /// What takes least of all limits together.
    fn least(&self) -> Vec<usize> {
        self.most(|choice| -choice.shares.iter().sum::<f64>())
    }

    /// The best choices found that all limits allow.
    fn best_within(&self) -> Option<Vec<usize>> {
        let limits = self.fixed.len();
        let mut best: Option<Vec<usize>> = None;
        let mut consider = |chosen: Vec<usize>| {
            if self.is_within(&chosen)
                && best.as_ref().is_none_or(|best| self.value(&chosen) > self.value(best))
            {
                best = Some(chosen);
            }
        };
        consider(self.least());
        (0..limits).for_each(|limit| consider(self.most(|choice| -choice.shares[limit])));
        let mut prices = vec![1.0; limits];
        for round in 0..PRICE_ROUNDS {
            let chosen = self.most(|choice| {
                choice.value
                    - prices
                        .iter()
                        .zip(&choice.shares)
                        .map(|(price, share)| price * share)
                        .sum::<f64>()
            });
            // Steps shrink, so that prices settle; what is exceeded becomes dearer, what is not
            // cheaper.
            let step = 8.0 / (1.0 + round as f64).sqrt();
            for (price, taken) in prices.iter_mut().zip(self.taken(&chosen)) {
                *price *= (step * (taken - 1.0)).clamp(-2.0, 2.0).exp();
            }
            consider(chosen);
        }
        best.map(|chosen| self.improved(chosen))
    }

    /// Changes one node at a time, the most worthwhile first, while the limits allow one.
    fn improved(&self, mut chosen: Vec<usize>) -> Vec<usize> {
        loop {
            let taken = self.taken(&chosen);
            let mut best: Option<(f64, usize, usize)> = None;
            for (at, node) in self.nodes.iter().enumerate() {
                let now = &node[chosen[at]];
                for (choice, other) in node.iter().enumerate() {
                    let gain = other.value - now.value;
                    let fits = || {
                        taken
                            .iter()
                            .zip(&other.shares)
                            .zip(&now.shares)
                            .all(|((taken, new), old)| taken + new - old <= 1.0)
                    };
                    if gain > best.map_or(0.0, |(gain, ..)| gain) && fits() {
                        best = Some((gain, at, choice));
                    }
                }
            }
            match best {
                Some((_, at, choice)) => chosen[at] = choice,
                None => return chosen,
            }
        }
    }
}

/// All sets of `keep` of the first `k` numbers, each ascending.
fn subsets(k: usize, keep: usize) -> Vec<Vec<usize>> {
    if keep == 0 {
        return vec![Vec::new()];
    }
    (keep..=k)
        .flat_map(|last| {
            subsets(last - 1, keep - 1).into_iter().map(move |mut subset| {
                subset.push(last - 1);
                subset
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stem;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 5, channels: 6, classes: 10, image: [3, 16, 16] };

    fn probabilities(space: &IntensiveSpace, rng: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
        (0..SKELETON.cells)
            .map(|_| (0..NODES * space.width()).map(|_| rng.random()).collect())
            .collect()
    }

    #[test]
    fn choices_add_up_to_what_the_graph_counts() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut pruned = 0;
        for _ in 0..20 {
            let space = IntensiveSpace::random(6, &mut rng).unwrap();
            let genotype = space.random_genotype(&SKELETON, 2, &mut rng).unwrap();
            let counted = count(&Discrete::build(&genotype, &SKELETON, 1, None).unwrap().graph);
            let summed = ChoiceCosts::params(&space, &SKELETON).unwrap().of(&space, &genotype);
            assert!(counted.params as f64 <= summed, "{} {summed}", counted.params);
            let madds = ChoiceCosts::madds(&space, &SKELETON).unwrap().of(&space, &genotype);
            assert!(counted.madds as f64 <= madds);
            if counted.madds as f64 == madds {
                assert_eq!(counted.params as f64, summed);
            } else {
                pruned += 1;
            }
            let widest = space.widest(&SKELETON).unwrap();
            let all = count(&Discrete::build(&widest, &SKELETON, 1, None).unwrap().graph);
            assert_eq!(
                all.params as f64,
                ChoiceCosts::params(&space, &SKELETON).unwrap().of(&space, &widest)
            );
        }
        assert!(pruned < 20, "nothing was compared exactly");
    }

    #[test]
    fn limits_hold_and_cost_as_little_probability_as_may_be() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for _ in 0..10 {
            let space = IntensiveSpace::random(6, &mut rng).unwrap();
            let p = probabilities(&space, &mut rng);
            let free = space.discretize(&SKELETON, &p, 2).unwrap();
            let cost = count(&Discrete::build(&free, &SKELETON, 1, None).unwrap().graph);
            let least = Limit::madds(1, &space, &SKELETON).unwrap();
            let smallest = Choices::new(&space, &p, 2, &[least]);
            let smallest = smallest.taken(&smallest.least())[0];
            for share in [0.6, 0.8, 1.0] {
                let (params, madds) =
                    ((cost.params as f64 * share) as u64, (cost.madds as f64 * share) as u64);
                let limits = [
                    Limit::params(params, &space, &SKELETON).unwrap(),
                    Limit::madds(madds, &space, &SKELETON).unwrap(),
                ];
                if (madds as f64) < smallest {
                    continue;
                }
                let Ok(found) = space.discretize_within(&SKELETON, &p, 2, &limits) else {
                    continue;
                };
                let taken = count(&Discrete::build(&found, &SKELETON, 1, None).unwrap().graph);
                assert!(taken.params <= params && taken.madds <= madds, "{taken:?}");
                assert_eq!(found == free, share == 1.0);
            }
        }
    }

    #[test]
    fn one_limit_is_met_nearly_as_well_as_trying_everything_would() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let skeleton = Skeleton { cells: 3, ..SKELETON };
        for _ in 0..5 {
            let space = IntensiveSpace::random(3, &mut rng).unwrap();
            let p: Vec<Vec<f32>> =
                (0..3).map(|_| (0..NODES * 3).map(|_| rng.random()).collect()).collect();
            let all = ChoiceCosts::madds(&space, &skeleton)
                .unwrap()
                .of(&space, &space.widest(&skeleton).unwrap());
            let choices = Choices::new(
                &space,
                &p,
                1,
                &[Limit::madds((all * 0.45) as u64, &space, &skeleton).unwrap()],
            );
            let Some(found) = choices.best_within() else { continue };
            assert!(choices.is_within(&found));
            // 3 choices in each of 12 nodes.
            let mut best = f64::NEG_INFINITY;
            for mut code in 0..3usize.pow(12) {
                let chosen: Vec<usize> = (0..12)
                    .map(|_| {
                        let choice = code % 3;
                        code /= 3;
                        choice
                    })
                    .collect();
                if choices.is_within(&chosen) {
                    best = best.max(choices.value(&chosen));
                }
            }
            let lost = (best - choices.value(&found)) / best.abs();
            assert!((0.0..0.05).contains(&lost), "{lost} of the logarithm is lost");
        }
    }

    #[test]
    fn what_no_architecture_has_is_refused_with_what_the_smallest_has() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let space = IntensiveSpace::random(6, &mut rng).unwrap();
        let p = probabilities(&space, &mut rng);
        let limits = [Limit::params(10, &space, &SKELETON).unwrap()];
        let message = space.discretize_within(&SKELETON, &p, 2, &limits).unwrap_err().to_string();
        assert!(
            message.starts_with(
                "no architecture with at most 10 params: the smallest of this space has "
            ),
            "{message}"
        );
    }

    #[test]
    fn subsets_are_all_and_distinct() {
        assert_eq!(subsets(3, 2), [[0, 1], [0, 2], [1, 2]]);
        assert_eq!(subsets(6, 2).len(), 15);
        assert_eq!(subsets(4, 4), [[0, 1, 2, 3]]);
    }
}
