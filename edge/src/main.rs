//! `adwp-deploy`: measures ONNX image classifiers on a device.
//!
//! stdout is data, stderr is messages. Exit codes: 0 done, 1 failed, 2 the input is wrong.

use std::{
    io::{ErrorKind, Write},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
};

use adwp_edge::{
    BenchArgs, CompareArgs, EvalArgs, Failure, Kind, PredictArgs, ProbeArgs, ReportArgs, ShapeArg,
    Style, bench, compare, cost, eval, input_shape, predict, probe, report,
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
    MemoryProbe(ProbeArgs),
}

fn main() -> ExitCode {
    // Runtimes panic on some damaged models; the deploy library turns that into an error, which is
    // what the user should see.
    panic::set_hook(Box::new(|_| {}));
    let args = Args::parse();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(args))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let hint = "this is a bug in adwp; please report it with the command that led to it";
        Err(Failure::failed(format!("internal error: {}", text.unwrap_or("unknown"))).hint(hint))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            message(&format!("error: {}", failure.message));
            if let Some(hint) = &failure.hint {
                message(&format!("hint: {hint}"));
            }
            ExitCode::from(match failure.kind {
                Kind::Failed => 1,
                Kind::Input => 2,
            })
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let (quiet, as_json) = (args.quiet, args.json);
    let mut say = |text: &str| {
        if !quiet {
            message(text);
        }
    };
    let style = Style { json: as_json, say: &mut say };
    match args.command {
        Command::Bench(args) => print(&bench(&args, style)?),
        Command::Eval(args) => print(&eval(&args, style)?),
        Command::Predict(args) => print(&predict(&args, style)?),
        Command::Cost { model, layers, input } => print(&cost(&model, &input, layers, as_json)?),
        Command::Compare(args) => {
            let (text, failure) = compare(&args, style)?;
            print(&text)?;
            failure.map_or(Ok(()), Err)
        }
        Command::Report(args) => print(&report(&args, style)?),
        Command::MemoryProbe(args) => print(&probe(&args)?),
    }
}

/// Writes data to stdout. A reader that went away ends the program quietly.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::failed(format!("cannot write to stdout: {e}"))),
    }
}

/// Writes a line to stderr. Where nobody listens any more, the work goes on unheard.
fn message(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
