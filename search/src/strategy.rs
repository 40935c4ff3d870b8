use std::collections::BTreeMap;

use adwp_models::{Choices, Limit, Space};
use adwp_train::{Finished, Streams};
use rand::Rng;
use serde::Serialize;

use crate::inputs::Inputs;
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
    ///
    /// # Errors
    /// Those of scoring what it reads of [`Problem::inputs`].
    fn ask(&mut self, rng: &mut dyn Rng) -> Result<Finished<Choices>>;

    /// The score of the architecture that was asked for. Trials come in the order of their numbers.
    fn tell(&mut self, trial: &Trial);

    /// The trial that it would deliver, of all that it was told; of equal ones the first.
    ///
    /// # Panics
    /// When there is none.
    fn choose<'t>(&self, trials: &'t [Trial]) -> &'t Trial {
        let best = trials.iter().reduce(|a, b| if b.score > a.score { b } else { a });
        best.expect("a choice is made among some")
    }
}

/// What a strategy is to find architectures for.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    /// Where architectures come from.
    pub space: &'a dyn Space,
    /// What each may take at most.
    pub limits: &'a [Limit],
    /// Random numbers of the run.
    pub streams: Streams,
    /// Scores that are known beside those of the trials, for strategies that read them.
    pub inputs: Option<&'a Inputs<'a>>,
}

impl<'a> Problem<'a> {
    /// One without inputs.
    pub fn new(space: &'a dyn Space, limits: &'a [Limit], streams: Streams) -> Self {
        Self { space, limits, streams, inputs: None }
    }

    /// Whether an architecture keeps the limits.
    pub fn allows(&self, choices: &Choices) -> bool {
        let holds =
            |limit: &Limit| limit.taken(self.space, choices).is_ok_and(|taken| taken <= limit.most);
        self.limits.iter().all(holds)
    }
}

/// A strategy of the registry.
pub struct StrategyEntry {
    /// What people call it.
    pub name: &'static str,
    /// A line about it.
    pub about: &'static str,
    /// What can be set.
    pub settings: &'static [StrategySetting],
    /// The setting that says how many architectures it has scored before scores decide which is
    /// next; none where they never do.
    pub first: Option<&'static str>,
    /// Whether it reads [`Problem::inputs`].
    pub reads_inputs: bool,
    /// Makes one that has been told nothing.
    ///
    /// # Errors
    /// [`SearchError::Input`] when the settings make no such strategy.
    pub open: for<'a> fn(&StrategySettings, Problem<'a>) -> Result<Box<dyn Strategy + 'a>>,
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
            Err(SearchError::Input(format!(
                "{name} = {value} is not a whole number from 1 to {}",
                u32::MAX
            )))
        }
    }
}
