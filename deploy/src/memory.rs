//! The memory that a model takes in a runtime, measured in a process of its own.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result,
    machine::status_bytes,
    noise::noise,
    onnx::OnnxModel,
    ort_library::{self, OrtLibrary},
    runtime::{self, Runtime, Session, SessionOptions},
};

/// Memory of a process that does nothing but run one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeakMemory {
    /// The most bytes that the process held, the program and the runtime's library included.
    pub peak_bytes: u64,
    /// What it held before it read the model.
    pub before_bytes: u64,
}

/// The hidden command of a program that calls [`of_this_process`] and prints what it gives as JSON.
pub const PROBE: &str = "memory-probe";

/// Runs before the peak is read: what a runtime sets up lazily is there after the first.
const RUNS: usize = 3;

/// Loads the file `path` and runs it, and reads the memory of this process, which should have done
/// nothing before.
///
/// # Errors
/// As [`Session::load`] and [`Session::run`]; [`DeployError::Setting`] where the system does not
/// tell.
pub fn of_this_process(
    path: &Path,
    runtime: Runtime,
    threads: usize,
    batch: usize,
    library: Option<&Path>,
) -> Result<PeakMemory> {
    let untold =
        || DeployError::setting("memory", "this system does not tell what a process holds");
    let library = if runtime == Runtime::Ort { Some(ort_library::find(library)?) } else { None };
    runtime::prepare(runtime, library.as_ref())?;
    let before_bytes = status_bytes("VmRSS").ok_or_else(untold)?;
    let model = OnnxModel::load(path)?;
    let images = noise(model.input(), batch);
    let mut session = Session::from_model(
        runtime,
        &model,
        &SessionOptions { threads, ort_library: library.as_ref(), batch },
    )?;
    // What was read to check the file is not part of what the runtime needs.
    drop(model);
    let images = session.bind(images, batch)?;
    for _ in 0..RUNS {
        session.run_bound(&images)?;
    }
    Ok(PeakMemory { peak_bytes: status_bytes("VmHWM").ok_or_else(untold)?, before_bytes })
}

/// What [`of_this_process`] gives in a process of `program`, which has the command [`PROBE`];
/// `None` where that fails.
pub(crate) fn of_own_process(
    program: &Path,
    path: &Path,
    runtime: Runtime,
    threads: usize,
    batch: usize,
    library: Option<&OrtLibrary>,
) -> Option<PeakMemory> {
    let mut command = Command::new(program);
    command.arg(PROBE).arg(path).args(["--runtime", runtime.name()]);
    command.args(["--threads", &threads.to_string(), "--batch", &batch.to_string()]);
    if let Some(library) = library {
        command.arg("--ort-lib").arg(&library.path);
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
}
