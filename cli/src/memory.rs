//! What the phases of a run need of memory, known before the first of them starts.

use std::path::Path;

use adwp_base::Result;
use adwp_engine::Device;
use adwp_export::RetrainData;
use adwp_models::{Blueprint, IntensiveSpace};
use adwp_train::{Need, Streams, memory};

use crate::architecture::{RunArchitecture, parsed};
use crate::config::Config;
use crate::images::Images;
use crate::phases::{Training, pending};

/// Refuses the phases that the folder has no result of yet when one of them needs more memory than
/// there is: a run that cannot be finished is better not begun.
///
/// What an earlier phase has still to find is drawn at random. Candidates differ in size, so this
/// is an estimate; each phase is checked again when it starts.
///
/// `architecture` is that of the run, where it has one.
pub(crate) fn check(
    phases: &[Training],
    folder: &Path,
    architecture: Option<&RunArchitecture>,
    config: &Config,
    images: &Images,
    device: &Device,
) -> Result {
    let available = memory::available(device)?;
    // What a strategy trains is checked when it starts.
    let is_known = |phase: &Training| match phase {
        Training::Space => config.strategy.is_intensive(),
        Training::Search => config.strategy.is_gradient(),
        Training::Retrain => true,
    };
    for phase in pending(phases, folder).filter(is_known) {
        let planned = planned_bytes(phase, folder, architecture, config, images, device)?
            .with_held(images.held_bytes());
        memory::check(phase.name(), planned, available)?;
    }
    Ok(())
}

fn planned_bytes(
    phase: Training,
    folder: &Path,
    architecture: Option<&RunArchitecture>,
    config: &Config,
    images: &Images,
    device: &Device,
) -> Result<Need> {
    let streams = Streams::new(config.seed);
    let skeleton = images.skeleton(config, config.retrain.channels);
    let space = || match folder.join(Training::Space.result()) {
        path if path.exists() => parsed(path, IntensiveSpace::from_json),
        _ => {
            Ok(IntensiveSpace::random(config.space.candidates, &mut streams.once("memory/space"))?)
        }
    };
    Ok(match phase {
        Training::Space => {
            adwp_search::space_bytes(&config.space, &images.search_data(config, streams, device)?)?
        }
        // Limits add a few numbers.
        Training::Search => adwp_search::search_bytes(
            &config.search,
            &space()?,
            &[],
            &images.search_data(config, streams, device)?,
        )?,
        Training::Retrain => {
            let network = match architecture {
                Some(architecture) => images.blueprint(config, architecture)?,
                None => {
                    let mut rng = streams.once("memory/genotype");
                    let genotype =
                        space()?.random_genotype(&skeleton, config.search.keep, &mut rng)?;
                    config.limits.filled(Blueprint::Cells { genotype, skeleton })?
                }
            };
            let data = RetrainData {
                train: images.train.clone(),
                test: images.test.clone(),
                streams,
                device: device.clone(),
            };
            adwp_export::retrain_bytes(&config.retrain, &network, &data)?
        }
    })
}
