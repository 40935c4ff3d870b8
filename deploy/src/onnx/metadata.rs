//! The `adwp.*` entries of a model's metadata.

use std::collections::BTreeMap;

use adwp_base::from_json;
use serde::{Deserialize, de::DeserializeOwned};

use super::input::{Element, ImageInput};

/// How pixels become the model's input: `(pixel / 255 - mean) / std`, one mean and one standard
/// deviation a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// Mean of each channel, of pixels scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels scaled to [0, 1]; greater than 0.
    pub std: Vec<f32>,
}

/// What becomes of a photo before [`Normalization`], as the file states it
/// (`adwp.preprocessing`): it is turned as its EXIF orientation says, made gray or coloured as the
/// input has channels, and scaled, with antialiasing, in its proportions, just so that it covers a
/// size, the longer side rounded down. The centre of it is what the model takes, a half pixel rounded
/// to the even number.
///
/// Statements of anything else are refused when the file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preprocessing {
    /// Height and width of the size to cover; neither is less than the model's input has.
    pub cover: [usize; 2],
    /// Whether it is scaled by the cubic filter of Pillow, and not bilinearly.
    pub bicubic: bool,
}

/// What the exporter wrote in addition to the graph. Every entry is optional: a stranger's file has
/// none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelMetadata {
    /// Class names, one for each output (`adwp.classes`).
    pub classes: Option<Vec<String>>,
    /// What becomes of photos (`adwp.preprocessing`); files that older versions wrote do not say it.
    pub preprocessing: Option<Preprocessing>,
    /// Normalisation of the pixels, by the network or before it (`adwp.mean` and `adwp.std`, or
    /// where these are missing `adwp.preprocessing`).
    pub normalization: Option<Normalization>,
    /// Trainable parameters of the network as it was trained (`adwp.params`). The file itself may
    /// hold fewer: a BatchNorm folded into its convolution loses its scale.
    pub params: Option<u64>,
    /// Multiply-adds of one image as the trainer counted them (`adwp.madds`).
    pub madds: Option<u64>,
    /// The genotype that the network was built from (`adwp.genotype`).
    pub genotype: Option<serde_json::Value>,
    /// Accuracy on the test set in [0, 1] or percent, as the exporter wrote it
    /// (`adwp.test_accuracy`).
    pub test_accuracy: Option<f64>,
    /// The data set it was trained on (`adwp.dataset`).
    pub dataset: Option<String>,
}

type Entry<T> = Result<Option<T>, (String, String)>;

impl ModelMetadata {
    /// How many classes are named; `None` where none are, or in no readable way.
    pub(super) fn class_count(props: &BTreeMap<String, String>) -> Option<usize> {
        let names = json::<Vec<String>>(props, "adwp.classes");
        names.ok().flatten().map(|names| names.len())
    }

    /// Parses the known entries and checks them against the graph. The error is the key and what is
    /// wrong with it.
    pub(super) fn read(
        props: &BTreeMap<String, String>,
        input: &ImageInput,
        classes: usize,
    ) -> Result<Self, (String, String)> {
        let names: Option<Vec<String>> = json(props, "adwp.classes")?;
        if let Some(names) = &names
            && names.len() != classes
        {
            return Err((
                "adwp.classes".to_owned(),
                format!("{} names for {classes} outputs", names.len()),
            ));
        }
        let mut normalization = normalization(props, input.channels)?;
        let mut preprocessing = None;
        if let Some(text) = props.get(PREPROCESSING) {
            let failed = |detail| (PREPROCESSING.to_owned(), detail);
            let stated = Stated::read(text).map_err(failed)?;
            preprocessing = Some(stated.preprocessing(input).map_err(failed)?);
            let outside = stated.normalization(input).map_err(failed)?;
            // Constants of a network that normalises by itself are those of its graph.
            if !input.pixels() && *normalization.get_or_insert_with(|| outside.clone()) != outside {
                let detail = "it states another normalisation than adwp.mean and adwp.std";
                return Err(failed(detail.to_owned()));
            }
        }
        Ok(Self {
            classes: names,
            preprocessing,
            normalization,
            params: json(props, "adwp.params")?,
            madds: json(props, "adwp.madds")?,
            genotype: json(props, "adwp.genotype")?,
            test_accuracy: json(props, "adwp.test_accuracy")?,
            dataset: props.get("adwp.dataset").cloned(),
        })
    }
}

const PREPROCESSING: &str = "adwp.preprocessing";
const SCHEMA: &str = "adwp/preprocessing/1";

/// `adwp.preprocessing` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stated {
    #[serde(rename = "schema")]
    _schema: String,
    orientation: String,
    color: String,
    resize: Resize,
    crop: Crop,
    divide_by: f64,
    mean: Vec<f64>,
    std: Vec<f64>,
    layout: String,
    dtype: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    rule: String,
    height: usize,
    width: usize,
    round: String,
    interpolation: String,
    antialias: bool,
    passes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Crop {
    rule: String,
    height: usize,
    width: usize,
    round: String,
}

impl Stated {
    fn read(text: &str) -> Result<Self, String> {
        from_json(text, SCHEMA).map_err(|error| error.to_string())
    }

    /// What is done until there are pixels of the size that the model takes.
    fn preprocessing(&self, input: &ImageInput) -> Result<Preprocessing, String> {
        let color = match input.channels {
            1 => "L",
            3 => "RGB",
            channels => {
                return Err(format!("the input has {channels} channels, which no photo has"));
            }
        };
        let layout = if input.channels_last { "NHWC" } else { "NCHW" };
        let dtype = match input.element {
            Element::F32 => "float32",
            Element::F16 => "float16",
            Element::F64 => "float64",
            Element::U8 => "uint8",
        };
        let Self { resize, crop, .. } = self;
        let passes = resize.passes.join(", ");
        for (key, found, expected) in [
            ("orientation", &self.orientation, "exif"),
            ("color", &self.color, color),
            ("resize.rule", &resize.rule, "cover"),
            ("resize.round", &resize.round, "down"),
            ("resize.passes", &passes, "width, height"),
            ("crop.rule", &crop.rule, "center"),
            ("crop.round", &crop.round, "half-even"),
            ("layout", &self.layout, layout),
            ("dtype", &self.dtype, dtype),
        ] {
            if found != expected {
                return Err(format!(
                    "`{key}` is {found:?}, and for this input it can only be {expected:?}"
                ));
            }
        }
        let bicubic = match &*resize.interpolation {
            "bilinear" => false,
            "bicubic" => true,
            other => {
                return Err(format!(
                    "`resize.interpolation` is {other:?}, and it can only be \"bilinear\" or \
                     \"bicubic\""
                ));
            }
        };
        if !resize.antialias {
            return Err("`resize.antialias` is false, and it can only be true".to_owned());
        }
        let (height, width) = (input.height, input.width);
        if (crop.height, crop.width) != (height, width) {
            return Err(format!(
                "`crop` gives {}x{}, and the input takes {height}x{width}",
                crop.height, crop.width
            ));
        }
        if resize.height < height || resize.width < width {
            return Err(format!(
                "`resize` covers {}x{}, of which `crop` cannot cut {height}x{width}",
                resize.height, resize.width
            ));
        }
        Ok(Preprocessing { cover: [resize.height, resize.width], bicubic })
    }

    /// How bytes become what is handed to the model.
    fn normalization(&self, input: &ImageInput) -> Result<Normalization, String> {
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() != input.channels {
                return Err(format!(
                    "`{key}` has {} values for {} channels",
                    values.len(),
                    input.channels
                ));
            }
        }
        let all = |values: &[f64], value: f64| values.iter().all(|&v| v == value);
        if input.pixels() && !(self.divide_by == 1.0 && all(&self.mean, 0.0) && all(&self.std, 1.0))
        {
            return Err(
                "the input takes bytes as they are, so that `divide_by` and `std` can only \
                        be 1, and `mean` 0"
                    .to_owned(),
            );
        }
        // Of pixels scaled to [0, 1], whatever they are divided by.
        let scale = self.divide_by / 255.0;
        let scaled = |values: &[f64]| values.iter().map(|v| (v * scale) as f32).collect::<Vec<_>>();
        let (mean, std) = (scaled(&self.mean), scaled(&self.std));
        if !mean.iter().chain(&std).all(|value| value.is_finite())
            || !std.iter().all(|&value| value > 0.0)
        {
            return Err(
                "`divide_by` and every `std` must be greater than 0, and no number too large"
                    .to_owned(),
            );
        }
        Ok(Normalization { mean, std })
    }
}

fn json<T: DeserializeOwned>(props: &BTreeMap<String, String>, key: &str) -> Entry<T> {
    let parse = |text: &String| {
        serde_json::from_str(text).map_err(|error| (key.to_owned(), error.to_string()))
    };
    props.get(key).map(parse).transpose()
}

fn normalization(props: &BTreeMap<String, String>, channels: usize) -> Entry<Normalization> {
    let (mean_key, std_key) = ("adwp.mean", "adwp.std");
    let mean: Option<Vec<f32>> = json(props, mean_key)?;
    let std: Option<Vec<f32>> = json(props, std_key)?;
    let (mean, std) = match (mean, std) {
        (Some(mean), Some(std)) => (mean, std),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err((std_key.to_owned(), format!("missing beside {mean_key}"))),
        (None, Some(_)) => return Err((mean_key.to_owned(), format!("missing beside {std_key}"))),
    };
    for (key, values) in [(mean_key, &mean), (std_key, &std)] {
        if values.len() != channels {
            return Err((
                key.to_owned(),
                format!("{} values for {channels} channels", values.len()),
            ));
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err((key.to_owned(), "a value is not finite".to_owned()));
        }
    }
    if !std.iter().all(|&value| value > 0.0) {
        return Err((std_key.to_owned(), "every value must be greater than 0".to_owned()));
    }
    Ok(Some(Normalization { mean, std }))
}
