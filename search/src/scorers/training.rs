use std::fs;
use std::io::ErrorKind;

use adwp_models::{Blueprint, Choices, Space};
use adwp_train::{Context, Finished, RunDir, Streams, TrainError};

use crate::Result;
use crate::scorer::{Scorer, ScorerEntry, ShortTraining, Unit};

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
    needs: "settings of a short training",
    open: |ingredients| {
        Some(Box::new(Trained { space: ingredients.space, training: ingredients.short? }))
    },
};

impl Scorer for Trained<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    /// Trains in a folder of the architecture's own, which is removed once the score is known: an
    /// interrupted training continues there.
    fn score(&mut self, choices: &Choices, context: &mut Context<'_>) -> Result<Finished<f64>> {
        // A number that belongs to the architecture.
        let number = Streams::new(0).seed_for(&self.space.text(choices));
        let run = RunDir::create(&context.run.file(&format!("training/{number:016x}")))?;
        let network = Blueprint::of(self.space, choices)?;
        let score = (self.training.train)(network, &mut context.within(&run))?;
        score.try_map(|score| match fs::remove_dir_all(run.path()) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                let path = run.path().to_owned();
                Err(TrainError::File { action: "remove", path, source }.into())
            }
            _ => Ok(score),
        })
    }

    fn epochs(&self) -> usize {
        self.training.epochs
    }
}
