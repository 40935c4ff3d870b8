use adwp_base::{Failure, Result, output::as_json};
use adwp_data::{Framing, ImageShape, Normalization, decode_image, decode_image_framed};
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

/// `predict`: the most likely classes of images. Uses only what the file carries.
///
/// # Errors
/// The file does not say how its images are normalised, or a runtime or an image fails.
pub fn predict(args: &PredictArgs, style: Style<'_>) -> Result<String> {
    let model = OnnxModel::load(&args.model)?;
    let shape = image_shape(&model);
    let normalization = normalization(&model, args.normalize.as_ref())?;
    if model.metadata().classes.is_none() {
        let text =
            format!("{} names no classes: its metadata lacks adwp.classes", args.model.display());
        (style.say)(&text);
    }
    // The test images of a folder were scaled with a margin; the same is done to these.
    let framed = model.metadata().dataset.as_deref() == Some("image-folder");
    let library = find_library(args.ort.ort_lib.as_deref(), args.runtime.as_slice())?;
    let runtime =
        args.runtime.unwrap_or(if library.is_some() { Runtime::Ort } else { Runtime::Tract });
    let options = SessionOptions { threads: 1, ort_library: library.as_ref(), batch: 1 };
    let mut session = Session::from_model(runtime, &model, &options)?;
    let mut results = Vec::new();
    for path in &args.images {
        let pixels = if framed {
            decode_image_framed(path, shape, Framing::Evaluation)?
        } else {
            decode_image(path, shape)?
        };
        let mut image = vec![0.0; pixels.len()];
        normalization.apply(&pixels, &mut image)?;
        results.push((path, classify(&mut session, &model, &image, args.top)?));
    }
    if style.json {
        let image = |(path, top): &(_, Vec<Prediction>)| {
            let entry = |p: &Prediction| {
                let (class, name, probability) = (p.class, &p.name, p.probability);
                json!({ "class": class, "name": name, "probability": probability })
            };
            let top: Vec<_> = top.iter().map(entry).collect();
            json!({ "image": path, "top": top })
        };
        return as_json(&results.iter().map(image).collect::<Vec<_>>());
    }
    let mut text = String::new();
    for (path, top) in results {
        text += &format!("{}\n", path.display());
        for p in top {
            text += &format!("  {:>6.2}%  {}\n", 100.0 * p.probability, p.name);
        }
    }
    Ok(text)
}
