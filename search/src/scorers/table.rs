use adwp_models::{Choices, Space};
use adwp_train::{Context, Finished};

use crate::Result;
use crate::scorer::{Ingredient, Scorer, ScorerEntry, Unit};
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
    needs: &[Ingredient::Table],
    open: |ingredients| {
        Some(Box::new(Published { space: ingredients.space, column: ingredients.table? }))
    },
};

impl Published<'_> {
    fn value(&self, choices: &Choices) -> Result<f64> {
        self.column.value(&self.space.text(choices))
    }
}

impl Scorer for Published<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        Ok(Finished::Done(self.value(choices)?))
    }

    fn published(&self, choices: &Choices) -> Result<Option<f64>> {
        self.value(choices).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explore::{Exploration, StopRule, TRIALS, every_architecture, explore, origin};
    use crate::registry::strategy;
    use crate::scorer::Ingredients;
    use crate::strategy::Problem;
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
            scorer.score(choices, &mut Context::new(&run, &interrupt, &mut Quiet))
        };
        for (i, choices) in drawn[..8].iter().enumerate() {
            assert_eq!(score(choices).unwrap(), Finished::Done(10.0 * i as f64));
        }
        let published = |choices| (ENTRY.open)(&ingredients).unwrap().published(choices);
        assert_eq!(published(&drawn[7]).unwrap(), Some(70.0));
        let missing = score(&drawn[8]).unwrap_err().to_string();
        assert!(missing.contains("there is no row for |"), "{missing}");
    }

    #[test]
    fn a_record_that_the_table_contradicts_is_refused() {
        let named = find("nas-bench-201").unwrap();
        let space = (named.open)(named.published).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        let texts = every_architecture(&*space).unwrap().map(|choices| space.text(&choices));
        let rows: String = texts.enumerate().map(|(i, text)| format!("{text},{i}\n")).collect();
        std::fs::write(&path, format!("arch,val\n{rows}")).unwrap();
        let column = Table::read(&path).unwrap().column("val").unwrap();
        let ingredients = Ingredients { table: Some(&column), ..Ingredients::of(&*space) };
        let searched = |evaluations| {
            let random = strategy("random").unwrap();
            let problem = Problem::new(&*space, &[], Streams::new(1));
            let settings = random.settings(&Default::default()).unwrap();
            let exploration = Exploration {
                problem,
                strategy: &mut *(random.open)(&settings, problem).unwrap(),
                scorer: &mut *(ENTRY.open)(&ingredients).unwrap(),
                start: &[],
                stop: StopRule { evaluations: Some(evaluations), ..StopRule::default() },
                origin: origin(1, &settings, Some(&column)),
            };
            let (run, interrupt) = (RunDir::create(folder.path()).unwrap(), Interrupt::default());
            let quiet = &mut Quiet;
            let context = &mut Context { resume: true, ..Context::new(&run, &interrupt, quiet) };
            explore(exploration, context)
        };
        searched(3).unwrap();
        assert_eq!(searched(4).unwrap().done().unwrap().trials.len(), 4);
        let record = folder.path().join(TRIALS);
        let lines = std::fs::read_to_string(&record).unwrap();
        let lines: Vec<&str> = lines.lines().collect();
        let mut line: serde_json::Value = serde_json::from_str(lines[2]).unwrap();
        let value = line["score"].clone();
        line["score"] = 99_999.0.into();
        // Whoever edits a record takes it out.
        line.as_object_mut().unwrap().remove("checksum");
        let line = line.to_string();
        // Lines before one without a checksum have none either.
        let bare = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("checksum");
            line.to_string()
        };
        let changed = [&bare(lines[0]), &bare(lines[1]), &line, lines[3]].join("\n") + "\n";
        std::fs::write(&record, changed).unwrap();
        let said = searched(4).unwrap_err().to_string();
        for part in ["trials.jsonl", "line 3", "99999", value.to_string().trim_end_matches(".0")] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
