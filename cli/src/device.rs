//! What the engine of a run computes on.

use std::str::FromStr;

use adwp_base::{Failure, Result};
use adwp_engine::cuda::{self, Precision};
use adwp_engine::{Device, EngineError};
use adwp_train::Reporter;
use serde::{Deserialize, Serialize};

use crate::args::RunArgs;

/// What `--device` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceChoice {
    /// The first GPU where there is one, else the CPU.
    Auto,
    Cpu,
    /// The GPU of that number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    Failure::input(format!("--device {text}: there is no such device"))
                        .hint("use auto, cpu, cuda or cuda:N")
                }),
        }
    }
}

/// What of a device decides how results are rounded, and is asked for by flags that are no settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rounding {
    /// Whether operations are fused: without `--no-fuse`.
    fused: bool,
    /// That of `--precision`.
    precision: String,
}

impl Rounding {
    /// How a run with this computes where a command computes otherwise, and what would make them
    /// one.
    pub(crate) fn difference(&self, other: &Self) -> Option<(String, String)> {
        let Self { fused, precision } = self;
        if *fused != other.fused {
            return Some(match fused {
                true => ("without --no-fuse".into(), "leave --no-fuse out".into()),
                false => ("with --no-fuse".into(), "add --no-fuse".into()),
            });
        }
        let flag = format!("--precision {precision}");
        (*precision != other.precision).then(|| (format!("with {flag}"), format!("give {flag}")))
    }
}

/// How a run computes, as the flags say. Results are the same but for rounding.
#[derive(Clone, Debug)]
pub(crate) struct Compute {
    choice: DeviceChoice,
    /// The choice as it was typed.
    flag: String,
    precision: Precision,
    threads: usize,
    fuses: bool,
}

impl Compute {
    pub(crate) fn of(args: &RunArgs) -> Result<Self> {
        let (choice, flag) = (args.device.parse()?, args.device.clone());
        let RunArgs { precision, threads, no_fuse, .. } = *args;
        Ok(Self { choice, flag, precision, threads, fuses: !no_fuse })
    }

    /// What of it decides how results are rounded.
    pub(crate) fn rounding(&self) -> Rounding {
        let precision = match self.precision {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        };
        Rounding { fused: self.fuses, precision: precision.into() }
    }

    /// The device. Where `auto` finds no GPU, or nothing that compiles kernels for it, the reporter
    /// hears of it.
    pub(crate) fn open(&self, reporter: &mut dyn Reporter) -> Result<Device> {
        let gpu = |number| {
            let device = cuda::Device::open(number)?;
            device.prepare()?;
            Ok::<Device, EngineError>(device.with_precision(self.precision).into())
        };
        let device = match self.choice {
            DeviceChoice::Cpu => self.cpu(reporter)?,
            DeviceChoice::Cuda(number) => gpu(number).map_err(|e| refused(&self.flag, e))?,
            DeviceChoice::Auto => match gpu(0) {
                Ok(device) => device,
                Err(e) => {
                    reporter.message(&format!("computing on the CPU: {}", reason(&e)));
                    self.cpu(reporter)?
                }
            },
        };
        Ok(if self.fuses { device } else { device.unfused() })
    }

    fn cpu(&self, reporter: &mut dyn Reporter) -> Result<Device> {
        if self.precision == Precision::Bf16 {
            let failure = Failure::input("--precision bf16: the CPU computes in f32 alone");
            return Err(failure.hint("leave it out, or name a GPU with --device cuda"));
        }
        Ok(Device::cpu(threads(self.threads, reporter))?)
    }
}

/// As many threads as were asked for, or as this machine runs at once where these are fewer or none
/// were asked for.
pub(crate) fn threads(asked: usize, reporter: &mut dyn Reporter) -> usize {
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    if asked > most {
        reporter.message(&format!(
            "--threads {asked}: this machine runs {most} at once, so no more are used"
        ));
    }
    if asked == 0 { most } else { asked.min(most) }
}

/// A GPU that was named and cannot be used: the flag is wrong here.
fn refused(flag: &str, error: EngineError) -> Failure {
    let failure = Failure::input(format!("--device {flag}: {}", reason(&error)));
    match error {
        EngineError::Cuda { hint: Some(hint), .. } => failure.hint(hint),
        _ => failure,
    }
}

/// An error without its hint.
fn reason(error: &EngineError) -> String {
    match error {
        EngineError::Cuda { what, .. } => what.clone(),
        error => error.to_string(),
    }
}

/// What compiles kernels for a GPU: its version, or why there is none.
pub(crate) fn compiler() -> Result<String, String> {
    cuda::compiler().map(|(major, minor)| format!("NVRTC {major}.{minor}")).map_err(|e| reason(&e))
}

/// The names of the GPUs, in the order of their numbers; the error says why there is none.
pub(crate) fn gpus() -> Result<Vec<String>, String> {
    let first = cuda::Device::open(0).map_err(|e| reason(&e))?;
    let mut names = vec![first.name().to_owned()];
    while let Ok(next) = cuda::Device::open(names.len()) {
        names.push(next.name().to_owned());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_name() {
        let parsed: [DeviceChoice; 5] =
            ["auto", "cpu", "cuda", "cuda:0", "cuda:3"].map(|text| text.parse().unwrap());
        let cuda = DeviceChoice::Cuda;
        assert_eq!(parsed, [DeviceChoice::Auto, DeviceChoice::Cpu, cuda(0), cuda(0), cuda(3)]);
        for wrong in ["", "gpu", "cpu:0", "auto:0", "cuda:", "cuda:-1", "cuda:x", "CUDA"] {
            assert!(
                wrong
                    .parse::<DeviceChoice>()
                    .unwrap_err()
                    .message
                    .starts_with(&format!("--device {wrong}: ")),
                "{wrong}"
            );
        }
    }
}
