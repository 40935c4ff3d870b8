//! Convolutions, dense or in groups, and the sum of what blocks have summed each for itself.

use crate::cuda::Kernel;
use crate::cuda::driver::THREADS;
use crate::cuda::problem::{GradientsAt, Problem, Region, TensorAt, ValuesAt, Words};

/// Rows and positions of the tiles that the products of forward and input gradient are made of,
/// which rows name: the cases of `product_of` in conv.cu. Where two would take as long, the first
/// does, as it reads less.
const PRODUCT_TILES: [(usize, usize); 3] = [(72, 128), (36, 256), (16, 256)];
/// What it takes to load a tile, in rows of a product.
const LOADING: usize = 12;
/// Outputs and terms of the tiles of a weight gradient, which outputs name: the cases of
/// `conv_backward_weight` in conv.cu.
const WEIGHT_TILES: [(usize, usize); 3] = [(16, 32), (32, 32), (40, 40)];
/// Positions that a block of the weight gradient takes at a time: `SPAN` in conv.cu, which counts
/// in fours.
const SPAN: usize = 64;
/// Blocks that a weight gradient is split into where it has positions enough. A launch holds
/// several: together they fill a GPU, and what they leave to `reduce` stays small.
const WEIGHT_BLOCKS: usize = 128;

/// The sizes of a convolution: `[batch, channels, height, width]` becomes `[batch, out, out_height,
/// out_width]`. Positions of all samples, in or out, are fewer than 2³¹.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvSizes {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) out: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
    /// These three down and across.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: usize,
    pub(crate) groups: usize,
}

impl ConvSizes {
    /// `ConvSizes` of conv.cu and depthwise.cu.
    pub(crate) fn write(&self, words: &mut Words) {
        words.sizes(&[
            self.batch,
            self.channels,
            self.height,
            self.width,
            self.out,
            self.out_height,
            self.out_width,
        ]);
        let (kernel, stride, padding) = (self.kernel, self.stride, self.padding);
        words.sizes(&[
            kernel[0],
            stride[0],
            padding[0],
            self.dilation,
            self.groups,
            kernel[1],
            stride[1],
            padding[1],
        ]);
    }

    /// Whether both directions have the same stride and padding.
    pub(crate) fn is_square(&self) -> bool {
        [self.kernel, self.stride, self.padding].iter().all(|[down, across]| down == across)
    }

    fn inputs(&self) -> usize {
        self.channels / self.groups
    }

    fn outputs(&self) -> usize {
        self.out / self.groups
    }

    /// What one output sums.
    fn terms(&self) -> usize {
        self.inputs() * self.kernel[0] * self.kernel[1]
    }

    fn positions(&self) -> usize {
        self.batch * self.height * self.width
    }

    fn out_positions(&self) -> usize {
        self.batch * self.out_height * self.out_width
    }
}

/// The kind of tile that takes least for a product of that many rows; the smallest where the
/// directions differ.
fn product_tile(sizes: &ConvSizes, rows: usize) -> (usize, usize) {
    if !sizes.is_square() {
        return PRODUCT_TILES[PRODUCT_TILES.len() - 1];
    }
    let cost = |&(tile, _): &(usize, usize)| rows.div_ceil(tile) * (tile + LOADING);
    PRODUCT_TILES.into_iter().min_by_key(cost).expect("there are kinds of tiles")
}

/// Blocks of a product with that many rows in each group.
fn product_blocks(sizes: &ConvSizes, rows: usize, positions: usize) -> usize {
    let tile = product_tile(sizes, rows);
    sizes.groups * rows.div_ceil(tile.0) * positions.div_ceil(tile.1)
}

/// y = weight ∗ x + bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConvForward {
    pub(crate) sizes: ConvSizes,
    pub(crate) x: ValuesAt,
    pub(crate) weight: Region,
    pub(crate) bias: Option<Region>,
    pub(crate) y: TensorAt,
}

impl ConvForward {
    /// What the kernel's structure begins with, as that of a depthwise convolution does.
    pub(super) fn write_operands(&self, words: &mut Words) {
        self.sizes.write(words);
        words.values(&self.x);
        words.read(self.weight);
        words.read_if(self.bias);
        words.write_tensor(self.y);
    }
}

impl Problem for ConvForward {
    const KERNEL: Kernel = Kernel::ConvForward;

    fn blocks(&self) -> usize {
        product_blocks(&self.sizes, self.sizes.outputs(), self.sizes.out_positions())
    }

    fn write(&self, words: &mut Words) {
        self.write_operands(words);
        words.size(product_tile(&self.sizes, self.sizes.outputs()).0);
    }
}

/// The gradient of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConvBackwardInput {
    pub(crate) sizes: ConvSizes,
    pub(crate) dy: GradientsAt,
    pub(crate) weight: Region,
    /// How x was read, where that has a ReLU: the gradient is zero where it is shut.
    pub(crate) gate: Option<ValuesAt>,
    pub(crate) dx: TensorAt,
}

impl ConvBackwardInput {
    /// As [`ConvForward::write_operands`].
    pub(super) fn write_operands(&self, words: &mut Words) {
        self.sizes.write(words);
        words.gradients(&self.dy);
        words.read(self.weight);
        words.values_if(self.gate.as_ref());
        words.write_tensor(self.dx);
    }
}

impl Problem for ConvBackwardInput {
    const KERNEL: Kernel = Kernel::ConvBackwardInput;

    fn blocks(&self) -> usize {
        product_blocks(&self.sizes, self.sizes.inputs(), self.sizes.positions())
    }

    fn write(&self, words: &mut Words) {
        self.write_operands(words);
        words.size(product_tile(&self.sizes, self.sizes.inputs()).0);
    }
}

/// Parts of the gradient of the weight, for [`Reduce`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConvBackwardWeight {
    pub(crate) sizes: ConvSizes,
    pub(crate) x: ValuesAt,
    pub(crate) dy: GradientsAt,
    /// As many parts as the problem has chunks, each of the shape of the weight.
    pub(crate) partial: Region,
}

impl ConvBackwardWeight {
    /// As [`ConvForward::write_operands`].
    pub(super) fn write_operands(&self, words: &mut Words) {
        self.sizes.write(words);
        words.values(&self.x);
        words.gradients(&self.dy);
        words.write(self.partial);
    }

    /// How many parts there are.
    pub(crate) fn chunks(&self) -> usize {
        self.sizes.out_positions().div_ceil(self.chunk())
    }

    /// Positions of a chunk, but for the last.
    fn chunk(&self) -> usize {
        let spans = self.sizes.out_positions().div_ceil(SPAN);
        spans.div_ceil(WEIGHT_BLOCKS.div_ceil(self.tiles())) * SPAN
    }

    fn tile(&self) -> (usize, usize) {
        if !self.sizes.is_square() {
            return WEIGHT_TILES[0];
        }
        let cost = |&(outs, terms): &(usize, usize)| {
            self.tiles_of((outs, terms)) * (outs * terms + LOADING * (outs + terms))
        };
        WEIGHT_TILES.into_iter().min_by_key(cost).expect("there are kinds of tiles")
    }

    fn tiles(&self) -> usize {
        self.tiles_of(self.tile())
    }

    fn tiles_of(&self, (outs, terms): (usize, usize)) -> usize {
        self.sizes.groups * self.sizes.outputs().div_ceil(outs) * self.sizes.terms().div_ceil(terms)
    }
}

impl Problem for ConvBackwardWeight {
    const KERNEL: Kernel = Kernel::ConvBackwardWeight;

    fn blocks(&self) -> usize {
        self.tiles() * self.chunks()
    }

    fn write(&self, words: &mut Words) {
        self.write_operands(words);
        words.sizes(&[self.tile().0, self.chunk()]);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ConvBackwardBias {
    pub(crate) sizes: ConvSizes,
    pub(crate) dy: GradientsAt,
    pub(crate) bias_gradient: Region,
}

impl Problem for ConvBackwardBias {
    const KERNEL: Kernel = Kernel::ConvBackwardBias;

    fn blocks(&self) -> usize {
        self.sizes.out
    }

    fn write(&self, words: &mut Words) {
        self.sizes.write(words);
        words.gradients(&self.dy);
        words.write(self.bias_gradient);
    }
}

/// `to` is the sum over the first dimension of `partial [chunks, elements]`, added in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reduce {
    pub(crate) partial: Region,
    pub(crate) chunks: usize,
    pub(crate) elements: usize,
    pub(crate) to: Region,
}

impl Problem for Reduce {
    const KERNEL: Kernel = Kernel::Reduce;

    fn blocks(&self) -> usize {
        self.elements.div_ceil(THREADS)
    }

    fn write(&self, words: &mut Words) {
        words.read(self.partial);
        words.sizes(&[self.chunks, self.elements]);
        words.write(self.to);
    }
}
