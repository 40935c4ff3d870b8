use std::path::Path;

use crate::architecture;

/// A phase of a run that trains.
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

    /// The file that it ends with.
    pub(crate) fn result(self) -> &'static str {
        match self {
            Self::Space => "space.json",
            Self::Search => architecture::GENOTYPE,
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
