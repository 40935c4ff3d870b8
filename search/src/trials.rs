//! The record of a search: `trials.jsonl`.

use std::collections::HashSet;
use std::path::PathBuf;

use adwp_models::{Choices, Space};
use adwp_train::TrainError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::journal::Journal;
use crate::{Result, SearchError};

const SCHEMA: &str = "adwp/trials/1";

/// Key of the first line: the names of the inputs, where there are any.
pub(crate) const INPUTS: &str = "inputs";

/// An architecture that was scored.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Position in the search, from 0.
    pub number: usize,
    /// The architecture.
    pub choices: Choices,
    /// Equal for architectures that compute the same.
    pub key: String,
    /// What the space writes it as.
    pub text: String,
    /// Larger is better.
    pub score: f64,
    /// Its [`Inputs`](crate::Inputs), where the search has any.
    pub inputs: Vec<f64>,
    /// How long scoring it took.
    pub seconds: f64,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: usize,
    key: String,
    text: String,
    score: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<f64>,
    seconds: f64,
}

/// The file, to be added to. Its first line says which search it belongs to.
pub(crate) struct Record(Journal);

impl Record {
    /// Begins a record, or reads the one that is there when `resume` is set. A last line that was
    /// not written to its end is dropped.
    ///
    /// # Errors
    /// [`SearchError::Input`] when the record is that of another search, [`TrainError::Damaged`]
    /// when it is none.
    pub(crate) fn open(
        path: PathBuf,
        resume: bool,
        origin: &Map<String, Value>,
        space: &dyn Space,
    ) -> Result<(Self, Vec<Trial>)> {
        let mut first = origin.clone();
        first.insert("schema".into(), SCHEMA.into());
        let check = |found: &Value| check_origin(found, origin, &path);
        let (journal, lines) = Journal::open::<Line>(path.clone(), resume, first.into(), check)?;
        let mut keys = HashSet::new();
        let mut trials = Vec::with_capacity(lines.len());
        for (number, line) in lines.into_iter().enumerate() {
            let Line { key, text, score, inputs, seconds, .. } = line;
            let choices =
                space.parse(&text).map_err(|e| journal.damaged(number, &e.to_string()))?;
            let is_next = line.number == number
                && space.key(&choices) == key
                && inputs.len() == inputs_of(origin);
            if !is_next || !keys.insert(key.clone()) {
                let reason = "it does not follow from the lines before";
                return Err(journal.damaged(number, reason).into());
            }
            trials.push(Trial { number, choices, key, text, score, inputs, seconds });
        }
        Ok((Self(journal), trials))
    }

    /// Checks a trial against the score that is known of its architecture without computing it.
    ///
    /// # Errors
    /// [`TrainError::Damaged`] when that is another one.
    pub(crate) fn check(&self, trial: &Trial, known: Option<f64>) -> Result<()> {
        match known {
            Some(known) if known != trial.score => {
                let Trial { number, text, score, .. } = trial;
                let reason =
                    format!("the score of {text} is {score} there, and {known} in the table");
                Err(self.0.damaged(*number, &reason).into())
            }
            _ => Ok(()),
        }
    }

    /// Adds a trial.
    pub(crate) fn add(&mut self, trial: &Trial) -> Result<()> {
        let Trial { number, key, text, score, inputs, seconds, .. } = trial.clone();
        self.0.add(&Line { number, key, text, score, inputs, seconds })
    }
}

/// How many inputs every trial has.
fn inputs_of(origin: &Map<String, Value>) -> usize {
    origin.get(INPUTS).and_then(Value::as_array).map_or(0, Vec::len)
}

fn check_origin(line: &Value, origin: &Map<String, Value>, path: &std::path::Path) -> Result<()> {
    let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
    let mut found = line.as_object().cloned().unwrap_or_default();
    match found.remove("schema") {
        Some(schema) if schema == SCHEMA => {}
        schema => {
            let found = schema.unwrap_or_default();
            return Err(damaged(format!("its schema is {found}, expected {SCHEMA:?}")).into());
        }
    }
    let is_other = |key: &&String| found.get(*key) != origin.get(*key);
    // What a user has said comes before what follows from it, such as settings of a strategy.
    let first = ["space", "strategy", "scorer"].map(str::to_owned);
    match first.iter().chain(found.keys()).chain(origin.keys()).find(is_other) {
        None => Ok(()),
        Some(key) => {
            let value = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
            let (there, here) = (value(&found), value(origin));
            Err(SearchError::Input(format!(
                "{} is the record of another search: {key} is {there} there and {here} here",
                path.display()
            )))
        }
    }
}
