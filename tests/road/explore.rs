//! Searches that score one architecture after another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::folder::{contents, json, stored};
use crate::program::{Ended, run, text};
use crate::reference::{SETTINGS, reference};
use crate::running::Running;

const OPERATIONS: [&str; 5] =
    ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"];

/// A table of all architectures of NAS-Bench-201: their `val` is the number of 3×3 convolutions,
/// their `test` that of pools.
static TABLE: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempdir().unwrap();
    let path = folder.path().join("table.csv");
    let mut csv = String::from("index,arch,val,test\n");
    for number in 0..5usize.pow(6) {
        let on = |edge: u32| OPERATIONS[number / 5usize.pow(edge) % 5];
        let count = |name: &str| (0..6).filter(|&edge| on(edge) == name).count();
        csv += &format!(
            "{number},|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|,{},{}\n",
            on(0),
            on(1),
            on(2),
            on(3),
            on(4),
            on(5),
            count("nor_conv_3x3"),
            count("avg_pool_3x3")
        );
    }
    fs::write(&path, csv).unwrap();
    (folder, path)
});

pub(crate) fn table() -> &'static Path {
    &TABLE.1
}

fn search(folder: &Path, more: &[&str]) -> Ended {
    let table = text(&TABLE.1);
    let usual = ["search", "--space", "nas-bench-201", "--table", table];
    run(usual.iter().chain(&["--run", text(folder)]).chain(more))
}

/// Keys, texts and scores of the trials, in order.
fn trials(folder: &Path) -> Vec<[Value; 3]> {
    let lines = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    let trial = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        ["key", "text", "score"].map(|name| line[name].clone())
    };
    lines.lines().skip(1).map(trial).collect()
}

#[test]
fn a_table_is_searched_without_a_data_set_and_its_test_column_only_reported() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    let evolution = ["--strategy", "evolution", "--evaluations", "90", "--report-column", "test"];
    let found = search(&folder, &[&evolution[..], &["--json"]].concat()).succeeds().json();
    let best = found["architecture"].as_str().unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(number(&found["score"]), best.matches("nor_conv_3x3").count() as f64);
    assert_eq!(number(&found["reported"]["test"]), best.matches("avg_pool_3x3").count() as f64);
    let trials = trials(&folder);
    assert_eq!(trials.len(), 90);
    let highest = trials.iter().filter_map(|[_, _, score]| score.as_f64()).fold(0.0, f64::max);
    assert_eq!(number(&found["score"]), highest);
    let mut keys: Vec<String> = trials.iter().map(|[key, ..]| key.to_string()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 90, "no cell is scored twice");
    let file = json(&folder.join("architecture.json"));
    assert_eq!(file["architecture"]["member"]["architecture"], best);

    // Of six edges, evolution has found more convolutions than 90 draws have on average.
    let other = holder.path().join("random");
    let random = search(&other, &["--strategy", "random", "--evaluations", "90", "--json"]);
    assert!(random.stderr.contains("worth its val"), "{}", random.stderr);
    assert!(random.succeeds().json()["reported"].as_object().unwrap().is_empty());
    let mean = |trials: &[[Value; 3]]| {
        trials.iter().filter_map(|[_, _, score]| score.as_f64()).sum::<f64>() / 90.0
    };
    let drawn = self::trials(&other);
    assert!(mean(&trials) > mean(&drawn) + 1.0, "{} {}", mean(&trials), mean(&drawn));
}

#[test]
fn a_search_that_is_continued_is_the_one_that_was_not_stopped() {
    let holder = tempdir().unwrap();
    let (whole, parts) = (holder.path().join("whole"), holder.path().join("parts"));
    let evolution = |folder: &Path, count: &str, more: &[&str]| {
        let flags = ["--strategy", "evolution", "--seed", "3", "--evaluations", count];
        search(folder, &[&flags[..], more].concat())
    };
    let expected = evolution(&whole, "60", &[]).succeeds().stdout;
    evolution(&parts, "25", &[]).succeeds();
    // As if it had been killed while it wrote a line.
    let record = parts.join("trials.jsonl");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() - 9]).unwrap();
    evolution(&parts, "60", &[]).refuses(&["trials.jsonl is there already", "--resume"]);
    let continued = evolution(&parts, "60", &["--resume"]).succeeds().stdout;
    assert_eq!(trials(&whole), trials(&parts));
    let path_of = |folder: &Path| folder.join("architecture.json").display().to_string();
    assert_eq!(continued.replace(&path_of(&parts), &path_of(&whole)), expected);

    // What is on record counts, although it is more than what is asked for now.
    let fewer = evolution(&parts, "30", &["--resume"]).succeeds();
    assert!(fewer.stderr.contains("the record has 60 already"), "{}", fewer.stderr);
    assert!(fewer.stdout.contains(" of 60 on record)"), "{}", fewer.stdout);
    assert_eq!(fewer.stdout.replace(" on record", ""), continued);
    let random = ["--strategy", "random", "--seed", "3", "--evaluations", "70", "--resume"];
    search(&parts, &random).refuses(&["another search", "strategy is \"evolution\" there"]);
    // A score that is not the table's.
    let text = fs::read_to_string(&record).unwrap();
    // Lines before one that has no checksum have none either.
    let bare = |line: &str| format!("{}}}", line.rsplit_once(",\"checksum\":").unwrap().0);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[..3].iter_mut().for_each(|line| *line = bare(line));
    let (before, _) = lines[2].split_once("\"score\":").unwrap();
    lines[2] = format!("{before}\"score\":77.5,\"seconds\":0.0}}");
    fs::write(&record, lines.join("\n") + "\n").unwrap();
    evolution(&parts, "60", &["--resume"]).refuses(&["trials.jsonl", "line 3", "77.5"]);
    fs::write(&record, text).unwrap();

    let other_seed = ["--strategy", "evolution", "--evaluations", "9", "--resume"];
    search(&parts, &other_seed).refuses(&["record of another search", "seed is 3"]);
    let other_values = holder.path().join("other.csv");
    let values = fs::read_to_string(&TABLE.1).unwrap().replace(",5,", ",4,");
    fs::write(&other_values, values).unwrap();
    let flags = ["--strategy", "evolution", "--seed", "3", "--evaluations", "70", "--resume"];
    let table = ["search", "--space", "nas-bench-201", "--table", self::text(&other_values)];
    run(table.iter().chain(&["--run", self::text(&parts)]).chain(&flags))
        .refuses(&["record of another search", "table is"]);
}

#[test]
fn what_was_found_or_trained_is_not_replaced() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    let random = |count: &str, more: &[&str]| {
        search(&folder, &[&["--strategy", "random", "--evaluations", count], more].concat())
    };
    random("1", &[]).succeeds();
    fs::write(folder.join("weights.safetensors"), "of what the first search has found").unwrap();
    let before = fs::read(folder.join("architecture.json")).unwrap();
    random("90", &["--resume"]).refuses(&["another architecture", "weights.safetensors"]);
    assert!(fs::read(folder.join("architecture.json")).unwrap() == before);
    fs::remove_file(folder.join("trials.jsonl")).unwrap();
    for more in [&[][..], &["--resume"]] {
        random("3", more).refuses(&["architecture.json is there already"]);
    }
}

#[test]
fn the_folder_of_a_search_is_not_searched_by_the_settings_of_a_run() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    let flags = ["--strategy", "evolution", "--evaluations"];
    search(&folder, &[&flags[..], &["3"]].concat()).succeeds();
    let before = contents(&folder);
    let naswot = ["--space", "nas-bench-201", "--strategy", "random", "--scorer", "naswot"];
    let naswot = [&["search"], &naswot[..], &["--evaluations", "3"]].concat();
    for command in [&["search"][..], &["space"], &["run"], &["study"], &naswot] {
        for resume in [&[][..], &["--resume"]] {
            if command == ["run"] && !resume.is_empty() {
                continue;
            }
            let there = ["--run", text(&folder), "--config", SETTINGS];
            run(command.iter().chain(&there).chain(resume)).refuses(&[
                "a search by evolution of the space nas-bench-201",
                "adwp search --space nas-bench-201 --strategy evolution",
                "adwp retrain --run",
            ]);
            assert!(contents(&folder) == before, "{command:?} {resume:?} changed the folder");
        }
    }
    search(&folder, &[&flags[..], &["5", "--resume"]].concat()).succeeds();
    // Once what it has found is trained, it is a run whose architecture is there.
    let tiny = ["--set", "retrain.channels=2", "--set", "retrain.epochs=1", "--set", "cells=3"];
    let train = ["retrain", "--run", text(&folder), "--config", SETTINGS];
    run(train.iter().chain(&tiny)).succeeds();
    for command in ["search", "space"] {
        let ended = run([command, "--run", text(&folder), "--resume"]).succeeds();
        assert_eq!(ended.stdout.trim_end(), text(&folder.join("architecture.json")), "{command}");
    }

    // The record of a strategy in the folder of a run that searches by gradient.
    let folder = holder.path().join("gradient");
    fs::create_dir(&folder).unwrap();
    fs::copy(reference().folder.join("space.json"), folder.join("space.json")).unwrap();
    let begin = ["search", "--config", SETTINGS, "--run", text(&folder)];
    let random = ["--strategy", "random", "--scorer", "naswot", "--evaluations", "2"];
    run(begin.iter().chain(&random)).succeeds();
    for command in ["search", "space"] {
        let ended = run([command, "--run", text(&folder), "--resume"]).succeeds();
        let file = if command == "search" { "genotype.json" } else { "space.json" };
        assert_eq!(ended.stdout.trim_end(), text(&folder.join(file)));
    }
    fs::remove_file(folder.join("genotype.json")).unwrap();
    run(["search", "--run", text(&folder), "--resume"]).refuses(&[
        "trials.jsonl",
        "a search by random",
        "search by gradient",
        "--strategy random",
    ]);
}

#[test]
fn what_makes_no_search_is_refused() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    for (flags, why) in [
        (&["--strategy", "random"][..], "--evaluations"),
        (&["--strategy", "best", "--evaluations", "3"], "evolution"),
        (&["--strategy", "random", "--evaluations", "0"], "at least 1"),
        (&["--strategy", "random", "--evaluations", "3", "--scorer", "worth"], "naswot"),
        (&["--strategy", "random", "--evaluations", "3", "--scorer", "latency"], "--latency-table"),
        (&["--strategy", "evolution", "--evaluations", "3", "--sample-size", "30"], "sample_size"),
        (&["--strategy", "random", "--evaluations", "3", "--sample-size", "3"], "has no setting"),
        (
            &["--strategy", "random", "--evaluations", "3", "--set", "cells=5"],
            "--set has no effect",
        ),
        (
            &["--strategy", "random", "--evaluations", "3", "--epochs-scale", "0.5"],
            "--epochs-scale has no effect",
        ),
        (&["--strategy", "random", "--evaluations", "3", "--report-column", "x"], "\"x\""),
        (&["--evaluations", "3"], "--strategy"),
        (
            &["--strategy", "random", "--evaluations", "3", "--training-epochs", "3"],
            "--training-epochs is for the scorer training, not table",
        ),
        (
            &["--strategy", "random", "--evaluations", "3", "--training-scale", "1"],
            "--training-scale is for the scorer training, not table",
        ),
        (
            &[
                "--strategy",
                "random",
                "--evaluations",
                "3",
                "--finalists",
                "0",
                "--finalist-epochs",
                "2",
            ],
            "there are no finalists",
        ),
        (
            &["--strategy", "random", "--evaluations", "3", "--latency-table", "x.json"],
            "nothing here asks for a latency",
        ),
    ] {
        let ended = search(&folder, flags).with_code(2);
        assert!(ended.stderr.contains(why), "{flags:?}: {}", ended.stderr);
        assert!(!folder.join("architecture.json").exists());
    }
    // A first score that fails leaves the folder to the next search.
    let blank = holder.path().join("blank.csv");
    fs::write(&blank, "arch,val\n|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,\n").unwrap();
    let flags = ["--table", text(&blank), "--strategy", "random", "--evaluations", "3"];
    let named = ["search", "--space", "nas-bench-201", "--run", text(&folder)];
    run(named.iter().chain(&flags)).refuses(&["blank.csv"]);
    assert!(!folder.join("trials.jsonl").exists());
    search(&folder, &["--strategy", "random", "--evaluations", "3", "--column", "test"])
        .refuses(&["cannot select by a test column", "--report-column"]);
}

#[test]
fn an_architecture_of_a_named_space_goes_the_whole_road() {
    let holder = tempdir().unwrap();
    let (found, folder) = (holder.path().join("found"), holder.path().join("run"));
    search(&found, &["--strategy", "random", "--evaluations", "4"]).succeeds();
    let architecture = found.join("architecture.json");
    let cost = run(["cost", text(&architecture), "--json"]).succeeds().json();
    assert!(cost["params"].as_u64() >= Some(73_306), "at least what is around its cells: {cost}");
    let train = ["retrain", "--architecture", text(&architecture), "--run", text(&folder)];
    let tiny = ["--set", "cells=3", "--set", "retrain.channels=4", "--set", "retrain.epochs=1"];
    run(train.iter().chain(&["--config", SETTINGS]).chain(&tiny)).succeeds();
    run(["run", "--run", text(&folder), "--resume"]).succeeds();
    let report = json(&folder.join("report.json"));
    let member = &report["genotype"]["member"];
    assert_eq!(member, &json(&architecture)["architecture"]["member"]);
    assert_eq!(report["cells"].as_array().map(Vec::len), Some(3));
    assert!(fs::read_to_string(folder.join("report.html")).unwrap().contains("3 cells, 1 of them"));
    run(["bench", text(&folder.join("model.onnx")), "--min-time", "0.01"]).succeeds();

    // A search whose scorer looks at images has a run of its own, which later steps continue.
    let images = holder.path().join("images");
    let naswot =
        ["search", "--space", "nas-bench-201", "--strategy", "random", "--scorer", "naswot"];
    let in_run = |flags: &[&str]| run(naswot.iter().chain(&["--run", text(&images)]).chain(flags));
    in_run(&["--config", SETTINGS, "--evaluations", "2"]).succeeds();
    in_run(&["--evaluations", "3", "--resume"]).succeeds();
    assert_eq!(trials(&images).len(), 3);
    run(["retrain", "--run", text(&images), "--set", "retrain.epochs=4"]).succeeds();
    // So does the folder of one that looked at none.
    run(["retrain", "--run", text(&found), "--config", SETTINGS]).succeeds();

    let wrong = ["--set", "cells=4", "--set", "retrain.channels=4"];
    let other = holder.path().join("other");
    let train = ["retrain", "--architecture", text(&architecture), "--run", text(&other)];
    run(train.iter().chain(&["--config", SETTINGS]).chain(&wrong))
        .refuses(&["3 stages", "4 cells"]);
}

#[test]
fn a_named_space_is_searched_with_predicted_weights() {
    let holder = tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| holder.path().join(name));
    let named = ["search", "--space", "nas-bench-macro", "--strategy", "random"];
    let scored = ["--scorer", "predicted-discrete", "--config", SETTINGS];
    let search = |folder: &Path, count: &str, more: &[&str]| {
        let size = ["--evaluations", count, "--run", text(folder)];
        run(named.iter().chain(&scored).chain(&size).chain(more))
    };
    // What it finds has no operations to drop.
    search(&whole, "6", &["--set", "retrain.drop_path=0.2"])
        .refuses(&["retrain.drop_path = 0.2", "nas-bench-macro"]);
    assert!(!whole.exists());
    search(&whole, "6", &[]).succeeds();
    search(&parts, "2", &[]).succeeds();
    search(&parts, "6", &["--resume"]).succeeds();
    assert_eq!((trials(&whole).len(), trials(&whole)), (6, trials(&parts)));
    let settings: toml::Table =
        fs::read_to_string(whole.join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(settings["retrain"]["drop_path"].as_float(), Some(0.0));
}

#[test]
fn the_intensive_space_of_a_run_is_searched_by_any_scorer() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    fs::create_dir(&folder).unwrap();
    fs::copy(reference().folder.join("space.json"), folder.join("space.json")).unwrap();
    let search = ["search", "--config", SETTINGS, "--run", text(&folder), "--strategy", "random"];
    let naswot = ["--scorer", "naswot", "--evaluations", "3"];
    let ended = run(search.iter().chain(&naswot).chain(&["--json"])).succeeds().json();
    assert_eq!((&ended["evaluations"], trials(&folder).len()), (&3.into(), 3));
    let genotype = json(&folder.join("genotype.json"));
    let text: Value = serde_json::from_str(ended["architecture"].as_str().unwrap()).unwrap();
    assert_eq!(genotype, text);

    // Inputs that are trained first have a folder of their own.
    fs::remove_file(folder.join("trials.jsonl")).unwrap();
    fs::remove_file(folder.join("genotype.json")).unwrap();
    let prednas = ["--strategy", "prednas", "--initial", "3", "--input", "one-shot"];
    let search = ["search", "--config", SETTINGS, "--run", self::text(&folder)];
    let args = |evaluations: &'static str| {
        let size = ["--input", "params", "--scorer", "naswot", "--evaluations", evaluations];
        search.into_iter().chain(prednas).chain(size)
    };
    run(args("5")).succeeds();
    assert!(folder.join("inputs/one-shot/checkpoints/one-shot.safetensors").exists());
    let inputs = |folder: &Path| -> Vec<Value> {
        let lines = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["inputs"].clone();
        lines.lines().map(line).collect()
    };
    let first = inputs(&folder);
    assert_eq!((first.len(), &first[0]), (6, &serde_json::json!(["one-shot", "params"])));
    assert!(first[1..].iter().all(|inputs| inputs[1].as_f64() > Some(0.0)), "{first:?}");
    run(args("6").chain(["--resume"])).succeeds();
    assert_eq!(inputs(&folder)[..6], first, "the shared weights are those of before");
    run(args("7").chain(["--resume", "--input", "madds"])).refuses(&["inputs is"]);
}

#[test]
fn the_settings_of_a_run_can_name_a_strategy() {
    let holder = tempdir().unwrap();
    let folders = ["whole", "killed"].map(|name| holder.path().join(name));
    let settings = [
        "strategy.name=prednas",
        "strategy.evaluations=4",
        "strategy.training_epochs=1",
        "strategy.settings.initial=2",
        "strategy.inputs=[\"params\"]",
        "strategy.finalists=2",
    ];
    let settings: Vec<&str> = settings.into_iter().flat_map(|set| ["--set", set]).collect();
    let search = |folder: &Path| -> Vec<String> {
        let begin = ["search", "--config", SETTINGS, "--run", text(folder)];
        begin.iter().chain(&settings).map(ToString::to_string).collect()
    };
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        fs::copy(reference().folder.join("space.json"), folder.join("space.json")).unwrap();
    }
    let [whole, killed] = folders.each_ref().map(|folder| search(folder));
    let args = |of: &[String], more: &[&'static str]| -> Vec<String> {
        of.iter().cloned().chain(more.iter().map(ToString::to_string)).collect()
    };
    run(args(&whole, &[])).succeeds();
    assert_eq!(trials(&folders[0]).len(), 4);
    run(args(&whole, &[])).refuses(&["genotype.json is there already"]);
    let ended = run(args(&whole, &["--resume"])).succeeds();
    assert!(ended.stderr.contains("genotype.json is there"), "{}", ended.stderr);

    let args: Vec<&str> = killed.iter().map(String::as_str).collect();
    let mut running = Running::start(&args, &folders[1]);
    running.says("search: finalist ");
    running.kill();
    run(&args).refuses(&["trials.jsonl is there already"]);
    run(args.iter().chain(&["--resume"])).succeeds();
    for file in ["genotype.json", "finalists.jsonl"] {
        let [a, b] = folders.each_ref().map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(a == b, "{file}");
    }
    // What it says is what was searched by.
    run(args.iter().chain(&["--resume", "--set", "strategy.evaluations=5"]))
        .refuses(&["strategy.evaluations"]);

    let folder = holder.path().join("other");
    let refused =
        |set: &str| run(["search", "--config", SETTINGS, "--run", text(&folder), "--set", set]);
    refused("strategy.name=gradent").refuses(&["gradent", "prednas, gradient"]);
    let refused = |set: &str| {
        let begin = ["search", "--config", SETTINGS, "--run", text(&folder)];
        let settings = ["--set", "strategy.name=random", "--set", set];
        run(begin.iter().chain(&settings))
    };
    refused("strategy.scorer=table").refuses(&["table", "needs"]);
    refused("strategy.scorer=latency").refuses(&["latency", "needs"]);
    refused("strategy.evaluations=0").refuses(&["evaluations"]);
    refused("strategy.training_epochs=0").refuses(&["training_epochs"]);
    refused("strategy.finalists=1").refuses(&["finalists"]);
    refused("strategy.settings.initial=2").refuses(&["random has no setting initial"]);
    refused("strategy.inputs=[\"params\"]").refuses(&["random reads no inputs"]);
    assert!(!folder.exists());
}

#[test]
fn finalists_are_trained_until_one_is_left() {
    let holder = tempdir().unwrap();
    let folders = ["whole", "killed"].map(|name| holder.path().join(name));
    let flags = ["--strategy", "random", "--scorer", "params", "--evaluations", "6"];
    let search = |folder: &Path, finalists: [&'static str; 4]| -> Vec<String> {
        let begin = ["search", "--config", SETTINGS, "--run", text(folder)];
        begin.iter().chain(&flags).chain(&finalists).map(ToString::to_string).collect()
    };
    for folder in &folders {
        fs::create_dir(folder).unwrap();
        fs::copy(reference().folder.join("space.json"), folder.join("space.json")).unwrap();
    }
    let three = ["--finalists", "3", "--finalist-epochs", "1"];
    let whole = search(&folders[0], three);
    let found = run(whole.iter().map(String::as_str).chain(["--json"])).succeeds().json();
    // Three are trained for an epoch, the two better ones for two.
    let finalists = found["finalists"].as_array().unwrap();
    let epochs: Vec<u64> = finalists.iter().filter_map(|of| of["epochs"].as_u64()).collect();
    assert_eq!(epochs, [1, 1, 1, 2, 2]);
    let accuracy = |of: &Value| of["accuracy"].as_f64().unwrap();
    let [.., first, second] = &finalists[..] else { unreachable!() };
    assert!(accuracy(first) >= accuracy(second));
    assert_eq!(found["architecture"], first["text"]);
    let genotype: Value = serde_json::from_str(first["text"].as_str().unwrap()).unwrap();
    assert_eq!(json(&folders[0].join("genotype.json")), genotype);
    // They are the largest three.
    let trials = trials(&folders[0]);
    let mut sizes: Vec<f64> = trials.iter().filter_map(|[_, _, score]| score.as_f64()).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    let size = |of: &Value| {
        let trial = trials.iter().find(|[_, text, _]| *text == of["text"]);
        trial.unwrap()[2].as_f64().unwrap()
    };
    assert!(finalists[..3].iter().all(|of| size(of) >= sizes[2]));

    let killed = search(&folders[1], three);
    let args: Vec<&str> = killed.iter().map(String::as_str).collect();
    let mut running = Running::start(&args, &folders[1]);
    running.says("search: finalist ");
    running.kill();
    run(args.iter().chain(&["--resume"])).succeeds();
    let files = ["finalists.jsonl", "genotype.json"];
    for file in files {
        let [a, b] = folders.each_ref().map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(a == b, "{file}");
    }

    let one = search(&folders[1], ["--finalists", "1", "--finalist-epochs", "1"]);
    run(one.iter().map(String::as_str).chain(["--resume"])).refuses(&["at least 2"]);
    let none = search(&folders[1], ["--finalists", "2", "--finalist-epochs", "0"]);
    run(none.iter().map(String::as_str).chain(["--resume"])).refuses(&["at least 1"]);
}

#[test]
fn inputs_are_for_strategies_that_read_them() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    let begin = ["--evaluations", "3", "--input"];
    for (flags, why) in [
        (["random", "params"], "random reads no inputs"),
        (["prednas", "table"], "that is what a search evaluates"),
        (["prednas", "training"], "that is what a search evaluates"),
        (["prednas", "latency"], "latency"),
    ] {
        let [strategy, input] = flags;
        let ended = search(&folder, &[&["--strategy", strategy], &begin[..], &[input]].concat());
        let ended = ended.with_code(2);
        assert!(ended.stderr.contains(why), "{flags:?}: {}", ended.stderr);
        assert!(!folder.join("trials.jsonl").exists());
        let _ = fs::remove_dir_all(&folder);
    }
    let twice = ["--strategy", "prednas", "--input", "params"];
    search(&folder, &[&twice[..], &begin, &["params"]].concat()).refuses(&["there twice"]);
    search(&folder, &[&twice[..], &begin, &["madds"]].concat()).succeeds();
}

#[test]
fn every_strategy_keeps_limits_and_finds_what_later_steps_take() {
    let holder = tempdir().unwrap();
    for strategy in ["random", "local", "evolution", "predictor", "prednas"] {
        let folder = holder.path().join(strategy);
        let named = ["search", "--space", "nas-bench-macro", "--strategy", strategy];
        let limits = ["--scorer", "params", "--max-params", "1M", "--max-madds", "40M"];
        let size = ["--evaluations", "30", "--run", text(&folder), "--json"];
        let found = run(named.iter().chain(&limits).chain(&size)).succeeds().json();
        assert_eq!(found["evaluations"], 30);
        for [_, architecture, score] in trials(&folder) {
            assert!(score.as_f64() <= Some(1e6), "{strategy}: {architecture} {score}");
        }
        let cost = run(["cost", text(&folder.join("architecture.json")), "--json"]).succeeds();
        let cost = cost.json();
        assert_eq!(cost["params"].as_f64(), found["score"].as_f64());
        assert!(cost["madds"].as_u64() <= Some(40_000_000), "{strategy}: {cost}");
    }
    // A scorer that sees no column leaves all of them to be reported.
    let folder = holder.path().join("sized");
    let sized = ["--strategy", "random", "--scorer", "params", "--evaluations", "3"];
    let reported = ["--report-column", "val", "--report-column", "test", "--json"];
    let found = search(&folder, &[&sized[..], &reported].concat());
    assert!(!found.stderr.contains("worth its"), "{}", found.stderr);
    assert_eq!(found.succeeds().json()["reported"].as_object().map(serde_json::Map::len), Some(2));
    search(&folder, &[&sized[..], &["--column", "val"]].concat()).refuses(&["sees no column"]);
    let impossible = ["--strategy", "prednas", "--scorer", "params", "--max-params", "1000"];
    let folder = holder.path().join("none");
    let named = ["search", "--space", "nas-bench-macro", "--run", text(&folder)];
    run(named.iter().chain(&impossible).chain(&["--evaluations", "3"]))
        .refuses(&["within the limits"]);
    let found = holder.path().join("prednas");
    let train = ["retrain", "--run", text(&found), "--config", SETTINGS];
    let tiny = ["--set", "retrain.channels=2", "--set", "retrain.epochs=1", "--set", "cells=8"];
    let train: Vec<&str> = train.into_iter().chain(tiny).collect();
    run(train.iter().chain(&["--set", "retrain.drop_path=0.2"]))
        .refuses(&["drop_path", "no operation that could be dropped"]);
    run(train.iter().chain(&["--set", "cells=4"])).refuses(&["8 layers, expected 4"]);
    assert!(!found.join("config.toml").exists());
    run(&train).succeeds();
    run(["run", "--run", text(&found), "--resume"]).succeeds();
    assert_eq!(json(&found.join("report.json"))["cells"].as_array().map(Vec::len), Some(8));
}

/// Settings of a whole run that searches cells by short trainings at a price.
const PRICED: [&str; 8] = [
    "strategy.name=prednas",
    "strategy.space=darts",
    "strategy.start=[\"zoo:darts-v2\"]",
    "strategy.evaluations=5",
    "strategy.training_epochs=1",
    "strategy.training_scale=0.5",
    "strategy.settings.initial=3",
    "strategy.finalists=2",
];

#[test]
fn a_run_searches_cells_at_the_price_that_the_network_is_to_have() {
    let holder = tempdir().unwrap();
    let [folder, killed] = ["run", "killed"].map(|name| holder.path().join(name));
    let settings = PRICED.into_iter().flat_map(|set| ["--set", set]);
    let settings: Vec<&str> = settings.chain(["--max-madds", "900K", "--fill"]).collect();
    let args = |folder: &Path| -> Vec<String> {
        let begin = ["run", "--config", SETTINGS, "--run", text(folder)];
        begin.iter().chain(&settings).map(ToString::to_string).collect()
    };
    run(args(&folder)).succeeds();
    assert!(!folder.join("space.json").exists(), "no intensive space is needed");
    let found: Vec<_> = trials(&folder);
    let first = found[0][1].as_str().unwrap();
    assert!(first.starts_with("normal sep_conv_3x3(0)+sep_conv_3x3(1),"), "{first}");
    assert_eq!(found.len(), 5);
    // Cells of a kind are alike, and the network is as wide as the limit allows.
    let genotype = json(&folder.join("genotype.json"));
    assert_eq!(genotype["cells"][1]["nodes"], genotype["cells"][2]["nodes"]);
    let report = json(&folder.join("report.json"));
    let madds = report["madds"].as_u64().unwrap();
    let wider = |by: u64| {
        let channels = (channels_of(&folder) + by).to_string();
        let file = folder.join("genotype.json");
        let sizes = ["--channels", &channels, "--image", "1x28x28"];
        let cost = run(["cost", text(&file), "--json"].iter().chain(&sizes)).succeeds().json();
        cost["madds"].as_u64().unwrap()
    };
    assert_eq!(wider(0), madds);
    assert!(madds <= 900_000 && wider(1) > 900_000, "{madds}");
    assert_eq!(report["budgets"][0]["limit"], 900_000.0);

    let search = &report["search"];
    assert_eq!((&search["strategy"], &search["space"]), (&"prednas".into(), &"darts".into()));
    let origins: Vec<&Value> =
        search["parts"].as_array().unwrap().iter().map(|part| &part["origin"]).collect();
    assert_eq!(origins, ["given", "drawn at random", "chosen by earlier scores"]);
    let record = fs::read_to_string(folder.join("trials.jsonl")).unwrap();
    assert!(record.lines().next().unwrap().contains("\"training_scale\":0.5"));
    assert_eq!(search["finalists"].as_array().map(Vec::len), Some(2));
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(
        page.contains("<h2>Search</h2>") && page.contains("5 architectures of the space darts")
    );

    // Killed within a training of the search, and gone on with.
    let killed_args = args(&killed);
    let killed_args: Vec<&str> = killed_args.iter().map(String::as_str).collect();
    let mut running = Running::start(&killed_args, &killed);
    running.has("trials.jsonl");
    running.kill();
    run(["run", "--run", text(&killed), "--resume"]).succeeds();
    for file in ["genotype.json", "finalists.jsonl", "weights.safetensors", "model.onnx"] {
        let [a, b] = [&folder, &killed].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(a == b, "{file}");
    }
    assert_eq!(trials(&folder), trials(&killed));

    // What was found goes to other images with the channels that it has.
    let [moved, other, zoo] = ["moved", "other", "zoo"].map(|name| holder.path().join(name));
    let to = ["--dataset", "sample", "--set", "train_images=60", "--set", "retrain.epochs=1"];
    run(["retrain", "--from", text(&folder), "--run", text(&moved)].iter().chain(&to)).succeeds();
    assert_eq!(channels_of(&moved), channels_of(&folder));
    fs::remove_file(folder.join("weights.safetensors")).unwrap();
    let again = ["retrain", "--from", text(&folder), "--run", text(&other)];
    run(again.iter().chain(&to)).succeeds();
    // Without the limit of the other run the price is that of `retrain.channels`, which is less.
    assert!(channels_of(&other) < channels_of(&moved));
    assert_eq!(json(&other.join("genotype.json")), genotype);
    // A published architecture is made as large, to be compared.
    let given = ["retrain", "--architecture", "zoo:darts-v2", "--run", text(&zoo)];
    let size = ["--max-madds", "900K", "--fill", "--set", "cells=3"];
    let config = ["--config", SETTINGS];
    run(given.iter().chain(&config).chain(&size).chain(&to[2..])).succeeds();
    let cost = run(["export", "--run", text(&zoo)]).succeeds();
    assert!(cost.stdout.contains("model.onnx"));
    let cost = run(["cost", text(&zoo.join("model.onnx")), "--json"]).succeeds().json();
    let madds = cost["madds"].as_u64().unwrap();
    assert!((500_000..=900_000).contains(&madds), "{madds}");
}

/// The channels of the trained network of a run.
fn channels_of(folder: &Path) -> u64 {
    let stored = stored(&folder.join("weights.safetensors")).unwrap();
    stored["network"]["skeleton"]["channels"].as_u64().unwrap()
}

#[test]
fn what_cannot_be_filled_or_begun_with_is_refused() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    let settings: Vec<&str> = PRICED.into_iter().flat_map(|set| ["--set", set]).collect();
    let refused = |more: &[&str]| {
        let begin = ["run", "--config", SETTINGS, "--run", text(&folder)];
        run(begin.iter().chain(&settings).chain(more))
    };
    refused(&["--fill", "--max-madds", "1M", "--set", "retrain.channels=4"])
        .refuses(&["limits.fill chooses retrain.channels", "limits.fill=false"]);
    let table = ["--max-latency-ms", "1", "--latency-table", "none.json"];
    let of_space = ["--set", "strategy.space=nas-bench-201"];
    refused(&of_space).refuses(&["sizes of their own", "adwp search --space nas-bench-201"]);
    refused(&[&["--fill", "--max-madds", "1M"], &table[..]].concat()).refuses(&["latency"]);
    refused(&["--set", "strategy.scorer=params"])
        .refuses(&["training_scale", "scorer training, not params"]);
    refused(&["--set", "strategy.training_scale=2"]).refuses(&["training_scale = 2"]);
    refused(&["--set", "strategy.space=dart"]).refuses(&["dart", "nas-bench-201", "intensive"]);
    assert!(!folder.exists());
    for (start, culprits) in [
        ("zoo:dart-v2", &["dart-v2", "darts-v2"][..]),
        ("zoo:nasnet-a", &["nasnet-a", "no cells of the space darts"]),
        ("zoo:mobilenet-v2", &["mobilenet-v2", "no cells of the space darts"]),
        ("nowhere.json", &["nowhere.json", "no architecture of the space darts"]),
    ] {
        let start = format!("strategy.start=[\"{start}\"]");
        refused(&["--set", &start]).refuses(culprits);
        assert!(!folder.join("trials.jsonl").exists());
        let _ = fs::remove_dir_all(&folder);
    }
    // Not even one channel keeps the limit.
    refused(&["--fill", "--max-madds", "1K"]).refuses(&["even with 1 channels"]);
    assert!(!folder.join("trials.jsonl").exists());
}
