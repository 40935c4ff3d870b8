use adwp_models::{Choices, Space};
use adwp_train::{Context, Finished};

use crate::Result;
use crate::scorer::{Scorer, ScorerEntry};
use crate::table::Column;

/// The value that a published table has for an architecture.
struct Published<'a> {
    space: &'a dyn Space,
    column: &'a Column,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "table",
    about: "the value in a column of a published table",
    is_seeded: false,
    prepared_in: None,
    needs: "a table",
    open: |ingredients| {
        Some(Box::new(Published { space: ingredients.space, column: ingredients.table? }))
    },
};

impl Scorer for Published<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        Ok(Finished::Done(self.column.value(&self.space.text(choices))?))
    }
}
