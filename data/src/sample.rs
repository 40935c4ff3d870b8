//! A part of Fashion-MNIST that is compiled in, so that everything works without a download.
//! `sample/make.py` made the files; their licence is in the same folder.

use std::path::Path;

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::fashion_mnist::{Idx, assemble};
use crate::part::Part;

/// A gzipped file, empty where the samples are left out of the program.
macro_rules! file {
    ($name:literal) => {
        if cfg!(feature = "sample") {
            include_bytes!(concat!("../sample/", $name, "-ubyte.gz"))
        } else {
            &[]
        }
    };
}

const TRAIN_IMAGES: &[u8] = file!("train-images-idx3");
const TRAIN_LABELS: &[u8] = file!("train-labels-idx1");
const TEST_IMAGES: &[u8] = file!("t10k-images-idx3");
const TEST_LABELS: &[u8] = file!("t10k-labels-idx1");

/// The first 600 training images or the first 100 test images of every class, in their original
/// order.
///
/// # Errors
/// [`DataError::NoSample`] without the feature `sample`.
pub(crate) fn load(part: Part) -> Result<Dataset, DataError> {
    if !cfg!(feature = "sample") {
        return Err(DataError::NoSample);
    }
    let (images, labels) = match part {
        Part::Train => (TRAIN_IMAGES, TRAIN_LABELS),
        Part::Test => (TEST_IMAGES, TEST_LABELS),
    };
    assemble(
        &format!("sample {}", part.name()),
        Idx { path: Path::new("embedded sample images"), bytes: images },
        Idx { path: Path::new("embedded sample labels"), bytes: labels },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fashion_mnist::CLASSES;
    use crate::kind::DatasetKind;
    use crate::normalization::Normalization;

    #[test]
    fn the_sample_is_balanced() {
        let train = load(Part::Train).unwrap();
        let test = load(Part::Test).unwrap();
        assert_eq!(train.class_counts(), [600; 10]);
        assert_eq!(test.class_counts(), [100; 10]);
        assert_eq!(train.classes(), CLASSES);
    }

    #[test]
    fn the_sample_starts_like_fashion_mnist() {
        let train = load(Part::Train).unwrap();
        // The first labels of the original file; no class is used up among them.
        assert_eq!(train.labels()[..12], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9]);
        let mut boot = vec![0; 784];
        train.read_image(0, &mut boot).unwrap();
        assert_eq!(boot.iter().map(|&v| u32::from(v)).sum::<u32>(), FIRST_IMAGE_SUM);
    }

    /// Of the pixels of the first image of the original file.
    const FIRST_IMAGE_SUM: u32 = 76_247;

    #[test]
    fn the_constants_are_those_of_the_training_images() {
        let measured = Normalization::measure(&load(Part::Train).unwrap()).unwrap();
        assert_eq!(measured, Normalization::of(DatasetKind::Sample));
    }
}
