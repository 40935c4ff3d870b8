//! The last step of a search: the best by score are trained, and the best of them is delivered.

use std::path::Path;

use adwp_models::Space;
use adwp_train::{Context, Finished, TrainError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::Journal;
use crate::scorer::Train;
use crate::scorers::training::train_apart;
use crate::trials::Trial;
use crate::{Result, SearchError};

/// The record of the trainings in the folder of a run.
pub const FINALISTS: &str = "finalists.jsonl";

const SCHEMA: &str = "adwp/finalists/1";

/// A training of an architecture, and a line of the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finalist {
    /// The architecture, as its space writes it.
    pub text: String,
    /// Epochs of the training, which ended its schedule.
    pub epochs: usize,
    /// Share of the validation images that were classified right.
    pub accuracy: f64,
}

/// Successive halving (Jamieson and Talwalkar, Non-stochastic Best Arm Identification and
/// Hyperparameter Optimization, 2016): all of `trials` are trained for `epochs`, the better half of
/// them anew for twice as many, and so on until one is left. Of equal ones the earlier is better.
/// Gives the winner and all trainings, in order.
///
/// Every training is a line of `finalists.jsonl`, and none is done twice, whatever the trials: a
/// search that goes on has other finalists.
///
/// # Errors
/// No trials, a record that is none, and those of training.
pub fn halve(
    space: &dyn Space,
    trials: &[&Trial],
    epochs: usize,
    train: &Train<'_>,
    context: &mut Context<'_>,
) -> Result<Finished<(Trial, Vec<Finalist>)>> {
    let (mut journal, mut known) = open(&context.run.file(FINALISTS), context.resume)?;
    let (mut left, mut epochs, mut all) = (trials.to_vec(), epochs, Vec::new());
    if left.is_empty() {
        return Err(SearchError::Input("there are no architectures to choose finalists of".into()));
    }
    while left.len() > 1 {
        let mut round = Vec::with_capacity(left.len());
        for trial in left {
            let is_it = |of: &&Finalist| of.text == trial.text && of.epochs == epochs;
            let finalist = match known.iter().find(is_it) {
                Some(finalist) => finalist.clone(),
                None => {
                    let accuracy = train_apart(space, &trial.choices, epochs, train, context)?;
                    let Finished::Done(accuracy) = accuracy else {
                        return Ok(Finished::Interrupted);
                    };
                    let finalist = Finalist { text: trial.text.clone(), epochs, accuracy };
                    journal.add(&finalist)?;
                    known.push(finalist.clone());
                    finalist
                }
            };
            context.reporter.message(&format!(
                "search: finalist {}: {:.2}% after {epochs} epochs",
                trial.number + 1,
                100.0 * finalist.accuracy
            ));
            round.push((trial, finalist));
        }
        round.sort_by(|(_, a), (_, b)| b.accuracy.total_cmp(&a.accuracy));
        left = round.iter().take(round.len().div_ceil(2)).map(|(trial, _)| *trial).collect();
        all.extend(round.into_iter().map(|(_, finalist)| finalist));
        epochs *= 2;
    }
    Ok(Finished::Done((left[0].clone(), all)))
}

/// The trainings that a record has, in order; none where there is no record.
///
/// # Errors
/// [`TrainError::Damaged`] for a file that is none.
pub fn read_finalists(path: &Path) -> Result<Vec<Finalist>> {
    Ok(open(path, true)?.1)
}

fn open(path: &Path, resume: bool) -> Result<(Journal, Vec<Finalist>)> {
    let first = json!({ "schema": SCHEMA });
    let check = |found: &Value| match *found == first {
        true => Ok(()),
        false => {
            let reason = format!("it begins with {found}, expected {first}");
            Err(TrainError::Damaged { path: path.to_owned(), reason }.into())
        }
    };
    Journal::open(path.to_owned(), resume, first.clone(), check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::tests::space;
    use adwp_models::Blueprint;
    use adwp_train::{Interrupt, Quiet, RunDir, Streams};
    use std::cell::RefCell;
    use std::time::Instant;

    fn trials(space: &dyn Space) -> Vec<Trial> {
        let trial = |number| {
            let choices = space.sample(&mut Streams::new(1).at("test", number, 0));
            let (key, text) = (space.key(&choices), space.text(&choices));
            Trial { number, choices, key, text, score: 0.0, inputs: Vec::new(), seconds: 0.0 }
        };
        (0..5).map(trial).collect()
    }

    #[test]
    fn the_better_half_goes_on_with_twice_the_epochs() {
        let space = space();
        let trials = trials(&space);
        let holder = tempfile::tempdir().unwrap();
        let run = RunDir::create(holder.path()).unwrap();
        let trained = RefCell::new(Vec::new());
        // Params decide, and the longer training turns the best two round.
        let train = |network: Blueprint, epochs, _: &mut Context<'_>| {
            let params = network.cost().unwrap().params as f64;
            trained.borrow_mut().push(epochs);
            Ok(Finished::Done(if epochs < 8 { params } else { -params }))
        };
        let halve = |train: &Train<'_>, resume, is_stopped| {
            let interrupt = Interrupt::default();
            let interrupt =
                if is_stopped { interrupt.with_deadline(Instant::now()) } else { interrupt };
            let (held_bytes, check_memory) = (0, true);
            let reporter = &mut Quiet;
            let mut context = Context {
                run: &run,
                resume,
                held_bytes,
                check_memory,
                interrupt: &interrupt,
                reporter,
            };
            super::halve(&space, &trials.iter().collect::<Vec<_>>(), 2, train, &mut context)
        };
        let Finished::Done((winner, all)) = halve(&train, false, false).unwrap() else {
            panic!("nobody interrupts it")
        };
        // Five, three, two.
        assert_eq!(*trained.borrow(), [2, 2, 2, 2, 2, 4, 4, 4, 8, 8]);
        assert_eq!(all.iter().map(|of| of.epochs).collect::<Vec<_>>(), *trained.borrow());
        let params = |trial: &Trial| Blueprint::of(&space, &trial.choices).unwrap().cost().unwrap();
        let mut sizes: Vec<u64> = trials.iter().map(|trial| params(trial).params).collect();
        sizes.sort_unstable();
        assert_eq!(params(&winner).params, sizes[3]);

        let never = |_: Blueprint, _, _: &mut Context<'_>| Ok(Finished::Interrupted);
        let again = halve(&never, true, false).unwrap();
        assert!(again == Finished::Done((winner, all)), "nothing is trained twice");
        assert!(halve(&never, false, true).unwrap() == Finished::Interrupted);
    }
}
