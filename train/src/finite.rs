//! Which tensor of a training step was the first with a value that is not finite.

// A new kind of leaf must be met here.
#![warn(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;
use std::fmt;

use adwp_engine::{
    Device, Executor, Feed, Graph, Leaf, Node, NodeId, Op, Program, Role, Statistics, VariableSpec,
    Variables,
};

use crate::{At, Result, TrainError};

/// Bytes of node values that are kept at a time to be looked at; more only where one value alone
/// has more.
const KEPT_BYTES: usize = 64 << 20;

/// Refuses a loss that is not finite. To be asked before anything is updated, so that what `find`
/// looks at is what made the loss: [`first_not_finite`] with the step's graph and feeds. `find` is
/// not called for a finite loss.
///
/// # Errors
/// [`TrainError::NotFinite`], also when `find` fails: the message then has its error.
pub fn require_finite(
    phase: &'static str,
    at: At,
    loss: f32,
    find: impl FnOnce() -> Result<Option<String>>,
) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    let first = find().unwrap_or_else(|error| Some(format!("not found: {error}")));
    Err(TrainError::NotFinite { phase, epoch: at.epoch, step: at.step, loss, first })
}

/// Names the first tensor of a training step that has a value which is not finite, with its shape
/// and how many such values it has: one of `feeds`, else a parameter of `graph`, else the first
/// node in the graph's order that the feeds and parameters decide. `None` where all of them are
/// finite.
///
/// The forward pass is done again, with the statistics of the batch, for a piece of the graph at a
/// time: in addition to the working memory of a pass and a copy of the variables it holds 64 MiB of
/// values, or the largest value alone. It takes as long as several steps, but is done once in a run.
/// `variables` stay as they are.
///
/// # Errors
/// [`TrainError::Engine`] when a variable is missing, a feed does not fit, or the device fails.
pub fn first_not_finite(
    graph: &Graph,
    variables: &Variables,
    feeds: &[(NodeId, Feed<'_>)],
    device: &Device,
) -> Result<Option<String>> {
    // For each node that was looked at, the largest magnitude of its values.
    let mut largest = vec![0.0; graph.len()];
    for &(id, feed) in feeds {
        let node = &graph[id];
        let census = Census::of(&fed_values(node, feed, device)?);
        if census.not_finite > 0 {
            let what = if node.shape.dims4().is_some() {
                "the images of the batch".to_owned()
            } else {
                format!("the input {}", node.name)
            };
            return Ok(Some(format!("{what} {}: {census}", node.shape)));
        }
        largest[id.index()] = census.largest;
    }

    // What the passes below do to running statistics is done to copies.
    let mut copies = Variables::new();
    for VariableSpec { name, shape, kind, .. } in graph.variables() {
        let variable = variables.get(&name)?;
        let census = Census::of(variable.data()?);
        // A step does not read running statistics; behind an overflow, this very step has spoiled
        // them.
        if kind.role() == Role::Parameter {
            if census.not_finite > 0 {
                return Ok(Some(format!(
                    "the parameter {name} {shape}, since the update before: {census}"
                )));
            }
            largest[graph.find(&name)?.index()] = census.largest;
        }
        copies.insert(variable.clone());
    }

    first_computed(graph, &mut copies, feeds, device, &mut largest, KEPT_BYTES)
}

/// The part of [`first_not_finite`] that computes; `largest` has what was fed and the parameters,
/// and at most `kept_bytes` are kept.
fn first_computed(
    graph: &Graph,
    variables: &mut Variables,
    feeds: &[(NodeId, Feed<'_>)],
    device: &Device,
    largest: &mut [f32],
    kept_bytes: usize,
) -> Result<Option<String>> {
    let computed = computed_from(graph, feeds);
    let mut rest = &computed[..];
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(piece_length(graph, rest, kept_bytes));
        let mut executor =
            Executor::new(Program::inference(graph, piece, Statistics::Batch)?, device)?;
        executor.run(variables, feeds)?;
        for &id in piece {
            let (node, census) = (&graph[id], Census::of(&executor.value(id)?));
            if census.not_finite > 0 {
                let read =
                    node.inputs.iter().map(|input| largest[input.index()]).fold(0.0, f32::max);
                let (name, op) = (&node.name, node.op.name());
                return Ok(Some(format!(
                    "{name} ({op}) {}: {census}; the largest magnitude that it reads is {read:.2e}",
                    node.shape
                )));
            }
            largest[id.index()] = census.largest;
        }
        rest = after;
    }
    Ok(None)
}

/// A count of the values of a tensor that are not finite.
struct Census {
    values: usize,
    not_finite: usize,
    /// The largest magnitude of the others; 0 without any.
    largest: f32,
}

impl Census {
    fn of(values: &[f32]) -> Self {
        let (mut not_finite, mut largest) = (0, 0.0_f32);
        for value in values {
            if value.is_finite() {
                largest = largest.max(value.abs());
            } else {
                not_finite += 1;
            }
        }
        Self { values: values.len(), not_finite, largest }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} values are not finite", self.not_finite, self.values)
    }
}

/// The values of a feed, wherever they are.
fn fed_values<'a>(node: &Node, feed: Feed<'a>, device: &Device) -> Result<Cow<'a, [f32]>> {
    if let Feed::Values(values) = feed {
        return Ok(values.into());
    }
    // What the GPU makes of stored images is seen as the output of a program that changes nothing.
    let mut graph = Graph::new();
    let input = graph.input("input", node.shape.clone())?;
    let same = graph.add("same", Op::Scale { factor: 1.0 }, &[input])?;
    let mut executor =
        Executor::new(Program::inference(&graph, &[same], Statistics::Running)?, device)?;
    executor.run(&mut Variables::new(), &[(input, feed)])?;
    Ok(executor.value(same)?.into_owned().into())
}

/// The nodes with a value of their own that needs no input which is not fed: a graph can have parts
/// that the step leaves out.
fn computed_from(graph: &Graph, feeds: &[(NodeId, Feed<'_>)]) -> Vec<NodeId> {
    let mut is_known = vec![false; graph.len()];
    let mut computed = Vec::new();
    for (id, node) in graph.nodes() {
        let leaf = node.op.leaf();
        is_known[id.index()] = match leaf {
            Some(Leaf::Input) => feeds.iter().any(|(fed, _)| *fed == id),
            Some(Leaf::Parameter(_)) => true,
            None => node.inputs.iter().all(|input| is_known[input.index()]),
        };
        if is_known[id.index()] && leaf.is_none() {
            computed.push(id);
        }
    }
    computed
}

/// How many of the nodes, at least the first, are looked at together.
fn piece_length(graph: &Graph, nodes: &[NodeId], kept_bytes: usize) -> usize {
    let mut bytes = 0;
    let fits = |id: &&NodeId| {
        bytes += graph[**id].shape.elements() * size_of::<f32>();
        bytes <= kept_bytes
    };
    nodes.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_engine::cuda::{self, ImageStore, StoredView};
    use adwp_engine::{BatchNorm, Conv2d, Init};

    const AT: At = At { epoch: 2, step: 5 };

    /// images [2, 1, 4, 4] → conv → norm → relu → twice as large by `first` → by `second` → pool →
    /// logits → loss.
    struct Example {
        graph: Graph,
        variables: Variables,
        images: NodeId,
        labels: NodeId,
    }

    impl Example {
        fn new(first: f32, second: f32) -> Self {
            let mut graph = Graph::new();
            let images = graph.input("images", [2, 1, 4, 4]).unwrap();
            let weight = graph.parameter("conv/weight", [2, 1, 1, 1], Init::Constant(1.0)).unwrap();
            let conv = graph.add("conv", Op::Conv2d(Conv2d::default()), &[images, weight]).unwrap();
            let norm = graph.add("norm", Op::BatchNorm(BatchNorm::default()), &[conv]).unwrap();
            let relu = graph.add("relu", Op::Relu, &[norm]).unwrap();
            let large = graph.add("large", Op::Scale { factor: first }, &[relu]).unwrap();
            let larger = graph.add("larger", Op::Scale { factor: second }, &[large]).unwrap();
            let pool = graph.add("pool", Op::GlobalAvgPool, &[larger]).unwrap();
            let labels = graph.input("labels", [2]).unwrap();
            graph.add("loss", Op::CrossEntropy { smoothing: 0.0 }, &[pool, labels]).unwrap();
            let absent = graph.input("absent", [1]).unwrap();
            graph.add("left out", Op::Relu, &[absent]).unwrap();
            let mut variables = Variables::new();
            variables.initialize(&graph, &mut crate::Streams::new(1).once("weights")).unwrap();
            Self { graph, variables, images, labels }
        }

        fn first(&self, images: &[f32], labels: &[f32]) -> Option<String> {
            let feeds = [(self.images, images.into()), (self.labels, labels.into())];
            first_not_finite(&self.graph, &self.variables, &feeds, &Device::cpu(1).unwrap())
                .unwrap()
        }
    }

    /// Half of them -1, half 1: their normalised values are 0 and 1 behind a ReLU, but for epsilon.
    fn images() -> Vec<f32> {
        (0..32).map(|i| if i % 2 == 0 { -1.0 } else { 1.0 }).collect()
    }

    #[test]
    fn a_step_that_is_finite_has_no_first() {
        let example = Example::new(2.0, 3.0);
        let before = example.variables.clone();
        assert_eq!(example.first(&images(), &[0.0, 1.0]), None);
        assert_eq!(example.variables, before);
    }

    #[test]
    fn an_overflow_is_found_where_it_arises() {
        let example = Example::new(1e30, 1e30);
        let before = example.variables.clone();
        let first = example.first(&images(), &[0.0, 1.0]).unwrap();
        assert!(
            first.starts_with("larger (scale) [2, 2, 4, 4]: 32 of 64 values are not finite; "),
            "{first}"
        );
        assert!(first.ends_with("the largest magnitude that it reads is 1.00e30"), "{first}");
        assert!(example.variables == before, "the running statistics are those of before");
    }

    #[test]
    fn the_graph_is_looked_at_in_pieces_that_find_the_same() {
        let Example { graph, mut variables, images, labels } = Example::new(1e30, 1e30);
        let pixels = self::images();
        let feeds = [(images, (&pixels).into()), (labels, (&[0.0, 1.0]).into())];
        let nodes = computed_from(&graph, &feeds);
        // Five values of 2·2·4·4 floats, pool, loss.
        let value = 64 * size_of::<f32>();
        let pieces = [0, value, 2 * value, 3 * value - 1, 5 * value + 16, usize::MAX]
            .map(|most| piece_length(&graph, &nodes, most));
        assert_eq!(pieces, [1, 1, 2, 2, 6, 7]);
        let mut found = |most| {
            let mut largest = vec![0.0; graph.len()];
            first_computed(
                &graph,
                &mut variables,
                &feeds,
                &Device::cpu(1).unwrap(),
                &mut largest,
                most,
            )
            .unwrap()
            .unwrap()
        };
        let whole = found(usize::MAX);
        assert!(whole.starts_with("larger ") && whole.ends_with(" it reads is 1.00e30"), "{whole}");
        assert!((0..6).all(|pieces| found(pieces * value) == whole));
    }

    #[test]
    fn a_parameter_that_is_not_finite_comes_before_what_it_spoils() {
        let mut example = Example::new(2.0, 3.0);
        example.variables.get_mut("conv/weight").unwrap()[1] = f32::NAN;
        // Nobody reads it.
        example.variables.get_mut("norm/running_var").unwrap()[0] = f32::INFINITY;
        let first = example.first(&images(), &[0.0, 1.0]).unwrap();
        assert_eq!(
            first,
            "the parameter conv/weight [2, 1, 1, 1], since the update before: 1 of 2 values are \
             not finite"
        );
    }

    #[test]
    fn what_is_fed_comes_before_everything() {
        let mut example = Example::new(2.0, 3.0);
        example.variables.get_mut("conv/weight").unwrap().fill(f32::NAN);
        let mut images = images();
        images[7] = f32::NEG_INFINITY;
        let first = example.first(&images, &[0.0, 1.0]).unwrap();
        assert_eq!(first, "the images of the batch [2, 1, 4, 4]: 1 of 32 values are not finite");
        images[7] = 0.0;
        let first = example.first(&images, &[f32::NAN, 1.0]).unwrap();
        assert_eq!(first, "the input labels [2]: 1 of 2 values are not finite");
    }

    #[test]
    fn a_label_of_no_class_is_found_in_the_loss() {
        let first = Example::new(2.0, 3.0).first(&images(), &[0.0, 7.0]).unwrap();
        assert!(
            first.starts_with("loss (cross_entropy) [1]: 1 of 1 values are not finite; "),
            "{first}"
        );
    }

    #[test]
    fn stored_images_are_looked_at_on_their_gpu() {
        // The same switch as that of the engine's tests.
        if std::env::var("ADWP_TEST_DEVICE").as_deref() != Ok("cuda") {
            return;
        }
        let gpu = cuda::Device::open(0).unwrap();
        let example = Example::new(1e30, 1e30);
        let first = |constant: f32| {
            let table = std::array::from_fn(|byte| if byte == 0 { constant } else { 1.0 });
            let read = |image: usize, out: &mut [u8]| -> Result<()> {
                out.iter_mut()
                    .enumerate()
                    .for_each(|(i, byte)| *byte = u8::from((image + i).is_multiple_of(2)));
                Ok(())
            };
            let store = ImageStore::new(&gpu, [1, 4, 4], 2, &[table], read).unwrap();
            let places = [0, 1].map(|image| StoredView { image, ..StoredView::default() });
            let feeds = [
                (example.images, Feed::Stored { images: &store, places: &places }),
                (example.labels, (&[0.0, 1.0]).into()),
            ];
            first_not_finite(&example.graph, &example.variables, &feeds, &gpu.clone().into())
                .unwrap()
                .unwrap()
        };
        assert_eq!(
            first(f32::NAN),
            "the images of the batch [2, 1, 4, 4]: 16 of 32 values are not finite"
        );
        assert!(first(-1.0).starts_with("larger (scale) [2, 2, 4, 4]: 32 of 64 values"));
    }

    #[test]
    fn a_loss_that_is_finite_is_let_through_without_a_look() {
        require_finite("toy", AT, f32::MAX, || panic!("nobody asked")).unwrap();
    }

    #[test]
    fn a_loss_that_is_not_finite_is_refused_whatever_is_found() {
        let said = |found| require_finite("toy", AT, f32::NAN, || found).unwrap_err().to_string();
        assert_eq!(said(Ok(None)), "toy: the loss is NaN at epoch 3, step 6");
        assert_eq!(
            said(Ok(Some("the gate [1]".to_owned()))),
            "toy: the loss is NaN at epoch 3, step 6; what went first: the gate [1]"
        );
        let failed = Err(TrainError::Settings("no room".to_owned()));
        assert_eq!(
            said(failed),
            "toy: the loss is NaN at epoch 3, step 6; what went first: not found: no room"
        );
        let error = require_finite("toy", AT, f32::NEG_INFINITY, || Ok(None)).unwrap_err();
        assert!(matches!(
            error,
            TrainError::NotFinite {
                phase: "toy",
                epoch: 2,
                step: 5,
                loss: f32::NEG_INFINITY,
                first: None
            }
        ));
        let hint = error.hint().unwrap();
        assert!(
            ["checkpoints/toy.safetensors", "toy.rate", "--resume"]
                .iter()
                .all(|part| hint.contains(part)),
            "{hint}"
        );
    }
}
