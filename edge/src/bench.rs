use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use adwp_base::{Failure, Result, output::as_json};
use adwp_data::{Framing, Normalization};
use adwp_measure::{
    DeployError, affinity,
    bench::{self as measure, BenchOptions, BenchReport, ImageSource, Verdict},
    latency::LatencyOptions,
    onnx::OnnxModel,
    runtime::find_library,
    trial::{self, Request},
};

use crate::{
    BenchArgs, CompareArgs, Style, TrialArgs,
    args::{Format, said},
    choose, page,
    preparation::{Preparation, guessed, image_shape, stated_framing},
    report::write,
};

/// Images of noise that the runtimes are compared on.
const PARITY_IMAGES: usize = 8;
/// Images of the user that the runtimes are compared on, at most.
const MOST_IMAGES: usize = 1000;
/// How long each session is profiled.
const PROFILE: Duration = Duration::from_millis(500);
/// More threads or repeats than these were not meant.
const MOST: usize = 1000;

/// `bench`: measures models.
///
/// # Errors
/// A model or a setting cannot be measured, or a file cannot be written.
pub fn bench(args: &BenchArgs, style: Style<'_>) -> Result<String> {
    for (flag, values) in [
        ("--threads", args.threads.as_slice()),
        ("--repeat", &[args.repeat]),
        ("--batch", &[args.batch]),
    ] {
        if values.is_empty() || values.iter().any(|value| !(1..=MOST).contains(value)) {
            return Err(Failure::input(format!(
                "{flag}: {values:?} are not numbers in 1 to {MOST}"
            )));
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads: Vec<usize> = args.threads.iter().map(|&count| count.min(cores)).collect();
    if threads != args.threads {
        (style.say)(&format!(
            "--threads: this machine runs {cores} at once, so no more are measured"
        ));
        threads.dedup();
    }
    if let Some(list) = &args.cpu {
        affinity::pin(&affinity::parse(list)?)?;
    }
    let library = find_library(args.load.ort.ort_lib.as_deref(), &args.runtime)?;
    let (guess, guesses) = mpsc::channel();
    let options = BenchOptions {
        runtimes: choose(&args.runtime, library.as_ref(), style.say),
        threads,
        latency: LatencyOptions {
            batch: args.batch,
            min_time: args.min_time,
            repeats: args.repeat,
            ..LatencyOptions::default()
        },
        ort_library: library,
        parity_images: PARITY_IMAGES,
        images: image_source(&args.images, guess)?,
        said: args.load.said(),
        trial: args.load.trial(),
        profile: args.profile.then_some(PROFILE),
    };
    let report = measure::run(&args.models, &options, style.say)?;
    let mut guesses: Vec<String> = guesses.try_iter().collect();
    guesses.sort_unstable();
    guesses.dedup();
    guesses.iter().for_each(|text| (style.say)(text));
    if let Some(path) = &args.out {
        report.write(path)?;
    }
    let page = page::page(&[("this machine".to_owned(), report.clone())]);
    if let Some(path) = &args.html {
        write(path, &adwp_report::bench_html(&page))?;
    }
    if style.json {
        return as_json(&report);
    }
    Ok(page::text(&page, Format::Table))
}

/// What the runtimes are compared on: the files, and those in the folders among them, in order.
/// Where a model does not say what becomes of images, what is done instead goes to `guess`.
fn image_source(paths: &[PathBuf], guess: mpsc::Sender<String>) -> Result<Option<ImageSource>> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            collect(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        return Err(Failure::input(format!("{}: no JPEG or PNG files there", paths[0].display())));
    }
    files.truncate(MOST_IMAGES);
    let read = move |model: &OnnxModel| {
        let failed =
            |e: adwp_data::DataError| DeployError::Images { batch: 0, source: Box::new(e) };
        let shape = image_shape(model);
        let framing = stated_framing(model).unwrap_or_else(|| {
            // Whoever hears it may have gone.
            let _ = guess.send(guessed(model, "so that they just cover its input"));
            Framing::Cover
        });
        // Runtimes can be compared on pixels that are normalised in another way than the model was
        // trained with.
        let normalization = match model.preparation() {
            Some(known) => Normalization { mean: known.mean, std: known.std },
            None => {
                Normalization { mean: vec![0.5; shape.channels], std: vec![0.25; shape.channels] }
            }
        };
        let preparation = Preparation { shape, framing, normalization };
        let mut images = Vec::with_capacity(files.len() * shape.values());
        for file in &files {
            images.extend(preparation.image(file).map_err(failed)?);
        }
        Ok(images)
    };
    Ok(Some(ImageSource(Arc::new(read))))
}

/// The images in a folder and its folders, by name.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result {
    let unreadable =
        |e: std::io::Error| Failure::input(format!("{}: cannot be read: {e}", folder.display()));
    let mut entries = fs::read_dir(folder)
        .map_err(unreadable)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let image = |e: &std::ffi::OsStr| {
            ["jpg", "jpeg", "png"].iter().any(|known| e.eq_ignore_ascii_case(known))
        };
        // A link to a folder above would be followed for ever.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files)?;
        } else if path.extension().is_some_and(image) {
            files.push(path);
        }
        if files.len() >= MOST_IMAGES {
            break;
        }
    }
    Ok(())
}

/// The hidden command of the process that a model is tried in. `print` gets lines for stdout.
pub fn trial(args: TrialArgs, print: &mut dyn FnMut(&str)) {
    let said = said(&args.input, args.output.as_ref());
    let TrialArgs { model, runtime, threads, batch, max_memory, processor_seconds, ort, .. } = args;
    let library = ort.ort_lib;
    let request = Request {
        path: model,
        said,
        runtime,
        threads,
        batch,
        library,
        max_memory,
        processor_seconds,
    };
    trial::child(&request, print);
}

/// `compare`: what moved between two results, and the failure that a regression is.
///
/// # Errors
/// A result cannot be read.
pub fn compare(args: &CompareArgs, style: Style<'_>) -> Result<(String, Option<Failure>)> {
    let (old, new) = (BenchReport::read(&args.a)?, BenchReport::read(&args.b)?);
    let changes = measure::compare(&old, &new, args.threshold)?;
    if changes.iter().any(|change| change.verdict == Verdict::WithinNoise) {
        (style.say)(
            "what is within noise may or may not have moved: measure for longer, or on a quieter \
             machine",
        );
    }
    let text = if style.json {
        as_json(&changes)?
    } else {
        changes.iter().map(|change| format!("{change}\n")).collect()
    };
    let regressions = changes.iter().filter(|change| change.verdict == Verdict::Regression).count();
    let failure = match regressions {
        0 => None,
        n => Some(Failure::failed(format!(
            "{n} regression{} beyond {:.1}%",
            if n == 1 { "" } else { "s" },
            100.0 * args.threshold
        ))),
    };
    Ok((text, failure))
}
