//! Runs the program and judges how it ended.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[derive(Debug)]
pub(crate) struct Ended {
    command: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program, to be given arguments.
pub(crate) fn adwp() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adwp"));
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    end(adwp().args(args))
}

pub(crate) fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    Ended {
        command: format!("{command:?}"),
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

impl Ended {
    /// What a failing test shows.
    fn story(&self) -> String {
        format!(
            "{}\ncode {:?}\nstdout:\n{}\nstderr:\n{}",
            self.command, self.code, self.stdout, self.stderr
        )
    }

    /// It ended with this code, and not by a panic.
    #[track_caller]
    pub(crate) fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.story());
        self.without_panic()
    }

    #[track_caller]
    pub(crate) fn without_panic(self) -> Self {
        let story = self.story();
        for word in ["panicked", "internal error", "backtrace", "memory allocation"] {
            assert!(!self.stderr.contains(word), "{story}");
        }
        assert!(!matches!(self.code, None | Some(101 | 134)), "{story}");
        self
    }

    /// It did what it was asked to.
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        self.with_code(0)
    }

    /// It refused its input: exit code 2 and one line `error:`, and that line or its hint names
    /// every culprit.
    #[track_caller]
    pub(crate) fn refuses(self, culprits: &[&str]) -> Self {
        let ended = self.with_code(2);
        let starts: Vec<usize> = ended.stderr.match_indices("error: ").map(|(at, _)| at).collect();
        let story = ended.story();
        let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "{story}");
        let message = &ended.stderr[starts[0]..];
        for culprit in culprits {
            assert!(message.contains(culprit), "the message lacks {culprit:?}\n{story}");
        }
        assert!(ended.stdout.is_empty(), "{story}");
        ended
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}\n{}", self.story()))
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of these tests are UTF-8")
}
