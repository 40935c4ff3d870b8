//! Normalisation of each channel over batch and space: `norm.cu`.

use crate::NodeId;
use crate::cuda::Kernel;
use crate::cuda::driver::THREADS;
use crate::cuda::problem::{
    Address, Extents, GradientsAt, Problem, Region, TensorAt, Words, coefficients,
};

/// Scale and shift, or nothing.
fn read_affine(words: &mut Words, affine: Option<(Region, Region)>) {
    words.read_if(affine.map(|(scale, _)| scale));
    words.read_if(affine.map(|(_, shift)| shift));
}

/// `Coefficients` of `norm.cu`: the rows of the forward region.
fn write_coefficients(words: &mut Words, norm: NodeId, channels: usize) {
    for row in
        [coefficients::MEAN, coefficients::FACTOR, coefficients::SHIFT, coefficients::INVERSE_SD]
    {
        words.write(Address { region: Region::Forward(norm), offset: row * channels });
    }
}

/// The coefficients of a normalisation by the statistics of a batch; moves the running statistics
/// towards them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormMoments {
    pub(crate) norm: NodeId,
    /// What it normalises.
    pub(crate) x: TensorAt,
    pub(crate) extents: Extents,
    pub(crate) epsilon: f32,
    /// Scale and shift of each channel.
    pub(crate) affine: Option<(Region, Region)>,
}

impl Problem for NormMoments {
    const KERNEL: Kernel = Kernel::NormMoments;

    fn blocks(&self) -> usize {
        self.extents.channels
    }

    fn write(&self, words: &mut Words) {
        words.read_tensor(self.x);
        words.extents(self.extents);
        words.real(f64::from(self.epsilon));
        read_affine(words, self.affine);
        write_coefficients(words, self.norm, self.extents.channels);
        words.update(Region::RunningMean(self.norm));
        words.update(Region::RunningVariance(self.norm));
        words.read(Region::Momentum);
    }
}

/// The coefficients of a normalisation by its running statistics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormRunning {
    pub(crate) norm: NodeId,
    pub(crate) channels: usize,
    pub(crate) epsilon: f32,
    /// Scale and shift of each channel.
    pub(crate) affine: Option<(Region, Region)>,
}

impl Problem for NormRunning {
    const KERNEL: Kernel = Kernel::NormRunning;

    fn blocks(&self) -> usize {
        self.channels.div_ceil(THREADS)
    }

    fn write(&self, words: &mut Words) {
        words.size(self.channels);
        words.real(f64::from(self.epsilon));
        read_affine(words, self.affine);
        write_coefficients(words, self.norm, self.channels);
        words.read(Region::RunningMean(self.norm));
        words.read(Region::RunningVariance(self.norm));
    }
}

/// What the gradient of a normalisation's input is made of, and the gradients of its scale and
/// shift where they are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormBackward {
    pub(crate) norm: NodeId,
    /// The gradient of what it gave; not carried back through a normalisation.
    pub(crate) dy: GradientsAt,
    /// What it normalised.
    pub(crate) x: TensorAt,
    pub(crate) extents: Extents,
    pub(crate) scale_gradient: Option<Region>,
    pub(crate) shift_gradient: Option<Region>,
}

impl Problem for NormBackward {
    const KERNEL: Kernel = Kernel::NormBackward;

    fn blocks(&self) -> usize {
        self.extents.channels
    }

    fn write(&self, words: &mut Words) {
        assert!(
            self.dy.norm.is_none(),
            "the sums are those of the gradient before it is carried back"
        );
        words.gradients(&self.dy);
        words.read_tensor(self.x);
        words.extents(self.extents);
        for row in [coefficients::MEAN, coefficients::FACTOR, coefficients::INVERSE_SD] {
            words.read(Address {
                region: Region::Forward(self.norm),
                offset: row * self.extents.channels,
            });
        }
        for row in [coefficients::MEAN_DY, coefficients::SLOPE] {
            words.write(Address {
                region: Region::Backward(self.norm),
                offset: row * self.extents.channels,
            });
        }
        words.write_if(self.scale_gradient);
        words.write_if(self.shift_gradient);
    }
}
