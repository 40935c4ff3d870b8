use super::choices::{Choices, Decision};

/// What predictors see of an architecture: groups of features, each a function of the shares, from
/// 0 to 1, to which all options are kept. An architecture keeps each option or does not; in between
/// the functions are smooth, so that gradient ascent on a predictor is possible (PredNAS).
///
/// A function that multiplies no option with itself or with another of the same decision is linear
/// in each decision: its value between architectures is then the mean over architectures that are
/// drawn with these shares.
#[derive(Clone, Debug)]
pub struct Features {
    /// How many values each decision has, one an option.
    options: Vec<usize>,
    /// In an order in which each is computed from earlier ones; the options come first.
    nodes: Vec<Node>,
    groups: Vec<Vec<Term>>,
}

/// A number that is computed from the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(usize);

#[derive(Clone, Copy, Debug)]
enum Node {
    Option,
    Constant(f64),
    /// `a + factor * b`
    Sum {
        a: Term,
        factor: f64,
        b: Term,
    },
    Product(Term, Term),
}

/// The features of some shares.
#[derive(Clone, Debug)]
pub struct FeatureValues {
    nodes: Vec<f64>,
}

impl Features {
    /// The first group alone: the options of all decisions.
    pub fn of(decisions: &[Decision]) -> Self {
        let options: Vec<usize> = decisions.iter().map(|decision| decision.options).collect();
        let count = options.iter().sum();
        Self {
            options,
            nodes: vec![Node::Option; count],
            groups: vec![(0..count).map(Term).collect()],
        }
    }

    /// Adds a group.
    pub fn group(&mut self, terms: Vec<Term>) {
        self.groups.push(terms);
    }

    /// How much of an option is kept.
    ///
    /// # Panics
    /// When there is no such option.
    pub fn option(&self, decision: usize, option: usize) -> Term {
        assert!(option < self.options[decision], "option {option} of decision {decision}");
        Term(self.options[..decision].iter().sum::<usize>() + option)
    }

    /// A number that is always the same.
    pub fn constant(&mut self, value: f64) -> Term {
        self.add(Node::Constant(value))
    }

    /// 1 - `a`.
    pub fn not(&mut self, a: Term) -> Term {
        let one = self.constant(1.0);
        self.add(Node::Sum { a: one, factor: -1.0, b: a })
    }

    /// The sum of all; 0 of none.
    pub fn sum(&mut self, terms: &[Term]) -> Term {
        let first = terms.first().copied().unwrap_or_else(|| self.constant(0.0));
        let rest = terms.iter().skip(1);
        rest.fold(first, |a, &b| self.add(Node::Sum { a, factor: 1.0, b }))
    }

    /// The product of all; 1 of none.
    pub fn product(&mut self, terms: &[Term]) -> Term {
        let first = terms.first().copied().unwrap_or_else(|| self.constant(1.0));
        let rest = terms.iter().skip(1);
        rest.fold(first, |a, &b| self.add(Node::Product(a, b)))
    }

    /// Whether any is there: 1 - (1 - a)(1 - b)…
    pub fn any(&mut self, terms: &[Term]) -> Term {
        let absent: Vec<Term> = terms.iter().map(|&term| self.not(term)).collect();
        let none = self.product(&absent);
        self.not(none)
    }

    fn add(&mut self, node: Node) -> Term {
        self.nodes.push(node);
        Term(self.nodes.len() - 1)
    }

    /// How many options all decisions have.
    pub fn options(&self) -> usize {
        self.options.iter().sum()
    }

    /// How many features each group has.
    pub fn groups(&self) -> impl Iterator<Item = usize> {
        self.groups.iter().map(Vec::len)
    }

    /// The shares of an architecture: 1 for what it keeps, else 0.
    pub fn shares(&self, choices: &Choices) -> Vec<f64> {
        let mut shares = vec![0.0; self.options()];
        for (decision, kept) in choices.0.iter().enumerate() {
            for &option in kept {
                shares[self.option(decision, option).0] = 1.0;
            }
        }
        shares
    }

    /// Computes everything for shares of all options.
    ///
    /// # Panics
    /// When there is not one share for each option.
    pub fn compute(&self, shares: &[f64]) -> FeatureValues {
        assert_eq!(shares.len(), self.options(), "one share for each option");
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for (i, node) in self.nodes.iter().enumerate() {
            nodes.push(match *node {
                Node::Option => shares[i],
                Node::Constant(value) => value,
                Node::Sum { a, factor, b } => nodes[a.0] + factor * nodes[b.0],
                Node::Product(a, b) => nodes[a.0] * nodes[b.0],
            });
        }
        FeatureValues { nodes }
    }

    /// The features, group after group.
    pub fn values(&self, of: &FeatureValues) -> Vec<f64> {
        self.groups.iter().flatten().map(|term| of.nodes[term.0]).collect()
    }

    /// The gradient with respect to the shares of what has this `gradient` with respect to the
    /// features.
    ///
    /// # Panics
    /// When the gradient is not one number for each feature.
    pub fn pull_back(&self, of: &FeatureValues, gradient: &[f64]) -> Vec<f64> {
        let terms = self.groups.iter().flatten();
        assert_eq!(terms.clone().count(), gradient.len(), "one number for each feature");
        let mut gradients = vec![0.0; self.nodes.len()];
        terms.zip(gradient).for_each(|(term, gradient)| gradients[term.0] += gradient);
        for (i, node) in self.nodes.iter().enumerate().rev() {
            let gradient = gradients[i];
            match *node {
                Node::Option | Node::Constant(_) => {}
                Node::Sum { a, factor, b } => {
                    gradients[a.0] += gradient;
                    gradients[b.0] += factor * gradient;
                }
                Node::Product(a, b) => {
                    gradients[a.0] += gradient * of.nodes[b.0];
                    gradients[b.0] += gradient * of.nodes[a.0];
                }
            }
        }
        gradients.truncate(self.options());
        gradients
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Space;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The features of an architecture.
    pub(crate) fn features(space: &dyn Space, choices: &Choices) -> Vec<f64> {
        let features = space.features();
        features.values(&features.compute(&features.shares(choices)))
    }

    /// Checks gradients by differences, and that between two architectures that differ in one
    /// decision each of the first `linear` features is on the line between theirs.
    pub(crate) fn check(space: &dyn Space, linear: usize) {
        let (features, mut rng) = (space.features(), ChaCha8Rng::seed_from_u64(1));
        let shares: Vec<f64> = (0..features.options()).map(|_| rng.random()).collect();
        let weights: Vec<f64> =
            (0..features.groups().sum()).map(|_| rng.random::<f64>() - 0.5).collect();
        let weighted = |shares: &[f64]| -> f64 {
            let values = features.values(&features.compute(shares));
            values.iter().zip(&weights).map(|(value, weight)| value * weight).sum()
        };
        let gradient = features.pull_back(&features.compute(&shares), &weights);
        for i in 0..shares.len() {
            let at = |step: f64| {
                let mut shares = shares.clone();
                shares[i] += step;
                weighted(&shares)
            };
            let difference = (at(1e-4) - at(-1e-4)) / 2e-4;
            assert!((gradient[i] - difference).abs() < 1e-6, "{} {difference}", gradient[i]);
        }
        for _ in 0..20 {
            let a = space.sample(&mut rng);
            let b = space.mutate(&a, &mut rng);
            let between: Vec<f64> = features
                .shares(&a)
                .iter()
                .zip(features.shares(&b))
                .map(|(a, b)| 0.25 * a + 0.75 * b)
                .collect();
            let between = features.values(&features.compute(&between));
            let of = [self::features(space, &a), self::features(space, &b)];
            for (i, value) in between.iter().enumerate().take(linear) {
                let line = 0.25 * of[0][i] + 0.75 * of[1][i];
                assert!((value - line).abs() < 1e-12, "feature {i}: {value} {line}");
            }
        }
    }

    #[test]
    fn terms_are_computed_and_followed_back() {
        let decisions = [Decision { options: 2, keep: 1 }; 2];
        let mut features = Features::of(&decisions);
        let [a, b] = [features.option(0, 1), features.option(1, 0)];
        let (any, both) = (features.any(&[a, b]), features.product(&[a, b]));
        let (sum, empty) = (features.sum(&[a, b, b]), features.sum(&[]));
        features.group(vec![any, both, sum, empty]);
        let of = features.compute(&[0.5, 0.5, 0.25, 0.75]);
        assert_eq!(features.values(&of)[4..], [0.625, 0.125, 1.0, 0.0]);
        assert_eq!(features.groups().collect::<Vec<_>>(), [4, 4]);
        let gradient = |feature: usize| {
            let mut gradient = vec![0.0; 8];
            gradient[feature] = 1.0;
            features.pull_back(&of, &gradient)
        };
        assert_eq!(gradient(0), [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(gradient(4), [0.0, 0.75, 0.5, 0.0]);
        assert_eq!(gradient(5), [0.0, 0.25, 0.5, 0.0]);
        assert_eq!(gradient(6), [0.0, 1.0, 2.0, 0.0]);
        assert_eq!(features.shares(&Choices(vec![vec![1], vec![0]])), [0.0, 1.0, 1.0, 0.0]);
    }
}
