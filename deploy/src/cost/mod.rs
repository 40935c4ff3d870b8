//! Parameters, multiply-adds and memory of an ONNX file, counted from the file alone.
//!
//! **Multiply-adds** are those of convolutions and linear layers, one per multiply-accumulate, for
//! one image: of every product of matrices, `Einsum` of two factors included, and of `RNN`, `GRU`
//! and `LSTM`, whose gates are linear layers that every step runs. Biases, normalisation,
//! activations and pooling count nothing, and padding is counted like any other input. Products in
//! which no input of the graph takes part, of stored weights and of what shapes determine, are the
//! same for every image and count nothing: [`Cost::once`] names them.
//!
//! **Images** lie along the first dimension of the input with four dimensions, or of the first with
//! two or more, and are followed through the graph. Of several, whether the file fixes their number
//! or the caller gives it, the multiply-adds are those of one, as long as every node that has some
//! treats them apart; a network that joins them, such as one that reads them as features, is
//! counted as a whole run. [`Cost::batch`] says which.
//!
//! **Parameters** are what is stored and learned, however the graph uses it, and every stored
//! element once: the inputs of `Conv`, `ConvTranspose`, `Gemm`, `MatMul` and of their quantised
//! forms; weights and biases of recurrent layers; scale and bias of normalisations, never the
//! running mean and variance; slopes of `PRelu`; and arrays of real numbers that computed values
//! are added to, multiplied, joined or replaced with, or gathered from (biases, positions, class
//! tokens, embedding tables, those of quantised integers too, which count where they are made real
//! numbers).
//!
//! A weight that the graph computes from stored tensors, and from the shapes of inputs, counts as
//! those, whatever operators it is computed by: of a slice or of what is gathered the elements
//! taken (all of a table of which as much or more is gathered than it has), of others all real
//! numbers that are read, of a padded kernel the kernel, of one that another is scattered into the
//! part that is not written over. Not parameters are single numbers, one of which `ConstantOfShape`
//! repeats, bounds of `Clip`, places of `GridSample`, running statistics, states that a recurrent
//! layer starts from, indices and shapes and what is computed of these alone (the matrix of a Fourier
//! transform), scales and zero points of quantisation, and up to four
//! numbers that pixels are prepared with before anything else.
//!
//! Values decide where the graph does not. No parameters are **masks**: zeros and ones, or zeros and
//! one other number, that prune a weight of as many elements or more, or that computed values are
//! multiplied with or gathered from; zeros and numbers of -100 or less that are added to scores; one
//! value in every place, or zeros and ones, that a weight is scattered into or chosen instead of. Nor
//! are **ones and zeros** as scale and bias of a normalisation that has others after it or of a
//! normalised weight, **running statistics** of a normalisation that the graph writes out in
//! arithmetic, and **regular numbers** that no training gives: 0, 1, 2 and so on, a geometric series,
//! sines and cosines of positions. [`Cost::left_out`] names all of these, and what was taken for a
//! scale, a zero point or a preparation of pixels in plain arithmetic.
//!
//! [`Cost::doubtful`] names arrays that are counted and may be none: one value in every place where a
//! weight before training would have another, whole numbers and numbers in equal steps that are added
//! or multiplied, as places and boxes are, and what may be a weak mask or a running statistic.
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
mod batch;
mod counter;
mod einsum;
mod fold;
mod inference;
mod kinds;
mod layout;
mod learned;
mod levels;
mod links;
mod liveness;
mod numbers;
mod operators;
mod recurrent;
mod regular;
mod results;
mod statistics;
mod valued;
mod values;
mod window;

pub use counter::{
    Batch, Contradicted, Cost, LayerCost, LeftOut, Once, TakenApart, Uncounted, cost_of_file,
};
pub(crate) use counter::{count, joined_by, shapes_of_outputs};
pub(crate) use links::Links;
pub(crate) use values::single_number;

/// Counts the cost of one image under `model`.
///
/// # Errors
/// [`crate::DeployError::Shape`] for a node whose attributes do not fit its inputs,
/// [`crate::DeployError::TooLarge`] for a result that no machine could hold. What is only not known
/// goes to [`Cost::unknown`].
pub fn cost(model: &OnnxModel) -> Result<Cost> {
    model.count()
}
