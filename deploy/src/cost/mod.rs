//! Parameters, multiply-adds and memory of an ONNX file, counted from the file alone.
//!
//! **Multiply-adds** are those of convolutions and linear layers, one per multiply-accumulate, for
//! one image; biases, normalisation, activations and pooling count nothing, and padding is counted
//! like any other input.
//!
//! **Parameters** are the elements of the stored tensors that are weights, biases or scales, each
//! tensor once however many nodes read it: every stored input of `Conv`, `ConvTranspose`, `Gemm`
//! and `MatMul` and of their quantised forms, where quantisation scales and zero points are left
//! out; scale and bias of normalisations, never the running mean and variance; slopes of `PRelu`;
//! and float operands of `Add` and `Mul` of more than one element, as an exporter writes the bias
//! of a `MatMul`. A tensor that constants alone determine (`ConstantOfShape`) is stored in this
//! sense. Scalars of arithmetic, operands of `Sub` and `Div` (input normalisation), bounds of
//! `Clip` and integers are not parameters.
//!
//! **Peak activation memory** is the most that is alive at once when the nodes run in the order of
//! the file: every result has a buffer from the node that writes it to the last that reads it, the
//! graph's inputs and outputs included. What only shows other values in another shape (`Reshape`,
//! `Flatten`, `Squeeze`, `Unsqueeze`, `Identity`, `Dropout`) shares their buffer; nothing else is
//! computed in place. A runtime may need less (in place) or more (workspaces of its kernels).
//!
//! What is not known is named in [`Cost::unknown`], and the figures are without it.

use crate::{Result, onnx::OnnxModel};

mod attributes;
mod counter;
mod fold;
mod inference;
mod kinds;
mod layout;
mod liveness;
mod operators;
mod results;
mod values;
mod window;

pub(crate) use counter::count;
pub use counter::{Cost, LayerCost, Uncounted, cost_of_file};

/// Counts the cost of one image under `model`.
///
/// # Errors
/// [`crate::DeployError::Shape`] for a node whose attributes do not fit its inputs,
/// [`crate::DeployError::TooLarge`] for a result that no machine could hold. What is only not known
/// goes to [`Cost::unknown`].
pub fn cost(model: &OnnxModel) -> Result<Cost> {
    model.count()
}
