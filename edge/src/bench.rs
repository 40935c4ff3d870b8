use std::{
    collections::HashSet,
    env,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use adwp_base::{Failure, Result, output::as_json};
use adwp_data::{
    DataError, ImageShape, LeftOut, Normalization, Reason, decode_image, images_below,
};
use adwp_measure::{
    DeployError, affinity,
    bench::{self as measure, BenchOptions, BenchReport, ImageSource, Verdict},
    latency::LatencyOptions,
    memory,
    onnx::OnnxModel,
    runtime::find_library,
};

use crate::{
    BenchArgs, CompareArgs, ProbeArgs, Style, args::Format, choose, page, predict::image_shape,
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
    if let Some(list) = &args.cpu {
        affinity::pin(&affinity::parse(list)?)?;
    }
    let library = find_library(args.ort.ort_lib.as_deref(), &args.runtime)?;
    let images = Images::named(&args.images)?;
    let options = BenchOptions {
        runtimes: choose(&args.runtime, library.as_ref(), style.say),
        threads: args.threads.clone(),
        latency: LatencyOptions {
            batch: args.batch,
            min_time: args.min_time,
            repeats: args.repeat,
            ..LatencyOptions::default()
        },
        ort_library: library,
        parity_images: PARITY_IMAGES,
        images: images.as_ref().map(Images::source),
        memory_probe: if args.no_memory { None } else { env::current_exe().ok() },
        profile: args.profile.then_some(PROFILE),
    };
    let report = measure::run(&args.models, &options, &mut *style.say);
    if let Some(images) = &images {
        images.say_left_out(&mut *style.say);
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
    folders: Mutex<Folders>,
}

/// One file.
struct Named {
    path: PathBuf,
    /// Which of the folders it was found in; a file that was named itself has to be readable.
    folder: Option<usize>,
}

/// The folders that images are in.
#[derive(Default)]
struct Folders {
    /// What is left out of each.
    left_out: Vec<LeftOut>,
    /// Files among it that could not be read: every model reads them anew.
    unread: HashSet<PathBuf>,
}

impl Images {
    /// `None` where no paths are given.
    fn named(paths: &[PathBuf]) -> Result<Option<Arc<Self>>> {
        if paths.is_empty() {
            return Ok(None);
        }
        let (mut named, mut folders) = (Vec::new(), Folders::default());
        for path in paths {
            if !path.is_dir() {
                named.push(Named { path: path.clone(), folder: None });
                continue;
            }
            let folder = Some(folders.left_out.len());
            let (images, left_out) = images_below(path, MOST_IMAGES)?;
            named.extend(images.into_iter().map(|path| Named { path, folder }));
            folders.left_out.push(left_out);
        }
        if named.is_empty() {
            return Err(Failure::input(format!("{}: no images there", paths[0].display())));
        }
        named.truncate(MOST_IMAGES);
        Ok(Some(Arc::new(Self { named, folders: Mutex::new(folders) })))
    }

    fn source(self: &Arc<Self>) -> ImageSource {
        let images = Arc::clone(self);
        let read = move |model: &OnnxModel| {
            let shape = image_shape(model);
            // Runtimes can be compared on pixels that are normalised in another way than the model
            // was trained with.
            let normalization = match model.preparation() {
                Some(known) => Normalization { mean: known.mean, std: known.std },
                None => Normalization {
                    mean: vec![0.5; shape.channels],
                    std: vec![0.25; shape.channels],
                },
            };
            images
                .read(shape, &normalization)
                .map_err(|e| DeployError::Images { batch: 0, source: Box::new(e) })
        };
        ImageSource(Arc::new(read))
    }

    /// Normalised pixels: [n, channels, height, width]. An image of a folder that cannot be read is
    /// left out, which is found here: to decode all of them before would take as long again.
    fn read(&self, shape: ImageShape, constants: &Normalization) -> Result<Vec<f32>, DataError> {
        let (mut images, mut first) = (Vec::new(), None);
        for Named { path, folder } in &self.named {
            let pixels = match (decode_image(path, shape), folder) {
                (Ok(pixels), _) => pixels,
                // A shape that no image has is the model's.
                (Err(e @ DataError::Shape(_)), _) | (Err(e), None) => return Err(e),
                (Err(e), Some(folder)) => {
                    let mut folders = self.folders();
                    if folders.unread.insert(path.clone()) {
                        folders.left_out[*folder].add(Reason::of(&e), path);
                    }
                    first.get_or_insert(e);
                    continue;
                }
            };
            let start = images.len();
            images.resize(start + pixels.len(), 0.0);
            constants.apply(&pixels, &mut images[start..])?;
        }
        match first {
            Some(e) if images.is_empty() => Err(e),
            _ => Ok(images),
        }
    }

    fn say_left_out(&self, say: &mut dyn FnMut(&str)) {
        for left_out in self.folders().left_out.iter().filter(|left_out| !left_out.is_empty()) {
            say(&left_out.to_string());
        }
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The hidden command that reports the memory of its own process.
///
/// # Errors
/// The model does not run.
pub fn probe(args: &ProbeArgs) -> Result<String> {
    as_json(&memory::of_this_process(
        &args.model,
        args.runtime,
        args.threads,
        args.batch,
        args.ort.ort_lib.as_deref(),
    )?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_image_of_a_folder_is_left_out_and_one_that_is_named_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        for name in ["a.png", "c.png"] {
            image::GrayImage::new(4, 4).save(file(name)).unwrap();
        }
        std::fs::write(file("b.png"), "broken").unwrap();
        std::fs::write(file("notes.txt"), "no image").unwrap();
        let shape = ImageShape { channels: 1, height: 2, width: 2 };
        let constants = Normalization { mean: vec![0.5], std: vec![0.5] };
        let images = Images::named(&[dir.path().to_owned()]).unwrap().unwrap();
        // As for two models.
        for _ in 0..2 {
            assert_eq!(images.read(shape, &constants).unwrap(), [-1.0; 8]);
        }
        let mut said = String::new();
        images.say_left_out(&mut |text| said += text);
        let expected = format!(
            "{}: left out: 1 not named like an image (such as notes.txt), 1 of a format that is not \
             read (b.png)",
            dir.path().display()
        );
        assert_eq!(said, expected);

        let named = Images::named(&[file("a.png"), file("b.png")]).unwrap().unwrap();
        assert!(named.read(shape, &constants).unwrap_err().to_string().contains("b.png"));
        for name in ["a.png", "c.png"] {
            std::fs::remove_file(file(name)).unwrap();
        }
        let broken = Images::named(&[dir.path().to_owned()]).unwrap().unwrap();
        assert!(broken.read(shape, &constants).is_err(), "there is nothing to compare on");
        std::fs::remove_file(file("b.png")).unwrap();
        let none = Images::named(&[dir.path().to_owned()]).err().unwrap();
        assert!(none.message.ends_with("no images there"), "{none}");
    }
}
