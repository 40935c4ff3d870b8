//! One function a command.

mod cost;
mod data;
mod device;
mod doctor;
mod explore;
mod fidelity;
mod lut;
mod published;
mod road;
mod zoo;

use adwp_base::{Result, output, unchecked};
use adwp_train::Reporter;

use crate::args::{Args, Command};
use crate::interrupt;
use crate::progress::{Console, Verbosity};

/// Carries out what was asked, and says where damage would not be noticed.
pub(crate) fn run(args: Args) -> Result {
    let verbosity = match (args.quiet, args.verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    // A trial is ended with the command that it is a part of.
    if !matches!(args.command, Command::Trial(_)) {
        interrupt::listen()?;
    }
    let (json, console) = (args.json, &mut Console::new(verbosity));
    let done = carry_out(args.command, json, console);
    interrupt::wait_if_ending();
    if let Some(word) = unchecked::word() {
        console.message(&word);
    }
    done
}

fn carry_out(command: Command, json: bool, console: &mut Console) -> Result {
    match command {
        Command::Run(args) => road::run(&args, json, console),
        Command::Space(args) => road::space(&args, json, console),
        Command::Search(args) if args.strategy.is_some() => explore::search(&args, json, console),
        Command::Search(args) => road::search(&args.train, json, console),
        Command::Retrain(args) => road::retrain(&args, json, console),
        Command::Study(args) => match &args.published.table {
            Some(table) if args.published.scorer.is_empty() => {
                published::strategies(&args, table, json, console)
            }
            Some(table) => published::scorers(&args, table, json, console),
            None => fidelity::fidelity(&args, json, console),
        },
        Command::Export(args) => road::export(&args, json, console),
        Command::Report(args) => device::report(&args, json, console),
        Command::Data { command } => data::run(command, json, console),
        Command::Bench(args) => device::print(json, console, |to| adwp_edge::bench(&args, to)),
        Command::Eval(args) => device::print(json, console, |to| adwp_edge::eval(&args, to)),
        Command::Compare(args) => device::compare(&args, json, console),
        Command::Predict(args) => device::predict(&args, json, console),
        Command::Trial(args) => {
            adwp_edge::trial(args, &mut output::lines);
            Ok(())
        }
        Command::Cost(args) => cost::cost(&args, json, console),
        Command::Zoo { command } => zoo::run(command, json, console),
        Command::Lut { command } => lut::run(command, json, console),
        Command::Doctor { ort } => doctor::doctor(ort.ort_lib.as_deref(), json),
    }
}
