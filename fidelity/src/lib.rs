//! Whether scores of untrained or partly trained architectures rank them as full training does: the
//! question that a search which predicts weights stands or falls with.

mod architectures;
mod error;
pub mod rank;
mod result;
mod scorers;
mod settings;
mod strategies;
mod study;
mod units;
mod work;

pub use error::{FidelityError, Result};
pub use result::{
    Among, Architecture, Comparison, Correlation, DifferenceAmong, Errors, Fidelity, MethodResult,
    Regret, Searched, Truth,
};
pub use scorers::{BySeed, ScorerExperiment, ScorerResult, ScorerStudy, study_scorers};
pub use settings::FidelitySettings;
pub use strategies::{
    Bounds, Contestant, Difference, Found, PredictorResult, Ranked, StrategyExperiment,
    StrategyResult, StrategyStudy, study_strategies,
};
pub use study::{Experiment, study};
