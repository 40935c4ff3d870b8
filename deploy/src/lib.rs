//! Judges an ONNX image classifier as a stranger would: from the file alone.
//!
//! Nothing of the training side is known here. [`onnx`] reads and checks the file, [`cost`] counts
//! its parameters and multiply-adds, [`mod@trial`] loads it in a process of its own first,
//! [`runtime`] runs it under ONNX Runtime or tract, [`latency`], [`mod@profile`], [`parity`] and
//! [`accuracy`] measure it, [`mod@bisect`] finds where runtimes part, [`mod@predict`] names what it
//! sees, and [`mod@bench`] puts the measurements into one report that can be compared with another.
//!
//! ```no_run
//! use adwp_measure::{cost, onnx::OnnxModel};
//!
//! # fn main() -> Result<(), adwp_measure::DeployError> {
//! let model = OnnxModel::load("model.onnx")?;
//! let cost = cost::cost(&model)?;
//! assert!(cost.unknown.is_empty());
//! # Ok(())
//! # }
//! ```

pub mod accuracy;
pub mod affinity;
pub mod bench;
pub mod bisect;
pub mod cost;
mod error;
pub mod latency;
pub mod machine;
pub mod noise;
pub mod onnx;
pub mod ort_library;
pub mod parity;
pub mod predict;
pub mod profile;
pub mod runtime;
pub mod statistics;
pub mod telemetry;
pub mod trial;

pub use error::{DeployError, Result};
