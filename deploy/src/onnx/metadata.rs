//! The `adwp.*` entries of a model's metadata.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

/// How pixels become the model's input: `(pixel / 255 - mean) / std`, one mean and one standard
/// deviation a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// Mean of each channel, of pixels scaled to [0, 1].
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, of pixels scaled to [0, 1]; greater than 0.
    pub std: Vec<f32>,
}

/// What the exporter wrote in addition to the graph. Every entry is optional: a stranger's file has
/// none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelMetadata {
    /// Class names, one for each output (`adwp.classes`).
    pub classes: Option<Vec<String>>,
    /// Preparation of the pixels (`adwp.mean` and `adwp.std`).
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
    /// Parses the known entries and checks them against the graph. The error is the key and what is
    /// wrong with it.
    pub(super) fn read(
        props: &BTreeMap<String, String>,
        channels: usize,
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
        Ok(Self {
            classes: names,
            normalization: normalization(props, channels)?,
            params: json(props, "adwp.params")?,
            madds: json(props, "adwp.madds")?,
            genotype: json(props, "adwp.genotype")?,
            test_accuracy: json(props, "adwp.test_accuracy")?,
            dataset: props.get("adwp.dataset").cloned(),
        })
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
