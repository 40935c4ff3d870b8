mod lut;
mod run;
mod search;
mod study;
mod values;
mod zoo;

use std::path::PathBuf;

use adwp_data::{DatasetKind, VAL_SHARE};
pub(crate) use adwp_edge::OrtArgs;
use adwp_edge::{
    BenchArgs, CompareArgs, EvalArgs, PredictArgs, ReportArgs, ShapeArg, TrialArgs, dataset,
    input_shape,
};
use clap::{ArgGroup, Parser, Subcommand};

pub(crate) use lut::{LutBuildArgs, LutCheckArgs, LutCommand, SizeArgs, TimingArgs};
pub(crate) use run::{RunArgs, TrainArgs};
pub(crate) use search::{ExploreArgs, SearchArgs, flag};
pub(crate) use study::{PublishedArgs, StudyArgs};
pub(crate) use zoo::{NetworkSizeArgs, ZooCommand, ZooExportArgs};

use values::amount;

/// Searches, retrains, exports and benchmarks small image networks.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Say nothing but errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Say more: every metric of every epoch.
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Print the result as JSON on stdout.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in order: space, search, retrain, export, bench, report.
    Run(TrainArgs),
    /// Data sets: what there is, and whether a folder is one.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Derive the intensive space.
    Space(TrainArgs),
    /// Train the HyperNetwork and search an architecture; with --strategy, score one architecture
    /// after another, of any space and by any scorer.
    Search(SearchArgs),
    /// Train the found architecture from scratch, that of another run on other images, or a
    /// published one.
    Retrain(RetrainArgs),
    /// Study what a search is worth: scorers against retraining or a published table, strategies
    /// against each other.
    #[command(visible_alias = "fidelity")]
    Study(StudyArgs),
    /// Write ONNX; refuses to finish unless the file agrees with the trained network.
    Export(ExportArgs),
    /// Latency under ONNX Runtime and tract, with params and multiply-adds.
    Bench(BenchArgs),
    /// Top-1 and top-5 accuracy of an ONNX file through a runtime.
    Eval(EvalArgs),
    /// The most likely classes of images.
    Predict(PredictArgs),
    /// Params and multiply-adds of a genotype, a published architecture or an ONNX file.
    Cost(CostArgs),
    /// Published architectures: what there is, what they cost, their genotypes, as ONNX files.
    Zoo {
        #[command(subcommand)]
        command: ZooCommand,
    },
    /// Latencies of operators on this machine: measure a table of them, or check one.
    Lut {
        #[command(subcommand)]
        command: LutCommand,
    },
    /// Write report.json and report.html of a finished run; or show results of `adwp bench` side by
    /// side.
    Report(ReportArgs),
    /// Compare two results of `adwp bench`; exit code 1 on a regression.
    Compare(CompareArgs),
    #[command(hide = true)]
    Trial(TrialArgs),
    /// What this machine has: processor, devices, ONNX Runtime, data sets.
    Doctor {
        #[command(flatten)]
        ort: OrtArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// The data sets adwp reads, and where to get them.
    List,
    /// Read every image of a data set and report what is wrong.
    Check {
        /// Folder of the data set; none for the sample.
        dir: Option<PathBuf>,
        /// Which data set it is.
        #[arg(long, value_parser = dataset)]
        dataset: DatasetKind,
    },
    /// Write a folder CLASS/* of images as train/CLASS/* and val/CLASS/*: links to them, or copies.
    /// What an image shows decides where it goes, so that the same image, in any format and size,
    /// goes to the same side, whatever is added later.
    Split {
        /// Folder with one folder for each class.
        dir: PathBuf,
        /// Folder that is made.
        out: PathBuf,
        /// Share of images that are for testing.
        #[arg(long, value_name = "SHARE", default_value_t = VAL_SHARE)]
        val_share: f64,
        /// Copy the files instead of linking to them.
        #[arg(long)]
        copy: bool,
    },
}

/// The form of the file. Every form has a name of its own in the folder of the run, so that
/// all can be there: model.onnx, model.pixels.onnx, model.fp16.onnx, model.int8.onnx,
/// model.pixels.fp16.onnx, model.pixels.int8.onnx.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Take pixels: the input is `image`, uint8 [batch, height, width, channels], and the graph
    /// normalises it. With --fp16 or --int8 too.
    #[arg(long)]
    pub(crate) preprocess: bool,
    /// Weights and computation in 16-bit floats; input, output and the last linear layer stay
    /// 32-bit floats.
    #[arg(long, conflicts_with = "int8")]
    pub(crate) fp16: bool,
    /// Static quantisation to 8 bits, calibrated on training images with ONNX Runtime. Accuracy
    /// before and after is recorded next to the file.
    #[arg(long)]
    pub(crate) int8: bool,
    /// Training images that --int8 calibrates on; all where there are fewer [default: 512].
    #[arg(long, value_name = "N", requires = "int8", conflicts_with = "fp16")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) calibration_images: Option<u32>,
}

#[derive(Debug, clap::Args)]
#[command(group(ArgGroup::new("origin").args(["from", "architecture"])))]
#[command(group(ArgGroup::new("initial").args(["fine_tune", "weights"])))]
pub(crate) struct RetrainArgs {
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// Train the architecture that this run has found, in the folder of --run: settings start from
    /// those of this run, except those of its images and limits.
    #[arg(long, value_name = "RUN", requires = "run", conflicts_with = "preset")]
    pub(crate) from: Option<PathBuf>,
    /// Start from the trained weights of that run as far as they fit, at a tenth of its learning
    /// rate.
    #[arg(long, requires = "from")]
    pub(crate) fine_tune: bool,
    /// Train this architecture, in the folder of --run: zoo:NAME for one of `adwp zoo list`, or a
    /// file, genotype.json or architecture.json of a run. Cells and channels are the published ones
    /// unless settings say otherwise.
    #[arg(long, value_name = "WHAT", requires = "run")]
    pub(crate) architecture: Option<PathBuf>,
    /// With --architecture zoo:NAME: start from published weights of this network, a state dict of
    /// PyTorch (.safetensors or .pth) as torchvision, timm or EfficientNet-PyTorch name its tensors;
    /// the classifier is that of the new classes. Settings are those of fine-tuning at 224×224
    /// pixels, normalised as the weights expect it.
    #[arg(long, value_name = "FILE", requires = "architecture")]
    pub(crate) weights: Option<PathBuf>,
    /// With --weights or --fine-tune: train the classifier alone (retrain.body_rate=0).
    #[arg(long, requires = "initial")]
    pub(crate) freeze: bool,
    /// With --from or --architecture: as many channels as leave at most N trainable
    /// parameters, such as 1.5M.
    #[arg(long, value_name = "N", value_parser = amount)]
    #[arg(requires = "origin", conflicts_with_all = ["fine_tune", "weights"])]
    pub(crate) target_params: Option<u64>,
    /// With --from or --architecture: as many channels as leave at most N multiply-adds for an
    /// image, such as 600M; of a network that is no stack of cells, as much width.
    #[arg(long, value_name = "N", value_parser = amount)]
    #[arg(requires = "origin", conflicts_with_all = ["fine_tune", "weights"])]
    pub(crate) target_madds: Option<u64>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CostArgs {
    /// genotype.json, architecture.json, an ONNX file, or zoo:NAME for a published architecture
    /// (`adwp zoo list`).
    pub(crate) what: PathBuf,
    /// List every layer.
    #[arg(long)]
    pub(crate) layers: bool,
    /// For an ONNX file: the shape of an input that it leaves open; can be repeated.
    #[arg(long, value_name = "NAME=SHAPE", value_parser = input_shape)]
    pub(crate) input: Vec<ShapeArg>,
    #[command(flatten)]
    pub(crate) sizes: NetworkSizeArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    /// Whether a text that follows `adwp` in a message is a command of the program, as far as it
    /// is no argument.
    fn is_command(words: &str) -> bool {
        let mut command = Args::command();
        for word in words.split_whitespace() {
            let is_name = word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if !is_name || word.starts_with('-') || !command.has_subcommands() {
                return true;
            }
            let Some(inner) = command.find_subcommand(word) else { return false };
            command = inner.clone();
        }
        true
    }

    /// The Rust files below a folder.
    fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                sources(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
                found.push(path);
            }
        }
    }

    #[test]
    fn commands_that_messages_name_exist() {
        assert!(is_command("data check DIR") && is_command("zoo show darts-v2"));
        assert!(!is_command("data fetch cifar10") && !is_command("resume"));
        let (root, mut files) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), Vec::new());
        sources(&root, &mut files);
        let (mut seen, mut wrong) = (0, Vec::new());
        for file in files.iter().filter(|file| !file.ends_with("cli/src/args.rs")) {
            let text = fs::read_to_string(file).unwrap();
            for quoted in text.split('`').skip(1).step_by(2) {
                // A message may be broken within it.
                let quoted = quoted.replace("\\\n", " ");
                let Some(words) = quoted.strip_prefix("adwp ").filter(|of| !of.contains('\n'))
                else {
                    continue;
                };
                seen += 1;
                if !is_command(words) {
                    wrong.push(format!("{}: {words}", file.display()));
                }
            }
        }
        assert!(seen > 40, "{seen}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
