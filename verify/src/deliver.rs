use std::path::Path;

use adwp_base::{Draft, write_atomic};
use adwp_data::Normalization;
use adwp_measure::DeployError;
use adwp_measure::accuracy::{self, Accuracy};
use adwp_measure::onnx::OnnxModel;
use adwp_measure::runtime::{Runtime, Session, SessionOptions};
use adwp_report::{ParityRow, RuntimeAccuracy};
use adwp_train::{BatchSource, Evaluation, Reporter, watched};

use crate::agree::{Logits, compare};
use crate::checks::Images;
use crate::{Checks, Result, VerifyError};

/// What a file was found to compute, as the report of a run shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verification {
    /// Accuracy by runtime; empty where the images have no labels.
    pub runtimes: Vec<RuntimeAccuracy>,
    /// Agreement of candle, where it was compared, and of every runtime with the engine.
    pub parity: Vec<ParityRow>,
    /// Runtimes that cannot run the file, with what they say.
    pub refused: Vec<String>,
}

/// Puts an ONNX file at `path` once everything that can execute it has given what the engine gave.
/// Until then it is a [`Draft`], and after an error there is no file.
///
/// `seal` hears of the verification before the file gets its name, and may keep a record of it. It
/// gives other bytes only where the metadata of the file states what was measured.
///
/// # Errors
/// [`VerifyError::Disagreement`]; when a runtime refuses the file and `checks` want all, or when
/// all refuse it; when an image, a file or `seal` fails.
pub fn deliver<E: From<VerifyError>>(
    path: &Path,
    bytes: &[u8],
    checks: &Checks<'_>,
    reporter: &mut dyn Reporter,
    seal: impl FnOnce(&Verification) -> Result<Option<Vec<u8>>, E>,
) -> Result<Verification, E> {
    let draft = Draft::write(path, bytes).map_err(VerifyError::from)?;
    let verification = verify(draft.path(), checks, reporter)?;
    match seal(&verification)? {
        None => draft.publish(),
        Some(restated) => write_atomic(path, &restated),
    }
    .map_err(VerifyError::from)?;
    Ok(verification)
}

fn verify(path: &Path, checks: &Checks<'_>, reporter: &mut dyn Reporter) -> Result<Verification> {
    let model = OnnxModel::load(path)?;
    let accepted = checks.tolerance.unwrap_or(f64::INFINITY);
    let agrees = |other: &Logits| compare(&checks.engine, other, checks.classes, accepted);
    let mut found = Verification::default();
    found.parity.extend(checks.candle.as_ref().map(agrees).transpose()?);
    let options = SessionOptions {
        threads: 1,
        ort_library: checks.library,
        batch: checks.images.batch(model.input().image_len()),
    };
    for runtime in Runtime::available(checks.library) {
        let mut session = match Session::from_model(runtime, &model, &options) {
            Ok(session) => session,
            Err(e) if checks.may_be_refused => {
                let reason = match e {
                    DeployError::Load { detail, .. } => detail,
                    e => e.to_string(),
                };
                reporter.message(&format!("export: {runtime} cannot run this file: {reason}"));
                found.refused.push(format!("{runtime}: {reason}"));
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        match &checks.images {
            Images::Pixels(pixels) => {
                let values = session.run(pixels, options.batch)?;
                found.parity.push(agrees(&Logits { by: runtime.to_string(), values })?);
            }
            Images::Test(reference) => {
                let source = prepared(reference.test, &model)?;
                let values = logits(&mut session, &source, reference.compared)?;
                found.parity.push(agrees(&Logits { by: runtime.to_string(), values })?);
                let accuracy = classify(&mut session, &source, runtime, reporter)?;
                let row =
                    same_classes(runtime, &accuracy, &reference.engine, checks.classes, accepted)?;
                found.runtimes.push(row);
            }
        }
    }
    match found.refused.len() == Runtime::available(checks.library).len() {
        true => Err(VerifyError::NotRun(found.refused)),
        false => Ok(found),
    }
}

/// The images as the file says that they are normalised.
fn prepared(source: &BatchSource, model: &OnnxModel) -> Result<BatchSource> {
    let said = model.preparation().ok_or(VerifyError::Unprepared)?;
    let normalization = Normalization { mean: said.mean, std: said.std };
    Ok(BatchSource { normalization, stored: None, ..source.clone() })
}

/// Logits of the first `count` images.
fn logits(session: &mut Session, source: &BatchSource, count: usize) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    for batch in source.arrays(count)? {
        let batch = batch?;
        values.extend(session.run(&batch.images, batch.labels.len())?);
    }
    Ok(values)
}

fn classify(
    session: &mut Session,
    source: &BatchSource,
    runtime: Runtime,
    reporter: &mut dyn Reporter,
) -> Result<Accuracy> {
    let label = format!("test batch under {runtime}");
    let batches = watched(reporter, &label, source.arrays(0)?).map(|batch| {
        let batch = batch?;
        Ok(accuracy::Batch { images: batch.images, labels: batch.labels })
    });
    let accuracy = accuracy::evaluate(session, batches);
    reporter.phase_end();
    Ok(accuracy?)
}

/// Compares the classes that a runtime and the engine gave, image by image. They may differ only
/// where the engine's two largest logits are a tie within the tolerance.
fn same_classes(
    runtime: Runtime,
    accuracy: &Accuracy,
    engine: &Evaluation,
    classes: usize,
    tolerance: f64,
) -> Result<RuntimeAccuracy> {
    let pairs = accuracy.predictions.iter().zip(&engine.predictions);
    let differing: Vec<usize> =
        pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
    let tolerance = 2.0 * tolerance;
    for &image in &differing {
        let logits = &engine.logits[image * classes..(image + 1) * classes];
        let at = |class: u32| f64::from(logits[class as usize]);
        let difference = (at(engine.predictions[image]) - at(accuracy.predictions[image])).abs();
        if difference.is_nan() || difference > tolerance {
            let (a, b) = ("engine".to_owned(), runtime.to_string());
            return Err(VerifyError::Disagreement { a, b, image, difference, tolerance });
        }
    }
    let (correct, images) = (accuracy.top1, accuracy.n);
    Ok(RuntimeAccuracy { runtime: runtime.to_string(), correct, images, differing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_engine::Device;
    use adwp_export::{Bare, noise};
    use adwp_models::{Sizes, Zoo};
    use adwp_train::{Quiet, Streams};

    #[test]
    fn a_file_gets_its_name_only_where_all_agree() {
        let device = Device::cpu(1).unwrap();
        let sizes = Sizes { image: Some([3, 32, 32]), classes: Some(5), ..Sizes::default() };
        let blueprint = Zoo::embedded().find("mobilenet-v1").unwrap().network(sizes).unwrap();
        let [ours, other] = [1, 2].map(|seed| Bare::random(&blueprint, seed, &device).unwrap());
        let images = noise(&mut Streams::new(3).once("images"), 2 * 3 * 32 * 32);
        let checks = Checks::of_bare(&ours, &images, None, &device).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        let put = |network: &Bare, sealed: Result<Option<Vec<u8>>>| {
            let bytes = network.to_onnx("mobilenet-v1").unwrap();
            (deliver(&path, &bytes, &checks, &mut Quiet, |_| sealed), bytes)
        };
        let is_empty = || std::fs::read_dir(folder.path()).unwrap().count() == 0;

        let (refused, _) = put(&other, Ok(None));
        assert!(matches!(refused, Err(VerifyError::Disagreement { .. })) && is_empty());
        let (refused, _) = put(&ours, Err(VerifyError::Unprepared));
        assert!(matches!(refused, Err(VerifyError::Unprepared)) && is_empty());

        let (found, bytes) = put(&ours, Ok(None));
        let by: Vec<String> = found.unwrap().parity.into_iter().map(|row| row.b).collect();
        assert_eq!(by, ["candle", "tract"]);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        put(&ours, Ok(Some(b"restated".to_vec()))).0.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"restated");
    }
}
