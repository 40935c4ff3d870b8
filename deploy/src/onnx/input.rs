//! The images that a model takes.

use std::collections::BTreeMap;

use tract_onnx::pb::tensor_proto::DataType;

use crate::{DeployError, Result};

/// The numbers of channels that images have.
pub(super) const COLOURS: [usize; 3] = [1, 3, 4];

/// How many images one run of the model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// Any number.
    Dynamic,
    /// This number, written into the file.
    Fixed(usize),
}

/// The numbers that an input takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    F32,
    /// 16-bit floats of IEEE 754.
    F16,
    /// 64-bit floats.
    F64,
    /// Pixels from 0 to 255, which the model prepares itself.
    U8,
}

impl Element {
    /// The one of this number in the ONNX standard.
    pub(super) fn of(kind: i32) -> Option<Self> {
        Some(match DataType::try_from(kind).ok()? {
            DataType::Float => Self::F32,
            DataType::Float16 => Self::F16,
            DataType::Double => Self::F64,
            DataType::Uint8 => Self::U8,
            _ => return None,
        })
    }
}

/// What the user says of a file that leaves it open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Shapes of inputs, by name.
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// The output that has the scores; `None` takes the first that looks like them, of those that
    /// have as many as there are classes where their number is known.
    pub output: Option<String>,
}

/// The one input of a classifier: images `[batch, channels, height, width]` or `[batch, height,
/// width, channels]`.
///
/// The channels are where the sizes allow 1, 3 or 4 of them. Where both places do they are first,
/// or last in an input of pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInput {
    /// The name of the tensor.
    pub name: String,
    /// How many images a run takes.
    pub batch: BatchSize,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// The numbers that it takes.
    pub element: Element,
    /// Whether the channels come last.
    pub channels_last: bool,
}

impl ImageInput {
    /// The shape of `batch` images, as the file has it.
    pub fn shape(&self, batch: usize) -> [usize; 4] {
        let &Self { channels, height, width, channels_last, .. } = self;
        match channels_last {
            true => [batch, height, width, channels],
            false => [batch, channels, height, width],
        }
    }

    /// Whether it takes the pixels as they are and prepares them itself.
    pub fn pixels(&self) -> bool {
        self.element == Element::U8
    }

    /// The number of values of one image `[channels, height, width]`.
    pub fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Checks that `images` are `batch` of them, and no fewer than `least`.
    pub(crate) fn check_images(&self, images: &[f32], batch: usize, least: usize) -> Result<()> {
        let each = self.image_len();
        if batch >= least && batch.checked_mul(each) == Some(images.len()) {
            return Ok(());
        }
        let expected = format!("{batch} images of {each} values");
        Err(DeployError::Length { what: "images", expected, actual: images.len() })
    }

    /// The batch that shapes are inferred with: what the file fixes, otherwise 1.
    pub fn nominal_batch(&self) -> usize {
        self.batch_of(1)
    }

    /// The batch of a run that `asked` images are asked for: what the file fixes, otherwise these.
    pub fn batch_of(&self, asked: usize) -> usize {
        match self.batch {
            BatchSize::Dynamic => asked,
            BatchSize::Fixed(batch) => batch,
        }
    }
}
