//! What users type.

use std::{env, path::PathBuf, time::Duration};

use adwp_base::Failure;
use adwp_data::DatasetKind;
use adwp_measure::{onnx::Interface, runtime::Runtime, trial::Trial};
use clap::ValueEnum;

/// Where ONNX Runtime is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct OrtArgs {
    /// The ONNX Runtime library; found by itself in the usual places.
    #[arg(long, value_name = "FILE")]
    pub ort_lib: Option<PathBuf>,
}

/// What a file leaves open, and how it is tried before it is loaded.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// The shape of an input that the file leaves open; can be repeated.
    #[arg(long, value_name = "NAME=SHAPE", value_parser = input_shape)]
    pub input: Vec<ShapeArg>,
    /// The output that has the scores [default: the first that looks like them, of those with as
    /// many as there are classes].
    #[arg(long, value_name = "NAME")]
    pub output: Option<String>,
    /// The longest that a runtime may take to load the model and run it once, such as 5s. It is
    /// tried in a process of its own, whose end is no harm.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = seconds)]
    pub load_timeout: Duration,
    /// The most memory that it may take for that, such as 2GB (Linux) [default: what is available].
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_memory: Option<u64>,
    /// Load models at once, without trying them in a process of their own; what they take of memory
    /// is then not measured.
    #[arg(long, conflicts_with_all = ["load_timeout", "max_memory"])]
    pub no_trial: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it among the flags")]
    pub ort: OrtArgs,
}

impl LoadArgs {
    /// What the file leaves open.
    pub fn said(&self) -> Interface {
        said(&self.input, self.output.as_ref())
    }

    /// How models are tried, by this program; `None` where they are not.
    pub(crate) fn trial(&self) -> Option<Trial> {
        let program = env::current_exe().ok().filter(|_| !self.no_trial)?;
        Some(Trial { program, timeout: self.load_timeout, max_memory: self.max_memory })
    }
}

pub(crate) fn said(inputs: &[ShapeArg], output: Option<&String>) -> Interface {
    let shapes = inputs.iter().map(|of| (of.name.clone(), of.shape.clone())).collect();
    Interface { shapes, output: output.cloned() }
}

/// Arguments of `bench`.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchArgs {
    /// ONNX files.
    #[arg(required = true)]
    pub models: Vec<PathBuf>,
    /// Runtimes, separated by commas [default: all that are here].
    #[arg(long, value_delimiter = ',')]
    pub runtime: Vec<Runtime>,
    /// Numbers of threads, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub threads: Vec<usize>,
    /// Images in one run.
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Least time of one repeat, such as 5s, 500ms or 0.5.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = seconds)]
    pub min_time: Duration,
    /// Repeats.
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    /// Run on these processors alone, such as 0-1 or 2,3 (Linux).
    #[arg(long, value_name = "LIST")]
    pub cpu: Option<String>,
    /// Time every node of the models too, in runs of their own.
    #[arg(long)]
    pub profile: bool,
    /// Compare the runtimes on these images, or on those of a folder and the folders below it
    /// [default: on noise].
    #[arg(long, value_name = "PATH")]
    pub images: Vec<PathBuf>,
    /// Write the result to this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Write a report for a browser to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it among the flags")]
    pub load: LoadArgs,
}

/// Arguments of `eval`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvalArgs {
    /// ONNX file.
    pub model: PathBuf,
    /// The data set; its test images are used.
    #[arg(long, value_parser = dataset)]
    pub dataset: DatasetKind,
    /// Folder of the data set.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Of an image folder that has CLASS/* alone, the share of images that are for testing
    /// [default: 0.2].
    #[arg(long, value_name = "SHARE")]
    pub val_share: Option<f64>,
    /// Runtimes, separated by commas [default: all that are here].
    #[arg(long, value_delimiter = ',')]
    pub runtime: Vec<Runtime>,
    /// Images in one run.
    #[arg(long, default_value_t = 50)]
    pub batch: usize,
    /// How pixels are normalised, for a file that does not say it: imagenet, unit (0 to 1), or
    /// MEAN:STD of pixels from 0 to 1, such as 0.5:0.5 or 0.5,0.5,0.4:0.2,0.2,0.2.
    #[arg(long, value_name = "HOW", value_parser = normalize)]
    pub normalize: Option<Normalize>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it among the flags")]
    pub load: LoadArgs,
}

/// Arguments of `predict`.
#[derive(Clone, Debug, clap::Args)]
pub struct PredictArgs {
    /// ONNX file.
    pub model: PathBuf,
    /// Images (JPEG, PNG, WebP, BMP, GIF, TIFF, QOI), folders of them, or - for one on stdin. An
    /// unreadable image is reported and skipped; the exit code is then 1.
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// Classes shown for each image.
    #[arg(long, default_value_t = 5)]
    pub top: usize,
    /// Runtime [default: ONNX Runtime where it is found, else tract].
    #[arg(long)]
    pub runtime: Option<Runtime>,
    /// How pixels are normalised, for a file that does not say it: imagenet, unit (0 to 1), or
    /// MEAN:STD of pixels from 0 to 1, such as 0.5:0.5 or 0.5,0.5,0.4:0.2,0.2,0.2.
    #[arg(long, value_name = "HOW", value_parser = normalize)]
    pub normalize: Option<Normalize>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it among the flags")]
    pub load: LoadArgs,
}

/// Arguments of `compare`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompareArgs {
    /// The result to compare with.
    pub a: PathBuf,
    /// The result to judge.
    pub b: PathBuf,
    /// What is tolerated, as a percentage: 5 or 5%.
    #[arg(long, default_value = "5%", value_parser = percentage)]
    pub threshold: f64,
}

/// The form of a report on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for a terminal.
    #[default]
    Table,
    /// A line for each session, separated by commas.
    Csv,
    /// Tables for a README.
    Markdown,
}

/// Arguments of the report of a bench.
#[derive(Clone, Debug, clap::Args)]
pub struct ReportArgs {
    /// Results of `bench --out`, which end in .json: those of several machines stand side by side.
    /// Or, for `adwp`, the folder of one run, whose report is written again.
    #[arg(required = true)]
    pub results: Vec<PathBuf>,
    /// The form on stdout.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Write a report for a browser to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Arguments of the process that a model is tried in.
#[derive(Clone, Debug, clap::Args)]
pub struct TrialArgs {
    /// ONNX file.
    pub model: PathBuf,
    /// Runtime.
    #[arg(long)]
    pub runtime: Runtime,
    /// Threads.
    #[arg(long)]
    pub threads: usize,
    /// Images in one run.
    #[arg(long)]
    pub batch: usize,
    /// The place of the node whose result the part to be tried ends in.
    #[arg(long)]
    pub part: Option<usize>,
    /// The shape of an input.
    #[arg(long, value_parser = input_shape)]
    pub input: Vec<ShapeArg>,
    /// The output that has the scores.
    #[arg(long)]
    pub output: Option<String>,
    /// Bytes.
    #[arg(long)]
    pub max_memory: Option<u64>,
    /// Seconds of all processors together.
    #[arg(long)]
    pub processor_seconds: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would print it among the flags")]
    pub ort: OrtArgs,
}

/// The shape of an input: `NAME=1x3x224x224`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeArg {
    /// Name of the input in the graph.
    pub name: String,
    /// Sizes of its dimensions, all known.
    pub shape: Vec<usize>,
}

/// Parses `NAME=1x3x224x224`.
///
/// # Errors
/// It has another form.
pub fn input_shape(text: &str) -> Result<ShapeArg, String> {
    let parsed = text.rsplit_once('=').and_then(|(name, shape)| {
        let shape =
            shape.split('x').map(|size| size.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some(ShapeArg { name: name.to_owned(), shape })
    });
    parsed.ok_or_else(|| "expected NAME=SHAPE, such as input=1x3x224x224".into())
}

/// How pixels are normalised: mean and standard deviation of pixels from 0 to 1, one for all
/// channels or one for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Normalize {
    /// The constants for a number of channels.
    ///
    /// # Errors
    /// They are for another number, or no image has that many.
    pub fn constants(&self, channels: usize) -> Result<(Vec<f32>, Vec<f32>), Failure> {
        if !matches!(channels, 1 | 3) {
            return Err(Failure::input(format!(
                "the model takes images of {channels} channels, and those of files have 1 or 3"
            )));
        }
        let of = |values: &[f32]| match values {
            [one] => Ok(vec![*one; channels]),
            _ if values.len() == channels => Ok(values.to_vec()),
            _ => Err(Failure::input(format!(
                "--normalize is for {} channels, and the model takes {channels}",
                values.len()
            ))),
        };
        Ok((of(&self.mean)?, of(&self.std)?))
    }
}

/// Parses `imagenet`, `unit` or `MEAN:STD`.
///
/// # Errors
/// It has another form, or a standard deviation is not above 0.
pub fn normalize(text: &str) -> Result<Normalize, String> {
    let list = |text: &str| -> Option<Vec<f32>> {
        let values = text.split(',').map(|value| value.trim().parse().ok());
        values.collect::<Option<Vec<f32>>>().filter(|all| all.iter().all(|v| v.is_finite()))
    };
    match text {
        "imagenet" => {
            let constants = adwp_data::Normalization::of(DatasetKind::ImageFolder);
            Ok(Normalize { mean: constants.mean, std: constants.std })
        }
        "unit" => Ok(Normalize { mean: vec![0.0], std: vec![1.0] }),
        _ => text
            .split_once(':')
            .and_then(|(mean, std)| Some(Normalize { mean: list(mean)?, std: list(std)? }))
            .filter(|constants| constants.std.iter().all(|std| *std > 0.0))
            .ok_or_else(|| "expected imagenet, unit or MEAN:STD, such as 0.5:0.5".into()),
    }
}

/// Parses a time: `5s`, `500ms`, or a number of seconds.
///
/// # Errors
/// It has another form, or is negative or longer than a day.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (text.strip_suffix('s').unwrap_or(text), 1.0),
    };
    let seconds = number.trim().parse::<f64>().ok().map(|number| number * unit);
    let seconds = seconds.filter(|seconds| (0.0..=86_400.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected a time from 0 to a day, such as 5s, 500ms or 0.5".into())
}

/// Parses a number of bytes: `2GB`, `512MB`, `1.5GiB` or 1000000.
///
/// # Errors
/// It has another form, or is below a megabyte.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => f64::from(1_u32 << 10),
        "mib" => f64::from(1_u32 << 20),
        "gib" => f64::from(1_u32 << 30),
        _ => f64::NAN,
    };
    let bytes = digits.trim().parse::<f64>().ok().map(|number| number * unit);
    let bytes = bytes.filter(|bytes| (1e6..=1e18).contains(bytes));
    bytes
        .map(|bytes| bytes as u64)
        .ok_or_else(|| "expected a size of at least 1MB, such as 2GB, 512MB or 1.5GiB".into())
}

/// Parses `5%` or `5` as 0.05.
///
/// # Errors
/// It is no percentage of 0 or more.
pub fn percentage(text: &str) -> Result<f64, String> {
    let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|n| n.is_finite() && *n >= 0.0)
        .map(|n| n / 100.0)
        .ok_or_else(|| "expected a percentage such as 5%".into())
}

/// A data set by name; the error lists all names.
///
/// # Errors
/// There is none of that name.
pub fn dataset(text: &str) -> Result<DatasetKind, String> {
    text.parse().map_err(|e: adwp_data::DataError| match e.hint() {
        Some(hint) => format!("{e}; {hint}"),
        None => e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parse_or_are_refused() {
        assert_eq!(seconds("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(
            (seconds("500ms"), seconds("0.5")),
            (Ok(Duration::from_millis(500)), Ok(Duration::from_millis(500)))
        );
        assert!(["-1", "NaN", "1e9", "5m", "", "s"].iter().all(|text| seconds(text).is_err()));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(
            (size("1.5GiB"), size("1000000"), size("512 mb")),
            (Ok(3 << 29), Ok(1_000_000), Ok(512_000_000))
        );
        assert!(["", "GB", "1", "-1GB", "1TB", "NaNGB", "1e99"].iter().all(|t| size(t).is_err()));
        assert_eq!(percentage("5%"), Ok(0.05));
        assert!(percentage("-1").is_err() && percentage("NaN").is_err());
        assert_eq!(input_shape("a=b=1x3"), Ok(ShapeArg { name: "a=b".into(), shape: vec![1, 3] }));
        assert!(["1x3", "x=", "x=1xa", "x=1x-3"].iter().all(|text| input_shape(text).is_err()));
    }

    #[test]
    fn there_are_constants_for_the_channels_of_images_only() {
        let constants = |text, channels| normalize(text).unwrap().constants(channels).ok();
        assert_eq!(constants("0.5:0.25", 3), Some((vec![0.5; 3], vec![0.25; 3])));
        assert_eq!(constants("0.5:0.25", 1), Some((vec![0.5], vec![0.25])));
        assert_eq!(constants("imagenet", 1), None);
        assert_eq!(constants("unit", 1 << 30), None);
    }
}
