//! The folder that a command works in: no other does at the same time, and where it fails before its
//! first result nothing of it is left.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use adwp_base::{Failure, Result};
use adwp_search::TRIALS;
use adwp_train::{RunDir, TrainError};

/// How long removing half-written files takes at most, roughly.
const MOMENT: Duration = Duration::from_millis(50);

/// The lock of a folder, which is held as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    lock: File,
    folder: PathBuf,
    /// The folders that this command has made, the outermost first; `None` where others have worked
    /// in this one before.
    made: Option<Vec<PathBuf>>,
    /// The files that a run begins with.
    first: BTreeSet<PathBuf>,
}

impl Held {
    /// Makes a folder where there is none, locks it, and removes what kills have left half written
    /// there.
    pub(crate) fn open(folder: &Path) -> Result<(RunDir, Self)> {
        Self::with(folder, lock)
    }

    /// The same, for this process and those that share the folder.
    pub(crate) fn shared(folder: &Path) -> Result<(RunDir, Self)> {
        Self::with(folder, share)
    }

    fn with(folder: &Path, lock: impl FnOnce(&RunDir) -> Result<File>) -> Result<(RunDir, Self)> {
        refuse_file(folder)?;
        let missing = folder.ancestors().take_while(|path| !is_there(path)).map(Path::to_owned);
        let mut made: Vec<PathBuf> = missing.collect();
        made.reverse();
        let dir = RunDir::create(folder)?;
        let lock = lock(&dir)?;
        let first = files(folder);
        let is_new = first.iter().all(|path| path.ends_with(LOCK));
        let (folder, made) = (folder.to_owned(), is_new.then_some(made));
        Ok((dir, Self { lock, folder, made, first }))
    }

    /// Writes what a run begins with, which is no result.
    pub(crate) fn begin(&mut self, write: impl FnOnce() -> Result) -> Result {
        let written = write();
        self.first = files(&self.folder);
        written
    }

    /// Whether nothing has been written that a command could go on from.
    fn has_no_result(&self) -> bool {
        let is_header = |path: &Path| {
            path.ends_with(TRIALS)
                && fs::read_to_string(path).is_ok_and(|text| text.lines().count() < 2)
        };
        let counts = |path: &PathBuf| {
            let is_first = self.first.contains(path);
            let is_empty = fs::metadata(path).is_ok_and(|of| of.len() == 0);
            let is_about = ["times.json", "settings.json"].iter().any(|name| path.ends_with(name));
            !(is_first || is_empty || is_about || is_header(path))
        };
        !files(&self.folder).iter().any(counts)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(made) = &self.made else { return };
        // Another that shares the folder may be at work.
        if !self.has_no_result() || self.lock.try_lock().is_err() {
            return;
        }
        // What cannot be removed stays: the failure that is being reported matters more.
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        for folder in made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

const LOCK: &str = "lock";

/// A file in the place of a folder, or of one above it.
///
/// # Errors
/// Names it.
pub(crate) fn refuse_file(folder: &Path) -> Result {
    let Some(file) = folder.ancestors().find(|path| path.is_file()) else { return Ok(()) };
    let failure = Failure::input(format!("--run: {} is a file and no folder", file.display()));
    Err(failure.hint("name the folder of a run, which is made where there is none"))
}

fn is_there(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.exists()
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path)),
        }
    }
    found
}

fn lock(run: &RunDir) -> Result<File> {
    let file = locked(run, File::try_lock)?;
    run.remove_partial_files()?;
    Ok(file)
}

fn share(run: &RunDir) -> Result<File> {
    // Whoever comes first finds nobody in the middle of a write.
    drop(lock(run));
    // Another may be doing the same at this moment.
    let again = |_| locked(run, File::try_lock_shared).map_err(|_| sleep(MOMENT)).ok();
    (0..10).find_map(again).map_or_else(|| locked(run, File::try_lock_shared), Ok)
}

fn locked(
    run: &RunDir,
    attempt: impl FnOnce(&File) -> std::result::Result<(), TryLockError>,
) -> Result<File> {
    let path = run.file(LOCK);
    let fail = |source| TrainError::File { action: "write", path: path.clone(), source };
    let file = File::create(&path).map_err(fail)?;
    match attempt(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::input(format!("another adwp is working in {}", run.path().display()))
                .hint("wait for it, or name another folder with --run"))
        }
        Err(TryLockError::Error(e)) => Err(fail(e).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_a_result_is_removed_with_those_that_were_made_for_it() {
        let holder = tempfile::tempdir().unwrap();
        let folder = holder.path().join("runs/new");
        let open = || {
            let (dir, mut held) = Held::open(&folder).unwrap();
            let begun = held.begin(|| {
                fs::write(dir.file("config.toml"), "seed = 1").unwrap();
                Ok(())
            });
            begun.unwrap();
            held
        };
        let held = open();
        fs::write(folder.join("times.json"), "{}").unwrap();
        fs::write(folder.join(TRIALS), "{}\n").unwrap();
        fs::write(folder.join("metrics.jsonl"), "").unwrap();
        drop(held);
        assert!(!holder.path().join("runs").exists());

        for (file, text) in [("space.json", "{}"), (TRIALS, "{}\n{}\n")] {
            let held = open();
            fs::write(folder.join(file), text).unwrap();
            drop(held);
            drop(open());
            assert!(folder.join("config.toml").exists(), "{file} is a result");
            fs::remove_dir_all(&folder).unwrap();
        }

        // Where beginning fails, what was written until then is removed too.
        let (dir, mut held) = Held::open(&folder).unwrap();
        let failed = held.begin(|| {
            fs::write(dir.file("genotype.json"), "{}").unwrap();
            Err(Failure::input("no"))
        });
        assert!(failed.is_err());
        drop(held);
        assert!(!folder.exists());

        // What was there and empty is so again.
        fs::create_dir_all(&folder).unwrap();
        drop(open());
        assert!(files(holder.path()).is_empty() && folder.exists());
    }

    #[test]
    fn nothing_is_removed_from_under_another_that_shares_the_folder() {
        let holder = tempfile::tempdir().unwrap();
        let folder = holder.path().join("run");
        let (_, first) = Held::shared(&folder).unwrap();
        let (_, second) = Held::shared(&folder).unwrap();
        drop(first);
        assert!(folder.exists());
        // The second one has not made it.
        drop(second);
        assert!(files(&folder).is_empty() && folder.exists());
    }
}
