//! The CPU backend: executes the steps of a program over planned buffers.

mod buffer;
mod device;
mod executor;
pub(crate) mod optim;
mod run;

pub use crate::simd::instruction_set;
pub use device::Device;
pub use executor::Executor;
