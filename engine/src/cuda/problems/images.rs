//! Batches out of a data set that lies on the device: `images.cu`.

use super::elementwise::CHUNK;
use crate::cuda::Kernel;
use crate::cuda::problem::{Problem, Region, TensorAt, Words};

/// A batch of images, normalised and changed as was drawn for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The data set: u8 `[images, channels, height, width]`.
    pub(crate) pixels: Region,
    /// i32 `[batch][8]`: number of the image; how far below and right of its corner the crop lies;
    /// whether it is mirrored; top, bottom, left and right of the hole, of which bottom and right
    /// are behind it.
    pub(crate) places: Region,
    /// Normalised value of every byte: f32 `[channels][256]`.
    pub(crate) tables: Region,
    pub(crate) y: TensorAt,
}

impl Problem for Images {
    const KERNEL: Kernel = Kernel::Images;

    fn blocks(&self) -> usize {
        (self.batch * self.channels * self.height * self.width).div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[self.batch, self.channels, self.height, self.width]);
        words.read(self.pixels);
        words.read(self.places);
        words.read(self.tables);
        words.write_tensor(self.y);
    }
}
