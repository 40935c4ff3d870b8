use rand::seq::index::sample;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::ModelError;

/// A decision of an architecture: which of its options are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Number of options, at least 1.
    pub options: usize,
    /// How many of them are kept, at least 1.
    pub keep: usize,
}

/// An architecture of a space as a value: for each decision the options that are kept, ascending.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Choices(pub Vec<Vec<usize>>);

impl Decision {
    /// Options drawn evenly.
    pub(crate) fn sample(self, rng: &mut dyn Rng) -> Vec<usize> {
        let mut kept = sample(rng, self.options, self.keep).into_vec();
        kept.sort_unstable();
        kept
    }

    /// The options of the largest values, the first of equals.
    pub(crate) fn largest(self, values: &[f32]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.options).collect();
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        order.truncate(self.keep);
        order.sort_unstable();
        order
    }
}

/// The decisions that can be made otherwise, by their places.
pub(crate) fn open(decisions: &[Decision]) -> impl Iterator<Item = usize> {
    let spares = |(_, decision): &(usize, &Decision)| decision.keep < decision.options;
    decisions.iter().enumerate().filter(spares).map(|(place, _)| place)
}

impl Choices {
    /// Checks that every decision keeps as many of its options as it should, each once.
    pub(crate) fn check(&self, decisions: &[Decision]) -> Result<(), ModelError> {
        let fail = |message: String| Err(ModelError::Invalid(message));
        if self.0.len() != decisions.len() {
            let (found, expected) = (self.0.len(), decisions.len());
            return fail(format!("an architecture of {found} decisions, expected {expected}"));
        }
        for (place, (kept, decision)) in self.0.iter().zip(decisions).enumerate() {
            let Decision { options, keep } = *decision;
            let ascends = kept.is_sorted_by(|a, b| a < b);
            if kept.len() != keep || !ascends || kept.last().is_some_and(|&last| last >= options) {
                return fail(format!(
                    "decision {place} keeps the options {kept:?}, expected {keep} of {options}, \
                     ascending"
                ));
            }
        }
        Ok(())
    }

    /// The same but for one option of a decision, which another takes the place of.
    pub(crate) fn exchanged(&self, place: usize, decision: Decision, rng: &mut dyn Rng) -> Self {
        let others = self.others(place, decision);
        let out = rng.random_range(0..decision.keep);
        self.with(place, out, others[rng.random_range(0..others.len())])
    }

    /// Every [`Self::exchanged`].
    pub(crate) fn all_exchanged(&self, place: usize, decision: Decision) -> Vec<Self> {
        let others = self.others(place, decision);
        let exchanged = |out| others.iter().map(move |&option| self.with(place, out, option));
        (0..decision.keep).flat_map(exchanged).collect()
    }

    /// The options that a decision does not keep.
    fn others(&self, place: usize, decision: Decision) -> Vec<usize> {
        (0..decision.options).filter(|option| !self.0[place].contains(option)).collect()
    }

    fn with(&self, place: usize, out: usize, option: usize) -> Self {
        let mut choices = self.clone();
        let kept = &mut choices.0[place];
        kept[out] = option;
        kept.sort_unstable();
        choices
    }
}
