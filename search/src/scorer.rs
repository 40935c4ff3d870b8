use std::collections::HashMap;
use std::fmt;

use adwp_models::{Blueprint, Choices, Space};
use adwp_train::{Context, Finished};

use crate::table::Column;
use crate::{Data, Result, SearchError, SearchSettings};

/// Says what an architecture is thought to be worth.
pub trait Scorer {
    /// Its name in the registry.
    fn name(&self) -> &'static str;

    /// Trains what all scores depend on, for scorers that have such a thing. Continues from what
    /// an interrupted call left in the folder of the run.
    ///
    /// # Errors
    /// Those of the training loop.
    fn prepare(&mut self, _: &mut Context<'_>) -> Result<Finished<()>> {
        Ok(Finished::Done(()))
    }

    /// The score of an architecture: larger is better. Called after [`Self::prepare`]; depends on
    /// no earlier call.
    ///
    /// # Errors
    /// An architecture that is not of the space, images that cannot be read, a device that fails.
    fn score(&mut self, choices: &Choices, context: &mut Context<'_>) -> Result<Finished<f64>>;

    /// The score of an architecture where it is looked up, and a record of it can be held against
    /// that; `None` where it is computed.
    ///
    /// # Errors
    /// When it cannot be looked up.
    fn published(&self, _: &Choices) -> Result<Option<f64>> {
        Ok(None)
    }

    /// Epochs of training that a single score takes.
    fn epochs(&self) -> usize {
        0
    }
}

/// A scorer of the registry.
pub struct ScorerEntry {
    /// What people call it; its name in the files of a study.
    pub name: &'static str,
    /// A line about it.
    pub about: &'static str,
    /// What tables and plots call it.
    pub label: &'static str,
    /// What a score counts.
    pub unit: Unit,
    /// Whether its scores differ between seeds.
    pub is_seeded: bool,
    /// Whether they say how accurate an architecture will be. A study without a list of scorers has
    /// those that do.
    pub is_of_accuracy: bool,
    /// The folder of a study in which it prepares, where it does. Scorers with the same folder
    /// share what is trained there.
    pub prepared_in: Option<&'static str>,
    /// What it is made of, in addition to a space.
    pub needs: &'static [Ingredient],
    /// Makes one; `None` when an ingredient is missing.
    pub open: for<'a> fn(&Ingredients<'a>) -> Option<Box<dyn Scorer + 'a>>,
}

impl ScorerEntry {
    /// Whether it is made of this.
    pub fn needs(&self, ingredient: Ingredient) -> bool {
        self.needs.contains(&ingredient)
    }

    /// Makes one.
    ///
    /// # Errors
    /// [`SearchError::Input`] that names the ingredients that are missing.
    pub fn make<'a>(&self, ingredients: &Ingredients<'a>) -> Result<Box<dyn Scorer + 'a>> {
        (self.open)(ingredients).ok_or_else(|| {
            let missing = self.needs.iter().filter(|needed| !ingredients.have(**needed));
            let missing: Vec<String> = missing.map(Ingredient::to_string).collect();
            let (name, missing) = (self.name, missing.join(" and "));
            SearchError::Input(format!("the scorer {name:?} needs {missing}"))
        })
    }
}

/// What the scores of a scorer count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    /// Title of an axis.
    pub axis: &'static str,
    /// What a score is multiplied by to be shown there.
    pub factor: f64,
}

impl Unit {
    /// A share of validation images.
    pub const ACCURACY: Self = Self { axis: "validation accuracy, %", factor: 100.0 };

    /// A number that is shown as it is.
    pub const fn plain(axis: &'static str) -> Self {
        Self { axis, factor: 1.0 }
    }
}

/// What a scorer can need; [`Ingredients`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingredient {
    /// Images of the search.
    Images,
    /// How weights for all architectures are trained.
    JointTraining,
    /// The α that architectures were drawn as.
    Drawn,
    /// A prediction of latencies.
    Latency,
    /// A column of a published table.
    Table,
    /// How a single architecture is trained for a few epochs.
    ShortTraining,
}

impl fmt::Display for Ingredient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Images => "images of a search",
            Self::JointTraining => "settings of a search",
            Self::Drawn => "architectures drawn as α",
            Self::Latency => "a table of operator latencies",
            Self::Table => "a column of a published table",
            Self::ShortTraining => "settings of a short training",
        })
    }
}

/// What scorers can be made of.
#[derive(Clone, Copy)]
pub struct Ingredients<'a> {
    /// The space, at the sizes of the network that is delivered.
    pub space: &'a dyn Space,
    /// Images of the search, and the streams of the seed.
    pub data: Option<&'a Data>,
    /// How weights for all architectures of the space are trained.
    pub training: Option<JointTraining<'a>>,
    /// Predicts the latency of a network in ms.
    pub latency: Option<&'a Latency<'a>>,
    /// Published values of the architectures.
    pub table: Option<&'a Column>,
    /// How a single architecture is trained for a few epochs.
    pub short: Option<ShortTraining<'a>>,
}

impl<'a> Ingredients<'a> {
    /// The space alone.
    pub fn of(space: &'a dyn Space) -> Self {
        Self { space, data: None, training: None, latency: None, table: None, short: None }
    }

    /// Whether this is among them.
    pub fn have(&self, ingredient: Ingredient) -> bool {
        match ingredient {
            Ingredient::Images => self.data.is_some(),
            Ingredient::JointTraining => self.training.is_some(),
            Ingredient::Drawn => self.training.is_some_and(|training| training.drawn.is_some()),
            Ingredient::Latency => self.latency.is_some(),
            Ingredient::Table => self.table.is_some(),
            Ingredient::ShortTraining => self.short.is_some(),
        }
    }
}

/// Predicts the latency of a network in ms.
pub type Latency<'a> = dyn Fn(&Blueprint) -> Result<f64> + 'a;

/// Trains a network for a number of epochs in the folder of the context, and gives its accuracy.
pub type Train<'a> = dyn Fn(Blueprint, usize, &mut Context<'_>) -> Result<Finished<f64>> + 'a;

/// Training of weights for all architectures of a space.
#[derive(Clone, Copy)]
pub struct JointTraining<'a> {
    /// Epochs, rates and sizes.
    pub settings: &'a SearchSettings,
    /// The space, at the sizes of the search.
    pub space: &'a dyn Space,
    /// The α that architectures were drawn as, for each cell `[NODES, K]`, where they were.
    pub drawn: Option<&'a HashMap<Choices, Vec<Vec<f32>>>>,
}

/// Short training of single architectures.
#[derive(Clone, Copy)]
pub struct ShortTraining<'a> {
    /// Epochs of each.
    pub epochs: usize,
    /// Trains one, for any number of them.
    pub train: &'a Train<'a>,
}
