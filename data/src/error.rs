use std::io;
use std::path::{Path, PathBuf};

use adwp_base::{Failure, Kind};

use crate::kind::DatasetKind;
use crate::shape::ImageShape;

/// Everything that can be wrong with a data set or with what is asked of it. The message says what
/// is wrong and where; [`hint`](Self::hint) says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The text is not the name of a data set.
    #[error("unknown data set `{0}`")]
    UnknownKind(String),
    /// The program was built without the feature `sample` of this crate.
    #[error("the sample images are not part of this program")]
    NoSample,
    /// No folder was given for a kind that is read from one.
    #[error("{0} is read from a folder, and none was given")]
    NoFolderGiven(DatasetKind),
    /// The folder does not exist.
    #[error("{}: no such folder", path.display())]
    MissingFolder {
        /// The folder asked for.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// The path exists but is no folder.
    #[error("{}: not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The folder has nothing in it.
    #[error("{}: the folder is empty", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// What to do.
        advice: String,
    },
    /// A file that the data set consists of is not in its folder.
    #[error("{}: there is no {file} in this folder", folder.display())]
    MissingFile {
        /// The folder searched.
        folder: PathBuf,
        /// The file wanted.
        file: String,
        /// What to do.
        advice: String,
    },
    /// The operating system refused to read.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted, such as "read the file".
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of a data set without content.
    #[error("{}: the file is empty", .0.display())]
    EmptyFile(PathBuf),
    /// A CIFAR file that does not consist of whole records.
    #[error("{}: {actual} bytes are not a whole number of records of {record} bytes: {} records \
             and {} bytes", path.display(), actual / record, actual % record)]
    PartialRecord {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Its size in bytes.
        actual: u64,
        /// Size of one record in bytes.
        record: u64,
    },
    /// A label that no class has.
    #[error("{}: record {record} (byte {offset}) has the label {value}, which must be below \
             {classes}", path.display())]
    LabelOutOfRange {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Number of the record, from 0.
        record: usize,
        /// Offset of the label in the (uncompressed) file.
        offset: u64,
        /// The label found.
        value: u32,
        /// Number of classes.
        classes: usize,
    },
    /// An idx file of another type.
    #[error(
        "{}: starts with 0x{found:08x}, but {what} start with 0x{expected:08x}",
        path.display()
    )]
    IdxMagic {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// What the file should hold, such as "idx images".
        what: &'static str,
        /// The first four bytes of the file.
        found: u32,
        /// The first four bytes such a file has.
        expected: u32,
    },
    /// An idx file that is shorter or longer than its header says.
    #[error(
        "{}: the header promises {expected} bytes (uncompressed), the file has {}",
        path.display(),
        actual.map_or_else(|| "more".to_owned(), |bytes| bytes.to_string())
    )]
    IdxSize {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Bytes that the header implies.
        expected: u64,
        /// Bytes found; none when reading stopped beyond the expected size.
        actual: Option<u64>,
    },
    /// Images of another size than the data set has.
    #[error(
        "{}: images of {found_height}x{found_width} pixels, expected {}x{}",
        path.display(),
        expected.height,
        expected.width
    )]
    IdxShape {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Height in the header.
        found_height: u32,
        /// Width in the header.
        found_width: u32,
        /// The shape of the data set.
        expected: ImageShape,
    },
    /// An images file and a labels file of different length.
    #[error(
        "{} has {images} images, but {} has {labels} labels",
        images_path.display(),
        labels_path.display()
    )]
    CountsDiffer {
        /// The file of images.
        images_path: PathBuf,
        /// Images in it.
        images: usize,
        /// The file of labels.
        labels_path: PathBuf,
        /// Labels in it.
        labels: usize,
    },
    /// A file of class names with another number of names than the data set has classes.
    #[error("{}: {found} class names, expected {expected}", path.display())]
    ClassNames {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Names in it.
        found: usize,
        /// Classes of the data set.
        expected: usize,
    },
    /// A file that cannot be decoded as an image.
    #[error("{}: cannot be read as an image: {reason}", path.display())]
    NotAnImage {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// What the decoder says.
        reason: String,
    },
    /// A file whose content is of no format that is read.
    #[error("{}: cannot be read as an image: {reason}", path.display())]
    UnknownFormat {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// What it looks like.
        reason: String,
    },
    /// An image too large to be decoded in memory.
    #[error("{}: {width}x{height} pixels are more than the {limit} that are read", path.display())]
    TooManyPixels {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Most pixels allowed.
        limit: u64,
    },
    /// The file of an image that is too large to be read into memory.
    #[error("{}: {size} bytes are more than the {limit} that are read of an image", path.display())]
    TooManyBytes {
        /// Path of the file, as it was opened.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Most bytes allowed.
        limit: u64,
    },
    /// A folder without class folders.
    #[error("{}: no class folder in it", .0.display())]
    NoClasses(PathBuf),
    /// A class folder without images.
    #[error("{}: the class folder has no image", .0.display())]
    EmptyClass(PathBuf),
    /// A class of which all images are for testing, in a folder that is divided.
    #[error(
        "{}: of the {images} images of the class none is for training: all are on the side of the \
         test images",
        class.display()
    )]
    NothingToTrain {
        /// The class folder.
        class: PathBuf,
        /// Its images.
        images: usize,
    },
    /// A folder that is divided and too small for it.
    #[error("{}: none of its {images} images is on the side of the test images", folder.display())]
    NothingToTest {
        /// The folder.
        folder: PathBuf,
        /// Its images.
        images: usize,
    },
    /// A share of test images that leaves no others, or none.
    #[error("a share of {0} for testing is not between 0 and 1")]
    ValShare(f64),
    /// A class folder whose name is no text.
    #[error("{}: the name of the class folder is not valid UTF-8", .0.display())]
    ClassNameNotText(PathBuf),
    /// Training and test folder have different classes.
    #[error(
        "{} and {} have different classes: {}",
        train.display(),
        test.display(),
        difference(only_train, only_test)
    )]
    ClassesDiffer {
        /// The folder of training images.
        train: PathBuf,
        /// The folder of test images.
        test: PathBuf,
        /// Classes that only the training folder has.
        only_train: Vec<String>,
        /// Classes that only the test folder has.
        only_test: Vec<String>,
    },
    /// An image size was asked for that this data set cannot give.
    #[error("image size {requested} was asked for, but {kind} gives {allowed}")]
    ImageSize {
        /// The data set.
        kind: DatasetKind,
        /// The size asked for, in pixels.
        requested: usize,
        /// The sizes it gives.
        allowed: String,
    },
    /// Image shape with other channels than one (gray) or three (colour), or without pixels.
    #[error("images cannot be decoded to the shape {0}")]
    Shape(ImageShape),
    /// Parts of a data set in memory that do not fit together.
    #[error("data set `{name}`: {detail}")]
    Inconsistent {
        /// Name of the data set.
        name: String,
        /// What does not fit.
        detail: String,
    },
    /// An image index beyond the end.
    #[error("data set `{name}` has {len} images, there is no image {index}")]
    NoSuchImage {
        /// Name of the data set.
        name: String,
        /// Images in it.
        len: usize,
        /// The index asked for.
        index: usize,
    },
    /// A buffer of the wrong length.
    #[error("a buffer of {actual} values was given where {expected} are needed")]
    BufferLength {
        /// Values needed.
        expected: usize,
        /// Values given.
        actual: usize,
    },
    /// Normalisation constants that cannot be used.
    #[error("normalization: {0}")]
    Normalization(String),
    /// An augmentation that cannot be done: setting and value, or what the images are.
    #[error("augmentation: {0}")]
    Augmentation(String),
    /// A loader setting that makes no sense, and its value.
    #[error("loader: {0}")]
    Loader(String),
    /// A subset or split that cannot be made: what was asked for and what there is.
    #[error("{0}")]
    Selection(String),
    /// A loader thread failed in an unforeseen way.
    #[error("batch {batch}: the loader failed unexpectedly: {message}")]
    LoaderFailed {
        /// The batch being made.
        batch: usize,
        /// The message of the failure.
        message: String,
    },
}

impl DataError {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    pub(crate) fn not_an_image(path: &Path, reason: impl ToString) -> Self {
        Self::NotAnImage { path: path.to_owned(), reason: reason.to_string() }
    }

    /// What to do about it, as one sentence; none where the message says it all.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::UnknownKind { .. } => {
                let names: Vec<&str> = DatasetKind::ALL.iter().map(|kind| kind.name()).collect();
                return Some(format!("use one of {}", names.join(", ")));
            }
            Self::NoSample => {
                "`adwp` has them; this program takes another data set, with its folder"
            }
            Self::NoFolderGiven(kind) => return Some(how_to_get(*kind)),
            Self::MissingFolder { advice, .. }
            | Self::EmptyFolder { advice, .. }
            | Self::MissingFile { advice, .. } => {
                return Some(advice.clone());
            }
            Self::NotAFolder { .. } => "give the folder that holds the files, not one of its files",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::PermissionDenied => {
                    "check who may read the file and the folders above it"
                }
                io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidData
                | io::ErrorKind::UnexpectedEof => "the file is damaged; fetch it again",
                _ => return None,
            },
            Self::PartialRecord { .. } => {
                "the file is truncated, or not the binary version of the data set; fetch it again"
            }
            Self::LabelOutOfRange { .. } => {
                "the file is damaged or belongs to another data set; fetch it again"
            }
            Self::IdxMagic { .. } => {
                "images and labels may be swapped, or the file is not an idx file; fetch it again"
            }
            Self::EmptyFile { .. } | Self::IdxSize { .. } => {
                "the file is truncated or damaged; fetch it again"
            }
            Self::IdxShape { .. } | Self::CountsDiffer { .. } => {
                "the files may belong to different data sets; fetch them again"
            }
            Self::ClassNames { .. } => {
                "correct the file, or remove it: the built-in names are used then"
            }
            Self::UnknownFormat { .. } => {
                "replace or remove the file, or convert it to JPEG or PNG; `adwp data check` lists \
                 all such files of a data set"
            }
            Self::NotAnImage { .. } => {
                "replace or remove the file; `adwp data check` lists all such files of a data set"
            }
            Self::TooManyPixels { .. } | Self::TooManyBytes { .. } => "scale the image down",
            Self::NoClasses { .. } => {
                "put the images of each class in a folder of their own, named like the class"
            }
            Self::EmptyClass { .. } => {
                "remove the folder, or put images in it (.jpg, .png and the like)"
            }
            Self::NothingToTrain { .. } | Self::NothingToTest { .. } => {
                "add images, or divide them yourself: train/CLASS/* and val/CLASS/*"
            }
            Self::ValShare(_) => "a usual one is 0.2",
            Self::ClassNameNotText { .. } => "rename the folder",
            Self::ClassesDiffer { .. } => {
                "both folders need the same class folders with the same names"
            }
            Self::ImageSize { .. } => "give another image size",
            Self::Shape { .. } => {
                "use 1 or 3 channels, and a height and width of at least one pixel"
            }
            Self::Inconsistent { .. }
            | Self::NoSuchImage { .. }
            | Self::BufferLength { .. }
            | Self::Augmentation { .. }
            | Self::Loader { .. }
            | Self::Selection { .. } => return None,
            Self::Normalization { .. } => {
                "give one mean and one positive standard deviation per channel"
            }
            Self::LoaderFailed { .. } => {
                "this is a defect of the program; please report it with the message"
            }
        };
        Some(text.to_owned())
    }
}

/// How a user gets the files of a data set and says where they are.
pub(crate) fn how_to_get(kind: DatasetKind) -> String {
    match kind {
        DatasetKind::Sample => "the sample is part of the program and needs no folder".to_owned(),
        DatasetKind::FashionMnist => {
            "the Debian package dataset-fashion-mnist has the four idx files; give their folder with \
             `--data DIR`"
                .to_owned()
        }
        DatasetKind::Cifar10 | DatasetKind::Cifar100 => {
            "www.cs.toronto.edu/~kriz/cifar.html has the binary version; give its folder with \
             `--data DIR`"
                .to_owned()
        }
        DatasetKind::ImageFolder => {
            "give a folder with `--data DIR` that holds train/CLASS/*.jpg and val/CLASS/*.jpg"
                .to_owned()
        }
    }
}

fn difference(only_train: &[String], only_test: &[String]) -> String {
    const SHOWN: usize = 8;
    let list = |names: &[String]| {
        let mut text =
            names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        if names.len() > SHOWN {
            text.push_str(&format!(" and {} more", names.len() - SHOWN));
        }
        text
    };
    let mut parts = Vec::new();
    if !only_train.is_empty() {
        parts.push(format!("only the first has {}", list(only_train)));
    }
    if !only_test.is_empty() {
        parts.push(format!("only the second has {}", list(only_test)));
    }
    parts.join("; ")
}

impl From<DataError> for Failure {
    fn from(e: DataError) -> Self {
        Self::of(Kind::Input, &e, e.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_record_says_how_many_bytes_are_over() {
        let error = DataError::PartialRecord {
            path: "data_batch_1.bin".into(),
            actual: 6150,
            record: 3073,
        };
        assert_eq!(
            error.to_string(),
            "data_batch_1.bin: 6150 bytes are not a whole number of records of 3073 bytes: 2 \
             records and 4 bytes"
        );
    }

    #[test]
    fn long_class_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|i| format!("c{i}")).collect();
        let text = difference(&names, &["x".to_owned()]);
        assert!(text.contains("`c7` and 2 more; only the second has `x`"), "{text}");
        assert!(!text.contains("c8"));
    }
}
