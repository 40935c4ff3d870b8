//! What a search by a strategy is asked for, by the settings of a run or by flags.

use std::collections::BTreeMap;

use adwp_base::{Failure, Result};
use adwp_models::space::{NamedSpace, find};
use adwp_search::{Ingredient, ScorerEntry, StrategyEntry, StrategySettings, registry};
use serde::{Deserialize, Serialize};

/// How a run searches: `name`, or [`Self::GRADIENT`], of which the other settings are not. Each of
/// them is described at the flag of `adwp search` that is called like it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StrategyConfig {
    pub(crate) name: String,
    /// A space that has a name, or [`Self::INTENSIVE`].
    pub(crate) space: String,
    pub(crate) scorer: String,
    pub(crate) inputs: Vec<String>,
    pub(crate) start: Vec<String>,
    /// 0 where something else ends the search.
    pub(crate) evaluations: usize,
    pub(crate) training_epochs: usize,
    pub(crate) training_scale: f64,
    pub(crate) finalists: usize,
    /// 0 for twice `training_epochs`.
    pub(crate) finalist_epochs: usize,
    /// Those of the strategy itself, where they are not the usual ones.
    pub(crate) settings: BTreeMap<String, f64>,
}

impl StrategyConfig {
    /// The name of the search in which α learns (Algorithm 1).
    pub(crate) const GRADIENT: &str = "gradient";

    /// The name of the space that the run itself derives.
    pub(crate) const INTENSIVE: &str = "intensive";

    /// Whether α learns.
    pub(crate) fn is_gradient(&self) -> bool {
        self.name == Self::GRADIENT
    }

    /// Whether the intensive space of the run is searched.
    pub(crate) fn is_intensive(&self) -> bool {
        self.is_gradient() || self.space == Self::INTENSIVE
    }

    /// The space that a run searches; none where it is its intensive one.
    ///
    /// # Errors
    /// When there is none of this name, or the sizes of its networks are not those of a run.
    pub(crate) fn space_of_run(&self) -> Result<Option<&'static NamedSpace>> {
        if self.is_intensive() {
            return Ok(None);
        }
        let named = find(&self.space)
            .map_err(|e| Failure::input(format!("strategy.space: {e}, intensive")))?;
        if named.has_sizes {
            let name = named.name;
            let failure = Failure::input(format!(
                "strategy.space: networks of {name} have sizes of their own, those of a run have \
                 its settings'"
            ));
            return Err(
                failure.hint(format!("`adwp search --space {name} --strategy …` searches it"))
            );
        }
        Ok(Some(named))
    }

    /// The strategy with its settings, where it is not the gradient.
    ///
    /// # Errors
    /// When there is no such strategy, or it has no such setting.
    pub(crate) fn entry(&self) -> Result<(&'static StrategyEntry, StrategySettings)> {
        let strategy = registry::strategy(&self.name)
            .map_err(|e| Failure::input(format!("strategy.name: {e}, gradient")))?;
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), *value));
        Ok((strategy, strategy.settings(&given.collect())?))
    }

    /// Its scorer.
    ///
    /// # Errors
    /// When there is none of this name.
    pub(crate) fn scorer(&self) -> Result<&'static ScorerEntry> {
        Ok(registry::scorer_entry(&self.scorer)?)
    }

    /// The scorers that it asks, the one that decides first.
    ///
    /// # Errors
    /// As [`Self::scorer`].
    pub(crate) fn scorers(&self) -> Result<Vec<&'static ScorerEntry>> {
        let inputs = self.inputs.iter().map(|name| Ok(registry::scorer_entry(name)?));
        std::iter::once(self.scorer()).chain(inputs).collect()
    }

    /// Epochs that finalists are trained for at first.
    pub(crate) fn first_epochs(&self) -> usize {
        if self.finalist_epochs == 0 { 2 * self.training_epochs } else { self.finalist_epochs }
    }

    /// Checks that there can be such a search. `can_have` says what its scorers can be made of,
    /// `name` how the user knows a setting.
    ///
    /// # Errors
    /// When there cannot.
    pub(crate) fn check(
        &self,
        can_have: impl Fn(Ingredient) -> bool,
        name: impl Fn(&str) -> String,
    ) -> Result {
        let (strategy, _) = self.entry()?;
        for scorer in self.scorers()? {
            if let Some(missing) = scorer.needs.iter().find(|needed| !can_have(**needed)) {
                let failure = Failure::input(format!("the scorer {} needs {missing}", scorer.name));
                return Err(match missing {
                    Ingredient::Latency => {
                        failure.hint("`adwp lut build` measures one, --latency-table names it")
                    }
                    Ingredient::Table => {
                        failure.hint("`adwp search --strategy … --table FILE` names one")
                    }
                    _ => failure,
                });
            }
        }
        self.check_inputs(strategy, &name("inputs"))?;
        let (scorer, scale) = (&self.scorer, self.training_scale);
        let scaled = name("training_scale");
        if !(scale > 0.0 && scale <= 1.0) {
            return Err(Failure::input(format!("{scaled} = {scale} is not between 0 and 1")));
        }
        if scale < 1.0 && !self.scorer()?.needs(Ingredient::ShortTraining) {
            return Err(Failure::input(format!(
                "{scaled} is for the scorer training, not {scorer}"
            )));
        }
        if self.training_epochs == 0 {
            let name = name("training_epochs");
            return Err(Failure::input(format!("{name} must be at least 1")));
        }
        if self.finalists == 1 {
            let name = name("finalists");
            return Err(Failure::input(format!("{name} must be at least 2, or 0 for none")));
        }
        Ok(())
    }

    /// Inputs are for strategies that read them, and none of what is evaluated anyway.
    fn check_inputs(&self, strategy: &StrategyEntry, flag: &str) -> Result {
        once(flag, &self.inputs)?;
        let Some(first) = self.inputs.first() else { return Ok(()) };
        if !strategy.reads_inputs {
            let failure =
                Failure::input(format!("{flag} {first}: {} reads no inputs", strategy.name));
            let readers = registry::STRATEGIES.iter().filter(|entry| entry.reads_inputs);
            let readers: Vec<&str> = readers.map(|entry| entry.name).collect();
            return Err(failure.hint(format!("those that do: {}", readers.join(", "))));
        }
        let (scorer, inputs) = (self.scorer()?, &self.scorers()?[1..]);
        let is_evaluated = |input: &&&ScorerEntry| {
            let is_dear = [Ingredient::Table, Ingredient::ShortTraining];
            input.name == scorer.name || is_dear.iter().any(|needed| input.needs(*needed))
        };
        match inputs.iter().find(is_evaluated) {
            None => Ok(()),
            Some(input) => Err(useless(flag, input.name, "that is what a search evaluates")),
        }
    }
}

/// That an input, given by this flag or setting, tells what it should not, or nothing.
pub(crate) fn useless(flag: &str, input: &str, why: &str) -> Failure {
    Failure::input(format!("{flag} {input}: {why}"))
        .hint("inputs are cheap scores that tell of it beforehand")
}

/// Checks that no value of a flag or setting is there twice.
pub(crate) fn once<T: PartialEq + std::fmt::Display>(flag: &str, values: &[T]) -> Result {
    match (1..values.len()).find(|&i| values[..i].contains(&values[i])) {
        None => Ok(()),
        Some(i) => Err(Failure::input(format!("{flag} {} is there twice", values[i]))),
    }
}

impl Default for StrategyConfig {
    fn default() -> Self {
        Self {
            name: Self::GRADIENT.to_owned(),
            space: Self::INTENSIVE.to_owned(),
            scorer: "training".to_owned(),
            inputs: Vec::new(),
            start: Vec::new(),
            evaluations: 30,
            training_epochs: 3,
            training_scale: 1.0,
            finalists: 0,
            finalist_epochs: 0,
            settings: BTreeMap::new(),
        }
    }
}
