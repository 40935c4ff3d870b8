//! What is timed: single operators and whole training steps, each as a network ready to run.

mod network;
mod operators;
mod steps;

pub(crate) use network::{HEAD, Network, Size, Update};

use adwp_base::Failure;

use crate::failure::Result;
use operators::Operator;
use steps::Step;

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

pub(crate) fn named(name: &str) -> Result<Case> {
    let found = all().into_iter().find(|case| case.name == name);
    found.ok_or_else(|| {
        Failure::input(format!("there is no case {name:?}; --list prints all names"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::MultiplyAdds;

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
