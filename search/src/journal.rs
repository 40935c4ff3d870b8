//! Files that grow by a line of JSON for everything that was computed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use adwp_base::{JsonLine, JsonLines, read_json_lines, to_json_line};
use adwp_train::{TrainError, write_atomic};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Result;

/// A file, to be added to. Its first line says what it is of; it is written with the second, so
/// that work which fails before leaves nothing behind. Each line has a checksum.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// The first line, as long as it is not written.
    first: Option<Value>,
}

impl Journal {
    /// Begins a file with the line `first`, an object, or reads the one that is there when `resume`
    /// is set: gives its lines from the second on. `check` sees the first line of a file that is
    /// there. A last line that was not written to its end is dropped.
    ///
    /// # Errors
    /// Those of `check`; [`TrainError::Damaged`] for a line that is none of `L` or not as it was
    /// written, and when the file cannot be read or written.
    pub(crate) fn open<L: DeserializeOwned>(
        path: PathBuf,
        resume: bool,
        first: Value,
        check: impl FnOnce(&Value) -> Result<()>,
    ) -> Result<(Self, Vec<L>)> {
        let JsonLines { lines, is_whole } = match resume && path.exists() {
            true => read_json_lines(&path).map_err(TrainError::from)?,
            false => JsonLines { lines: Vec::new(), is_whole: true },
        };
        let is_there = match lines.first() {
            Some(first) => check(&first.value).map(|()| true)?,
            None => false,
        };
        let journal = Self { path, first: (!is_there).then_some(first) };
        let whole = || lines.iter().flat_map(|line| [&line.text, "\n"]).collect::<String>();
        let whole = (is_there && !is_whole).then(whole);
        let read = |(number, line): (usize, &JsonLine)| {
            L::deserialize(&line.value).map_err(|e| journal.damaged(number, &e.to_string()))
        };
        let lines =
            lines.iter().skip(1).enumerate().map(read).collect::<Result<Vec<L>, TrainError>>()?;
        if let Some(whole) = whole {
            write_atomic(&journal.path, whole.as_bytes())?;
        }
        Ok((journal, lines))
    }

    /// What is wrong with a line, counted from 0 after the first.
    pub(crate) fn damaged(&self, number: usize, reason: &str) -> TrainError {
        let reason = format!("line {}: {reason}", number + 2);
        TrainError::Damaged { path: self.path.clone(), reason }
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`TrainError::File`] when it cannot be written.
    pub(crate) fn add(&mut self, line: &impl Serialize) -> Result<()> {
        let line = to_json_line(line);
        if let Some(first) = self.first.take() {
            return Ok(write_atomic(&self.path, (to_json_line(&first) + &line).as_bytes())?);
        }
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        let fail = |source| TrainError::File { action: "write", path: self.path.clone(), source };
        Ok(written.map_err(fail)?)
    }
}
