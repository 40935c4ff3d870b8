//! Writing a network to ONNX, opset 17, with a dynamic batch.

pub mod proto;
mod writer;

pub use writer::{OPSET, graph_to_onnx};

use adwp_engine::{Graph, NodeId, Variables};
use adwp_models::{Discrete, cost};
use prost::Message;

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

/// The bytes of `model.onnx`: the network with its class names, preprocessing, genotype and accuracy as metadata.
///
/// The same network gives the same bytes.
pub fn model(trained: &Trained, batch_norms: BatchNorms) -> Result<Vec<u8>> {
    let Discrete { graph, images, logits, .. } = trained.inference(1)?;
    let cost = cost::count(&graph);
    let mut onnx = match batch_norms {
        BatchNorms::Kept => graph_to_onnx(&graph, &trained.variables, images, logits)?,
        BatchNorms::Folded => {
            let (folded, variables, logits) = fold_batch_norms(&graph, &trained.variables, logits)?;
            graph_to_onnx(&folded, &variables, folded.find(&graph[images].name)?, logits)?
        }
    };
    let network = &trained.network;
    let json = |value: serde_json::Result<String>| value.expect("strings and numbers print as JSON");
    let metadata = [
        ("adwp.dataset", network.dataset.clone()),
        ("adwp.classes", json(serde_json::to_string(&network.classes))),
        ("adwp.mean", json(serde_json::to_string(&network.normalization.mean))),
        ("adwp.std", json(serde_json::to_string(&network.normalization.std))),
        ("adwp.params", cost.params.to_string()),
        ("adwp.madds", cost.madds.to_string()),
        ("adwp.test_accuracy", json(serde_json::to_string(&trained.test.accuracy()))),
        ("adwp.genotype", json(serde_json::to_string(&network.genotype))),
    ];
    onnx.metadata_props = metadata.map(|(key, value)| proto::StringStringEntryProto { key: key.to_owned(), value }).to_vec();
    Ok(onnx.encode_to_vec())
}

/// The bytes of an ONNX file with the network that gives `output`, as [`graph_to_onnx`] writes it, and no metadata.
pub fn onnx_bytes(graph: &Graph, variables: &Variables, input: NodeId, output: NodeId) -> Result<Vec<u8>> {
    Ok(graph_to_onnx(graph, variables, input, output)?.encode_to_vec())
}
