use std::io::{self, Read};
use std::path::{Path, PathBuf};

use adwp_base::output::{as_json, name};
use adwp_base::{Failure, Result};
use adwp_data::{DataError, MOST_BYTES, images_in};
use adwp_measure::onnx::{OnnxModel, Scores};
use adwp_measure::predict::{Prediction, Source, predict as classify};
use adwp_measure::runtime::{Runtime, SessionOptions, find_library};
use serde_json::json;

use crate::cost::short;
use crate::preparation::{Preparation, framing, image_shape, normalization, say_joined};
use crate::{PredictArgs, Style, start};

/// `predict`: the most likely classes of images. Uses only what the file carries. Gives what belongs
/// on stdout, and a failure where an image could not be read.
///
/// # Errors
/// The file does not say how its images are normalised, a runtime fails, or there are no images.
pub fn predict(args: &PredictArgs, style: Style<'_>) -> Result<(String, Option<Failure>)> {
    let model = OnnxModel::load_as(&args.model, &args.load.said())?;
    if args.top == 0 {
        return Err(Failure::input("--top must be at least 1"));
    }
    let normalization = normalization(&model, args.normalize.as_ref())?;
    if model.metadata().classes.is_none() {
        let text =
            format!("{} names no classes: its metadata lacks adwp.classes", args.model.display());
        (style.say)(&text);
    }
    if let Some(text) = model.choice() {
        (style.say)(&text);
    }
    say_joined(&model, 1, &mut *style.say);
    let images = images(&args.images, &mut *style.say)?;
    let (framing, guessed) = framing(&model);
    if let Some(text) = guessed {
        (style.say)(&text);
    }
    let preparation = Preparation { shape: image_shape(&model), framing, normalization };
    let library = find_library(args.load.ort.ort_lib.as_deref(), args.runtime.as_slice())?;
    let runtime =
        args.runtime.unwrap_or(if library.is_some() { Runtime::Ort } else { Runtime::Tract });
    let options = SessionOptions { threads: 1, ort_library: library.as_ref(), batch: 1 };
    let mut session = start(&model, runtime, options, &args.load, style.say)?;
    let (mut results, mut unread, mut said) = (Vec::new(), Vec::new(), false);
    for path in &images {
        let top = match read(path, &preparation) {
            Ok(image) => {
                let found = classify(&mut session, &model, &image, args.top)?;
                if let (false, Some(text)) = (said, unsure(&model, found.from)) {
                    (style.say)(&text);
                    said = true;
                }
                Ok(found.top)
            }
            // What no image can be brought to is what the model and the arguments ask for.
            Err(e @ (DataError::Shape(_) | DataError::Normalization(_))) => return Err(e.into()),
            Err(e) => {
                unread.push(path);
                Err(e)
            }
        };
        results.push((path, top));
    }
    let failure = unread.first().map(|first| {
        let (count, all, first) = (unread.len(), images.len(), first.display());
        Failure::failed(format!("{count} of {all} images cannot be read, such as {first}"))
    });
    if style.json {
        let image = |(path, top): &(&PathBuf, std::result::Result<Vec<Prediction>, DataError>)| {
            let entry = |p: &Prediction| {
                let (class, name, probability) = (p.class, &p.name, p.probability);
                json!({ "class": class, "name": name, "probability": probability })
            };
            match top {
                Ok(top) => {
                    let top: Vec<_> = top.iter().map(entry).collect();
                    json!({ "image": path.display().to_string(), "top": top })
                }
                Err(e) => json!({ "image": path.display().to_string(), "error": e.to_string() }),
            }
        };
        return Ok((as_json(&results.iter().map(image).collect::<Vec<_>>())?, failure));
    }
    let mut text = String::new();
    for (path, top) in results {
        let top = match top {
            Ok(top) => top,
            Err(e) => {
                (style.say)(&e.to_string());
                continue;
            }
        };
        text += &format!("{}\n", name(&path.display().to_string()));
        for p in top {
            text += &format!("  {:>6.2}%  {}\n", 100.0 * p.probability, short(&p.name));
        }
    }
    Ok((text, failure))
}

/// What to say of probabilities that the model does not give itself.
fn unsure(model: &OnnxModel, from: Source) -> Option<String> {
    let file = model.path().display();
    let shown = match from {
        Source::Model => return None,
        Source::Softmax => "the softmax of them",
        Source::Sigmoid => "the sigmoid of it",
    };
    let made = match (&model.output().scores, from) {
        (Scores::OfProbabilities(node), _) => {
            format!("{file} computes its scores from probabilities (node {})", short(node))
        }
        (Scores::Unclear(node), _) => {
            format!("{file} computes its scores by node {}, which gives no logits", short(node))
        }
        (_, Source::Sigmoid) => {
            return Some(format!("{file} gives one score alone: what is shown is {shown}"));
        }
        _ => return None,
    };
    Some(format!("{made}: what is shown is {shown}, which may not be the model's probabilities"))
}

/// Stands for stdin among images.
const STDIN: &str = "-";

/// The images that arguments name, those of a folder in the order of their names.
fn images(named: &[PathBuf], say: &mut dyn FnMut(&str)) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in named {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let (images, left_out) = images_in(path)?;
        if images.is_empty() {
            let failure = Failure::input(format!("{} has no images", path.display()));
            return Err(if left_out.is_empty() {
                failure
            } else {
                failure.hint(left_out.to_string())
            });
        }
        if !left_out.is_empty() {
            say(&left_out.to_string());
        }
        all.extend(images);
    }
    if all.iter().filter(|path| path.as_os_str() == STDIN).count() > 1 {
        return Err(Failure::input("stdin, -, has one image"));
    }
    Ok(all)
}

fn read(path: &Path, preparation: &Preparation) -> std::result::Result<Vec<f32>, DataError> {
    if path.as_os_str() != STDIN {
        return preparation.image(path);
    }
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes);
    let name = Path::new("stdin");
    read.map_err(|source| DataError::Io { path: name.to_owned(), action: "read", source })?;
    if bytes.len() as u64 > MOST_BYTES {
        let (path, size, limit) = (name.to_owned(), bytes.len() as u64, MOST_BYTES);
        return Err(DataError::TooManyBytes { path, size, limit });
    }
    preparation.image_of(name, &bytes)
}
