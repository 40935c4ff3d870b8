use std::fs;
use std::io::ErrorKind;

use adwp_models::{Blueprint, Choices, Space};
use adwp_train::{Context, Finished, RunDir, Streams, TrainError};

use crate::Result;
use crate::scorer::{Ingredient, Scorer, ScorerEntry, ShortTraining, Train, Unit};

/// Accuracy after a few epochs of training.
struct Trained<'a> {
    space: &'a dyn Space,
    training: ShortTraining<'a>,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "training",
    about: "accuracy after a few epochs of training",
    label: "short training",
    unit: Unit::ACCURACY,
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: None,
    needs: &[Ingredient::ShortTraining],
    open: |ingredients| {
        Some(Box::new(Trained { space: ingredients.space, training: ingredients.short? }))
    },
};

impl Scorer for Trained<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn score(&mut self, choices: &Choices, context: &mut Context<'_>) -> Result<Finished<f64>> {
        let ShortTraining { epochs, train } = self.training;
        train_apart(self.space, choices, epochs, train, context)
    }

    fn epochs(&self) -> usize {
        self.training.epochs
    }
}

/// Trains in a folder of the architecture's own, which is removed once the accuracy is known: an
/// interrupted training continues there.
pub(crate) fn train_apart(
    space: &dyn Space,
    choices: &Choices,
    epochs: usize,
    train: &Train<'_>,
    context: &mut Context<'_>,
) -> Result<Finished<f64>> {
    // A number that belongs to the architecture and to how long it is trained.
    let number = Streams::new(epochs as u64).seed_for(&space.text(choices));
    let run = RunDir::create(&context.run.file(&format!("training/{number:016x}")))?;
    let network = Blueprint::of(space, choices)?;
    let accuracy = train(network, epochs, &mut context.within(&run))?;
    accuracy.try_map(|accuracy| match fs::remove_dir_all(run.path()) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            let path = run.path().to_owned();
            Err(TrainError::File { action: "remove", path, source }.into())
        }
        _ => Ok(accuracy),
    })
}
