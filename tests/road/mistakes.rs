//! What people type by mistake or by habit: how it ends, what is said first, and that nothing is left
//! behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;

use crate::folder::copy;
use crate::program::{adwp, end};
use crate::reference::{PICTURE, reference};

/// Arguments, the exit code, and what the first line of the failure has.
const MISTAKES: [(&str, i32, &str); 143] = [
    // Words that there are none of.
    ("runn", 2, "unrecognized subcommand 'runn'"),
    ("run --pressett demo", 2, "unexpected argument '--pressett'"),
    ("run --preset nope", 2, "there is no preset \"nope\"; there are demo, "),
    ("run --device gpu", 2, "--device gpu: there is no such device"),
    ("search --strategy nope", 2, "invalid value 'nope' for '--strategy"),
    ("search --space nope --strategy random", 2, "invalid value 'nope' for '--space"),
    ("retrain --architecture zoo:nope --run fresh", 2, "the zoo has no \"nope\""),
    ("bench m.onnx --runtime tensorrt", 2, "invalid value 'tensorrt' for '--runtime"),
    ("eval m.onnx --dataset nope", 2, "unknown data set `nope`; use one of sample"),
    ("report run --format word", 2, "invalid value 'word' for '--format"),
    ("zoo show nope", 2, "the zoo has no \"nope\""),
    ("cost zoo:nope", 2, "the zoo has no \"nope\""),
    ("data fetch cifar10", 2, "unrecognized subcommand 'fetch'"),
    ("doctor extra", 2, "unexpected argument 'extra'"),
    // Settings.
    ("run --preset demo --set epochs=1", 2, "--set epochs=1: unknown key `epochs`"),
    ("run --preset demo --set retrain.epochs", 2, "expected KEY=VALUE"),
    ("run --preset demo --set retrain.epoch=3", 2, "unknown key `retrain.epoch`"),
    ("run --preset demo --set retrain.epochs=many", 2, "`retrain.epochs` must be of type integer"),
    ("run --preset demo --set retrain.epochs=-1", 2, "`retrain.epochs` must be at least 0, not -1"),
    ("run --preset demo --set retrain.epochs=0", 2, "retrain.epochs = 0 must be at least 1"),
    ("run --preset demo --set retrain.decay=step", 2, "`retrain.decay`: unknown variant"),
    ("run --preset demo --epochs-scale 0", 2, "expected a number above 0"),
    ("run --preset demo --set fidelity.random=0", 2, "there is no `fidelity.random` any more"),
    ("run --config text.txt", 2, "text.txt: TOML parse error"),
    ("run --config nowhere.toml", 2, "cannot read nowhere.toml"),
    ("run --config empty", 2, "cannot read empty"),
    ("run --preset demo --max-params 1 --run fresh", 2, "even with 1 channels the network has"),
    ("run --preset demo --device cuda --run fresh", 2, "--device cuda: "),
    ("export --run run --fp16 --int8", 2, "'--fp16' cannot be used with '--int8'"),
    ("export --run run --fp16 --calibration-images 9", 2, "cannot be used with"),
    ("export --run run --calibration-images 9", 2, "required arguments were not provided"),
    ("cost zoo:mobilenet-v1 --input x=1x3x8x8", 2, "--input: shapes of inputs are for files"),
    ("cost run/genotype.json --input x=1x3x8x8", 2, "--input: shapes of inputs are for files"),
    (
        "run --preset demo --max-latency-ms 3 --latency-table nowhere.json --run fresh/run",
        2,
        "nowhere.json: No such file",
    ),
    ("run --preset demo --max-latency-ms 3 --latency-table text.json --run fresh", 2, "text.json"),
    (
        "search --preset demo --strategy random --scorer params --evaluations 3 --run fresh",
        2,
        "fresh/space.json is not there",
    ),
    ("study --preset demo --run fresh", 2, "fresh/space.json is not there"),
    // Folders and files that are not there, or are something else.
    ("run --data nowhere", 2, "--data nowhere: there is no such folder"),
    ("run --data empty", 2, "empty: no data set is known by its files"),
    ("run --data flat", 2, "flat: none of its 2 images is on the side of the test images"),
    ("run --data flat/cat", 2, "flat/cat: no data set is known by its files"),
    (
        "run --dataset image-folder --data two --val-share 0.3",
        2,
        "--val-share: the images are divided",
    ),
    ("run --data flat --val-share 1", 2, "a share of 1 for testing is not between 0 and 1"),
    ("data split two here", 2, "two: there is nothing to divide"),
    ("data split flat flat", 2, "flat: none of its 2 images is on the side"),
    (
        "run --set retrain.body_rate=0.0 --set retrain.auxiliary=0.0",
        2,
        "body_rate = 0 freezes a network that nothing has",
    ),
    ("retrain --run a --weights m.onnx", 2, "required arguments were not provided"),
    ("zoo export darts-v2 --weights m.onnx --out a.onnx", 2, "neither a safetensors file"),
    ("run --data text.txt", 2, "text.txt: no data set is known by its files"),
    ("run --preset demo --data flat", 2, "flat: the data set is sample"),
    ("run --preset demo --dataset cifar10", 2, "cifar10 is read from a folder"),
    ("run --preset demo --run empty/x --resume", 2, "--resume: empty/x is not there"),
    ("run --run run", 2, "run holds a run already"),
    ("run --preset demo --run text.txt", 2, "--run: text.txt is a file and no folder"),
    ("retrain --run empty", 2, "empty/genotype.json is not there"),
    ("retrain --run nowhere", 2, "nowhere/genotype.json is not there"),
    ("retrain --architecture nowhere.json --run fresh", 2, "nowhere.json is no file"),
    ("retrain --architecture text.txt --run fresh", 2, "text.txt: genotype: "),
    ("retrain --from nowhere --run fresh", 2, "--from: nowhere"),
    ("export --run empty", 2, "empty/weights.safetensors is not there"),
    ("export --run nowhere", 2, "nowhere/weights.safetensors is not there"),
    ("export --run text.txt", 2, "text.txt"),
    ("report empty", 2, "empty is no folder of a run"),
    ("report nowhere", 2, "nowhere is no folder of a run"),
    ("report text.txt", 2, "text.txt is no folder of a run"),
    ("report nowhere.json", 2, "nowhere.json: no such file"),
    (
        "search --space nas-bench-201 --strategy random --table nowhere.csv --evaluations 3",
        2,
        "cannot read nowhere.csv",
    ),
    (
        "search --space nas-bench-201 --strategy random --table text.txt --evaluations 3",
        2,
        "there is no column \"arch\"",
    ),
    ("lut check nowhere.json", 2, "cannot read nowhere.json"),
    ("lut check bench.json", 2, "unknown schema \"adwp/bench/2\""),
    ("lut check nowhere.json --networks 18446744073709551615", 2, "from 1 to 10000"),
    ("data check empty --dataset image-folder", 2, "empty: the folder is empty"),
    ("data check flat --dataset cifar10", 2, "the data set has"),
    ("data check flat", 2, "required arguments were not provided"),
    ("run --preset demo --set preset=imagenet-8 --run fresh", 2, "a preset is many settings"),
    ("run --preset demo --set data=empty --run fresh", 2, "empty: the data set is sample"),
    ("run --preset demo --latency-table bench.json --run fresh", 2, "nothing here asks for a"),
    ("data check flat --dataset sample", 2, "flat: the data set is sample"),
    ("run --run lost --resume", 2, "lost has no config.toml, which weights.safetensors was made"),
    ("bench m.onnx --out m.onnx", 2, "--out m.onnx: that is what is read"),
    ("bench m.onnx --out x.json --html x.json", 2, "--html and --out both name x.json"),
    ("report bench.json --html bench.json", 2, "--html bench.json: that is what is read"),
    ("report run --html x.html", 2, "--html and --format are for results"),
    (
        "search --space nas-bench-201 --strategy random --table /dev/zero --evaluations 3",
        2,
        "/dev/zero is damaged",
    ),
    ("cost forged.json", 2, "forged.json: genotype: "),
    // Where nothing can be written, before anything is measured.
    ("bench m.onnx --out nodir/x.json", 2, "--out: cannot write nodir/x.json: there is no folder"),
    ("bench m.onnx --html nodir/x.html", 2, "--html: cannot write nodir/x.html: there is no"),
    ("bench m.onnx --out empty", 2, "--out: cannot write empty: it is a folder"),
    ("report bench.json --html nodir/x.html", 2, "--html: cannot write nodir/x.html: there is no"),
    ("zoo export darts-v2 --out nodir/x.onnx", 2, "cannot write nodir/x.onnx: there is no folder"),
    ("lut build --space nas-bench-201 --out nodir/x.json", 2, "nodir/x.json: there is no folder"),
    ("run --preset demo --run text.txt/x", 2, "--run: text.txt is a file and no folder"),
    ("retrain --run text.txt", 2, "--run: text.txt is a file and no folder"),
    (
        "search --space nas-bench-201 --strategy random --scorer params --evaluations 2 --run text.txt",
        2,
        "--run: text.txt is a file and no folder",
    ),
    // What changes nothing.
    ("run --preset demo --early-stop 3 --run fresh", 2, "--early-stop has no effect"),
    ("run --preset demo --identity-dropout 0.5 --run fresh", 2, "--identity-dropout has no effect"),
    ("run --preset demo --set space.epochs=9 --run fresh", 2, "--set space.epochs=9 has no effect"),
    ("run --preset demo --set search.hidden=9 --run fresh", 2, "--set search.hidden=9 has no"),
    ("run --preset demo --set fidelity.seeds=9 --run fresh", 2, "it is a setting of `adwp study`"),
    ("run --preset cifar10-8 --set strategy.evaluations=9 --run fresh", 2, "that by gradient"),
    ("retrain --architecture zoo:darts-v2 --early-stop 3 --run fresh", 2, "--early-stop has no"),
    (
        "retrain --architecture zoo:darts-v2 --set search.hidden=3 --run fresh",
        2,
        "nothing is searched",
    ),
    ("run --run run --resume --set bench.repeats=2", 2, "bench.repeats is 1, not 2"),
    ("run --preset demo --ort-lib text.txt --run fresh", 2, "text.txt: cannot be loaded as ONNX"),
    // Models that are none.
    ("bench", 2, "required arguments were not provided"),
    ("bench nowhere.onnx", 2, "nowhere.onnx: no such file"),
    ("bench empty", 2, "empty: cannot be read: it is a directory"),
    ("bench text.txt", 2, "text.txt: not an ONNX file"),
    ("bench cut.onnx", 2, "cut.onnx: the file is truncated"),
    ("bench zero.onnx", 2, "zero.onnx: the file is empty"),
    ("bench photo.jpg", 2, "photo.jpg: not an ONNX file"),
    ("cost empty", 2, "empty: cannot be read: it is a directory"),
    ("cost nowhere.onnx", 2, "nowhere.onnx: no such file"),
    ("cost photo.jpg", 2, "photo.jpg: not an ONNX file"),
    ("eval photo.jpg --dataset sample", 2, "photo.jpg: not an ONNX file"),
    ("predict photo.jpg m.onnx", 2, "photo.jpg: not an ONNX file"),
    // Numbers and names that do not fit.
    ("bench m.onnx --threads 0", 2, "--threads: [0]"),
    ("bench m.onnx --batch 0", 2, "--batch: [0]"),
    ("bench m.onnx --repeat 0", 2, "--repeat: [0]"),
    ("bench m.onnx --min-time fast", 2, "expected a time from 0 to a day"),
    ("bench m.onnx --cpu 99", 2, "cpu: "),
    ("bench m.onnx --input z=1x3x8x8", 2, "has no input `z`; it has images"),
    ("bench m.onnx --input x", 2, "expected NAME=SHAPE"),
    ("bench m.onnx --output nope", 2, "it has no output `nope`; it has logits"),
    ("bench m.onnx --max-memory 1", 2, "expected a size of at least 1MB"),
    ("bench m.onnx --no-trial --load-timeout 3s", 2, "'--no-trial' cannot be used with"),
    ("bench m.onnx --ort-lib nowhere.so --runtime ort", 2, "nowhere.so: no ONNX Runtime"),
    ("bench m.onnx --images empty", 2, "empty: no images there"),
    ("bench m.onnx --images text.txt", 2, "text.txt: cannot be read as an image"),
    ("cost m.onnx --input images=1x3x9x9", 2, "[1, 3, 9, 9] was given"),
    ("compare bench.json", 2, "required arguments were not provided"),
    ("compare bench.json nowhere.json", 2, "nowhere.json: no such file"),
    ("compare bench.json run/report.json", 2, "expected adwp/bench/2"),
    ("compare bench.json bench.json --threshold=-1", 2, "expected a percentage"),
    // Data and images.
    ("eval m.onnx", 2, "required arguments were not provided"),
    ("eval m.onnx --dataset cifar10", 2, "cifar10 is read from a folder"),
    ("eval m.onnx --dataset image-folder --data flat", 2, "none of its 2 images is on the side"),
    (
        "eval m.onnx --dataset image-folder --data two",
        2,
        "has 2: only the file has T-shirt/top, Trouser, Pullover, Dress, Coat and 5 more; only the \
         data set has cat, dog",
    ),
    ("eval m.onnx --dataset sample --data flat", 2, "--data flat: the data set is sample"),
    ("predict m.onnx nowhere.jpg", 1, "1 of 1 images cannot be read"),
    ("predict m.onnx empty", 2, "empty has no images"),
    ("predict m.onnx photo.jpg --normalize imagenet", 2, "says itself how its images"),
    ("predict m.onnx photo.jpg --top 0", 2, "--top must be at least 1"),
];

/// Everything below a folder.
fn below(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.insert(path);
    }
    found
}

#[test]
fn every_mistake_is_named_and_leaves_nothing_behind() {
    let holder = tempdir().unwrap();
    let at = |name: &str| holder.path().join(name);
    copy(&reference().folder, &at("run"));
    for name in ["empty", "flat/cat", "flat/dog", "two/val/cat", "two/val/dog"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("text.txt"), "hello\n").unwrap();
    fs::write(at("text.json"), "hello\n").unwrap();
    for name in
        ["photo.jpg", "flat/cat/1.jpg", "flat/dog/1.jpg", "two/val/cat/1.jpg", "two/val/dog/1.jpg"]
    {
        fs::copy(PICTURE, at(name)).unwrap();
    }
    fs::create_dir(at("lost")).unwrap();
    fs::copy(at("run/weights.safetensors"), at("lost/weights.safetensors")).unwrap();
    let node = r#"{"input": 1, "op": "x\nerror: forged"}"#;
    let forged = format!(
        r#"{{"schema": "adwp/genotype/1", "cells": [{{"kind": "normal", "nodes": [[{node}]]}}]}}"#
    );
    fs::write(at("forged.json"), forged).unwrap();
    fs::copy(at("run/model.onnx"), at("m.onnx")).unwrap();
    fs::copy(at("run/bench.json"), at("bench.json")).unwrap();
    let whole = fs::read(at("m.onnx")).unwrap();
    fs::write(at("cut.onnx"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at("zero.onnx"), "").unwrap();
    let before = below(holder.path());
    for (line, code, words) in MISTAKES {
        let ended = end(adwp().args(line.split(' ')).current_dir(holder.path())).with_code(code);
        let first = ended.stderr.lines().find(|line| line.starts_with("error: "));
        let first = first.unwrap_or_else(|| panic!("`adwp {line}` says no error: {ended:?}"));
        let errors = ended.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(errors, 1, "`adwp {line}` says {:?}", ended.stderr);
        // What a flag may be is in the line after, with some of them.
        let start = ended.stderr.find(first).unwrap();
        let shown: String = ended.stderr[start..].lines().take(2).collect::<Vec<_>>().join(" ");
        assert!(shown.contains(words), "`adwp {line}` says {first:?}, without {words:?}");
        let is_list = line.starts_with("data check") || line.starts_with("predict m.onnx nowhere");
        assert!(ended.stdout.is_empty() || is_list, "`adwp {line}` prints {:?}", ended.stdout);
        let after = below(holder.path());
        let left: Vec<_> = after.symmetric_difference(&before).collect();
        assert!(left.is_empty(), "`adwp {line}` leaves {left:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_a_failure() {
    let model = reference().folder.join("model.onnx");
    let (model, full) = (model.to_str().unwrap(), Path::new("/dev/full"));
    for line in [&["--help"][..], &["run", "--help"], &["--version"], &["cost", model]] {
        let full = fs::OpenOptions::new().write(true).open(full).unwrap();
        let ended = adwp().args(line).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.contains("cannot write to stdout: No space left"), "{line:?}: {said}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let model = reference().folder.join("model.onnx");
    let mut child = adwp()
        .args(["cost", model.to_str().unwrap(), "--layers"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_no_run_to_resume() {
    let export = ["zoo", "export", "darts-v2", "--out", "/dev/full", "--cells", "3"];
    let ended = end(adwp().args(export).args(["--channels", "2"])).without_panic();
    assert!(matches!(ended.code, Some(1 | 2)), "{ended:?}");
    assert!(ended.stderr.contains("cannot write /dev/full: No space left"), "{ended:?}");
    assert!(!ended.stderr.contains("--resume"), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn a_command_that_is_interrupted_ends_with_its_exit_code() {
    use std::process::Stdio;
    let model = reference().folder.join("model.onnx");
    let bench = ["bench", model.to_str().unwrap(), "--min-time", "60"];
    let child = adwp().args(bench).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // It listens before it reads anything.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("error: interrupted"), "{said}");
}
