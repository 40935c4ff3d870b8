//! What a search came to, part by part: whether what it learned from scores led to better
//! architectures than chance.

use std::path::Path;

use adwp_base::read_json_lines;
use adwp_models::Space;
use adwp_train::TrainError;
use serde_json::{Map, Value};

use crate::registry;
use crate::strategy::{StrategyEntry, StrategySettings};
use crate::trials::{INPUTS, Record, Trial};
use crate::{Result, SearchError};

/// A search that is over, or has begun, as its record tells it.
pub struct History {
    /// The space that it searched.
    pub space: Box<dyn Space>,
    /// What chose the architectures.
    pub strategy: String,
    /// What scored them.
    pub scorer: String,
    /// Where each of the trials came from.
    pub origins: Origins,
    /// Whether half of the first ones are those of the highest inputs.
    pub has_inputs: bool,
    /// All trials, in order.
    pub trials: Vec<Trial>,
}

/// What the record of a search is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// What chooses the architectures.
    pub strategy: String,
    /// The space that they are of.
    pub space: String,
}

impl Searched {
    /// Reads the first line of a record.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] for what is none.
    pub fn read(path: &Path) -> Result<Self> {
        let origin = origin(path)?;
        let text = |key: &str| {
            let value = origin.get(key).and_then(Value::as_str).map(str::to_owned);
            let reason = || format!("its first line has no {key}");
            value.ok_or_else(|| TrainError::Damaged { path: path.to_owned(), reason: reason() })
        };
        Ok(Self { strategy: text("strategy")?, space: text("space")? })
    }
}

/// How many of the first trials were not chosen by the scores of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origins {
    /// Given by the user; they come first.
    pub given: usize,
    /// Scored after those, before scores decided what was next; all where they never do.
    pub drawn: usize,
}

/// The scores of the trials of one origin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Where they come from.
    pub origin: Origin,
    /// How many there are.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; none of a single one.
    pub sd: Option<f64>,
    /// The highest.
    pub best: f64,
}

/// Where a trial came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the user.
    Given,
    /// From chance.
    Drawn,
    /// From the scores of earlier ones.
    Chosen,
}

impl Origins {
    /// Those of a search by a strategy, whose first architectures may have been given.
    pub fn of(strategy: &StrategyEntry, settings: &StrategySettings, given: usize) -> Self {
        let first = strategy.first.map_or(usize::MAX, |name| settings.number(name) as usize);
        Self { given, drawn: first.saturating_sub(given) }
    }

    /// The parts of these scores, in order; those of no trial are left out.
    pub fn parts(self, scores: &[f64]) -> Vec<Part> {
        let given = self.given.min(scores.len());
        let drawn = given.saturating_add(self.drawn).min(scores.len());
        let parts = [
            (Origin::Given, &scores[..given]),
            (Origin::Drawn, &scores[given..drawn]),
            (Origin::Chosen, &scores[drawn..]),
        ];
        parts.into_iter().filter_map(|(origin, scores)| Part::of(origin, scores)).collect()
    }

    /// How much higher the scores are that were chosen by earlier ones than those that were drawn,
    /// on average, with the standard error; none without two of both.
    pub fn gain(self, scores: &[f64]) -> Option<(f64, f64)> {
        let parts = self.parts(scores);
        let of = |origin| parts.iter().find(|part| part.origin == origin);
        let (chosen, drawn) = (of(Origin::Chosen)?, of(Origin::Drawn)?);
        let variance = |part: &Part| Some(part.sd?.powi(2) / part.count as f64);
        Some((chosen.mean - drawn.mean, (variance(chosen)? + variance(drawn)?).sqrt()))
    }
}

impl Part {
    fn of(origin: Origin, scores: &[f64]) -> Option<Self> {
        let count = scores.len();
        let best = scores.iter().copied().reduce(f64::max)?;
        let mean = scores.iter().sum::<f64>() / count as f64;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        let sd = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        Some(Self { origin, count, mean, sd, best })
    }
}

impl History {
    /// Reads the record of a search, of the space that `open` gives for its name.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] for what is none, and those of `open`.
    pub fn read<E: From<SearchError>>(
        path: &Path,
        open: impl FnOnce(&str) -> std::result::Result<Box<dyn Space>, E>,
    ) -> std::result::Result<Self, E> {
        let origin = origin(path)?;
        let text = |key: &str| origin.get(key).and_then(Value::as_str).unwrap_or_default();
        let space = open(text("space"))?;
        let (_, trials) = Record::open(path.to_owned(), true, &origin, &*space)?;
        let entry = registry::strategy(text("strategy"))?;
        let given = origin.get("start").and_then(Value::as_array).map_or(0, Vec::len);
        let settings = origin.get("settings").and_then(Value::as_object);
        let number = |name: &'static str| Some((name, settings?.get(name)?.as_f64()?));
        let settings = entry.settings(&entry.first.into_iter().filter_map(number).collect())?;
        Ok(Self {
            space,
            strategy: entry.name.to_owned(),
            scorer: text("scorer").to_owned(),
            origins: Origins::of(entry, &settings, given),
            has_inputs: origin.contains_key(INPUTS),
            trials,
        })
    }

    /// The scores, in the order of the trials.
    pub fn scores(&self) -> Vec<f64> {
        self.trials.iter().map(|trial| trial.score).collect()
    }
}

/// What the first line of a record says, without its schema.
fn origin(path: &Path) -> Result<Map<String, Value>> {
    let lines = read_json_lines(path).map_err(TrainError::from)?.lines;
    let Some(Value::Object(mut origin)) = lines.into_iter().next().map(|line| line.value) else {
        let reason = "its first line is no object".to_owned();
        return Err(TrainError::Damaged { path: path.to_owned(), reason }.into());
    };
    origin.remove("schema");
    Ok(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_is_of_is_in_its_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trials.jsonl");
        let line = r#"{"schema":"adwp/trials/1","space":"darts","strategy":"local"}"#;
        std::fs::write(&path, format!("{line}\n{{")).unwrap();
        let expected = Searched { strategy: "local".into(), space: "darts".into() };
        assert_eq!(Searched::read(&path).unwrap(), expected);
        for (text, culprit) in [("", "first line"), ("[]\n", "first line"), ("{}", "no strategy")] {
            std::fs::write(&path, text).unwrap();
            let said = Searched::read(&path).unwrap_err().to_string();
            assert!(said.contains("trials.jsonl") && said.contains(culprit), "{said}");
        }
    }

    #[test]
    fn the_parts_of_a_search_are_told_apart() {
        let prednas = registry::strategy("prednas").unwrap();
        let settings = prednas.settings(&[("initial", 5.0)].into_iter().collect()).unwrap();
        let origins = Origins::of(prednas, &settings, 2);
        assert_eq!(origins, Origins { given: 2, drawn: 3 });
        let scores = [9.0, 7.0, 1.0, 2.0, 3.0, 4.0, 6.0];
        let parts = origins.parts(&scores);
        let told: Vec<_> =
            parts.iter().map(|part| (part.origin, part.count, part.mean, part.best)).collect();
        let expected = [
            (Origin::Given, 2, 8.0, 9.0),
            (Origin::Drawn, 3, 2.0, 3.0),
            (Origin::Chosen, 2, 5.0, 6.0),
        ];
        assert_eq!(told, expected);
        assert_eq!((parts[1].sd, parts[2].sd), (Some(1.0), Some(2f64.sqrt())));
        // sqrt(1/3 + 2/2)
        let (gain, error) = origins.gain(&scores).unwrap();
        assert_eq!(gain, 3.0);
        assert!((error - (4.0f64 / 3.0).sqrt()).abs() < 1e-12, "{error}");
        assert_eq!(origins.gain(&scores[..6]), None, "one alone has no spread");
        assert_eq!(origins.parts(&scores[..1]).len(), 1);
        assert!(origins.parts(&[]).is_empty());

        let random = registry::strategy("random").unwrap();
        let origins = Origins::of(random, &random.settings(&Default::default()).unwrap(), 0);
        assert_eq!(origins.parts(&scores).len(), 1);
        assert_eq!(origins.gain(&scores), None);
    }
}
