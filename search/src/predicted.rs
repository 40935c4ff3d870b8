use adwp_models::IntensiveSpace;
use adwp_train::{Context, Quiet, run_phase};

use crate::search_phase::SearchPhase;
use crate::{Data, Finished, Result, SearchSettings};

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
    let outcome = run_phase(&mut phase, context)?;
    Finished::from_outcome(outcome, || Ok(PredictedWeights { phase }))
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
        Ok(self.phase.validate(&mut Quiet)?)
    }
}
