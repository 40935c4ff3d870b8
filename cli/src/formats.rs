//! Further files of a network: with pixels as input, in 16-bit floats, in 8-bit integers. Each has
//! a record of what it lost beside it.

use std::path::Path;
use std::time::Instant;

use adwp_base::{Failure, to_json};
use adwp_deploy::DeployError;
use adwp_deploy::onnx::OnnxModel;
use adwp_deploy::ort_library;
use adwp_deploy::runtime::{Probe, Session as RuntimeSession, SessionOptions};
use adwp_export::onnx::{CALIBRATION, Format, Numbers, Precision, model_in, quantizer};
use adwp_export::{Logits, Trained, agree};
use adwp_report::FormatRow;
use adwp_train::{BatchSource, Evaluation, TrainError, read_json, watched, write_atomic};
use serde::{Deserialize, Serialize};

use crate::session::Session;
use crate::steps::{
    available, candle, compare_predictions, evaluate, find_ort, parity_row, runtime_accuracy,
};

/// What became of a network in another form: `verification.int8.json` and its like.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: String,
    format: FormatRow,
}

const SCHEMA: &str = "adwp/format/1";

/// Logits of 16-bit floats may differ by this share of the largest one: some ten roundings of 2⁻¹¹.
const HALF_TOLERANCE: f64 = 0.01;

/// The loss of accuracy, as a share of the test images, beyond which a message tells it.
const NOTABLE_LOSS: f64 = 0.01;

/// Every form that has a file and a record of its own.
const FORMATS: [Format; 5] = [
    Format { precision: Precision::F32, pixels: true },
    Format { precision: Precision::F16, pixels: false },
    Format { precision: Precision::F16, pixels: true },
    Format { precision: Precision::Int8, pixels: false },
    Format { precision: Precision::Int8, pixels: true },
];

fn record(format: Format) -> String {
    format!("verification{}.json", format.suffix())
}

/// Writes the network in another form. Floats have to agree with the engine; of integers the
/// accuracy is measured and told.
pub(crate) fn export(
    session: &mut Session,
    format: Format,
    calibration_images: usize,
) -> Result<(), Failure> {
    let file = format.file();
    if session.is_done("export", &file)? && session.run.file(&record(format)).exists() {
        return Ok(());
    }
    let start = Instant::now();
    let trained = Trained::read(&session.needs("weights.safetensors", "retrain")?)?;
    let test = session.images.test.clone();
    let evaluation = evaluate(session, &trained, &test)?;
    let numbers = match format.precision {
        Precision::F32 => Numbers::F32,
        Precision::F16 => Numbers::F16,
        Precision::Int8 => calibrate(session, &trained, calibration_images)?,
    };
    let model = model_in(&trained, &numbers, format.pixels, trained.test.accuracy())?;
    let row = with_file(session, "unverified.onnx", &model, |session, path| {
        verify(session, &trained, &test, &evaluation, &numbers, path)
    })?;
    let loss = (row.correct_before as f64 - row.runtimes[0].correct as f64)
        / row.runtimes[0].images as f64;
    if loss > NOTABLE_LOSS {
        session.console.say(&format!(
            "export: {file} classifies {:.2} points of the test images worse than the network",
            100.0 * loss
        ));
    }
    // What the file states is what it was measured to do.
    let accuracy = row.runtimes[0].correct as f64 / row.runtimes[0].images as f64;
    let model = model_in(&trained, &numbers, format.pixels, accuracy)?;
    let row =
        FormatRow { file: file.clone(), pixels: format.pixels, bytes: model.len() as u64, ..row };
    let record_file = Record { schema: SCHEMA.into(), format: row };
    write_atomic(&session.run.file(&record(format)), to_json(&record_file).as_bytes())?;
    write_atomic(&session.run.file(&file), &model)?;
    session.add_time("export", start.elapsed().as_secs_f64())
}

/// Does something with a file that is not there afterwards.
fn with_file<T>(
    session: &mut Session,
    name: &str,
    bytes: &[u8],
    work: impl FnOnce(&mut Session, &Path) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let path = session.run.file("checkpoints").join(name);
    write_atomic(&path, bytes)?;
    let result = work(session, &path);
    std::fs::remove_file(&path).map_err(|source| TrainError::File {
        action: "remove",
        path,
        source,
    })?;
    result
}

/// Shows training images, evenly from all of them, to a quantiser.
fn calibrate(session: &mut Session, trained: &Trained, count: usize) -> Result<Numbers, Failure> {
    let library = ort_library::find(session.ort_lib.as_deref())?;
    let mut quantizer = quantizer(trained)?;
    let train = &session.images.train;
    let (all, images) = (train.indices.len(), count.min(train.indices.len()));
    let indices = (0..images).map(|i| train.indices[i * all / images]).collect();
    let source = BatchSource { indices, stored: None, ..train.clone() };
    let float = quantizer.calibration_model();
    with_file(session, "calibration.onnx", &float, |session, path| {
        let model = OnnxModel::load(path)?;
        let mut probe = Probe::load(&model, Some(&library))?;
        for batch in watched(&mut session.console, "calibration batch", source.arrays(0)?) {
            let batch = batch?;
            quantizer.observe(&model.input().name, &batch.images)?;
            let mut observed = Ok(());
            probe.run(&batch.images, batch.labels.len(), |tensor, values| {
                if observed.is_ok() {
                    observed = quantizer.observe(tensor, values);
                }
            })?;
            observed?;
        }
        session.console.clear();
        Ok(())
    })?;
    Ok(Numbers::Int8 { quantizer: Box::new(quantizer), images })
}

/// Runs a file in every runtime that is here.
fn verify(
    session: &mut Session,
    trained: &Trained,
    test: &BatchSource,
    engine: &Evaluation,
    numbers: &Numbers,
    path: &Path,
) -> Result<FormatRow, Failure> {
    let classes = trained.network.classes.len();
    let compared = session.config.bench.parity_images.min(test.indices.len());
    let largest = engine.logits.iter().fold(0.0, |largest, logit| logit.abs().max(largest));
    let (precision, tolerance, calibration) = match numbers {
        Numbers::F32 => (Precision::F32, Some(candle(trained, test, compared)?.1), None),
        Numbers::F16 => (Precision::F16, Some(HALF_TOLERANCE * f64::from(largest)), None),
        Numbers::Int8 { images, .. } => {
            (Precision::Int8, None, Some(format!("{CALIBRATION}, {images} training images")))
        }
    };
    let reference =
        Logits { by: "engine".into(), values: engine.logits[..compared * classes].to_vec() };
    let model = OnnxModel::load(path)?;
    let preparation = model.preparation().ok_or_else(|| {
        Failure::failed("the exported file does not say how images are normalised")
    })?;
    let normalization = adwp_data::Normalization { mean: preparation.mean, std: preparation.std };
    let test = BatchSource { normalization, stored: None, ..test.clone() };
    let library = find_ort(session);
    let mut row = FormatRow {
        file: String::new(),
        precision: precision.name().into(),
        pixels: false,
        bytes: 0,
        calibration,
        tolerance,
        correct_before: engine.correct,
        runtimes: Vec::new(),
        parity: Vec::new(),
        refused: Vec::new(),
    };
    for runtime in available(library.as_ref()) {
        let options =
            SessionOptions { threads: 1, ort_library: library.as_ref(), batch: test.batch };
        let mut loaded = match RuntimeSession::from_model(runtime, &model, &options) {
            Ok(loaded) => loaded,
            Err(e) => {
                let reason = match e {
                    DeployError::Load { detail, .. } => detail,
                    e => e.to_string(),
                };
                session.console.say(&format!("export: {runtime} cannot run this file: {reason}"));
                row.refused.push(format!("{runtime}: {reason}"));
                continue;
            }
        };
        let mut values = Vec::new();
        for batch in test.arrays(compared)? {
            let batch = batch?;
            values.extend(loaded.run(&batch.images, batch.labels.len())?);
        }
        let accepted = tolerance.unwrap_or(f64::INFINITY);
        let executions = [reference.clone(), Logits { by: runtime.to_string(), values }];
        row.parity.extend(agree(&executions, classes, accepted)?.into_iter().map(parity_row));
        let accuracy = runtime_accuracy(session, &mut loaded, &test, runtime)?;
        row.runtimes.push(compare_predictions(runtime, &accuracy, engine, classes, accepted)?);
    }
    if row.runtimes.is_empty() {
        return Err(Failure::failed(format!(
            "no runtime can run the file: {}",
            row.refused.join("; ")
        )));
    }
    Ok(row)
}

/// The files of the run in other forms, as they were recorded.
pub(crate) fn recorded(session: &Session) -> Result<Vec<FormatRow>, Failure> {
    let mut rows = Vec::new();
    for format in FORMATS {
        let path = session.run.file(&record(format));
        if !path.exists() || !session.run.file(&format.file()).exists() {
            continue;
        }
        rows.push(read_json::<Record>(&path, SCHEMA)?.format);
    }
    Ok(rows)
}
