use std::time::{Duration, Instant};

use adwp_base::{Failure, Result, output::as_json};
use adwp_data::{Loader, LoaderConfig, Normalization, OpenOptions};
use adwp_measure::{
    accuracy::{self, Accuracy},
    onnx::OnnxModel,
    runtime::{Runtime, Session, SessionOptions, find_library},
};
use serde_json::json as object;

use crate::{EvalArgs, Style, choose};

/// Time between two messages.
const INTERVAL: Duration = Duration::from_secs(10);

/// `eval`: top-1 and top-5 accuracy through the runtimes.
///
/// # Errors
/// The model does not fit the data set, or a runtime or an image fails.
pub fn eval(args: &EvalArgs, style: Style<'_>) -> Result<String> {
    if args.batch == 0 {
        return Err(Failure::input("--batch must be at least 1"));
    }
    let model = OnnxModel::load(&args.model)?;
    let input = model.input();
    let options = OpenOptions { image_size: (input.height > 0).then_some(input.height) };
    let splits = adwp_data::open(args.dataset, args.data.as_deref(), &options)?;
    let shape = splits.test.shape();
    let (found, expected) =
        ([shape.channels, shape.height, shape.width], [input.channels, input.height, input.width]);
    if found != expected {
        return Err(Failure::input(format!(
            "the model takes images of {expected:?} (channels, height, width), {} has {found:?}",
            args.dataset
        )));
    }
    let (classes, outputs) = (splits.test.classes().len(), model.output().classes);
    if classes != outputs {
        return Err(Failure::input(format!(
            "the model tells {outputs} classes apart, {} has {classes}",
            args.dataset
        )));
    }
    // The file says how its images are prepared; without a word of it, the data set's constants are
    // the best guess.
    let normalization = match model.preparation() {
        Some(n) => Normalization { mean: n.mean, std: n.std },
        None => splits.normalization.clone(),
    };
    let library = find_library(args.ort.ort_lib.as_deref(), &args.runtime)?;
    let mut rows = Vec::new();
    for runtime in choose(&args.runtime, library.as_ref(), style.say) {
        let options =
            SessionOptions { threads: 1, ort_library: library.as_ref(), batch: args.batch };
        let mut session = Session::from_model(runtime, &model, &options)?;
        let config =
            LoaderConfig::sequential(splits.test.clone(), normalization.clone(), args.batch);
        let (mut done, mut said) = (0, Instant::now());
        let batches = Loader::new(config)?.map(|batch| {
            let batch = batch?;
            done += batch.labels.len();
            if said.elapsed() >= INTERVAL {
                said = Instant::now();
                (style.say)(&format!("{done} images under {runtime}"));
            }
            Ok(accuracy::Batch { images: batch.images, labels: batch.labels })
        });
        rows.push((runtime, accuracy::evaluate(&mut session, batches)?));
    }
    if style.json {
        let row = |(runtime, a): &(Runtime, Accuracy)| {
            object!({
                "runtime": runtime,
                "images": a.n,
                "top1": a.top1_share(),
                "top5": a.top5_share(),
                "top1_correct": a.top1,
                "top5_correct": a.top5,
            })
        };
        return as_json(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let line = |(runtime, a): &(Runtime, Accuracy)| {
        format!(
            "{runtime:<6} top-1 {:.2}%  top-5 {:.2}%  ({} of {} images)\n",
            100.0 * a.top1_share(),
            100.0 * a.top5_share(),
            a.top1,
            a.n
        )
    };
    Ok(rows.iter().map(line).collect())
}
