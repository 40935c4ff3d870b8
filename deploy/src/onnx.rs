//! Reads an ONNX file and checks what every other module relies on.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use tract_onnx::pb::{
    GraphProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
    tensor_shape_proto::dimension::Value as Dim, type_proto::Value as TypeValue,
};

use crate::{DeployError, Result, cost::cost, machine::available_bytes};

mod external;
mod file;
mod metadata;
mod wire;

pub use file::OnnxFile;
pub use metadata::{ModelMetadata, Normalization};

/// The oldest operator set of the standard domain that is read.
pub const OLDEST_OPSET: i64 = 9;
/// The newest operator set of the standard domain that is read.
pub const NEWEST_OPSET: i64 = 23;

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
        let known =
            ModelMetadata::read(file.metadata_props(), input.channels, output.classes).map_err(
                |(key, detail)| DeployError::Metadata { path: file.path().to_owned(), key, detail },
            )?;
        let mut model = Self { file, input, output, known, activations: None };
        model.activations = match cost(&model) {
            Ok(cost) => cost.peak_activation_bytes,
            Err(error @ DeployError::TooLarge { .. }) => return Err(error),
            // The runtimes may make sense of what the counter does not.
            Err(_) => None,
        };
        Ok(model)
    }

    /// The file.
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

    /// The graph.
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

/// Whether a domain is the one of the ONNX standard.
pub(crate) fn is_standard_domain(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// What messages call a node: its name, or the first tensor it writes.
pub(crate) fn node_label(node: &NodeProto) -> String {
    if !node.name.is_empty() {
        return node.name.clone();
    }
    node.output
        .iter()
        .find(|name| !name.is_empty())
        .cloned()
        .unwrap_or_else(|| node.op_type.clone())
}

/// The dimensions of a tensor, refused when negative or beyond what can be addressed.
pub(crate) fn tensor_dims(tensor: &TensorProto) -> Result<Vec<usize>, String> {
    let mut elements = 1_u64;
    tensor
        .dims
        .iter()
        .map(|&dim| {
            let size = u32::try_from(dim)
                .map_err(|_| format!("tensor `{}` has dimension {dim}", tensor.name))?;
            // Zeros are left out so that no later dimension escapes the bound.
            elements = elements
                .checked_mul(u64::from(size.max(1)))
                .filter(|&elements| elements <= MAX_ELEMENTS)
                .ok_or_else(|| {
                    format!("tensor `{}` has too many elements: {:?}", tensor.name, tensor.dims)
                })?;
            Ok(size as usize)
        })
        .collect()
}

/// No tensor of an image classifier comes near this; with it, products of sizes cannot overflow.
pub(crate) const MAX_ELEMENTS: u64 = 1 << 40;

fn standard_opset(imports: &[OperatorSetIdProto], path: &Path) -> Result<i64> {
    let opset = imports
        .iter()
        .find(|import| is_standard_domain(&import.domain))
        .map(|import| import.version);
    let Some(opset) = opset else {
        return Err(DeployError::Truncated {
            path: path.to_owned(),
            detail: "it does not say which operator set it uses".to_owned(),
        });
    };
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(DeployError::UnsupportedOpset {
            path: path.to_owned(),
            opset,
            oldest: OLDEST_OPSET,
            newest: NEWEST_OPSET,
        });
    }
    Ok(opset)
}

/// The runtimes trust a graph to be well formed; some of them panic when it is not.
fn check_graph(graph: &GraphProto) -> Result<(), String> {
    let mut defined = HashSet::new();
    for tensor in &graph.initializer {
        if !defined.insert(tensor.name.as_str()) {
            return Err(format!("two initializers are called `{}`", tensor.name));
        }
    }
    if !graph.sparse_initializer.is_empty() {
        return Err("sparse initializers are not supported".to_owned());
    }
    let mut inputs = HashSet::new();
    for input in &graph.input {
        if !inputs.insert(input.name.as_str()) {
            return Err(format!("two inputs are called `{}`", input.name));
        }
        defined.insert(&input.name);
    }
    for node in &graph.node {
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            if !defined.contains(name.as_str()) {
                let later = graph.node.iter().any(|other| other.output.contains(name));
                let why = if later {
                    "which only a later node writes: a cycle, or nodes out of order"
                } else {
                    "which nothing before it defines"
                };
                return Err(format!(
                    "node `{}` ({}) reads `{name}`, {why}",
                    node_label(node),
                    node.op_type
                ));
            }
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !defined.insert(name) {
                return Err(format!(
                    "node `{}` ({}) writes `{name}`, which is defined already",
                    node_label(node),
                    node.op_type
                ));
            }
        }
    }
    let mut stored = Ok(());
    tensors(graph, &mut |tensor| {
        if stored.is_ok() {
            stored = check_tensor(tensor);
        }
    });
    stored?;
    match graph.output.iter().find(|output| !defined.contains(output.name.as_str())) {
        Some(output) => Err(format!("nothing defines the output `{}`", output.name)),
        None => Ok(()),
    }
}

/// Every tensor that is stored in a graph and in the graphs inside its nodes, however deep:
/// [`wire`] bounds the depth.
fn tensors<'a>(graph: &'a GraphProto, visit: &mut dyn FnMut(&'a TensorProto)) {
    graph.initializer.iter().for_each(&mut *visit);
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        attribute.t.iter().chain(&attribute.tensors).for_each(&mut *visit);
        attribute.g.iter().chain(&attribute.graphs).for_each(|inner| tensors(inner, visit));
    }
}

fn check_tensor(tensor: &TensorProto) -> Result<(), String> {
    let elements: usize = tensor_dims(tensor)?.iter().product();
    let kind = DataType::try_from(tensor.data_type).map_err(|_| {
        format!("tensor `{}` has the unknown data type {}", tensor.name, tensor.data_type)
    })?;
    if external::is_external(tensor) {
        return Ok(());
    }
    let bits = match element_bits(kind) {
        // Types of less than a byte are packed, and some exporters pad them.
        Some(bits) if bits >= 8 => bits as usize,
        _ => return Ok(()),
    };
    let (stored, unit) = if tensor.raw_data.is_empty() {
        let stored = match kind {
            DataType::Float => tensor.float_data.len(),
            DataType::Double => tensor.double_data.len(),
            DataType::Int64 => tensor.int64_data.len(),
            DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.len(),
            _ => tensor.int32_data.len(),
        };
        (stored, elements)
    } else {
        (tensor.raw_data.len(), elements * (bits / 8))
    };
    if stored == unit {
        return Ok(());
    }
    Err(format!(
        "tensor `{}` of shape {:?} should hold {unit} values or bytes and holds {stored}",
        tensor.name, tensor.dims
    ))
}

/// The bits of one element; `None` for strings and types without a fixed size.
pub(crate) fn element_bits(kind: DataType) -> Option<u64> {
    Some(match kind {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 8,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 16,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 32,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 64,
        _ => return None,
    })
}

/// A declared dimension: a number, or whatever the run gives.
pub(crate) type DeclaredDim = Option<usize>;

/// The declared element type and dimensions of a graph value, when both are declared.
pub(crate) fn declared(value: &ValueInfoProto) -> Option<(i32, Vec<DeclaredDim>)> {
    let TypeValue::TensorType(tensor) = value.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter();
    let dims = dims.map(|dim| match dim.value {
        // Some exporters write -1 or 0 for a dimension that is open.
        Some(Dim::DimValue(size)) => {
            u32::try_from(size).ok().filter(|&size| size > 0).map(|size| size as usize)
        }
        Some(Dim::DimParam(_)) | None => None,
    });
    Some((tensor.elem_type, dims.collect()))
}

fn show(dims: &[DeclaredDim]) -> String {
    let dims: Vec<_> = dims
        .iter()
        .map(|dim| dim.map_or_else(|| "?".to_owned(), |size| size.to_string()))
        .collect();
    format!("[{}]", dims.join(", "))
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
            Ok(ClassOutput { name: output.name.clone(), classes })
        }
        _ => Err(format!("output `{}` has shape {}", output.name, show(&dims))),
    }
}
