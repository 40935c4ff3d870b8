//! The CUDA backend: executes a program on an NVIDIA GPU in few launches.
//!
//! [`tasks`] says what the kernels do for each action of a lowered program, [`schedule`] puts tasks
//! of one kernel that do not depend on each other into one launch, the executor plans memory over
//! the launches, and [`table`] writes down on the device what each launch works on. From the second
//! run on, the launches of a run are one recorded graph.
//!
//! No kernel adds with atomics, and sums are taken in an order that sizes alone decide: the same
//! inputs give the same bits on the same device, always.

mod compile;
mod device;
mod driver;
mod executor;
mod images;
mod kernel;
mod kernels;
pub(crate) mod optim;
mod problem;
mod problems;
mod schedule;
mod table;
mod tasks;

pub use compile::compiler;
pub use device::{Device, Precision};
pub(crate) use driver::Buffer;
pub use executor::{Executor, Launch, launches};
pub use images::{ImageStore, StoredView};
pub(crate) use kernel::Kernel;
