use std::borrow::Cow;
use std::sync::Arc;

use crate::{NodeId, Result, cuda};

/// A gradient with the position of its parameter in the variables.
#[derive(Clone, Debug)]
pub struct Gradient<'a> {
    pub(crate) position: usize,
    pub(crate) source: GradientData<'a>,
    pub(crate) scale: Scale,
}

/// Where the values of a gradient are, as the loss gave them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GradientData<'a> {
    Host(&'a [f32]),
    /// In the executor that computed them, for this node.
    Cuda(&'a cuda::Executor, NodeId),
}

/// What optimisers multiply the values of a gradient with.
#[derive(Clone, Debug)]
pub(crate) enum Scale {
    Host(f32),
    /// The number at that position in the memory of a device: nobody has to wait for it there.
    Cuda(Arc<cuda::Buffer>, usize),
}

impl<'a> GradientData<'a> {
    /// Number of values.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Host(values) => values.len(),
            Self::Cuda(executor, id) => executor.program().graph()[id].shape.elements(),
        }
    }

    /// The values, read from the device where they are there.
    pub(crate) fn values(self) -> Result<Cow<'a, [f32]>> {
        match self {
            Self::Host(values) => Ok(values.into()),
            Self::Cuda(executor, id) => Ok(executor.gradient(id)?.into()),
        }
    }
}

impl Scale {
    /// The number, read from the device where it is there.
    pub(crate) fn value(&self) -> Result<f32> {
        match self {
            Self::Host(scale) => Ok(*scale),
            Self::Cuda(buffer, at) => {
                let mut scale = [0.0];
                buffer.download_at(at * size_of::<f32>(), &mut scale)?;
                Ok(scale[0])
            }
        }
    }
}

impl<'a> Gradient<'a> {
    /// d loss / d parameter, row-major, of the parameter at a position that
    /// [`crate::Variables::position`] gave.
    pub fn new(position: usize, values: &'a [f32]) -> Self {
        Self { position, source: GradientData::Host(values), scale: Scale::Host(1.0) }
    }

    /// From [`crate::Variables::position`].
    pub fn position(&self) -> usize {
        self.position
    }

    /// d loss / d parameter as an optimiser sees it: clipped, where it was.
    ///
    /// # Errors
    /// [`crate::EngineError::Cuda`] when it cannot be read from the device.
    pub fn values(&self) -> Result<Vec<f32>> {
        let scale = self.scale.value()?;
        Ok(self.source.values()?.iter().map(|value| scale * value).collect())
    }
}
