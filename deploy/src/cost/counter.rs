use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};

use super::{
    attributes::has_graphs,
    batch::{Batch as Batched, Work},
    inference::Uninferred,
    learned::{self, Counted, Taken},
    liveness::Liveness,
    operators, results,
    values::{Shape, Values},
};
use crate::{
    DeployError, Result,
    onnx::{OnnxFile, declared, is_standard_domain, node_label},
};

/// What one node costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerCost {
    /// The name of the node, or of its first result when it has none.
    pub name: String,
    /// The operator as ONNX calls it: `Conv`.
    pub op: String,
    /// The shape of its first result that has a name, at batch 1 or at the batch that is fixed or
    /// given.
    pub output_shape: Vec<usize>,
    /// Parameters that no earlier node reads.
    pub params: u64,
    /// Multiply-adds, as in [`Cost::madds`].
    pub madds: u64,
}

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Elements of all stored tensors that are parameters.
    pub params: u64,
    /// Multiply-adds of one image, or of a whole run where [`Cost::batch`] says so.
    pub madds: u64,
    /// Bytes of all tensors that the file stores: weights, statistics and constants, in the element
    /// type they are stored in.
    pub weight_bytes: u64,
    /// The most bytes of activations that are alive at once, at batch 1 or at the batch that is
    /// fixed or given; `None` when the size of a result is not known.
    pub peak_activation_bytes: Option<u64>,
    /// The node that runs when they are.
    pub peak_node: Option<String>,
    /// The nodes in execution order, without constants.
    pub layers: Vec<LayerCost>,
    /// The nodes that the figures are without.
    pub unknown: Vec<Uncounted>,
    /// Stored arrays that operators of the network read and that are taken for no parameters.
    /// Statistics of normalisations, and scales and zero points of quantising operators, are not
    /// among them: what those are is beyond doubt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Stored arrays that are counted as parameters and that may be none, by their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful: Vec<LeftOut>,
    /// Stored arrays of which several parts are read that cannot be told from each other: they are
    /// counted as if they had no element in common, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken_apart: Vec<TakenApart>,
    /// Tensors for which the file states another shape than follows from the inputs, in the order in
    /// which it states them: the figures are of the shape that follows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradicted: Vec<Contradicted>,
    /// Products of matrices in which no image takes part, in the order of the file:
    /// [`Cost::madds`] is without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub once: Vec<Once>,
    /// The images of a run, where they are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
}

/// Several images that a run takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The input whose first dimension is taken for their number.
    pub input: String,
    /// That dimension.
    pub images: u64,
    /// The node that joins what lies along it, with its operator. Multiply-adds are then those of a
    /// whole run, otherwise those of one image.
    pub joined_by: Option<String>,
}

/// A product of stored matrices, or of what shapes determine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Once {
    /// The name of the node, or of its first result when it has none.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// Its multiply-adds, once for any number of images.
    pub madds: u64,
}

/// A tensor that cannot have the shape that the file states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contradicted {
    /// Its name.
    pub name: String,
    /// The shape that the file states, with `None` for what it leaves open.
    pub stated: Vec<Option<usize>>,
    /// The shape that it has.
    pub inferred: Vec<usize>,
}

/// A stored array whose parts are taken to be apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenApart {
    /// Its name.
    pub name: String,
    /// Its elements: no more than these are counted.
    pub elements: u64,
}

/// A stored array that is no parameter, or may be none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// What it is instead, or may be, in words.
    pub reason: String,
}

/// A node that could not be counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uncounted {
    /// The name of the node, or of its first result when it has none.
    pub name: String,
    /// Its operator, with the domain when it is not the standard one.
    pub op: String,
    /// What is not known, in words.
    pub reason: String,
}

impl fmt::Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name, self.op, self.reason)
    }
}

/// Counts the cost of any ONNX graph. `shapes` are the inputs' shapes where the file
/// leaves them open: an open first dimension is otherwise 1, and an input with another open
/// dimension and no shape is an error.
///
/// # Errors
/// As [`cost`]; [`DeployError::OpenShape`] for an input whose shape is not determined,
/// [`DeployError::Setting`] for a shape that belongs to no input or contradicts the file.
pub fn cost_of_file(file: &OnnxFile, shapes: &BTreeMap<String, Vec<usize>>) -> Result<Cost> {
    count(file, file.input_shapes(shapes)?)
}

/// The cost of a file with `inputs` of these shapes.
pub(crate) fn count(file: &OnnxFile, inputs: BTreeMap<&str, Shape>) -> Result<Cost> {
    walk(file, &inputs).map(|walked| walked.cost)
}

/// The node that makes what output `name` has of one of several images depend on the others, with
/// its operator, as far as is known: one that the counter does not know may do so.
pub(crate) fn joined_by(
    file: &OnnxFile,
    inputs: BTreeMap<&str, Shape>,
    name: &str,
) -> Option<String> {
    let at = walk(file, &inputs).ok()?.batch?.joined(name)?;
    file.graph().node.get(at).map(label_and_op)
}

/// The shapes of the graph's outputs that follow from `inputs` of these shapes, by name.
pub(crate) fn shapes_of_outputs(
    file: &OnnxFile,
    inputs: BTreeMap<&str, Shape>,
) -> BTreeMap<String, Shape> {
    let Ok(Walked { values, .. }) = walk(file, &inputs) else { return BTreeMap::new() };
    let names = file.graph().output.iter().map(|output| &output.name);
    names.filter_map(|name| Some((name.clone(), values.shape(name)?.clone()))).collect()
}

/// What is known once all nodes were seen.
struct Walked<'a> {
    cost: Cost,
    values: Values<'a>,
    batch: Option<Batched<'a>>,
}

/// Goes through the nodes in their order: what they cost, and what is then known of the tensors.
fn walk<'a>(file: &'a OnnxFile, inputs: &BTreeMap<&'a str, Shape>) -> Result<Walked<'a>> {
    let mut values = Values::of(file.graph(), inputs);
    let mut batch = Batched::of(file.graph(), inputs);
    // Of each layer whether it works on each image by itself; the first node found to join them.
    let (mut of_each, mut joined) = (Vec::new(), None);
    let mut liveness = Liveness::of(file.graph(), &values);
    let mut counted = Counted::default();
    let (mut left_out, mut doubtful) = (Named::default(), Named::default());
    let mut cost = Cost { weight_bytes: file.stored_bytes(), ..Cost::default() };
    // Whatever else is called so, the file's own definition is what runs.
    let functions: HashSet<(&str, &str)> =
        file.functions().map(|(domain, name)| (plain_domain(domain), name)).collect();
    for (index, node) in file.graph().node.iter().enumerate() {
        if functions.contains(&(plain_domain(&node.domain), &node.op_type)) {
            values.define_declared(node);
            liveness.run(index, node, &values);
            if let Some(batch) = &mut batch {
                batch.run(index, node, false, &values, file.opset());
            }
            let reason = "a function of the file, which the counter does not look into".to_owned();
            cost.unknown.push(Uncounted { name: node_label(node), op: full_op(node), reason });
            continue;
        }
        let shape_error = |detail| DeployError::Shape {
            path: file.path().to_owned(),
            node: node_label(node),
            op: node.op_type.clone(),
            detail,
        };
        if node.op_type == "Constant" && is_standard_domain(&node.domain) {
            results::define_constant(&mut values, node).map_err(shape_error)?;
            continue;
        }
        let inferred = match operators::infer(node, &values, file.opset()) {
            Ok(inferred) => inferred,
            Err(Uninferred::Shape(detail)) => return Err(shape_error(detail)),
            Err(failure) => {
                // What the file states of the results lets the nodes after this one be counted.
                let stated = values.define_declared(node);
                liveness.run(index, node, &values);
                if let Some(batch) = &mut batch {
                    batch.run(index, node, false, &values, file.opset());
                }
                let reason = match failure {
                    Uninferred::Unknown if has_graphs(node) => {
                        "it runs graphs of its own, which the counter does not look into".to_owned()
                    }
                    Uninferred::Unknown => "an operator that the counter does not know".to_owned(),
                    Uninferred::Undetermined(detail)
                        if !stated
                            || operators::has_madds(node)
                            || learned::reads_arrays(node, &values) =>
                    {
                        detail
                    }
                    _ => continue,
                };
                cost.unknown.push(Uncounted { name: node_label(node), op: full_op(node), reason });
                continue;
            }
        };
        for (index, taken) in learned::judged(node, &values) {
            let Some(name) = node.input.get(index) else { continue };
            match taken {
                Taken::In => {}
                Taken::Doubtful(_) if values.is_repeated(name) => {}
                Taken::Doubtful(reason) => doubtful.add(name, reason),
                Taken::Out(reason) => left_out.add(name, reason),
            }
        }
        let read = || inferred.params.iter().filter_map(|&input| node.input.get(input));
        if let Some(name) = read().find(|name| values.overfull.contains(name.as_str())) {
            let reason = format!("`{name}` is computed from more stored tensors than are followed");
            cost.unknown.push(Uncounted { name: node_label(node), op: full_op(node), reason });
        }
        for part in read().flat_map(|name| values.parts(name)) {
            if part.elements > 1 && values.repeated.contains(part.root) {
                let times = values.elements_of(part.root);
                let reason = format!("one number, which ConstantOfShape repeats {times} times");
                left_out.add(part.root, &reason);
            }
        }
        let mut params = 0;
        for part in read().flat_map(|name| values.parts(name)) {
            match values.never_learned(part.root) {
                Some(reason) => left_out.add(part.root, reason),
                None => params += counted.add(std::slice::from_ref(part), &values),
            }
        }
        let is_once = inferred.madds > 0 && node.input.iter().all(|name| values.is_of_no_run(name));
        if is_once {
            let (name, op) = (node_label(node), node.op_type.clone());
            cost.once.push(Once { name, op, madds: inferred.madds });
        }
        let layer = LayerCost {
            name: node_label(node),
            op: node.op_type.clone(),
            output_shape: first_named(node, &inferred.shapes),
            params,
            madds: if is_once { 0 } else { inferred.madds },
        };
        results::define(&mut values, node, inferred.shapes).map_err(|shape| {
            DeployError::TooLarge {
                path: file.path().to_owned(),
                detail: format!(
                    "node `{}` ({}) gives a result of shape {shape:?}",
                    node_label(node),
                    node.op_type
                ),
            }
        })?;
        liveness.run(index, node, &values);
        let work = batch.as_mut().map_or(Work::OfRun, |batch| {
            batch.run(index, node, true, &values, file.opset());
            batch.work(node)
        });
        if let (Work::Joined(at), true) = (work, layer.madds > 0) {
            joined = joined.or(Some(at));
        }
        of_each.push(work == Work::OfEach);
        let too_large = || shape_error("the totals are too large to count".to_owned());
        cost.params = cost.params.checked_add(layer.params).ok_or_else(too_large)?;
        cost.madds = cost.madds.checked_add(layer.madds).ok_or_else(too_large)?;
        cost.layers.push(layer);
    }
    if let Some(batch) = &batch {
        if joined.is_none() {
            let each = cost.layers.iter_mut().zip(&of_each).filter(|(_, of_each)| **of_each);
            each.for_each(|(layer, _)| layer.madds /= batch.images);
            cost.madds = cost.layers.iter().map(|layer| layer.madds).sum();
        }
        let node = joined.and_then(|at| file.graph().node.get(at));
        let joined_by = node.map(label_and_op);
        cost.batch = Some(Batch { input: batch.input.to_owned(), images: batch.images, joined_by });
    }
    if let Some((bytes, node)) = liveness.peak() {
        cost.peak_activation_bytes = Some(bytes);
        cost.peak_node = file.graph().node.get(node).map(node_label);
    }
    drop(liveness);
    values.left_out.iter().for_each(|(name, reason)| left_out.add(name, reason));
    // Of a weight that nothing reads nothing is counted.
    let known = values.doubtful.iter().filter(|(name, _)| counted.has(name));
    known.for_each(|(name, reason)| doubtful.add(name, reason));
    // What is counted where another node reads it is not left out.
    left_out.0.retain(|of| !counted.has(&of.name));
    (cost.left_out, cost.doubtful) = (left_out.0, doubtful.0);
    let apart = counted.taken_apart(&values).into_iter();
    cost.taken_apart =
        apart.map(|(name, elements)| TakenApart { name: name.into(), elements }).collect();
    cost.contradicted = contradicted(file.graph(), &values);
    Ok(Walked { cost, values, batch })
}

fn label_and_op(node: &NodeProto) -> String {
    format!("{} ({})", node_label(node), full_op(node))
}

/// Arrays and what is said of them, each once.
#[derive(Default)]
struct Named(Vec<LeftOut>, HashSet<String>);

impl Named {
    fn add(&mut self, name: &str, reason: &str) {
        if self.1.insert(name.to_owned()) {
            self.0.push(LeftOut { name: name.to_owned(), reason: reason.to_owned() });
        }
    }
}

/// What the graph states of its tensors and has to be otherwise.
fn contradicted(graph: &GraphProto, values: &Values<'_>) -> Vec<Contradicted> {
    let mut seen = HashSet::new();
    let stated = graph.value_info.iter().chain(&graph.output);
    let differs = |value: &ValueInfoProto| {
        let (stated, inferred) = (declared(value)?.1, values.shape(&value.name)?);
        let same = |(stated, size): (&Option<usize>, &usize)| stated.is_none_or(|of| of == *size);
        let agrees = stated.len() == inferred.len() && stated.iter().zip(inferred).all(same);
        (!agrees).then(|| Contradicted {
            name: value.name.clone(),
            stated,
            inferred: inferred.clone(),
        })
    };
    stated.filter(|value| seen.insert(value.name.as_str())).filter_map(differs).collect()
}

/// The shape of the first result that has a name.
fn first_named(node: &NodeProto, shapes: &[Shape]) -> Shape {
    let named = node.output.iter().position(|name| !name.is_empty());
    named.and_then(|index| shapes.get(index)).cloned().unwrap_or_default()
}

/// The standard domain has two names.
fn plain_domain(domain: &str) -> &str {
    if is_standard_domain(domain) { "" } else { domain }
}

fn full_op(node: &NodeProto) -> String {
    if is_standard_domain(&node.domain) {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    }
}
