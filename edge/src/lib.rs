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
    BenchArgs, CompareArgs, EvalArgs, Format, Normalize, OrtArgs, PredictArgs, ProbeArgs,
    ReportArgs, ShapeArg, dataset, input_shape, normalize, percentage, seconds,
};
pub use bench::{bench, compare, probe};
pub use cost::{cost, counted};
pub use eval::eval;
pub use page::latency_row;
pub use predict::predict;
pub use report::report;

use adwp_measure::{ort_library::OrtLibrary, runtime::Runtime};

/// How a command prints.
pub struct Style<'a> {
    /// The result as JSON.
    pub json: bool,
    /// Takes messages for people.
    pub say: &'a mut dyn FnMut(&str),
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
