//! Operations that treat every element alike, and the sums that belong to them: `elementwise.cu`.
//!
//! Tensors are dense, `[batch, channels, plane]`; what is no image has one channel.

use crate::Activation;
use crate::cuda::Kernel;
use crate::cuda::problem::{
    Address, Extents, GradientsAt, Problem, Region, TensorAt, ValuesAt, Word, Words,
};

/// Elements that a block of an elementwise kernel works on; `CHUNK` of `common.cuh`.
pub(super) const CHUNK: usize = 4096;

/// The most terms of a sum; `MAX_TERMS` of `elementwise.cu`.
const MAX_TERMS: usize = 8;

/// Elements that a block of [`Products`] sums up; `PRODUCTS_CHUNK` of `elementwise.cu`.
const PRODUCTS_CHUNK: usize = 4 * CHUNK;

/// A part of a sum: constant · scale\[0\] · values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term {
    pub(crate) values: ValuesAt,
    pub(crate) scale: Option<Address>,
    pub(crate) constant: f64,
}

impl From<ValuesAt> for Term {
    fn from(values: ValuesAt) -> Self {
        Self { values, scale: None, constant: 1.0 }
    }
}

/// y\[n · y_stride + y_offset + …\] = Σ terms, or += with `accumulate`. There is at least one term
/// and at most [`Self::MAX_TERMS`].
#[derive(Clone, Debug)]
pub(crate) struct Combine {
    pub(crate) y: TensorAt,
    pub(crate) terms: Vec<Term>,
    pub(crate) extents: Extents,
    /// Elements between samples of y.
    pub(crate) y_stride: usize,
    /// Elements of a sample of y before the channels that are written.
    pub(crate) y_offset: usize,
    pub(crate) accumulate: bool,
}

impl Combine {
    pub(crate) const MAX_TERMS: usize = MAX_TERMS;
}

impl Problem for Combine {
    const KERNEL: Kernel = Kernel::Combine;

    fn blocks(&self) -> usize {
        self.extents.elements().div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        assert!((1..=MAX_TERMS).contains(&self.terms.len()), "{} terms", self.terms.len());
        if self.accumulate {
            words.update_tensor(self.y);
        } else {
            words.write_tensor(self.y);
        }
        words.extents(self.extents);
        words.sizes(&[self.y_stride, self.y_offset]);
        words.flag(self.accumulate);
        words.size(self.terms.len());
        for term in &self.terms {
            words.values(&term.values);
            words.read_if(term.scale);
            words.real(term.constant);
        }
        for _ in self.terms.len()..MAX_TERMS {
            words.values_if(None);
            words.read_if(None::<Address>);
            words.real(0.0);
        }
    }
}

/// dx = the gradient as it is seen at dy\[n · dy_stride + dy_offset + …\]; zero where the ReLU of
/// `gate` is closed. The input of a normalisation in `dy` lies like dx.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) dx: TensorAt,
    pub(crate) dy: GradientsAt,
    /// Elements between samples of dy.
    pub(crate) dy_stride: usize,
    /// Elements of a sample of dy before the channels that are read.
    pub(crate) dy_offset: usize,
    pub(crate) gate: Option<ValuesAt>,
    pub(crate) extents: Extents,
}

impl Problem for Send {
    const KERNEL: Kernel = Kernel::Send;

    fn blocks(&self) -> usize {
        self.extents.elements().div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.write_tensor(self.dx);
        words.gradients(&self.dy);
        words.sizes(&[self.dy_stride, self.dy_offset]);
        words.values_if(self.gate.as_ref());
        words.extents(self.extents);
    }
}

/// What an activation is called in `elementwise.cu`: `Activation` there.
fn number(activation: Activation) -> usize {
    match activation {
        Activation::Relu6 => 0,
        Activation::HardSigmoid => 1,
        Activation::HardSwish => 2,
        Activation::Sigmoid => 3,
        Activation::Silu => 4,
    }
}

/// y = activation(x).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activate {
    pub(crate) activation: Activation,
    pub(crate) x: ValuesAt,
    pub(crate) y: TensorAt,
    pub(crate) extents: Extents,
}

impl Problem for Activate {
    const KERNEL: Kernel = Kernel::Activate;

    fn blocks(&self) -> usize {
        self.extents.elements().div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.write_tensor(self.y);
        words.values(&self.x);
        words.size(number(self.activation));
        words.extents(self.extents);
    }
}

/// dx = dy · activation'(x).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActivateBackward {
    pub(crate) activation: Activation,
    pub(crate) x: ValuesAt,
    pub(crate) dy: TensorAt,
    pub(crate) dx: TensorAt,
    pub(crate) extents: Extents,
}

impl Problem for ActivateBackward {
    const KERNEL: Kernel = Kernel::ActivateBackward;

    fn blocks(&self) -> usize {
        self.extents.elements().div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.write_tensor(self.dx);
        words.read_tensor(self.dy);
        words.values(&self.x);
        words.size(number(self.activation));
        words.extents(self.extents);
    }
}

/// Elements of f32 = value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) to: Address,
    pub(crate) elements: usize,
    pub(crate) value: f64,
}

impl Problem for Fill {
    const KERNEL: Kernel = Kernel::Fill;

    fn blocks(&self) -> usize {
        self.elements.div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.write(self.to);
        words.size(self.elements);
        words.real(self.value);
    }
}

/// mask_gradient\[n\] = Σ dy · x over sample n.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaskBackward {
    pub(crate) extents: Extents,
    /// What the mask was applied to, without the mask.
    pub(crate) x: ValuesAt,
    pub(crate) dy: TensorAt,
    pub(crate) mask_gradient: Region,
}

impl Problem for MaskBackward {
    const KERNEL: Kernel = Kernel::MaskBackward;

    fn blocks(&self) -> usize {
        self.extents.batch
    }

    fn write(&self, words: &mut Words) {
        words.extents(self.extents);
        words.values(&self.x);
        words.read_tensor(self.dy);
        words.write(self.mask_gradient);
    }
}

/// Σ dy · values, as [`Self::chunks`] numbers from `partial` on that add up to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Products {
    pub(crate) dy: TensorAt,
    pub(crate) values: ValuesAt,
    pub(crate) extents: Extents,
    pub(crate) partial: Address,
}

impl Products {
    /// How many numbers it writes.
    pub(crate) fn chunks(&self) -> usize {
        self.extents.elements().div_ceil(PRODUCTS_CHUNK)
    }
}

impl Problem for Products {
    const KERNEL: Kernel = Kernel::Products;

    fn blocks(&self) -> usize {
        self.chunks()
    }

    fn write(&self, words: &mut Words) {
        words.read_tensor(self.dy);
        words.values(&self.values);
        words.extents(self.extents);
        words.write(self.partial);
    }
}

/// to\[j\] = the sum of all rows that belong to j, zero where none does, or += with `accumulate`.
///
/// A row is what one of [`Products`] left: `chunks` numbers. That of `indices[i]` is row `first_row
/// + i` of `partial`. There are at most [`Self::MAX_TERMS`].
#[derive(Clone, Debug)]
pub(crate) struct ScatterProducts {
    pub(crate) partial: Region,
    pub(crate) chunks: usize,
    pub(crate) indices: Vec<usize>,
    pub(crate) first_row: usize,
    pub(crate) to: Region,
    pub(crate) elements: usize,
    pub(crate) accumulate: bool,
}

impl ScatterProducts {
    /// The most rows.
    pub(crate) const MAX_TERMS: usize = MAX_TERMS;
}

impl Problem for ScatterProducts {
    const KERNEL: Kernel = Kernel::ScatterProducts;

    fn blocks(&self) -> usize {
        1
    }

    fn write(&self, words: &mut Words) {
        assert!(self.indices.len() <= MAX_TERMS, "{} rows", self.indices.len());
        words.read(Address { region: self.partial, offset: self.first_row * self.chunks });
        words.sizes(&[self.chunks, self.indices.len()]);
        words.sizes(&self.indices);
        words.words.extend(std::iter::repeat_n(Word::Size(0), MAX_TERMS - self.indices.len()));
        if self.accumulate {
            words.update(self.to);
        } else {
            words.write(self.to);
        }
        words.size(self.elements);
        words.flag(self.accumulate);
    }
}
