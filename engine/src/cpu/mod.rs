//! The CPU backend: executes the steps of a program over planned buffers.

mod executor;
mod threads;

pub use executor::Executor;
pub use threads::Threads;
