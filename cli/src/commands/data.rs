use adwp_base::{Failure, Result, output};
use adwp_data::{DatasetKind, Report, check};
use adwp_train::Reporter;

use crate::args::DataCommand;
use crate::config::part_of_program;

/// Prints the data sets there are, or what is wrong with the images of one.
pub(crate) fn run(command: DataCommand, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    match command {
        DataCommand::List => list(as_json),
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
            "train/CLASS/* and val/CLASS/* (or test/CLASS/*), JPEG, PNG, WebP, BMP, GIF, TIFF, QOI; \
             ImageNet or your own"
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
