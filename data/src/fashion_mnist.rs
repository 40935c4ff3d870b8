use std::path::{Path, PathBuf};

use crate::dataset::Dataset;
use crate::error::{DataError, how_to_get};
use crate::idx;
use crate::kind::DatasetKind;
use crate::part::Part;
use crate::shape::ImageShape;

pub(crate) const SHAPE: ImageShape = ImageShape { channels: 1, height: 28, width: 28 };

/// The class names in the order of the labels, as the authors of the data set give them.
pub(crate) const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// How the names of a part's files begin.
const fn stem(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Test => "t10k",
    }
}

/// Images in the published files of a part.
pub(crate) const fn published(part: Part) -> usize {
    match part {
        Part::Train => 60_000,
        Part::Test => 10_000,
    }
}

/// Reads one part from the folder that holds the four files.
pub(crate) fn load(dir: &Path, part: Part) -> Result<Dataset, DataError> {
    let images_path = find(dir, &format!("{}-images-idx3-ubyte", stem(part)))?;
    let labels_path = find(dir, &format!("{}-labels-idx1-ubyte", stem(part)))?;
    let labels = Idx { path: &labels_path, bytes: &idx::read(&labels_path)? };
    let images = Idx { path: &images_path, bytes: &idx::read(&images_path)? };
    assemble(&format!("fashion-mnist {}", part.name()), images, labels)
}

/// Whether a folder has the four files.
pub(crate) fn is_in(dir: &Path) -> bool {
    let is_there = |part: Part| {
        ["images-idx3", "labels-idx1"]
            .iter()
            .all(|what| find(dir, &format!("{}-{what}-ubyte", stem(part))).is_ok())
    };
    is_there(Part::Train) && is_there(Part::Test)
}

/// An idx file in memory.
pub(crate) struct Idx<'a> {
    /// Named in messages.
    pub(crate) path: &'a Path,
    pub(crate) bytes: &'a [u8],
}

/// Joins the images of one file with the labels of another.
pub(crate) fn assemble(name: &str, images: Idx<'_>, labels: Idx<'_>) -> Result<Dataset, DataError> {
    let (images_path, labels_path) = (images.path, labels.path);
    let labels = idx::labels(labels_path, labels.bytes, CLASSES.len())?;
    let pixels = idx::images(images_path, images.bytes, SHAPE)?;
    let images = pixels.len() / SHAPE.values();
    if images != labels.len() {
        return Err(DataError::CountsDiffer {
            images_path: images_path.to_owned(),
            images,
            labels_path: labels_path.to_owned(),
            labels: labels.len(),
        });
    }
    Dataset::from_memory(name, CLASSES.map(str::to_owned).to_vec(), SHAPE, labels, pixels)
}

fn find(dir: &Path, name: &str) -> Result<PathBuf, DataError> {
    // Some downloads write a dot where the original has a hyphen.
    let dotted = name.replace("-idx", ".idx");
    [name.to_owned(), format!("{name}.gz"), dotted.clone(), format!("{dotted}.gz")]
        .iter()
        .map(|file| dir.join(file))
        .find(|path| path.is_file())
        .ok_or_else(|| DataError::MissingFile {
            folder: dir.to_owned(),
            file: format!("{name}[.gz]"),
            advice: how_to_get(DatasetKind::FashionMnist),
        })
}
