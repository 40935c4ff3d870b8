//! Optimisers, and the norm of all gradients: `optim.cu`.

use super::elementwise::CHUNK;
use crate::cuda::Kernel;
use crate::cuda::problem::{Address, Problem, Region, Words};

/// Σ (scale\[0\] · gradient)², as one `double` a block from `partial` on; it lies at an even
/// offset, for a `double` is two of f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SumOfSquares {
    pub(crate) gradient: Region,
    pub(crate) scale: Option<Address>,
    pub(crate) elements: usize,
    pub(crate) partial: Address,
}

impl SumOfSquares {
    /// Blocks for that many elements, each of which leaves one number.
    pub(crate) fn blocks_of(elements: usize) -> usize {
        elements.div_ceil(CHUNK)
    }
}

impl Problem for SumOfSquares {
    const KERNEL: Kernel = Kernel::SumOfSquares;

    fn blocks(&self) -> usize {
        Self::blocks_of(self.elements)
    }

    fn write(&self, words: &mut Words) {
        assert!(self.partial.offset.is_multiple_of(2), "doubles lie at multiples of eight bytes");
        words.read(self.gradient);
        words.read_if(self.scale);
        words.size(self.elements);
        words.write(self.partial);
    }
}

/// From what all of [`SumOfSquares`] left: to\[0\] = norm, to\[1\] = scale\[0\] times what brings
/// it down to `max_norm`, at most 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClipFactor {
    pub(crate) partial: Region,
    /// Numbers of type `double`.
    pub(crate) count: usize,
    pub(crate) max_norm: f64,
    pub(crate) scale: Option<Address>,
    pub(crate) to: Region,
}

impl Problem for ClipFactor {
    const KERNEL: Kernel = Kernel::ClipFactor;

    fn blocks(&self) -> usize {
        1
    }

    fn write(&self, words: &mut Words) {
        words.read(self.partial);
        words.size(self.count);
        words.real(self.max_norm);
        words.read_if(self.scale);
        words.write(self.to);
    }
}

/// One step of gradient descent with momentum, whose history is the velocity, or of Adam with
/// coupled L2, whose history is the first and the second moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<const HISTORY: usize> {
    pub(crate) weight: Region,
    pub(crate) history: [Region; HISTORY],
    pub(crate) gradient: Region,
    pub(crate) elements: usize,
    /// Momentum, weight decay, rate; or both betas, weight decay, epsilon, step size, root of the
    /// correction of the second moment.
    pub(crate) settings: Region,
    /// What gradients are multiplied with first.
    pub(crate) clip: Option<Address>,
}

impl<const HISTORY: usize> Problem for Step<HISTORY> {
    const KERNEL: Kernel = match HISTORY {
        1 => Kernel::Sgd,
        2 => Kernel::Adam,
        _ => unreachable!(),
    };

    fn blocks(&self) -> usize {
        self.elements.div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.update(self.weight);
        self.history.iter().for_each(|&slot| words.update(slot));
        words.read(self.gradient);
        words.size(self.elements);
        words.read(self.settings);
        words.read_if(self.clip);
    }
}

/// average ← decay · average + (1 - decay) · value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MovingAverage {
    pub(crate) average: Region,
    pub(crate) value: Region,
    pub(crate) elements: usize,
    /// One number: the share of an average that is kept.
    pub(crate) settings: Region,
}

impl Problem for MovingAverage {
    const KERNEL: Kernel = Kernel::MovingAverage;

    fn blocks(&self) -> usize {
        self.elements.div_ceil(CHUNK)
    }

    fn write(&self, words: &mut Words) {
        words.update(self.average);
        words.read(self.value);
        words.size(self.elements);
        words.read(self.settings);
    }
}
