use crate::Node;
use crate::cuda::{ImageStore, StoredView};
use crate::{EngineError, Result};

/// What an input of a program is for one run.
#[derive(Clone, Copy, Debug)]
pub enum Feed<'a> {
    /// Its values, row-major.
    Values(&'a [f32]),
    /// Images that a GPU cuts out of those in its memory; only executors on that GPU take them.
    Stored {
        /// Where they come from.
        images: &'a ImageStore,
        /// What is cut out, one place for each image of the batch.
        places: &'a [StoredView],
    },
}

impl<'a> Feed<'a> {
    /// This feed, once it is known to have the shape of an input.
    ///
    /// # Errors
    /// [`EngineError::Feed`] when it has another number of values, [`EngineError::StoredImages`]
    /// when it has as many of images of another shape.
    pub(crate) fn fitting(self, node: &Node) -> Result<Self> {
        let (expected, found) = (node.shape.elements(), self.elements());
        if found != expected {
            return Err(EngineError::Feed { node: node.name.clone(), expected, found });
        }
        match self {
            Self::Stored { images, .. } if node.shape.get(1..) != Some(&images.shape()[..]) => {
                let (shape, [channels, height, width]) = (&node.shape, images.shape());
                let detail = format!(
                    "input {:?} is {shape}, the images are [{channels}, {height}, {width}]",
                    node.name
                );
                Err(EngineError::StoredImages(detail))
            }
            Self::Values(_) | Self::Stored { .. } => Ok(self),
        }
    }

    /// The values, row-major.
    ///
    /// # Errors
    /// [`EngineError::StoredImages`] when they are on a GPU.
    pub(crate) fn on_host(self, node: &Node) -> Result<&'a [f32]> {
        match self {
            Self::Values(values) => Ok(values),
            Self::Stored { .. } => Err(EngineError::StoredImages(format!(
                "input {:?} is computed with on the CPU, the images are on a GPU",
                node.name
            ))),
        }
    }

    fn elements(&self) -> usize {
        match self {
            Self::Values(values) => values.len(),
            Self::Stored { images, places } => {
                places.len() * images.shape().iter().product::<usize>()
            }
        }
    }
}

impl<'a> From<&'a [f32]> for Feed<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::Values(values)
    }
}

impl<'a> From<&'a Vec<f32>> for Feed<'a> {
    fn from(values: &'a Vec<f32>) -> Self {
        Self::Values(values)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Feed<'a> {
    fn from(values: &'a [f32; N]) -> Self {
        Self::Values(values)
    }
}
