//! Operations that move elements without weighing them: `layout.cu`.

use super::elementwise::CHUNK;
use crate::cuda::Kernel;
use crate::cuda::problem::{Problem, Region, TensorAt, Words};

/// Drops the first rows and columns of every plane `[height, width]` of x.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CropForward {
    pub(crate) planes: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) x: TensorAt,
    pub(crate) y: TensorAt,
}

impl Problem for CropForward {
    const KERNEL: Kernel = Kernel::CropForward;

    fn blocks(&self) -> usize {
        (self.planes * (self.height - self.top) * (self.width - self.left)).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.planes, self.height, self.width, self.top, self.left]);
        words.read_tensor(self.x);
        words.write_tensor(self.y);
    }
}

/// Gradient of [`CropForward`]; what was dropped gets zero. Sizes are those of dx.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CropBackward {
    pub(crate) planes: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) dy: TensorAt,
    pub(crate) dx: TensorAt,
}

impl Problem for CropBackward {
    const KERNEL: Kernel = Kernel::CropBackward;

    fn blocks(&self) -> usize {
        (self.planes * self.height * self.width).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.planes, self.height, self.width, self.top, self.left]);
        words.read_tensor(self.dy);
        words.write_tensor(self.dx);
    }
}

/// The channels that are taken of x `[batch, channels, plane]` after they were shuffled by `groups`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) plane: usize,
    pub(crate) groups: usize,
    pub(crate) from: usize,
    pub(crate) count: usize,
}

impl Taken {
    fn write(&self, words: &mut Words) {
        let &Self { batch, channels, plane, groups, from, count } = self;
        words.sizes(&[batch, channels, plane, groups, from, count]);
    }
}

/// y has the channels that are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelsForward {
    pub(crate) taken: Taken,
    pub(crate) x: TensorAt,
    pub(crate) y: TensorAt,
}

impl Problem for ChannelsForward {
    const KERNEL: Kernel = Kernel::ChannelsForward;

    fn blocks(&self) -> usize {
        (self.taken.batch * self.taken.count * self.taken.plane).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        self.taken.write(words);
        words.read_tensor(self.x);
        words.write_tensor(self.y);
    }
}

/// Gradient of [`ChannelsForward`]; what was not taken gets zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChannelsBackward {
    pub(crate) taken: Taken,
    pub(crate) dy: TensorAt,
    pub(crate) dx: TensorAt,
}

impl Problem for ChannelsBackward {
    const KERNEL: Kernel = Kernel::ChannelsBackward;

    fn blocks(&self) -> usize {
        (self.taken.batch * self.taken.channels * self.taken.plane).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        self.taken.write(words);
        words.read_tensor(self.dy);
        words.write_tensor(self.dx);
    }
}

/// y\[0\] = x\[index\].
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectForward {
    pub(crate) index: usize,
    pub(crate) x: TensorAt,
    pub(crate) y: Region,
}

impl Problem for SelectForward {
    const KERNEL: Kernel = Kernel::SelectForward;

    fn blocks(&self) -> usize {
        1
    }

    fn write(&self, words: &mut Words) {
        words.size(self.index);
        words.read_tensor(self.x);
        words.write(self.y);
    }
}

/// dx\[index\] = dy\[0\], and zero elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SelectBackward {
    /// Elements of dx.
    pub(crate) elements: usize,
    pub(crate) index: usize,
    pub(crate) dy: Region,
    pub(crate) dx: TensorAt,
}

impl Problem for SelectBackward {
    const KERNEL: Kernel = Kernel::SelectBackward;

    fn blocks(&self) -> usize {
        self.elements.div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.elements, self.index]);
        words.read(self.dy);
        words.write_tensor(self.dx);
    }
}
