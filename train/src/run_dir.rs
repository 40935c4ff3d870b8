use std::fs;
use std::path::{Path, PathBuf};

use crate::{Result, TrainError};

/// The folder of a run and the files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The folder, created with its parents where it is not there.
    pub fn create(path: &Path) -> Result<Self> {
        let run = Self { path: path.to_owned() };
        let checkpoints = run.file("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(|source| TrainError::File { action: "create", path: checkpoints, source })?;
        Ok(run)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the run.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The checkpoint of a phase.
    pub fn checkpoint(&self, phase: &str) -> PathBuf {
        self.path.join("checkpoints").join(format!("{phase}.safetensors"))
    }

    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.file("metrics.jsonl")
    }
}
