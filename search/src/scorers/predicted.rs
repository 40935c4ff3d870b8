use std::collections::HashMap;

use adwp_models::{Choices, Space};
use adwp_train::{Context, Finished, Quiet, run_phase};

use crate::scorer::{Ingredient, Ingredients, JointTraining, Scorer, ScorerEntry, Unit};
use crate::search_phase::SearchPhase;
use crate::{Data, Result, SearchError, SearchSettings};

/// Validation accuracy with weights that a HyperNetwork predicts.
struct Predicted<'a> {
    entry: &'static ScorerEntry,
    training: JointTraining<'a>,
    data: &'a Data,
    /// The α that stand for the architectures, where those are not discrete.
    drawn: Option<&'a HashMap<Choices, Vec<Vec<f32>>>>,
    weights: Option<PredictedWeights<'a>>,
}

pub(crate) const DISCRETE: ScorerEntry = ScorerEntry {
    name: "predicted-discrete",
    about: "validation accuracy with weights that a HyperNetwork predicts from the architecture",
    label: "predicted weights, discrete α",
    unit: Unit::ACCURACY,
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: Some("hypernetwork"),
    needs: &[Ingredient::JointTraining, Ingredient::Images],
    open: |ingredients| open(&DISCRETE, ingredients, None),
};

pub(crate) const AS_DRAWN: ScorerEntry = ScorerEntry {
    name: "predicted-as-drawn",
    about: "validation accuracy with weights predicted from the α of the draw",
    label: "predicted weights, α as drawn",
    needs: &[Ingredient::Drawn, Ingredient::JointTraining, Ingredient::Images],
    open: |ingredients| open(&AS_DRAWN, ingredients, Some(ingredients.training?.drawn?)),
    ..DISCRETE
};

fn open<'a>(
    entry: &'static ScorerEntry,
    ingredients: &Ingredients<'a>,
    drawn: Option<&'a HashMap<Choices, Vec<Vec<f32>>>>,
) -> Option<Box<dyn Scorer + 'a>> {
    let (training, data) = (ingredients.training?, ingredients.data?);
    Some(Box::new(Predicted { entry, training, data, drawn, weights: None }))
}

impl Scorer for Predicted<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn prepare(&mut self, context: &mut Context<'_>) -> Result<Finished<()>> {
        let JointTraining { settings, space, .. } = self.training;
        train_hypernetwork(settings, space, self.data, context)?.try_map(|weights| {
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
            None => weights.score_discrete(choices),
        };
        Ok(Finished::Done(accuracy?))
    }
}

/// Trains the HyperNetwork of a space alone, in the epochs that [`search`](crate::search) does so;
/// `search` goes on from the checkpoint it leaves. `space` is opened at the sizes of the search:
/// those of [`Data::skeleton`] with the channels of the settings.
///
/// # Errors
/// Settings that cannot be, and what the training loop meets.
pub fn train_hypernetwork<'a>(
    settings: &SearchSettings,
    space: &'a dyn Space,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<PredictedWeights<'a>>> {
    let mut phase = SearchPhase::new(settings, [space; 2], &[], data)?;
    phase.last_epoch = settings.hypernetwork_epochs;
    run_phase(&mut phase, context)?.try_map(|()| Ok(PredictedWeights { phase }))
}

/// A trained HyperNetwork, to score architectures with the weights that it predicts.
pub struct PredictedWeights<'a> {
    phase: SearchPhase<'a>,
}

impl PredictedWeights<'_> {
    /// Accuracy on the validation images with the weights predicted from `alphas`, for each α of
    /// the HyperNetwork its values before the softmax, once the BatchNorm statistics are recomputed
    /// on training images.
    ///
    /// # Errors
    /// Images that cannot be read, a device that fails.
    ///
    /// # Panics
    /// When there are not as many values as the HyperNetwork has.
    pub fn score(&mut self, alphas: &[Vec<f32>]) -> Result<f64> {
        self.phase.set_alphas(alphas)?;
        self.phase.validate(&mut Quiet)
    }

    /// [`Self::score`] of an architecture as the α of
    /// [`Hypernetwork::discrete_alphas`](adwp_models::Hypernetwork::discrete_alphas), for less: what
    /// has a probability of 0 is left out.
    ///
    /// # Errors
    /// Those of [`Self::score`], and an architecture that is not of the space.
    pub fn score_discrete(&mut self, choices: &Choices) -> Result<f64> {
        self.phase.space.validate(choices)?;
        self.phase.validate_architecture(choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlphaDraw;
    use crate::scorers::naswot::tests::noise;
    use adwp_data::Augmentation;
    use adwp_models::{GeneratorInput, NasBench201, NasBenchMacro, Skeleton};
    use adwp_train::{Checkpoint, Interrupt, RunDir, Streams};
    use std::path::Path;
    use std::time::Instant;

    fn settings() -> SearchSettings {
        SearchSettings {
            epochs: 4,
            hypernetwork_epochs: 2,
            cross_search_start: 4,
            cross_search_end: 4,
            batch: 4,
            channels: 2,
            hidden: 4,
            // At a lower one the labels of noise make all images the same class.
            rate: 0.5,
            generator_input: GeneratorInput::Vector,
            alpha_draw: AlphaDraw::Discrete,
            recalibration_images: 8,
            augmentation: Augmentation::NONE,
            ..SearchSettings::default()
        }
    }

    fn skeleton() -> Skeleton {
        Skeleton { channels: 2, ..noise(48).skeleton }
    }

    /// Trains in a folder; a phase that is stopped after every step is continued until it is done.
    fn train<'a>(
        folder: &Path,
        space: &'a dyn Space,
        is_stopped: bool,
    ) -> (PredictedWeights<'a>, usize) {
        let run = RunDir::create(folder).unwrap();
        let interrupt = if is_stopped {
            Interrupt::default().with_deadline(Instant::now())
        } else {
            Interrupt::default()
        };
        for stops in 0.. {
            let quiet = &mut Quiet;
            let context = &mut Context { resume: true, ..Context::new(&run, &interrupt, quiet) };
            let trained = train_hypernetwork(&settings(), space, &noise(48), context);
            if let Finished::Done(weights) = trained.unwrap() {
                return (weights, stops);
            }
        }
        unreachable!("every try is a step on")
    }

    #[test]
    fn training_in_pieces_ends_in_the_same_weights_and_scores() {
        let holder = tempfile::tempdir().unwrap();
        let space = NasBench201::new(skeleton()).unwrap();
        let folders = ["whole", "pieces"].map(|name| holder.path().join(name));
        let (mut whole, _) = train(&folders[0], &space, false);
        let (mut pieces, stops) = train(&folders[1], &space, true);
        assert_eq!(stops, 2 * 6);
        let tensors = folders.map(|folder| {
            Checkpoint::read(&RunDir::create(&folder).unwrap().checkpoint("search"))
                .unwrap()
                .tensors
        });
        let has = |part: &str| tensors[0].keys().any(|name| name.contains(part));
        assert!(has("velocity/") && has("nor_conv_3x3@0/conv/generator/fc1/weight"));
        assert_eq!(tensors[0], tensors[1]);
        let choices = space.sample(&mut Streams::new(9).once("architecture"));
        assert_eq!(
            whole.score_discrete(&choices).unwrap(),
            pieces.score_discrete(&choices).unwrap()
        );
    }

    #[test]
    fn a_score_depends_on_no_other() {
        let holder = tempfile::tempdir().unwrap();
        let space = NasBenchMacro::new(skeleton()).unwrap();
        let (mut weights, _) = train(holder.path(), &space, false);
        let draw = |i| space.sample(&mut Streams::new(9).at("architecture", i, 0));
        let mixtures: Vec<f64> = (0..8)
            .map(|i| {
                let alphas = weights.phase.net.discrete_alphas(&draw(i));
                weights.score(&alphas).unwrap()
            })
            .collect();
        let mut score = |i| weights.score_discrete(&draw(i)).unwrap();
        let first: Vec<f64> = (0..8).map(&mut score).collect();
        assert_eq!(first, mixtures, "what has a probability of 0 changes nothing");
        let again: Vec<f64> = (0..8).rev().map(&mut score).collect();
        assert!(first.iter().eq(again.iter().rev()), "{first:?}, {again:?}");
        assert!(first.iter().any(|score| *score != first[0]), "{first:?}");
        let other = Choices(vec![vec![0]; 2]);
        assert!(weights.score_discrete(&other).is_err(), "it has too few layers");
    }
}
