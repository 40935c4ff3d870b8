//! `engine-bench`: what the engine takes for an operator and for a training step, what that is of
//! what the machine can do, and what PyTorch takes for the same computation.
//!
//! stdout is data, stderr is messages. Exit codes: 0 done, 1 failed or PyTorch computes something
//! else, 2 the arguments are wrong.

mod agreement;
mod args;
mod cases;
mod count;
mod device;
mod engine;
mod exchange;
mod failure;
mod launches;
mod load;
mod machine;
mod measure;
mod memory;
mod profile;
mod pytorch;
mod report;
mod stats;
mod table;

use std::process::ExitCode;

use adwp_base::{Failure, output, program};
use adwp_engine::Device;
use clap::Parser;

use crate::args::Args;
use crate::failure::{Context, Result};
use crate::machine::Machine;
use crate::measure::{Comparison, Row, Torch};
use crate::pytorch::{How, PyTorch};
use crate::report::Report;
use crate::table::Times;

fn main() -> ExitCode {
    program(|| run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        return cases::containing(&args.only)?.iter().try_for_each(|case| output::line(&case.name));
    }
    if let Some(name) = &args.memory_of {
        let peak = measure::peak(&cases::named(name)?, &device::open(args)?)?;
        return output::line(&serde_json::to_string(&peak).context("cannot print a number")?);
    }
    if let Some(name) = &args.launches {
        return output::line(&launches::list(&cases::named(name)?)?);
    }
    if let Some(name) = &args.profile {
        return output::line(&profile::run(
            &cases::named(name)?,
            &device::open(args)?,
            args.repeats,
        )?);
    }
    bench(args, &device::open(args)?)
}

fn bench(args: &Args, device: &Device) -> Result<()> {
    let cases = cases::containing(&args.only)?;
    let how = How {
        threads: threads(device),
        device: args.device,
        precision: args.precision,
        compile: args.pytorch_compile,
    };
    let mut process =
        args.pytorch.as_deref().map(|python| PyTorch::start(python, &how)).transpose()?;
    let versions = process.as_ref().map(|process| process.versions.clone());
    let mut machine = Machine::measure(device)?;
    if let (Machine::Cpu(processor), Some(process)) = (&mut machine, &mut process) {
        processor.pytorch_gemm_gmacs = Some(process.gemm_gmacs()?);
    }
    output::line(&table::machine(&machine, args, versions.as_ref()))?;

    let mut torch = Torch::new(args.pytorch.as_deref(), how, process);
    let times =
        Times::new(cases.iter().map(|case| case.name.as_str()), args.pytorch.is_some(), &machine);
    output::line(&times.head())?;
    let mut rows = Vec::with_capacity(cases.len());
    for case in &cases {
        let row = measure::row(case, args, device, &machine, &mut torch)?;
        output::line(&times.row(&row))?;
        rows.push(row);
    }
    if let Some(steps) = table::steps(&machine, &rows) {
        output::line(&format!("\n{steps}"))?;
    }
    if let Some(path) = &args.out {
        Report::new(args, &machine, versions.as_ref(), &rows).write(path)?;
    }
    compared(&rows)
}

/// Threads that PyTorch is to use in addition to the device: on a GPU, where they matter little, as
/// many as there are cores.
fn threads(device: &Device) -> usize {
    match device {
        Device::Cpu(device) => device.threads(),
        Device::Cuda(_) => machine::cores(),
    }
}

/// Says which rows have no comparison and why.
fn compared(rows: &[Row]) -> Result<()> {
    let mut bad = 0;
    for row in rows {
        let reason = match &row.pytorch {
            Some(Comparison::Differs { agreement }) => agreement.to_string(),
            Some(Comparison::Failed { message }) => message.clone(),
            Some(Comparison::Agrees { .. }) | None => continue,
        };
        bad += 1;
        output::message(&format!("{}: {reason}", row.case));
    }
    match bad {
        0 => Ok(()),
        _ => Err(Failure::failed(format!(
            "{bad} of {} cases could not be compared with PyTorch",
            rows.len()
        ))),
    }
}
