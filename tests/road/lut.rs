//! Tables of latencies, built and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::folder::json;
use crate::program::{run, text};
use crate::reference::reference;
use crate::running::Running;

/// Networks that are loaded and run in milliseconds.
const TINY: [&str; 10] =
    ["--cells", "3", "--channels", "2", "--image", "1x8x8", "--classes", "2", "--runtime", "tract"];

/// A table that is not there yet, and the folder that holds it.
fn fresh_table() -> (TempDir, PathBuf) {
    let folder = tempdir().unwrap();
    let table = folder.path().join("lut.json");
    (folder, table)
}

/// Builds a table with rounds of one run.
fn build(table: &Path) -> Vec<&str> {
    build_in(table, "0")
}

fn build_in<'a>(table: &'a Path, min_time: &'a str) -> Vec<&'a str> {
    ["lut", "build", "--out", text(table), "--min-time", min_time].into_iter().chain(TINY).collect()
}

fn entries(table: &Path) -> Vec<Value> {
    json(table)["entries"].as_array().unwrap().clone()
}

#[test]
fn a_table_predicts_networks_it_has_not_seen() {
    let (_folder, table) = fresh_table();
    let built = run(build(&table)).succeeds();
    assert_eq!(built.stdout, format!("{}\n", text(&table)));
    let content = json(&table);
    assert_eq!(
        (&content["schema"], &content["setup"]["runtime"]),
        (&"adwp/latency-table/2".into(), &"tract".into())
    );
    assert_eq!((&content["setup"]["threads"], &content["setup"]["batch"]), (&1.into(), &1.into()));
    let entries = entries(&table);
    // Cells see 8×8, 4×4 and 2×2 pixels: six operations of stride 1 in the first and the last two,
    // six of stride 2 in the last two. Each but the pools ends in a pointwise convolution.
    let with = |text: &str| {
        let has = |entry: &&Value| entry["part"].as_str().is_some_and(|part| part.contains(text));
        entries.iter().filter(has).count()
    };
    assert_eq!(with("_pool(x0) of 3"), 2 * (3 + 2));
    assert_eq!(with("groups"), 4 * (3 + 2));
    assert!(
        entries
            .iter()
            .all(|entry| entry["ms"].as_f64() >= Some(0.0)
                && entry["with"]["runs"].as_u64() >= Some(20)),
        "{content}"
    );

    let held_out = &content["calibrations"][0]["held_out"];
    assert!(
        held_out["networks"] == 30
            && held_out["mean_error"].as_f64() <= held_out["worst_error"].as_f64(),
        "{held_out}"
    );
    assert!(built.stderr.contains("held against 30 other random networks"), "{}", built.stderr);

    let check = run(["lut", "check", text(&table), "--networks", "3", "--min-time", "0", "--json"])
        .succeeds()
        .json();
    assert_eq!(check["of"], content["calibrations"][0]["of"]);
    let networks = check["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 3);
    for network in networks {
        let ms = |value: &Value| value.as_f64().filter(|ms| *ms > 0.0).unwrap();
        let (predicted, measured) = (ms(&network["predicted_ms"]), ms(&network["measured"]["ms"]));
        assert!(
            (network["error"].as_f64().unwrap() - (predicted / measured - 1.0)).abs() < 1e-9,
            "{network}"
        );
    }
    let printed =
        run(["lut", "check", text(&table), "--networks", "2", "--min-time", "0"]).succeeds().stdout;
    assert!(printed.contains("mean error") && printed.contains("worst"), "{printed}");
    run(["lut", "check", text(&table), "--cells", "4"])
        .refuses(&["calibration", "adwp lut build --cells 4 --channels 2 --image 1x8x8"]);
}

/// Whether two entries come from one measurement. Where the machine turned out to be quieter later,
/// latencies were divided by how much.
fn is_the_measurement(a: &Value, b: &Value) -> bool {
    let raw = |entry: &Value| {
        entry["with"]["ms"].as_f64().unwrap() * entry["with"]["slowdown"].as_f64().unwrap()
    };
    a["part"] == b["part"] && (raw(a) / raw(b) - 1.0).abs() < 1e-9
}

#[test]
fn what_a_table_has_is_not_measured_again() {
    let (_folder, table) = fresh_table();
    run(build(&table)).succeeds();
    let (whole, bytes) = (entries(&table), fs::read(&table).unwrap());
    run(build(&table)).refuses(&[text(&table), "there already", "--resume"]);
    let resumed = || run(build(&table).into_iter().chain(["--resume", "--json"])).succeeds().json();
    assert_eq!(resumed()["measured"], 0);
    assert!(fs::read(&table).unwrap() == bytes, "a table that lacks nothing is left as it is");

    let mut half = json(&table);
    let kept: Vec<Value> = whole.iter().step_by(2).cloned().collect();
    half["entries"] = kept.clone().into();
    fs::write(&table, half.to_string()).unwrap();
    run(["lut", "check", text(&table)])
        .refuses(&["the latency table has no", "adwp lut build --cells 3"]);
    assert_eq!(resumed()["measured"], whole.len() - kept.len());
    let now = entries(&table);
    assert_eq!(now.len(), whole.len());
    assert!(kept.iter().all(|entry| now.iter().any(|other| is_the_measurement(entry, other))));
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_tells_how_to_go_on() {
    let (folder, table) = fresh_table();
    let running = Running::start(&build_in(&table, "0.005"), &folder.path().join("program"));
    let start = Instant::now();
    while !table.exists() || entries(&table).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(120), "{}", running.stderr());
        std::thread::sleep(Duration::from_millis(5));
    }
    let said = running.interrupt();
    let resume = "adwp lut build --cells 3 --channels 2 --image 1x8x8 --classes 2 --stem cifar \
                  --keep 2 --runtime tract --threads 1";
    assert!(
        said.contains(resume) && said.contains(&format!("--out {} --resume", text(&table))),
        "{said}"
    );
    let kept = entries(&table);
    run(build(&table).into_iter().chain(["--resume"])).succeeds();
    let now = entries(&table);
    assert!(
        kept.len() < now.len()
            && kept.iter().all(|entry| now.iter().any(|other| is_the_measurement(entry, other)))
    );
}

#[test]
fn tables_from_elsewhere_and_other_files_are_told_from_this_machines() {
    let (folder, table) = fresh_table();
    run(build(&table)).succeeds();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut content = json(&table);
        change(&mut content);
        let path = folder.path().join("changed.json");
        fs::write(&path, content.to_string()).unwrap();
        path
    };
    let foreign = changed(&|content| content["setup"]["machine"]["cpu"] = "an abacus".into());
    run(build(&foreign).into_iter().chain(["--resume"])).refuses(&["an abacus", "another file"]);
    let checked =
        run(["lut", "check", text(&foreign), "--networks", "1", "--min-time", "0"]).succeeds();
    assert!(checked.stderr.contains("an abacus"), "{checked:?}");
    let unknown = changed(&|content| content["entries"][3]["color"] = "red".into());
    run(["lut", "check", text(&unknown)]).refuses(&[text(&unknown), "color"]);
    let newer = changed(&|content| content["schema"] = "adwp/latency-table/7".into());
    run(["lut", "check", text(&newer)]).refuses(&[text(&newer), "adwp/latency-table/7"]);
    run(build(&folder.path().join("none/lut.json"))).refuses(&["none/lut.json"]);
}

#[test]
fn the_sizes_are_those_of_a_run_and_the_runtime_is_the_one_that_is_here() {
    let (_folder, table) = fresh_table();
    let run_folder = text(&reference().folder);
    let built =
        run(["lut", "build", "--run", run_folder, "--min-time", "0", "--out", text(&table)])
            .succeeds();
    let content = json(&table);
    let skeleton = &content["calibrations"][0]["of"]["skeleton"];
    assert_eq!(
        (&skeleton["image"], &skeleton["channels"], &skeleton["cells"]),
        (&vec![1, 28, 28].into(), &2.into(), &3.into())
    );
    let runtime = &content["setup"]["runtime"];
    assert!(built.stderr.contains(runtime.as_str().unwrap()), "{built:?}");
    let here = &run(["doctor", "--json"]).succeeds().json()["onnx_runtime"];
    assert!(std::env::var_os("ADWP_REQUIRE_ORT").is_none() || !here.is_null());
    assert_eq!(runtime, if here.is_null() { "tract" } else { "ort" });
    run(["lut", "check", text(&table), "--run", run_folder, "--networks", "1", "--min-time", "0"])
        .succeeds();
}
