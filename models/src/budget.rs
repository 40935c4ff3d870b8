//! Architectures within a limit: what every choice of a space costs, and the most probable choices
//! that a limit allows.

use std::fmt;

use adwp_engine::Owner;

use crate::cost::{LayerCost, count};
use crate::{Choices, Decision, Genotype, IntensiveSpace, ModelError, NODES, Skeleton, Space};

/// What every option of a space costs in one network: the cost of an architecture is at most
/// `fixed` plus that of its options, and less where no node reads the output of a cell or one of
/// its inputs, so that they fall away.
#[derive(Clone, Debug, PartialEq)]
pub struct ChoiceCosts {
    /// Everything but the candidates: stem, preprocessing of the cells' inputs, classifier.
    pub fixed: f64,
    /// For each decision the cost of its options.
    pub decisions: Vec<Vec<f64>>,
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
    /// Costs of nothing, to be added to.
    pub fn none(space: &dyn Space) -> Self {
        let decisions = space.decisions().iter().map(|decision| vec![0.0; decision.options]);
        Self { fixed: 0.0, decisions: decisions.collect() }
    }

    /// Trainable parameters, auxiliary head excluded.
    ///
    /// # Errors
    /// When the space has no network.
    pub fn params(space: &dyn Space) -> Result<Self, ModelError> {
        Self::counted(space, |layer| layer.params)
    }

    /// Multiply-accumulates for one image.
    ///
    /// # Errors
    /// When the space has no network.
    pub fn madds(space: &dyn Space) -> Result<Self, ModelError> {
        Self::counted(space, |layer| layer.madds)
    }

    /// Adds up the layers of the network that has all candidates.
    fn counted(space: &dyn Space, cost: impl Fn(&LayerCost) -> u64) -> Result<Self, ModelError> {
        let mut costs = Self::none(space);
        for layer in count(&space.build(&space.widest(), 1, None)?.graph).layers {
            *costs.of_mut(space, layer.owner) += cost(&layer) as f64;
        }
        Ok(costs)
    }

    /// The cost that what belongs to `owner` in the network of [`Space::widest`] is part of.
    pub fn of_mut(&mut self, space: &dyn Space, owner: Owner) -> &mut f64 {
        match owner.candidate() {
            Some(candidate) => {
                let (decision, option) = space.option(candidate);
                &mut self.decisions[decision][option]
            }
            None => &mut self.fixed,
        }
    }

    /// The cost of the costliest architecture, in the same sense as [`Self::of`].
    pub fn largest(&self, space: &dyn Space) -> f64 {
        let decisions = self.decisions.iter().zip(space.decisions());
        let kept = decisions.map(|(costs, decision)| {
            let mut costs = costs.clone();
            costs.sort_by(|a, b| b.total_cmp(a));
            costs[..decision.keep].iter().sum::<f64>()
        });
        self.fixed + kept.sum::<f64>()
    }

    /// The cost of an architecture, with everything in it that no output depends on.
    ///
    /// # Panics
    /// When it is none of the space.
    pub fn of(&self, choices: &Choices) -> f64 {
        assert_eq!(self.decisions.len(), choices.0.len(), "costs are those of the same space");
        let kept = self.decisions.iter().zip(&choices.0);
        self.fixed + kept.flat_map(|(costs, kept)| kept.iter().map(|&i| costs[i])).sum::<f64>()
    }
}

impl Limit {
    /// At most so many trainable parameters.
    ///
    /// # Errors
    /// When the space has no network.
    pub fn params(most: u64, space: &dyn Space) -> Result<Self, ModelError> {
        let costs = ChoiceCosts::params(space)?;
        Ok(Self { resource: Resource::Params, most: most as f64, costs })
    }

    /// At most so many multiply-accumulates for one image.
    ///
    /// # Errors
    /// When the space has no network.
    pub fn madds(most: u64, space: &dyn Space) -> Result<Self, ModelError> {
        let costs = ChoiceCosts::madds(space)?;
        Ok(Self { resource: Resource::Madds, most: most as f64, costs })
    }

    /// What an architecture takes: counted where that can be done, else the sum of its options.
    ///
    /// # Errors
    /// When the architecture is none of the space.
    pub fn taken(&self, space: &dyn Space, choices: &Choices) -> Result<f64, ModelError> {
        let counted = || Ok::<_, ModelError>(count(&space.build(choices, 1, None)?.graph));
        Ok(match self.resource {
            Resource::Params => counted()?.params as f64,
            Resource::Madds => counted()?.madds as f64,
            Resource::Latency => self.costs.of(choices),
        })
    }
}

/// One way to make a decision.
#[derive(Clone, Debug)]
struct Item {
    /// The options that are kept, ascending.
    options: Vec<usize>,
    /// Sum of the logarithms of their probabilities.
    value: f64,
    /// For each limit, its share of what is allowed.
    shares: Vec<f64>,
}

/// All ways to make every decision, and what of each limit is taken whatever is chosen.
struct Knapsack {
    decisions: Vec<Vec<Item>>,
    fixed: Vec<f64>,
}

/// Rounds in which the prices of the limits are adjusted.
const PRICE_ROUNDS: usize = 300;

/// The most probable architecture within limits, given the `probabilities` of the options of each
/// decision: of all that the limits allow, one with as large a product of the kept probabilities as
/// could be found. Without limits, or where none binds, it keeps the most probable options.
///
/// Each limit has a price, raised while it is exceeded; every decision takes what is worth most at
/// these prices (Lagrangian relaxation of the multiple-choice knapsack problem). Single decisions
/// are then changed for the better while the limits allow it.
///
/// # Errors
/// [`ModelError::Invalid`] when nothing within the limits was found. For one limit there is nothing
/// then.
pub fn most_probable_within(
    space: &dyn Space,
    probabilities: &[Vec<f32>],
    limits: &[Limit],
) -> Result<Choices, ModelError> {
    let free = space.decode(&probabilities.concat());
    if exceeded(space, &free, limits)?.is_none() {
        return Ok(free);
    }
    let knapsack = Knapsack::new(space.decisions(), probabilities, limits);
    let chosen = knapsack.best_within().unwrap_or_else(|| knapsack.least());
    let items = knapsack.decisions.iter().zip(chosen);
    let choices = Choices(items.map(|(items, chosen)| items[chosen].options.clone()).collect());
    match exceeded(space, &choices, limits)? {
        None => Ok(choices),
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
    space: &dyn Space,
    choices: &Choices,
    limits: &'a [Limit],
) -> Result<Option<(&'a Limit, f64)>, ModelError> {
    for limit in limits {
        let taken = limit.taken(space, choices)?;
        if taken > limit.most {
            return Ok(Some((limit, taken)));
        }
    }
    Ok(None)
}

impl IntensiveSpace {
    /// The architecture that sums all candidates in every node.
    pub fn widest(&self, skeleton: &Skeleton) -> Result<Genotype, ModelError> {
        let k = self.width();
        self.discretize(skeleton, &vec![vec![0.0; NODES * k]; skeleton.cells], k)
    }
}

impl Knapsack {
    fn new(decisions: &[Decision], probabilities: &[Vec<f32>], limits: &[Limit]) -> Self {
        let items = |place: usize, Decision { options, keep }: Decision| {
            let logs: Vec<f64> = probabilities[place]
                .iter()
                .map(|&p| f64::from(p.max(f32::MIN_POSITIVE)).ln())
                .collect();
            let item = |options: Vec<usize>| {
                let share = |limit: &Limit| {
                    let costs = &limit.costs.decisions[place];
                    options.iter().map(|&i| costs[i]).sum::<f64>() / limit.most
                };
                let shares = limits.iter().map(share).collect();
                Item { value: options.iter().map(|&i| logs[i]).sum(), shares, options }
            };
            subsets(options, keep).into_iter().map(item).collect()
        };
        Self {
            decisions: decisions.iter().enumerate().map(|(place, d)| items(place, *d)).collect(),
            fixed: limits.iter().map(|limit| limit.costs.fixed / limit.most).collect(),
        }
    }

    /// For each limit the share that is taken.
    fn taken(&self, chosen: &[usize]) -> Vec<f64> {
        let mut taken = self.fixed.clone();
        for (node, &choice) in self.decisions.iter().zip(chosen) {
            taken.iter_mut().zip(&node[choice].shares).for_each(|(taken, share)| *taken += share);
        }
        taken
    }

    fn value(&self, chosen: &[usize]) -> f64 {
        self.decisions.iter().zip(chosen).map(|(node, &choice)| node[choice].value).sum()
    }

    fn is_within(&self, chosen: &[usize]) -> bool {
        self.taken(chosen).iter().all(|&share| share <= 1.0)
    }

    /// For each decision the item of the largest worth; the first of equals.
    fn most(&self, worth: impl Fn(&Item) -> f64) -> Vec<usize> {
        let best = |node: &Vec<Item>| {
            (0..node.len()).rev().max_by(|&a, &b| worth(&node[a]).total_cmp(&worth(&node[b])))
        };
        self.decisions.iter().map(|node| best(node).expect("every decision can be made")).collect()
    }

    /// What takes least of all limits together.
    fn least(&self) -> Vec<usize> {
        self.most(|choice| -choice.shares.iter().sum::<f64>())
    }

    /// The best items found that all limits allow.
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

    /// Changes one decision at a time, the most worthwhile first, while the limits allow one.
    fn improved(&self, mut chosen: Vec<usize>) -> Vec<usize> {
        loop {
            let taken = self.taken(&chosen);
            let mut best: Option<(f64, usize, usize)> = None;
            for (at, node) in self.decisions.iter().enumerate() {
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
    use crate::{Discrete, Intensive, NasBench201, Stem};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 5, channels: 6, classes: 10, image: [3, 16, 16] };

    fn probabilities(space: &IntensiveSpace, rng: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
        (0..SKELETON.cells)
            .map(|_| (0..NODES * space.width()).map(|_| rng.random()).collect())
            .collect()
    }

    /// Probabilities of cells, `[NODES, K]` each, as a row for each node.
    fn rows(space: &IntensiveSpace, probabilities: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let rows = probabilities.iter().flat_map(|cell| cell.chunks_exact(space.width()));
        rows.map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn choices_add_up_to_what_the_graph_counts() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut pruned = 0;
        for _ in 0..20 {
            let space = IntensiveSpace::random(6, &mut rng).unwrap();
            let space = Intensive::new(space, SKELETON, 2).unwrap();
            let choices = space.sample(&mut rng);
            let counted = count(&space.build(&choices, 1, None).unwrap().graph);
            let (params, madds) =
                (ChoiceCosts::params(&space).unwrap(), ChoiceCosts::madds(&space).unwrap());
            let (summed, madds) = (params.of(&choices), madds.of(&choices));
            assert!(counted.params as f64 <= summed, "{} {summed}", counted.params);
            assert!(counted.madds as f64 <= madds);
            if counted.madds as f64 == madds {
                assert_eq!(counted.params as f64, summed);
            } else {
                pruned += 1;
            }
            let all = count(&space.build(&space.widest(), 1, None).unwrap().graph);
            assert_eq!(all.params as f64, params.of(&space.widest()));
        }
        assert!(pruned < 20, "nothing was compared exactly");
    }

    #[test]
    fn no_architecture_costs_more_than_the_largest() {
        let skeleton = Skeleton { cells: 3, ..SKELETON };
        let cells = NasBench201::new(skeleton).unwrap();
        let text = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|\
                    +|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|";
        let costliest = cells.build(&cells.parse(text).unwrap(), 1, None).unwrap();
        let madds = ChoiceCosts::madds(&cells).unwrap();
        assert_eq!(madds.largest(&cells), count(&costliest.graph).madds as f64);

        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let space = IntensiveSpace::random(6, &mut rng).unwrap();
        let space = Intensive::new(space, SKELETON, 2).unwrap();
        let params = ChoiceCosts::params(&space).unwrap();
        let largest = params.largest(&space);
        let drawn = (0..50).map(|_| params.of(&space.sample(&mut rng)));
        assert!(drawn.fold(0.0, f64::max) <= largest && largest < params.of(&space.widest()));
    }

    #[test]
    fn limits_hold_and_cost_as_little_probability_as_may_be() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        for _ in 0..10 {
            let space = IntensiveSpace::random(6, &mut rng).unwrap();
            let p = probabilities(&space, &mut rng);
            let free = space.discretize(&SKELETON, &p, 2).unwrap();
            let cost = count(&Discrete::build(&free, &SKELETON, 1, None).unwrap().graph);
            let sized = Intensive::new(space.clone(), SKELETON, 2).unwrap();
            let rows = rows(&space, &p);
            let least = Limit::madds(1, &sized).unwrap();
            let smallest = Knapsack::new(sized.decisions(), &rows, &[least]);
            let smallest = smallest.taken(&smallest.least())[0];
            for share in [0.6, 0.8, 1.0] {
                let (params, madds) =
                    ((cost.params as f64 * share) as u64, (cost.madds as f64 * share) as u64);
                let limits =
                    [Limit::params(params, &sized).unwrap(), Limit::madds(madds, &sized).unwrap()];
                if (madds as f64) < smallest {
                    continue;
                }
                let Ok(found) = most_probable_within(&sized, &rows, &limits) else { continue };
                let found = sized.cells_of(&found).unwrap();
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
                (0..12).map(|_| (0..3).map(|_| rng.random()).collect()).collect();
            let space = Intensive::new(space, skeleton, 1).unwrap();
            let all = ChoiceCosts::madds(&space).unwrap().of(&space.widest());
            let limit = Limit::madds((all * 0.45) as u64, &space).unwrap();
            let choices = Knapsack::new(space.decisions(), &p, &[limit]);
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
        let sized = Intensive::new(space.clone(), SKELETON, 2).unwrap();
        let limits = [Limit::params(10, &sized).unwrap()];
        let rows = rows(&space, &p);
        let message = most_probable_within(&sized, &rows, &limits).unwrap_err().to_string();
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
