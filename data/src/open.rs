use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use crate::cifar::{self, CIFAR10, CIFAR100};
use crate::dataset::Dataset;
use crate::error::{DataError, how_to_get};
use crate::fashion_mnist;
use crate::folder;
use crate::kind::DatasetKind;
use crate::normalization::Normalization;
use crate::part::Part;
use crate::sample;
use crate::shape::ImageShape;
use crate::sides::VAL_SHARE;

/// Height and width of the images of an image folder when none is asked for.
pub const DEFAULT_IMAGE_SIZE: usize = 224;
/// The largest height and width that images can be read at.
pub const LARGEST_IMAGE_SIZE: usize = 4096;

impl FromStr for DatasetKind {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| DataError::UnknownKind(text.to_owned()))
    }
}

/// How to read a data set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OpenOptions {
    /// Height and width in pixels. When none, [`DEFAULT_IMAGE_SIZE`] for image folders and the size
    /// that they have for the other data sets, whose images are scaled to any other size.
    pub image_size: Option<usize>,
    /// Of an image folder without parts, the share of images that are for testing: greater than 0
    /// and less than 1. When none, [`VAL_SHARE`].
    pub val_share: Option<f64>,
}

/// Training and test images, and the constants to normalise both with.
#[derive(Clone, Debug)]
pub struct Splits {
    /// The training images.
    pub train: Arc<Dataset>,
    /// The test images, with the same classes in the same order. For an image folder those of
    /// `val`, or of `test` when there is no `val`.
    pub test: Arc<Dataset>,
    /// Mean and standard deviation per channel.
    pub normalization: Normalization,
}

/// Reads both halves of a data set. `dir` is the folder with its files; [`DatasetKind::Sample`] needs
/// none and ignores it.
///
/// CIFAR and Fashion-MNIST are read into memory; [`Dataset`] says when they are scaled. Of an image
/// folder only the names are read now; training images are scaled so that the shorter side has the
/// image size, test images by [`EVALUATION_MARGIN`](crate::EVALUATION_MARGIN) more, and the centre
/// is cut out of both.
///
/// An image folder has `train/CLASS/*` and `val/CLASS/*`; in the place of `val` `valid`, `validation`
/// or `test`. Where it has `CLASS/*` alone, or `train` alone, what an image shows decides whether it
/// is for training or for testing: the same image, in any format and size, always is for the same,
/// whatever else is there. A file in a class folder is an image when
/// its first bytes are those of one, whatever it is called. It is also taken for one, and has to be
/// readable, when it ends in jpg, jpeg, jpe, jfif, png, apng, webp, bmp, dib, gif, tif, tiff or qoi,
/// capital letters or not. Left out are files that begin like an image and are not meant as one:
/// copies and unfinished files by their ending (bak, backup, old, orig, tmp, part, partial,
/// crdownload, ~), and those that begin like a TIFF and have an ending other than the above, since
/// raw photographs do. [`Dataset::left_out`] has the rest.
///
/// # Errors
/// When the folder or one of its files is missing, damaged or not what was asked for;
/// [`DataError::hint`] says what to do.
pub fn open(
    kind: DatasetKind,
    dir: Option<&Path>,
    options: &OpenOptions,
) -> Result<Splits, DataError> {
    let (train, test) = match kind {
        DatasetKind::ImageFolder => {
            let size = image_size(kind, options)?;
            folder::load(existing(kind, dir)?, size, val_share(options)?)?
        }
        _ => (
            open_part(kind, dir, Part::Train, options)?,
            open_part(kind, dir, Part::Test, options)?,
        ),
    };
    Ok(Splits {
        train: Arc::new(train),
        test: Arc::new(test),
        normalization: Normalization::of(kind),
    })
}

/// Reads one half of a data set as [`open`] does; the files of the other need not be there.
///
/// # Errors
/// Those of [`open`], of this half.
pub fn open_part(
    kind: DatasetKind,
    dir: Option<&Path>,
    part: Part,
    options: &OpenOptions,
) -> Result<Dataset, DataError> {
    let size = image_size(kind, options)?;
    let images = match kind {
        DatasetKind::Sample => sample::load(part)?,
        DatasetKind::FashionMnist => fashion_mnist::load(existing(kind, dir)?, part)?,
        DatasetKind::Cifar10 => cifar::load(&CIFAR10, existing(kind, dir)?, part)?,
        DatasetKind::Cifar100 => cifar::load(&CIFAR100, existing(kind, dir)?, part)?,
        DatasetKind::ImageFolder => {
            folder::load_part(existing(kind, dir)?, part, size, val_share(options)?)?
        }
    };
    let shape = ImageShape { height: size, width: size, ..images.shape() };
    images.in_shape(shape).ok_or(DataError::Shape(shape))
}

/// The folder, if it is one and not empty.
pub(crate) fn existing(kind: DatasetKind, dir: Option<&Path>) -> Result<&Path, DataError> {
    let dir = dir.ok_or(DataError::NoFolderGiven(kind))?;
    let path = dir.to_owned();
    if !dir.exists() {
        return Err(DataError::MissingFolder { path, advice: how_to_get(kind) });
    }
    if !dir.is_dir() {
        return Err(DataError::NotAFolder(path));
    }
    let mut entries = fs::read_dir(dir).map_err(|e| DataError::io(dir, "list the folder", e))?;
    if entries.next().is_none() {
        return Err(DataError::EmptyFolder { path, advice: how_to_get(kind) });
    }
    Ok(dir)
}

impl DatasetKind {
    /// Height and width of its images where no other size is asked for.
    #[must_use]
    pub fn image_size(self) -> usize {
        match self {
            Self::Sample | Self::FashionMnist => fashion_mnist::SHAPE.height,
            Self::Cifar10 | Self::Cifar100 => cifar::SHAPE.height,
            Self::ImageFolder => DEFAULT_IMAGE_SIZE,
        }
    }
}

fn image_size(kind: DatasetKind, options: &OpenOptions) -> Result<usize, DataError> {
    let requested = options.image_size.unwrap_or(kind.image_size());
    if !(1..=LARGEST_IMAGE_SIZE).contains(&requested) {
        return Err(DataError::ImageSize {
            kind,
            requested,
            allowed: format!("sizes of 1 to {LARGEST_IMAGE_SIZE}"),
        });
    }
    Ok(requested)
}

fn val_share(options: &OpenOptions) -> Result<f64, DataError> {
    let share = options.val_share.unwrap_or(VAL_SHARE);
    if share > 0.0 && share < 1.0 { Ok(share) } else { Err(DataError::ValShare(share)) }
}

/// The folder of an image folder whose images are not apart for training and testing, so that
/// [`open`] puts them on two sides; none of another data set.
#[must_use]
pub fn undivided(kind: DatasetKind, dir: Option<&Path>) -> Option<&Path> {
    dir.filter(|dir| kind == DatasetKind::ImageFolder && folder::flat(dir).is_some())
}

/// The kind whose files a folder has; `None` where they are none of a known kind. No file is
/// opened.
#[must_use]
pub fn kind_of_folder(dir: &Path) -> Option<DatasetKind> {
    let is_it = |kind: &DatasetKind| match kind {
        DatasetKind::Sample => false,
        DatasetKind::FashionMnist => fashion_mnist::is_in(dir),
        DatasetKind::Cifar10 => CIFAR10.is_in(dir),
        DatasetKind::Cifar100 => CIFAR100.is_in(dir),
        DatasetKind::ImageFolder => folder::is_in(dir),
    };
    DatasetKind::ALL.into_iter().find(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_set_has_a_size_and_takes_others() {
        let ask = |kind, image_size| {
            super::image_size(kind, &OpenOptions { image_size, ..OpenOptions::default() })
        };
        let refused = |kind, size| match ask(kind, Some(size)) {
            Err(DataError::ImageSize { requested, .. }) => requested == size,
            _ => false,
        };
        assert_eq!(ask(DatasetKind::Cifar10, None).unwrap(), 32);
        assert_eq!(ask(DatasetKind::Cifar10, Some(16)).unwrap(), 16);
        assert_eq!(ask(DatasetKind::ImageFolder, None).unwrap(), DEFAULT_IMAGE_SIZE);
        assert_eq!(ask(DatasetKind::ImageFolder, Some(160)).unwrap(), 160);
        assert!(
            refused(DatasetKind::ImageFolder, 0)
                && refused(DatasetKind::Sample, LARGEST_IMAGE_SIZE + 1)
        );
    }

    #[test]
    fn a_half_is_what_the_whole_has() {
        let options = OpenOptions { image_size: Some(9), ..OpenOptions::default() };
        let both = open(DatasetKind::Sample, None, &options).unwrap();
        for (part, whole) in [(Part::Train, &both.train), (Part::Test, &both.test)] {
            let half = open_part(DatasetKind::Sample, None, part, &options).unwrap();
            assert_eq!((half.name(), half.shape()), (whole.name(), whole.shape()));
            assert_eq!(half.labels(), whole.labels());
            let (mut one, mut other) = ([0; 81], [0; 81]);
            half.read_image(7, &mut one).unwrap();
            whole.read_image(7, &mut other).unwrap();
            assert_eq!(one, other);
        }
    }

    #[test]
    fn images_in_memory_are_scaled_to_the_size_asked_for() {
        let native = open(DatasetKind::Sample, None, &OpenOptions::default()).unwrap();
        let half = open(
            DatasetKind::Sample,
            None,
            &OpenOptions { image_size: Some(14), ..OpenOptions::default() },
        )
        .unwrap();
        assert_eq!((half.train.shape().height, half.test.shape().width), (14, 14));
        assert_eq!(
            (half.train.labels(), half.train.len()),
            (native.train.labels(), native.train.len())
        );
        let mean = |dataset: &Dataset, image| {
            let mut pixels = vec![0; dataset.shape().values()];
            dataset.read_image(image, &mut pixels).unwrap();
            pixels.iter().map(|&v| f64::from(v)).sum::<f64>() / pixels.len() as f64
        };
        for image in [0, 17, 999] {
            let (before, after) = (mean(&native.test, image), mean(&half.test, image));
            assert!((before - after).abs() < 4.0, "{before} {after}");
        }
    }
}
