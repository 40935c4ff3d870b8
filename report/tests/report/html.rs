use adwp_report::{
    Cell, FinalistRow, FormatRow, Pair, ParityRow, PartRow, RuntimeAccuracy, SearchRecord,
};
use serde_json::{Map, Value, json};

use crate::markup::{html, section};
use crate::sample::{genotype, metrics, report};

fn page() -> String {
    html(&report(), &metrics(), None)
}

#[test]
fn the_page_stands_alone() {
    let page = page();
    for foreign in [
        "<script", "<link", "<img", "<iframe", "url(", "@import", "://", "src=", "href=",
        " onclick", " onload",
    ] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("width=device-width"));
    assert!(!page.to_lowercase().contains("flops"));
}

#[test]
fn every_number_is_shown() {
    let report = report();
    let page = page();
    let has =
        |part: &str, text: String| assert!(part.contains(&text), "{text} is missing in {part}");
    let head = &page[..page.find("<h2>").unwrap()];
    for text in [
        "cifar10 · cifar10-8",
        "cpu, AVX-512",
        "seed 4711",
        "50,000",
        "10,000",
        "10 classes",
        "3.21 <",
        "3,214,567",
        "3,187,210",
        "523.5 <",
        "523,456,789",
        "97.31 <",
        "9,731 of 10,000",
        "11.021 <",
        "17.021 <",
        "automobile",
        "truck",
    ] {
        has(head, text.to_owned());
    }
    // The headline takes the fewest threads.
    assert!(!head.contains(">7.021 <"), "{head}");

    let phases = section(&page, "Phases");
    for text in [
        "space",
        "723.41",
        "12 min 03 s",
        "11733.18",
        "90482.07",
        "1.83",
        "41.26",
        "102981.75",
        "28 h 36 min 22 s",
    ] {
        has(phases, text.to_owned());
    }
    for megabytes in ["19012.3", "19112.3", "7012.3", "7112.3", "3012.3", "3112.3"] {
        has(phases, format!("<td class=\"n\">{megabytes}</td>"));
    }
    let latency = section(&page, "Latency");
    for row in &report.latency {
        has(
            latency,
            format!(
                "<td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
                row.runtime, row.runtime_version, row.threads, row.batch
            ),
        );
        has(latency, format!("<td class=\"n\">{}</td>", row.n));
        let times = [
            row.load_ms,
            row.first_ms,
            row.min_ms,
            row.mean_ms,
            row.sd_ms,
            row.p50_ms,
            row.p90_ms,
            row.p95_ms,
            row.p99_ms,
            row.median_repeat_mean_ms,
        ];
        for ms in times {
            has(latency, format!("<td class=\"n\">{ms:.3}</td>"));
        }
    }
    let accuracy = section(&page, "Accuracy");
    for text in [
        "97.31",
        "9,731",
        "97.32",
        "9,732",
        "1: <small>number 8643",
        "97.29",
        "9,729",
        "<summary>23<",
    ] {
        has(accuracy, text.to_owned());
    }
    for image in &report.runtime_accuracy[1].differing {
        has(accuracy, format!(" {image}"));
    }
    let parity = section(&page, "Parity");
    for text in [
        "4.29e-6", "1.91e-6", "2.37e-7", "512", "4.28e-6", "3.46e-7", "511", "3.57e-6", "2.88e-7",
        "510",
    ] {
        has(parity, text.to_owned());
    }
    let machine = section(&page, "Machine");
    for text in ["Example CPU @ 2.60GHz", ">2<", "0-1", "15.6", "x86_64"] {
        has(machine, text.to_owned());
    }
}

#[test]
fn other_files_of_the_network_are_told_with_what_they_lost() {
    let mut report = report();
    assert!(!html(&report, &[], None).contains("<h2>Other files</h2>"));
    let runtime = |runtime: &str, correct, differing| RuntimeAccuracy {
        runtime: runtime.to_owned(),
        correct,
        images: 10_000,
        differing,
    };
    let parity =
        |b: &str, max_abs| ParityRow { b: b.to_owned(), max_abs, ..report.parity[0].clone() };
    let int8 = FormatRow {
        file: "model.int8.onnx".to_owned(),
        precision: "int8".to_owned(),
        pixels: false,
        bytes: 845_001,
        calibration: Some("min-max, 512 training images".to_owned()),
        tolerance: None,
        correct_before: 9_731,
        runtimes: vec![
            runtime("onnxruntime", 9_676, vec![37, 42]),
            runtime("tract", 9_735, vec![]),
        ],
        parity: vec![parity("onnxruntime", 0.66), parity("tract", 0.59)],
        refused: Vec::new(),
    };
    let pixels = FormatRow {
        file: "model.<pixels>.onnx".to_owned(),
        precision: "f16".to_owned(),
        pixels: true,
        tolerance: Some(0.0125),
        calibration: None,
        runtimes: Vec::new(),
        parity: Vec::new(),
        refused: vec!["tract: no & never".to_owned()],
        ..int8.clone()
    };
    let whole = FormatRow {
        runtimes: vec![runtime("tract", 9_731, vec![])],
        refused: Vec::new(),
        ..pixels.clone()
    };
    report.formats = vec![int8, pixels, whole];
    let page = html(&report, &[], None);
    let section = section(&page, "Other files");
    // Two runtimes, one file that none runs, one runtime; and the heading.
    assert_eq!(section.matches("<tr>").count(), 2 + 1 + 1 + 1);
    assert_eq!(section.matches("<td").count(), 4 * 11);
    for text in [
        "<td>int8</td><td class=\"n\">845,001</td><td>floats</td><td>onnxruntime</td><td \
         class=\"n\">96.76</td><td class=\"n\">-0.55</td>",
        "<td class=\"n\">97.35</td><td class=\"n\">+0.04</td><td class=\"n\">9,735 of \
         10,000</td><td>none</td>",
        "<td class=\"n\">0.00</td>",
        "number 37, 42",
        "<td class=\"n\">6.60e-1</td><td class=\"n\"><small>any</small></td>",
        "<td class=\"n\">5.90e-1</td>",
        "<td class=\"n\">1.25e-2</td>",
        "<td>pixels</td>",
        "model.int8.onnx: scales of activations: min-max, 512 training images",
        "model.&lt;pixels&gt;.onnx: cannot be run by tract: no &amp; never",
    ] {
        assert!(section.contains(text), "{text} is missing in {section}");
    }
}

#[test]
fn curves_are_those_that_have_numbers() {
    let page = page();
    let curves = section(&page, "Curves");
    let phase = |name: &str| {
        let from = curves.find(&format!("<h3>{name}</h3>")).unwrap();
        let rest = &curves[from + 4..];
        &rest[..rest.find("<h3>").unwrap_or(rest.len())]
    };
    let titles = |name: &str| phase(name).matches("<figcaption>").count();
    assert_eq!([titles("space"), titles("search"), titles("retrain")], [6, 5, 5]);
    assert!(phase("retrain").contains("Learning rate"));
    assert!(phase("space").contains("Superiority") && !phase("search").contains("Superiority"));
    for stage in [
        "s0\"></i>hypernetwork 0–59",
        "s1\"></i>basic-search 60–89",
        "s2\"></i>cross-search 90–99",
        "s1\"></i>basic-search 100–119",
    ] {
        assert!(phase("search").contains(stage), "{stage}");
    }
    // A band for each stage in each chart; that of ten epochs is too narrow for the whole name, and
    // shown without.
    assert_eq!(phase("search").matches("<rect class=\"stage ").count(), 4 * 5);
    assert_eq!(phase("search").matches(">hypernetwork</text>").count(), 5);
    assert_eq!(phase("search").matches(">cross-search</text>").count(), 0);
    // Of the last epoch: 0.9 + 19 · 0.003, in percent.
    assert!(phase("retrain").contains("test 95.7"), "{}", phase("retrain"));
    // Measured every fifth epoch: four dots on one line.
    assert_eq!(phase("retrain").matches("<circle class=\"c2\"").count(), 4);
    assert_eq!(phase("retrain").matches("polyline class=\"line c2\"").count(), 1);
    assert!(phase("space").contains("<title>train, epoch 0: 2.30</title>"));
}

#[test]
fn text_is_escaped() {
    let mut report = report();
    let evil = "<b>\"'&\u{0}</b>";
    let safe = "&lt;b&gt;&quot;&#39;&amp;\u{fffd}&lt;/b&gt;";
    report.classes[3] = evil.to_owned();
    report.dataset = evil.to_owned();
    report.preset = Some(evil.to_owned());
    report.device = evil.to_owned();
    report.phases[0].name = evil.to_owned();
    report.latency[0].runtime = evil.to_owned();
    report.latency[0].runtime_version = evil.to_owned();
    report.runtime_accuracy[0].runtime = evil.to_owned();
    report.parity[0].a = evil.to_owned();
    report.parity[0].b = evil.to_owned();
    report.machine.insert(evil.to_owned(), json!(evil));
    report.genotype["cells"][0]["kind"] = json!(evil);
    report.genotype["cells"][1]["nodes"][0][0]["op"] = json!(evil);
    let mut metrics = metrics();
    metrics[0].insert("phase".to_owned(), json!(evil));
    metrics[0].insert("stage".to_owned(), json!(evil));
    let page = html(&report, &metrics, None);
    assert!(!page.contains("<b>") && !page.contains('\u{0}'));
    // Title and heading (data set and preset in each), device, class, phase, latency (tile, table:
    // two), accuracy, parity: two, machine: two, kind (caption and label), operation (label and
    // title), phase of the metrics, its stage in the list of stages, and in each of five charts as
    // title and label.
    assert_eq!(page.matches(safe).count(), 4 + 2 + 1 + 3 + 1 + 2 + 2 + 2 + 2 + 2 + 5 * 2);

    report.genotype = json!({"cells": evil});
    let page = html(&report, &metrics, None);
    assert!(!page.contains("<b>"));
}

#[test]
fn without_metrics_there_is_a_page() {
    let page = html(&report(), &[], None);
    assert!(section(&page, "Curves").contains("There are no metrics."));
    assert!(
        section(&page, "Candidates").contains("The metrics have no probabilities of candidates.")
    );
    assert!(!page.contains("<h2>Budgets</h2>") && !page.contains("<aside"));
}

#[test]
fn strange_metrics_are_drawn_as_far_as_they_go() {
    let lines = json!([
        {},
        {"phase": 7, "epoch": "first", "train_loss": null, "step_ms": "fast"},
        {"phase": "one", "train_loss": 0.25},
        {"phase": "huge", "epoch": -1e308, "train_loss": 1e308, "stage": {"a": 1}},
        {"phase": "huge", "epoch": 1e308, "train_loss": -1e308, "train_accuracy": 1.7e308,
         "stage": null},
        {"phase": "flat", "epoch": 5, "step_ms": 0.0},
        {"phase": "flat", "epoch": 6, "step_ms": 0.0},
        {"phase": "gap", "epoch": 0, "train_loss": 1.5},
        {"phase": "gap", "epoch": 1, "train_loss": null},
        {"phase": "gap", "epoch": 2, "train_loss": 1.25},
        {"phase": "gap", "epoch": 3, "train_loss": 1.0},
        {"phase": "tiny", "epoch": 0, "train_loss": 5e-324},
        {"phase": "tiny", "epoch": 0, "train_loss": 0.0},
        {"phase": "near", "epoch": 18446744073709551615_u64, "train_loss": 1.0},
        {"phase": "near", "epoch": 9007199254740993_u64, "train_loss": 1.0000000000000002},
    ]);
    let lines: Vec<Map<String, Value>> = serde_json::from_value(lines).unwrap();
    let page = html(&report(), &lines, None);
    let curves = section(&page, "Curves");
    for text in ["NaN", "inf"] {
        assert_eq!(curves.find(text).map(|at| &curves[at.saturating_sub(90)..at + 20]), None);
    }
    assert!(curves.contains("<h3>unnamed phase</h3>") && curves.contains("<h3>7</h3>"));
    let gap = &curves[curves.find("<h3>gap</h3>").unwrap()..curves.find("<h3>tiny</h3>").unwrap()];
    assert_eq!([gap.matches("<polyline").count(), gap.matches("<circle").count()], [1, 3]);
}

#[test]
fn numbers_that_are_none_are_said_to_be_none() {
    let mut report = report();
    report.test_accuracy = f64::NAN;
    report.parity_max_abs = f64::INFINITY;
    report.parity[0].max_abs = f64::NAN;
    report.phases[0].seconds = f64::NEG_INFINITY;
    report.phases[1].seconds = f64::NAN;
    report.latency[0].p50_ms = f64::NAN;
    report.latency[1].p99_ms = f64::INFINITY;
    report.runtime_accuracy[0].images = 0;
    let page = html(&report, &metrics(), None);
    let after_style = &page[page.find("</style>").unwrap()..];
    assert!(
        !after_style.contains("NaN")
            && !after_style.contains(">inf")
            && !after_style.contains(":inf")
    );
    assert!(after_style.matches("n/a").count() >= 8);
}

#[test]
fn an_empty_report_has_a_page() {
    let mut report = report();
    report.dataset.clear();
    report.preset = None;
    report.classes.clear();
    report.runtime_accuracy.clear();
    report.parity.clear();
    report.phases.clear();
    report.latency.clear();
    report.machine.clear();
    report.genotype = Value::Null;
    (report.params, report.madds, report.test_images, report.test_correct) = (0, 0, 0, 0);
    let page = html(&report, &[], None);
    assert!(section(&page, "Latency").contains("No latency was measured."));
    assert!(section(&page, "Architecture").contains("<pre>null</pre>"));
}

#[test]
fn each_different_cell_has_one_picture() {
    let page = page();
    let cells = section(&page, "Architecture");
    assert_eq!(cells.matches("<svg").count(), 7);
    assert!(cells.contains("Cells 0, 3, normal") && cells.contains("Cell 5, reduction"));
    // Eight operations a cell.
    assert_eq!(cells.matches("<rect class=\"op ").count(), 56);
    assert!(cells.contains("sep conv 5×5") && cells.contains("<title>sep_conv_5x5</title>"));
}

#[test]
fn cells_of_other_spaces_are_drawn_too() {
    let mut report = report();
    report.genotype = json!({"member": {"space": "nas-bench-201", "architecture": "|…|"}});
    let pair = |input, op: &str| Pair { input, op: op.to_owned() };
    report.cells = vec![
        Cell {
            kind: "normal".into(),
            inputs: 1,
            nodes: vec![
                vec![pair(0, "nor_conv_3x3")],
                vec![pair(0, "none"), pair(1, "skip_connect")],
            ],
            output: vec![2],
        };
        3
    ];
    let page = html(&report, &[], None);
    let cells = section(&page, "Architecture");
    assert_eq!(cells.matches("<svg").count(), 1, "equal cells are drawn once");
    assert_eq!(cells.matches("<rect class=\"op ").count(), 3);
    assert!(cells.contains(">k−1<") && !cells.contains(">k−2<"), "{cells}");
    assert!(cells.contains("3 cells, 1 of them different") && cells.contains("leads to the bar"));
    report.cells[1].inputs = 3;
    assert!(!section(&html(&report, &[], None), "Architecture").contains("<svg"));
}

#[test]
fn a_genotype_that_cannot_be_drawn_is_shown_as_text() {
    let change = |change: fn(&mut Value)| {
        let mut genotype = genotype();
        change(&mut genotype);
        genotype
    };
    let broken = [
        json!(null),
        json!("<i>text</i>"),
        json!([1, 2]),
        json!({"cells": []}),
        change(|genotype| genotype["cells"][0]["nodes"] = json!([])),
        change(|genotype| genotype["cells"][0]["nodes"][0][0]["input"] = json!(2)),
        change(|genotype| genotype["cells"][1]["nodes"][3][1]["input"] = json!(u64::MAX)),
        change(|genotype| genotype["cells"][1]["nodes"][3][1]["input"] = json!(-1)),
        change(|genotype| genotype["cells"][1]["nodes"] = json!(vec![json!([]); 5000])),
        change(|genotype| {
            genotype["cells"][1]["nodes"][0] =
                json!(vec![json!({"input": 0, "op": "identity"}); 5000])
        }),
    ];
    for genotype in broken {
        let mut report = report();
        report.genotype = genotype.clone();
        let page = html(&report, &[], None);
        let architecture = section(&page, "Architecture");
        assert!(architecture.contains("<pre>") && !architecture.contains("<svg"), "{genotype}");
    }
    // A node that sums nothing, and twice the same edge, are strange but can be drawn.
    let mut report = report();
    report.genotype["cells"][0]["nodes"][0] = json!([]);
    report.genotype["cells"][0]["nodes"][1] =
        json!([{"input": 1, "op": "an_operation_of_another_time"}, {"input": 1, "op": "zero"}]);
    assert!(section(&html(&report, &[], None), "Architecture").contains("an operation …"));
}

#[test]
fn a_search_by_scores_is_told_with_what_chance_found() {
    let part = |origin: &str, mean: f64, best: f64| PartRow {
        origin: origin.to_owned(),
        count: 3,
        mean,
        sd: Some(1.25),
        best,
    };
    let mut report = report();
    let plain = html(&report, &[], None);
    assert!(!plain.contains("<h2>Search</h2>"));
    report.search = Some(SearchRecord {
        strategy: "prednas".into(),
        scorer: "short <training>".into(),
        axis: "validation accuracy, %".into(),
        factor: 100.0,
        space: "darts".into(),
        scores: vec![0.401, 0.412, 0.423, 0.504, 0.515, 0.506],
        parts: vec![
            part("drawn at random", 41.2, 42.3),
            part("chosen by earlier scores", 50.83, 51.5),
        ],
        gain: Some([9.63, 0.456]),
        found: 4,
        finalists: vec![FinalistRow { trial: 4, epochs: 12, accuracy: 0.6173 }],
    });
    let page = html(&report, &[], None);
    let search = section(&page, "Search");
    for told in [
        "prednas scored 6 architectures",
        "short &lt;training&gt;",
        "number 5 is delivered",
        "scored 9.63 more on average",
        "standard error of 0.456",
        "drawn at random",
        "41.2",
        "51.5",
        "architecture 5",
        "61.73",
    ] {
        assert!(search.contains(told), "{told} is not in {search}");
    }
    assert_eq!(search.matches("<polyline").count(), 2);
    let read = adwp_report::RunReport::from_json(&report.to_json()).unwrap();
    assert_eq!(read.search, report.search);
    // A search that found less than chance says so.
    if let Some(search) = &mut report.search {
        search.gain = Some([-0.5, 0.2]);
    }
    assert!(html(&report, &[], None).contains("scored 0.500 less on average"));
}

#[test]
fn noise_of_the_latencies_is_above_everything() {
    let mut noisy = report();
    noisy.warnings = (0..8).map(|n| format!("reason {n} & more")).collect();
    let page = html(&noisy, &[], None);
    let banner = page.find("The latencies are noisy.</strong><ul><li>reason 0 &amp; more").unwrap();
    assert!(banner < page.find("<h2>Latency</h2>").unwrap());
    assert!(page.contains("and 2 more"));
}
