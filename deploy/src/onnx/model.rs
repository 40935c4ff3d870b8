//! An image classifier in an ONNX file.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

use super::{
    file::OnnxFile,
    metadata::{ModelMetadata, Normalization},
    tensors::{MAX_ELEMENTS, declared, is_standard_domain, show},
};
use crate::{
    DeployError, Result,
    cost::{Cost, count},
    machine::available_bytes,
};

/// How many images one run of the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// Any number.
    Dynamic,
    /// This number, written into the file.
    Fixed(usize),
}

/// The one input of a classifier: float32 `[batch, channels, height, width]`, or uint8 `[batch,
/// height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    /// The name of the tensor.
    pub name: String,
    /// How many images a run takes.
    pub batch: BatchSize,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Whether it takes the pixels as they are, uint8 with the channels last, and prepares them
    /// itself.
    pub pixels: bool,
}

impl ImageInput {
    /// The shape of `batch` images, as the file has it.
    pub fn shape(&self, batch: usize) -> [usize; 4] {
        let &Self { channels, height, width, pixels, .. } = self;
        if pixels { [batch, height, width, channels] } else { [batch, channels, height, width] }
    }

    /// The number of values of one image `[channels, height, width]`.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Checks that `images` are `batch` of them, and no fewer than `least`.
    pub(crate) fn check_images(&self, images: &[f32], batch: usize, least: usize) -> Result<()> {
        let each = self.image_len();
        if batch >= least && batch.checked_mul(each) == Some(images.len()) {
            return Ok(());
        }
        let expected = format!("{batch} images of {each} values");
        Err(DeployError::Length { what: "images", expected, actual: images.len() })
    }

    /// The batch that shapes are inferred with: what the file fixes, otherwise 1.
    pub fn nominal_batch(&self) -> usize {
        match self.batch {
            BatchSize::Dynamic => 1,
            BatchSize::Fixed(batch) => batch,
        }
    }
}

/// The first output of a classifier, float32 `[batch, classes]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassOutput {
    /// The name of the tensor.
    pub name: String,
    /// The number of classes.
    pub classes: usize,
    /// Whether the values are probabilities already: the graph ends in a `Softmax` or `Sigmoid`.
    pub is_probability: bool,
}

/// A decoded ONNX image classifier: an [`OnnxFile`] with one image input and a class output, whose
/// `adwp.*` metadata fits them.
#[derive(Debug, Clone)]
pub struct OnnxModel {
    file: OnnxFile,
    input: ImageInput,
    output: ClassOutput,
    known: ModelMetadata,
    /// The most bytes of activations at [`ImageInput::nominal_batch`], where the sizes of all
    /// results are known.
    activations: Option<u64>,
}

impl OnnxModel {
    /// Reads the file `path` and checks it.
    ///
    /// # Errors
    /// As [`OnnxFile::load`], and where it is not an image classifier.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(OnnxFile::load(path)?)
    }

    /// Decodes and checks the bytes of an ONNX file. `path` is where they came from: it is named in
    /// errors, and the runtimes read it.
    ///
    /// # Errors
    /// As [`OnnxModel::load`].
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(OnnxFile::from_bytes(bytes, path)?)
    }

    /// Takes a file that is an image classifier.
    ///
    /// # Errors
    /// It is none, or its metadata does not fit.
    pub fn from_file(file: OnnxFile) -> Result<Self> {
        let not_classifier =
            |detail| DeployError::NotClassifier { path: file.path().to_owned(), detail };
        let input = image_input(file.graph()).map_err(not_classifier)?;
        let output = class_output(file.graph()).map_err(not_classifier)?;
        let known = ModelMetadata::read(file.metadata_props(), &input, output.classes).map_err(
            |(key, detail)| DeployError::Metadata { path: file.path().to_owned(), key, detail },
        )?;
        let mut model = Self { file, input, output, known, activations: None };
        model.activations = match model.count() {
            Ok(cost) => cost.peak_activation_bytes,
            Err(error @ DeployError::TooLarge { .. }) => return Err(error),
            // The runtimes may make sense of what the counter does not.
            Err(_) => None,
        };
        Ok(model)
    }

    /// The cost of one image.
    pub(crate) fn count(&self) -> Result<Cost> {
        let images = self.input.nominal_batch();
        let shape = self.input.shape(images).to_vec();
        count(&self.file, BTreeMap::from([(self.input.name.as_str(), shape)]), images)
    }

    /// The decoded file.
    pub fn file(&self) -> &OnnxFile {
        &self.file
    }

    /// Where the model was read from.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The size of the file in bytes, with external weight files.
    pub fn file_bytes(&self) -> u64 {
        self.file.bytes()
    }

    /// Whether a run of `batch` images fits into the memory that is free, as far as is known. The
    /// runtimes end the process where it does not.
    ///
    /// # Errors
    /// [`DeployError::TooLarge`] says what is needed and what there is.
    pub(crate) fn check_memory(&self, batch: usize) -> Result<()> {
        let (Some(activations), Some(available)) = (self.activations, available_bytes()) else {
            return Ok(());
        };
        let nominal = self.input.nominal_batch().max(1);
        let needed = u128::from(activations) * batch.max(nominal) as u128 / nominal as u128;
        if needed <= u128::from(available) {
            return Ok(());
        }
        let detail = format!(
            "its activations take {needed} bytes for {batch} images, and {available} are free"
        );
        Err(DeployError::TooLarge { path: self.path().to_owned(), detail })
    }

    /// The image input.
    pub fn input(&self) -> &ImageInput {
        &self.input
    }

    /// The class output.
    pub fn output(&self) -> &ClassOutput {
        &self.output
    }

    /// The version of the standard operator set.
    pub fn opset(&self) -> i64 {
        self.file.opset()
    }

    /// Who wrote the file: producer name and version.
    pub fn producer(&self) -> &str {
        self.file.producer()
    }

    /// Every metadata entry of the file, as it is written.
    pub fn metadata_props(&self) -> &BTreeMap<String, String> {
        self.file.metadata_props()
    }

    /// The `adwp.*` metadata, parsed.
    pub fn metadata(&self) -> &ModelMetadata {
        &self.known
    }

    /// The weights and constants stored in the graph.
    pub fn initializers(&self) -> &[TensorProto] {
        &self.file.graph().initializer
    }

    /// The nodes in topological order.
    pub fn nodes(&self) -> &[NodeProto] {
        &self.file.graph().node
    }

    /// The decoded graph, its nodes in topological order.
    pub fn graph(&self) -> &GraphProto {
        self.file.graph()
    }

    /// How pixels become what [`crate::runtime::Session::run`] is given: they stay what they are
    /// for a model that takes [pixels](ImageInput::pixels), else the metadata says it. `None` where
    /// nothing says it.
    pub fn preparation(&self) -> Option<Normalization> {
        let channels = self.input.channels;
        let as_they_are =
            || Normalization { mean: vec![0.0; channels], std: vec![1.0 / 255.0; channels] };
        if self.input.pixels { Some(as_they_are()) } else { self.known.normalization.clone() }
    }

    /// The name of class `index`, from the metadata or `class 7`.
    pub fn class_name(&self, index: usize) -> String {
        self.known
            .classes
            .as_ref()
            .and_then(|names| names.get(index).cloned())
            .unwrap_or_else(|| format!("class {index}"))
    }
}

fn image_input(graph: &GraphProto) -> Result<ImageInput, String> {
    let stored: HashSet<_> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> =
        graph.input.iter().filter(|input| !stored.contains(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(format!("it has {} inputs: [{}]", names.len(), names.join(", ")));
    };
    let (kind, dims) =
        declared(input).ok_or_else(|| format!("input `{}` has no type or no shape", input.name))?;
    let pixels = kind == DataType::Uint8 as i32;
    if kind != DataType::Float as i32 && !pixels {
        return Err(format!("input `{}` is neither float32 nor uint8", input.name));
    }
    let [batch, Some(first), Some(second), Some(third)] = dims[..] else {
        return Err(format!("input `{}` has shape {}", input.name, show(&dims)));
    };
    let [channels, height, width] =
        if pixels { [third, first, second] } else { [first, second, third] };
    let batch = batch.map_or(BatchSize::Dynamic, BatchSize::Fixed);
    let input = ImageInput { name: input.name.clone(), batch, channels, height, width, pixels };
    [input.nominal_batch(), channels, height, width]
        .iter()
        .try_fold(1_u64, |product, &size| {
            product.checked_mul(size as u64).filter(|&product| product <= MAX_ELEMENTS)
        })
        .ok_or_else(|| format!("input `{}` has shape {}", input.name, show(&dims)))?;
    Ok(input)
}

fn class_output(graph: &GraphProto) -> Result<ClassOutput, String> {
    let output = graph.output.first().ok_or("it has no output")?;
    let (kind, dims) = declared(output)
        .ok_or_else(|| format!("output `{}` has no type or no shape", output.name))?;
    if kind != DataType::Float as i32 {
        return Err(format!("output `{}` is not float32", output.name));
    }
    // Fully convolutional classifiers give [batch, classes, 1, 1].
    match dims.split_first().and_then(|(_, rest)| rest.split_first()) {
        Some((&Some(classes), rest)) if rest.iter().all(|&dim| dim == Some(1)) => {
            let is_probability = is_probability(graph, &output.name);
            Ok(ClassOutput { name: output.name.clone(), classes, is_probability })
        }
        _ => Err(format!("output `{}` has shape {}", output.name, show(&dims))),
    }
}

/// Whether a `Softmax` or `Sigmoid` gives tensor `name`, or what it shows in another type or shape.
fn is_probability(graph: &GraphProto, name: &str) -> bool {
    let mut name = name;
    // Every step goes back by a node at least.
    for _ in 0..=graph.node.len() {
        let writes = |node: &&NodeProto| node.output.iter().any(|output| output == name);
        let Some(node) = graph.node.iter().find(writes) else { return false };
        match (node.op_type.as_str(), node.input.first()) {
            ("Softmax" | "Sigmoid", _) => return is_standard_domain(&node.domain),
            (
                "Identity" | "Cast" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze"
                | "QuantizeLinear" | "DequantizeLinear" | "Dropout",
                Some(input),
            ) => name = input,
            _ => return false,
        }
    }
    false
}
