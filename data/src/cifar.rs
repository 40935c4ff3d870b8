//! The binary versions of CIFAR-10 and CIFAR-100.

use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::{DataError, how_to_get};
use crate::kind::DatasetKind;
use crate::part::Part;
use crate::shape::ImageShape;

pub(crate) const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

/// What distinguishes the two data sets.
pub(crate) struct Layout {
    kind: DatasetKind,
    /// The folder that the published archive unpacks to.
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    /// Label bytes before the pixels of a record; the last one counts.
    label_bytes: usize,
    names_file: &'static str,
    names: &'static [&'static str],
    /// Records of each published training file and of the test file.
    published: (usize, usize),
}

pub(crate) const CIFAR10: Layout = Layout {
    kind: DatasetKind::Cifar10,
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
    label_bytes: 1,
    names_file: "batches.meta.txt",
    names: &[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    published: (10_000, 10_000),
};

pub(crate) const CIFAR100: Layout = Layout {
    kind: DatasetKind::Cifar100,
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: &["test.bin"],
    label_bytes: 2,
    names_file: "fine_label_names.txt",
    names: &FINE_NAMES,
    published: (50_000, 10_000),
};

impl Layout {
    /// Bytes of a record.
    fn record(&self) -> usize {
        self.label_bytes + SHAPE.values()
    }

    /// The files of a part, in the order of their images.
    pub(crate) fn files(&self, part: Part) -> &'static [&'static str] {
        match part {
            Part::Train => self.train,
            Part::Test => self.test,
        }
    }

    /// Records that the published `file` has.
    pub(crate) fn published(&self, file: &str) -> usize {
        if self.test.contains(&file) { self.published.1 } else { self.published.0 }
    }

    /// The folder that holds the files: `dir`, or the one inside it that the archive unpacks to.
    pub(crate) fn find(&self, dir: &Path) -> PathBuf {
        let inner = dir.join(self.folder);
        if !dir.join(self.test[0]).is_file() && inner.is_dir() { inner } else { dir.to_owned() }
    }

    /// The class names: from the file where there is one.
    pub(crate) fn classes(&self, folder: &Path) -> Result<Vec<String>, DataError> {
        let path = folder.join(self.names_file);
        if !path.is_file() {
            return Ok(self.names.iter().map(|&name| name.to_owned()).collect());
        }
        let text =
            fs::read_to_string(&path).map_err(|e| DataError::io(&path, "read the file", e))?;
        let names: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        if names.len() != self.names.len() {
            return Err(DataError::ClassNames {
                path,
                found: names.len(),
                expected: self.names.len(),
            });
        }
        Ok(names)
    }

    /// Appends the labels and pixels of one file.
    pub(crate) fn read(
        &self,
        folder: &Path,
        file: &str,
        labels: &mut Vec<u32>,
        pixels: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let path = folder.join(file);
        if !path.is_file() {
            return Err(self.missing(folder, file));
        }
        let bytes = fs::read(&path).map_err(|e| DataError::io(&path, "read the file", e))?;
        let size = self.record();
        if bytes.is_empty() {
            return Err(DataError::EmptyFile(path));
        }
        if !bytes.len().is_multiple_of(size) {
            return Err(DataError::PartialRecord {
                path,
                actual: bytes.len() as u64,
                record: size as u64,
            });
        }
        labels.reserve(bytes.len() / size);
        pixels.reserve(bytes.len() / size * SHAPE.values());
        for (record, content) in bytes.chunks_exact(size).enumerate() {
            let (head, image) = content.split_at(self.label_bytes);
            let value = u32::from(head[self.label_bytes - 1]);
            if value as usize >= self.names.len() {
                let offset = (record * size + self.label_bytes - 1) as u64;
                return Err(DataError::LabelOutOfRange {
                    path,
                    record,
                    offset,
                    value,
                    classes: self.names.len(),
                });
            }
            labels.push(value);
            pixels.extend_from_slice(image);
        }
        Ok(())
    }

    /// Whether a folder, or the one in it that an archive unpacks to, has the files.
    pub(crate) fn is_in(&self, dir: &Path) -> bool {
        let files = || self.train.iter().chain(self.test);
        [dir.to_owned(), dir.join(self.folder)]
            .iter()
            .any(|folder| files().all(|file| folder.join(file).is_file()))
    }

    fn missing(&self, folder: &Path, file: &str) -> DataError {
        let python = [file.trim_end_matches(".bin"), "train", "test"]
            .iter()
            .any(|name| folder.join(name).is_file());
        let advice = if python
            || folder.join("cifar-10-batches-py").is_dir()
            || folder.join("cifar-100-python").is_dir()
        {
            format!(
                "this is the Python version; the binary version is read: {}",
                how_to_get(self.kind)
            )
        } else {
            how_to_get(self.kind)
        };
        DataError::MissingFile { folder: folder.to_owned(), file: file.to_owned(), advice }
    }
}

/// Reads the training or test images from `dir` or from the folder of the archive inside it.
pub(crate) fn load(layout: &Layout, dir: &Path, part: Part) -> Result<Dataset, DataError> {
    let folder = layout.find(dir);
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for file in layout.files(part) {
        layout.read(&folder, file, &mut labels, &mut pixels)?;
    }
    Dataset::from_memory(
        format!("{} {}", layout.kind, part.name()),
        layout.classes(&folder)?,
        SHAPE,
        labels,
        pixels,
    )
}

#[rustfmt::skip]
const FINE_NAMES: [&str; 100] = [
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple_tree", "motorcycle", "mountain", "mouse", "mushroom", "oak_tree", "orange", "orchid",
    "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman",
    "worm",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fine_names_are_sorted_and_distinct() {
        assert!(FINE_NAMES.is_sorted_by(|a, b| a < b));
    }
}
