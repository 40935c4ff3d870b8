//! `adwp bench`, `compare`, `cost` and the report of a bench.

use std::fs;

use serde_json::Value;
use tempfile::tempdir;

use crate::folder::json;
use crate::program::{run, text};
use crate::reference::{PICTURE, copy_of_run};

/// A short measurement of a model.
const SHORT: [&str; 4] = ["--min-time", "10ms", "--repeat", "3"];

#[test]
fn a_bench_tells_all_of_a_model_and_is_shown_in_every_form() {
    let (_holder, folder) = copy_of_run();
    let (model, out, page) =
        (folder.join("model.onnx"), folder.join("pi.json"), folder.join("pi.html"));
    let args = ["bench", text(&model), "--threads", "1,2", "--profile", "--images", PICTURE];
    let files = ["--out", text(&out), "--html", text(&page)];
    let table = run(args.iter().chain(&files).chain(&SHORT)).succeeds().stdout;
    let report = json(&out);
    let measured = &report["models"][0];
    assert_eq!(report["settings"]["parity_on"], "images");
    assert!(report["settings"]["overhead_ns"].as_f64().unwrap() > 0.0);
    assert!(measured["genotype"].is_object());
    let latency = measured["latency"].as_array().unwrap();
    assert_eq!(measured["profile"].as_array().unwrap().len(), latency.len());
    for session in latency {
        assert!(table.contains(session["runtime_version"].as_str().unwrap()), "{table}");
        assert_eq!(session["repeat_p50_ms"].as_array().unwrap().len(), 3);
        if cfg!(target_os = "linux") {
            let memory = &session["memory"];
            assert!(
                memory["peak_bytes"].as_u64().unwrap() > memory["before_bytes"].as_u64().unwrap(),
                "{memory}"
            );
        }
    }
    for parity in measured["parity"].as_array().unwrap() {
        assert_eq!((&parity["parity"]["n"], &parity["parts_at"]), (&Value::from(1), &Value::Null));
    }
    // The names of nodes are folded: cells, their nodes, operations.
    let folded = measured["profile"][0]["folded"].as_array().unwrap();
    assert!(
        folded
            .iter()
            .any(|fold| fold["depth"] == 3 && fold["path"].as_str().unwrap().starts_with("cell")),
        "{folded:?}"
    );

    let html = fs::read_to_string(&page).unwrap();
    for word in ["multiply-adds", "Where the time goes", "Architectures", "Distributions", "<svg"] {
        assert!(html.contains(word), "{word}");
    }
    assert!(!html.contains("http") || !html.contains("src="), "the page needs nothing else");

    // Two machines side by side.
    let other = folder.join("laptop.json");
    fs::copy(&out, &other).unwrap();
    let report = |format: &str| {
        run(["report", text(&out), text(&other), "--format", format]).succeeds().stdout
    };
    assert!(report("table").contains("== pi") && report("table").contains("== laptop"));
    let csv = report("csv");
    assert_eq!(csv.lines().count(), 1 + 2 * latency.len());
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns), "{csv}");
    assert!(report("markdown").starts_with("| machine | model |"));
    run(["report", text(&out), text(&folder)]).with_code(2);
}

#[test]
fn models_of_one_file_name_are_told_apart() {
    let (_holder, folder) = copy_of_run();
    let other = folder.join("wide");
    fs::create_dir(&other).unwrap();
    let models = [folder.join("model.onnx"), other.join("model.onnx")];
    fs::copy(&models[0], &models[1]).unwrap();
    let out = folder.join("both.json");
    let args =
        ["bench", text(&models[0]), text(&models[1]), "--runtime", "tract", "--out", text(&out)];
    run(args.iter().chain(&SHORT)).succeeds();
    let csv = run(["report", text(&out), "--format", "csv"]).succeeds().stdout;
    let names: Vec<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').nth(1)).collect();
    let parent = folder.file_name().unwrap().to_str().unwrap();
    assert_eq!(names, [format!("{parent}/model"), "wide/model".to_owned()]);
}

#[test]
fn what_a_bench_cannot_do_is_refused() {
    let (_holder, folder) = copy_of_run();
    let model = folder.join("model.onnx");
    let bench = |flags: &[&str]| run(["bench", text(&model)].iter().chain(flags));
    bench(&["--cpu", "7-3"]).refuses(&["7-3", "0-3,8"]);
    bench(&["--min-time", "5m"]).refuses(&["5m", "500ms"]);
    bench(&["--repeat", "1000000"]).refuses(&["--repeat"]);
    bench(&["--images", "nowhere.png"]).refuses(&["nowhere.png"]);
    let empty = tempdir().unwrap();
    bench(&["--images", text(empty.path())]).refuses(&[text(empty.path())]);
    #[cfg(target_os = "linux")]
    bench(&["--cpu", "1023"]).refuses(&["1023"]);
}

#[test]
fn the_cost_of_a_file_names_what_it_needs() {
    let (_holder, folder) = copy_of_run();
    let model = folder.join("model.onnx");
    let printed = run(["cost", text(&model), "--layers"]).succeeds().stdout;
    assert!(
        printed.contains("peak activations")
            && printed.contains("weight bytes")
            && !printed.contains("not in these figures"),
        "{printed}"
    );
    let cost = run(["cost", text(&model), "--json"]).succeeds().json();
    assert_eq!(cost["madds"], json(&folder.join("report.json"))["madds"]);
    run(["cost", text(&model), "--input", "y=1x3"]).refuses(&["`y`"]);
    run(["cost", text(&model), "--input", "1x3"]).refuses(&["1x3", "input=1x3x224x224"]);
    // A device that never ends is no file.
    #[cfg(target_os = "linux")]
    run(["cost", "/dev/zero"]).refuses(&["/dev/zero", "regular file"]);
}
