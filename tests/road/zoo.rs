//! Published architectures: listed, shown, counted, exported.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::tempdir;

use crate::program::{run, text};
use crate::reference::reference;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// The flags of a network for ImageNet in the mobile setting.
const IMAGENET: [&str; 6] = ["--stem", "imagenet", "--image", "3x224x224", "--classes", "1000"];

fn listed() -> Vec<Value> {
    run(["zoo", "list", "--json"]).succeeds().json().as_array().unwrap().clone()
}

/// What `cost` says of a network.
pub(crate) fn cost(what: &str, flags: &[&str]) -> Value {
    run(["cost", what, "--json"].iter().chain(flags)).succeeds().json()
}

#[test]
fn the_list_counts_what_cost_counts() {
    let printed = run(["zoo", "list"]).succeeds();
    let entries = listed();
    assert_eq!(printed.stdout.lines().count(), 1 + entries.len(), "{printed:?}");
    assert!(printed.stderr.contains("as reported"), "{printed:?}");
    assert!(run(["zoo", "list", "--quiet"]).succeeds().stderr.is_empty());
    for (entry, line) in entries.iter().zip(printed.stdout.lines().skip(1)) {
        let name = entry["name"].as_str().unwrap();
        let counted = &entry["counted"]["imagenet"];
        if counted.is_null() {
            let cost = cost(&format!("zoo:{name}"), &[]);
            assert_eq!(cost["params"], entry["counted"]["cifar10"]["params"], "{name}");
            continue;
        }
        let channels = entry["imagenet"]["stack"]["channels"].as_u64().map(|n| n.to_string());
        let mut flags = IMAGENET.to_vec();
        flags.extend(channels.iter().flat_map(|channels| ["--channels", channels]));
        let cost = cost(&format!("zoo:{name}"), &flags);
        assert_eq!(
            (&cost["params"], &cost["madds"]),
            (&counted["params"], &counted["madds"]),
            "{name}"
        );
        let millions = format!(
            "{:.1} ({})",
            counted["madds"].as_f64().unwrap() / 1e6,
            entry["imagenet"]["reported_madds_m"]
        );
        assert!(
            line.starts_with(name) && line.contains(&millions.replace(".0)", ")")),
            "{millions} is not in {line}"
        );
    }
}

#[test]
fn what_is_shown_is_a_genotype() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("genotype.json");
    let shown = run(["zoo", "show", "darts-v2", "--cells", "14"]).succeeds();
    for word in ["Hanxiao Liu", "arXiv:1806.09055", "quark0/darts", "574M"] {
        assert!(shown.stderr.contains(word), "{word} is not in\n{}", shown.stderr);
    }
    fs::write(&file, &shown.stdout).unwrap();
    let cost = |what: &str| cost(what, &[&["--channels", "48"], &IMAGENET[..]].concat());
    assert_eq!(cost(text(&file)), cost("zoo:darts-v2"), "14 cells are what it was published with");
    assert_eq!(cost(text(&file))["madds"], 529_911_552);

    let all = run(["zoo", "show", "darts-v2", "--cells", "14", "--json"]).succeeds();
    assert!(all.stderr.is_empty(), "{all:?}");
    assert_eq!(all.json()["genotype"], shown.json());
    assert_eq!(all.json()["citation"]["year"], 2019);
    let cells = |name: &str| {
        run(["zoo", "show", name, "--quiet"]).succeeds().json()["cells"].as_array().unwrap().len()
    };
    assert_eq!(
        (cells("darts-v2"), cells("pc-darts-imagenet")),
        (20, 14),
        "those of CIFAR-10 where there are any"
    );
}

#[test]
fn cells_and_layers_can_be_asked_for() {
    let of = |cells: &str| cost("zoo:p-darts", &["--cells", cells, "--layers"]);
    let (small, large) = (of("8"), of("20"));
    assert!(small["layers"].as_array().unwrap().len() < large["layers"].as_array().unwrap().len());
    assert_eq!(large["params"], 3_433_798, "the default sizes are those of CIFAR-10");
    assert_eq!(large["params"], cost("zoo:p-darts", &[])["params"]);
}

#[test]
fn a_network_that_is_no_stack_of_cells_is_shown_and_counted() {
    let shown = run(["zoo", "show", "mobilenet-v1"]).succeeds();
    for command in
        ["adwp cost zoo:mobilenet-v1 --layers", "adwp retrain --architecture zoo:mobilenet-v1"]
    {
        assert!(shown.stdout.is_empty() && shown.stderr.contains(command), "{shown:?}");
    }
    let all = run(["zoo", "show", "mobilenet-v1", "--json"]).succeeds().json();
    assert_eq!(
        (&all["architecture"]["handmade"], &all["genotype"]),
        (&"mobilenet_v1".into(), &Value::Null)
    );
    let large = cost("zoo:mobilenet-v1", &["--layers"]);
    assert_eq!(
        (&large["params"], &large["madds"]),
        (&4_231_976.into(), &568_740_352.into()),
        "224×224 and 1000 classes"
    );
    assert_eq!(large["layers"][0]["name"], "conv");
    let small = cost("zoo:mobilenet-v1", &["--image", "1x64x96", "--classes", "7"]);
    assert!(small["madds"].as_u64() < large["madds"].as_u64());
}

#[test]
fn channels_are_found_for_what_a_network_may_take() {
    let flags =
        ["cost", "zoo:darts-v2", "--target-params", "1M", "--target-madds", "150M", "--json"];
    let found = run(flags).succeeds();
    let channels = found
        .stderr
        .split_whitespace()
        .find_map(|word| word.parse::<u64>().ok())
        .expect("the channels are reported");
    let (params, madds) =
        (found.json()["params"].as_u64().unwrap(), found.json()["madds"].as_u64().unwrap());
    assert!(params <= 1_000_000 && madds <= 150_000_000, "{found:?}");
    let of = |channels: u64| cost("zoo:darts-v2", &["--channels", &channels.to_string()]);
    assert_eq!(of(channels)["params"], params);
    let next = of(channels + 1);
    assert!(
        next["params"].as_u64().unwrap() > 1_000_000
            || next["madds"].as_u64().unwrap() > 150_000_000,
        "{next}"
    );
}

/// Exports a network, counts its file, and has it checked by the reference of the format where
/// there is one.
fn exports(name: &str, flags: &[&str], folder: &Path) {
    let out = folder.join(format!("{name}.onnx"));
    let exported = run(["zoo", "export", name, "--out", text(&out)].iter().chain(flags)).succeeds();
    assert!(exported.stdout.is_empty(), "{exported:?}");
    for by in ["candle", "tract"].into_iter().chain(required_ort().then_some("ort")) {
        assert!(exported.stderr.contains(by), "{by} did not agree: {exported:?}");
    }
    let (of_file, of_graph) = (cost(text(&out), &[]), cost(&format!("zoo:{name}"), flags));
    assert_eq!(of_file["madds"], of_graph["madds"], "{name}");
    assert_eq!(of_file["unknown"], Value::Array(Vec::new()), "{name}");
    check(&out);
}

fn required_ort() -> bool {
    std::env::var_os("ADWP_REQUIRE_ORT").is_some()
}

/// Has a file checked by the Python package `onnx`, where `ADWP_PYTHON` names an interpreter that
/// has it.
fn check(file: &Path) {
    let Some(python) = std::env::var_os("ADWP_PYTHON") else {
        assert!(!required_ort(), "ADWP_PYTHON must name a Python that has the package onnx");
        return println!("skipped: ADWP_PYTHON names no Python that has the package onnx");
    };
    let script = "import onnx, sys; onnx.checker.check_model(sys.argv[1], full_check=True)";
    let checked = Command::new(python).args(["-c", script, text(file)]).output().unwrap();
    assert!(
        checked.status.success(),
        "{}: {}",
        file.display(),
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn every_architecture_is_exported() {
    let folder = tempdir().unwrap();
    for entry in listed() {
        let name = entry["name"].as_str().unwrap();
        let is_stack = entry["architecture"]["handmade"].is_null();
        // The sizes are small, because an unoptimised reference takes part.
        let flags: &[&str] = match name {
            // Its channels are fixed, and are too many for a test.
            "densenet-bc-190" => continue,
            _ if is_stack => &["--stem", "imagenet", "--cells", "5", "--channels", "8"],
            _ => &[],
        };
        let image = ["--image", if is_stack { "3x64x96" } else { "3x64x64" }, "--classes", "7"];
        exports(name, &[flags, &image].concat(), folder.path());
    }
}

/// Deep networks of random weights amplify rounding, until executions that are right differ by more
/// than they otherwise may.
#[test]
fn what_rounding_does_to_a_network_is_no_disagreement() {
    let folder = tempdir().unwrap();
    exports(
        "p-darts",
        &["--stem", "imagenet", "--channels", "12", "--image", "3x32x32"],
        folder.path(),
    );
}

#[test]
fn an_export_is_repeatable_and_says_that_its_weights_are_random() {
    let folder = tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let sizes = ["--cells", "3", "--channels", "4", "--image", "3x16x16"];
    let export = |seed: &str, out: &Path| {
        run(["zoo", "export", "gdas", "--seed", seed, "--out", text(out)].into_iter().chain(sizes))
            .succeeds();
        fs::read(out).unwrap()
    };
    let first = export("1", &file("first.onnx"));
    assert_eq!(first, export("1", &file("again.onnx")));
    assert_ne!(first, export("2", &file("other.onnx")));
    assert!(String::from_utf8_lossy(&first).contains("random, seed 1"));
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 3, "nothing unverified is left");
    let broken = file("broken.png");
    fs::write(&broken, "no image").unwrap();
    run(["zoo", "export", "gdas", "--images", text(&broken), "--out", text(&file("x.onnx"))]
        .into_iter()
        .chain(sizes))
    .refuses(&["broken.png"]);
    assert!(!file("x.onnx").exists());
    run(["zoo", "export", "gdas", "--out", text(&file("absent").join("x.onnx"))])
        .refuses(&["absent"]);
    run(["zoo", "export", "gadas", "--out", text(&file("x.onnx"))]).refuses(&["gdas"]);
}

#[test]
fn wrong_names_and_sizes_are_told() {
    for command in [["zoo", "show", "darts-v3"], ["cost", "zoo:darts-v3", "--json"]] {
        run(command).refuses(&["darts-v3", "darts-v1, darts-v2", "adwp zoo list"]);
    }
    run(["cost", "zoo:"]).refuses(&["\"\"", "adwp zoo list"]);
    run(["zoo", "show", "gdas", "--cells", "2"]).refuses(&["at least 3 cells"]);
    run(["zoo", "show", "gdas", "--cells", "99999999"]).refuses(&["99999999", "at most"]);
    run(["cost", "zoo:pc-darts-imagenet", "--stem", "cifar"])
        .refuses(&["pc-darts-imagenet", "cells must be given"]);
    run(["cost", "zoo:mobilenet-v1", "--channels", "8"])
        .refuses(&["mobilenet-v1", "no stack of cells"]);
    run(["cost", "zoo:mobilenet-v1", "--target-params", "1000"])
        .refuses(&["even with 1 thousandths of its width"]);
    run(["cost", "zoo:gdas", "--width", "0.5"]).refuses(&["gdas", "a stack of cells"]);
    run(["cost", "zoo:mobilenet-v1", "--width", "0"]).refuses(&["a width is from"]);
    run(["zoo", "show", "mobilenet-v1", "--cells", "8"]).refuses(&["mobilenet-v1", "--cells"]);
    run(["cost", "zoo:gdas", "--target-params", "10"]).refuses(&["even with 1 channels"]);
    run(["cost", "zoo:gdas", "--target-params", "1M", "--channels", "8"])
        .refuses(&["--target-params", "--channels"]);
    run(["cost", "zoo:gdas", "--image", "3x30x30"]).refuses(&["30×30"]);
    let genotype = reference().folder.join("genotype.json");
    run(["cost", text(&genotype), "--cells", "8"]).refuses(&[text(&genotype), "--cells", "zoo:"]);
    let model = reference().folder.join("model.onnx");
    for sizes in [["--channels", "8"], ["--image", "3x64x64"], ["--target-madds", "1M"]] {
        run(["cost", text(&model)].into_iter().chain(sizes)).refuses(&[
            "model.onnx",
            "own sizes",
            "zoo:",
        ]);
    }
    for both in [["zoo", "list", "--markdown", "--json"], ["--json", "zoo", "list", "--markdown"]] {
        run(both).refuses(&["--markdown", "--json"]);
    }
}

#[test]
fn the_readme_has_the_table() {
    let readme = fs::read_to_string(README).unwrap();
    let (_, rest) = readme.split_once("<!-- zoo begins -->\n").expect("the first marker");
    let (table, _) = rest.split_once("<!-- zoo ends -->\n").expect("the second marker");
    let fresh = run(["zoo", "list", "--markdown"]).succeeds().stdout;
    assert_eq!(
        table.trim(),
        fresh.trim(),
        "README.md is stale: put the output of `adwp zoo list --markdown` between its markers"
    );
}
