//! The files in which finished work is kept. Each is written whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use adwp_train::{TrainError, read_json, read_text, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Result;

const SCORES_SCHEMA: &str = "adwp/scores/1";

/// Scores of the architectures so far, in order.
pub(crate) struct Scores {
    path: PathBuf,
    file: ScoresFile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoresFile {
    schema: String,
    scores: Vec<f64>,
}

impl Scores {
    /// Those on disk; none where there is no file.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let file = match path.exists() {
            true => read_json(&path, SCORES_SCHEMA)?,
            false => ScoresFile { schema: SCORES_SCHEMA.to_owned(), scores: Vec::new() },
        };
        Ok(Self { path, file })
    }

    pub(crate) fn len(&self) -> usize {
        self.file.scores.len()
    }

    /// Adds the score of the next architecture.
    pub(crate) fn push(&mut self, score: f64) -> Result<()> {
        self.file.scores.push(score);
        write(&self.path, &self.file)
    }

    /// The scores of the first `count` architectures.
    pub(crate) fn first(mut self, count: usize) -> Vec<f64> {
        self.file.scores.truncate(count);
        self.file.scores
    }
}

/// Seconds of each kind of work; apart from the results, which are the same however long they take.
pub(crate) fn add_time(path: &Path, work: &str, seconds: f64) -> Result<()> {
    let mut times: BTreeMap<String, f64> = read(path)?.unwrap_or_default();
    *times.entry(work.to_owned()).or_default() += seconds;
    write(path, &times)
}

/// Reads a JSON file; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    let damaged =
        |e: serde_json::Error| TrainError::Damaged { path: path.to_owned(), reason: e.to_string() };
    Ok(Some(serde_json::from_str(&read_text(path)?).map_err(damaged)?))
}

/// Writes a JSON file.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("numbers and names print as JSON") + "\n";
    Ok(write_atomic(path, text.as_bytes())?)
}

/// Removes a file that may be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::File { action: "remove", path: path.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
}
