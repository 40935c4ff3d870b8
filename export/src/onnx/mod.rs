//! Writing a network to ONNX, opset 17, with a dynamic batch.

mod half;
mod int8;
mod preprocess;
pub mod proto;
mod statement;
mod writer;

pub use int8::{CALIBRATION, Quantizer};
pub use preprocess::PIXELS;
pub use statement::{LOGITS, PREPROCESSING, PREPROCESSING_SCHEMA};
pub use writer::{OPSET, graph_to_onnx};

use adwp_base::checksum;
use adwp_data::Normalization;
use adwp_engine::{Graph, NodeId, Variables};
use adwp_models::{CellGenotype, Discrete, Genotype, Pair, cost};
use prost::Message;
use proto::{ModelProto, StringStringEntryProto};
use serde::Serialize;
pub(crate) use statement::Statement;

use crate::{Result, Trained, fold_batch_norms};

/// Whether BatchNorms are folded into the convolutions before them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchNorms {
    /// Folded wherever the order allows.
    #[default]
    Folded,
    /// Kept as operations of their own.
    Kept,
}

/// What numbers a file holds and computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats; 32-bit ones go in and come out.
    F16,
    /// 8-bit integers with scales; 32-bit floats go in and come out.
    Int8,
}

impl Precision {
    /// Its name in metadata and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }
}

/// The forms in which a network can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Its numbers.
    pub precision: Precision,
    /// Whether it takes pixels, uint8 `[batch, height, width, channels]`, and normalises them
    /// itself.
    pub pixels: bool,
}

impl Format {
    /// What tells the files of a run apart: nothing, `.pixels`, `.fp16`, `.int8`, `.pixels.fp16` or
    /// `.pixels.int8`.
    pub fn suffix(self) -> String {
        let precision = match self.precision {
            Precision::F32 => "",
            Precision::F16 => ".fp16",
            Precision::Int8 => ".int8",
        };
        format!("{}{precision}", if self.pixels { ".pixels" } else { "" })
    }

    /// The name of the file in a run's folder: `model.onnx`, `model.int8.onnx`, …
    pub fn file(self) -> String {
        format!("model{}.onnx", self.suffix())
    }
}

/// The numbers of a file, with what they take to be written.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 8-bit integers.
    Int8 {
        /// The network, after it has seen the calibration images.
        quantizer: Box<Quantizer>,
        /// How many these were.
        images: usize,
    },
}

/// The bytes of `model.onnx`: the network with its class names, preprocessing, architecture and
/// accuracy as metadata. What is done with a photo is stated as [`PREPROCESSING`], and the document
/// string has [`LOGITS`], the program that does it.
///
/// The same network gives the same bytes.
pub fn model(trained: &Trained, batch_norms: BatchNorms) -> Result<Vec<u8>> {
    let mut onnx = float_model(trained, batch_norms)?;
    add_metadata(&mut onnx, trained, false, trained.test.accuracy(), &[])?;
    Ok(sealed(&onnx))
}

/// The bytes of the network with BatchNorms folded, in another form. `accuracy` is stated in its
/// metadata.
///
/// # Errors
/// [`ExportError::TooLarge`](crate::ExportError::TooLarge) where 16-bit floats cannot hold the
/// weights, [`ExportError::Calibration`](crate::ExportError::Calibration) where the quantiser has
/// not seen every tensor.
pub fn model_in(
    trained: &Trained,
    numbers: &Numbers,
    pixels: bool,
    accuracy: f64,
) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    let mut onnx = match numbers {
        Numbers::F32 => float_model(trained, BatchNorms::Folded)?,
        Numbers::F16 => {
            let mut onnx = float_model(trained, BatchNorms::Folded)?;
            half::to_half(&mut onnx)?;
            said.push(("adwp.precision", Precision::F16.name().to_owned()));
            onnx
        }
        Numbers::Int8 { quantizer, images } => {
            said.push(("adwp.calibration", format!("{CALIBRATION}, {images} images")));
            if let Some(genotype) = trained.network.blueprint.genotype() {
                said.push((GENOTYPE, short_genotype(genotype)));
            }
            quantizer.clone().finish()?
        }
    };
    if pixels {
        preprocess::preprocess(&mut onnx, &trained.network.normalization);
    }
    add_metadata(&mut onnx, trained, pixels, accuracy, &said)?;
    Ok(sealed(&onnx))
}

/// The bytes of a file. The last of them are an entry of its metadata, `adwp.checksum`, with the
/// checksum of those before it and how many they are.
pub(crate) fn sealed(onnx: &ModelProto) -> Vec<u8> {
    let mut bytes = onnx.encode_to_vec();
    let entry = StringStringEntryProto {
        key: "adwp.checksum".to_owned(),
        value: checksum::statement(&bytes),
    };
    // Messages of one kind that follow each other are one.
    let seal = ModelProto { metadata_props: vec![entry], ..ModelProto::default() };
    bytes.extend(seal.encode_to_vec());
    bytes
}

/// A quantiser of the network, which has to be shown calibration images.
pub fn quantizer(trained: &Trained) -> Result<Quantizer> {
    Ok(Quantizer::new(float_model(trained, BatchNorms::Folded)?))
}

/// A genotype in little space: `[["normal","sep_3x3@0 identity@1",…],…]`, one text for each node.
fn short_genotype(genotype: &Genotype) -> String {
    let cell = |cell: &CellGenotype| {
        let node = |pairs: &Vec<Pair>| {
            pairs
                .iter()
                .map(|pair| format!("{}@{}", pair.op, pair.input))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let kind = serde_json::to_value(cell.kind).expect("a kind of cell prints as JSON");
        std::iter::once(kind)
            .chain(cell.nodes.iter().map(|pairs| node(pairs).into()))
            .collect::<serde_json::Value>()
    };
    int8::short(&genotype.cells.iter().map(cell).collect::<serde_json::Value>().to_string())
}

const GENOTYPE: &str = "adwp.genotype";

fn float_model(trained: &Trained, batch_norms: BatchNorms) -> Result<ModelProto> {
    let Discrete { graph, images, logits, .. } = trained.inference(1)?;
    match batch_norms {
        BatchNorms::Kept => graph_to_onnx(&graph, &trained.variables, images, logits),
        BatchNorms::Folded => {
            let (folded, variables, logits) = fold_batch_norms(&graph, &trained.variables, logits)?;
            graph_to_onnx(&folded, &variables, folded.find(&graph[images].name)?, logits)
        }
    }
}

fn add_metadata(
    onnx: &mut ModelProto,
    trained: &Trained,
    pixels: bool,
    accuracy: f64,
    more: &[(&str, String)],
) -> Result<()> {
    let cost = cost::count(&trained.inference(1)?.graph);
    let network = &trained.network;
    let mut metadata = vec![
        ("adwp.dataset", network.dataset.clone()),
        ("adwp.classes", as_json(&network.classes)),
    ];
    metadata.extend(constants(&network.normalization));
    metadata.extend([
        ("adwp.params", cost.params.to_string()),
        ("adwp.madds", cost.madds.to_string()),
        ("adwp.test_accuracy", as_json(&accuracy)),
    ]);
    if let Some(statement) = Statement::new(network, pixels) {
        metadata.push((PREPROCESSING, as_json(&statement)));
        onnx.doc_string = LOGITS.to_owned();
    }
    if let Some(name) = &network.name {
        metadata.push(("adwp.network", name.clone()));
    }
    match (network.blueprint.genotype(), network.architecture()) {
        (Some(genotype), _) => metadata.push((GENOTYPE, as_json(genotype))),
        (None, architecture) => metadata.push(("adwp.architecture", as_json(&architecture))),
    }
    let is_said = |key: &str| more.iter().any(|(said, _)| *said == key);
    let all = metadata.into_iter().filter(|(key, _)| !is_said(key)).chain(more.iter().cloned());
    onnx.metadata_props = entries(all);
    Ok(())
}

/// What pixels are normalised with.
pub(crate) fn constants(normalization: &Normalization) -> [(&'static str, String); 2] {
    [("adwp.mean", as_json(&normalization.mean)), ("adwp.std", as_json(&normalization.std))]
}

pub(crate) fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers print as JSON")
}

pub(crate) fn entries<'a>(
    metadata: impl IntoIterator<Item = (&'a str, String)>,
) -> Vec<StringStringEntryProto> {
    let entry = |(key, value): (&str, _)| StringStringEntryProto { key: key.to_owned(), value };
    metadata.into_iter().map(entry).collect()
}

/// The bytes of an ONNX file with the network that gives `output`, as [`graph_to_onnx`] writes it,
/// and no metadata.
pub fn onnx_bytes(
    graph: &Graph,
    variables: &Variables,
    input: NodeId,
    output: NodeId,
) -> Result<Vec<u8>> {
    Ok(graph_to_onnx(graph, variables, input, output)?.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::TestResult;
    use adwp_engine::Variables;

    #[test]
    fn files_say_what_becomes_of_photos_and_bring_the_program_that_does_it() {
        let mut trained = Trained {
            network: statement::tests::network("image-folder", [3, 32, 32]),
            variables: Variables::new(),
            test: TestResult { correct: 1, images: 2, correct_with_flips: None },
        };
        let graph = trained.inference(1).unwrap().graph;
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        trained.variables.initialize(&graph, &mut rng).unwrap();
        let written = |trained: &Trained, pixels| {
            let bytes = model_in(trained, &Numbers::F32, pixels, 0.5).unwrap();
            ModelProto::decode(&bytes[..]).unwrap()
        };
        let said = |onnx: &ModelProto, key: &str| {
            let entry = onnx.metadata_props.iter().find(|entry| entry.key == key);
            entry.map(|entry| entry.value.clone())
        };
        let plain = ModelProto::decode(&model(&trained, BatchNorms::Folded).unwrap()[..]).unwrap();
        assert_eq!(said(&plain, PREPROCESSING), said(&written(&trained, false), PREPROCESSING));
        let pixels = written(&trained, true);
        for (onnx, dtype) in [(&plain, "float32"), (&pixels, "uint8")] {
            assert_eq!(onnx.doc_string, LOGITS);
            let stated = said(onnx, PREPROCESSING).unwrap();
            assert!(stated.contains(&format!("\"dtype\":\"{dtype}\"")), "{stated}");
            assert_eq!(said(onnx, "adwp.mean").as_deref(), Some("[0.25,0.25,0.25]"));
        }
        // Of images that nobody knows nothing is said.
        trained.network.dataset = "photos".to_owned();
        let unknown = written(&trained, false);
        assert_eq!((said(&unknown, PREPROCESSING), unknown.doc_string.as_str()), (None, ""));
    }
}
