//! Files that grow by a line of JSON for everything that was computed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use adwp_train::{TrainError, read_text, write_atomic};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;

/// A file, to be added to. Its first line says what it is of; it is written with the second, so
/// that work which fails before leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// The first line, as long as it is not written.
    first: Option<String>,
}

impl Journal {
    /// Begins a file with the line `first`, or reads the one that is there when `resume` is set:
    /// gives its lines from the second on. `check` sees the first line of a file that is there. A
    /// last line that was not written to its end is dropped.
    ///
    /// # Errors
    /// Those of `check`; [`TrainError::Damaged`] for a line that is none of `L`, and when the file
    /// cannot be read or written.
    pub(crate) fn open<L: DeserializeOwned>(
        path: PathBuf,
        resume: bool,
        first: String,
        check: impl FnOnce(&str) -> Result<()>,
    ) -> Result<(Self, Vec<L>)> {
        let text = if resume && path.exists() { read_text(&path)? } else { String::new() };
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let mut lines = whole.lines();
        let is_there = match lines.next() {
            Some(first) => check(first).map(|()| true)?,
            None => false,
        };
        let journal = Self { path, first: (!is_there).then_some(first) };
        let read = |(number, line): (usize, &str)| {
            serde_json::from_str(line).map_err(|e| journal.damaged(number, &e.to_string()))
        };
        let lines = lines.enumerate().map(read).collect::<Result<Vec<L>, TrainError>>()?;
        if is_there && whole.len() + 1 < text.len() {
            write_atomic(&journal.path, &text.as_bytes()[..whole.len() + 1])?;
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
        let line = serde_json::to_string(line).expect("numbers and texts print as JSON") + "\n";
        if let Some(first) = self.first.take() {
            return Ok(write_atomic(&self.path, (first + "\n" + &line).as_bytes())?);
        }
        let file = OpenOptions::new().append(true).open(&self.path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        let fail = |source| TrainError::File { action: "write", path: self.path.clone(), source };
        Ok(written.map_err(fail)?)
    }
}
