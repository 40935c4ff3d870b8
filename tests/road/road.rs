//! A whole run, and what each command makes of its files.

use std::fs;

use crate::folder::{RESULTS, assert_same_results, contents, json, metrics, times};
use crate::program::{run, text};
use crate::reference::{PICTURE, SETTINGS, copy_of_run, fresh, reference};
use crate::zoo::cost;
use serde_json::Value;

#[test]
fn a_run_prints_its_table_and_leaves_every_file() {
    let run = reference();
    let stdout = &run.ended.stdout;
    for word in [
        "space",
        "search",
        "retrain",
        "export",
        "bench",
        "params",
        "multiply-adds",
        "test accuracy",
        "latency",
    ] {
        assert!(stdout.contains(word), "{word} is not in\n{stdout}");
    }
    assert!(stdout.contains(text(&run.folder.join("report.html"))), "{stdout}");
    let stderr = &run.ended.stderr;
    assert!(
        stderr.contains("a subset of 120 of 6000 training and 1000 test images")
            && stderr.contains("retrain: epoch 4"),
        "{stderr}"
    );
    let others = ["config.toml", "metrics.jsonl", "bench.json", "report.html", "report.json"];
    let checkpoints = [
        "checkpoints/space.safetensors",
        "checkpoints/search.safetensors",
        "checkpoints/retrain.safetensors",
    ];
    for name in RESULTS.into_iter().chain(others).chain(checkpoints) {
        let size = fs::metadata(run.folder.join(name)).map_or(0, |file| file.len());
        assert!(size > 0, "{name} is not there or empty");
    }
    let left: Vec<_> =
        contents(&run.folder).into_keys().filter(|path| text(path).contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_epoch_has_a_line_of_metrics() {
    let lines = metrics(&reference().folder);
    let epochs: Vec<(&str, u64)> = lines
        .iter()
        .map(|line| (line["phase"].as_str().unwrap(), line["epoch"].as_u64().unwrap()))
        .collect();
    let expected: Vec<(&str, u64)> = [("space", 3), ("search", 6), ("retrain", 4)]
        .into_iter()
        .flat_map(|(phase, n)| (0..n).map(move |epoch| (phase, epoch)))
        .collect();
    assert_eq!(epochs, expected);
    for line in &lines {
        for key in ["step_ms", "images_per_s", "train_loss", "planned_bytes"] {
            assert!(line[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {line:?}");
        }
    }
    assert!(lines.last().unwrap()["test_accuracy"].is_f64());
}

#[test]
fn the_report_says_what_the_files_say() {
    let folder = &reference().folder;
    let report = json(&folder.join("report.json"));
    assert_eq!(report["schema"], "adwp/report/1");
    assert_eq!(report["dataset"], "sample");
    assert_eq!((&report["train_images"], &report["test_images"]), (&120.into(), &1000.into()));
    assert_eq!(report["test_accuracy"], metrics(folder).last().unwrap()["test_accuracy"]);
    let parity = report["parity_max_abs"].as_f64().unwrap();
    assert!(parity > 0.0 && parity < 1e-3, "{parity}");
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["space", "search", "retrain", "export", "bench"]);
    assert!(phases.iter().all(|phase| phase["seconds"].as_f64().unwrap() > 0.0));
    let latency = report["latency"].as_array().unwrap();
    let has = |runtime: &str| latency.iter().any(|row| row["runtime"] == runtime);
    assert!(has("tract"));
    assert!(
        has("ort") || std::env::var_os("ADWP_REQUIRE_ORT").is_none(),
        "ONNX Runtime was not measured: {latency:?}"
    );
    for row in latency {
        let ms = |key: &str| row[key].as_f64().unwrap();
        assert!(
            0.0 < ms("min_ms")
                && ms("min_ms") <= ms("p50_ms")
                && ms("p50_ms") <= ms("p90_ms")
                && ms("p90_ms") <= ms("p99_ms"),
            "{row}"
        );
    }
    for runtime in report["runtime_accuracy"].as_array().unwrap() {
        assert_eq!(runtime["images"], 1000, "{runtime}");
    }
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(html.contains("</html>") && html.contains("sample"));
}

#[test]
fn noise_of_the_bench_is_in_every_form_of_the_report() {
    let (_holder, folder) = copy_of_run();
    let file = folder.join("bench.json");
    let mut bench = json(&file);
    let cores = bench["machine"]["cores"].as_f64().unwrap();
    let mut report = |load: f64, spread: f64| {
        bench["machine"]["load_before"] = [load, 0.0, 0.0].into();
        for latency in bench["models"][0]["latency"].as_array_mut().unwrap() {
            latency["spread"] = spread.into();
            latency["stable"] = true.into();
        }
        for mhz in ["mhz_before", "mhz_after"] {
            bench["machine"][mhz] = 2000.0.into();
        }
        fs::write(&file, bench.to_string()).unwrap();
        let table = run(["report", text(&folder)]).succeeds().stdout;
        let page = fs::read_to_string(folder.join("report.html")).unwrap();
        (table, page, run(["report", text(&folder), "--json"]).succeeds().json())
    };
    // The training just before is a load as well.
    let (table, page, quiet) = report(cores, 0.0);
    assert!(!table.contains("warning") && !page.contains("are noisy"), "{table}");
    assert!(quiet.get("warnings").is_none());
    let (table, page, noisy) = report(cores + 7.0, 0.5);
    let warnings = noisy["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1 + noisy["latency"].as_array().unwrap().len());
    assert_eq!(json(&folder.join("report.json"))["warnings"], noisy["warnings"]);
    let table = table.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in ["the machine was busy", "the medians of the repeats lie 50 % apart"] {
        assert!(table.contains(words) && page.contains(words), "{table}");
        assert!(noisy["warnings"].to_string().contains(words), "{warnings:?}");
    }
}

#[test]
fn the_cost_is_the_same_from_the_graph_and_from_the_file() {
    let folder = &reference().folder;
    let report = json(&folder.join("report.json"));
    let from_file = cost(text(&folder.join("model.onnx")), &[]);
    let sizes = ["--channels", "2", "--image", "1x28x28", "--classes", "10", "--layers"];
    let from_graph = cost(text(&folder.join("genotype.json")), &sizes);
    assert_eq!(report["madds"], from_file["madds"]);
    assert_eq!(report["params_in_file"], from_file["params"]);
    assert_eq!(
        (&report["madds"], &report["params"]),
        (&from_graph["madds"], &from_graph["params"])
    );
    let layers = from_graph["layers"].as_array().unwrap();
    let sum = |key: &str| layers.iter().map(|layer| layer[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (sum("madds"), sum("params")),
        (from_graph["madds"].as_u64().unwrap(), from_graph["params"].as_u64().unwrap())
    );
}

#[test]
fn eval_finds_the_accuracy_of_the_report() {
    let folder = &reference().folder;
    let report = json(&folder.join("report.json"));
    let rows = run(["eval", text(&folder.join("model.onnx")), "--dataset", "sample", "--json"])
        .succeeds()
        .json();
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(
            (&row["images"], &row["top1_correct"]),
            (&1000.into(), &report["test_correct"]),
            "{row}"
        );
        assert_eq!(row["top1"], report["test_accuracy"]);
        assert!(row["top5"].as_f64() > row["top1"].as_f64(), "{row}");
    }
}

#[test]
fn predict_names_five_classes() {
    let folder = &reference().folder;
    let classes = json(&folder.join("report.json"))["classes"].clone();
    let model = folder.join("model.onnx");
    let printed = run(["predict", text(&model), PICTURE]).succeeds().stdout;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 6, "{printed}");
    assert_eq!(lines[0], PICTURE);
    let named = |line: &str| {
        classes.as_array().unwrap().iter().any(|class| line.ends_with(class.as_str().unwrap()))
    };
    assert!(lines[1..].iter().all(|line| line.contains('%') && named(line)), "{printed}");
    let answer = run(["predict", text(&model), PICTURE, "--json", "--top", "10"]).succeeds().json();
    let top = answer[0]["top"].as_array().unwrap();
    let probabilities: Vec<f64> =
        top.iter().map(|entry| entry["probability"].as_f64().unwrap()).collect();
    assert!(
        probabilities.is_sorted_by(|a, b| a >= b)
            && (probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-4,
        "{answer}"
    );
}

#[test]
fn a_report_can_be_written_again() {
    let (_holder, folder) = copy_of_run();
    let before = contents(&folder);
    fs::remove_file(folder.join("report.json")).unwrap();
    fs::remove_file(folder.join("report.html")).unwrap();
    let printed = run(["report", text(&folder)]).succeeds().stdout;
    assert!(printed.contains("multiply-adds"), "{printed}");
    assert!(contents(&folder) == before);
}

#[test]
fn a_finished_run_is_neither_repeated_nor_changed() {
    let (_holder, folder) = copy_of_run();
    let (before, changed) = (contents(&folder), times(&folder));
    run(["run", "--config", SETTINGS, "--run", text(&folder)]).refuses(&[
        "holds a run already",
        text(&folder),
        "--resume",
    ]);
    assert!(contents(&folder) == before && times(&folder) == changed);
    run(["run", "--config", SETTINGS, "--run", text(&folder), "--resume"]).succeeds();
    assert!(contents(&folder) == before);
    for name in RESULTS.into_iter().chain(["metrics.jsonl", "bench.json"]) {
        assert_eq!(
            times(&folder)[&folder.join(name)],
            changed[&folder.join(name)],
            "{name} was written again"
        );
    }
}

#[test]
fn steps_alone_give_what_a_run_gives() {
    let (_holder, folder) = fresh();
    let early = run(["search", "--config", SETTINGS, "--run", text(&folder)])
        .refuses(&["space.json", "adwp space --run"]);
    assert!(early.stderr.contains(text(&folder)) && !folder.exists());
    for (step, result) in ["space", "search", "retrain", "export"].into_iter().zip(RESULTS) {
        // What was refused has left nothing: the first step brings the settings.
        let settings: &[&str] = if step == "space" { &["--config", SETTINGS] } else { &[] };
        let printed = run([&[step, "--run", text(&folder)], settings].concat()).succeeds().stdout;
        assert_eq!(printed.trim_end(), text(&folder.join(result)));
        assert_eq!(
            fs::read(folder.join(result)).unwrap(),
            fs::read(reference().folder.join(result)).unwrap(),
            "{result} differs"
        );
        let before = contents(&folder);
        run([step, "--run", text(&folder)]).refuses(&[step, result, "--resume"]);
        run([step, "--run", text(&folder), "--resume"]).succeeds();
        assert!(contents(&folder) == before, "{step} was done twice");
    }
    assert_same_results(&folder, &reference().folder);
}

#[test]
fn a_run_is_no_regression_of_itself() {
    let (_holder, folder) = copy_of_run();
    let (old, new) = (folder.join("bench.json"), folder.join("slower.json"));
    let same = run(["compare", text(&old), text(&old)]).succeeds();
    assert!(same.stderr.contains("nothing that both have has moved by more than"), "{same:?}");
    let mut renamed = json(&old);
    renamed["models"][0]["path"] = "other.onnx".into();
    renamed.as_object_mut().unwrap().remove("checksum");
    let other = folder.join("renamed.json");
    fs::write(&other, renamed.to_string()).unwrap();
    let named = run(["compare", text(&old), text(&other)]).succeeds();
    assert!(named.stderr.contains("other.onnx is compared with model.onnx"), "{named:?}");
    // Of several, one that only the second has.
    let models = renamed["models"].as_array_mut().unwrap();
    models.push(models[0].clone());
    models[0]["path"] = "model.onnx".into();
    fs::write(&other, renamed.to_string()).unwrap();
    let more = run(["compare", text(&old), text(&other)]).succeeds();
    assert!(more.stderr.contains("other.onnx is in the second report alone"), "{more:?}");
    let mut slower = json(&old);
    slow_down(&mut slower);
    fs::write(&new, slower.to_string()).unwrap();
    let ended = run(["compare", text(&old), text(&new), "--json"]).with_code(1);
    assert!(
        !ended.json().as_array().unwrap().is_empty() && ended.stderr.contains("regression"),
        "{ended:?}"
    );
    run(["compare", text(&new), text(&old)]).succeeds();
}

/// Makes every time of a measurement ten times as long.
fn slow_down(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if !key.ends_with("_ms") {
                    slow_down(value);
                    continue;
                }
                let times = match value {
                    Value::Array(times) => times.as_mut_slice(),
                    time => std::slice::from_mut(time),
                };
                times.iter_mut().for_each(|time| *time = (10.0 * time.as_f64().unwrap()).into());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(slow_down),
        _ => {}
    }
}
