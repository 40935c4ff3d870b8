use adwp_models::{Choices, Space};
use adwp_train::{Context, Finished};

use crate::Result;
use crate::scorer::{Scorer, ScorerEntry, Unit};
use crate::table::Column;

/// The value that a published table has for an architecture.
struct Published<'a> {
    space: &'a dyn Space,
    column: &'a Column,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "table",
    about: "the value in a column of a published table",
    label: "published value",
    unit: Unit::plain("published value"),
    is_seeded: false,
    is_of_accuracy: true,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorer::Ingredients;
    use crate::table::Table;
    use adwp_models::space::find;
    use adwp_train::{Interrupt, Quiet, RunDir, Streams};

    #[test]
    fn an_architecture_has_the_value_of_its_text() {
        let named = find("nas-bench-201").unwrap();
        let space = (named.open)(named.published).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let drawn: Vec<Choices> =
            (0..9).map(|i| space.sample(&mut Streams::new(1).at("table", i, 0))).collect();
        let rows: String = drawn[..8]
            .iter()
            .enumerate()
            .map(|(i, choices)| format!("{},{}\n", space.text(choices), 10 * i))
            .collect();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, format!("arch,val\n{rows}")).unwrap();
        let column = Table::read(&path).unwrap().column("val").unwrap();
        let ingredients = Ingredients { table: Some(&column), ..Ingredients::of(&*space) };
        let mut scorer = (ENTRY.open)(&ingredients).unwrap();
        let mut score = |choices| {
            let (run, interrupt) = (RunDir::create(folder.path()).unwrap(), Interrupt::default());
            let mut context = Context {
                run: &run,
                resume: false,
                held_bytes: 0,
                check_memory: true,
                interrupt: &interrupt,
                reporter: &mut Quiet,
            };
            scorer.score(choices, &mut context)
        };
        for (i, choices) in drawn[..8].iter().enumerate() {
            assert_eq!(score(choices).unwrap(), Finished::Done(10.0 * i as f64));
        }
        let missing = score(&drawn[8]).unwrap_err().to_string();
        assert!(missing.contains("there is no row for |"), "{missing}");
    }
}
