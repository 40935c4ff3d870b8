use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::cifar::{self, CIFAR10, CIFAR100, Layout};
use crate::dataset::Dataset;
use crate::decode::decode;
use crate::error::DataError;
use crate::fashion_mnist;
use crate::folder::{self, Listing, Scan};
use crate::kind::DatasetKind;
use crate::open::existing;
use crate::part::Part;
use crate::resize::Picture;
use crate::sample;
use crate::shape::ImageShape;
use crate::sides::VAL_SHARE;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The data set checked.
    pub kind: DatasetKind,
    /// The folder it was read from.
    pub folder: Option<PathBuf>,
    /// Shape of the images; none for an image folder, whose files have different sizes.
    pub shape: Option<ImageShape>,
    /// Class names of the training images, or where they cannot be read those of the test images, in
    /// the order of the labels.
    pub classes: Vec<String>,
    /// The splits that could be read: `train`, `test`.
    pub splits: Vec<SplitReport>,
    /// What stops the data set from being used, or an image of it from being read.
    pub problems: Vec<Problem>,
    /// What is unusual but no obstacle.
    pub notes: Vec<String>,
}

/// The images of one split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SplitReport {
    /// `train` or `test`.
    pub name: String,
    /// Images that can be read.
    pub images: usize,
    /// The split's own class names, in the order of its labels.
    pub classes: Vec<String>,
    /// Readable images per class, in the order of the split's class names.
    pub per_class: Vec<usize>,
}

/// Something that has to be put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl From<DataError> for Problem {
    fn from(error: DataError) -> Self {
        Self { message: error.to_string(), hint: error.hint() }
    }
}

/// Decodes images of a data set that is in files: those of `indices` that cannot be, in that order,
/// and why. `progress` hears of the images decoded and of all. There is nothing to find where the
/// images are in memory.
pub fn unreadable(
    dataset: &Dataset,
    indices: &[u32],
    progress: &mut dyn FnMut(usize, usize),
) -> Vec<(u32, DataError)> {
    /// Images between two calls of `progress`.
    const PIECE: usize = 64;
    let (mut bad, mut done) = (Vec::new(), 0);
    for piece in indices.chunks(PIECE) {
        let error = |&index: &u32| Some((index, decode(&dataset.path(index as usize)?).err()?));
        bad.extend(piece.par_iter().filter_map(error).collect::<Vec<_>>());
        done += piece.len();
        progress(done, indices.len());
    }
    bad
}

/// Reads all of a data set, decodes every image, and reports all that is wrong, not only the first
/// thing. Beside what stops a run from beginning that is a data set of one class, and test images
/// each of which has the pixels of a training image, in whatever format. Noted are those of an image
/// folder where it is some of them, and classes of which one has more than 20 times the images of
/// another. `progress` hears of the images decoded and of all in the folder, while an image folder is
/// read; the others are read in a moment.
///
/// # Errors
/// Only when there is nothing to check: no folder given, or it is missing or empty. All else is in
/// the report.
pub fn check(
    kind: DatasetKind,
    dir: Option<&Path>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Report, DataError> {
    let mut report = Report {
        kind,
        folder: None,
        shape: None,
        classes: Vec::new(),
        splits: Vec::new(),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    if kind.needs_folder() {
        report.folder = Some(existing(kind, dir)?.to_owned());
    }
    let mut images = Images::default();
    match (kind, report.folder.clone()) {
        (DatasetKind::Cifar10, Some(dir)) => check_cifar(&CIFAR10, &dir, &mut report, &mut images),
        (DatasetKind::Cifar100, Some(dir)) => {
            check_cifar(&CIFAR100, &dir, &mut report, &mut images)
        }
        (DatasetKind::ImageFolder, Some(dir)) => {
            check_folder(&dir, &mut report, &mut images, progress)
        }
        (DatasetKind::FashionMnist, Some(dir)) => {
            for part in [Part::Train, Part::Test] {
                let result = fashion_mnist::load(&dir, part);
                images.add(&mut report, part, result);
                report.compare_with_published(part.name(), fashion_mnist::published(part));
            }
        }
        (DatasetKind::Sample, _) | (_, None) => {
            for part in [Part::Train, Part::Test] {
                images.add(&mut report, part, sample::load(part));
            }
        }
    }
    report.look_at_classes();
    images.compare(kind, &mut report);
    Ok(report)
}

impl Report {
    /// Whether nothing has to be put right.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn compare_with_published(&mut self, name: &str, published: usize) {
        if let Some(split) =
            self.splits.iter().find(|split| split.name == name && split.images != published)
        {
            self.notes.push(format!(
                "{name}: {} images, the published data set has {published}",
                split.images
            ));
        }
    }

    /// One class leaves nothing to tell apart; very different numbers of images are unusual.
    fn look_at_classes(&mut self) {
        if let [only] = self.classes.as_slice() {
            self.problems.push(Problem {
                message: format!("there is one class only, `{only}`: nothing can be told apart"),
                hint: Some("put the images of each class in a folder of their own".to_owned()),
            });
        }
        for split in &self.splits {
            let counts = || split.per_class.iter().zip(&split.classes).filter(|(n, _)| **n > 0);
            if let (Some((few, least)), Some((many, most))) =
                (counts().min_by_key(|(n, _)| **n), counts().max_by_key(|(n, _)| **n))
                && *many > IMBALANCE * few
            {
                self.notes.push(format!(
                    "{}: `{most}` has {many} images and `{least}` {few}: what is learned of a rare \
                     class is little, and accuracy hardly shows it",
                    split.name
                ));
            }
        }
    }
}

/// A class that has more times the images of another is noted.
const IMBALANCE: usize = 20;

/// Digests of the pixels of all images that could be read, each with what it is called.
#[derive(Default)]
struct Images {
    train: HashMap<u64, String>,
    test: Vec<(u64, String)>,
}

impl Images {
    fn insert(&mut self, part: Part, digest: u64, name: impl FnOnce() -> String) {
        match part {
            Part::Train => {
                self.train.entry(digest).or_insert_with(name);
            }
            Part::Test => self.test.push((digest, name())),
        }
    }

    /// Reports a data set in memory.
    fn add(&mut self, report: &mut Report, part: Part, result: Result<Dataset, DataError>) {
        let data = match result {
            Ok(data) => data,
            Err(error) => return report.problems.push(error.into()),
        };
        let mut scratch = Vec::new();
        for index in 0..data.len() {
            if let Ok(pixels) = data.pixels(index, &mut scratch) {
                self.insert(part, digest(&pixels), || format!("image {index}"));
            }
        }
        report.shape = Some(data.shape());
        report.classes = data.classes().to_vec();
        report.splits.push(SplitReport {
            name: part.name().to_owned(),
            images: data.len(),
            classes: data.classes().to_vec(),
            per_class: data.class_counts(),
        });
    }

    /// Reports test images that are training images as well. Of the published data sets some are,
    /// which nobody can change: of those only all.
    fn compare(&self, kind: DatasetKind, report: &mut Report) {
        let both =
            || self.test.iter().filter_map(|(digest, test)| Some((test, self.train.get(digest)?)));
        let (count, all) = (both().count(), self.test.len());
        let Some((test, train)) = both().next() else { return };
        if count == all {
            report.problems.push(Problem {
                message: format!(
                    "each of the {all} test images is a training image as well, such as {test}, \
                     which is {train}: accuracy on them says nothing of other images"
                ),
                hint: Some("take images for the test that are not trained with".to_owned()),
            });
        } else if kind == DatasetKind::ImageFolder {
            report.notes.push(format!(
                "{count} of the {all} test images are training images as well, such as {test}, which \
                 is {train}"
            ));
        }
    }
}

/// Tells pixels apart.
fn digest(pixels: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    pixels.hash(&mut hasher);
    hasher.finish()
}

fn check_cifar(layout: &Layout, dir: &Path, report: &mut Report, all: &mut Images) {
    let folder = layout.find(dir);
    report.shape = Some(cifar::SHAPE);
    let classes = match layout.classes(&folder) {
        Ok(classes) => classes,
        Err(error) => {
            report.problems.push(error.into());
            return;
        }
    };
    for part in [Part::Train, Part::Test] {
        let mut per_class = vec![0; classes.len()];
        let mut images = 0;
        for file in layout.files(part) {
            let (mut labels, mut pixels) = (Vec::new(), Vec::new());
            if let Err(error) = layout.read(&folder, file, &mut labels, &mut pixels) {
                report.problems.push(error.into());
                continue;
            }
            if labels.len() != layout.published(file) {
                let published = layout.published(file);
                report.notes.push(format!(
                    "{file}: {} images, the published file has {published}",
                    labels.len()
                ));
            }
            for (index, pixels) in pixels.chunks_exact(cifar::SHAPE.values()).enumerate() {
                all.insert(part, digest(&pixels), || format!("image {index} of {file}"));
            }
            images += labels.len();
            for label in labels {
                per_class[label as usize] += 1;
            }
        }
        let (name, classes) = (part.name().to_owned(), classes.clone());
        report.splits.push(SplitReport { name, images, classes, per_class });
    }
    report.classes = classes;
}

fn check_folder(
    dir: &Path,
    report: &mut Report,
    images: &mut Images,
    progress: &mut dyn FnMut(usize, usize),
) {
    let Scan { train, test, problems } = folder::scan(dir, VAL_SHARE);
    report.problems.extend(problems.into_iter().map(Problem::from));
    if folder::flat(dir).is_some() {
        report.notes.push(
            "there are no parts for training and testing: what images show decides which of them, a \
             fifth or the share asked for, are for testing"
                .to_owned(),
        );
    }
    if dir.join("val").is_dir() && dir.join("test").is_dir() {
        report.notes.push(
            "there are both `val` and `test`: `val` is used for testing, `test` is ignored"
                .to_owned(),
        );
    }
    let count = |listing: &Option<Listing>| {
        listing.iter().flat_map(|l| &l.files).map(Vec::len).sum::<usize>()
    };
    let (mut done, total) = (0, count(&train) + count(&test));
    let mut advance = |images: usize| {
        done += images;
        progress(done, total);
    };
    for (part, listing) in [(Part::Train, train), (Part::Test, test)] {
        let Some(listing) = listing else { continue };
        if !listing.left_out.is_empty() {
            report.notes.push(listing.left_out.to_string());
        }
        let split = check_listing(part, &listing, &mut report.problems, images, &mut advance);
        report.splits.push(split);
        if report.classes.is_empty() {
            report.classes = listing.classes;
        }
    }
}

fn check_listing(
    part: Part,
    listing: &Listing,
    problems: &mut Vec<Problem>,
    images: &mut Images,
    advance: &mut dyn FnMut(usize),
) -> SplitReport {
    let mut per_class = Vec::with_capacity(listing.classes.len());
    for (class, files) in listing.classes.iter().zip(&listing.files) {
        let folder = listing.root.join(class);
        let looked_at: Vec<Result<u64, DataError>> = files
            .par_iter()
            .map(|file| {
                let Picture { width, height, channels: _, pixels } = decode(&folder.join(&**file))?;
                Ok(digest(&(width, height, pixels)))
            })
            .collect();
        advance(files.len());
        let mut readable = 0;
        for (file, result) in files.iter().zip(looked_at) {
            match result {
                Ok(digest) => {
                    readable += 1;
                    images.insert(part, digest, || folder.join(&**file).display().to_string());
                }
                Err(error) => problems.push(error.into()),
            }
        }
        per_class.push(readable);
    }
    SplitReport {
        name: part.name().to_owned(),
        images: per_class.iter().sum(),
        classes: listing.classes.clone(),
        per_class,
    }
}
