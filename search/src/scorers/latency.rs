use adwp_models::{Blueprint, Choices, Space};
use adwp_train::{Context, Finished};

use crate::Result;
use crate::scorer::{Ingredient, Latency, Scorer, ScorerEntry, Unit};

/// The predicted latency in ms, negated.
struct Speed<'a> {
    space: &'a dyn Space,
    latency: &'a Latency<'a>,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "latency",
    about: "a low latency, predicted from a table of operators",
    label: "predicted latency",
    unit: Unit::plain("-ms, predicted"),
    is_seeded: false,
    is_of_accuracy: false,
    prepared_in: None,
    needs: &[Ingredient::Latency],
    open: |ingredients| {
        Some(Box::new(Speed { space: ingredients.space, latency: ingredients.latency? }))
    },
};

impl Scorer for Speed<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        Ok(Finished::Done(-(self.latency)(&Blueprint::of(self.space, choices)?)?))
    }
}
