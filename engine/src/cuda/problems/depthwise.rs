//! Convolutions that have a kernel of their own for each channel.

use crate::cuda::Kernel;
use crate::cuda::driver::THREADS;
use crate::cuda::problem::{Problem, Words};
use crate::cuda::problems::conv::{ConvBackwardInput, ConvBackwardWeight, ConvForward, ConvSizes};

/// Floats of a block's tiles: `TILE_FLOATS` in depthwise.cu.
const TILE_FLOATS: usize = 7168;
/// Planes of a block: `MOST_PLANES` in depthwise.cu.
const MOST_PLANES: usize = 16;
/// Columns of a tile in fours: a tile as high as wide has least around it to read.
const MOST_QUADS: usize = 8;
/// Blocks that a weight gradient is split into where it has tiles enough; a launch holds several.
const WEIGHT_BLOCKS: usize = 192;

/// Whether the kernels of this module do such a convolution; those of [`super::conv`] do any.
pub(crate) fn handles(sizes: &ConvSizes) -> bool {
    let own_kernels = sizes.groups == sizes.channels && sizes.groups == sizes.out;
    let square = sizes.is_square() && [3, 5, 7].contains(&sizes.kernel[0]);
    own_kernels
        && square
        && Tiling::of_outputs(sizes).is_some()
        && Tiling::of_inputs(sizes).is_some()
}

/// `Tiling` of depthwise.cu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tiling {
    rows: usize,
    quads: usize,
    planes: usize,
    down: usize,
    across: usize,
    height: usize,
    pitch: usize,
}

impl Tiling {
    /// Of the output, or None where a window is too large.
    fn of_outputs(sizes: &ConvSizes) -> Option<Self> {
        Self::new(
            [sizes.out_height, sizes.out_width],
            sizes.stride[0],
            (sizes.kernel[0] - 1) * sizes.dilation,
        )
    }

    /// Of the input's gradient, whose tiles read one with the zeros of the stride between its
    /// elements.
    fn of_inputs(sizes: &ConvSizes) -> Option<Self> {
        Self::new([sizes.height, sizes.width], 1, (sizes.kernel[0] - 1) * sizes.dilation)
    }

    /// The largest tiles for which a block has threads and memory; `reach` is from the first to the
    /// last element of a window.
    fn new([height, width]: [usize; 2], stride: usize, reach: usize) -> Option<Self> {
        let (mut most_rows, mut most_quads) = (THREADS, MOST_QUADS);
        loop {
            let (across, quads) = split(width.div_ceil(4), most_quads);
            let (down, rows) = split(height, most_rows.min(THREADS / quads));
            let tile_height = (rows - 1) * stride + reach + 1;
            let pitch = (quads - 1) * 4 * stride + (3 * stride + reach + 1).next_multiple_of(4);
            let planes = (THREADS / (rows * quads))
                .min(TILE_FLOATS / (tile_height * pitch))
                .min(MOST_PLANES);
            if planes > 0 {
                return Some(Self {
                    rows,
                    quads,
                    planes,
                    down,
                    across,
                    height: tile_height,
                    pitch,
                });
            }
            match (rows, quads) {
                (1, 1) => return None,
                (rows, quads) if rows > quads => most_rows = rows / 2,
                (_, quads) => most_quads = quads / 2,
            }
        }
    }

    /// Blocks for that many planes, each with one tile of as many of them as fit.
    fn blocks(&self, planes: usize) -> usize {
        planes.div_ceil(self.planes) * self.down * self.across
    }

    fn write(&self, words: &mut Words) {
        words.sizes(&[
            self.rows,
            self.quads,
            self.planes,
            self.down,
            self.across,
            self.height,
            self.pitch,
        ]);
    }
}

/// Into how few parts of at most `most` a length is split, and the length of the largest where they
/// are as equal as can be.
fn split(length: usize, most: usize) -> (usize, usize) {
    let part = length.div_ceil(length.div_ceil(most));
    (length.div_ceil(part), part)
}

/// A [`ConvForward`] of each channel for itself. Problems of this module are those that [`handles`]
/// names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DepthwiseForward(pub(crate) ConvForward);

impl Problem for DepthwiseForward {
    const KERNEL: Kernel = Kernel::DepthwiseForward;

    fn blocks(&self) -> usize {
        outputs(&self.0.sizes).blocks(self.0.sizes.batch * self.0.sizes.channels)
    }

    fn write(&self, words: &mut Words) {
        self.0.write_operands(words);
        outputs(&self.0.sizes).write(words);
    }
}

/// A [`ConvBackwardInput`] of each channel for itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DepthwiseBackwardInput(pub(crate) ConvBackwardInput);

impl DepthwiseBackwardInput {
    fn tiling(&self) -> Tiling {
        Tiling::of_inputs(&self.0.sizes).expect("a convolution that is handled")
    }
}

impl Problem for DepthwiseBackwardInput {
    const KERNEL: Kernel = Kernel::DepthwiseBackwardInput;

    fn blocks(&self) -> usize {
        self.tiling().blocks(self.0.sizes.batch * self.0.sizes.channels)
    }

    fn write(&self, words: &mut Words) {
        self.0.write_operands(words);
        self.tiling().write(words);
    }
}

/// A [`ConvBackwardWeight`] of each channel for itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DepthwiseBackwardWeight(pub(crate) ConvBackwardWeight);

impl DepthwiseBackwardWeight {
    /// How many parts there are.
    pub(crate) fn chunks(&self) -> usize {
        self.items_of_channel().div_ceil(self.items())
    }

    /// A block takes tiles of one channel, of as many samples at a time as it takes planes.
    fn items_of_channel(&self) -> usize {
        outputs(&self.0.sizes).blocks(self.0.sizes.batch)
    }

    /// Those that one block takes.
    fn items(&self) -> usize {
        self.items_of_channel().div_ceil(WEIGHT_BLOCKS.div_ceil(self.0.sizes.channels))
    }
}

impl Problem for DepthwiseBackwardWeight {
    const KERNEL: Kernel = Kernel::DepthwiseBackwardWeight;

    fn blocks(&self) -> usize {
        self.0.sizes.channels * self.chunks()
    }

    fn write(&self, words: &mut Words) {
        self.0.write_operands(words);
        outputs(&self.0.sizes).write(words);
        words.size(self.items());
    }
}

fn outputs(sizes: &ConvSizes) -> Tiling {
    Tiling::of_outputs(sizes).expect("a convolution that is handled")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_planes_and_fit_a_block() {
        let sides = [1, 2, 5, 7, 8, 14, 28, 31, 32, 33, 56, 100, 224];
        for (height, width) in
            sides.into_iter().flat_map(|height| sides.map(|width| (height, width)))
        {
            for (stride, reach) in
                (1..=4).flat_map(|stride| [2, 4, 6, 8, 12, 40, 60].map(|reach| (stride, reach)))
            {
                let tiling =
                    Tiling::new([height, width], stride, reach).expect("windows of that size fit");
                let Tiling { rows, quads, planes, down, across, .. } = tiling;
                let name = format!("{height}×{width}, stride {stride}, reach {reach}: {tiling:?}");
                assert!(
                    rows * quads * planes <= THREADS && planes <= MOST_PLANES,
                    "threads: {name}"
                );
                assert!(
                    planes * tiling.height * tiling.pitch <= TILE_FLOATS
                        && tiling.pitch.is_multiple_of(4),
                    "memory: {name}"
                );
                assert!(
                    tiling.height > (rows - 1) * stride + reach
                        && tiling.pitch > (4 * quads - 1) * stride + reach,
                    "windows: {name}"
                );
                assert!((1..=rows).contains(&(height - (down - 1) * rows)), "rows: {name}");
                assert!(
                    (1..=4 * quads).contains(&(width - (across - 1) * 4 * quads)),
                    "columns: {name}"
                );
            }
        }
        assert_eq!(Tiling::new([8, 8], 1, 100), None);
    }
}
