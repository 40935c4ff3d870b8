//! The steps of a run. Each reads files of the run folder and writes files to it.

use std::path::PathBuf;
use std::time::Instant;

use adwp_base::{Failure, to_json};
use adwp_deploy::DeployError;
use adwp_deploy::accuracy::{self, Accuracy};
use adwp_deploy::bench::{self, BenchOptions, BenchReport};
use adwp_deploy::latency::LatencyOptions;
use adwp_deploy::onnx::OnnxModel;
use adwp_deploy::ort_library::{self, OrtLibrary};
use adwp_deploy::runtime::{Runtime, Session as RuntimeSession, SessionOptions};
use adwp_export::onnx::BatchNorms;
use adwp_export::{Agreement, ExportError, Logits, RetrainData, TOLERANCE, Trained, agree};
use adwp_models::{IntensiveSpace, ModelError, cost};
use adwp_report::{LatencyRow, ParityRow, PhaseTime, RunReport, RuntimeAccuracy};
use adwp_search::Finished;
use adwp_train::{BatchSource, Evaluation, read_json, read_text, watched, write_atomic};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::architecture::{self, RunArchitecture};
use crate::formats;
use crate::limits::{budgets, limits};
use crate::reference;
use crate::session::Session;
use crate::transfer;

/// What the engine and the runtimes made of the exported file: `accuracy.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verification {
    schema: String,
    correct: usize,
    images: usize,
    runtimes: Vec<RuntimeAccuracy>,
    parity: Vec<ParityRow>,
}

const VERIFICATION_SCHEMA: &str = "adwp/verification/1";

/// Reads a file of the run; an error names it.
pub(crate) fn parsed<T>(
    path: PathBuf,
    parse: impl FnOnce(&str) -> Result<T, ModelError>,
) -> Result<T, Failure> {
    parse(&read_text(&path)?).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

/// Derives the intensive space: `space.json`.
pub(crate) fn space(session: &mut Session, command: &str) -> Result<(), Failure> {
    if session.is_done("space", "space.json")? {
        return Ok(());
    }
    if session.resume && architecture::is_there(&session.run) {
        session.console.say("space: not needed, the architecture is there");
        return Ok(());
    }
    let data = session.search_data()?;
    let settings = session.config.space.clone();
    let space = session.phase("space", command, |context| {
        match adwp_search::derive_space(&settings, &data, context)? {
            Finished::Done(space) => Ok(Some(space)),
            Finished::Interrupted => Ok(None),
        }
    })?;
    Ok(write_atomic(&session.run.file("space.json"), space.to_json().as_bytes())?)
}

/// Trains the HyperNetwork and searches: `genotype.json`.
pub(crate) fn search(session: &mut Session, command: &str) -> Result<(), Failure> {
    if session.is_done("search", architecture::GENOTYPE)? {
        return Ok(());
    }
    let named = session.run.file(architecture::NAMED);
    if named.exists() {
        if session.resume {
            session.console.say("search: not needed, the architecture is there");
            return Ok(());
        }
        let failure = Failure::input(format!(
            "{} has an architecture already: {}",
            session.run.path().display(),
            named.display()
        ));
        return Err(
            failure.hint("`adwp retrain` trains it; name another folder with --run to search")
        );
    }
    let space = parsed(session.needs("space.json", "space")?, IntensiveSpace::from_json)?;
    let data = session.search_data()?;
    let limits = limits(&session.config, &space, &data.target)?;
    let settings = session.config.search.clone();
    let genotype = session.phase("search", command, |context| {
        match adwp_search::search(&settings, &space, &limits, &data, context)? {
            Finished::Done(genotype) => Ok(Some(genotype)),
            Finished::Interrupted => Ok(None),
        }
    })?;
    Ok(write_atomic(&session.run.file(architecture::GENOTYPE), genotype.to_json().as_bytes())?)
}

/// Trains the architecture of the run, found or named, from scratch: `weights.safetensors`.
pub(crate) fn retrain(session: &mut Session, command: &str) -> Result<(), Failure> {
    if session.is_done("retrain", "weights.safetensors")? {
        return Ok(());
    }
    let Some(architecture) = RunArchitecture::of_run(session.run.path())? else {
        session.needs(architecture::GENOTYPE, "search")?;
        return Ok(());
    };
    let network = session.images.network(&session.config, &architecture)?;
    let data = RetrainData {
        train: session.images.train.clone(),
        test: session.images.test.clone(),
        streams: session.streams,
        device: session.device.clone(),
    };
    let settings = session.config.retrain.clone();
    let initial = session.run.file(transfer::INITIAL);
    let inherited = if initial.exists() {
        let inherited = transfer::inherit(&network, &Trained::read(&initial)?)?;
        session.console.say(&transfer::describe(&inherited));
        Some(inherited.variables)
    } else {
        None
    };
    let trained = session.phase("retrain", command, |context| {
        Ok(match &inherited {
            Some(inherited) => {
                adwp_export::fine_tune(&settings, network, &data, inherited, context)?
            }
            None => adwp_export::retrain(&settings, network, &data, context)?,
        })
    })?;
    Ok(trained.write(&session.run.file("weights.safetensors"))?)
}

/// Writes `model.onnx`, after engine, candle and every runtime that is here gave the same logits
/// and the same classes.
pub(crate) fn export(session: &mut Session) -> Result<(), Failure> {
    if session.is_done("export", "model.onnx")? && session.run.file("verification.json").exists() {
        return Ok(());
    }
    let start = Instant::now();
    let trained = Trained::read(&session.needs("weights.safetensors", "retrain")?)?;
    let test = session.images.test.clone();
    let model = adwp_export::onnx::model(&trained, BatchNorms::Folded)?;
    // The file gets its name only once it has been compared.
    let unverified = session.run.file("checkpoints").join("unverified.onnx");
    write_atomic(&unverified, &model)?;
    let verified = verify(session, &trained, &test, unverified.clone());
    std::fs::remove_file(&unverified).map_err(|source| adwp_train::TrainError::File {
        action: "remove",
        path: unverified,
        source,
    })?;
    let verification = verified?;
    write_atomic(&session.run.file("verification.json"), to_json(&verification).as_bytes())?;
    write_atomic(&session.run.file("model.onnx"), &model)?;
    session.add_time("export", start.elapsed().as_secs_f64())
}

/// Classifies the test images with the engine, as they were when the network had been trained.
pub(crate) fn evaluate(
    session: &mut Session,
    trained: &Trained,
    test: &BatchSource,
) -> Result<Evaluation, Failure> {
    let classes = trained.network.classes.len();
    let evaluation = trained.evaluate(test, &session.device, &mut session.console)?;
    // Where the network was trained with operations fused and is compared without, or the other way
    // round, ties may fall differently.
    let ties = evaluation.logits.chunks_exact(classes).filter(|logits| is_tie(logits)).count();
    if evaluation.correct.abs_diff(trained.test.correct) > ties
        || evaluation.predictions.len() != trained.test.images
    {
        let (found, stored) = (evaluation.correct, trained.test.correct);
        return Err(Failure::failed(format!(
            "the weights classify {found} test images right, {stored} when they were trained"
        ))
        .hint("the data set or the weights have changed since"));
    }
    Ok(evaluation)
}

fn verify(
    session: &mut Session,
    trained: &Trained,
    test: &BatchSource,
    path: PathBuf,
) -> Result<Verification, Failure> {
    let classes = trained.network.classes.len();
    let evaluation = evaluate(session, trained, test)?;
    let compared = session.config.bench.parity_images.min(test.indices.len());
    let engine =
        Logits { by: "engine".into(), values: evaluation.logits[..compared * classes].to_vec() };
    let (candle, tolerance) = candle(trained, test, compared)?;
    let mut executions = vec![engine, candle];
    let model = OnnxModel::load(&path)?;
    let library = find_ort(session);
    let mut runtimes = Vec::new();
    for runtime in available(library.as_ref()) {
        let options =
            SessionOptions { threads: 1, ort_library: library.as_ref(), batch: test.batch };
        let mut loaded = RuntimeSession::from_model(runtime, &model, &options)?;
        let mut values = Vec::new();
        for batch in test.arrays(compared)? {
            let batch = batch?;
            values.extend(loaded.run(&batch.images, batch.labels.len())?);
        }
        executions.push(Logits { by: runtime.to_string(), values });
        let accuracy = runtime_accuracy(session, &mut loaded, test, runtime)?;
        runtimes.push(compare_predictions(runtime, &accuracy, &evaluation, classes, tolerance)?);
    }
    let parity = agree(&executions, classes, tolerance)?;
    Ok(Verification {
        schema: VERIFICATION_SCHEMA.into(),
        correct: evaluation.correct,
        images: evaluation.predictions.len(),
        runtimes,
        parity: parity.into_iter().map(parity_row).collect(),
    })
}

/// An agreement as the report has it.
pub(crate) fn parity_row(a: Agreement) -> ParityRow {
    ParityRow {
        a: a.a,
        b: a.b,
        max_abs: a.max_abs,
        mean_abs: a.mean_abs,
        top1_agree: a.top1_agree,
        n: a.images,
    }
}

/// Whether the two largest logits of an image are equal within the tolerance.
fn is_tie(logits: &[f32]) -> bool {
    let mut sorted = logits.to_vec();
    sorted.sort_by(f32::total_cmp);
    matches!(sorted[..], [.., second, first] if f64::from(first - second) <= 2.0 * TOLERANCE)
}

/// Logits of the first `count` test images by the trained network in candle, and how far other
/// executions may be from the engine's.
pub(crate) fn candle(
    trained: &Trained,
    test: &BatchSource,
    count: usize,
) -> Result<(Logits, f64), Failure> {
    let mut images = Vec::new();
    for batch in test.arrays(count)? {
        images.extend(batch?.images);
    }
    reference::candle(&trained.inference(1)?, &trained.variables, &images, TOLERANCE)
}

/// The ONNX Runtime library, or a message that goes on without it.
pub(crate) fn find_ort(session: &mut Session) -> Option<OrtLibrary> {
    match ort_library::find(session.ort_lib.as_deref()) {
        Ok(library) => Some(library),
        Err(e) => {
            session.console.say(&format!("going on without ONNX Runtime: {e}"));
            if let Some(hint) = e.hint() {
                session.console.say(&format!("hint: {hint}"));
            }
            None
        }
    }
}

/// The runtimes that can be used.
pub(crate) fn available(ort: Option<&OrtLibrary>) -> Vec<Runtime> {
    Runtime::ALL.into_iter().filter(|runtime| *runtime != Runtime::Ort || ort.is_some()).collect()
}

pub(crate) fn runtime_accuracy(
    session: &mut Session,
    runtime: &mut RuntimeSession,
    images: &BatchSource,
    kind: Runtime,
) -> Result<Accuracy, Failure> {
    let label = format!("test batch under {kind}");
    let batches = watched(&mut session.console, &label, images.arrays(0)?);
    let accuracy = accuracy::evaluate(runtime, batches.map(runtime_batch));
    session.console.clear();
    Ok(accuracy?)
}

/// A batch of the loader as the runtimes take it.
pub(crate) fn runtime_batch(
    batch: Result<adwp_data::Batch, adwp_data::DataError>,
) -> Result<accuracy::Batch, accuracy::ImagesError> {
    let batch = batch?;
    Ok(accuracy::Batch { images: batch.images, labels: batch.labels })
}

/// Compares the classes that a runtime and the engine gave, image by image. They may differ only
/// where the engine's two largest logits are a tie within the tolerance.
pub(crate) fn compare_predictions(
    runtime: Runtime,
    accuracy: &Accuracy,
    engine: &Evaluation,
    classes: usize,
    tolerance: f64,
) -> Result<RuntimeAccuracy, Failure> {
    let pairs = accuracy.predictions.iter().zip(&engine.predictions);
    let differing: Vec<usize> =
        pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
    for &image in &differing {
        let logits = &engine.logits[image * classes..(image + 1) * classes];
        let at = |class: u32| f64::from(logits[class as usize]);
        let difference = (at(engine.predictions[image]) - at(accuracy.predictions[image])).abs();
        if difference.is_nan() || difference > 2.0 * tolerance {
            let (a, b) = ("engine".to_owned(), runtime.to_string());
            return Err(ExportError::Disagreement {
                a,
                b,
                image,
                difference,
                tolerance: 2.0 * tolerance,
            }
            .into());
        }
    }
    Ok(RuntimeAccuracy {
        runtime: runtime.to_string(),
        correct: accuracy.top1,
        images: accuracy.n,
        differing,
    })
}

/// Measures `model.onnx`: `bench.json`.
pub(crate) fn bench(session: &mut Session) -> Result<(), Failure> {
    if session.is_done("bench", "bench.json")? {
        return Ok(());
    }
    let start = Instant::now();
    let model = session.needs("model.onnx", "export")?;
    let library = find_ort(session);
    let settings = &session.config.bench;
    let options = BenchOptions {
        runtimes: available(library.as_ref()),
        threads: settings.threads.clone(),
        latency: latency_options(1, settings.min_time, settings.repeats),
        ort_library: library,
        parity_images: settings.parity_images,
        ..BenchOptions::default()
    };
    let report =
        bench::run(&[model], &options, &mut |text| session.console.say(&format!("bench: {text}")))?;
    report.write(session.run.file("bench.json"))?;
    session.add_time("bench", start.elapsed().as_secs_f64())
}

/// Options of a latency measurement from seconds.
pub(crate) fn latency_options(batch: usize, min_time: f64, repeats: usize) -> LatencyOptions {
    LatencyOptions {
        batch,
        min_time: std::time::Duration::from_secs_f64(min_time),
        repeats,
        ..LatencyOptions::default()
    }
}

/// Writes `report.json` and `report.html` from the files of the run.
pub(crate) fn report(session: &mut Session) -> Result<RunReport, Failure> {
    let trained = Trained::read(&session.needs("weights.safetensors", "retrain")?)?;
    let bench = BenchReport::read(session.needs("bench.json", "run --resume")?)?;
    let path = session.needs("verification.json", "export")?;
    let verification: Verification = read_json(&path, VERIFICATION_SCHEMA)?;
    let measured = bench.models.first().ok_or_else(|| Failure::input("bench.json has no model"))?;
    let counted = cost::count(&trained.inference(1)?.graph);
    let in_file = measured
        .cost
        .counted()
        .ok_or_else(|| Failure::failed("the cost of model.onnx could not be counted"))?;
    if in_file.madds != counted.madds {
        let (file, graph) = (in_file.madds, counted.madds);
        return Err(Failure::failed(format!(
            "model.onnx counts {file} multiply-adds, the network {graph}"
        )));
    }
    let times = session.times()?;
    let metrics = metrics(session)?;
    let latency: Vec<LatencyRow> = measured.latency.iter().map(latency_row).collect();
    let phases = ["space", "search", "retrain", "export", "bench"];
    let (train_images, test_images) =
        (session.images.train.indices.len(), session.images.test.indices.len());
    let report = RunReport {
        schema: adwp_report::Schema,
        dataset: session.config.dataset.to_string(),
        preset: Some(session.config.preset.clone()),
        seed: session.config.seed,
        device: device(&metrics),
        train_images,
        test_images,
        classes: trained.network.classes.clone(),
        params: counted.params,
        params_in_file: in_file.params,
        madds: counted.madds,
        test_accuracy: trained.test.accuracy(),
        test_correct: trained.test.correct,
        test_correct_with_flips: trained.test.correct_with_flips,
        recipe: recipe(session),
        skipped_images: session.skipped,
        parity_max_abs: verification.parity.iter().map(|row| row.max_abs).fold(0.0, f64::max),
        runtime_accuracy: verification.runtimes,
        parity: verification.parity,
        phases: phases
            .iter()
            .filter_map(|name| times.get(*name).map(|&seconds| phase_time(name, seconds, &metrics)))
            .collect(),
        budgets: budgets(&session.config, &trained.network.blueprint, &counted, &latency)?,
        formats: formats::recorded(session)?,
        latency,
        machine: object(&bench.machine),
        network: trained.network.name.clone(),
        genotype: architecture_of(&trained),
    };
    write_atomic(&session.run.file("report.json"), report.to_json().as_bytes())?;
    let html = adwp_report::html(&report, &metrics, candidates(session).as_ref());
    write_atomic(&session.run.file("report.html"), html.as_bytes())?;
    Ok(report)
}

/// The genotype; of a network that has none, what it is instead.
fn architecture_of(trained: &Trained) -> Value {
    let value = match trained.network.blueprint.genotype() {
        Some(genotype) => serde_json::to_value(genotype),
        None => serde_json::to_value(trained.network.architecture()),
    };
    value.expect("an architecture prints as JSON")
}

/// What the network was trained with, in words.
fn recipe(session: &Session) -> Vec<String> {
    let mut recipe = session.config.retrain.recipe();
    if session.run.file(transfer::INITIAL).exists() {
        recipe.insert(0, "fine-tuned from the weights of another run".into());
    }
    recipe
}

/// What `space.json` holds, for the names of the candidates. The genotype may have come from
/// elsewhere, so that there is none.
fn candidates(session: &Session) -> Option<Value> {
    let text = read_text(&session.run.file("space.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// What the last epoch was computed on.
fn device(metrics: &[Map<String, Value>]) -> String {
    let last = metrics.iter().rev().find_map(|entry| entry.get("device")?.as_str());
    last.unwrap_or("cpu").to_owned()
}

/// A phase with its memory, where its epochs tell.
fn phase_time(name: &str, seconds: f64, metrics: &[Map<String, Value>]) -> PhaseTime {
    let largest = |key: &str| {
        let epochs =
            metrics.iter().filter(|entry| entry.get("phase").and_then(Value::as_str) == Some(name));
        epochs.filter_map(|entry| entry.get(key)?.as_u64()).max()
    };
    PhaseTime {
        name: name.to_owned(),
        seconds,
        planned_bytes: largest("planned_bytes"),
        peak_bytes: largest("peak_bytes"),
    }
}

fn latency_row(l: &adwp_deploy::latency::LatencyReport) -> LatencyRow {
    LatencyRow {
        runtime: l.runtime.to_string(),
        runtime_version: l.runtime_version.clone(),
        threads: l.threads,
        batch: l.batch,
        load_ms: l.load_ms,
        first_ms: l.first_ms,
        n: l.n,
        min_ms: l.min_ms,
        mean_ms: l.mean_ms,
        sd_ms: l.sd_ms,
        p50_ms: l.p50_ms,
        p90_ms: l.p90_ms,
        p95_ms: l.p95_ms,
        p99_ms: l.p99_ms,
        median_repeat_mean_ms: l.median_repeat_mean_ms,
    }
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn metrics(session: &Session) -> Result<Vec<Map<String, Value>>, Failure> {
    let path = session.run.metrics();
    if !path.exists() {
        return Ok(Vec::new());
    }
    // A kill can leave a line cut off; the phase that continues writes it again.
    Ok(read_text(&path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// A runtime's failure for want of its library, told apart so that a command can go on with
/// another.
pub(crate) fn find_library(
    explicit: Option<&std::path::Path>,
    wanted: &[Runtime],
) -> Result<Option<OrtLibrary>, DeployError> {
    match ort_library::find(explicit) {
        Ok(library) => Ok(Some(library)),
        Err(e) if wanted.contains(&Runtime::Ort) || explicit.is_some() => Err(e),
        Err(_) => Ok(None),
    }
}
