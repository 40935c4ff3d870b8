//! The record of a search: `trials.jsonl`.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use adwp_models::{Choices, Space};
use adwp_train::{TrainError, read_text, write_atomic};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

/// The file, to be added to. Its first line says which search it belongs to; it is written with the
/// first trial, so that a search which fails before leaves nothing behind.
pub(crate) struct Record {
    path: PathBuf,
    /// The first line, as long as it is not written.
    first: Option<String>,
}

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
        let mut trials = Vec::new();
        let text = if resume && path.exists() { read_text(&path)? } else { String::new() };
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let mut lines = whole.lines();
        let first = match lines.next() {
            Some(first) => {
                check_origin(first, origin, &path)?;
                None
            }
            None => {
                let mut first = origin.clone();
                first.insert("schema".into(), SCHEMA.into());
                Some(format!("{}\n", Value::from(first)))
            }
        };
        let mut keys = HashSet::new();
        for (number, line) in lines.enumerate() {
            let damaged = |reason: String| TrainError::Damaged {
                path: path.clone(),
                reason: format!("line {}: {reason}", number + 2),
            };
            let line: Line = serde_json::from_str(line).map_err(|e| damaged(e.to_string()))?;
            let Line { key, text, score, inputs, seconds, .. } = line;
            let choices = space.parse(&text).map_err(|e| damaged(e.to_string()))?;
            let is_next = line.number == number
                && space.key(&choices) == key
                && inputs.len() == inputs_of(origin);
            if !is_next || !keys.insert(key.clone()) {
                return Err(damaged("it does not follow from the lines before".into()).into());
            }
            trials.push(Trial { number, choices, key, text, score, inputs, seconds });
        }
        if !whole.is_empty() && whole.len() + 1 < text.len() {
            write_atomic(&path, &text.as_bytes()[..whole.len() + 1])?;
        }
        Ok((Self { path, first }, trials))
    }

    /// Adds a trial.
    pub(crate) fn add(&mut self, trial: &Trial) -> Result<()> {
        let Trial { number, key, text, score, inputs, seconds, .. } = trial.clone();
        let line = Line { number, key, text, score, inputs, seconds };
        let line = serde_json::to_string(&line).expect("numbers and texts print as JSON") + "\n";
        if let Some(first) = self.first.take() {
            return Ok(write_atomic(&self.path, (first + &line).as_bytes())?);
        }
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        let fail = |source| TrainError::File { action: "write", path: self.path.clone(), source };
        Ok(written.map_err(fail)?)
    }
}

/// How many inputs every trial has.
fn inputs_of(origin: &Map<String, Value>) -> usize {
    origin.get(INPUTS).and_then(Value::as_array).map_or(0, Vec::len)
}

fn check_origin(line: &str, origin: &Map<String, Value>, path: &std::path::Path) -> Result<()> {
    let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
    let mut found: Map<String, Value> =
        serde_json::from_str(line).map_err(|e| damaged(e.to_string()))?;
    match found.remove("schema") {
        Some(schema) if schema == SCHEMA => {}
        schema => {
            let found = schema.unwrap_or_default();
            return Err(damaged(format!("its schema is {found}, expected {SCHEMA:?}")).into());
        }
    }
    let is_other = |key: &&String| found.get(*key) != origin.get(*key);
    match found.keys().chain(origin.keys()).find(is_other) {
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
