//! Settings that make no run: refused before anything is written.

use std::fs;

use tempfile::tempdir;

use crate::folder::{contents, times};
use crate::program::{run, text};
use crate::reference::{SETTINGS, begin, copy_of_run, fresh, reference};

/// A config file of this text is refused for these reasons, next to the name of the file.
#[track_caller]
fn refuse_file(settings: &str, culprits: &[&str]) {
    let holder = tempdir().unwrap();
    let (config, folder) = (holder.path().join("settings.toml"), holder.path().join("run"));
    fs::write(&config, settings).unwrap();
    let ended = run(["run", "--config", text(&config), "--run", text(&folder)]).refuses(culprits);
    assert!(ended.stderr.contains(text(&config)), "the file is not named: {}", ended.stderr);
    assert!(!folder.exists());
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    refuse_file("sed = 3", &["`sed`", "`seed`"]);
    refuse_file("[search]\nepoch = 3", &["`search.epoch`", "`search.epochs`"]);
    refuse_file(
        "[retrain.augmentation]\ncutouts = 3",
        &["`retrain.augmentation.cutouts`", "`retrain.augmentation.cutout`"],
    );
    refuse_file("[serach]\nepochs = 3", &["`serach`", "`search.epochs`"]);
}

#[test]
fn settings_of_an_earlier_version_are_read_of_a_run_and_refused_of_a_user() {
    let refuse = |key: &str, instead: &str| {
        refuse_setting(&format!("{key}=0"), &[key, "any more", instead]);
        let (table, name) = key.split_once('.').unwrap();
        refuse_file(&format!("[{table}]\n{name} = 0"), &[key, "any more", instead]);
    };
    refuse("fidelity.random", "fidelity.searches");
    refuse("strategy.training_image_size", "strategy.training_scale");

    let (_holder, folder) = copy_of_run();
    let file = folder.join("config.toml");
    // Earlier versions wrote no checksum, which is the first line.
    let sealed = fs::read_to_string(&file).unwrap();
    let (_, settings) = sealed.split_once('\n').unwrap();
    let old = settings.replace("[fidelity]\n", "[fidelity]\nrandom = 0\n");
    assert_ne!(old, settings);
    fs::write(&file, &old).unwrap();
    let ended = run(["report", text(&folder)]).succeeds();
    assert_eq!(ended.stderr.matches("fidelity.random = 0").count(), 1, "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), sealed);
    assert!(!run(["report", text(&folder)]).succeeds().stderr.contains("fidelity.random"));
    // What was never a key is no key of a run either.
    fs::write(&file, settings.replace("[fidelity]\n", "[fidelity]\nrandum = 0\n")).unwrap();
    run(["report", text(&folder)]).refuses(&["fidelity.randum", "config.toml"]);
}

#[test]
fn values_of_a_wrong_type_are_named_with_their_key() {
    refuse_file("[search]\nepochs = \"many\"", &["`search.epochs`", "integer", "string"]);
    refuse_file("cells = 8.5", &["`cells`", "integer", "float"]);
    refuse_file("search = 3", &["`search`", "table"]);
    refuse_file("[bench]\nthreads = 2", &["`bench.threads`", "array"]);
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    refuse_file("seed = 1\ncells = = 3\n", &["line 2"]);
    refuse_file("seed = 1\n[search\n", &["line 2"]);
}

#[test]
fn a_config_file_that_is_not_there_is_named() {
    run(["run", "--config", "nowhere.toml"]).refuses(&["nowhere.toml"]);
}

/// A run with this setting is refused, and nothing is written.
#[track_caller]
pub(crate) fn refuse_setting(setting: &str, culprits: &[&str]) {
    let (_holder, folder) = fresh();
    run(begin("run", &folder).iter().chain(&["--set", setting])).refuses(culprits);
    assert!(!folder.exists(), "{setting} was refused only after the folder was made");
}

#[test]
fn values_out_of_range_are_named_with_their_key() {
    refuse_setting("cells=-1", &["`cells` must be at least 0, not -1"]);
    refuse_setting("retrain.epochs=-1", &["--set retrain.epochs=-1", "`retrain.epochs`"]);
    refuse_setting("bench.threads=[1, -1]", &["`bench.threads`", "at least 0"]);
    refuse_setting("retrain.decay=step", &["--set retrain.decay=step: key `retrain.decay`"]);
    refuse_setting("retrain.rate=-1", &["retrain.rate = -1"]);
    refuse_setting("search.keep=0", &["search.keep = 0"]);
    refuse_setting("retrain.evaluate_every=0", &["retrain.evaluate_every = 0"]);
    refuse_file("[search]\nepochs = -6", &["`search.epochs` must be at least 0, not -6"]);
    refuse_file("[retrain]\ndecay = \"step\"", &["key `retrain.decay`", "cosine"]);
    refuse_setting("stem=vgg", &["stem", "cifar", "imagenet"]);
    refuse_setting("search.generator_input=edge", &["generator_input", "node", "cell", "vector"]);
    refuse_setting("search.alpha_draw=even", &["alpha_draw", "normal", "discrete"]);
}

#[test]
fn networks_that_cannot_be_built_are_refused() {
    refuse_setting("cells=2", &["3 cells"]);
    refuse_setting("space.channels=0", &["channels"]);
    refuse_setting("space.candidates=15", &["candidates = 15"]);
    refuse_setting("search.keep=4", &["search.keep = 4", "space.candidates = 3"]);
    refuse_setting("stem=imagenet", &["28×28"]);
}

#[test]
fn schedules_that_cannot_be_followed_are_refused() {
    refuse_setting("space.epochs=1", &["epochs = 1", "backtrack = 1"]);
    refuse_setting("search.hypernetwork_epochs=6", &["hypernetwork_epochs = 6"]);
    refuse_setting("retrain.epochs=0", &["retrain", "epochs"]);
    refuse_setting("train_images=7000", &["7000", "6000"]);
    refuse_setting("search_images=121", &["search_images = 121", "120"]);
    refuse_setting("train_share=1", &["train_share"]);
}

#[test]
fn what_a_command_does_not_use_does_not_stop_it() {
    let (_holder, folder) = fresh();
    let genotype = reference().folder.join("genotype.json");
    let retrain = ["retrain", "--architecture", text(&genotype), "--config", SETTINGS];
    let settings = ["--set", "search_images=121", "--set", "retrain.epochs=1"];
    run([&retrain[..], &settings, &["--run", text(&folder)]].concat()).succeeds();
}

#[test]
fn measurements_that_cannot_be_made_are_refused() {
    refuse_setting("bench.threads=[0]", &["threads"]);
    refuse_setting("bench.min_time=-1", &["min_time"]);
    refuse_setting("bench.parity_images=0", &["bench.parity_images"]);
    let model = reference().folder.join("model.onnx");
    for (flag, value) in [
        ("--min-time", "-1"),
        ("--min-time", "nan"),
        ("--repeat", "0"),
        ("--batch", "0"),
        ("--threads", "0"),
    ] {
        run(["bench", text(&model), &format!("{flag}={value}")]).with_code(2);
    }
    run(["eval", text(&model), "--dataset", "sample", "--batch", "0"]).refuses(&["--batch"]);
}

#[test]
fn times_beyond_all_measure_are_refused() {
    let model = reference().folder.join("model.onnx");
    run(["bench", text(&model), "--min-time", "1e300"]).refuses(&["min-time"]);
}

#[test]
fn times_beyond_all_measure_are_refused_in_settings() {
    refuse_setting("bench.min_time=1e300", &["min_time"]);
}

#[test]
fn batches_beyond_memory_are_refused() {
    refuse_setting("retrain.batch=1000000000000000", &["batch"]);
}

#[test]
fn channels_beyond_memory_are_refused() {
    refuse_setting("space.channels=4611686018427387904", &["channels"]);
    refuse_setting("retrain.channels=1000000000000", &["channels"]);
    refuse_setting("cells=1000000000", &["cells"]);
}

#[test]
fn a_run_is_not_continued_with_other_settings() {
    let (holder, folder) = copy_of_run();
    let (before, changed) = (contents(&folder), times(&folder));
    let refuse = |flags: &[&str], culprits: &[&str]| {
        let args =
            ["run", "--run", text(&folder), "--resume"].into_iter().chain(flags.iter().copied());
        let folder_and_key: Vec<&str> =
            culprits.iter().copied().chain([text(&folder), "another configuration"]).collect();
        run(args).refuses(&folder_and_key);
        assert!(
            contents(&folder) == before && times(&folder) == changed,
            "{flags:?} changed the run"
        );
    };
    refuse(&["--seed", "9"], &["seed is 0, not 9"]);
    refuse(&["--set", "search.epochs=7"], &["search.epochs is 6, not 7"]);
    refuse(&["--dataset", "cifar10"], &["dataset"]);
    refuse(&["--max-madds", "1M"], &["limits.madds is 0, not 1000000"]);
    refuse(&["--identity-dropout", "0.5"], &["search.identity_dropout is 0.0, not 0.5"]);
    let other = holder.path().join("other.toml");
    fs::write(&other, fs::read_to_string(SETTINGS).unwrap().replace("cells = 3", "cells = 4"))
        .unwrap();
    refuse(&["--config", text(&other)], &["cells is 3, not 4"]);
    // The same settings said again are the same. How latency is measured may change until it is.
    let same = ["--resume", "--seed", "0", "--set", "bench.repeats=1"];
    run(begin("run", &folder).iter().chain(&same)).succeeds();
    let another = ["--resume", "--set", "bench.repeats=2"];
    let words =
        ["bench.json is measured already", "bench.repeats is 1, not 2", "delete bench.json"];
    run(begin("run", &folder).iter().chain(&another)).refuses(&words);
    fs::remove_file(folder.join("bench.json")).unwrap();
    run(begin("run", &folder).iter().chain(&another)).succeeds();
}
