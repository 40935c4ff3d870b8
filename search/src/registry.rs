//! The scorers and strategies there are, by name.

use crate::scorer::{Ingredients, Scorer, ScorerEntry};
use crate::scorers::{
    ghn, latency, naswot, predicted, shared, size, spectrum, table, training, zico,
};
use crate::strategies::{evolution, local, prednas, random};
use crate::strategy::StrategyEntry;
use crate::{Result, SearchError};

/// Every strategy.
pub const STRATEGIES: &[StrategyEntry] =
    &[random::ENTRY, local::ENTRY, evolution::ENTRY, prednas::PREDICTOR, prednas::ENTRY];

/// Every scorer. A study of rankings has those of accuracy that it can make, in this order.
pub const SCORERS: &[ScorerEntry] = &[
    predicted::DISCRETE,
    predicted::AS_DRAWN,
    shared::ENTRY,
    shared::NOVELTY,
    ghn::ENTRY,
    ghn::ANYTIME,
    naswot::ENTRY,
    zico::ENTRY,
    spectrum::EXPRESSIVITY,
    spectrum::PROGRESSIVITY,
    size::PARAMS,
    size::MADDS,
    latency::ENTRY,
    table::ENTRY,
    training::ENTRY,
];

/// The strategy of a name.
///
/// # Errors
/// [`SearchError::Input`] for a name that no strategy has.
pub fn strategy(name: &str) -> Result<&'static StrategyEntry> {
    let entry = STRATEGIES.iter().find(|entry| entry.name == name);
    entry.ok_or_else(|| unknown("strategy", name, STRATEGIES.iter().map(|entry| entry.name)))
}

/// The scorer of a name.
///
/// # Errors
/// [`SearchError::Input`] for a name that no scorer has, and for one that lacks an ingredient.
pub fn scorer<'a>(name: &str, ingredients: &Ingredients<'a>) -> Result<Box<dyn Scorer + 'a>> {
    scorer_entry(name)?.make(ingredients)
}

/// The entry of the scorer of a name.
///
/// # Errors
/// [`SearchError::Input`] for a name that no scorer has.
pub fn scorer_entry(name: &str) -> Result<&'static ScorerEntry> {
    let entry = SCORERS.iter().find(|entry| entry.name == name);
    entry.ok_or_else(|| unknown("scorer", name, SCORERS.iter().map(|entry| entry.name)))
}

fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> SearchError {
    let names = names.collect::<Vec<_>>().join(", ");
    SearchError::Input(format!("there is no {what} {name:?}; there are {names}"))
}
