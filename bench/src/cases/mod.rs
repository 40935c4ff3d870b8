//! What is timed: single operators and whole training steps, each as a network ready to run.

mod operators;
mod steps;

use adwp_base::Failure;
use adwp_engine::{Graph, Node, NodeId, Variables};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::count::{self, MultiplyAdds};
use crate::failure::Result;
use operators::Operator;
use steps::Step;

/// Nodes that are there only to give an operator a loss start with this; they are neither timed nor
/// counted.
pub(crate) const HEAD: &str = "head/";

/// How large the networks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// What is measured.
    Full,
    /// The same networks at a size for tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests are this small"))]
    Tiny,
}

/// What happens to the trainable parameters after the gradients are there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Update {
    /// Nothing.
    None,
    /// The gradient's norm is bounded, then a step with momentum.
    Sgd { clip: f32, rate: f32, momentum: f32, weight_decay: f32 },
    /// A step of Adam.
    Adam { rate: f32, betas: (f32, f32), weight_decay: f32 },
}

/// A network with everything that a training step on it needs.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) graph: Graph,
    pub(crate) loss: NodeId,
    /// The operator's result, or the logits.
    pub(crate) output: NodeId,
    pub(crate) trainable: Vec<NodeId>,
    pub(crate) feeds: Vec<(NodeId, Vec<f32>)>,
    pub(crate) update: Update,
}

impl Network {
    /// Parameters and statistics as the network starts with them, the same at every call.
    pub(crate) fn variables(&self) -> Result<Variables> {
        let mut variables = Variables::new();
        variables.initialize(&self.graph, &mut ChaCha8Rng::seed_from_u64(2))?;
        Ok(variables)
    }

    /// Bytes that clipping and optimiser read and write on a GPU: for each parameter its gradient
    /// once to clip, then gradient, value and moments read, value and moments written.
    pub(crate) fn update_bytes(&self) -> usize {
        let numbers = match self.update {
            Update::None => 0,
            Update::Sgd { .. } => 6,
            Update::Adam { .. } => 7,
        };
        let elements: usize =
            self.trainable.iter().map(|&id| self.graph[id].shape.elements()).sum();
        numbers * elements * size_of::<f32>()
    }

    /// Multiply-adds of what is timed.
    pub(crate) fn multiply_adds(&self) -> MultiplyAdds {
        count::step(&self.graph, self.loss, &[self.output], &self.trainable, |node: &Node| {
            !node.name.starts_with(HEAD)
        })
    }
}

#[derive(Clone, Debug)]
enum Recipe {
    Operator(Operator),
    Step(Step),
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    recipe: Recipe,
}

impl Case {
    /// Whether it is a whole training step, parameters updated, and not a single operator.
    pub(crate) fn is_step(&self) -> bool {
        matches!(self.recipe, Recipe::Step(_))
    }

    /// Builds the network.
    pub(crate) fn network(&self, size: Size) -> Result<Network> {
        match &self.recipe {
            Recipe::Operator(operator) => operator.network(size),
            Recipe::Step(step) => step.network(size),
        }
    }
}

/// All cases, operators first.
pub(crate) fn all() -> Vec<Case> {
    let operators =
        operators::all().into_iter().map(|o| Case { name: o.name(), recipe: Recipe::Operator(o) });
    let steps = steps::all()
        .into_iter()
        .map(|s| Case { name: s.name().to_owned(), recipe: Recipe::Step(s) });
    operators.chain(steps).collect()
}

/// The cases whose name contains one of `parts`; all where none is given.
///
/// # Errors
/// When a part is in no name.
pub(crate) fn containing(parts: &[String]) -> Result<Vec<Case>> {
    let all = all();
    if let Some(part) = parts.iter().find(|part| !all.iter().any(|case| case.name.contains(*part)))
    {
        return Err(Failure::input(format!(
            "no case has {part:?} in its name; --list prints all names"
        )));
    }
    Ok(all
        .into_iter()
        .filter(|case| parts.is_empty() || parts.iter().any(|part| case.name.contains(part)))
        .collect())
}

/// The one case of that name.
pub(crate) fn named(name: &str) -> Result<Case> {
    let found = all().into_iter().find(|case| case.name == name);
    found.ok_or_else(|| {
        Failure::input(format!("there is no case {name:?}; --list prints all names"))
    })
}

/// Values that look like normalised images: the same at every call, no two alike nearby.
fn noise(elements: usize, seed: u64) -> Vec<f32> {
    use rand::RngExt;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..elements).map(|_| 4.0 * rng.random::<f32>() - 2.0).collect()
}

/// Class indices, as the engine takes them.
fn labels(batch: usize, classes: usize) -> Vec<f32> {
    (0..batch).map(|i| (i % classes) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_found() {
        let all = all();
        for case in &all {
            assert_eq!(
                all.iter().filter(|other| other.name == case.name).count(),
                1,
                "{}",
                case.name
            );
            assert_eq!(named(&case.name).unwrap().name, case.name);
        }
        let some = containing(&["step/retrain".to_owned(), "op/relu".to_owned()]).unwrap();
        assert_eq!(some.len(), 2);
        assert!(
            containing(&["op/".to_owned(), "nonsense".to_owned()])
                .unwrap_err()
                .to_string()
                .contains("\"nonsense\"")
        );
    }

    #[test]
    fn a_pointwise_operator_counts_itself_and_not_its_head() {
        let network = named("op/pointwise/16x32x32").unwrap().network(Size::Full).unwrap();
        let forward = 96 * 16 * 32 * 32 * 16;
        assert_eq!(network.multiply_adds(), MultiplyAdds { forward, backward: 2 * forward });
    }
}
