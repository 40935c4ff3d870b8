use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use crate::cifar::{self, CIFAR10, CIFAR100, Layout};
use crate::dataset::Dataset;
use crate::decode::decode;
use crate::error::DataError;
use crate::fashion_mnist::{self, Part};
use crate::folder::{self, Listing, Scan};
use crate::kind::DatasetKind;
use crate::open::existing;
use crate::sample;
use crate::shape::ImageShape;

/// What [`check`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The data set checked.
    pub kind: DatasetKind,
    /// The folder it was read from.
    pub folder: Option<PathBuf>,
    /// Shape of the images; none for an image folder, whose files have different sizes.
    pub shape: Option<ImageShape>,
    /// Class names, in the order of the labels.
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
/// thing. `progress` hears of the images decoded and of all in the folder, while an image folder is
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
    match (kind, report.folder.clone()) {
        (DatasetKind::Cifar10, Some(dir)) => check_cifar(&CIFAR10, &dir, &mut report),
        (DatasetKind::Cifar100, Some(dir)) => check_cifar(&CIFAR100, &dir, &mut report),
        (DatasetKind::ImageFolder, Some(dir)) => check_folder(&dir, &mut report, progress),
        (DatasetKind::FashionMnist, Some(dir)) => {
            for part in [Part::Train, Part::Test] {
                let result = fashion_mnist::load(&dir, part);
                report.add(part.name(), result);
                report.compare_with_published(part.name(), part.published());
            }
        }
        (DatasetKind::Sample, _) | (_, None) => {
            for part in [Part::Train, Part::Test] {
                report.add(part.name(), sample::load(part));
            }
        }
    }
    Ok(report)
}

impl Report {
    /// Whether nothing has to be put right.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, name: &str, result: Result<Dataset, DataError>) {
        match result {
            Ok(data) => {
                self.shape = Some(data.shape());
                self.classes = data.classes().to_vec();
                self.splits.push(SplitReport {
                    name: name.to_owned(),
                    images: data.len(),
                    per_class: data.class_counts(),
                });
            }
            Err(error) => self.problems.push(error.into()),
        }
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
}

fn check_cifar(layout: &Layout, dir: &Path, report: &mut Report) {
    let folder = layout.find(dir);
    report.shape = Some(cifar::SHAPE);
    let classes = match layout.classes(&folder) {
        Ok(classes) => classes,
        Err(error) => {
            report.problems.push(error.into());
            return;
        }
    };
    for (name, files) in [("train", layout.train), ("test", layout.test)] {
        let mut per_class = vec![0; classes.len()];
        let mut images = 0;
        for file in files {
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
            images += labels.len();
            for label in labels {
                per_class[label as usize] += 1;
            }
        }
        report.splits.push(SplitReport { name: name.to_owned(), images, per_class });
    }
    report.classes = classes;
}

fn check_folder(dir: &Path, report: &mut Report, progress: &mut dyn FnMut(usize, usize)) {
    let Scan { train, test, problems } = folder::scan(dir);
    report.problems.extend(problems.into_iter().map(Problem::from));
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
    for (name, listing) in [("train", train), ("test", test)] {
        let Some(listing) = listing else { continue };
        if listing.ignored > 0 {
            let root = listing.root.display();
            report.notes.push(format!(
                "{root}: {} files or folders that are not images of a class are ignored",
                listing.ignored
            ));
        }
        let split = check_listing(name, &listing, &mut report.problems, &mut advance);
        report.splits.push(split);
        if report.classes.is_empty() {
            report.classes = listing.classes;
        }
    }
}

fn check_listing(
    name: &str,
    listing: &Listing,
    problems: &mut Vec<Problem>,
    advance: &mut dyn FnMut(usize),
) -> SplitReport {
    let mut per_class = Vec::with_capacity(listing.classes.len());
    for (class, files) in listing.classes.iter().zip(&listing.files) {
        let folder = listing.root.join(class);
        let bad: Vec<DataError> =
            files.par_iter().filter_map(|file| decode(&folder.join(&**file)).err()).collect();
        advance(files.len());
        per_class.push(files.len() - bad.len());
        problems.extend(bad.into_iter().map(Problem::from));
    }
    SplitReport { name: name.to_owned(), images: per_class.iter().sum(), per_class }
}
