//! Softmax and cross-entropy: `loss.cu`.

use crate::cuda::Kernel;
use crate::cuda::problem::{Problem, Region, TensorAt, Words};

/// Rows that a block works on, one a warp.
const ROWS: usize = 8;

/// Softmax of every row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxForward {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) x: TensorAt,
    pub(crate) y: TensorAt,
}

impl Problem for SoftmaxForward {
    const KERNEL: Kernel = Kernel::SoftmaxForward;

    fn blocks(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.rows, self.width]);
        words.read_tensor(self.x);
        words.write_tensor(self.y);
    }
}

/// Gradient of softmax from its output `y`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SoftmaxBackward {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) y: TensorAt,
    pub(crate) dy: TensorAt,
    pub(crate) dx: TensorAt,
}

impl Problem for SoftmaxBackward {
    const KERNEL: Kernel = Kernel::SoftmaxBackward;

    fn blocks(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.rows, self.width]);
        words.read_tensor(self.y);
        words.read_tensor(self.dy);
        words.write_tensor(self.dx);
    }
}

/// Mean over the batch of the cross-entropy. Where a label names no class, it is not a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossEntropyForward {
    pub(crate) batch: usize,
    pub(crate) classes: usize,
    pub(crate) smoothing: f32,
    pub(crate) logits: TensorAt,
    pub(crate) labels: Region,
    pub(crate) loss: Region,
}

impl Problem for CrossEntropyForward {
    const KERNEL: Kernel = Kernel::CrossEntropyForward;

    fn blocks(&self) -> usize {
        1
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.batch, self.classes]);
        words.real(f64::from(self.smoothing));
        words.read_tensor(self.logits);
        words.read(self.labels);
        words.write(self.loss);
    }
}

/// Gradient of the logits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CrossEntropyBackward {
    pub(crate) batch: usize,
    pub(crate) classes: usize,
    pub(crate) smoothing: f32,
    pub(crate) logits: TensorAt,
    pub(crate) labels: Region,
    pub(crate) loss_gradient: Region,
    pub(crate) dx: TensorAt,
}

impl Problem for CrossEntropyBackward {
    const KERNEL: Kernel = Kernel::CrossEntropyBackward;

    fn blocks(&self) -> usize {
        self.batch.div_ceil(ROWS)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.batch, self.classes]);
        words.real(f64::from(self.smoothing));
        words.read_tensor(self.logits);
        words.read(self.labels);
        words.read(self.loss_gradient);
        words.write_tensor(self.dx);
    }
}
