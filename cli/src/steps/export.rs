//! Files of a network: `model.onnx`, and further forms of it with pixels as input, in 16-bit floats
//! or in 8-bit integers. Each has a record of what it was found to do.

use std::time::Instant;

use adwp_base::{Failure, Result, to_json};
use adwp_export::Trained;
use adwp_export::onnx::{BatchNorms, CALIBRATION, Format, Numbers, Precision, model, model_in};
use adwp_measure::ort_library;
use adwp_report::{FormatRow, ParityRow, RuntimeAccuracy};
use adwp_train::{Reporter, read_json, write_atomic};
use adwp_verify::{Checks, Reference, calibrate, deliver};
use serde::{Deserialize, Serialize};

use crate::phases::Training;
use crate::run::Run;
use crate::settings::keep_result;

/// What the engine and the runtimes made of `model.onnx`: `verification.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    schema: String,
    correct: usize,
    images: usize,
    pub(super) runtimes: Vec<RuntimeAccuracy>,
    pub(super) parity: Vec<ParityRow>,
}

impl Record {
    const FILE: &str = "verification.json";
    const SCHEMA: &str = "adwp/verification/1";

    pub(super) fn read(run: &Run) -> Result<Self> {
        Ok(read_json(&run.needs(Self::FILE, "export")?, Self::SCHEMA)?)
    }
}

/// What became of a network in another form: `verification.int8.json` and its like.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormRecord {
    schema: String,
    format: FormatRow,
}

const FORM_SCHEMA: &str = "adwp/format/1";

/// The loss of accuracy, as a share of the test images, from which on a message reports it.
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

fn trained(run: &Run) -> Result<Trained> {
    Ok(Trained::read(&run.needs(Training::Retrain.result(), "retrain")?)?)
}

/// Writes `model.onnx`, after engine, candle and every runtime that is here gave the same logits
/// and the same classes.
pub(crate) fn export(run: &Run, reporter: &mut dyn Reporter) -> Result {
    let file = Format::default().file();
    if run.is_done("export", &file, reporter)? && run.dir.file(Record::FILE).exists() {
        return Ok(());
    }
    let start = Instant::now();
    let (trained, test) = (trained(run)?, &run.images.test);
    let bytes = model(&trained, BatchNorms::Folded)?;
    let compared = run.config().bench.parity_images;
    let reference = Reference::new(&trained, test, compared, &run.device, reporter)?;
    let library = run.ort_library(reporter);
    let checks = Checks::of_trained(&reference, library.as_ref())?;
    deliver(&run.dir.file(&file), &bytes, &checks, reporter, |found| {
        let record = Record {
            schema: Record::SCHEMA.into(),
            correct: reference.engine.correct,
            images: reference.engine.predictions.len(),
            runtimes: found.runtimes.clone(),
            parity: found.parity.clone(),
        };
        write_atomic(&run.dir.file(Record::FILE), to_json(&record).as_bytes())?;
        Ok::<_, Failure>(None)
    })?;
    for written in [&file, Record::FILE] {
        keep_result(&run.dir, written)?;
    }
    run.finish("export", start.elapsed().as_secs_f64())
}

/// Writes the network in another form. Floats have to agree with the engine; of integers the
/// accuracy is measured and reported. Those are calibrated on `calibration_images`.
pub(crate) fn export_form(
    run: &Run,
    format: Format,
    calibration_images: usize,
    reporter: &mut dyn Reporter,
) -> Result {
    let (file, record) = (format.file(), run.dir.file(&record(format)));
    if run.is_done("export", &file, reporter)? && record.exists() {
        return Ok(());
    }
    let start = Instant::now();
    let (trained, test) = (trained(run)?, &run.images.test);
    let compared = run.config().bench.parity_images;
    let reference = Reference::new(&trained, test, compared, &run.device, reporter)?;
    let correct_before = reference.engine.correct;
    let numbers = match format.precision {
        Precision::F32 => Numbers::F32,
        Precision::F16 => Numbers::F16,
        Precision::Int8 => {
            let library = ort_library::find(run.plan.ort_lib.as_deref())?;
            let (train, folder) = (&run.images.train, run.dir.path());
            calibrate(&trained, train, calibration_images, &library, folder, reporter)?
        }
    };
    let bytes = model_in(&trained, &numbers, format.pixels, trained.test.accuracy())?;
    let library = run.ort_library(reporter);
    let checks = Checks::of_form(&reference, &numbers, library.as_ref())?;
    let found = deliver(&run.dir.file(&file), &bytes, &checks, reporter, |found| {
        // What the file states is what it was measured to do.
        let first = &found.runtimes[0];
        let accuracy = first.correct as f64 / first.images as f64;
        let restated = model_in(&trained, &numbers, format.pixels, accuracy)?;
        let row = FormatRow {
            file: file.clone(),
            precision: format.precision.name().into(),
            pixels: format.pixels,
            bytes: restated.len() as u64,
            calibration: match numbers {
                Numbers::Int8 { images, .. } => {
                    Some(format!("{CALIBRATION}, {images} training images"))
                }
                Numbers::F32 | Numbers::F16 => None,
            },
            tolerance: checks.tolerance(),
            correct_before,
            runtimes: found.runtimes.clone(),
            parity: found.parity.clone(),
            refused: found.refused.clone(),
        };
        let kept = FormRecord { schema: FORM_SCHEMA.into(), format: row };
        write_atomic(&record, to_json(&kept).as_bytes())?;
        Ok::<_, Failure>(Some(restated))
    })?;
    keep_result(&run.dir, &file)?;
    let first = &found.runtimes[0];
    let loss = (correct_before as f64 - first.correct as f64) / first.images as f64;
    if loss > NOTABLE_LOSS {
        reporter.message(&format!(
            "export: {file} classifies {:.2} points of the test images worse than the network",
            100.0 * loss
        ));
    }
    run.finish("export", start.elapsed().as_secs_f64())
}

/// The files of the run in other forms, as they were recorded.
pub(super) fn recorded(run: &Run) -> Result<Vec<FormatRow>> {
    let mut rows = Vec::new();
    for format in FORMATS {
        let path = run.dir.file(&record(format));
        if path.exists() && run.dir.file(&format.file()).exists() {
            rows.push(read_json::<FormRecord>(&path, FORM_SCHEMA)?.format);
        }
    }
    Ok(rows)
}
