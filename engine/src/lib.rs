//! The training engine: a network is described once as a [`Graph`], compiled to a [`Program`] and
//! executed step by step.
//!
//! - [`Graph`] lists named operations with inferred shapes. It knows nothing of what the network is
//!   for.
//! - [`Variables`] holds what a network owns between steps: parameters and BatchNorm statistics, by
//!   name.
//! - [`Program`] is a compiled graph: the forward steps, the backward steps for the parameters
//!   chosen as trainable, and a memory plan.
//! - [`Executor`] runs a program on a [`Device`]: the CPU ([`cpu`]), where results do not depend on
//!   the number of threads, or an NVIDIA GPU ([`cuda`]).
//! - [`optim`] updates variables from gradients.
//!
//! All tensors are `f32`, dense and row-major; images are `[batch, channels, height, width]`.

#![warn(clippy::wildcard_enum_match_arm)]

mod aligned;
pub mod cpu;
pub mod cuda;
mod device;
mod error;
mod executor;
mod feed;
mod graph;
mod init;
mod lower;
mod op;
mod ops;
pub mod optim;
mod owner;
mod plan;
mod program;
mod properties;
mod shape;
mod simd;
mod storage;
mod variables;

pub use device::Device;
pub use error::{EngineError, Result};
pub use executor::Executor;
pub use feed::Feed;
pub use graph::{Graph, Node, NodeId};
pub use init::Init;
pub use op::{Activation, BatchNorm, Conv2d, Op, Pool};
pub use owner::{Candidate, Owner};
pub use program::{GradTarget, Program, Statistics, Step, StepTime, Tensor};
pub use properties::Leaf;
pub use shape::Shape;
pub use variables::{Role, Variable, VariableKind, VariableSpec, Variables};
