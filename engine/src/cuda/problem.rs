//! The arguments of kernels: problems, written down as words of eight bytes, with addresses that
//! are only known once memory is planned.

use crate::NodeId;
use crate::cuda::Kernel;

/// A piece of device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Region {
    /// The value of a node; of a leaf, what was fed or the variable.
    Value(NodeId),
    /// The gradient of a node.
    Gradient(NodeId),
    /// One of the contributions that add up to the gradient of a node.
    Part(NodeId, u32),
    /// What readers of a normalisation apply: [`coefficients`].
    Forward(NodeId),
    /// What its gradient needs in addition: [`coefficients`].
    Backward(NodeId),
    /// The running mean of a normalisation.
    RunningMean(NodeId),
    /// Its running variance.
    RunningVariance(NodeId),
    /// How far running statistics move: one number.
    Momentum,
    /// Sums of parts of a tensor, on the way to a whole.
    Partial(u32),
    /// What an optimiser or a loader works on, by its number in their launch.
    Operand(u32),
}

impl Region {
    /// Number of the operand that it is: what optimisers and loaders name.
    pub(crate) fn operand(self) -> usize {
        let Self::Operand(number) = self else { unreachable!("{self:?} is no operand") };
        number as usize
    }
}

/// Rows of [`Region::Forward`] and [`Region::Backward`], each as long as the normalisation has
/// channels.
pub(crate) mod coefficients {
    pub(crate) const MEAN: usize = 0;
    pub(crate) const FACTOR: usize = 1;
    pub(crate) const SHIFT: usize = 2;
    pub(crate) const INVERSE_SD: usize = 3;
    /// Rows of the forward region.
    pub(crate) const FORWARD: usize = 4;

    pub(crate) const MEAN_DY: usize = 0;
    pub(crate) const SLOPE: usize = 1;
    /// Rows of the backward region.
    pub(crate) const BACKWARD: usize = 2;
}

/// A place in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) region: Region,
    /// Elements of f32 from its beginning.
    pub(crate) offset: usize,
}

impl From<Region> for Address {
    fn from(region: Region) -> Self {
        Self { region, offset: 0 }
    }
}

/// A tensor of f32, or of bf16 where `half` is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorAt {
    pub(crate) region: Region,
    pub(crate) half: bool,
}

/// `Values` of `common.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ValuesAt {
    pub(crate) x: TensorAt,
    /// The normalisation that is applied, and its channels.
    pub(crate) norm: Option<(NodeId, usize)>,
    pub(crate) mask: Option<Region>,
    pub(crate) relu: bool,
}

/// `Gradients` of `common.cuh`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GradientsAt {
    pub(crate) dy: TensorAt,
    pub(crate) constant: f64,
    pub(crate) scale: Option<Address>,
    pub(crate) mask: Option<Region>,
    /// The normalisation that it is carried back through, its channels and its input.
    pub(crate) norm: Option<(NodeId, usize, TensorAt)>,
}

/// Batch, channels and elements of a plane; what is no image counts as one plane a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) plane: usize,
}

impl Extents {
    pub(crate) fn elements(self) -> usize {
        self.batch * self.sample()
    }

    /// Elements of a sample.
    pub(crate) fn sample(self) -> usize {
        self.channels * self.plane
    }

    /// Each plane as a sample of its own, which a gate masks.
    pub(crate) fn planes_alone(self) -> Self {
        Self { batch: self.batch * self.channels, channels: 1, plane: self.plane }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Word {
    Null,
    Address(Address),
    Size(i64),
    Real(f64),
}

/// A problem written down: its words in the order of the kernel's structure, and what it reads and
/// writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Words {
    pub(crate) words: Vec<Word>,
    pub(crate) reads: Vec<Region>,
    pub(crate) writes: Vec<Region>,
}

impl Words {
    /// A pointer to what is read.
    pub(crate) fn read(&mut self, address: impl Into<Address>) {
        let address = address.into();
        self.reads.push(address.region);
        self.words.push(Word::Address(address));
    }

    /// A pointer to what is read, or null.
    pub(crate) fn read_if(&mut self, address: Option<impl Into<Address>>) {
        match address {
            Some(address) => self.read(address),
            None => self.words.push(Word::Null),
        }
    }

    /// A pointer to what is written.
    pub(crate) fn write(&mut self, address: impl Into<Address>) {
        let address = address.into();
        self.writes.push(address.region);
        self.words.push(Word::Address(address));
    }

    /// A pointer to what is written, or null.
    pub(crate) fn write_if(&mut self, address: Option<impl Into<Address>>) {
        match address {
            Some(address) => self.write(address),
            None => self.words.push(Word::Null),
        }
    }

    /// A pointer to what is read and then written.
    pub(crate) fn update(&mut self, address: impl Into<Address>) {
        let address = address.into();
        self.reads.push(address.region);
        self.write(address);
    }

    /// A `Tensor` that is read.
    pub(crate) fn read_tensor(&mut self, tensor: TensorAt) {
        self.read(tensor.region);
        self.flag(tensor.half);
    }

    /// A `Tensor` that is written.
    pub(crate) fn write_tensor(&mut self, tensor: TensorAt) {
        self.write(tensor.region);
        self.flag(tensor.half);
    }

    /// A `Tensor` that is read and then written.
    pub(crate) fn update_tensor(&mut self, tensor: TensorAt) {
        self.update(tensor.region);
        self.flag(tensor.half);
    }

    /// A `Tensor` that is not there.
    pub(crate) fn no_tensor(&mut self) {
        self.words.push(Word::Null);
        self.flag(false);
    }

    /// A `Values`.
    pub(crate) fn values(&mut self, values: &ValuesAt) {
        self.read_tensor(values.x);
        for row in [coefficients::MEAN, coefficients::FACTOR, coefficients::SHIFT] {
            self.read_if(values.norm.map(|(id, channels)| Address {
                region: Region::Forward(id),
                offset: row * channels,
            }));
        }
        self.read_if(values.mask);
        self.flag(values.relu);
    }

    /// A `Values`, or one whose tensor is null.
    pub(crate) fn values_if(&mut self, values: Option<&ValuesAt>) {
        match values {
            Some(values) => self.values(values),
            None => {
                self.no_tensor();
                self.words.extend([Word::Null; 4]);
                self.flag(false);
            }
        }
    }

    /// A `Gradients`.
    pub(crate) fn gradients(&mut self, gradients: &GradientsAt) {
        self.read_tensor(gradients.dy);
        self.real(gradients.constant);
        self.read_if(gradients.scale);
        self.read_if(gradients.mask);
        match gradients.norm {
            Some((id, channels, x)) => {
                self.read_tensor(x);
                let row = |region, row| Address { region, offset: row * channels };
                self.read(row(Region::Forward(id), coefficients::MEAN));
                self.read(row(Region::Forward(id), coefficients::FACTOR));
                self.read(row(Region::Backward(id), coefficients::MEAN_DY));
                self.read(row(Region::Backward(id), coefficients::SLOPE));
            }
            None => {
                self.no_tensor();
                self.words.extend([Word::Null; 4]);
            }
        }
    }

    /// A `Size`.
    pub(crate) fn size(&mut self, size: usize) {
        self.words.push(Word::Size(i64::try_from(size).expect("sizes of tensors fit an i64")));
    }

    /// Several of them.
    pub(crate) fn sizes(&mut self, sizes: &[usize]) {
        sizes.iter().for_each(|&size| self.size(size));
    }

    /// Batch, channels and elements of a plane.
    pub(crate) fn extents(&mut self, Extents { batch, channels, plane }: Extents) {
        self.sizes(&[batch, channels, plane]);
    }

    /// A `Size` that is 0 or 1.
    pub(crate) fn flag(&mut self, flag: bool) {
        self.size(usize::from(flag));
    }

    /// A `double`.
    pub(crate) fn real(&mut self, value: f64) {
        self.words.push(Word::Real(value));
    }
}

/// One piece of work of a kernel.
pub(crate) trait Problem {
    const KERNEL: Kernel;

    /// Blocks of threads that it takes, at least one.
    fn blocks(&self) -> usize;

    /// Its words, in the order of the kernel's structure.
    fn write(&self, words: &mut Words);
}
