use adwp_models::{Choices, Space};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::trials::Trial;

/// Decides which architecture is scored next.
pub trait Strategy {
    /// Its name in the registry.
    fn name(&self) -> &'static str;

    /// The architecture to score next. Follows from the trials told so far and from `rng`, which
    /// belongs to (seed, trial): a search that is resumed tells all recorded trials again and asks
    /// for the next one only. Asked again for the same trial when the architecture was scored
    /// before.
    fn ask(&mut self, space: &dyn Space, rng: &mut dyn Rng) -> Choices;

    /// The score of the architecture that was asked for. Trials come in the order of their numbers.
    fn tell(&mut self, trial: &Trial);
}

/// A strategy of the registry.
pub struct StrategyEntry {
    /// What people call it.
    pub name: &'static str,
    /// A line about it.
    pub about: &'static str,
    /// Makes one that has been told nothing.
    ///
    /// # Errors
    /// [`SearchError::Input`](crate::SearchError::Input) when the settings make no such strategy.
    pub open: fn(&StrategySettings) -> Result<Box<dyn Strategy>>,
}

/// Settings of all strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StrategySettings {
    /// Evolution: architectures that live at a time.
    pub population_size: usize,
    /// Evolution: architectures whose best becomes a parent.
    pub sample_size: usize,
}

impl Default for StrategySettings {
    fn default() -> Self {
        Self { population_size: 20, sample_size: 5 }
    }
}
