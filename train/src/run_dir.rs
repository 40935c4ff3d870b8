use std::fs;
use std::path::{Path, PathBuf};

use crate::files::PARTIAL;
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

    /// Removes what kills in the middle of a write have left behind. Nobody else may be writing to the run.
    pub fn remove_partial_files(&self) -> Result<()> {
        for folder in [self.path.clone(), self.file("checkpoints")] {
            let fail = |source| TrainError::File { action: "clean", path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(fail)? {
                let entry = entry.map_err(fail)?;
                if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                    fs::remove_file(entry.path()).map_err(fail)?;
                }
            }
        }
        Ok(())
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
