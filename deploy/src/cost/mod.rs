//! Parameters, multiply-adds and memory of an ONNX file, counted from the file alone.
//!
//! **Multiply-adds** are those of convolutions and linear layers, one per multiply-accumulate, for
//! one image: of every product of matrices, `Einsum` of two factors included, and of `RNN`, `GRU`
//! and `LSTM`, whose gates are linear layers that every step runs. Biases, normalisation,
//! activations and pooling count nothing, and padding is counted like any other input.
//!
//! **Parameters** are what is stored and learned, however the graph uses it, and every stored
//! element once: the inputs of `Conv`, `ConvTranspose`, `Gemm`, `MatMul` and of their quantised
//! forms; weights and biases of recurrent layers; scale and bias of normalisations, never the
//! running mean and variance; slopes of `PRelu`; and arrays of real numbers that computed values
//! are added to, multiplied, joined or replaced with, or gathered from (biases, positions, class
//! tokens, embedding tables, those too that are stored in 8 bits or fewer). A weight that the graph
//! computes from stored tensors, and from the shapes of inputs, counts as those: of a slice what is
//! cut out, of a table whose rows constants choose as much as is gathered, at most all of it, of a
//! sum all that is added, of a padded kernel the kernel; a factor of zeros and ones (a pruning
//! mask) is not learned. A tensor that constants alone determine (`ConstantOfShape`) is stored in
//! this sense. Not parameters are single numbers, bounds of `Clip`, places of `GridSample`, states
//! that a recurrent layer starts from, integers, scales and zero points of quantisation, and up to four
//! numbers that pixels are prepared with before anything else; [`Cost::left_out`] names what was
//! taken for the last two in plain arithmetic.
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
mod einsum;
mod fold;
mod inference;
mod kinds;
mod layout;
mod learned;
mod liveness;
mod operators;
mod recurrent;
mod region;
mod results;
mod values;
mod window;

pub use counter::{Cost, LayerCost, LeftOut, Uncounted, cost_of_file};
pub(crate) use counter::{count, shapes_of_outputs};

/// Counts the cost of one image under `model`.
///
/// # Errors
/// [`crate::DeployError::Shape`] for a node whose attributes do not fit its inputs,
/// [`crate::DeployError::TooLarge`] for a result that no machine could hold. What is only not known
/// goes to [`Cost::unknown`].
pub fn cost(model: &OnnxModel) -> Result<Cost> {
    model.count()
}
