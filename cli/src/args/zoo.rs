use std::path::PathBuf;

use adwp_edge::OrtArgs;
use adwp_models::zoo::Width;
use adwp_models::{Bounds, Sizes, Stem};
use clap::Subcommand;

use super::values::{ImageSize, amount, image_shape, stem, width};

#[derive(Debug, Subcommand)]
pub(crate) enum ZooCommand {
    /// Every architecture, what it costs as counted here and as reported, and the reported errors.
    List {
        /// Print the table as Markdown.
        #[arg(long)]
        markdown: bool,
    },
    /// The genotype of an architecture, for `adwp cost` and `adwp retrain --architecture`; with
    /// --json, all that is known of it.
    Show {
        /// A name of `adwp zoo list`.
        name: String,
        /// Cells [default: those it was published with for CIFAR-10, or else for ImageNet].
        #[arg(long)]
        cells: Option<usize>,
    },
    /// Write an architecture with random weights to an ONNX file, once engine, candle and every
    /// runtime agree on it.
    Export(Box<ZooExportArgs>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ZooExportArgs {
    /// A name of `adwp zoo list`.
    pub(crate) name: String,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) sizes: NetworkSizeArgs,
    /// Seed of random weights [default: 0].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Published weights of this network instead: a state dict of PyTorch, .safetensors or .pth, as
    /// torchvision, timm or EfficientNet-PyTorch name its tensors.
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    /// Images to compare the executions on [default: noise].
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) ort: OrtArgs,
}

/// Sizes of one network.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct NetworkSizeArgs {
    /// For a published stack of cells: how many [default: those it was published with behind this
    /// stem].
    #[arg(long)]
    pub(crate) cells: Option<usize>,
    /// For cells: channels of a node in the first cell [default: as published, or else 36].
    #[arg(long)]
    pub(crate) channels: Option<usize>,
    /// For networks that are no stack of cells: what their channels are multiplied by, such as 0.5.
    #[arg(long, value_name = "W", value_parser = width, conflicts_with = "channels")]
    pub(crate) width: Option<Width>,
    /// As many channels as leave at most N trainable parameters, such as 1.5M; of a network that is
    /// no stack of cells, as much width.
    #[arg(long, value_name = "N", value_parser = amount)]
    #[arg(conflicts_with_all = ["channels", "width"])]
    pub(crate) target_params: Option<u64>,
    /// As many channels as leave at most N multiply-adds for an image, such as 600M; or as much
    /// width.
    #[arg(long, value_name = "N", value_parser = amount)]
    #[arg(conflicts_with_all = ["channels", "width"])]
    pub(crate) target_madds: Option<u64>,
    /// Number of classes [default: 10, or 1000 for ImageNet].
    #[arg(long)]
    pub(crate) classes: Option<usize>,
    /// Channels, height and width of an image [default: 3x32x32, or 3x224x224 for ImageNet].
    #[arg(long, value_parser = image_shape)]
    pub(crate) image: Option<ImageSize>,
    /// For cells: what comes before them, cifar or imagenet [default: what they were published for,
    /// or else cifar].
    #[arg(long, value_parser = stem)]
    pub(crate) stem: Option<Stem>,
}

impl NetworkSizeArgs {
    pub(crate) fn sizes(&self) -> Sizes {
        let Self { cells, channels, width, classes, image, stem, .. } = *self;
        Sizes { stem, cells, channels, width, image: image.map(|image| image.0), classes }
    }

    /// What `--target-params` and `--target-madds` ask for; none where neither is given.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        let bounds = Bounds { params: self.target_params, madds: self.target_madds };
        (bounds != Bounds::default()).then_some(bounds)
    }
}
