use adwp_models::Choices;
use adwp_train::{Context, Finished};

use crate::ghn::{PredictedByGraph, train_ghn};
use crate::scorer::{JointTraining, Scorer, ScorerEntry, Unit};
use crate::{Data, Result};

/// Validation accuracy with weights that a graph network predicts.
struct Ghn<'a> {
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
    prepared_in: Some("ghn"),
    needs: "settings of the search and its images",
    open: |ingredients| {
        let (training, data) = (ingredients.training?, ingredients.data?);
        Some(Box::new(Ghn { training, data, weights: None }))
    },
};

impl Scorer for Ghn<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn prepare(&mut self, context: &mut Context<'_>) -> Result<Finished<()>> {
        let JointTraining { settings, space, .. } = self.training;
        train_ghn(settings, space, self.data, context)?.try_map(|weights| {
            self.weights = Some(weights);
            Ok(())
        })
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        let weights = self.weights.as_ref().expect("scores come after the preparation");
        Ok(Finished::Done(weights.score(choices)?))
    }
}
