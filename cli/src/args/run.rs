use std::path::PathBuf;
use std::time::Duration;

use adwp_data::{AutoAugment, DatasetKind};
use adwp_edge::{OrtArgs, dataset};
use adwp_engine::cuda::Precision;
use clap::ArgAction;

use super::values::{amount, auto_augment, minutes, precision, scale};

/// Settings of a run. Flags override the config file, which overrides the preset. A flag for a
/// setting names its key; what the setting does is said at its field in the `Settings`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RunArgs {
    /// Folder of the run [default: runs/PRESET; of a search or study that looks at no images,
    /// runs/SPACE].
    #[arg(long, value_name = "DIR")]
    pub(crate) run: Option<PathBuf>,
    /// Settings to start from: demo, folder-cpu, adwp-cpu, study-cpu, cifar10-8, cifar10-14,
    /// imagenet-8, imagenet-14 [default: demo].
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One setting, such as `--set search.epochs=20`; can be repeated.
    #[arg(long, value_name = "KEY=VALUE", action = ArgAction::Append)]
    pub(crate) set: Vec<String>,
    /// Multiply every setting that counts epochs by X, such as 0.25: rounded, at least 1, in the
    /// order that they have. What --set and other flags say of one of them is taken as it is.
    #[arg(long, value_name = "X", value_parser = scale)]
    pub(crate) epochs_scale: Option<f64>,
    /// The data set (dataset): sample, fashion-mnist, cifar10, cifar100, image-folder.
    #[arg(long, value_parser = dataset)]
    pub(crate) dataset: Option<DatasetKind>,
    /// Folder of the data set (data).
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Seed of all random numbers (seed), at most 9223372036854775807.
    #[arg(long, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub(crate) seed: Option<u64>,
    /// Limit on parameters, such as 1.5M (limits.params).
    #[arg(long, value_name = "N", value_parser = amount)]
    pub(crate) max_params: Option<u64>,
    /// Limit on multiply-adds, such as 600M (limits.madds).
    #[arg(long, value_name = "N", value_parser = amount)]
    pub(crate) max_madds: Option<u64>,
    /// Give all networks of cells one price: as many channels as these two limits allow, or else as
    /// leave them the multiply-adds of zoo:darts-v2 (limits.fill).
    #[arg(long)]
    pub(crate) fill: bool,
    /// Limit on predicted latency (limits.latency_ms).
    #[arg(long, value_name = "MS")]
    pub(crate) max_latency_ms: Option<f64>,
    /// Table that predicts latency (limits.latency_table); `adwp lut build` measures one.
    #[arg(long, value_name = "FILE")]
    pub(crate) latency_table: Option<PathBuf>,
    /// Drop identities in the search (space.identity_dropout, search.identity_dropout).
    #[arg(long, value_name = "SHARE")]
    pub(crate) identity_dropout: Option<f32>,
    /// End a search whose result stays the same (space.early_stop, search.early_stop).
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) early_stop: Option<usize>,
    /// Of an image folder that has CLASS/* alone, the share of images that are for testing
    /// (val_share).
    #[arg(long, value_name = "SHARE")]
    pub(crate) val_share: Option<f64>,
    /// Average the retrained weights with this decay, such as 0.999 (retrain.ema).
    #[arg(long, value_name = "DECAY")]
    pub(crate) ema: Option<f32>,
    /// Policy for images of retraining (retrain.augmentation.auto_augment): cifar10, imagenet, off.
    #[arg(long, value_name = "POLICY", value_parser = auto_augment)]
    pub(crate) auto_augment: Option<AutoAugment>,
    /// Classify test images by the mean with their mirror images too (retrain.test_flips).
    #[arg(long)]
    pub(crate) test_flips: bool,
    /// Threads; 0 for one on each core. Results do not depend on it.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Where to compute: auto (a GPU where there is one, else the CPU), cpu, cuda or cuda:N.
    #[arg(long, default_value = "auto")]
    pub(crate) device: String,
    /// What a GPU stores between the steps of a computation in: f32, or bf16, which takes half the
    /// memory. The CPU supports only f32.
    #[arg(long, default_value = "f32", value_parser = precision)]
    pub(crate) precision: Precision,
    /// Compute every operation of the graph on its own: slower, for comparison. Results differ in
    /// rounding.
    #[arg(long)]
    pub(crate) no_fuse: bool,
    /// Start phases that need more memory than there seems to be.
    #[arg(long)]
    pub(crate) no_memory_check: bool,
    /// Continue the run in the folder from its last checkpoint; start it where there is none. The
    /// folder must be there.
    #[arg(long)]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) ort: OrtArgs,
}

/// A run, and how long its training may take.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Stop at the first training step after M minutes, as Ctrl-C does: with a checkpoint, and exit
    /// code 130.
    #[arg(long, value_name = "M", value_parser = minutes)]
    pub(crate) max_minutes: Option<Duration>,
}
