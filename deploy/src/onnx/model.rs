//! An image classifier in an ONNX file.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

use super::{
    file::OnnxFile,
    input::{BatchSize, COLOURS, Element, ImageInput, Interface},
    metadata::{ModelMetadata, Normalization},
    scores::Scores,
    tensors::{DeclaredDim, declared, element_type, show},
};
use crate::{
    DeployError, Result,
    cost::{Cost, count, joined_by, shapes_of_outputs},
    machine::available_bytes,
};

/// The output of a classifier that has the scores, floats `[batch, classes]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassOutput {
    /// The name of the tensor.
    pub name: String,
    /// The number of classes.
    pub classes: usize,
    /// What they are: probabilities already, or something that these are computed from.
    pub scores: Scores,
}

/// An output that looks like scores.
#[derive(Debug, Clone)]
struct Candidate {
    name: String,
    classes: usize,
}

/// The outputs of a file that may have the scores.
#[derive(Debug, Clone)]
struct Candidates {
    /// Those of a fitting shape.
    fitting: Vec<Candidate>,
    /// Those of floats whose shape is not known.
    unclear: Vec<String>,
}

impl Candidates {
    /// The first that has `classes`, where these are known and one has as many, else the first.
    fn choose(&self, classes: Option<usize>, graph: &GraphProto) -> Option<ClassOutput> {
        let known = self.fitting.iter().find(|of| Some(of.classes) == classes);
        let Candidate { name, classes } = known.or(self.fitting.first())?.clone();
        let scores = Scores::of(graph, &name);
        Some(ClassOutput { name, classes, scores })
    }
}

/// A decoded ONNX image classifier: an [`OnnxFile`] with one image input and a class output, whose
/// `adwp.*` metadata fits them.
#[derive(Debug, Clone)]
pub struct OnnxModel {
    file: OnnxFile,
    input: ImageInput,
    output: ClassOutput,
    candidates: Candidates,
    known: ModelMetadata,
    /// What was said of what the file leaves open.
    said: Interface,
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
        Self::load_as(path, &Interface::default())
    }

    /// Reads the file `path` and checks it; `said` is what it leaves open.
    ///
    /// # Errors
    /// As [`OnnxModel::load`], and where `said` contradicts the file.
    pub fn load_as(path: impl AsRef<Path>, said: &Interface) -> Result<Self> {
        Self::from_file_as(OnnxFile::load(path)?, said)
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
        Self::from_file_as(file, &Interface::default())
    }

    /// Takes a file that is an image classifier; `said` is what it leaves open.
    ///
    /// # Errors
    /// As [`OnnxModel::from_file`], and where `said` contradicts the file.
    pub fn from_file_as(file: OnnxFile, said: &Interface) -> Result<Self> {
        let not_classifier =
            |detail| DeployError::NotClassifier { path: file.path().to_owned(), detail };
        let input = image_input(&file, said)?;
        let candidates = class_outputs(&file, &input, said).map_err(not_classifier)?;
        let classes = ModelMetadata::class_count(file.metadata_props());
        let output = candidates.choose(classes, file.graph());
        let output = output.ok_or_else(|| not_classifier("it has no output".to_owned()))?;
        let known = metadata(&file, &input, output.classes)?;
        let said = said.clone();
        let mut model = Self { file, input, output, candidates, known, said, activations: None };
        model.activations = match model.count() {
            Ok(cost) => cost.peak_activation_bytes,
            Err(error @ DeployError::TooLarge { .. }) => return Err(error),
            // The runtimes may make sense of what the counter does not.
            Err(_) => None,
        };
        Ok(model)
    }

    /// The same model, whose scores are known to be of so many `classes`: where no output was named
    /// and another one has as many, that is the one.
    ///
    /// # Errors
    /// The metadata does not fit it.
    pub fn with_classes(mut self, classes: usize) -> Result<Self> {
        if self.said.output.is_none()
            && let Some(output) = self.candidates.choose(Some(classes), self.file.graph())
            && output.classes == classes
        {
            self.known = metadata(&self.file, &self.input, classes)?;
            self.output = output;
        }
        Ok(self)
    }

    /// What to say of the output that was taken, where none was named and others may be meant.
    pub fn choice(&self) -> Option<String> {
        let Candidates { fitting, unclear } = &self.candidates;
        let taken = &self.output.name;
        let names = fitting.iter().map(|of| &of.name).chain(unclear);
        let others: Vec<&str> =
            names.filter(|name| *name != taken).map(String::as_str).take(SHOWN + 1).collect();
        if self.said.output.is_some() || others.is_empty() {
            return None;
        }
        let file = self.path().display();
        let more = if others.len() > SHOWN { " and others" } else { "" };
        let others = others[..others.len().min(SHOWN)].join(", ");
        Some(format!(
            "{file}: the scores are taken from its output {taken}, and not from {others}{more}: \
             --output names another"
        ))
    }

    /// The cost of one image.
    pub(crate) fn count(&self) -> Result<Cost> {
        let shape = self.input.shape(self.input.nominal_batch()).to_vec();
        count(&self.file, BTreeMap::from([(self.input.name.as_str(), shape)]))
    }

    /// The node, with its operator, that makes the scores of an image depend on the others of its
    /// run, as far as is known: of `batch` images, or of as many as the file fixes.
    pub fn joined_by(&self, batch: usize) -> Option<String> {
        let shape = self.input.shape(self.input.batch_of(batch)).to_vec();
        let inputs = BTreeMap::from([(self.input.name.as_str(), shape)]);
        joined_by(&self.file, inputs, &self.output.name)
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
        let Some(available) = available_bytes() else { return Ok(()) };
        let nominal = self.input.nominal_batch().max(1);
        let images = batch.max(nominal) as u128;
        // Where activations are not known, images are: here, and as the runtime takes them.
        let own = (2 * size_of::<f32>() * self.input.image_len()) as u128 * images;
        let (what, needed) = match self.activations {
            Some(all) => ("activations", own.max(u128::from(all) * images / nominal as u128)),
            None => ("input", own),
        };
        if needed <= u128::from(available) {
            return Ok(());
        }
        let detail =
            format!("its {what} takes {needed} bytes for {batch} images, and {available} are free");
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

    /// What was said of what the file leaves open, and the output that was taken where it has
    /// several.
    pub fn said(&self) -> Interface {
        let is_only = self.file.graph().output.len() < 2;
        let taken = || (!is_only).then(|| self.output.name.clone());
        let output = self.said.output.clone().or_else(taken);
        Interface { output, ..self.said.clone() }
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
        if self.input.pixels() { Some(as_they_are()) } else { self.known.normalization.clone() }
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

fn image_input(file: &OnnxFile, said: &Interface) -> Result<ImageInput> {
    let none = |detail: String| DeployError::NotClassifier { path: file.path().to_owned(), detail };
    let graph = file.graph();
    let stored: HashSet<_> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> =
        graph.input.iter().filter(|input| !stored.contains(input.name.as_str())).collect();
    let [input] = inputs[..] else {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(none(format!("it has {} inputs: [{}]", names.len(), names.join(", "))));
    };
    let name = &input.name;
    let kind = element_type(input).ok_or_else(|| none(format!("input `{name}` has no type")))?;
    let element = Element::of(kind)
        .ok_or_else(|| none(format!("input `{name}` takes neither floats nor uint8")))?;
    let stated = declared(input).map(|(_, dims)| dims);
    if let Some(dims) = stated.as_ref().filter(|dims| dims.len() != 4) {
        return Err(none(format!("input `{name}` has shape {}", show(dims))));
    }
    let shapes = file.input_shapes(&said.shapes)?;
    let shape = &shapes[name.as_str()];
    let &[first, channels_first, middle, channels_last] = &shape[..] else {
        return Err(none(format!("input `{name}` has shape {shape:?}")));
    };
    let batch = match stated.as_ref().map_or(Some(&None), |dims| dims.first()) {
        Some(&Some(fixed)) => BatchSize::Fixed(fixed),
        _ if first == 1 => BatchSize::Dynamic,
        _ => {
            let detail = format!("the first dimension of `{name}` is the batch: give 1 here");
            return Err(DeployError::setting("input shape", detail));
        }
    };
    let is_last = match (COLOURS.contains(&channels_first), COLOURS.contains(&channels_last)) {
        (true, false) => false,
        (false, true) => true,
        _ => element == Element::U8,
    };
    let [channels, height, width] = match is_last {
        true => [channels_last, channels_first, middle],
        false => [channels_first, middle, channels_last],
    };
    let (name, channels_last) = (name.clone(), is_last);
    Ok(ImageInput { name, batch, channels, height, width, element, channels_last })
}

/// Outputs that a message names.
const SHOWN: usize = 5;

fn metadata(file: &OnnxFile, input: &ImageInput, classes: usize) -> Result<ModelMetadata> {
    ModelMetadata::read(file.metadata_props(), input, classes).map_err(|(key, detail)| {
        DeployError::Metadata { path: file.path().to_owned(), key, detail }
    })
}

/// The outputs that may have the scores, at least one of them of a fitting shape.
fn class_outputs(
    file: &OnnxFile,
    input: &ImageInput,
    said: &Interface,
) -> Result<Candidates, String> {
    let graph = file.graph();
    let names = || graph.output.iter().map(|output| output.name.as_str()).collect::<Vec<_>>();
    let outputs: Vec<_> = match &said.output {
        Some(name) => {
            let named = graph.output.iter().filter(|output| output.name == *name);
            named.collect()
        }
        None => graph.output.iter().collect(),
    };
    let is_alone = outputs.len() == 1;
    if outputs.is_empty() {
        return Err(match &said.output {
            Some(name) => format!("it has no output `{name}`; it has {}", names().join(", ")),
            None => "it has no output".to_owned(),
        });
    }
    // Inferring takes a walk through the graph, which most files make needless.
    let mut inferred = None;
    let mut reason = None;
    let mut candidates = Candidates { fitting: Vec::new(), unclear: Vec::new() };
    for output in outputs {
        let name = &output.name;
        let kind = element_type(output);
        let is_float = kind.is_none_or(may_be_float);
        // Next to others whole numbers are labels or counts rather than scores.
        if !(is_float || is_alone && kind.is_some_and(is_whole)) {
            reason.get_or_insert(format!("output `{name}` gives no floats"));
            continue;
        }
        let dims = match declared(output) {
            Some((_, dims)) if dims.iter().skip(1).all(Option::is_some) => Some(dims),
            stated => {
                let shapes = inferred.get_or_insert_with(|| {
                    let shape = input.shape(input.nominal_batch()).to_vec();
                    shapes_of_outputs(file, BTreeMap::from([(input.name.as_str(), shape)]))
                });
                let found = shapes.get(name.as_str());
                found
                    .map(|shape| shape.iter().copied().map(Some).collect())
                    .or(stated.map(|of| of.1))
            }
        };
        let is_open = dims.as_ref().is_none_or(|dims| dims.iter().skip(1).any(Option::is_none));
        if is_open && kind.is_some() {
            candidates.unclear.push(name.clone());
        }
        let Some(dims) = dims else {
            reason.get_or_insert(format!("output `{name}` has no shape"));
            continue;
        };
        match classes_of(&dims, input.nominal_batch()) {
            // One whole number of an image is its class, and no score.
            Some(1) if !is_float => {
                reason.get_or_insert(format!("output `{name}` gives one whole number an image"));
            }
            Some(classes) => candidates.fitting.push(Candidate { name: name.clone(), classes }),
            None => {
                reason.get_or_insert(format!("output `{name}` has shape {}", show(&dims)));
            }
        }
    }
    if !candidates.fitting.is_empty() {
        return Ok(candidates);
    }
    Err(match reason {
        Some(reason) if said.output.is_none() && graph.output.len() > 1 => {
            format!("none of its outputs looks like scores [batch, classes]: {reason}")
        }
        Some(reason) => reason,
        None => "it has no output".to_owned(),
    })
}

/// The number of classes in scores of these dimensions, one row for each of `images`. All other
/// dimensions are 1, as in the output of a fully convolutional network.
fn classes_of(dims: &[DeclaredDim], images: usize) -> Option<usize> {
    let (first, rest) = dims.split_first()?;
    if rest.is_empty() || first.is_some_and(|first| first != images) {
        return None;
    }
    let rest: Vec<usize> = rest.iter().copied().collect::<Option<_>>()?;
    let mut others = rest.into_iter().filter(|&dim| dim != 1);
    let classes = others.next().unwrap_or(1);
    others.next().is_none().then_some(classes)
}

/// Whether an element type is one of whole numbers that scores may have.
fn is_whole(kind: i32) -> bool {
    use DataType::{Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32};
    [Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32].iter().any(|&whole| whole as i32 == kind)
}

/// Whether an element type is one of floats, or not told.
fn may_be_float(kind: i32) -> bool {
    use DataType::{Bfloat16, Double, Float, Float16, Undefined};
    [Float, Float16, Bfloat16, Double, Undefined].iter().any(|&float| float as i32 == kind)
}
