//! What every phase of a run shares: the loop over epochs, checkpoints, metrics for files and for
//! TensorBoard, the search for the tensor that spoiled a loss, schedules, random streams, the run
//! folder.
//!
//! A phase implements [`Phase`]; [`run_phase`] drives it. A phase that was interrupted or killed
//! continues from its last checkpoint and ends in the same bytes as one that was not.

mod batches;
mod bytes;
mod checkpoint;
mod checks;
mod error;
mod evaluate;
mod files;
mod finished;
mod finite;
mod interrupt;
mod masks;
pub mod memory;
mod metrics;
mod phase;
mod progress;
mod run_dir;
pub mod schedule;
mod step;
mod stored;
mod streams;
mod tensorboard;
mod trainer;

pub use batches::{Batch, BatchSource, Batches, store_images, stored_bytes};
pub use checkpoint::{Checkpoint, TensorData};
pub use checks::{check_augmentation, check_settings};
pub use error::{Result, TrainError};
pub use evaluate::{Evaluation, Evaluator, Score, correct_predictions, labels_as_floats};
pub use files::{read_json, read_json_text, read_json_without_schema, read_text, write_atomic};
pub use finished::Finished;
pub use finite::{first_not_finite, require_finite};
pub use interrupt::{Interrupt, StopReason};
pub use masks::drop_masks;
pub use memory::{MemoryPlan, Need};
pub use metrics::read_metrics;
pub use phase::{Context, Phase, PhaseBatches, run_phase};
pub use progress::{Progress, ProgressAlone, Quiet, Reporter, watched};
pub use run_dir::RunDir;
pub use step::{At, StepReport};
pub use stored::StoredImages;
pub use streams::Streams;
pub use trainer::{Pass, Ports, Trainer, Update, update};
