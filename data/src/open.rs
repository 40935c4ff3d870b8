use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::cifar::{self, CIFAR10, CIFAR100, Layout};
use crate::dataset::Dataset;
use crate::error::{DataError, how_to_get};
use crate::fashion_mnist::{self, Part};
use crate::folder;
use crate::kind::DatasetKind;
use crate::normalization::Normalization;
use crate::sample;

/// Height and width of the images of an image folder when none is asked for.
pub const DEFAULT_IMAGE_SIZE: usize = 224;
/// The largest height and width an image folder can be read at.
pub const LARGEST_IMAGE_SIZE: usize = 4096;

/// How to read a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Height and width in pixels. For image folders, [`DEFAULT_IMAGE_SIZE`] when none; the other data sets have one
    /// size, and asking for another is an error.
    pub image_size: Option<usize>,
}

/// Training and test images, and the constants to normalise both with.
#[derive(Clone, Debug)]
pub struct Splits {
    /// The training images.
    pub train: Arc<Dataset>,
    /// The test images, with the same classes in the same order. For an image folder those of `val`, or of `test`
    /// when there is no `val`.
    pub test: Arc<Dataset>,
    /// Mean and standard deviation per channel.
    pub normalization: Normalization,
}

/// Reads a data set. `dir` is the folder with its files; [`DatasetKind::Sample`] needs none and ignores it.
///
/// CIFAR and Fashion-MNIST are read into memory. Of an image folder only the names are read now; training images are
/// scaled so that the shorter side has the image size, test images by [`EVALUATION_MARGIN`](crate::EVALUATION_MARGIN)
/// more, and the centre is cut out of both.
///
/// # Errors
/// When the folder or one of its files is missing, damaged or not what was asked for; [`DataError::hint`] says what to
/// do.
pub fn open(kind: DatasetKind, dir: Option<&Path>, options: &OpenOptions) -> Result<Splits, DataError> {
    let size = image_size(kind, options)?;
    let (train, test) = match kind {
        DatasetKind::Sample => (sample::load(Part::Train)?, sample::load(Part::Test)?),
        DatasetKind::FashionMnist => {
            let dir = existing(kind, dir)?;
            (fashion_mnist::load(dir, Part::Train)?, fashion_mnist::load(dir, Part::Test)?)
        }
        DatasetKind::Cifar10 => open_cifar(&CIFAR10, existing(kind, dir)?)?,
        DatasetKind::Cifar100 => open_cifar(&CIFAR100, existing(kind, dir)?)?,
        DatasetKind::ImageFolder => folder::load(existing(kind, dir)?, size)?,
    };
    Ok(Splits { train: Arc::new(train), test: Arc::new(test), normalization: Normalization::of(kind) })
}

fn open_cifar(layout: &Layout, dir: &Path) -> Result<(Dataset, Dataset), DataError> {
    Ok((cifar::load(layout, dir, "train", layout.train)?, cifar::load(layout, dir, "test", layout.test)?))
}

/// The folder, if it is one and not empty.
pub(crate) fn existing(kind: DatasetKind, dir: Option<&Path>) -> Result<&Path, DataError> {
    let dir = dir.ok_or(DataError::NoFolderGiven { kind })?;
    let path = dir.to_owned();
    if !dir.exists() {
        return Err(DataError::MissingFolder { path, advice: how_to_get(kind) });
    }
    if !dir.is_dir() {
        return Err(DataError::NotAFolder { path });
    }
    let mut entries = fs::read_dir(dir).map_err(|e| DataError::io(dir, "list the folder", e))?;
    if entries.next().is_none() {
        return Err(DataError::EmptyFolder { path, advice: how_to_get(kind) });
    }
    Ok(dir)
}

fn image_size(kind: DatasetKind, options: &OpenOptions) -> Result<usize, DataError> {
    let native = match kind {
        DatasetKind::Sample | DatasetKind::FashionMnist => Some(fashion_mnist::SHAPE.height),
        DatasetKind::Cifar10 | DatasetKind::Cifar100 => Some(cifar::SHAPE.height),
        DatasetKind::ImageFolder => None,
    };
    let requested = options.image_size.or(native).unwrap_or(DEFAULT_IMAGE_SIZE);
    match native {
        Some(native) if requested != native => {
            Err(DataError::ImageSize { kind, requested, allowed: format!("images of {native}x{native}") })
        }
        None if !(1..=LARGEST_IMAGE_SIZE).contains(&requested) => {
            Err(DataError::ImageSize { kind, requested, allowed: format!("sizes of 1 to {LARGEST_IMAGE_SIZE}") })
        }
        _ => Ok(requested),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_image_folders_have_a_size_to_choose() {
        let ask = |kind, size| image_size(kind, &OpenOptions { image_size: size });
        let refused = |kind, size| matches!(ask(kind, Some(size)), Err(DataError::ImageSize { requested, .. }) if requested == size);
        assert_eq!(ask(DatasetKind::Cifar10, Some(32)).unwrap(), 32);
        assert!(refused(DatasetKind::Cifar10, 224));
        assert_eq!(ask(DatasetKind::ImageFolder, None).unwrap(), DEFAULT_IMAGE_SIZE);
        assert_eq!(ask(DatasetKind::ImageFolder, Some(160)).unwrap(), 160);
        assert!(refused(DatasetKind::ImageFolder, 0));
        assert!(refused(DatasetKind::ImageFolder, LARGEST_IMAGE_SIZE + 1));
    }
}
