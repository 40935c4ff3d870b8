use adwp_models::Choices;
use adwp_train::{Context, Finished};

use crate::ghn::{PredictedByGraph, train_ghn};
use crate::scorer::{Ingredient, Ingredients, JointTraining, Scorer, ScorerEntry, Unit};
use crate::{Data, Result};

/// How good weights are that a graph network predicts.
struct Ghn<'a> {
    entry: &'static ScorerEntry,
    is_anytime: bool,
    training: JointTraining<'a>,
    data: &'a Data,
    weights: Option<PredictedByGraph<'a>>,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "ghn",
    about: "validation accuracy with weights that a graph network predicts from the topology",
    label: "weights predicted by a graph network",
    unit: Unit::ACCURACY,
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: Some("ghn"),
    needs: &[Ingredient::JointTraining, Ingredient::Images],
    open: |ingredients| open(&ENTRY, false, ingredients),
};

pub(crate) const ANYTIME: ScorerEntry = ScorerEntry {
    name: "ghn-anytime",
    about: "the same with classifiers after every cell: area under accuracy against multiply-adds",
    label: "weights predicted by a graph network, anytime",
    unit: Unit { axis: "area under accuracy, %", factor: 100.0 },
    is_of_accuracy: false,
    prepared_in: Some("ghn-anytime"),
    open: |ingredients| open(&ANYTIME, true, ingredients),
    ..ENTRY
};

fn open<'a>(
    entry: &'static ScorerEntry,
    is_anytime: bool,
    ingredients: &Ingredients<'a>,
) -> Option<Box<dyn Scorer + 'a>> {
    let (training, data) = (ingredients.training?, ingredients.data?);
    Some(Box::new(Ghn { entry, is_anytime, training, data, weights: None }))
}

impl Scorer for Ghn<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn prepare(&mut self, context: &mut Context<'_>) -> Result<Finished<()>> {
        let JointTraining { settings, space, .. } = self.training;
        train_ghn(settings, space, self.is_anytime, self.data, context)?.try_map(|weights| {
            self.weights = Some(weights);
            Ok(())
        })
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        let weights = self.weights.as_ref().expect("scores come after the preparation");
        Ok(Finished::Done(weights.score(choices)?))
    }
}
