//! The `adwp` program: what the user typed becomes a validated plan, the plan is carried out by the
//! libraries, the result is printed.
//!
//! stdout is data, stderr is messages and progress. Exit codes: 0 done, 1 failed, 2 the input is
//! wrong, 130 interrupted.

mod architecture;
mod args;
mod commands;
mod config;
mod device;
mod failure;
mod formats;
mod interrupt;
mod limits;
mod memory;
mod output;
mod progress;
mod reference;
mod session;
mod skipped;
mod steps;
mod transfer;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::failure::Failure;

fn main() -> ExitCode {
    // Runtimes panic on some damaged models; the deploy library turns that into an error, which is
    // what the user should see.
    panic::set_hook(Box::new(|_| {}));
    let args = Args::parse();
    let outcome =
        panic::catch_unwind(AssertUnwindSafe(|| commands::run(args))).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure::internal(text.unwrap_or("unknown")))
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            failure.exit_code()
        }
    }
}
