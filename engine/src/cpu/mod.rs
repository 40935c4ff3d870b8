//! The CPU backend: executes the steps of a program over planned buffers.

mod device;
mod executor;

pub use device::Device;
pub use executor::{Executor, StepTime};
