use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use adwp_base::PARTIAL;

use crate::{Result, TrainError};

/// The folder of a run and the files in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
    /// By phase, the settings that decide its results.
    settings: BTreeMap<&'static str, String>,
}

impl RunDir {
    /// The folder of a run that is there; it is not looked at.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), settings: BTreeMap::new() }
    }

    /// The folder, created with its parents where it is not there.
    pub fn create(path: &Path) -> Result<Self> {
        let run = Self::at(path);
        let checkpoints = run.file("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(|source| TrainError::File {
            action: "create",
            path: checkpoints,
            source,
        })?;
        Ok(run)
    }

    /// With the settings that decide the results of a phase, as its checkpoint is to say.
    #[must_use]
    pub fn with_settings(mut self, phase: &'static str, settings: String) -> Self {
        self.settings.insert(phase, settings);
        self
    }

    /// The settings that decide the results of a phase, where they are known.
    pub fn settings(&self, phase: &str) -> Option<&str> {
        self.settings.get(phase).map(String::as_str)
    }

    /// Removes what kills in the middle of a write have left behind. Nobody else may be writing to
    /// the run.
    pub fn remove_partial_files(&self) -> Result<()> {
        let mut folders = vec![self.path.clone(), self.file("checkpoints")];
        if self.tensorboard().exists() {
            folders.extend(entries(&self.tensorboard())?.into_iter().filter(|path| path.is_dir()));
        }
        for folder in folders {
            let is_partial = |path: &PathBuf| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PARTIAL))
            };
            for path in entries(&folder)?.into_iter().filter(is_partial) {
                fs::remove_file(&path).map_err(|source| TrainError::File {
                    action: "clean",
                    path,
                    source,
                })?;
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

    /// The folder for `tensorboard --logdir`: a folder for each phase, which TensorBoard calls a
    /// run.
    pub fn tensorboard(&self) -> PathBuf {
        self.file("tensorboard")
    }

    /// The metrics of a phase as TensorBoard reads them.
    pub fn events(&self, phase: &str) -> PathBuf {
        // TensorBoard takes every file for one of events whose name contains "tfevents".
        self.tensorboard().join(phase).join("events.out.tfevents.metrics")
    }
}

/// Everything that a folder holds, folders included.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    read.map_err(|source| TrainError::File { action: "clean", path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_half_written_is_removed_from_every_folder() {
        let holder = tempfile::tempdir().unwrap();
        let run = RunDir::create(&holder.path().join("run")).unwrap();
        run.remove_partial_files().unwrap();
        let whole = [run.metrics(), run.checkpoint("space"), run.events("space")];
        let partial = whole.clone().map(|path| path.with_file_name(format!("{PARTIAL}a")));
        fs::create_dir_all(run.events("space").parent().unwrap()).unwrap();
        whole.iter().chain(&partial).for_each(|path| fs::write(path, "").unwrap());
        run.remove_partial_files().unwrap();
        assert!(
            whole.iter().all(|path| path.exists()) && !partial.iter().any(|path| path.exists())
        );
    }
}
