use adwp_models::cost::Cost;
use adwp_models::{Blueprint, Choices, Space};
use adwp_train::{Context, Finished};

use crate::Result;
use crate::scorer::{Scorer, ScorerEntry, Unit};

/// One of the counts of an architecture's network. Larger networks are mostly more accurate.
struct Size<'a> {
    entry: &'static ScorerEntry,
    space: &'a dyn Space,
    count: fn(&Cost) -> u64,
}

pub(crate) const PARAMS: ScorerEntry = ScorerEntry {
    name: "params",
    about: "number of parameters",
    label: "parameters",
    unit: Unit::plain("parameters"),
    is_seeded: false,
    is_of_accuracy: true,
    prepared_in: None,
    needs: &[],
    open: |ingredients| {
        let space = ingredients.space;
        Some(Box::new(Size { entry: &PARAMS, space, count: |cost| cost.params }))
    },
};

pub(crate) const MADDS: ScorerEntry = ScorerEntry {
    name: "madds",
    about: "number of multiply-adds",
    label: "multiply-adds",
    unit: Unit::plain("multiply-adds"),
    open: |ingredients| {
        let space = ingredients.space;
        Some(Box::new(Size { entry: &MADDS, space, count: |cost| cost.madds }))
    },
    ..PARAMS
};

impl Scorer for Size<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        let cost = Blueprint::of(self.space, choices)?.cost()?;
        Ok(Finished::Done((self.count)(&cost) as f64))
    }
}
