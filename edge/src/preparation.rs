//! What becomes of a photo before a model sees it.

use std::path::Path;

use adwp_base::{Failure, Result};
use adwp_data::{
    DataError, Framing, ImageShape, Interpolation, Normalization, decode_image_bytes,
    decode_image_framed,
};
use adwp_measure::onnx::{BatchSize, OnnxModel};

use crate::{args::Normalize, cost::short};

/// From the file of a photo to what a session is given.
pub(crate) struct Preparation {
    pub(crate) shape: ImageShape,
    pub(crate) framing: Framing,
    pub(crate) normalization: Normalization,
}

impl Preparation {
    /// f32 [channels, height, width] of an image file.
    pub(crate) fn image(&self, path: &Path) -> Result<Vec<f32>, DataError> {
        self.normalized(&decode_image_framed(path, self.shape, self.framing)?)
    }

    /// The same of the content of one; `name` stands for it in errors.
    pub(crate) fn image_of(&self, name: &Path, bytes: &[u8]) -> Result<Vec<f32>, DataError> {
        self.normalized(&decode_image_bytes(name, bytes, self.shape, self.framing)?)
    }

    fn normalized(&self, pixels: &[u8]) -> Result<Vec<f32>, DataError> {
        let mut image = vec![0.0; pixels.len()];
        self.normalization.apply(pixels, &mut image)?;
        Ok(image)
    }
}

pub(crate) fn image_shape(model: &OnnxModel) -> ImageShape {
    let input = model.input();
    ImageShape { channels: input.channels, height: input.height, width: input.width }
}

/// How images are scaled and cut, whatever they are for; and what is said of it where the file does
/// not say it.
pub(crate) fn framing(model: &OnnxModel) -> (Framing, Option<String>) {
    if let Some(stated) = model.metadata().preprocessing {
        let [height, width] = stated.cover;
        let interpolation =
            if stated.bicubic { Interpolation::Bicubic } else { Interpolation::Bilinear };
        return (Framing::Scaled { height, width, interpolation }, None);
    }
    // Older versions did with all images what they did with the test images that they knew.
    let known = model.metadata().dataset.as_deref().and_then(|name| name.parse().ok());
    let (framing, how) = match known {
        Some(kind) => (Framing::of(kind), format!("as the test images of {kind}")),
        None => (Framing::Cover, "so that they just cover its input".to_owned()),
    };
    let said = format!(
        "{} does not say how its images are scaled, its metadata lacks adwp.preprocessing: they are \
         scaled {how}",
        model.path().display()
    );
    (framing, Some(said))
}

/// Says where the scores of an image depend on those that are run with it, `batch` at once where the
/// file leaves it open.
pub(crate) fn say_joined(model: &OnnxModel, batch: usize, say: &mut dyn FnMut(&str)) {
    let images = model.input().batch_of(batch);
    let Some(node) = model.joined_by(batch) else { return };
    let file = model.path().display();
    let advice = match model.input().batch {
        BatchSize::Dynamic => "--batch 1 gives each alone",
        BatchSize::Fixed(_) => "the file fixes that, and zeros fill up the last run",
    };
    say(&format!(
        "warning: what {file} gives for an image may depend on the others of its run, {images} at \
         once, through node {}: {advice}",
        short(&node)
    ));
}

/// What is done with pixels: what the file says, or where it says nothing what was asked for.
pub(crate) fn normalization(model: &OnnxModel, asked: Option<&Normalize>) -> Result<Normalization> {
    let file = model.path().display();
    match (model.preparation(), asked) {
        (Some(stated), None) => Ok(Normalization { mean: stated.mean, std: stated.std }),
        (None, Some(asked)) => {
            let (mean, std) = asked.constants(model.input().channels)?;
            Ok(Normalization { mean, std })
        }
        (Some(_), Some(_)) => {
            let text = format!("--normalize: {file} says itself how its images are normalised");
            Err(Failure::input(text))
        }
        (None, None) => {
            Err(Failure::input(format!("{file} does not say how its images are normalised")).hint(
                "its metadata lacks adwp.mean and adwp.std, which files have that adwp exported: \
                 say it with --normalize, such as --normalize imagenet",
            ))
        }
    }
}
