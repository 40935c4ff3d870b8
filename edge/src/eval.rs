use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use adwp_base::{Failure, Result, output::as_json};
use adwp_data::{
    Dataset, DatasetKind, Loader, LoaderConfig, Normalization, OpenOptions, Part, Reason,
    open_part, undivided, unreadable,
};
use adwp_measure::{
    DeployError,
    accuracy::{self, Accuracy},
    onnx::{BatchSize, OnnxModel, Scores},
    ort_library::OrtLibrary,
    runtime::{Runtime, SessionOptions, find_library},
};
use serde_json::json as object;

use crate::cost::short;
use crate::preparation::{framing, image_shape, normalization, say_joined};
use crate::{EvalArgs, Style, choose, start};

/// Time between two messages.
const INTERVAL: Duration = Duration::from_secs(10);

/// `eval`: top-1 and top-5 accuracy through the runtimes.
///
/// A runtime that cannot do its part is a row that says why, as long as another one can.
///
/// # Errors
/// The model does not fit the data set, every runtime fails, or an image does.
pub fn eval(args: &EvalArgs, style: Style<'_>) -> Result<String> {
    if args.batch == 0 {
        return Err(Failure::input("--batch must be at least 1"));
    }
    let model = OnnxModel::load_as(&args.model, &args.load.said())?;
    let shape = image_shape(&model);
    if let (DatasetKind::Sample, Some(data)) = (args.dataset, &args.data) {
        return Err(Failure::input(format!(
            "--data {}: the data set is sample, which is part of the program",
            data.display()
        )));
    }
    let divided_here = undivided(args.dataset, args.data.as_deref());
    refuse_idle_share(args.val_share, divided_here)?;
    let options = OpenOptions { val_share: args.val_share, ..OpenOptions::default() };
    let test = open_part(args.dataset, args.data.as_deref(), Part::Test, &options)?;
    if let Some(data) = divided_here {
        (style.say)(&format!(
            "{}: no train/CLASS and val/CLASS, so what images show decides: {} are for testing",
            data.display(),
            test.len()
        ));
    }
    let model = model.with_classes(test.classes().len())?;
    if let Some(text) = model.choice() {
        (style.say)(&text);
    }
    if let Scores::OfProbabilities(node) = &model.output().scores {
        (style.say)(&format!(
            "{} computes its scores from probabilities (node {}): the largest is taken for the class",
            model.path().display(),
            short(node)
        ));
    }
    say_joined(&model, args.batch, &mut *style.say);
    let (framing, guessed) = framing(&model);
    if let Some(text) = guessed {
        (style.say)(&text);
    }
    let (dataset, has) = (args.dataset, test.shape());
    let test = Arc::new(test.framed(shape, framing).ok_or_else(|| {
        Failure::input(format!("the model takes images of {shape}, {dataset} has {has}"))
    })?);
    match (args.dataset, has.channels, shape.channels) {
        (DatasetKind::ImageFolder, ..) | (_, 1, 1) | (_, 3, 3) => {}
        (_, 3, _) => (style.say)(&format!("the model takes gray: {dataset} is made gray for it")),
        _ => (style.say)(&format!("the model takes colours: {dataset} has gray ones alone")),
    }
    let labels = labels(&model, test.classes(), &args.dataset.to_string())?;
    if model.metadata().classes.is_none() {
        let (file, dataset) = (model.path().display(), args.dataset);
        (style.say)(&format!(
            "{file} names no classes: its metadata lacks adwp.classes, so that its scores are \
             taken to be in the order of those of {dataset}"
        ));
    }
    let normalization = normalization(&model, args.normalize.as_ref())?;
    let indices = readable(&test, style.say)?;
    let library = find_library(args.load.ort.ort_lib.as_deref(), &args.runtime)?;
    let cores = if test.is_costly() { available_parallelism().map_or(1, usize::from) } else { 1 };
    let work = Work { args, model, labels, normalization, indices, test, library, threads: cores };
    let (mut rows, mut first) = (Vec::new(), None);
    for runtime in choose(&args.runtime, work.library.as_ref(), style.say) {
        match work.judged(runtime, style.say)? {
            Ok(accuracy) => rows.push((runtime, Ok(accuracy))),
            Err(error) if error.is_of_runtime() => {
                rows.push((runtime, Err(error.one_line())));
                first.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let (Some(error), true) = (first, rows.iter().all(|(_, row)| row.is_err())) {
        return Err(error.into());
    }
    for (runtime, _) in rows.iter().filter(|(_, row)| row.is_err()) {
        (style.say)(&format!("warning: going on without {runtime}, which fails on this file"));
    }
    if style.json {
        let row = |(runtime, row): &Row| match row {
            Ok(a) => object!({
                "runtime": runtime,
                "images": a.n,
                "top1": a.top1_share(),
                "top5": a.top5_share(),
                "top1_correct": a.top1,
                "top5_correct": a.top5,
            }),
            Err(reason) => object!({ "runtime": runtime, "failed": reason }),
        };
        return as_json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let line = |(runtime, row): &Row| match row {
        Ok(a) => format!(
            "{runtime:<6} top-1 {:.2}%  top-5 {:.2}%  ({} of {} images)\n",
            100.0 * a.top1_share(),
            100.0 * a.top5_share(),
            a.top1,
            a.n
        ),
        Err(reason) => format!("{runtime:<6} failed: {reason}\n"),
    };
    Ok(rows.iter().map(line).collect())
}

/// Refuses a share for testing where nothing is divided.
///
/// # Errors
/// There is a share, and no folder that is divided.
pub fn refuse_idle_share(share: Option<f64>, divided: Option<&Path>) -> Result<()> {
    if share.is_none() || divided.is_some() {
        return Ok(());
    }
    let failure = Failure::input("--val-share: the images are divided into train and val already");
    Err(failure.hint("it is for an image folder that has CLASS/* alone"))
}

/// What a runtime gave, or why it gave nothing.
type Row = (Runtime, Result<Accuracy, String>);

/// What every runtime is to do.
struct Work<'a> {
    args: &'a EvalArgs,
    model: OnnxModel,
    /// Which class of the model each of the data set is.
    labels: Vec<u32>,
    normalization: Normalization,
    indices: Vec<u32>,
    test: Arc<Dataset>,
    library: Option<OrtLibrary>,
    /// Threads that read images.
    threads: usize,
}

impl Work<'_> {
    /// How often the model is right; image by image where it takes no more of them at once. The
    /// inner error is one of the runtime and its file.
    fn judged(
        &self,
        runtime: Runtime,
        say: &mut dyn FnMut(&str),
    ) -> Result<Result<Accuracy, DeployError>> {
        let (batch, at_once) = (self.args.batch, self.in_batches(runtime, self.args.batch, say)?);
        let may_take_one = batch > 1 && self.model.input().batch == BatchSize::Dynamic;
        if !may_take_one
            || !matches!(at_once, Err(DeployError::Load { .. } | DeployError::Run { .. }))
        {
            return Ok(at_once);
        }
        let alone = self.in_batches(runtime, 1, say)?;
        if alone.is_err() {
            return Ok(at_once);
        }
        let file = self.model.path().display();
        say(&format!(
            "{runtime} cannot run {batch} images of {file} at once, so it was given one by one, as \
             --batch 1 does"
        ));
        Ok(alone)
    }

    fn in_batches(
        &self,
        runtime: Runtime,
        batch: usize,
        say: &mut dyn FnMut(&str),
    ) -> Result<Result<Accuracy, DeployError>> {
        let options = SessionOptions { threads: 1, ort_library: self.library.as_ref(), batch };
        let mut session = match start(&self.model, runtime, options, &self.args.load, say) {
            Ok(session) => session,
            Err(error) => return Ok(Err(error)),
        };
        let config = LoaderConfig {
            indices: self.indices.clone(),
            threads: self.threads,
            ..LoaderConfig::sequential(self.test.clone(), self.normalization.clone(), batch)
        };
        let (mut done, mut said) = (0, Instant::now());
        let batches = Loader::new(config)?.map(|batch| {
            let batch = batch?;
            done += batch.labels.len();
            if said.elapsed() >= INTERVAL {
                said = Instant::now();
                say(&format!("{done} images under {runtime}"));
            }
            let of_model = batch.labels.iter().map(|&label| self.labels[label as usize]);
            Ok(accuracy::Batch { images: batch.images, labels: of_model.collect() })
        });
        Ok(accuracy::evaluate(&mut session, batches))
    }
}

/// For each class of the data set which of the model's it is: by its name, where the file has
/// names.
fn labels(model: &OnnxModel, classes: &[String], dataset: &str) -> Result<Vec<u32>> {
    let outputs = model.output().classes;
    let names = model.metadata().classes.as_ref();
    let only = |these: &[String], those: &[String]| {
        let names: Vec<String> =
            these.iter().filter(|name| !those.contains(name)).map(|name| short(name)).collect();
        match names.len() {
            0 => "none".to_owned(),
            1..=SHOWN => names.join(", "),
            more => format!("{} and {} more", names[..SHOWN].join(", "), more - SHOWN),
        }
    };
    let differences = |names: &[String]| {
        format!(
            "only the file has {}; only the data set has {}",
            only(names, classes),
            only(classes, names)
        )
    };
    if classes.len() != outputs {
        let names = names.map(|names| format!(": {}", differences(names))).unwrap_or_default();
        return Err(Failure::input(format!(
            "the model tells {outputs} classes apart, {dataset} has {}{names}",
            classes.len()
        )));
    }
    let Some(names) = names else { return Ok((0..).take(outputs).collect()) };
    let place = |class: &String| Some(names.iter().position(|name| name == class)? as u32);
    classes.iter().map(place).collect::<Option<Vec<u32>>>().ok_or_else(|| {
        let file = model.path().display();
        let twice = |(place, name): &(usize, &String)| names[..*place].contains(name);
        if let Some((_, name)) = names.iter().enumerate().find(twice) {
            let name = short(name);
            let text = format!("{file} names the class {name} twice, and {dataset} each once");
            return Failure::input(text);
        }
        Failure::input(format!("{file} has other classes than {dataset}: {}", differences(names)))
    })
}

/// Names of classes that a message shows.
const SHOWN: usize = 5;

/// Images that cannot be read and are named.
const NAMED: usize = 5;

/// The images that can be read, those that a run on the folder uses; what is left out is said.
fn readable(test: &Dataset, say: &mut dyn FnMut(&str)) -> Result<Vec<u32>> {
    let all = test.indices();
    let Some(mut left_out) = test.left_out().cloned() else { return Ok(all) };
    let bad = unreadable(test, &all, &mut |_, _| {});
    for (index, error) in &bad {
        left_out.add(Reason::of(error), &test.path(*index as usize).unwrap_or_default());
    }
    if !left_out.is_empty() {
        say(&left_out.to_string());
    }
    bad.iter().take(NAMED).for_each(|(_, error)| say(&error.to_string()));
    let bad: HashSet<u32> = bad.into_iter().map(|(index, _)| index).collect();
    let left: Vec<u32> = all.into_iter().filter(|index| !bad.contains(index)).collect();
    if left.is_empty() {
        return Err(Failure::input(format!("{}: no image can be read", test.name())));
    }
    Ok(left)
}
