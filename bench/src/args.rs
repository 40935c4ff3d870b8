use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Parser};
use serde::Serialize;

/// Times the training engine, operator by operator and step by step, against the peaks of the
/// machine and against PyTorch.
#[derive(Debug, Parser)]
#[command(name = "engine-bench", version, about)]
pub(crate) struct Args {
    /// Threads of engine, peaks and PyTorch; 0 for one on each core.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) threads: u16,
    /// Repeats of a step; an operator is repeated for a second, divided into as many rounds. A
    /// repeat on a GPU is many runs, of which the mean counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) repeats: u32,
    /// Only cases whose name contains this; can be repeated.
    #[arg(long, value_name = "SUBSTRING", action = ArgAction::Append)]
    pub(crate) only: Vec<String>,
    /// What the engine computes on: cpu, cuda or cuda:N. PyTorch computes on the same.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceChoice,
    /// What a GPU stores between the steps of a computation in: f32 or bf16, of which PyTorch's
    /// counterpart is autocast.
    #[arg(long, default_value = "f32")]
    pub(crate) precision: Stored,
    /// Start every launch on a GPU by itself instead of all of a run as one graph.
    #[arg(long)]
    pub(crate) no_graphs: bool,
    /// Compute every operation of the graph on its own.
    #[arg(long)]
    pub(crate) no_fuse: bool,
    /// A Python interpreter with PyTorch: runs the same cases there, in turn with the engine.
    #[arg(long, value_name = "PYTHON")]
    pub(crate) pytorch: Option<PathBuf>,
    /// Let torch.compile make one function of each case, which takes it minutes for a large one.
    #[arg(long, requires = "pytorch")]
    pub(crate) pytorch_compile: bool,
    /// Repeats of a step in PyTorch; operators are repeated as in the engine.
    #[arg(
        long,
        default_value_t = 2,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    pub(crate) pytorch_repeats: u32,
    /// Write the result as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Instead: where the time of one case goes, by kind of operation and direction.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["only", "pytorch", "out"])]
    pub(crate) profile: Option<String>,
    /// Instead: what a GPU would start for one run of a case, by kernel. Needs no GPU.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["only", "pytorch", "out", "profile"])]
    pub(crate) launches: Option<String>,
    /// Instead: the names of all cases.
    #[arg(long)]
    pub(crate) list: bool,
    /// Run one step of a case in this otherwise empty process and print its peak memory.
    #[arg(long, hide = true, value_name = "CASE")]
    pub(crate) memory_of: Option<String>,
}

/// What `--device` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    Cpu,
    /// The GPU of that number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                number.map(Self::Cuda).ok_or_else(|| "expected cpu, cuda or cuda:N".into())
            }
        }
    }
}

impl DeviceChoice {
    /// What PyTorch calls it.
    pub(crate) fn in_pytorch(self) -> String {
        match self {
            Self::Cpu => "cpu".to_owned(),
            Self::Cuda(number) => format!("cuda:{number}"),
        }
    }
}

/// What `--precision` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stored {
    /// Single precision.
    F32,
    /// Half of it.
    Bf16,
}

impl Stored {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
