//! From a genotype to a file: retraining from scratch (section 4.3), folding, ONNX.

mod bare;
mod error;
mod fold;
pub mod onnx;
mod retrain;
mod settings;
mod trained;

pub use bare::{Bare, noise};
pub use error::{ExportError, Result};
pub use fold::fold_batch_norms;
pub use retrain::{RetrainData, fine_tune, retrain, retrain_bytes};
pub use settings::RetrainSettings;
pub use trained::{Inherited, Network, TestResult, Trained};
