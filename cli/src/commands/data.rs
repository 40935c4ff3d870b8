use std::fs;
use std::io;
use std::path::Path;

use adwp_base::{Failure, Result, output};
use adwp_data::{DatasetKind, OpenOptions, Report, check, open, undivided};
use adwp_train::Reporter;
use serde::Serialize;

use crate::args::DataCommand;
use crate::config::part_of_program;

/// Prints the data sets there are, or what is wrong with the images of one.
pub(crate) fn run(command: DataCommand, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    match command {
        DataCommand::List => list(as_json),
        DataCommand::Split { dir, out, val_share, copy } => {
            let written = divide(&dir, &out, val_share, copy)?;
            if as_json {
                return output::json(&written);
            }
            let Written { train, val } = written;
            output::data(&format!("train {train:>8} images\nval   {val:>8} images\n"))
        }
        DataCommand::Check { dir, dataset } => {
            if let (false, Some(dir)) = (dataset.needs_folder(), &dir) {
                return Err(part_of_program(dir, dataset));
            }
            let report = check(dataset, dir.as_deref(), &mut |done, total| {
                reporter.aside("image", done, total)
            })?;
            reporter.phase_end();
            if as_json {
                output::json(&report)?;
            } else {
                output::data(&text(&report))?;
            }
            match report.problems.len() {
                0 => Ok(()),
                1 => Err(Failure::input("the data set has a problem")),
                n => Err(Failure::input(format!("the data set has {n} problems"))),
            }
        }
    }
}

/// Images of each part.
#[derive(Serialize)]
struct Written {
    train: usize,
    val: usize,
}

/// Writes a folder of classes as one that is divided.
fn divide(dir: &Path, out: &Path, val_share: f64, copy: bool) -> Result<Written> {
    let options = OpenOptions { val_share: Some(val_share), ..OpenOptions::default() };
    if undivided(DatasetKind::ImageFolder, Some(dir)).is_none() && dir.is_dir() {
        let failure = Failure::input(format!(
            "{}: there is nothing to divide: it needs one folder of images for each class, and no \
             val/CLASS",
            dir.display()
        ));
        return Err(failure);
    }
    let splits = open(DatasetKind::ImageFolder, Some(dir), &options)?;
    let there = |e: &io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::input(format!("{} is there already", out.display()))
                .hint("name a folder that is not")
        }
        _ => Failure::failed(format!("cannot make {}: {e}", out.display())),
    };
    fs::create_dir(out).map_err(|e| there(&e))?;
    for (part, images) in [("train", &splits.train), ("val", &splits.test)] {
        for class in images.classes() {
            let folder = out.join(part).join(class);
            fs::create_dir_all(&folder).map_err(|e| there(&e))?;
        }
        for index in 0..images.len() {
            let Some(from) = images.path(index) else { continue };
            let class = &images.classes()[images.labels()[index] as usize];
            let to = out.join(part).join(class).join(from.file_name().unwrap_or_default());
            put(&from, &to, copy)
                .map_err(|e| Failure::failed(format!("cannot write {}: {e}", to.display())))?;
        }
    }
    Ok(Written { train: splits.train.len(), val: splits.test.len() })
}

fn put(from: &Path, to: &Path, copy: bool) -> io::Result<()> {
    if copy {
        return fs::copy(from, to).map(|_| ());
    }
    let from = std::path::absolute(from)?;
    #[cfg(unix)]
    return std::os::unix::fs::symlink(from, to);
    #[cfg(not(unix))]
    return fs::hard_link(from, to);
}

/// What a data set is, and what its folder holds.
fn describe(kind: DatasetKind) -> &'static str {
    match kind {
        DatasetKind::Sample => {
            "6,000 training and 1,000 test images of Fashion-MNIST, part of the program"
        }
        DatasetKind::FashionMnist => {
            "the four idx files, gz or not (Debian package dataset-fashion-mnist)"
        }
        DatasetKind::Cifar10 => {
            "the binary version: data_batch_1.bin … data_batch_5.bin, test_batch.bin"
        }
        DatasetKind::Cifar100 => "the binary version: train.bin, test.bin",
        DatasetKind::ImageFolder => {
            "train/CLASS/* and val/CLASS/*, or CLASS/* alone, which is divided: JPEG, PNG, WebP, BMP, \
             GIF, TIFF, QOI; ImageNet or your own"
        }
    }
}

fn list(as_json: bool) -> Result {
    if as_json {
        let entry = |kind: DatasetKind| {
            serde_json::json!({
                "name": kind.to_string(),
                "folder": kind.needs_folder(),
                "content": describe(kind),
            })
        };
        return output::json(&DatasetKind::ALL.map(entry));
    }
    let lines: String = DatasetKind::ALL
        .into_iter()
        .map(|kind| format!("{:<14} {}\n", kind.to_string(), describe(kind)))
        .collect();
    output::data(&lines)
}

fn text(report: &Report) -> String {
    let mut text = format!("{}", report.kind);
    if let Some(shape) = report.shape {
        text += &format!(", images {shape}");
    }
    text += "\n";
    for split in &report.splits {
        text += &format!("{:<6} {:>8} images\n", split.name, split.images);
        for (class, count) in split.classes.iter().zip(&split.per_class) {
            text += &format!("  {class:<24} {count:>8}\n");
        }
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    for problem in &report.problems {
        text += &format!("problem: {}\n", problem.message);
        if let Some(hint) = &problem.hint {
            text += &format!("  hint: {hint}\n");
        }
    }
    text
}
