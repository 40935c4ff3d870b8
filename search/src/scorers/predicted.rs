use std::collections::HashMap;

use adwp_models::{Choices, IntensiveSpace, NODES};
use adwp_train::{Context, Finished, Quiet, run_phase};

use crate::scorer::{Ingredients, Scorer, ScorerEntry, Unit};
use crate::search_phase::SearchPhase;
use crate::{Data, Result, SearchError, SearchSettings};

/// Validation accuracy with weights that a HyperNetwork predicts.
struct Predicted<'a> {
    entry: &'static ScorerEntry,
    settings: &'a SearchSettings,
    space: &'a IntensiveSpace,
    data: &'a Data,
    /// The α that stand for the architectures; where there are none, [`discrete_alphas`].
    drawn: Option<&'a HashMap<Choices, Vec<Vec<f32>>>>,
    weights: Option<PredictedWeights>,
}

pub(crate) const DISCRETE: ScorerEntry = ScorerEntry {
    name: "predicted-discrete",
    about: "validation accuracy with weights that a HyperNetwork predicts from the architecture",
    label: "predicted weights, discrete α",
    unit: Unit::ACCURACY,
    is_seeded: true,
    prepared_in: Some("hypernetwork"),
    needs: "an intensive space, settings of the search and its images",
    open: |ingredients| open(&DISCRETE, ingredients, None),
};

pub(crate) const AS_DRAWN: ScorerEntry = ScorerEntry {
    name: "predicted-as-drawn",
    about: "validation accuracy with weights predicted from the α of the draw",
    label: "predicted weights, α as drawn",
    needs: "architectures drawn as α, an intensive space, settings of the search and its images",
    open: |ingredients| open(&AS_DRAWN, ingredients, Some(ingredients.training?.drawn?)),
    ..DISCRETE
};

fn open<'a>(
    entry: &'static ScorerEntry,
    ingredients: &Ingredients<'a>,
    drawn: Option<&'a HashMap<Choices, Vec<Vec<f32>>>>,
) -> Option<Box<dyn Scorer + 'a>> {
    let (training, data) = (ingredients.training?, ingredients.data?);
    let (settings, space) = (training.settings, training.intensive?);
    Some(Box::new(Predicted { entry, settings, space, data, drawn, weights: None }))
}

impl Scorer for Predicted<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn prepare(&mut self, context: &mut Context<'_>) -> Result<Finished<()>> {
        train_hypernetwork(self.settings, self.space, self.data, context)?.try_map(|weights| {
            self.weights = Some(weights);
            Ok(())
        })
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        let weights = self.weights.as_mut().expect("scores come after the preparation");
        let accuracy = match self.drawn {
            Some(drawn) => {
                let missing =
                    || SearchError::Input("an architecture was not drawn as α".to_owned());
                weights.score(drawn.get(choices).ok_or_else(missing)?)
            }
            None => weights.score(&discrete_alphas(choices, self.space.width())),
        };
        Ok(Finished::Done(accuracy?))
    }
}

/// α of a pair that is not kept: its softmax is 0 in single precision, next to pairs of α 0.
const DROPPED: f32 = -1e3;

/// For each cell the α, `[NODES, K]` for nodes with `width` candidates, whose softmax over a node's
/// candidates is evenly divided among those kept.
pub(crate) fn discrete_alphas(choices: &Choices, width: usize) -> Vec<Vec<f32>> {
    let node = |kept: &Vec<usize>| -> Vec<f32> {
        (0..width).map(|option| if kept.contains(&option) { 0.0 } else { DROPPED }).collect()
    };
    choices.0.chunks(NODES).map(|cell| cell.iter().flat_map(node).collect()).collect()
}

/// Trains the HyperNetwork alone, in the epochs that [`search`] does so; `search` goes on from the
/// checkpoint it leaves.
///
/// # Errors
/// Settings that cannot be, and what the training loop meets.
pub fn train_hypernetwork(
    settings: &SearchSettings,
    space: &IntensiveSpace,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<PredictedWeights>> {
    let mut phase = SearchPhase::new(settings, space, &[], data)?;
    phase.last_epoch = settings.hypernetwork_epochs;
    run_phase(&mut phase, context)?.try_map(|()| Ok(PredictedWeights { phase }))
}

/// A trained HyperNetwork, to score architectures with the weights that it predicts.
pub struct PredictedWeights {
    phase: SearchPhase,
}

impl PredictedWeights {
    /// Accuracy on the validation images with the weights predicted from `alphas`, for each cell
    /// `[NODES, K]` before the softmax, once the BatchNorm statistics are recomputed on training
    /// images.
    ///
    /// # Errors
    /// Images that cannot be read, a device that fails.
    ///
    /// # Panics
    /// When there are not as many values as the HyperNetwork has.
    pub fn score(&mut self, alphas: &[Vec<f32>]) -> Result<f64> {
        let SearchPhase { net, learner, .. } = &mut self.phase;
        assert_eq!(alphas.len(), net.alphas.len(), "every cell has an α");
        for (id, values) in net.alphas.iter().zip(alphas) {
            learner.variables.get_mut(&net.graph[*id].name)?.copy_from_slice(values);
        }
        self.phase.validate(&mut Quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_softmax_is_divided_among_the_candidates_kept() {
        let choices = Choices(vec![vec![0, 2], vec![1, 5], vec![3, 4], vec![0, 1], vec![2, 3]]);
        let alphas = discrete_alphas(&choices, 6);
        assert_eq!((alphas.len(), alphas[0].len(), alphas[1].len()), (2, NODES * 6, 6));
        for (node, kept) in alphas.concat().chunks_exact(6).zip(&choices.0) {
            let exp: Vec<f32> = node.iter().map(|alpha| alpha.exp()).collect();
            let softmax: Vec<f32> = exp.iter().map(|e| e / exp.iter().sum::<f32>()).collect();
            let expected: Vec<f32> =
                (0..6).map(|option| if kept.contains(&option) { 0.5 } else { 0.0 }).collect();
            assert_eq!(softmax, expected);
        }
    }
}
