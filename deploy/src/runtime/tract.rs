//! tract.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tract_onnx::{
    Onnx,
    pb::{ModelProto, NodeProto},
    prelude::*,
    tract_core::plan,
};

use super::feed::{Feed, Network, RunProfile, no_panic};
use crate::{
    DeployError, Result,
    onnx::{Element, is_standard_domain, node_label},
    runtime::Runtime,
    statistics::interquartile_mean,
};

/// The version of tract that is compiled in; a test compares it with the lock file.
const VERSION: &str = "0.23.9";

pub(super) fn version() -> &'static str {
    VERSION
}

/// A model with a plan for each batch size that was asked for: tract optimises for fixed shapes.
pub(super) struct TractSession {
    path: PathBuf,
    model: InferenceModel,
    plans: HashMap<usize, Arc<TypedRunnableModel>>,
    element: Element,
}

/// An input and the plan that takes it.
pub(super) struct Bound {
    plan: Arc<TypedRunnableModel>,
    images: TValue,
}

impl TractSession {
    /// Loads a network and prepares it for images of `shape`.
    pub(super) fn load(network: Network<'_>, shape: [usize; 4]) -> Result<Self> {
        let path = network.path.to_owned();
        let model = no_panic(|| parse(network)).map_err(|detail| refused(&path, detail))?;
        let mut session = Self { path, model, plans: HashMap::new(), element: network.element };
        session.plan(shape)?;
        Ok(session)
    }

    pub(super) fn bind(&mut self, images: &Feed<'_>, shape: [usize; 4]) -> Result<Bound> {
        let plan = self.plan(shape)?;
        let images = no_panic(|| tensor(images, shape)).map_err(|detail| self.failed(detail))?;
        Ok(Bound { plan, images: images.into_tvalue() })
    }

    pub(super) fn run_only(&self, bound: &Bound) -> Result<()> {
        no_panic(|| bound.plan.run(tvec!(bound.images.clone())).map(|_| ()).map_err(describe))
            .map_err(|detail| self.failed(detail))
    }

    fn failed(&self, detail: String) -> DeployError {
        DeployError::Run { path: self.path.clone(), runtime: Runtime::Tract, detail }
    }

    fn plan(&mut self, shape: [usize; 4]) -> Result<Arc<TypedRunnableModel>> {
        if let Some(plan) = self.plans.get(&shape[0]) {
            return Ok(Arc::clone(plan));
        }
        let model = self.model.clone();
        let plan = no_panic(|| {
            let fact = match self.element {
                Element::F32 => f32::fact(shape),
                Element::F16 => f16::fact(shape),
                Element::F64 => f64::fact(shape),
                Element::U8 => u8::fact(shape),
            };
            let plan = model.with_input_fact(0, fact.into());
            plan.and_then(|model| model.into_optimized())
                .and_then(|model| model.into_runnable())
                .map_err(describe)
        })
        .map_err(|detail| refused(&self.path, detail))?;
        self.plans.insert(shape[0], Arc::clone(&plan));
        Ok(plan)
    }

    pub(super) fn run(&mut self, images: &Feed<'_>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let plan = self.plan(shape)?;
        no_panic(|| {
            let outputs =
                plan.run(tvec!(tensor(images, shape)?.into_tvalue())).map_err(describe)?;
            let logits = outputs.first().ok_or("it gave no output")?;
            let logits = logits.cast_to::<f32>().map_err(describe)?;
            let logits = logits
                .try_as_plain_ram()
                .and_then(|logits| logits.as_slice::<f32>())
                .map_err(describe)?;
            Ok(logits.to_vec())
        })
        .map_err(|detail| self.failed(detail))
    }
}

pub(super) fn profile(
    network: Network<'_>,
    images: &Feed<'_>,
    shape: [usize; 4],
    min_time: Duration,
) -> Result<RunProfile> {
    let mut session = TractSession::load(network, shape)?;
    let bound = session.bind(images, shape)?;
    session.run_only(&bound)?;
    let profile = no_panic(|| {
        let nodes = &bound.plan.model().nodes;
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); nodes.len()];
        let mut order: Vec<usize> = Vec::new();
        let (start, mut runs) = (Instant::now(), Vec::new());
        while runs.is_empty() || start.elapsed() < min_time {
            let start = Instant::now();
            let mut state = bound.plan.spawn().map_err(describe)?;
            let timed = state.run_plan_with_eval(
                tvec!(bound.images.clone()),
                |context, state, node, input| {
                    let start = Instant::now();
                    let output = plan::eval(context, state, node, input);
                    times[node.id].push(start.elapsed().as_secs_f64() * 1000.0);
                    if runs.is_empty() {
                        order.push(node.id);
                    }
                    output
                },
            );
            timed.map_err(describe)?;
            runs.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        let row = |&id: &usize| {
            let node = &nodes[id];
            (
                node.name.clone(),
                node.op().name().into_owned(),
                interquartile_mean(times[id].iter().copied()),
            )
        };
        let nodes = order.iter().map(row).collect();
        Ok(RunProfile { runs: runs.len(), run_ms: interquartile_mean(runs), nodes })
    });
    profile.map_err(|detail| session.failed(detail))
}

fn tensor(images: &Feed<'_>, shape: [usize; 4]) -> Result<Tensor, String> {
    let tensor = match images {
        Feed::F32(values) => Tensor::from_shape(&shape, values),
        Feed::F16(values) => Tensor::from_shape(&shape, values),
        Feed::F64(values) => Tensor::from_shape(&shape, values),
        Feed::U8(values) => Tensor::from_shape(&shape, values),
    };
    tensor.map_err(describe)
}

fn parse(network: Network<'_>) -> Result<InferenceModel, String> {
    // Shapes noted in the file may speak of an open batch; those that follow from the input cannot
    // disagree with it.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let (file, folder) = match network.bytes {
        Some(mut bytes) => (onnx.proto_model_for_read(&mut bytes), None),
        None => (onnx.proto_model_for_path(network.path), network.path.parent()),
    };
    let file = file.map_err(describe)?;
    check_operators(&onnx, &file)?;
    let parsed = onnx.parse(&file, folder.and_then(Path::to_str)).map_err(describe)?;
    if !parsed.unresolved_inputs.is_empty() {
        let names = parsed.unresolved_inputs.join(", ");
        return Err(format!("nothing in the file gives the inputs {names}"));
    }
    let mut model = parsed.model;
    let found = model.find_outlet_label(network.output);
    if let Some(outlet) = found {
        model.select_output_outlets(&[outlet]).map_err(describe)?;
    }
    Ok(model)
}

/// Operators outside of the standard that tract has, by their domain.
#[rustfmt::skip]
const OF_DOMAINS: [(&str, &[&str]); 2] = [
    ("com.microsoft", &[
        "BiasGelu", "FastGelu", "GatherBlockQuantized", "GroupQueryAttention", "MatMulNBits",
        "MultiHeadAttention", "QuickGelu", "RotaryEmbedding", "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
    ]),
    ("ai.onnx.ml", &[
        "ArrayFeatureExtractor", "CategoryMapper", "LinearClassifier", "LinearRegressor",
        "Normalizer", "TreeEnsembleClassifier",
    ]),
];

/// Refuses operators of other domains, and functions that the file defines itself. tract knows
/// operators by their names alone: a function called `Relu` would be run as the standard's `Relu`,
/// whatever it does.
fn check_operators(onnx: &Onnx, file: &ModelProto) -> Result<(), String> {
    let functions = file.functions.iter().map(|of| (of.domain(), of.name())).collect();
    file.graph.as_ref().map_or(Ok(()), |graph| check_nodes(onnx, &graph.node, &functions))
}

fn check_nodes(
    onnx: &Onnx,
    nodes: &[NodeProto],
    functions: &HashSet<(&str, &str)>,
) -> Result<(), String> {
    for node in nodes {
        let (domain, op) = (node.domain.as_str(), node.op_type.as_str());
        let is_own = functions.contains(&(domain, op));
        let is_there = is_standard_domain(domain)
            || OF_DOMAINS.iter().any(|(of, ops)| *of == domain && ops.contains(&op));
        if is_own || !is_there {
            let name = if domain.is_empty() { op.to_owned() } else { format!("{domain}.{op}") };
            let what = if is_own { "a function of the file" } else { "an operator" };
            let other = match onnx.op_register.0.contains_key(op) {
                true => format!(", but another {op}"),
                false => String::new(),
            };
            let label = node_label(node);
            return Err(format!("node `{label}` is {what}, {name}, which it does not have{other}"));
        }
        let inner = node.attribute.iter().flat_map(|of| of.g.iter().chain(&of.graphs));
        inner.into_iter().try_for_each(|graph| check_nodes(onnx, &graph.node, functions))?;
    }
    Ok(())
}

fn describe(error: impl Into<TractError>) -> String {
    format!("{:#}", error.into())
}

fn refused(path: &Path, detail: String) -> DeployError {
    DeployError::Load { path: path.to_owned(), runtime: Runtime::Tract, detail }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let (_, package) = lock.split_once("name = \"tract-onnx\"\n").unwrap();
        assert!(
            package.starts_with(&format!("version = \"{}\"", super::VERSION)),
            "set VERSION in this file"
        );
    }
}
