//! A second executor of the engine's [`Graph`](adwp_engine::Graph), in candle on the CPU.
//!
//! - [`Evaluator`] computes the value of any node, and the gradient of a one-element node by
//!   candle's autograd. With [`DType::F64`](candle_core::DType) it is the reference that the
//!   engine's own kernels are compared with; it is slow and simple.
//! - [`Network`] is a trained graph as a candle [`Module`](candle_core::Module), for deployment in
//!   a candle program.
//!
//! Only ordinary candle operations are used. Where candle's own operation lacks a correct backward
//! pass (convolutions with groups or on images that are not square, pools with padding or with a
//! stride other than the kernel, the subgradients of ReLU and maximum at ties), the operation is
//! composed of others that have one.
//!
//! candle walks the operations recursively when it differentiates, so very deep graphs need a
//! thread with a large stack.

#![warn(clippy::wildcard_enum_match_arm)]

mod error;
mod evaluator;
mod network;
mod ops;

pub use error::{CandleError, Result};
pub use evaluator::{Differentiated, Evaluator};
pub use network::Network;
