//! A run that is under way, watched from outside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::folder::progress;
use crate::program::{adwp, text};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// How far a run is, as its files tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// There are no settings yet.
    Nothing,
    /// In this epoch of the intensive space.
    Space(u64),
    /// In this epoch of HyperNetwork training and search.
    Search(u64),
    /// In this epoch of retraining.
    Retrain(u64),
    Export,
    Bench,
    Report,
    Done,
}

pub(crate) fn stage(folder: &Path) -> Stage {
    let there = |name: &str| folder.join(name).exists();
    let epoch = |phase: &str| progress(folder, phase).map_or(0, |(epoch, _)| epoch);
    match () {
        () if !there("config.toml") => Stage::Nothing,
        () if !there("space.json") => Stage::Space(epoch("space")),
        () if !there("genotype.json") => Stage::Search(epoch("search")),
        () if !there("weights.safetensors") => Stage::Retrain(epoch("retrain")),
        () if !there("model.onnx") => Stage::Export,
        () if !there("bench.json") => Stage::Bench,
        () if !there("report.html") => Stage::Report,
        () => Stage::Done,
    }
}

/// A program that works in a folder.
pub(crate) struct Running {
    child: Child,
    folder: PathBuf,
    stderr: PathBuf,
}

impl Running {
    /// Starts the program. What it says goes to a file next to the folder.
    pub(crate) fn start(args: &[&str], folder: &Path) -> Self {
        let stderr = folder.with_extension("stderr");
        let mut command = adwp();
        command.args(args).stdout(Stdio::null()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), folder: folder.to_owned(), stderr }
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until a file is there, named within the folder.
    #[track_caller]
    pub(crate) fn has(&mut self, file: &str) {
        let (start, path) = (Instant::now(), self.folder.join(file));
        while !path.exists() {
            assert!(start.elapsed() < PATIENCE, "{} is not there", path.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the run is in a stage, or beyond it.
    #[track_caller]
    pub(crate) fn reaches(&mut self, wanted: Stage) {
        let start = Instant::now();
        while stage(&self.folder) < wanted {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("it ended before {wanted:?}: {status}\n{}", self.stderr());
            }
            assert!(start.elapsed() < PATIENCE, "{wanted:?} is not reached\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the program has said something.
    #[track_caller]
    pub(crate) fn says(&mut self, wanted: &str) {
        let start = Instant::now();
        while !self.stderr().contains(wanted) {
            assert!(
                self.child.try_wait().unwrap().is_none() && start.elapsed() < PATIENCE,
                "no {wanted:?} in\n{}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the program without asking it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it ended by itself\n{}", self.stderr());
    }

    /// Sends what Ctrl-C sends, which ends the program with its code; gives what it said.
    #[track_caller]
    pub(crate) fn interrupt(mut self) -> String {
        let sent = std::process::Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success(), "{}", self.stderr());
        let (code, said) = (self.child.wait().unwrap().code(), self.stderr());
        assert_eq!(code, Some(130), "{said}");
        said
    }
}

/// The arguments that continue a run.
pub(crate) fn resume(folder: &Path) -> [&str; 4] {
    ["run", "--run", text(folder), "--resume"]
}
