//! What the phases of a run need of memory, known before the first of them starts.

use std::path::Path;

use adwp_base::Failure;
use adwp_engine::Device;
use adwp_export::RetrainData;
use adwp_models::{Blueprint, IntensiveSpace};
use adwp_train::{Need, Streams, memory};

use crate::architecture::{self, RunArchitecture};
use crate::config::Config;
use crate::session::Images;
use crate::steps::parsed;

/// A phase that trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Training {
    Space,
    Search,
    Retrain,
}

impl Training {
    pub(crate) const ALL: [Self; 3] = [Self::Space, Self::Search, Self::Retrain];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Space => "space",
            Self::Search => "search",
            Self::Retrain => "retrain",
        }
    }

    /// The file it writes in the end.
    pub(crate) fn result(self) -> &'static str {
        match self {
            Self::Space => "space.json",
            Self::Search => "genotype.json",
            Self::Retrain => "weights.safetensors",
        }
    }
}

/// The phases that the folder has no result of yet. Where the architecture is there, its space is
/// not needed any more: both may have come from another run.
pub(crate) fn pending(phases: &[Training], folder: &Path) -> impl Iterator<Item = Training> {
    let is_there = |phase: Training| {
        folder.join(phase.result()).exists()
            || phase == Training::Search && folder.join(architecture::NAMED).exists()
    };
    phases.iter().copied().filter(move |&phase| {
        !(is_there(phase) || phase == Training::Space && is_there(Training::Search))
    })
}

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
) -> Result<(), Failure> {
    let available = memory::available(device)?;
    for phase in pending(phases, folder) {
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
) -> Result<Need, Failure> {
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
                Some(architecture) => architecture.network(skeleton)?,
                None => {
                    let mut rng = streams.once("memory/genotype");
                    Blueprint::Cells {
                        genotype: space()?.random_genotype(
                            &skeleton,
                            config.search.keep,
                            &mut rng,
                        )?,
                        skeleton,
                    }
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
