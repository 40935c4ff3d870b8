//! One function a command.

mod cost;
mod data;
mod device;
mod doctor;
mod fidelity;
mod lut;
mod road;
pub(crate) mod zoo;

use adwp_base::Failure;

use crate::args::{Args, Command};
use crate::memory::Training;
use crate::progress::Verbosity;

/// What every command needs to know of the global flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) verbosity: Verbosity,
    pub(crate) json: bool,
}

/// Carries out what was asked.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let style = Style { verbosity, json: args.json };
    match args.command {
        Command::Run(args) => road::run(&args, style),
        Command::Space(args) => road::train(&args, style, Training::Space),
        Command::Search(args) => road::train(&args, style, Training::Search),
        Command::Retrain(args) => road::retrain(&args, style),
        Command::Fidelity(args) => fidelity::fidelity(&args, style),
        Command::Export(args) => road::export(&args, style),
        Command::Report(args) => device::report(&args, style),
        Command::Data { command } => data::run(command, style),
        Command::Bench(args) => device::print(style, |style| adwp_edge::bench(&args, style)),
        Command::Eval(args) => device::print(style, |style| adwp_edge::eval(&args, style)),
        Command::Compare(args) => device::compare(&args, style),
        Command::Predict(args) => device::print(style, |style| adwp_edge::predict(&args, style)),
        Command::MemoryProbe(args) => device::print(style, |_| adwp_edge::probe(&args)),
        Command::Cost(args) => cost::cost(&args, style),
        Command::Zoo { command } => zoo::run(command, style),
        Command::Lut { command } => lut::run(command, style),
        Command::Doctor { ort } => doctor::doctor(ort.ort_lib.as_deref(), style),
    }
}
