//! The commands that a device needs: `bench`, `eval`, `predict`, `cost`, `compare` and the report
//! of a bench. They train nothing, so that neither the engine nor candle is part of a program that
//! has these alone.
//!
//! A command takes its arguments, says what it does through a function, and gives the text that
//! belongs on stdout; nothing here prints.

mod args;
mod bench;
mod cost;
mod eval;
mod page;
mod predict;
mod preparation;
mod report;

pub use args::{
    BenchArgs, CompareArgs, EvalArgs, Format, LoadArgs, Normalize, OrtArgs, PredictArgs,
    ReportArgs, ShapeArg, TrialArgs, dataset, input_shape, normalize, percentage, seconds, size,
};
pub use bench::{bench, compare, trial};
pub use cost::{cost, counted};
pub use eval::{eval, refuse_idle_share};
pub use page::latency_row;
pub use predict::predict;
pub use report::report;

use std::io::{self, Write};

use adwp_base::Failure;
use adwp_measure::{
    DeployError,
    onnx::OnnxModel,
    ort_library::OrtLibrary,
    runtime::{Runtime, Session, SessionOptions},
    trial::Attempt,
};

/// How a command prints.
pub struct Style<'a> {
    /// The result as JSON.
    pub json: bool,
    /// Takes messages for people, each of one line.
    pub say: &'a mut dyn FnMut(&str),
}

/// The arguments of the program. What was typed wrong ends it, as `--help` does.
///
/// # Errors
/// Help that cannot be written.
pub fn arguments<T: clap::Parser>() -> Result<T, Failure> {
    T::try_parse().or_else(|e| match e.print().and_then(|()| io::stdout().flush()) {
        Err(unwritten) if !e.use_stderr() && unwritten.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot write to stdout: {unwritten}")))
        }
        _ => std::process::exit(e.exit_code()),
    })
}

/// A session of a model that has got through its trial.
fn start(
    model: &OnnxModel,
    runtime: Runtime,
    options: SessionOptions<'_>,
    load: &LoadArgs,
    say: &mut dyn FnMut(&str),
) -> Result<Session, DeployError> {
    if let Some(trial) = load.trial() {
        trial.run(&Attempt { model, runtime, options }, say)?;
    }
    Session::from_model(runtime, model, &options)
}

/// The runtimes asked for, or all that can be used.
fn choose(
    wanted: &[Runtime],
    library: Option<&OrtLibrary>,
    say: &mut dyn FnMut(&str),
) -> Vec<Runtime> {
    if !wanted.is_empty() {
        return wanted.to_vec();
    }
    if library.is_none() {
        say("going on without ONNX Runtime: no library found beside the program or in the usual \
             places; `pip install onnxruntime` gets one, --ort-lib names one");
    }
    Runtime::available(library)
}
