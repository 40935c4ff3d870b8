//! Image folders: `train/CLASS/*` and `val/CLASS/*` below one folder, or `CLASS/*` alone.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use image::ImageFormat;

use crate::dataset::{Dataset, Files};
use crate::decode::starts_like;
use crate::error::{DataError, how_to_get};
use crate::kind::DatasetKind;
use crate::left_out::{LeftOut, Reason};
use crate::part::Part;
use crate::resize::Framing;
use crate::shape::ImageShape;
use crate::sides::sides;

/// What the names of images end in.
const ENDINGS: [&str; 13] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "bmp", "dib", "gif", "tif", "tiff", "qoi",
];

/// What the names of copies and of unfinished files end in, which begin like their image.
const COPIES: [&str; 8] = ["bak", "backup", "old", "orig", "tmp", "part", "partial", "crdownload"];

/// Names of the folder of a part, the first that exists counts.
const fn folders_of(part: Part) -> &'static [&'static str] {
    match part {
        Part::Train => &["train"],
        Part::Test => &["val", "valid", "validation", "test"],
    }
}

/// One split as it lies on disk.
pub(crate) struct Listing {
    pub(crate) root: PathBuf,
    pub(crate) classes: Vec<String>,
    /// File names of each class, sorted.
    pub(crate) files: Vec<Vec<Box<OsStr>>>,
    pub(crate) left_out: LeftOut,
}

/// What a folder holds, and everything that is wrong with it.
pub(crate) struct Scan {
    pub(crate) train: Option<Listing>,
    pub(crate) test: Option<Listing>,
    pub(crate) problems: Vec<DataError>,
}

/// The folder whose class folders have all images, where they are not apart for training and testing:
/// `dir`, or `train` in it where that is all there is.
pub(crate) fn flat(dir: &Path) -> Option<PathBuf> {
    let folders_in = |dir: &Path| entries(dir).map(|of| of.folders).unwrap_or_default();
    let part = |part| {
        let mut named = folders_of(part).iter().map(|name| dir.join(name));
        named.find(|path| path.is_dir())
    };
    let has_classes =
        |part: &Option<PathBuf>| part.as_ref().is_some_and(|dir| !folders_in(dir).is_empty());
    match (part(Part::Train), part(Part::Test)) {
        (train, None) if has_classes(&train) => train,
        (train, test) if has_classes(&train) || has_classes(&test) => None,
        _ => {
            let is_part = |name: &OsString| {
                let all = [Part::Train, Part::Test].into_iter().flat_map(folders_of);
                all.into_iter().any(|part| name == part)
            };
            let has_images = |name: &OsString| {
                let folder = dir.join(name);
                let files = entries(&folder).map(|of| of.files).unwrap_or_default();
                files.iter().any(|name| is_image(&folder, name))
            };
            let folders = folders_in(dir);
            let is_flat = folders.iter().any(|name| !is_part(name) && has_images(name));
            is_flat.then(|| dir.to_owned())
        }
    }
}

/// Lists both splits. Of the files only those that are not named like images are opened, and all
/// where the folder has no parts: `share` of its images are then for testing.
pub(crate) fn scan(dir: &Path, share: f64) -> Scan {
    let mut problems = Vec::new();
    if let Some(root) = flat(dir) {
        let whole = list(root, &mut problems);
        let (train, test) = whole.map(|whole| divide(whole, share, &mut problems)).unzip();
        return Scan { train, test, problems };
    }
    let train = scan_part(dir, Part::Train, &mut problems);
    let test = scan_part(dir, Part::Test, &mut problems);
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

fn scan_part(dir: &Path, part: Part, problems: &mut Vec<DataError>) -> Option<Listing> {
    let names = folders_of(part);
    match names.iter().map(|name| dir.join(name)).find(|path| path.is_dir()) {
        Some(root) => list(root, problems),
        None => {
            problems.push(DataError::MissingFile {
                folder: dir.to_owned(),
                file: format!("folder `{}`", names.join("` or `")),
                advice: how_to_get(DatasetKind::ImageFolder),
            });
            None
        }
    }
}

/// Puts the images of a folder without parts on two sides. What is left out counts on the first.
fn divide(whole: Listing, share: f64, problems: &mut Vec<DataError>) -> (Listing, Listing) {
    let Listing { root, classes, files, left_out } = whole;
    let sides = sides(&root, &classes, &files, share);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for ((class, files), sides) in classes.iter().zip(files).zip(sides) {
        let (here, there): (Vec<_>, Vec<_>) =
            files.into_iter().zip(sides).partition(|(_, side)| !side);
        if here.is_empty() && !there.is_empty() {
            problems
                .push(DataError::NothingToTrain { class: root.join(class), images: there.len() });
        }
        let names = |of: Vec<(Box<OsStr>, bool)>| of.into_iter().map(|(name, _)| name).collect();
        train.push(names(here));
        test.push(names(there));
    }
    if test.iter().all(Vec::is_empty) && !train.iter().all(Vec::is_empty) {
        let images = train.iter().map(Vec::len).sum();
        problems.push(DataError::NothingToTest { folder: root.clone(), images });
    }
    let nothing = LeftOut::of(&root);
    let test =
        Listing { root: root.clone(), classes: classes.clone(), files: test, left_out: nothing };
    (Listing { root, classes, files: train, left_out }, test)
}

/// Whether a folder has class folders, for training and for testing or for both.
pub(crate) fn is_in(dir: &Path) -> bool {
    if flat(dir).is_some() {
        return true;
    }
    let has_classes =
        |name: &&str| entries(&dir.join(name)).is_ok_and(|entries| !entries.folders.is_empty());
    [Part::Train, Part::Test].iter().all(|&part| folders_of(part).iter().any(has_classes))
}

/// Reads both splits as data sets whose images are decoded when asked for.
pub(crate) fn load(dir: &Path, size: usize, share: f64) -> Result<(Dataset, Dataset), DataError> {
    let Scan { train, test, problems } = scan(dir, share);
    Ok((
        finish(train, problems, dir, Part::Train, size)?,
        finish(test, Vec::new(), dir, Part::Test, size)?,
    ))
}

/// Reads one of them; the other need not be there.
pub(crate) fn load_part(
    dir: &Path,
    part: Part,
    size: usize,
    share: f64,
) -> Result<Dataset, DataError> {
    if flat(dir).is_some() {
        let (train, test) = load(dir, size, share)?;
        return Ok(match part {
            Part::Train => train,
            Part::Test => test,
        });
    }
    let mut problems = Vec::new();
    let listing = scan_part(dir, part, &mut problems);
    finish(listing, problems, dir, part, size)
}

fn finish(
    listing: Option<Listing>,
    problems: Vec<DataError>,
    dir: &Path,
    part: Part,
    size: usize,
) -> Result<Dataset, DataError> {
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let listing = listing.ok_or_else(|| DataError::NoClasses(dir.to_owned()))?;
    let framing = match part {
        Part::Train => Framing::Cover,
        Part::Test => Framing::Evaluation,
    };
    listing.into_dataset(&format!("image-folder {}", part.name()), size, framing)
}

impl Listing {
    fn into_dataset(self, name: &str, size: usize, framing: Framing) -> Result<Dataset, DataError> {
        let shape = ImageShape { channels: 3, height: size, width: size };
        let labels = (0_u32..)
            .zip(&self.files)
            .flat_map(|(label, files)| files.iter().map(move |_| label))
            .collect();
        let names = self.files.into_iter().flatten().collect();
        let (root, left_out) = (self.root, self.left_out);
        let files = Files { root, names, left_out };
        Dataset::from_files(name, self.classes, shape, labels, files, framing)
    }
}

fn list(root: PathBuf, problems: &mut Vec<DataError>) -> Option<Listing> {
    let mut left_out = LeftOut::of(&root);
    let folders = match entries(&root) {
        Ok(entries) => {
            left_out.add_all(Reason::Hidden, &root, &entries.hidden);
            left_out.add_all(Reason::OutsideClass, &root, &entries.files);
            entries.folders
        }
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
        match images_of(&path, &mut left_out) {
            Ok(images) => {
                if images.is_empty() {
                    problems.push(DataError::EmptyClass(path));
                }
                files.push(images.into_iter().map(OsString::into_boxed_os_str).collect());
            }
            Err(error) => {
                problems.push(error);
                files.push(Vec::new());
            }
        }
        classes.push(class.to_owned());
    }
    Some(Listing { root, classes, files, left_out })
}

/// The images of one folder, sorted by name, and what else it has: folders are not looked into.
/// [`open`](crate::open) says what is taken for an image.
///
/// # Errors
/// When the folder cannot be listed.
pub fn images_in(folder: &Path) -> Result<(Vec<PathBuf>, LeftOut), DataError> {
    let mut left_out = LeftOut::of(folder);
    let images = images_of(folder, &mut left_out)?;
    Ok((images.into_iter().map(|name| folder.join(name)).collect(), left_out))
}

/// The images of a folder and of all folders below it, each folder's own before those below, by
/// name; no more than `most`. Links to folders are not followed, since one may lead back up.
///
/// # Errors
/// When a folder cannot be listed.
pub fn images_below(folder: &Path, most: usize) -> Result<(Vec<PathBuf>, LeftOut), DataError> {
    let (mut images, mut left_out) = (Vec::new(), LeftOut::of(folder));
    let mut ahead = vec![folder.to_owned()];
    while let Some(folder) = ahead.pop() {
        if images.len() >= most {
            break;
        }
        let mut entries = entries(&folder)?;
        let folders = std::mem::take(&mut entries.folders);
        images.extend(entries.images(&folder, &mut left_out).iter().map(|name| folder.join(name)));
        for path in folders.iter().rev().map(|name| folder.join(name)) {
            if path.is_symlink() {
                left_out.add(Reason::Folder, &path);
            } else {
                ahead.push(path);
            }
        }
    }
    images.truncate(most);
    Ok((images, left_out))
}

/// The names of the images in a folder, sorted; the rest is counted.
fn images_of(folder: &Path, left_out: &mut LeftOut) -> Result<Vec<OsString>, DataError> {
    Ok(entries(folder)?.images(folder, left_out))
}

/// Whether a file in a folder is taken for an image: it is named like one or begins like one. With
/// another ending there are files that begin like an image and are not meant as one: copies, and raw
/// photographs, which begin like the TIFF that their preview is.
fn is_image(folder: &Path, name: &OsStr) -> bool {
    let begins_like = || starts_like(&folder.join(name));
    match Path::new(name).extension().filter(|ending| !ending.is_empty()) {
        Some(ending) if has_one_of(ending, &ENDINGS) => true,
        Some(ending) if has_one_of(ending, &COPIES) || ends_in_tilde(name) => false,
        Some(_) => begins_like().is_some_and(|format| format != ImageFormat::Tiff),
        None => !ends_in_tilde(name) && begins_like().is_some(),
    }
}

fn has_one_of(ending: &OsStr, endings: &[&str]) -> bool {
    endings.iter().any(|known| ending.eq_ignore_ascii_case(known))
}

/// As editors name what they keep of a file before it is changed.
fn ends_in_tilde(name: &OsStr) -> bool {
    name.as_encoded_bytes().ends_with(b"~")
}

struct Entries {
    /// Sorted by name.
    folders: Vec<OsString>,
    files: Vec<OsString>,
    /// Files and folders whose names start with a dot.
    hidden: Vec<OsString>,
}

impl Entries {
    /// The images among the files, sorted; the rest is counted.
    fn images(self, folder: &Path, left_out: &mut LeftOut) -> Vec<OsString> {
        left_out.add_all(Reason::Hidden, folder, &self.hidden);
        left_out.add_all(Reason::Folder, folder, &self.folders);
        let (mut images, others): (Vec<_>, Vec<_>) =
            self.files.into_iter().partition(|name| is_image(folder, name));
        left_out.add_all(Reason::Name, folder, &others);
        images.sort_unstable();
        images
    }
}

/// What is in a folder, links followed.
fn entries(path: &Path) -> Result<Entries, DataError> {
    let failed = |e| DataError::io(path, "list the folder", e);
    let mut all = Entries { folders: Vec::new(), files: Vec::new(), hidden: Vec::new() };
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            all.hidden.push(name);
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        // Only links cost a system call each: a million of them would take long on a network disk.
        let is_folder = if kind.is_symlink() { entry.path().is_dir() } else { kind.is_dir() };
        if is_folder { all.folders.push(name) } else { all.files.push(name) }
    }
    all.folders.sort_unstable();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_told_whatever_their_case() {
        let folder = Path::new("nowhere");
        for name in ["a.jpg", "a.JPEG", "a.b.Png", "a.tif", "a.WebP", "a.jfif"] {
            assert!(is_image(folder, OsStr::new(name)), "{name}");
        }
        for name in ["a.heic", "jpg", "a.jpg.txt", ".jpg", "a.", "a.nef", "a~", "a.jpg~"] {
            assert!(!is_image(folder, OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn images_below_a_folder_are_found_up_to_a_number() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b.jpg", "a.png", "z/c.gif", "z/y/d.jpg", "k/e.jpg", "k/.f.jpg", "k/notes.txt"]
        {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink("..", dir.path().join("z/back")).unwrap();
        let found = |most| {
            let (images, left_out) = images_below(dir.path(), most).unwrap();
            let relative = |path: &PathBuf| path.strip_prefix(dir.path()).unwrap().to_owned();
            (images.iter().map(relative).collect::<Vec<_>>(), left_out)
        };
        let (images, left_out) = found(9);
        let expected = ["a.png", "b.jpg", "k/e.jpg", "z/c.gif", "z/y/d.jpg"].map(PathBuf::from);
        assert_eq!(images, expected);
        assert_eq!(left_out.reasons()[&Reason::Hidden].example, "k/.f.jpg");
        assert_eq!(left_out.reasons()[&Reason::Name].example, "k/notes.txt");
        #[cfg(unix)]
        assert_eq!(left_out.reasons()[&Reason::Folder].example, "z/back");
        assert_eq!(found(3).0, expected[..3]);
    }
}
