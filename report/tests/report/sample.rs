use adwp_report::{LatencyRow, ParityRow, PhaseTime, RunReport, RuntimeAccuracy, SkippedImages};
use serde_json::{Map, Value, json};

/// A report whose numbers are all different, so that a test sees which of them is missing.
pub(crate) fn report() -> RunReport {
    let phase = |name: &str, seconds| PhaseTime {
        name: name.to_owned(),
        seconds,
        planned_bytes: None,
        peak_bytes: None,
    };
    let trained = |name: &str, seconds, planned, peak| PhaseTime {
        planned_bytes: Some(planned),
        peak_bytes: Some(peak),
        ..phase(name, seconds)
    };
    let parity = |a: &str, b: &str, max_abs, mean_abs, top1_agree| ParityRow {
        a: a.to_owned(),
        b: b.to_owned(),
        max_abs,
        mean_abs,
        top1_agree,
        n: 512,
    };
    let classes =
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    RunReport {
        schema: RunReport::SCHEMA.into(),
        dataset: "cifar10".to_owned(),
        preset: Some("cifar10-8".to_owned()),
        seed: 4711,
        device: "cpu, AVX-512".to_owned(),
        train_images: 50_000,
        test_images: 10_000,
        classes: classes.map(str::to_owned).to_vec(),
        params: 3_214_567,
        params_in_file: 3_187_210,
        madds: 523_456_789,
        test_accuracy: 0.9731,
        test_correct: 9_731,
        test_correct_with_flips: None,
        recipe: vec!["rate 0.025 with cosine decay".to_owned(), "cutout 16".to_owned()],
        skipped_images: SkippedImages::default(),
        runtime_accuracy: vec![
            RuntimeAccuracy {
                runtime: "onnxruntime".to_owned(),
                correct: 9_732,
                images: 10_000,
                differing: vec![8_643],
            },
            RuntimeAccuracy {
                runtime: "tract".to_owned(),
                correct: 9_729,
                images: 10_000,
                differing: (0..23).map(|i| 401 * i + 7).collect(),
            },
        ],
        parity_max_abs: 4.29e-6,
        parity: vec![
            parity("engine", "onnxruntime", 1.91e-6, 2.37e-7, 512),
            parity("engine", "tract", 4.28e-6, 3.46e-7, 511),
            parity("onnxruntime", "tract", 3.57e-6, 2.88e-7, 510),
        ],
        phases: vec![
            trained("space", 723.41, 19_012_345_678, 19_112_345_678),
            trained("search", 11_733.18, 7_012_345_678, 7_112_345_678),
            trained("retrain", 90_482.07, 3_012_345_678, 3_112_345_678),
            phase("export", 1.83),
            phase("bench", 41.26),
        ],
        latency: vec![
            latency("onnxruntime", "1.31.1", 1, 11.0),
            latency("onnxruntime", "1.31.1", 2, 7.0),
            latency("tract", "0.23.9", 1, 17.0),
        ],
        warnings: Vec::new(),
        search: None,
        budgets: Vec::new(),
        formats: Vec::new(),
        machine: machine(),
        network: None,
        genotype: genotype(),
        cells: Vec::new(),
    }
}

fn latency(runtime: &str, version: &str, threads: usize, ms: f64) -> LatencyRow {
    LatencyRow {
        runtime: runtime.to_owned(),
        runtime_version: version.to_owned(),
        threads,
        batch: 1,
        load_ms: ms * 9.0 + 0.017,
        first_ms: ms + 1.234,
        n: 227 + threads,
        min_ms: ms - 0.512,
        mean_ms: ms + 0.063,
        sd_ms: ms / 100.0 + 0.001,
        p50_ms: ms + 0.021,
        p90_ms: ms + 0.307,
        p95_ms: ms + 0.455,
        p99_ms: ms + 0.871,
        median_repeat_mean_ms: ms + 0.049,
    }
}

fn machine() -> Map<String, Value> {
    let machine = json!({"cpu": "Example CPU @ 2.60GHz", "cores": 2, "affinity": "0-1",
        "memory_gib": 15.6, "os": "linux", "arch": "x86_64"});
    machine.as_object().cloned().unwrap_or_default()
}

/// Eight cells, of which 0 and 3 are alike.
pub(crate) fn genotype() -> Value {
    let ops = [
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
        "identity",
    ];
    let cell = |cell: usize| {
        let seed = if cell == 3 { 0 } else { cell };
        let pair = |node: usize, i: usize| {
            json!({"input": (seed * 5 + node * 3 + i * 2) % (node + 2),
        "op": ops[(seed * 3 + node * 2 + i * 5) % ops.len()]})
        };
        let nodes: Vec<Value> = (0..4).map(|node| json!([pair(node, 0), pair(node, 1)])).collect();
        json!({"kind": if cell == 2 || cell == 5 { "reduction" } else { "normal" }, "nodes": nodes})
    };
    json!({"schema": "adwp/genotype/1", "cells": (0..8).map(cell).collect::<Vec<_>>()})
}

/// Metrics of three phases, as they are written.
pub(crate) fn metrics() -> Vec<Map<String, Value>> {
    let space = (0..30).map(|epoch| {
        let mut entry = line("space", epoch, 30);
        if epoch > 0 {
            entry["stability"] = json!(1.0 - 1.0 / (f64::from(epoch) + 1.5));
        }
        if epoch > 1 {
            entry["superiority"] = json!(0.8 - 1.0 / f64::from(epoch));
        }
        entry["alpha_entropy"] = json!(1.0 - f64::from(epoch) * 0.004);
        entry["validation_accuracy"] = json!(0.85 - 0.5 / (f64::from(epoch) + 1.0));
        entry
    });
    let search = (0..120).map(|epoch| {
        let mut entry = line("search", epoch, 120);
        let stage = ["hypernetwork", "basic-search", "cross-search", "basic-search"]
            [usize::from(epoch >= 60) + usize::from(epoch >= 90) + usize::from(epoch >= 100)];
        entry["stage"] = json!(stage);
        entry["validation_accuracy"] = json!(0.8 - 0.5 / (f64::from(epoch) / 4.0 + 1.0));
        if epoch >= 60 {
            entry["alpha_entropy"] = json!(0.98 - f64::from(epoch - 60) * 0.01);
        }
        entry
    });
    let retrain = (0..20).map(|epoch| {
        let mut entry = line("retrain", epoch, 20);
        entry["learning_rate"] = json!(0.05 * (1.0 - f64::from(epoch) / 20.0));
        if epoch % 5 == 4 {
            entry["test_accuracy"] = json!(0.9 + f64::from(epoch) * 0.003);
        }
        entry
    });
    space.chain(search).chain(retrain).filter_map(|entry| entry.as_object().cloned()).collect()
}

fn line(phase: &str, epoch: i32, epochs: i32) -> Value {
    let share = f64::from(epoch) / f64::from(epochs);
    json!({
        "phase": phase,
        "epoch": epoch,
        "step_ms": 412.5 + 20.0 * f64::from(epoch * 7 % 5),
        "images_per_s": 237.6 - 10.0 * f64::from(epoch * 7 % 5),
        "train_loss": 2.3 * (-2.0 * share).exp(),
        "train_accuracy": 0.95 - 0.8 * (-3.0 * share).exp(),
    })
}

/// What a search leaves: the metrics of its two phases with the probabilities of all candidates,
/// the space, and the genotype.
pub(crate) struct Searched {
    pub(crate) metrics: Vec<Map<String, Value>>,
    pub(crate) space: Value,
    pub(crate) genotype: Value,
}

/// A search of `cells` cells over six candidates a node; the probabilities of each phase are in the
/// lines of its last `epochs` epochs.
///
/// `probability` has a phase, row and epoch. Of each node its first two candidates are kept.
pub(crate) fn searched(
    cells: usize,
    epochs: usize,
    probability: impl Fn(&str, usize, usize) -> Value,
) -> Searched {
    const K: usize = 6;
    let ops = ["sep_conv_3x3", "dil_conv_5x5", "identity"];
    // Two inputs, and of each three operations.
    let pair = |node: usize, i: usize| {
        json!({"input": if i < 3 { 0 } else { node + 1 },
        "op": ops[i % 3]})
    };
    let nodes = |kept: usize| -> Vec<Value> {
        (0..4).map(|node| (0..kept).map(|i| pair(node, i)).collect()).collect()
    };
    let kind = |cell: usize| if cell % 3 == 2 { "reduction" } else { "normal" };
    let object = |value: Value| value.as_object().cloned().unwrap();
    let shares = |epoch: usize| {
        json!({"sep_conv_3x3": 0.5,
        "identity": epoch as f64 / (2 * epochs) as f64, "max_pool_3x3": 0.25})
    };

    let space = (0..epochs).map(|epoch| {
        let list = |from: usize| {
            (0..112).map(|row| probability("space", from + row, epoch)).collect::<Value>()
        };
        let mut entry = line("space", epoch as i32, epochs as i32);
        entry["probabilities"] = json!({"normal": list(0), "reduction": list(112)});
        entry["best_epoch"] = json!(epoch / 2);
        entry["operation_shares"] = shares(epoch);
        object(entry)
    });
    let search = (0..2 * epochs).map(|epoch| {
        let mut entry = line("search", epoch as i32, 2 * epochs as i32);
        entry["stage"] = json!(if epoch < epochs { "hypernetwork" } else { "basic-search" });
        if let Some(epoch) = epoch.checked_sub(epochs) {
            let list = |cell: usize| {
                (0..4 * K)
                    .map(|row| probability("search", cell * 4 * K + row, epoch))
                    .collect::<Value>()
            };
            entry["probabilities"] = (0..cells).map(list).collect();
            entry["operation_shares"] = shares(epoch);
            entry["params"] = json!(3_000_000 + 1000 * epoch);
            entry["madds"] = json!(500_000_000 - 1000 * epoch);
            entry["collapsed"] = json!(false);
        }
        object(entry)
    });
    let cell = |cell: usize| json!({"kind": kind(cell), "nodes": nodes(2)});
    Searched {
        metrics: space.chain(search).collect(),
        space: json!({"schema": "adwp/space/1", "normal": nodes(K), "reduction": nodes(K)}),
        genotype: json!({"schema": "adwp/genotype/1",
            "cells": (0..cells).map(cell).collect::<Vec<_>>()}),
    }
}
