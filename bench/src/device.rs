//! What the engine of the benchmark computes on.

use adwp_base::Failure;
use adwp_engine::cuda::{self, Precision};
use adwp_engine::{Device, EngineError};

use crate::args::{Args, DeviceChoice, Stored};
use crate::failure::Result;

/// Opens the device that the arguments name, set up as they ask.
///
/// # Errors
/// A failure of the input when there is no such GPU, or when the CPU is asked for what only a GPU
/// can do.
pub(crate) fn open(args: &Args) -> Result<Device> {
    let device = match args.device {
        DeviceChoice::Cpu => cpu(args)?,
        DeviceChoice::Cuda(number) => {
            gpu(number, args).map_err(|e| Failure::input(format!("--device cuda:{number}: {e}")))?
        }
    };
    Ok(if args.no_fuse { device.unfused() } else { device })
}

fn cpu(args: &Args) -> Result<Device> {
    let refused = |flag: &str| {
        Err(Failure::input(format!("{flag}: only a GPU can do that; name one with --device cuda")))
    };
    if args.precision == Stored::Bf16 {
        return refused("--precision bf16");
    }
    if args.no_graphs {
        return refused("--no-graphs");
    }
    Ok(Device::cpu(args.threads.into())?)
}

fn gpu(number: usize, args: &Args) -> Result<Device, EngineError> {
    let precision = match args.precision {
        Stored::F32 => Precision::F32,
        Stored::Bf16 => Precision::Bf16,
    };
    let device = cuda::Device::open(number)?.with_precision(precision);
    Ok(if args.no_graphs { device.without_graphs() } else { device }.into())
}

#[cfg(test)]
mod tests {
    use adwp_base::Kind;

    use super::*;
    use clap::Parser;

    fn opened(args: &[&str]) -> Result<Device> {
        open(&Args::parse_from(["engine-bench"].iter().chain(args)))
    }

    #[test]
    fn devices_are_known_by_name() {
        let parsed = ["cpu", "cuda", "cuda:0", "cuda:3"].map(|text| text.parse().unwrap());
        assert_eq!(
            parsed,
            [
                DeviceChoice::Cpu,
                DeviceChoice::Cuda(0),
                DeviceChoice::Cuda(0),
                DeviceChoice::Cuda(3)
            ]
        );
        assert!(
            ["", "gpu", "cuda:", "cuda:-1", "CUDA"]
                .iter()
                .all(|text| text.parse::<DeviceChoice>().is_err())
        );
        assert_eq!(parsed.map(DeviceChoice::in_pytorch), ["cpu", "cuda:0", "cuda:0", "cuda:3"]);
    }

    #[test]
    fn the_cpu_is_not_asked_for_what_only_a_gpu_can_do() {
        let opened_cpu = opened(&["--threads", "1", "--no-fuse"]);
        assert!(matches!(opened_cpu, Ok(Device::Cpu(device)) if !device.fuses()));
        let refused = |flags: &[&str]| {
            let failure = opened(flags).unwrap_err();
            assert_eq!(failure.kind, Kind::Input);
            failure.message
        };
        for flags in [&["--precision", "bf16"][..], &["--no-graphs"]] {
            assert!(refused(flags).starts_with(flags[0]));
        }
        let nowhere = refused(&["--device", "cuda:1000"]);
        assert!(nowhere.starts_with("--device cuda:1000: "), "{nowhere}");
    }
}
