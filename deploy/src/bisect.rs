//! Finds the node at which two runtimes part.
//!
//! The model is cut at the result of a node, and both runtimes compute that result. Cutting at the
//! middle of the nodes that are left, again and again, ends at a node whose inputs agree and whose
//! result does not.

use std::{cell::Cell, collections::HashMap};

use serde::{Deserialize, Serialize};
use tract_onnx::pb::NodeProto;

use crate::{
    DeployError,
    onnx::{BatchSize, OnnxModel, node_label},
    ort_library::OrtLibrary,
    parity::TOLERANCE,
    runtime::{self, Runtime, SessionOptions},
    trial::{Attempt, Trial},
};

/// The first node whose result differs between two runtimes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Its name, or the first tensor it writes.
    pub node: String,
    /// The operator as ONNX calls it: `Conv`.
    pub op: String,
    /// The last node before it that both could compute and whose result agrees; none when that is
    /// the input of the graph.
    pub after: Option<String>,
    /// The largest absolute difference of two values of its result.
    pub max_abs: f64,
    /// The largest absolute value of its result in the first runtime.
    pub largest: f64,
}

/// Finds where `sessions`, two runtimes with their threads, part on the first of `images` `[n,
/// channels, height, width]`.
///
/// A result is compared where the logits follow from it and both runtimes give it as floats. `None`
/// where they agree on all of them, or where they can compute none.
///
/// What ends in a node is another graph than the whole model, so that a runtime may fold or keep in
/// memory what it did not before: with a `trial`, every part gets through one of its own before it is
/// loaded here. One that ends its process, or meets a limit, ends the search with `None`.
pub fn first_difference(
    model: &OnnxModel,
    sessions: [(Runtime, usize); 2],
    images: &[f32],
    ort_library: Option<&OrtLibrary>,
    trial: Option<&Trial>,
) -> Option<Difference> {
    let batch = match model.input().batch {
        BatchSize::Dynamic => 1,
        BatchSize::Fixed(batch) => batch,
    };
    // Fewer images than a run takes are filled up.
    let mut images = images[..images.len().min(batch * model.input().image_len())].to_vec();
    images.resize(batch * model.input().image_len(), 0.0);
    let nodes = model.nodes();
    let is_over = Cell::new(false);
    let result = |index: usize| -> Option<Gap> {
        let run = |(runtime, threads)| {
            let options = SessionOptions { threads, ort_library, batch };
            if is_over.get() {
                return None;
            }
            let attempt = Attempt { model, runtime, options };
            match trial.map_or(Ok(()), |trial| trial.run_part(&attempt, index)) {
                Ok(()) => runtime::run_part(runtime, model, index, &options, &images).ok(),
                Err(error) => {
                    is_over.set(matches!(error, DeployError::Trial { .. }));
                    None
                }
            }
        };
        let (a, b) = (run(sessions[0])?, run(sessions[1])?);
        difference(&a, &b)
    };
    let producers = producers(nodes);
    let mut found: Option<Found> = None;
    let mut agreeing = None;
    // What the logits do not follow from, no runtime has to run.
    let last = *producers.get(model.output().name.as_str())?;
    let mut candidates = ancestors(nodes, &producers, last);
    loop {
        let (last, earlier) = halve(&candidates, &result);
        agreeing = earlier.or(agreeing);
        found = last.or(found);
        let index = found.as_ref()?.index;
        // The order of the file mixes branches: one that agrees can hide an earlier one that does
        // not.
        let inputs = read_by(&nodes[index]).filter_map(|name| producers.get(name).copied());
        let culprit = inputs
            .filter_map(|index| result(index).map(|gap| Found { index, gap }))
            .find(|input| input.gap.differs());
        let Some(culprit) = culprit else { break };
        candidates = ancestors(nodes, &producers, culprit.index);
        found = Some(culprit);
    }
    let Found { index, gap: Gap { max_abs, largest } } = found.filter(|_| !is_over.get())?;
    Some(Difference {
        node: node_label(&nodes[index]),
        op: nodes[index].op_type.clone(),
        after: agreeing.filter(|&agreeing| agreeing < index).map(|index| node_label(&nodes[index])),
        max_abs,
        largest,
    })
}

/// A node, and how far apart its results are.
struct Found {
    index: usize,
    gap: Gap,
}

/// The largest absolute difference of two arrays, and the largest absolute value of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Gap {
    max_abs: f64,
    largest: f64,
}

impl Gap {
    fn differs(self) -> bool {
        self.max_abs.is_nan() || self.max_abs > TOLERANCE * self.largest.max(1.0)
    }
}

/// The first of `candidates`, nodes in the order of running, whose result differs, and the last
/// before it whose result agrees. `result` is `None` for a node that cannot be compared.
fn halve(
    candidates: &[usize],
    result: &dyn Fn(usize) -> Option<Gap>,
) -> (Option<Found>, Option<usize>) {
    let (mut found, mut agreeing) = (None, None);
    let (mut from, mut to) = (0, candidates.len());
    while from < to {
        let middle = from + (to - from) / 2;
        let known = |place: usize| Some((place, result(candidates[place])?));
        let after = (middle..to).find_map(known);
        // Where nothing from the middle on can be compared, what is before it can.
        let Some((place, gap)) = after.or_else(|| (from..middle).rev().find_map(known)) else {
            break;
        };
        if gap.differs() {
            found = Some(Found { index: candidates[place], gap });
            to = place.min(middle);
        } else {
            agreeing = Some(candidates[place]);
            from = if place < middle { to } else { place + 1 };
        }
    }
    (found, agreeing)
}

/// The node that writes each tensor.
fn producers(nodes: &[NodeProto]) -> HashMap<&str, usize> {
    let mut producers = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        producers.extend(
            node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)),
        );
    }
    producers
}

/// The tensors that a node reads, those of a graph inside it too.
fn read_by(node: &NodeProto) -> impl Iterator<Item = &str> {
    let graphs = node.attribute.iter().flat_map(|of| of.g.iter().chain(&of.graphs));
    let inner = graphs.flat_map(|graph| &graph.node).flat_map(|node| &node.input);
    node.input.iter().chain(inner).map(String::as_str)
}

/// A node and all that it depends on, in the order of the file.
fn ancestors(nodes: &[NodeProto], producers: &HashMap<&str, usize>, of: usize) -> Vec<usize> {
    let mut seen = vec![false; nodes.len()];
    let mut open = vec![of];
    while let Some(index) = open.pop() {
        if !std::mem::replace(&mut seen[index], true) {
            open.extend(read_by(&nodes[index]).filter_map(|name| producers.get(name)));
        }
    }
    (0..nodes.len()).filter(|&index| seen[index]).collect()
}

/// `None` for arrays of different lengths.
fn difference(a: &[f32], b: &[f32]) -> Option<Gap> {
    if a.len() != b.len() {
        return None;
    }
    let mut gap = Gap::default();
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        // Infinities of one sign agree, and NaN with NaN.
        let difference = if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() };
        gap.max_abs = if difference.is_nan() { f64::INFINITY } else { gap.max_abs.max(difference) };
        if a.is_finite() {
            gap.largest = gap.largest.max(a.abs());
        }
    }
    Some(gap)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGREE: Option<Gap> = Some(Gap { max_abs: 0.0, largest: 1.0 });
    const DIFFER: Option<Gap> = Some(Gap { max_abs: 1.0, largest: 1.0 });

    #[test]
    fn the_first_that_differs_is_found_whatever_cannot_be_compared() {
        for len in 1..12 {
            let candidates: Vec<usize> = (0..len).collect();
            for first in 0..=len {
                for hidden in 0..1_usize << len {
                    let result = |index: usize| match (hidden >> index & 1 == 1, index < first) {
                        (true, _) => None,
                        (_, true) => AGREE,
                        _ => DIFFER,
                    };
                    let (found, agreeing) = halve(&candidates, &result);
                    let visible = |index: &usize| hidden >> index & 1 == 0;
                    assert_eq!(
                        found.map(|found| found.index),
                        (first..len).find(visible),
                        "{len} {first} {hidden:b}"
                    );
                    assert_eq!(agreeing, (0..first).rfind(visible), "{len} {first} {hidden:b}");
                }
            }
        }
    }

    #[test]
    fn differences_of_values_that_are_not_finite() {
        assert_eq!(
            difference(&[1.0, f32::NAN, f32::INFINITY], &[1.5, f32::NAN, f32::INFINITY]),
            Some(Gap { max_abs: 0.5, largest: 1.0 })
        );
        assert_eq!(
            difference(&[1.0], &[f32::NAN]),
            Some(Gap { max_abs: f64::INFINITY, largest: 1.0 })
        );
        assert_eq!(difference(&[1.0], &[]), None);
    }
}
