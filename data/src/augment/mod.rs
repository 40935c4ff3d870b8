//! Random changes to training images, in the order in which they happen:
//! resized crop, padded crop, flip, AutoAugment, colour jitter, normalisation, cutout.
//!
//! The crop of padded images, flips and holes are drawn as a [`Placement`], which a GPU can follow
//! too. All else changes pixels ([`Augmentation::changes_pixels`]) and is drawn while it is done,
//! from a generator of its own.

mod affine;
mod auto_augment;
mod canvas;
mod color;
mod color_jitter;
mod lookup;
mod placement;
mod resized_crop;
mod sharpness;
#[cfg(test)]
mod torchvision;

use rand::Rng;
use serde::{Deserialize, Serialize};

pub use auto_augment::AutoAugment;
pub(crate) use canvas::Canvas;
pub use color_jitter::ColorJitter;
pub use placement::Placement;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::random::below;
use crate::shape::ImageShape;

/// Random changes to training images; 0, false and `off` turn each off. They happen in the order of
/// the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Least share of a picture's area, 0 to 1, that a crop at a random place shows; the usual is
    /// 0.08. The crop, of a random area up to the whole and a random aspect ratio of 3/4 to 4/3, is
    /// taken from the picture as its file has it and scaled to the size of the images. The
    /// Inception crop (Szegedy et al., CVPR 2015, section 6), as torchvision's `RandomResizedCrop`
    /// does it.
    #[serde(default)]
    pub resized_crop: f32,
    /// Pixels of black added on every side before a crop of the original size is taken at a random
    /// place. Black is normalised like every pixel.
    pub crop_padding: usize,
    /// Mirror left and right with probability one half.
    pub flip: bool,
    /// Pairs of operations that a search found for a data set.
    #[serde(default)]
    pub auto_augment: AutoAugment,
    /// Random brightness, contrast, saturation and hue.
    #[serde(default)]
    pub color_jitter: ColorJitter,
    /// Side in pixels of a square that is set to zero after normalisation. Its centre is a
    /// uniformly random pixel; what lies beyond the border is cut off.
    pub cutout: usize,
}

impl Augmentation {
    /// No change: for evaluation.
    pub const NONE: Self = Self {
        resized_crop: 0.0,
        crop_padding: 0,
        flip: false,
        auto_augment: AutoAugment::Off,
        color_jitter: ColorJitter::OFF,
        cutout: 0,
    };
    /// What DARTS uses to train on CIFAR: padding 4, flip, cutout 16.
    pub const CIFAR: Self = Self { crop_padding: 4, flip: true, cutout: 16, ..Self::NONE };

    /// The same for images whose side is `to` pixels instead of `from`: lengths in pixels follow,
    /// to the nearest pixel.
    #[must_use]
    pub fn scaled(self, from: usize, to: usize) -> Self {
        let scaled = |pixels: usize| (pixels * to + from / 2) / from.max(1);
        Self { crop_padding: scaled(self.crop_padding), cutout: scaled(self.cutout), ..self }
    }

    /// Checks that every number is in its range.
    ///
    /// # Errors
    /// [`DataError::Augmentation`] names the first that is not.
    pub fn validate(&self) -> Result<(), DataError> {
        if !(0.0..=1.0).contains(&self.resized_crop) {
            let detail =
                format!("resized_crop = {} is no share of an area, 0 to 1", self.resized_crop);
            return Err(DataError::Augmentation(detail));
        }
        self.color_jitter.validate()
    }

    /// Whether it does more than a [`Placement`] says: values of pixels change, or the images
    /// themselves depend on what is drawn. Then batches come with pixels from the host
    /// ([`LoaderConfig::pixels`](crate::LoaderConfig::pixels)).
    #[must_use]
    pub fn changes_pixels(&self) -> bool {
        self.resized_crop > 0.0
            || self.auto_augment != AutoAugment::Off
            || self.color_jitter != ColorJitter::OFF
    }

    /// Checks that images of `shape` can be changed so.
    pub(crate) fn check(&self, shape: ImageShape) -> Result<(), DataError> {
        self.validate()?;
        if self.changes_pixels() && !matches!(shape.channels, 1 | 3) {
            let detail =
                format!("pixels are changed of images with one channel or three, not of {shape}");
            return Err(DataError::Augmentation(detail));
        }
        Ok(())
    }

    /// Draws what happens to one image of `shape` apart from changes of pixels.
    pub(crate) fn place(&self, shape: ImageShape, rng: &mut impl Rng) -> Placement {
        let ImageShape { height, width, .. } = shape;
        let mut placement = Placement::default();
        if self.crop_padding > 0 {
            let places = self.crop_padding.saturating_mul(2).saturating_add(1);
            placement.down = shift(below(rng, places), self.crop_padding, height);
            placement.right = shift(below(rng, places), self.crop_padding, width);
        }
        placement.mirrored = self.flip && below(rng, 2) == 1;
        if self.cutout > 0 {
            let (y, x) = (below(rng, height), below(rng, width));
            (placement.hole_rows, placement.hole_columns) =
                (self.hole(y, height), self.hole(x, width));
        }
        placement
    }

    /// First position of the square along one axis, and the one behind its last.
    fn hole(&self, centre: usize, length: usize) -> (usize, usize) {
        let before = self.cutout / 2;
        (centre.saturating_sub(before), centre.saturating_add(self.cutout - before).min(length))
    }

    /// Puts image `index` on the canvas as it is before normalisation, with all changes but the
    /// hole.
    pub(crate) fn render(
        &self,
        dataset: &Dataset,
        index: usize,
        placement: &Placement,
        rng: &mut impl Rng,
        canvas: &mut Canvas,
    ) -> Result<(), DataError> {
        if self.resized_crop > 0.0 {
            let choose = |width, height| resized_crop::draw(self.resized_crop, width, height, rng);
            dataset.read_region(index, choose, canvas.pixels_mut())?;
        } else {
            dataset.read_image(index, canvas.pixels_mut())?;
        }
        canvas.crop(placement);
        self.auto_augment.apply(canvas, rng);
        self.color_jitter.apply(canvas, rng);
        Ok(())
    }
}

/// How far from the image's edge a crop of its size begins that lies `offset` behind the edge of
/// the padding. Farther than the image is long makes no difference.
fn shift(offset: usize, padding: usize, length: usize) -> isize {
    // No image has a side beyond an isize: its pixels are in memory.
    let distance = offset.abs_diff(padding).min(length) as isize;
    if offset < padding { -distance } else { distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_from_before_a_change_was_known_are_those_without_it() {
        let old: Augmentation =
            serde_json::from_str(r#"{ "crop_padding": 4, "flip": true, "cutout": 16 }"#).unwrap();
        assert_eq!(old, Augmentation::CIFAR);
        let new = r#"{ "crop_padding": 0, "flip": true, "cutout": 0,
            "resized_crop": 0.08, "auto_augment": "imagenet", "color_jitter": { "hue": 0.1 } }"#;
        let new: Augmentation = serde_json::from_str(new).unwrap();
        let color_jitter = ColorJitter { hue: 0.1, ..ColorJitter::OFF };
        let expected = Augmentation {
            resized_crop: 0.08,
            flip: true,
            auto_augment: AutoAugment::Imagenet,
            color_jitter,
            ..Augmentation::NONE
        };
        assert_eq!(new, expected);
        assert_eq!(
            serde_json::from_str::<Augmentation>(&serde_json::to_string(&new).unwrap()).unwrap(),
            new
        );
        for unknown in [
            r#"{ "crop_padding": 0, "flip": true, "cutout": 0, "colour": 1 }"#,
            r#"{ "cutout": 0, "color_jitter": { "x": 1 } }"#,
        ] {
            assert!(serde_json::from_str::<Augmentation>(unknown).is_err());
        }
    }

    #[test]
    fn a_share_of_an_area_is_checked() {
        for share in [-0.1, 1.1, f32::NAN] {
            let error =
                Augmentation { resized_crop: share, ..Augmentation::NONE }.validate().unwrap_err();
            assert!(error.to_string().contains("resized_crop = "), "{error}");
        }
        Augmentation { resized_crop: 1.0, ..Augmentation::CIFAR }.validate().unwrap();
    }

    #[test]
    fn what_a_placement_says_changes_no_pixels() {
        assert!(!Augmentation::NONE.changes_pixels() && !Augmentation::CIFAR.changes_pixels());
        let hue = ColorJitter { hue: 0.1, ..ColorJitter::OFF };
        assert!(Augmentation { resized_crop: 0.08, ..Augmentation::CIFAR }.changes_pixels());
        assert!(
            Augmentation { auto_augment: AutoAugment::Cifar10, ..Augmentation::CIFAR }
                .changes_pixels()
        );
        assert!(Augmentation { color_jitter: hue, ..Augmentation::CIFAR }.changes_pixels());
    }

    #[test]
    fn lengths_follow_the_size_of_the_images() {
        let scaled = Augmentation::CIFAR.scaled(32, 16);
        assert_eq!((scaled.crop_padding, scaled.cutout, scaled.flip), (2, 8, true));
        // 4 × 20 / 28 = 2.86, 16 × 20 / 28 = 11.4
        let scaled = Augmentation::CIFAR.scaled(28, 20);
        assert_eq!((scaled.crop_padding, scaled.cutout), (3, 11));
        assert_eq!(Augmentation::CIFAR.scaled(32, 32), Augmentation::CIFAR);
        assert_eq!(Augmentation::NONE.scaled(32, 8), Augmentation::NONE);
    }
}
