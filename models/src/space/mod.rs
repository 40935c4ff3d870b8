//! Search spaces: sets of architectures, each a list of decisions.

mod alike;
mod choices;
mod darts;
mod features;
mod intensive;
mod member;
mod named;
mod nas_bench_201;
mod nas_bench_macro;
mod registry;

use adwp_engine::Candidate;
use rand::{Rng, RngExt};

use crate::{Discrete, Genotype, Heads, Hypernetwork, HypernetworkOptions, ModelError, Skeleton};

pub use choices::{Choices, Decision};
pub use features::{FeatureValues, Features, Term};
pub use intensive::{Intensive, IntensiveCell, IntensiveSpace, stability};
pub use member::Member;
pub use named::{NamedSpace, TableRules};
pub use nas_bench_201::NasBench201;
pub use nas_bench_macro::NasBenchMacro;
pub use registry::{SPACES, find};

/// A set of architectures for one size of network. An architecture is a value, [`Choices`]; what
/// differs from space to space is which architectures are the same, how they are written and what
/// network they are.
pub trait Space: Send + Sync {
    /// Name of the space.
    fn name(&self) -> &'static str;

    /// The decisions of an architecture.
    fn decisions(&self) -> &[Decision];

    /// The decision, and which of its options, that a candidate of a network of the space stands
    /// for. Candidates of several cells may stand for one.
    ///
    /// # Panics
    /// When it is no candidate of the space.
    fn option(&self, candidate: Candidate) -> (usize, usize);

    /// How many values state `node` of a cell sums at most in an architecture of the space.
    fn terms(&self, node: usize) -> usize;

    /// A text that is equal for architectures whose networks compute the same.
    fn key(&self, choices: &Choices) -> String;

    /// The text that people and tables know an architecture by.
    fn text(&self, choices: &Choices) -> String;

    /// The architecture of a [`Self::text`].
    ///
    /// # Errors
    /// When the text is none of an architecture of this space.
    fn parse(&self, text: &str) -> Result<Choices, ModelError>;

    /// Sizes of its networks.
    fn skeleton(&self) -> Skeleton;

    /// The cells of an architecture, where they are of the DARTS space.
    ///
    /// # Errors
    /// When the choices are not of this space.
    fn genotype(&self, choices: &Choices) -> Result<Option<Genotype>, ModelError>;

    /// The architecture of cells of the DARTS space.
    ///
    /// # Errors
    /// When they are not of this space.
    fn choices_of(&self, genotype: &Genotype) -> Result<Choices, ModelError> {
        let cells = genotype.cells.len();
        let text = format!("the genotype of {cells} cells is not of the space {}", self.name());
        Err(ModelError::Invalid(text))
    }

    /// The network of an architecture for a batch size: for training with the heads given, else for
    /// inference. The architecture may keep more options than one of the space does: its nodes then
    /// sum them all.
    ///
    /// # Errors
    /// When the choices are not of this space.
    fn build(
        &self,
        choices: &Choices,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Discrete, ModelError>;

    /// The same space for networks of another number of cells.
    ///
    /// # Errors
    /// When the space has no networks with that many cells.
    fn with_cells(&self, cells: usize) -> Result<Box<dyn Space>, ModelError>;

    /// The HyperNetwork of the space for a batch size (section 3.2.1): a mixture of options, whose
    /// weights are predicted.
    ///
    /// Of `kept` it has the options that are kept, of [`Self::widest`] all. With fewer it computes
    /// what the whole does where the others have a probability of 0, from variables of the same
    /// names, for less.
    ///
    /// # Errors
    /// When the engine refuses the graph.
    fn hypernetwork(
        &self,
        kept: &Choices,
        batch: usize,
        options: HypernetworkOptions,
    ) -> Result<Hypernetwork, ModelError>;

    /// The architecture that keeps every option: its network has all parameters of all others,
    /// under the same names.
    fn widest(&self) -> Choices {
        Choices(self.decisions().iter().map(|decision| (0..decision.options).collect()).collect())
    }

    /// Checks that an architecture is one of this space.
    ///
    /// # Errors
    /// When it has another number of decisions, or one keeps other options than it may.
    fn validate(&self, choices: &Choices) -> Result<(), ModelError> {
        choices.check(self.decisions())
    }

    /// An architecture drawn evenly.
    fn sample(&self, rng: &mut dyn Rng) -> Choices {
        Choices(self.decisions().iter().map(|decision| decision.sample(rng)).collect())
    }

    /// Another architecture, which differs in one option of one decision, both drawn evenly.
    ///
    /// # Panics
    /// When no decision has an option to spare.
    fn mutate(&self, choices: &Choices, rng: &mut dyn Rng) -> Choices {
        let free: Vec<usize> = choices::open(self.decisions()).collect();
        let place = free[rng.random_range(0..free.len())];
        choices.exchanged(place, self.decisions()[place], rng)
    }

    /// An architecture that has each decision from one of two others, drawn evenly.
    fn cross_over(&self, a: &Choices, b: &Choices, rng: &mut dyn Rng) -> Choices {
        let either = |(a, b): (&Vec<usize>, &Vec<usize>)| if rng.random() { a } else { b }.clone();
        Choices(a.0.iter().zip(&b.0).map(either).collect())
    }

    /// All architectures that differ in one option of one decision.
    fn neighbours(&self, choices: &Choices) -> Vec<Choices> {
        let changed = |place: usize| choices.all_exchanged(place, self.decisions()[place]);
        choices::open(self.decisions()).flat_map(changed).collect()
    }

    /// The features by which predictors see architectures. The first group is the options; spaces
    /// add groups that are equal for architectures that compute the same.
    fn features(&self) -> Features {
        Features::of(self.decisions())
    }

    /// An architecture as numbers: for each decision one value an option, 1 where it
    /// is kept and else 0.
    fn encode(&self, choices: &Choices) -> Vec<f32> {
        let row = |(decision, kept): (&Decision, &Vec<usize>)| -> Vec<f32> {
            let value = |option| f32::from(u8::from(kept.contains(&option)));
            (0..decision.options).map(value).collect()
        };
        self.decisions().iter().zip(&choices.0).flat_map(row).collect()
    }

    /// The architecture nearest to numbers as [`Self::encode`] gives them: each decision keeps the
    /// options of the largest values, the first of equals.
    ///
    /// # Panics
    /// When there are not as many values as options.
    fn decode(&self, values: &[f32]) -> Choices {
        let mut rest = values;
        let kept = self.decisions().iter().map(|decision| {
            let (row, later) = rest.split_at(decision.options);
            rest = later;
            decision.largest(row)
        });
        let choices = Choices(kept.collect());
        assert!(rest.is_empty(), "as many values as options");
        choices
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::collections::HashSet;

    /// What the candidates of the widest network stand for, each as its decision, the option of it,
    /// and the name of its operation.
    pub(crate) fn candidates_of_the_widest(
        space: &dyn Space,
    ) -> HashSet<(usize, usize, &'static str)> {
        let graph = space.build(&space.widest(), 1, None).unwrap().graph;
        let candidates = graph.nodes().filter_map(|(_, node)| node.owner.candidate());
        let named = candidates.map(|candidate| {
            let (decision, option) = space.option(candidate);
            (decision, option, candidate.operation)
        });
        named.collect()
    }

    /// Checks that the widest network has every parameter of other networks, in the same shape.
    pub(crate) fn check_parameters_of_the_widest(space: &dyn Space) {
        let graph = |choices: &Choices| space.build(choices, 2, None).unwrap().graph;
        let widest = graph(&space.widest());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..20 {
            let one = graph(&space.sample(&mut rng));
            for id in one.parameters() {
                let there = widest.find(&one[id].name).unwrap();
                assert_eq!(widest[there].shape, one[id].shape);
            }
        }
    }
}
