//! Image folders: `train/CLASS/*` and `val/CLASS/*` (or `test/CLASS/*`) below one folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Files};
use crate::error::{DataError, how_to_get};
use crate::kind::DatasetKind;
use crate::resize::Framing;
use crate::shape::ImageShape;

const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Names of the folder of test images, the first that exists counts.
const TEST_FOLDERS: [&str; 2] = ["val", "test"];

/// One split as it lies on disk.
pub(crate) struct Listing {
    pub(crate) root: PathBuf,
    pub(crate) classes: Vec<String>,
    /// File names of each class, sorted.
    pub(crate) files: Vec<Vec<Box<OsStr>>>,
    /// What is passed over: files that are no images by their ending, or not in a class folder, and
    /// folders in class folders.
    pub(crate) ignored: usize,
}

/// What a folder holds, and everything that is wrong with it.
pub(crate) struct Scan {
    pub(crate) train: Option<Listing>,
    pub(crate) test: Option<Listing>,
    pub(crate) problems: Vec<DataError>,
}

/// Lists both splits without opening an image.
pub(crate) fn scan(dir: &Path) -> Scan {
    let mut problems = Vec::new();
    let mut split =
        |names: &[&str]| match names.iter().map(|name| dir.join(name)).find(|path| path.is_dir()) {
            Some(root) => list(root, &mut problems),
            None => {
                problems.push(DataError::MissingFile {
                    folder: dir.to_owned(),
                    file: format!("folder `{}`", names.join("` or `")),
                    advice: how_to_get(DatasetKind::ImageFolder),
                });
                None
            }
        };
    let train = split(&["train"]);
    let test = split(&TEST_FOLDERS);
    if let (Some(train), Some(test)) = (&train, &test) {
        let missing_in = |these: &[String], those: &[String]| -> Vec<String> {
            these.iter().filter(|name| those.binary_search(name).is_err()).cloned().collect()
        };
        let only_train = missing_in(&train.classes, &test.classes);
        let only_test = missing_in(&test.classes, &train.classes);
        if !(only_train.is_empty() && only_test.is_empty()) {
            let (train, test) = (train.root.clone(), test.root.clone());
            problems.push(DataError::ClassesDiffer { train, test, only_train, only_test });
        }
    }
    Scan { train, test, problems }
}

/// Whether a folder has class folders for training and for testing.
pub(crate) fn is_in(dir: &Path) -> bool {
    let has_classes =
        |name: &str| entries(&dir.join(name)).is_ok_and(|entries| !entries.folders.is_empty());
    has_classes("train") && TEST_FOLDERS.iter().any(|name| has_classes(name))
}

/// Reads both splits as data sets whose images are decoded when asked for.
pub(crate) fn load(dir: &Path, size: usize) -> Result<(Dataset, Dataset), DataError> {
    let Scan { train, test, problems } = scan(dir);
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let (Some(train), Some(test)) = (train, test) else {
        return Err(DataError::NoClasses(dir.to_owned()));
    };
    Ok((
        train.into_dataset("image-folder train", size, Framing::Cover)?,
        test.into_dataset("image-folder test", size, Framing::Evaluation)?,
    ))
}

impl Listing {
    fn into_dataset(self, name: &str, size: usize, framing: Framing) -> Result<Dataset, DataError> {
        let shape = ImageShape { channels: 3, height: size, width: size };
        let labels = (0_u32..)
            .zip(&self.files)
            .flat_map(|(label, files)| files.iter().map(move |_| label))
            .collect();
        let names = self.files.into_iter().flatten().collect();
        Dataset::from_files(
            name,
            self.classes,
            shape,
            labels,
            Files { root: self.root, names, framing },
        )
    }
}

fn list(root: PathBuf, problems: &mut Vec<DataError>) -> Option<Listing> {
    let (folders, mut ignored) = match entries(&root) {
        Ok(entries) => (entries.folders, entries.files.len()),
        Err(error) => {
            problems.push(error);
            return None;
        }
    };
    if folders.is_empty() {
        problems.push(DataError::NoClasses(root));
        return None;
    }
    let (mut classes, mut files) = (Vec::new(), Vec::new());
    for folder in folders {
        let path = root.join(&folder);
        let Some(class) = folder.to_str() else {
            problems.push(DataError::ClassNameNotText(path));
            continue;
        };
        match entries(&path) {
            Ok(entries) => {
                let all = entries.files.len();
                let mut images: Vec<Box<OsStr>> = entries
                    .files
                    .into_iter()
                    .filter(|name| is_image(name))
                    .map(OsString::into_boxed_os_str)
                    .collect();
                images.sort_unstable();
                ignored += all - images.len() + entries.folders.len();
                if images.is_empty() {
                    problems.push(DataError::EmptyClass(path));
                }
                files.push(images);
            }
            Err(error) => {
                problems.push(error);
                files.push(Vec::new());
            }
        }
        classes.push(class.to_owned());
    }
    Some(Listing { root, classes, files, ignored })
}

/// The images of one folder, sorted by name, and how many other files and folders it has: those
/// whose names have another ending, and those below it. Names that start with a dot are none of
/// either.
///
/// # Errors
/// When the folder cannot be listed.
pub fn images_in(folder: &Path) -> Result<(Vec<PathBuf>, usize), DataError> {
    let Entries { folders, files } = entries(folder)?;
    let (mut images, others): (Vec<OsString>, Vec<OsString>) =
        files.into_iter().partition(|name| is_image(name));
    images.sort_unstable();
    let images = images.into_iter().map(|name| folder.join(name)).collect();
    Ok((images, others.len() + folders.len()))
}

fn is_image(name: &OsStr) -> bool {
    let ending = Path::new(name).extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

struct Entries {
    /// Sorted by name.
    folders: Vec<OsString>,
    files: Vec<OsString>,
}

/// What is in a folder, links followed; names that start with a dot are not listed.
fn entries(path: &Path) -> Result<Entries, DataError> {
    let failed = |e| DataError::io(path, "list the folder", e);
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        // Only links cost a system call each: a million of them would take long on a network disk.
        let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        if is_folder { folders.push(name) } else { files.push(name) }
    }
    folders.sort_unstable();
    Ok(Entries { folders, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_whatever_their_case() {
        for name in ["a.jpg", "a.JPEG", "a.b.Png"] {
            assert!(is_image(OsStr::new(name)), "{name}");
        }
        for name in ["a.gif", "jpg", "a.jpg.txt", ".jpg"] {
            assert!(!is_image(OsStr::new(name)), "{name}");
        }
    }
}
