//! Batches that there are too few images for.

use adwp_base::Result;
use adwp_engine::Device;
use adwp_search::{Data, Ingredient};
use adwp_train::{Reporter, Streams};

use crate::config::Config;
use crate::images::Images;
use crate::phases::Training;
use crate::plan::{Plan, another};

/// The phases in the order of [`Config::batches`].
const PHASES: [Training; 3] = [Training::Space, Training::Search, Training::Retrain];

/// Lowers every batch of a plan that its images do not fill to as many as there are, and says so;
/// the batches of a search only where it is still `to_search`.
///
/// # Errors
/// What was asked for, as far as there are images for it, is not what the run in the folder has.
pub(crate) fn lower(
    plan: &mut Plan,
    images: &Images,
    to_search: bool,
    (streams, device): (Streams, &Device),
    reporter: &mut dyn Reporter,
) -> Result {
    let halves = |config: &Config| -> Result<[usize; 2]> {
        let Data { train, validation, .. } = images.search_data(config, streams, device)?;
        Ok([train, validation].map(|half| half.indices.len()))
    };
    let before = plan.config.batches().map(|(_, batch)| *batch);
    for (place, phase) in PHASES.into_iter().enumerate() {
        let is_wanted = to_search || phase == Training::Retrain;
        let (asked, own) = (plan.asked_batches[place], before[place]);
        if !is_wanted && asked == own {
            continue;
        }
        let (most, what) = match phase {
            Training::Retrain => (images.train.indices.len(), "training images"),
            Training::Space | Training::Search => {
                let [train, validation] = halves(&plan.config)?;
                (train.min(validation), "images in a half of those of the search")
            }
        };
        let most = most.max(1);
        let (key, batch) = &mut plan.config.batches()[place];
        if plan.is_begun && asked != own && asked.min(most) != own {
            return Err(another(&plan.folder, &format!("{key} is {own}, not {asked}")));
        }
        if is_wanted && own > most {
            **batch = most;
            reporter.message(&format!("{key} {own} lowered to {most}, the number of {what}"));
        }
    }
    // The trainings of a strategy have half of the images of the search.
    let config = &plan.config;
    let is_short = config.strategy.scorer()?.needs(Ingredient::ShortTraining);
    let trains = is_short || config.strategy.finalists > 0;
    if to_search && trains && !config.strategy.is_gradient() {
        let ([most, _], own) = (halves(config)?, config.retrain.batch);
        if own > most {
            reporter.message(&format!(
                "retrain.batch {own} lowered to {most} for the trainings of the search, the number of \
                 images that they have"
            ));
        }
    }
    Ok(())
}
