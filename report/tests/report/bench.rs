use adwp_report::{
    BenchFold, BenchLatency, BenchMachine, BenchModel, BenchNode, BenchPage, BenchParity,
    BenchProfile, LatencyRow, bench_csv, bench_html, bench_markdown, bench_table,
};

use crate::markup::assert_balanced;

fn latency(threads: usize, ms: f64) -> BenchLatency {
    BenchLatency {
        row: LatencyRow {
            runtime: "ort".into(),
            runtime_version: "1.31.1".into(),
            threads,
            batch: 1,
            load_ms: 20.0,
            first_ms: 3.0 * ms,
            n: 500,
            min_ms: 0.9 * ms,
            mean_ms: ms,
            sd_ms: 0.1 * ms,
            p50_ms: ms,
            p90_ms: 1.1 * ms,
            p95_ms: 1.2 * ms,
            p99_ms: 1.5 * ms,
            median_repeat_mean_ms: ms,
        },
        optimization: "all".into(),
        warm_up_runs: 10,
        stable: true,
        spread: 0.08,
        noisy: true,
        percentiles_ms: (0..=20).map(|step| ms * (0.9 + 0.02 * f64::from(step))).collect(),
        images_per_s: 1000.0 / ms,
        peak_bytes: Some(40_000_000),
        model_bytes: None,
    }
}

fn model(name: &str, accuracy: Option<f64>) -> BenchModel {
    BenchModel {
        name: name.into(),
        path: format!("{name}.onnx"),
        producer: "adwp".into(),
        input: [3, 32, 32],
        classes: 10,
        file_bytes: 123_456,
        params: Some(26_922),
        madds: Some(3_328_576),
        weight_bytes: Some(110_000),
        activation_bytes: None,
        accuracy,
        images: Some("the first dimension of x is 4".into()),
        uncounted: vec!["mystery (Einsum): an operator that the counter does not know".into()],
        genotype: None,
        latency: vec![latency(1, 0.25), latency(2, 0.31)],
        parity: vec![BenchParity {
            reference: "ort, 1 thread".into(),
            session: "tract, 1 thread".into(),
            max_abs: 2.0,
            mean_abs: 0.5,
            cosine: 0.9,
            top1_agree: 7,
            top5_agree: 6,
            n: 8,
            agrees: false,
            parts_at: Some("cast (Cast), by 2.00e0 of 1.00e0".into()),
        }],
        profiles: vec![BenchProfile {
            session: "ort, 1 thread".into(),
            runs: 12,
            run_ms: 0.5,
            nodes: vec![BenchNode {
                name: "cell0/node2/conv/dw".into(),
                op: "Conv".into(),
                ms: 0.3,
                share: 1.0,
                gmacs: Some(1.25),
            }],
            folded: (1..=3)
                .map(|depth| BenchFold { path: format!("path{depth}"), depth, ms: 0.3, share: 1.0 })
                .collect(),
        }],
    }
}

fn page(models: Vec<BenchModel>) -> BenchPage {
    let machine = |name: &str| BenchMachine {
        name: name.into(),
        facts: vec![("processor".into(), "a & b, 2 cores".into())],
        warnings: vec!["the machine was busy".into()],
        models: models.clone(),
    };
    BenchPage { machines: vec![machine("pi"), machine("laptop")] }
}

#[test]
fn a_page_shows_every_machine_and_what_is_wrong() {
    let html = bench_html(&page(vec![model("small", Some(0.9)), model("large", Some(0.95))]));
    assert_balanced(&html);
    for word in [
        "accuracy against latency",
        "pi: ort 1.31.1, 2 threads",
        "a &amp; b",
        "the machine was busy",
        "mystery (Einsum)",
        "the first dimension of x is 4",
        "cast (Cast)",
        "1.25",
    ] {
        assert!(html.contains(word), "{word}");
    }
    // Where a model states no accuracy, all are compared by what they compute.
    let html = bench_html(&page(vec![model("small", Some(0.9)), model("large", None)]));
    assert!(html.contains("multiply-adds against latency") && !html.contains("class=\"front\""));
}

#[test]
fn nothing_that_a_file_says_breaks_a_page_or_a_table() {
    let mut hostile = model("</title><script>alert(1)</script>, \"x\"\n| y", None);
    (hostile.params, hostile.madds) = (None, None);
    hostile.latency[0].row.p50_ms = f64::NAN;
    hostile.latency[1].percentiles_ms = vec![f64::INFINITY; 21];
    hostile.genotype = Some(serde_json::json!({ "cells": "<b>" }));
    hostile.profiles[0].nodes[0].share = f64::NAN;
    let forged = "x\nerror: forged\u{1b}[2K";
    hostile.path = forged.into();
    hostile.uncounted = vec![forged.into()];
    hostile.profiles[0].nodes[0].name = forged.into();
    hostile.parity[0].parts_at = Some(forged.into());
    hostile.parity[0].agrees = false;
    let page = page(vec![hostile]);
    let html = bench_html(&page);
    assert_balanced(&html);
    assert!(!html.contains("<script>"));
    let csv = bench_csv(&page);
    assert!(csv.contains("\"</title><script>alert(1)</script>, \"\"x\"\"\n| y\""));
    assert!(bench_markdown(&page).lines().all(|line| !line.starts_with("| y")));
    let table = bench_table(&page);
    assert!(table.contains("n/a") && table.contains(r"x\nerror: forged\u001b[2K"));
    assert!(!table.contains('\u{1b}') && table.lines().all(|line| !line.starts_with("error")));
    let nothing = BenchPage { machines: vec![] };
    assert_balanced(&bench_html(&nothing));
    assert_eq!((bench_csv(&nothing).lines().count(), bench_table(&nothing).trim()), (1, ""));
}
