use std::collections::BTreeMap;

use adwp_models::{Choices, Space};
use rand::Rng;
use serde::Serialize;

use crate::trials::Trial;
use crate::{Result, SearchError};

/// Decides which architecture is scored next.
pub trait Strategy {
    /// Its name in the registry.
    fn name(&self) -> &'static str;

    /// The architecture to score next. Follows from the trials told so far and from `rng`, which
    /// belongs to (seed, trial): a search that is resumed tells all recorded trials again and asks
    /// for the next one only. Asked again for the same trial when the architecture was scored
    /// before.
    fn ask(&mut self, rng: &mut dyn Rng) -> Choices;

    /// The score of the architecture that was asked for. Trials come in the order of their numbers.
    fn tell(&mut self, trial: &Trial);
}

/// A strategy of the registry.
pub struct StrategyEntry {
    /// What people call it.
    pub name: &'static str,
    /// A line about it.
    pub about: &'static str,
    /// What can be set.
    pub settings: &'static [StrategySetting],
    /// Makes one for a space that has been told nothing.
    ///
    /// # Errors
    /// [`SearchError::Input`] when the settings make no such strategy.
    pub open: for<'a> fn(&StrategySettings, &'a dyn Space) -> Result<Box<dyn Strategy + 'a>>,
}

/// A number that can be set.
pub struct StrategySetting {
    /// Its name; a flag of the command line.
    pub name: &'static str,
    /// A line about it.
    pub about: &'static str,
    /// Its value where none is given.
    pub usual: f64,
}

/// A value for every setting of a strategy.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct StrategySettings(BTreeMap<&'static str, f64>);

impl StrategyEntry {
    /// The values given, and for all other settings the usual ones.
    ///
    /// # Errors
    /// [`SearchError::Input`] for a setting that this strategy does not have.
    pub fn settings(&self, given: &BTreeMap<&str, f64>) -> Result<StrategySettings> {
        let known = |name: &&str| self.settings.iter().any(|setting| setting.name == *name);
        if let Some(name) = given.keys().find(|name| !known(name)) {
            return Err(SearchError::Input(format!("{} has no setting {name}", self.name)));
        }
        let value = |setting: &StrategySetting| {
            (setting.name, given.get(setting.name).copied().unwrap_or(setting.usual))
        };
        Ok(StrategySettings(self.settings.iter().map(value).collect()))
    }
}

impl StrategySettings {
    /// The value of a setting.
    ///
    /// # Panics
    /// When the strategy has none of this name.
    pub fn number(&self, name: &str) -> f64 {
        self.0[name]
    }

    /// The value of a setting that counts something.
    ///
    /// # Errors
    /// [`SearchError::Input`] for what is no whole number of at least 1.
    ///
    /// # Panics
    /// When the strategy has none of this name.
    pub fn count(&self, name: &str) -> Result<usize> {
        let value = self.number(name);
        if value >= 1.0 && value <= f64::from(u32::MAX) && value.fract() == 0.0 {
            Ok(value as usize)
        } else {
            Err(SearchError::Input(format!("{name} = {value} is not a whole number from 1")))
        }
    }
}
