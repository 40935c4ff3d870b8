//! Whether scores of untrained or partly trained architectures rank them as full training does: the
//! question that a search which predicts weights stands or falls with.

mod architectures;
mod error;
pub mod rank;
mod result;
mod settings;
mod study;
mod units;

pub use error::{FidelityError, Result};
pub use result::{
    Architecture, Comparison, Correlation, Errors, Fidelity, MethodResult, Regret, Searched,
};
pub use settings::FidelitySettings;
pub use study::{Experiment, study};
