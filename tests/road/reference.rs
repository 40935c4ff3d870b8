//! One finished run that many tests read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::folder::copy;
use crate::program::{Ended, run, text};

/// The settings of all runs of these tests.
pub(crate) const SETTINGS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/road/settings.toml");

pub(crate) const PICTURE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../data/tests/fixtures/rgb.jpg");

/// A run on one thread that nothing disturbed.
pub(crate) struct Reference {
    /// Its folder. Never written to: tests that write take a [`copy_of_run`].
    pub(crate) folder: PathBuf,
    /// What the program printed.
    pub(crate) ended: Ended,
    /// Held as long as this process lives: the folder has a fixed place.
    _lock: File,
}

/// The run, made on first use.
pub(crate) fn reference() -> &'static Reference {
    static REFERENCE: OnceLock<Reference> = OnceLock::new();
    REFERENCE.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = File::create(place.join("road.lock")).unwrap();
        lock.lock().unwrap();
        let folder = place.join("road");
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        let ended = run(begin("run", &folder).iter().chain(&["--threads", "1"])).succeeds();
        Reference { folder, ended, _lock: lock }
    })
}

/// A folder of a run that is not there yet: the folder that holds it, and its own.
pub(crate) fn fresh() -> (TempDir, PathBuf) {
    let holder = tempfile::tempdir().unwrap();
    let folder = holder.path().join("run");
    (holder, folder)
}

/// The arguments that begin a run, or a step of one, with the settings of these tests.
pub(crate) fn begin<'a>(command: &'a str, folder: &'a Path) -> [&'a str; 5] {
    [command, "--config", SETTINGS, "--run", text(folder)]
}

/// A copy of the run, to be changed: the folder that holds it, and its own.
pub(crate) fn copy_of_run() -> (TempDir, PathBuf) {
    let (holder, folder) = fresh();
    copy(&reference().folder, &folder);
    (holder, folder)
}
