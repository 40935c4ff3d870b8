use std::io::{self, Read};
use std::path::{Path, PathBuf};

use adwp_base::output::{as_json, name};
use adwp_base::{Failure, Result};
use adwp_data::{
    DataError, Framing, ImageShape, MOST_BYTES, Normalization, decode_image_bytes,
    decode_image_framed, images_in,
};
use adwp_measure::onnx::OnnxModel;
use adwp_measure::predict::{Prediction, predict as classify};
use adwp_measure::runtime::{Runtime, Session, SessionOptions, find_library};
use serde_json::json;

use crate::args::Normalize;
use crate::{PredictArgs, Style};

pub(crate) fn image_shape(model: &OnnxModel) -> ImageShape {
    let input = model.input();
    ImageShape { channels: input.channels, height: input.height, width: input.width }
}

/// What is done with pixels: what the file says, or where it says nothing what was asked for.
pub(crate) fn normalization(model: &OnnxModel, asked: Option<&Normalize>) -> Result<Normalization> {
    let file = model.path().display();
    match (model.preparation(), asked) {
        (Some(stated), None) => Ok(Normalization { mean: stated.mean, std: stated.std }),
        (None, Some(asked)) => {
            let (mean, std) = asked.constants(model.input().channels)?;
            Ok(Normalization { mean, std })
        }
        (Some(_), Some(_)) => {
            let text = format!("--normalize: {file} says itself how its images are normalised");
            Err(Failure::input(text))
        }
        (None, None) => {
            Err(Failure::input(format!("{file} does not say how its images are normalised")).hint(
                "its metadata lacks adwp.mean and adwp.std, which files have that adwp exported: \
                 say it with --normalize, such as --normalize imagenet",
            ))
        }
    }
}

/// `predict`: the most likely classes of images. Uses only what the file carries. Gives what belongs
/// on stdout, and a failure where an image could not be read.
///
/// # Errors
/// The file does not say how its images are normalised, a runtime fails, or there are no images.
pub fn predict(args: &PredictArgs, style: Style<'_>) -> Result<(String, Option<Failure>)> {
    let model = OnnxModel::load(&args.model)?;
    let shape = image_shape(&model);
    let normalization = normalization(&model, args.normalize.as_ref())?;
    if model.metadata().classes.is_none() {
        let text =
            format!("{} names no classes: its metadata lacks adwp.classes", args.model.display());
        (style.say)(&text);
    }
    let images = images(&args.images, &mut *style.say)?;
    // The test images of a folder were scaled with a margin; the same is done to these.
    let framing = match model.metadata().dataset.as_deref() {
        Some("image-folder") => Framing::Evaluation,
        _ => Framing::Cover,
    };
    let library = find_library(args.ort.ort_lib.as_deref(), args.runtime.as_slice())?;
    let runtime =
        args.runtime.unwrap_or(if library.is_some() { Runtime::Ort } else { Runtime::Tract });
    let options = SessionOptions { threads: 1, ort_library: library.as_ref(), batch: 1 };
    let mut session = Session::from_model(runtime, &model, &options)?;
    let (mut results, mut unread) = (Vec::new(), Vec::new());
    for path in &images {
        let top = match decoded(path, shape, framing) {
            Ok(pixels) => {
                let mut image = vec![0.0; pixels.len()];
                normalization.apply(&pixels, &mut image)?;
                Ok(classify(&mut session, &model, &image, args.top)?)
            }
            // A shape that no image has is the model's.
            Err(e @ DataError::Shape(_)) => return Err(e.into()),
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
        let image = |(path, top): &(_, std::result::Result<Vec<Prediction>, DataError>)| {
            let entry = |p: &Prediction| {
                let (class, name, probability) = (p.class, &p.name, p.probability);
                json!({ "class": class, "name": name, "probability": probability })
            };
            match top {
                Ok(top) => {
                    let top: Vec<_> = top.iter().map(entry).collect();
                    json!({ "image": path, "top": top })
                }
                Err(e) => json!({ "image": path, "error": e.to_string() }),
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
            text += &format!("  {:>6.2}%  {}\n", 100.0 * p.probability, name(&p.name));
        }
    }
    Ok((text, failure))
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

fn decoded(
    path: &Path,
    shape: ImageShape,
    framing: Framing,
) -> std::result::Result<Vec<u8>, DataError> {
    if path.as_os_str() != STDIN {
        return decode_image_framed(path, shape, framing);
    }
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes);
    let name = Path::new("stdin");
    read.map_err(|source| DataError::Io { path: name.to_owned(), action: "read", source })?;
    if bytes.len() as u64 > MOST_BYTES {
        let (path, size, limit) = (name.to_owned(), bytes.len() as u64, MOST_BYTES);
        return Err(DataError::TooManyBytes { path, size, limit });
    }
    decode_image_bytes(name, &bytes, shape, framing)
}
