use adwp_base::{Failure, Result};
use adwp_export::Trained;
use adwp_measure::bench::BenchReport;
use adwp_models::{CellKind, IntensiveSpace, cost};
use adwp_report::{Cell, LatencyRow, Pair, PhaseTime, RunReport};
use adwp_train::{read_metrics, write_atomic};
use serde::Serialize;
use serde_json::{Map, Value};

use super::export::{Record, recorded};
use crate::architecture::parsed;
use crate::explore;
use crate::limits::budgets;
use crate::run::Run;
use crate::transfer;

/// Writes `report.json` and `report.html` from the files of the run.
pub(crate) fn report(run: &Run) -> Result<RunReport> {
    let trained = Trained::read(&run.needs("weights.safetensors", "retrain")?)?;
    let bench = BenchReport::read(run.needs("bench.json", "run --resume")?)?;
    let verification = Record::read(run)?;
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
    let times = run.times()?;
    let metrics = read_metrics(&run.dir)?;
    let latency: Vec<LatencyRow> = measured.latency.iter().map(adwp_edge::latency_row).collect();
    // The training before may have been a load of one for each core, and one for its batches.
    let mut warnings = bench.warnings_beyond(1.0 + bench.machine.cores as f64);
    warnings.extend(run.lost()?);
    let phases = ["space", "search", "retrain", "export", "bench"];
    let (train_images, test_images) =
        (run.images.train.indices.len(), run.images.test.indices.len());
    let report = RunReport {
        schema: RunReport::SCHEMA.into(),
        dataset: run.config().dataset.to_string(),
        preset: Some(run.config().preset.clone()),
        seed: run.config().seed,
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
        recipe: recipe(run),
        skipped_images: run.skipped,
        parity_max_abs: verification.parity.iter().map(|row| row.max_abs).fold(0.0, f64::max),
        runtime_accuracy: verification.runtimes,
        parity: verification.parity,
        phases: phases
            .iter()
            .filter_map(|name| times.get(*name).map(|&seconds| phase_time(name, seconds, &metrics)))
            .collect(),
        budgets: budgets(run.config(), &trained.network.blueprint, &counted, &latency)?,
        formats: recorded(run)?,
        latency,
        warnings,
        search: explore::record(run)?,
        machine: object(&bench.machine),
        network: trained.network.name.clone(),
        genotype: architecture_of(&trained),
        cells: cells(&trained)?,
    };
    write_atomic(&run.dir.file("report.json"), report.to_json().as_bytes())?;
    let html = adwp_report::html(&report, &metrics, candidates(run)?.as_ref());
    write_atomic(&run.dir.file("report.html"), html.as_bytes())?;
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

/// The cells of an architecture that has no genotype to draw.
fn cells(trained: &Trained) -> Result<Vec<Cell>> {
    if trained.network.blueprint.genotype().is_some() {
        return Ok(Vec::new());
    }
    let cells = trained.inference(1)?.cells.into_iter().map(|wiring| Cell {
        kind: match wiring.kind {
            CellKind::Normal => "normal".into(),
            CellKind::Reduction => "reduction".into(),
        },
        inputs: wiring.inputs,
        nodes: wiring
            .nodes
            .iter()
            .map(|pairs| {
                let pair = |&(input, op): &(usize, &str)| Pair { input, op: op.to_owned() };
                pairs.iter().map(pair).collect()
            })
            .collect(),
        output: wiring.output,
    });
    Ok(cells.collect())
}

/// What the network was trained with, in words.
fn recipe(run: &Run) -> Vec<String> {
    let mut recipe = run.config().retrain.recipe();
    if run.dir.file(transfer::INITIAL).exists() {
        recipe.insert(0, "fine-tuned from the weights of another run".into());
    }
    recipe
}

/// What `space.json` holds, for the names of the candidates. The genotype may have come from
/// elsewhere, so that there is none.
fn candidates(run: &Run) -> Result<Option<Value>> {
    let path = run.dir.file("space.json");
    if !path.exists() {
        return Ok(None);
    }
    let space = parsed(path, IntensiveSpace::from_json)?;
    Ok(Some(serde_json::to_value(space).expect("a space prints as JSON")))
}

/// What the epochs were computed on, each device once.
fn device(metrics: &[Map<String, Value>]) -> String {
    let mut devices: Vec<&str> = Vec::new();
    for name in metrics.iter().filter_map(|entry| entry.get("device")?.as_str()) {
        if !devices.contains(&name) {
            devices.push(name);
        }
    }
    if devices.is_empty() { "unknown".to_owned() } else { devices.join(", ") }
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

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
