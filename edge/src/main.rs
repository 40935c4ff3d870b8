//! `adwp-deploy`: measures ONNX image classifiers on a device.
//!
//! stdout is data, stderr is messages. Exit codes: 0 done, 1 failed, 2 the input is wrong.

use std::{path::PathBuf, process::ExitCode};

use adwp_base::{Result, output, program};
use adwp_edge::{
    BenchArgs, CompareArgs, EvalArgs, PredictArgs, ReportArgs, ShapeArg, Style, TrialArgs, bench,
    compare, cost, eval, input_shape, predict, report, trial,
};
use clap::{Parser, Subcommand};

/// Measures ONNX image classifiers on a device.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,

    /// Say nothing but errors.
    #[arg(long, short, global = true)]
    quiet: bool,

    /// Print the result as JSON on stdout.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Latency under ONNX Runtime and tract, with params, multiply-adds and memory.
    Bench(BenchArgs),
    /// Top-1 and top-5 accuracy of an ONNX file through a runtime.
    Eval(EvalArgs),
    /// The most likely classes of images.
    Predict(PredictArgs),
    /// Params, multiply-adds and memory of an ONNX file.
    Cost {
        /// ONNX file.
        model: PathBuf,
        /// List every node.
        #[arg(long)]
        layers: bool,
        /// The shape of an input that the file leaves open; can be repeated.
        #[arg(long, value_name = "NAME=SHAPE", value_parser = input_shape)]
        input: Vec<ShapeArg>,
    },
    /// Compare two results of `bench`; exit code 1 on a regression.
    Compare(CompareArgs),
    /// Results of `bench` side by side, as tables or as a page for a browser.
    Report(ReportArgs),
    #[command(hide = true)]
    Trial(TrialArgs),
}

#[allow(unsafe_code, reason = "the environment is set before there are threads")]
fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { adwp_measure::telemetry::off() };
    program(|| run(adwp_edge::arguments()?))
}

fn run(args: Args) -> Result {
    let (quiet, as_json) = (args.quiet, args.json);
    let mut say = |text: &str| {
        if !quiet {
            output::message(&output::name(text));
        }
    };
    let style = Style { json: as_json, say: &mut say };
    match args.command {
        Command::Bench(args) => output::data(&bench(&args, style)?),
        Command::Eval(args) => output::data(&eval(&args, style)?),
        Command::Predict(args) => {
            let (text, failure) = predict(&args, style)?;
            output::data(&text)?;
            failure.map_or(Ok(()), Err)
        }
        Command::Cost { model, layers, input } => {
            output::data(&cost(&model, &input, layers, as_json)?)
        }
        Command::Compare(args) => {
            let (text, failure) = compare(&args, style)?;
            output::data(&text)?;
            failure.map_or(Ok(()), Err)
        }
        Command::Report(args) => output::data(&report(&args, style)?),
        Command::Trial(args) => {
            trial(args, &mut output::lines);
            Ok(())
        }
    }
}
