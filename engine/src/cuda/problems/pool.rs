//! Maximum and average over windows, padding excluded: `pool.cu`.

use super::elementwise::CHUNK;
use crate::cuda::Kernel;
use crate::cuda::problem::{GradientsAt, Problem, TensorAt, ValuesAt, Words};

/// Elements of padded planes that a block keeps in shared memory; of `pool.cu` too.
const FORWARD_TILE: usize = 4800;
const BACKWARD_TILE: usize = 2400;

/// Planes that a block averages, one a warp.
const PLANES: usize = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSizes {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl PoolSizes {
    fn write(&self, words: &mut Words) {
        words.sizes(&[
            self.batch,
            self.channels,
            self.height,
            self.width,
            self.out_height,
            self.out_width,
        ]);
        words.sizes(&[self.kernel, self.stride, self.padding]);
    }

    /// Elements of a plane of the input with its padding.
    fn padded(&self) -> usize {
        (self.height + 2 * self.padding) * (self.width + 2 * self.padding)
    }

    /// Elements of a plane of the output with the padding of the windows that, at a stride of 1,
    /// carry its gradient back.
    fn padded_gradient(&self) -> usize {
        let border = self.kernel - 1 - self.padding;
        (self.out_height + 2 * border) * (self.out_width + 2 * border)
    }

    /// Planes of the input of a forward pass that fit into a tile.
    fn tiled_forward(&self) -> usize {
        FORWARD_TILE / self.padded()
    }

    /// Planes for which all that the gradient of a maximum needs fits into tiles.
    fn tiled_max_backward(&self) -> usize {
        BACKWARD_TILE / self.padded().max(self.padded_gradient())
    }

    /// Planes of gradients that fit into a tile. Where windows have a stride, there is little to
    /// share between positions.
    fn tiled_avg_backward(&self) -> usize {
        if self.stride == 1 { FORWARD_TILE / self.padded_gradient() } else { 0 }
    }

    /// Blocks that work on that many planes each, or on one where none fits.
    fn blocks(&self, tiled: usize) -> usize {
        (self.batch * self.channels).div_ceil(tiled.max(1))
    }
}

/// `PoolForward` of `pool.cu`.
fn write_forward(words: &mut Words, sizes: PoolSizes, x: &ValuesAt, y: TensorAt) {
    sizes.write(words);
    words.size(sizes.tiled_forward());
    words.values(x);
    words.write_tensor(y);
}

/// Maximum of each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPoolForward {
    pub(crate) sizes: PoolSizes,
    pub(crate) x: ValuesAt,
    pub(crate) y: TensorAt,
}

impl Problem for MaxPoolForward {
    const KERNEL: Kernel = Kernel::MaxPoolForward;

    fn blocks(&self) -> usize {
        self.sizes.blocks(self.sizes.tiled_forward())
    }

    fn write(&self, words: &mut Words) {
        write_forward(words, self.sizes, &self.x, self.y);
    }
}

/// Gradient of the bare input: that of each output goes to the first maximum of its window, in row
/// order, where the ReLU of `x` is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxPoolBackward {
    pub(crate) sizes: PoolSizes,
    pub(crate) x: ValuesAt,
    pub(crate) dy: GradientsAt,
    pub(crate) dx: TensorAt,
}

impl Problem for MaxPoolBackward {
    const KERNEL: Kernel = Kernel::MaxPoolBackward;

    fn blocks(&self) -> usize {
        self.sizes.blocks(self.sizes.tiled_max_backward())
    }

    fn write(&self, words: &mut Words) {
        self.sizes.write(words);
        words.size(self.sizes.tiled_max_backward());
        words.values(&self.x);
        words.gradients(&self.dy);
        words.write_tensor(self.dx);
    }
}

/// Mean of each window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvgPoolForward {
    pub(crate) sizes: PoolSizes,
    pub(crate) x: ValuesAt,
    pub(crate) y: TensorAt,
}

impl Problem for AvgPoolForward {
    const KERNEL: Kernel = Kernel::AvgPoolForward;

    fn blocks(&self) -> usize {
        self.sizes.blocks(self.sizes.tiled_forward())
    }

    fn write(&self, words: &mut Words) {
        write_forward(words, self.sizes, &self.x, self.y);
    }
}

/// Gradient of the bare input; zero where the ReLU of `gate` is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AvgPoolBackward {
    pub(crate) sizes: PoolSizes,
    /// The input as it was read, where that was through a ReLU.
    pub(crate) gate: Option<ValuesAt>,
    pub(crate) dy: GradientsAt,
    pub(crate) dx: TensorAt,
}

impl Problem for AvgPoolBackward {
    const KERNEL: Kernel = Kernel::AvgPoolBackward;

    fn blocks(&self) -> usize {
        self.sizes.blocks(self.sizes.tiled_avg_backward())
    }

    fn write(&self, words: &mut Words) {
        self.sizes.write(words);
        words.size(self.sizes.tiled_avg_backward());
        words.values_if(self.gate.as_ref());
        words.gradients(&self.dy);
        words.write_tensor(self.dx);
    }
}

/// Mean of every plane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlobalAvgPoolForward {
    pub(crate) planes: usize,
    pub(crate) plane: usize,
    pub(crate) x: TensorAt,
    pub(crate) y: TensorAt,
}

impl Problem for GlobalAvgPoolForward {
    const KERNEL: Kernel = Kernel::GlobalAvgPoolForward;

    fn blocks(&self) -> usize {
        self.planes.div_ceil(PLANES)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.planes, self.plane]);
        words.read_tensor(self.x);
        words.write_tensor(self.y);
    }
}

/// Gradient of [`GlobalAvgPoolForward`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct GlobalAvgPoolBackward {
    pub(crate) planes: usize,
    pub(crate) plane: usize,
    pub(crate) dy: TensorAt,
    pub(crate) dx: TensorAt,
}

impl Problem for GlobalAvgPoolBackward {
    const KERNEL: Kernel = Kernel::GlobalAvgPoolBackward;

    fn blocks(&self) -> usize {
        (self.planes * self.plane).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.planes, self.plane]);
        words.read_tensor(self.dy);
        words.write_tensor(self.dx);
    }
}
