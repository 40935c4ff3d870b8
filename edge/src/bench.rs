use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adwp_base::{Failure, Result, output::as_json};
use adwp_data::{DataError, LeftOut, Normalization, Reason, images_below};
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
    preparation::{Preparation, framing, image_shape},
    report::{keep_apart, write},
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
    let written = [("--out", args.out.as_deref()), ("--html", args.html.as_deref())];
    keep_apart(&args.models, &written)?;
    let library = find_library(args.load.ort.ort_lib.as_deref(), &args.runtime)?;
    let images = Images::named(&args.images)?;
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
        images: images.as_ref().map(Images::source),
        said: args.load.said(),
        trial: args.load.trial(),
        profile: args.profile.then_some(PROFILE),
    };
    let report = measure::run(&args.models, &options, &mut *style.say);
    if let Some(images) = &images {
        images.say(&mut *style.say);
    }
    let report = report?;
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
struct Images {
    named: Vec<Named>,
    /// The folders among them, and what is left out of each.
    folders: Arc<Mutex<Vec<LeftOut>>>,
    /// What is said of models that do not say what becomes of images.
    guesses: Arc<Mutex<Vec<String>>>,
}

/// One file.
#[derive(Clone)]
struct Named {
    path: PathBuf,
    /// Which of the folders it was found in; a file that was named itself has to be readable.
    folder: Option<usize>,
}

impl Images {
    /// `None` where no paths are given.
    fn named(paths: &[PathBuf]) -> Result<Option<Self>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let (mut named, mut folders) = (Vec::new(), Vec::new());
        for path in paths {
            if !path.is_dir() {
                named.push(Named { path: path.clone(), folder: None });
                continue;
            }
            let folder = Some(folders.len());
            let (images, left_out) = images_below(path, MOST_IMAGES)?;
            named.extend(images.into_iter().map(|path| Named { path, folder }));
            folders.push(left_out);
        }
        if named.is_empty() {
            return Err(Failure::input(format!("{}: no images there", paths[0].display())));
        }
        named.truncate(MOST_IMAGES);
        let (folders, guesses) = (Arc::new(Mutex::new(folders)), Arc::default());
        Ok(Some(Self { named, folders, guesses }))
    }

    /// Reads them for each model. An image of a folder that cannot be read is left out, which is
    /// found when the first model reads it: to decode all of them before would take as long again.
    fn source(&self) -> ImageSource {
        let (named, folders) = (self.named.clone(), Arc::clone(&self.folders));
        let guesses = Arc::clone(&self.guesses);
        let seen = Mutex::new(HashSet::new());
        let read = move |model: &OnnxModel| {
            let failed = |e: DataError| DeployError::Images { batch: 0, source: Box::new(e) };
            let shape = image_shape(model);
            let (framing, guessed) = framing(model);
            lock(&guesses).extend(guessed);
            // Runtimes can be compared on pixels that are normalised in another way than the model
            // was trained with.
            let normalization = match model.preparation() {
                Some(known) => Normalization { mean: known.mean, std: known.std },
                None => Normalization {
                    mean: vec![0.5; shape.channels],
                    std: vec![0.25; shape.channels],
                },
            };
            let preparation = Preparation { shape, framing, normalization };
            let (mut images, mut first) = (Vec::new(), None);
            for Named { path, folder } in &named {
                match (preparation.image(path), folder) {
                    (Ok(image), _) => images.extend(image),
                    // What no image can be brought to is what the model asks for.
                    (Err(e @ (DataError::Shape(_) | DataError::Normalization(_))), _)
                    | (Err(e), None) => return Err(failed(e)),
                    (Err(e), Some(folder)) => {
                        if lock(&seen).insert(path.clone()) {
                            lock(&folders)[*folder].add(Reason::of(&e), path);
                        }
                        first.get_or_insert(e);
                    }
                }
            }
            match first {
                Some(e) if images.is_empty() => Err(failed(e)),
                _ => Ok(images),
            }
        };
        ImageSource(Arc::new(read))
    }

    /// What was guessed, and what was left out.
    fn say(&self, say: &mut dyn FnMut(&str)) {
        let mut guesses = lock(&self.guesses).clone();
        guesses.dedup();
        guesses.iter().for_each(|text| say(text));
        for left_out in lock(&self.folders).iter().filter(|left_out| !left_out.is_empty()) {
            say(&left_out.to_string());
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hidden command of the process that a model is tried in. `print` gets lines for stdout.
pub fn trial(args: TrialArgs, print: &mut dyn FnMut(&str)) {
    let said = said(&args.input, args.output.as_ref());
    let TrialArgs { model, runtime, threads, batch, part, ort, .. } = args;
    let TrialArgs { max_memory, processor_seconds, .. } = args;
    let library = ort.ort_lib;
    let request = Request {
        path: model,
        said,
        runtime,
        threads,
        batch,
        part,
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
    for text in measure::matched_otherwise(&old, &new) {
        (style.say)(&text);
    }
    if changes.is_empty() {
        let percent = 100.0 * args.threshold;
        (style.say)(&format!("nothing that both have has moved by more than {percent:.1}%"));
    }
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
