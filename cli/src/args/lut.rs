use std::num::NonZeroUsize;
use std::path::PathBuf;

use adwp_edge::OrtArgs;
use adwp_measure::runtime::Runtime;
use adwp_models::Stem;
use clap::Subcommand;

use super::values::{ImageSize, image_shape, networks, stem};

#[derive(Debug, Subcommand)]
pub(crate) enum LutCommand {
    /// Measure every operator of the networks of these sizes. For another device, run the program
    /// there and copy the table back.
    Build(LutBuildArgs),
    /// Measure random networks and compare with what a table predicts.
    Check(LutCheckArgs),
}

/// Sizes of networks. Flags override those of a run or of settings, whose data is never opened.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SizeArgs {
    /// The sizes of this run's retrained network.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["preset", "config"])]
    pub(crate) run: Option<PathBuf>,
    /// The sizes that a run with this preset would have.
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// The sizes that a run with these settings would have.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Networks of this space, with its published sizes: nas-bench-201 [default: that of DARTS].
    #[arg(long, value_name = "NAME")]
    #[arg(conflicts_with_all = ["run", "preset", "config", "keep", "stem"])]
    pub(crate) space: Option<String>,
    /// Cells [default: 8].
    #[arg(long)]
    pub(crate) cells: Option<usize>,
    /// Channels of a node in the first cell [default: 36].
    #[arg(long)]
    pub(crate) channels: Option<usize>,
    /// Channels, height and width of an image [default: 3x32x32].
    #[arg(long, value_parser = image_shape)]
    pub(crate) image: Option<ImageSize>,
    /// Number of classes [default: 10].
    #[arg(long)]
    pub(crate) classes: Option<usize>,
    /// What comes before the cells, cifar or imagenet [default: cifar].
    #[arg(long, value_parser = stem)]
    pub(crate) stem: Option<Stem>,
    /// Pairs that a node sums [default: 2].
    #[arg(long)]
    pub(crate) keep: Option<usize>,
}

/// How networks are timed.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TimingArgs {
    /// Least seconds of a round of a network.
    #[arg(long, default_value_t = 0.01, value_name = "SECONDS")]
    pub(crate) min_time: f64,
    #[command(flatten)]
    pub(crate) ort: OrtArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LutBuildArgs {
    #[command(flatten)]
    pub(crate) sizes: SizeArgs,
    /// Runtime [default: that of the table that is resumed, else ONNX Runtime where it is found,
    /// else tract].
    #[arg(long)]
    pub(crate) runtime: Option<Runtime>,
    /// Threads of the runtime [default: those of the table that is resumed, else 1].
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// The table to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Measure what the table lacks, and keep what it has.
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LutCheckArgs {
    /// The table; without other sizes, networks of those that it was first measured for are drawn.
    pub(crate) table: PathBuf,
    #[command(flatten)]
    pub(crate) sizes: SizeArgs,
    /// Networks to measure.
    #[arg(long, default_value = "30", value_name = "N", value_parser = networks)]
    pub(crate) networks: NonZeroUsize,
    /// What they are drawn with.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) timing: TimingArgs,
}
