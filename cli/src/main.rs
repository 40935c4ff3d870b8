//! The `adwp` program: what the user typed becomes a validated plan, the plan is carried out by the
//! libraries, the result is printed.
//!
//! stdout is data, stderr is messages and progress. Exit codes: 0 done, 1 failed, 2 the input is
//! wrong, 130 interrupted.

mod architecture;
mod args;
mod batches;
mod commands;
mod config;
mod device;
mod epochs;
mod explore;
mod folder;
mod idle;
mod images;
mod inputs;
mod interrupt;
mod limits;
mod memory;
mod phases;
mod plan;
mod progress;
mod retired;
mod run;
mod seal;
mod settings;
mod skipped;
mod steps;
mod strategy;
mod transfer;

use std::process::ExitCode;

#[allow(unsafe_code, reason = "the environment is set before there are threads")]
fn main() -> ExitCode {
    // SAFETY: nothing has started a thread yet.
    unsafe { adwp_measure::telemetry::off() };
    adwp_base::program(|| commands::run(adwp_edge::arguments::<args::Args>()?))
}
