use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Result, TrainError, read_text, write_atomic};

/// `metrics.jsonl`: one JSON object a line, one line an epoch.
pub(crate) struct Metrics {
    path: PathBuf,
}

impl Metrics {
    /// Opens the file for a phase that starts or continues at `epoch`: lines of that phase from there on are dropped, they will be
    /// written again.
    pub(crate) fn open(path: &Path, phase: &str, epoch: usize) -> Result<Self> {
        if path.exists() {
            let keep = |line: &&str| match serde_json::from_str::<Map<String, Value>>(line) {
                Ok(entry) => {
                    entry.get("phase") != Some(&phase.into())
                        || entry.get("epoch").and_then(Value::as_u64).is_some_and(|e| e < epoch as u64)
                }
                // A line cut off by a kill.
                Err(_) => false,
            };
            let text = read_text(path)?;
            let kept: String = text.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
            if kept != text {
                write_atomic(path, kept.as_bytes())?;
            }
        }
        Ok(Self { path: path.to_owned() })
    }

    pub(crate) fn append(&self, entry: &Map<String, Value>) -> Result<()> {
        let line = serde_json::to_string(entry).expect("a JSON object prints") + "\n";
        let append = || OpenOptions::new().create(true).append(true).open(&self.path)?.write_all(line.as_bytes());
        append().map_err(|source| TrainError::File { action: "write", path: self.path.clone(), source })
    }
}
