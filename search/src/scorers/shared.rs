use adwp_models::Choices;
use adwp_train::{Context, Finished};

use crate::one_shot::{PathSampling, SharedWeights, train_one_shot};
use crate::scorer::{Ingredient, Ingredients, JointTraining, Scorer, ScorerEntry, Unit};
use crate::{Data, Result};

/// Validation accuracy with weights that all architectures share.
struct Shared<'a> {
    entry: &'static ScorerEntry,
    sampling: PathSampling,
    training: JointTraining<'a>,
    data: &'a Data,
    weights: Option<SharedWeights<'a>>,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "one-shot",
    about: "validation accuracy with weights that all architectures share",
    label: "shared one-shot weights",
    unit: Unit::ACCURACY,
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: Some("one-shot"),
    needs: &[Ingredient::JointTraining, Ingredient::Images],
    open: |ingredients| open(&ENTRY, PathSampling::Uniform, ingredients),
};

pub(crate) const NOVELTY: ScorerEntry = ScorerEntry {
    name: "novelty",
    about: "the same with weights that learned from architectures unlike those before",
    label: "shared weights, sampled by novelty",
    prepared_in: Some("novelty"),
    open: |ingredients| open(&NOVELTY, PathSampling::Novelty, ingredients),
    ..ENTRY
};

fn open<'a>(
    entry: &'static ScorerEntry,
    sampling: PathSampling,
    ingredients: &Ingredients<'a>,
) -> Option<Box<dyn Scorer + 'a>> {
    let (training, data) = (ingredients.training?, ingredients.data?);
    Some(Box::new(Shared { entry, sampling, training, data, weights: None }))
}

impl Scorer for Shared<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn prepare(&mut self, context: &mut Context<'_>) -> Result<Finished<()>> {
        let JointTraining { settings, space, .. } = self.training;
        train_one_shot(settings, space, self.sampling, self.data, context)?.try_map(|weights| {
            self.weights = Some(weights);
            Ok(())
        })
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        let weights = self.weights.as_ref().expect("scores come after the preparation");
        Ok(Finished::Done(weights.score(choices)?))
    }
}
