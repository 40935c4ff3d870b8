//! A network written as pixels-in, 16-bit and 8-bit files.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::folder::{contents, delete, json};
use crate::program::{Ended, run, text};
use crate::reference::{PICTURE, copy_of_run, reference};
use crate::zoo::cost;

/// The forms other than the plain one: flags, and suffixes of their files.
const FORMATS: [(&[&str], &str); 5] = [
    (&["--preprocess"], ".pixels"),
    (&["--fp16"], ".fp16"),
    (&["--preprocess", "--fp16"], ".pixels.fp16"),
    (&["--int8"], ".int8"),
    (&["--preprocess", "--int8"], ".pixels.int8"),
];

/// Whether there is ONNX Runtime, without which nothing is calibrated.
fn has_ort() -> bool {
    let found = !run(["doctor", "--json"]).succeeds().json()["onnx_runtime"].is_null();
    assert!(
        found || std::env::var_os("ADWP_REQUIRE_ORT").is_none(),
        "ONNX Runtime is required and not there"
    );
    if !found {
        println!("skipped for 8 bits: there is no ONNX Runtime library");
    }
    found
}

fn formats() -> impl Iterator<Item = (&'static [&'static str], &'static str)> {
    let can_calibrate = has_ort();
    FORMATS.into_iter().filter(move |(flags, _)| can_calibrate || !flags.contains(&"--int8"))
}

fn export(folder: &Path, flags: &[&str]) -> Ended {
    run(["export", "--run", text(folder)].iter().chain(flags))
}

fn top(answer: &Value) -> Vec<(u64, f64)> {
    let entries = answer[0]["top"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| (entry["class"].as_u64().unwrap(), entry["probability"].as_f64().unwrap()))
        .collect()
}

#[test]
fn every_form_is_written_beside_the_others_and_does_what_it_says() {
    let (_holder, folder) = copy_of_run();
    let plain = folder.join("model.onnx");
    let before = fs::read(&plain).unwrap();
    let plain_cost = cost(text(&plain), &[]);
    let all = ["--json", "--top", "10"];
    let predicted = |file: &Path| {
        top(&run(["predict", text(file), PICTURE].into_iter().chain(all)).succeeds().json())
    };
    let seen = predicted(&plain);
    let mut written = 0;
    for (flags, suffix) in formats() {
        let (file, record) = (
            folder.join(format!("model{suffix}.onnx")),
            folder.join(format!("verification{suffix}.json")),
        );
        let printed = export(&folder, flags).succeeds().stdout;
        assert_eq!(printed.trim_end(), text(&file));
        written += 1;

        let said = json(&record);
        assert_eq!(said["schema"], "adwp/format/1");
        let said = &said["format"];
        assert_eq!(said["bytes"], fs::metadata(&file).unwrap().len());
        assert_eq!(said["pixels"], flags.contains(&"--preprocess"));
        assert_eq!(said["calibration"].is_string(), flags.contains(&"--int8"));
        let runtimes = said["runtimes"].as_array().unwrap();
        assert!(!runtimes.is_empty() && said["refused"].as_array().unwrap().is_empty(), "{said}");
        for row in said["parity"].as_array().unwrap() {
            let difference = row["max_abs"].as_f64().unwrap();
            let allowed = said["tolerance"].as_f64().unwrap_or(1.0);
            assert!(
                difference <= allowed && (suffix == ".pixels" || difference > 1e-6),
                "{suffix}: {row}"
            );
        }

        // Weights are the same parameters in any numbers.
        let costs = cost(text(&file), &[]);
        for counted in ["params", "madds"] {
            assert_eq!(costs[counted], plain_cost[counted], "{suffix}");
        }

        let rows = run(["eval", text(&file), "--dataset", "sample", "--json"]).succeeds().json();
        for (row, recorded) in rows.as_array().unwrap().iter().zip(runtimes) {
            assert_eq!(
                (&row["runtime"], &row["top1_correct"]),
                (&recorded["runtime"], &recorded["correct"]),
                "{suffix}"
            );
        }
        for (class, probability) in predicted(&file) {
            let (_, plain) = seen.iter().find(|(other, _)| *other == class).unwrap();
            assert!(
                (probability - plain).abs() < 0.1,
                "{suffix}: class {class} has {probability}, {plain} in the plain file"
            );
        }
        run(["bench", text(&file), "--min-time", "0.01", "--repeat", "1"]).succeeds();

        export(&folder, flags).refuses(&["export", text(&file), "--resume"]);
        let whole = contents(&folder);
        export(&folder, &[flags, &["--resume"]].concat()).succeeds();
        assert!(contents(&folder) == whole, "{suffix} was written twice");
    }
    assert!(fs::read(&plain).unwrap() == before, "the plain file has changed");
    assert!(
        contents(&folder)
            .keys()
            .all(|path| !text(path).contains("unverified") && !text(path).contains("calibration"))
    );

    run(["report", text(&folder)]).succeeds();
    assert_eq!(json(&folder.join("report.json"))["formats"].as_array().unwrap().len(), written);
}

#[test]
fn calibration_gives_the_same_bytes_again() {
    let (_holder, folder) = copy_of_run();
    for (flags, suffix) in formats().filter(|(_, suffix)| *suffix == ".int8") {
        let file = folder.join(format!("model{suffix}.onnx"));
        export(&folder, flags).succeeds();
        let first = fs::read(&file).unwrap();
        delete(&folder, &[&format!("model{suffix}.onnx"), &format!("verification{suffix}.json")]);
        export(&folder, flags).succeeds();
        assert!(fs::read(&file).unwrap() == first, "{suffix}: other bytes the second time");
    }
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let folder = text(&reference().folder);
    run(["export", "--run", folder, "--fp16", "--int8"]).refuses(&["--fp16", "--int8"]);
    run(["export", "--run", folder, "--calibration-images", "8"]).refuses(&["--int8"]);
    run(["export", "--run", folder, "--int8", "--calibration-images", "0"])
        .refuses(&["--calibration-images"]);
}

#[test]
fn nothing_is_calibrated_without_training_images() {
    let (holder, folder) = copy_of_run();
    let nowhere = holder.path().join("nowhere");
    let config = folder.join("config.toml");
    let settings = fs::read_to_string(&config).unwrap();
    // Without its first line, the checksum.
    let (_, settings) = settings.split_once('\n').unwrap();
    fs::write(&config, settings.replace("dataset = \"sample\"", "dataset = \"image-folder\""))
        .unwrap();
    export(&folder, &["--int8", "--data", text(&nowhere)]).refuses(&[text(&nowhere)]);
    assert!(!folder.join("model.int8.onnx").exists());
}

#[test]
fn nothing_is_calibrated_without_onnx_runtime() {
    let (holder, folder) = copy_of_run();
    let nowhere = holder.path().join("nowhere.so");
    export(&folder, &["--int8", "--ort-lib", text(&nowhere)]).refuses(&[text(&nowhere)]);
    assert!(!folder.join("model.int8.onnx").exists());
}

#[test]
fn files_that_are_cut_off_are_named() {
    let (_holder, folder) = copy_of_run();
    export(&folder, &["--preprocess"]).succeeds();
    let file = folder.join("model.pixels.onnx");
    let whole = fs::read(&file).unwrap();
    for length in [0, 5, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        for command in [
            vec!["predict", text(&file), PICTURE],
            vec!["eval", text(&file), "--dataset", "sample"],
        ] {
            run(command).refuses(&[text(&file)]);
        }
    }
    let record = folder.join("verification.pixels.json");
    fs::write(&file, whole).unwrap();
    fs::write(
        &record,
        fs::read_to_string(&record).unwrap().replace("adwp/format/1", "adwp/format/9"),
    )
    .unwrap();
    run(["report", text(&folder)]).refuses(&[text(&record), "adwp/format/9"]);
}

/// Writes the file without one entry of its metadata, which stands at its end: its key becomes
/// another one of the same length. Without its checksum too, which is the last entry.
fn without(file: &Path, key: &str) {
    let mut bytes = fs::read(file).unwrap();
    let find = |bytes: &[u8], key: &str| {
        bytes.windows(key.len()).rposition(|window| window == key.as_bytes())
    };
    // Before the key are two tags, each with a length.
    if let Some(at) = find(&bytes, "adwp.checksum") {
        bytes.truncate(at - 4);
    }
    let at = find(&bytes, key).unwrap();
    bytes[at..at + 4].copy_from_slice(b"else");
    fs::write(file, bytes).unwrap();
}

#[test]
fn predict_says_what_a_file_lacks() {
    let (holder, folder) = copy_of_run();
    export(&folder, &["--preprocess"]).succeeds();
    let pixels = folder.join("model.pixels.onnx");
    let plain = folder.join("model.onnx");
    for file in [&pixels, &plain] {
        without(file, "adwp.classes");
        let ended = run(["predict", text(file), PICTURE]).succeeds();
        assert!(
            ended.stdout.contains("class ") && ended.stderr.contains("adwp.classes"),
            "{ended:?}"
        );
        without(file, "adwp.mean");
        without(file, "adwp.std");
        let stated = run(["predict", text(file), PICTURE]).succeeds();
        assert!(!stated.stderr.contains("does not say"), "{stated:?}");
        without(file, "adwp.preprocessing");
    }
    // Whoever normalises pixels in the graph needs no constants in the metadata.
    let guessed = run(["predict", text(&pixels), PICTURE]).succeeds();
    let guess = "they are scaled as the test images of sample";
    assert!(guessed.stderr.contains(guess), "{guessed:?}");
    run(["predict", text(&plain), PICTURE]).refuses(&[text(&plain), "adwp.mean", "--normalize"]);
    // Nothing of the run's folder is needed.
    let alone = holder.path().join("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(&pixels, alone.join("model.onnx")).unwrap();
    run(["predict", text(&alone.join("model.onnx")), PICTURE]).succeeds();
}
