//! Fully connected layers: `linear.cu`. x is `[batch, inputs]`, the weight `[outputs, inputs]`.

use super::elementwise::CHUNK;
use crate::cuda::Kernel;
use crate::cuda::driver::THREADS;
use crate::cuda::problem::{Problem, Region, TensorAt, Words};

/// Rows of the weight that a thread reads at once; of `linear.cu` too.
const ROWS: usize = 8;
/// Inputs whose gradient a block computes; of `linear.cu` too.
const COLUMNS: usize = 16;

/// y = x · weightᵀ + bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearForward {
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) x: TensorAt,
    pub(crate) weight: Region,
    pub(crate) bias: Option<Region>,
    pub(crate) y: TensorAt,
}

impl LinearForward {
    /// Lanes that share the product of one row: as few as read it four elements each.
    fn lanes(&self) -> usize {
        self.inputs.div_ceil(4).next_power_of_two().min(32)
    }
}

impl Problem for LinearForward {
    const KERNEL: Kernel = Kernel::LinearForward;

    fn blocks(&self) -> usize {
        self.batch * self.outputs.div_ceil(ROWS * THREADS / self.lanes())
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.lanes(), self.batch, self.inputs, self.outputs]);
        words.read_tensor(self.x);
        words.read(self.weight);
        words.read_if(self.bias);
        words.write_tensor(self.y);
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearBackwardInput {
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) dy: TensorAt,
    pub(crate) weight: Region,
    pub(crate) dx: TensorAt,
}

impl Problem for LinearBackwardInput {
    const KERNEL: Kernel = Kernel::LinearBackwardInput;

    fn blocks(&self) -> usize {
        self.batch * self.inputs.div_ceil(COLUMNS)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.batch, self.inputs, self.outputs]);
        words.read_tensor(self.dy);
        words.read(self.weight);
        words.write_tensor(self.dx);
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearBackwardWeight {
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) x: TensorAt,
    pub(crate) dy: TensorAt,
    pub(crate) weight_gradient: Region,
}

impl Problem for LinearBackwardWeight {
    const KERNEL: Kernel = Kernel::LinearBackwardWeight;

    fn blocks(&self) -> usize {
        (self.outputs * self.inputs).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.batch, self.inputs, self.outputs]);
        words.read_tensor(self.x);
        words.read_tensor(self.dy);
        words.write(self.weight_gradient);
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct LinearBackwardBias {
    pub(crate) batch: usize,
    pub(crate) outputs: usize,
    pub(crate) dy: TensorAt,
    pub(crate) bias_gradient: Region,
}

impl Problem for LinearBackwardBias {
    const KERNEL: Kernel = Kernel::LinearBackwardBias;

    fn blocks(&self) -> usize {
        self.outputs.div_ceil(THREADS)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.batch, self.outputs]);
        words.read_tensor(self.dy);
        words.write(self.bias_gradient);
    }
}
