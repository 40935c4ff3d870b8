//! The same cases in PyTorch: a child process that speaks JSON lines.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use adwp_base::Failure;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::args::{DeviceChoice, Stored};
use crate::cases::Network;
use crate::engine::{Outcome, Sample};
use crate::exchange;
use crate::failure::{Context, Result};
use crate::machine::GEMM_SIDE;

/// Part of the program, so that it runs from any folder.
const SCRIPT: &str = include_str!("../pytorch/run.py");

/// What PyTorch is asked to compute with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct How {
    /// Threads of an operation on the CPU.
    pub(crate) threads: usize,
    pub(crate) device: DeviceChoice,
    pub(crate) precision: Stored,
    /// Whether torch.compile makes one function of a case.
    pub(crate) compile: bool,
}

/// What runs there.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Versions {
    pub(crate) torch: String,
    pub(crate) python: String,
    /// Threads of an operation on the CPU.
    pub(crate) threads: usize,
    /// On what, whether compiled, and with which flags, for people.
    pub(crate) mode: String,
}

/// A Python process with PyTorch; it ends when this is dropped.
pub(crate) struct PyTorch {
    child: Child,
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
    pub(crate) versions: Versions,
    /// The script and the current case.
    folder: TempDir,
}

impl PyTorch {
    /// Starts `python` and waits until it is ready.
    ///
    /// # Errors
    /// A failure of the input when it cannot be started or has no PyTorch.
    pub(crate) fn start(python: &Path, how: &How) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("engine-bench-")
            .tempdir()
            .context("cannot make a folder")?;
        let script = folder.path().join("run.py");
        std::fs::write(&script, SCRIPT)
            .context(format_args!("cannot write {}", script.display()))?;
        let mut command = Command::new(python);
        command.arg(&script).args(["--threads", &how.threads.to_string()]);
        command.args(["--device", &how.device.in_pytorch(), "--precision", how.precision.name()]);
        if how.compile {
            command.arg("--compile");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| {
            Failure::input(format!("--pytorch: cannot start {}: {e}", python.display()))
        })?;
        let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::failed("a child process has no pipes"));
        };
        let versions = Versions {
            torch: String::new(),
            python: String::new(),
            threads: how.threads,
            mode: String::new(),
        };
        let mut this = Self {
            child,
            requests: Some(requests),
            replies: BufReader::new(replies),
            versions,
            folder,
        };
        this.versions = this.ask(&json!({ "do": "hello" })).map_err(|e| {
            Failure::input(format!(
                "--pytorch: {} does not run PyTorch ({e}); its message is above",
                python.display()
            ))
        })?;
        Ok(this)
    }

    /// Builds a network there.
    pub(crate) fn load(&mut self, network: &Network) -> Result<()> {
        let folder = self.folder.path().join("case");
        std::fs::create_dir_all(&folder)
            .context(format_args!("cannot make {}", folder.display()))?;
        exchange::write(network, &network.variables()?, &folder)?;
        self.ask::<Value>(&json!({ "do": "load", "folder": folder }))?;
        // Large networks have hundreds of megabytes of values, in a folder that may be in memory.
        std::fs::remove_dir_all(&folder).context(format_args!("cannot remove {}", folder.display()))
    }

    /// The first run of what was loaded, parameters updated at the end.
    pub(crate) fn first(&mut self) -> Result<Outcome> {
        self.ask(&json!({ "do": "first" }))
    }

    /// Runs what was loaded `at_least` times and for `seconds`.
    pub(crate) fn time(&mut self, seconds: f64, at_least: usize) -> Result<Vec<Sample>> {
        self.ask(&json!({ "do": "time", "seconds": seconds, "at_least": at_least }))
    }

    /// 10⁹ multiply-adds a second of a large matrix product.
    pub(crate) fn gemm_gmacs(&mut self) -> Result<f64> {
        let seconds: f64 = self.ask(&json!({ "do": "matmul", "side": GEMM_SIDE }))?;
        Ok((GEMM_SIDE as f64).powi(3) / seconds / 1e9)
    }

    /// Number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn ask<R: DeserializeOwned>(&mut self, request: &Value) -> Result<R> {
        let lost = "the PyTorch process is gone";
        if let Some(requests) = &mut self.requests {
            writeln!(requests, "{request}").and_then(|()| requests.flush()).context(lost)?;
        }
        let mut line = String::new();
        if self.replies.read_line(&mut line).context(lost)? == 0 {
            return Err(Failure::failed("the PyTorch process ended without an answer"));
        }
        let reply: Reply<R> = serde_json::from_str(&line)
            .context(format_args!("an answer that makes no sense, {line:?}"))?;
        match reply {
            Reply::Ok(result) => Ok(result),
            Reply::Error(message) => Err(Failure::failed(message)),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply<R> {
    Ok(R),
    Error(String),
}

impl Drop for PyTorch {
    fn drop(&mut self) {
        // At the end of its input it ends.
        self.requests = None;
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use adwp_base::Kind;

    use super::*;
    use crate::agreement::{Agreement, Judged};
    use crate::cases::{self, Size};
    use crate::engine::Subject;
    use adwp_engine::Device;

    fn on_cpu(compile: bool) -> How {
        How { threads: 2, device: DeviceChoice::Cpu, precision: Stored::F32, compile }
    }

    /// Needs PyTorch, so it does nothing unless `ADWP_TORCH_PYTHON` names an interpreter that has
    /// it.
    #[test]
    fn all_cases_agree_with_pytorch() {
        let Some(python) = std::env::var_os("ADWP_TORCH_PYTHON") else { return };
        let mut torch = PyTorch::start(Path::new(&python), &on_cpu(false)).unwrap();
        let device = Device::cpu(2).unwrap();
        for case in cases::all() {
            let network = case.network(Size::Tiny).unwrap();
            torch.load(&network).unwrap();
            let theirs = torch.first().unwrap();
            let judged = if case.is_step() { Judged::Network } else { Judged::Operator };
            for device in [device.clone(), device.unfused()] {
                let mut subject = Subject::new(&network, &device).unwrap();
                let agreement = Agreement::between(&subject.first().unwrap(), &theirs, judged);
                assert!(agreement.holds(), "{}: {agreement}", case.name);
            }
            assert_eq!(torch.time(0.0, 2).unwrap().len(), 2);
        }
    }

    /// Needs PyTorch and what torch.compile needs, as the test above.
    #[test]
    fn a_compiled_case_agrees_with_an_eager_one() {
        let Some(python) = std::env::var_os("ADWP_TORCH_PYTHON") else { return };
        let network =
            cases::named("op/separable-block-5x5/16x32x32").unwrap().network(Size::Tiny).unwrap();
        let outcome = |compile| {
            let mut torch = PyTorch::start(Path::new(&python), &on_cpu(compile)).unwrap();
            assert_eq!(torch.versions.mode.contains("compile"), compile, "{}", torch.versions.mode);
            torch.load(&network).unwrap();
            torch.first().unwrap()
        };
        let agreement = Agreement::between(&outcome(false), &outcome(true), Judged::Operator);
        assert!(agreement.holds(), "{agreement}");
    }

    #[test]
    fn an_interpreter_that_is_none_is_a_wrong_argument() {
        assert!(matches!(
            PyTorch::start(Path::new("no/such/python"), &on_cpu(false)),
            Err(Failure { kind: Kind::Input, .. })
        ));
    }
}
