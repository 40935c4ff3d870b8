//! Studies whose truth is a published table.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::explore::table;
use crate::folder::json;
use crate::program::{Ended, run, text};
use crate::reference::{SETTINGS, fresh};
use crate::running::Running;

/// A study of strategies on the table of NAS-Bench-201 that these tests have.
fn strategies(folder: &Path, more: &[&str]) -> Ended {
    run(begin(folder).iter().chain(more))
}

fn begin(folder: &Path) -> Vec<&str> {
    let named = ["study", "--space", "nas-bench-201", "--table", text(table())];
    named.into_iter().chain(["--truth", "test", "--run", text(folder)]).collect()
}

const COMPARED: [&str; 14] = [
    "--column",
    "val",
    "--strategy",
    "random",
    "--strategy",
    "prednas:initial=5",
    "--evaluations",
    "12",
    "--evaluations",
    "8",
    "--seeds",
    "3",
    "--fit",
    "30",
];

fn results(folder: &Path) -> [Vec<u8>; 2] {
    ["study.json", "study.html"].map(|name| fs::read(folder.join(name)).unwrap())
}

#[test]
fn strategies_are_compared_by_what_they_did_not_see() {
    let (_holder, folder) = fresh();
    let ended = strategies(&folder, &COMPARED).succeeds();
    for said in [
        "selected by val, judged by test",
        "after 8 ",
        "prednas:initial=5 − random",
        "30 architectures",
    ] {
        assert!(ended.stdout.contains(said), "{said:?} is not in\n{}", ended.stdout);
    }
    let study = json(&folder.join("study.json"));
    assert_eq!(study["bounds"]["networks"], 6466);
    assert_eq!(study["bounds"]["best"], 6.0, "six pools");
    let found = &study["strategies"][1]["found"];
    assert_eq!((&found[0]["evaluations"], &found[1]["evaluations"]), (&8.into(), &12.into()));
    assert_eq!(found[0]["values"].as_array().map(Vec::len), Some(3));
    assert_eq!(study["strategies"][1]["settings"]["initial"], 5.0);
    // What each would deliver is that of its record, by the columns that count.
    let best = |trials: &str| {
        let trials = fs::read_to_string(folder.join("study").join(trials)).unwrap();
        let trials = trials.lines().skip(1).map(|line| serde_json::from_str(line).unwrap());
        let trials: Vec<Value> = trials.collect();
        assert_eq!(trials.len(), 12);
        let score = |trial: &Value| trial["score"].as_f64().unwrap();
        let best = trials.iter().reduce(|a, b| if score(b) > score(a) { b } else { a }).unwrap();
        best["text"].as_str().unwrap().matches("avg_pool_3x3").count() as f64
    };
    let random = &study["strategies"][0]["found"][1]["values"];
    for seed in 0..3 {
        assert_eq!(random[seed], best(&format!("random/seed{seed}/trials.jsonl")));
    }
    let printed = strategies(&folder, &[&COMPARED[..], &["--resume", "--json"]].concat());
    assert_eq!(printed.succeeds().json(), study);
    strategies(&folder, &COMPARED).refuses(&["is there already", "--resume"]);
}

#[test]
fn a_study_of_strategies_that_was_killed_is_the_one_that_was_left_alone() {
    let ((_holder, whole), (_other, parts)) = (fresh(), fresh());
    let many = COMPARED.map(|word| if word == "3" { "40" } else { word });
    strategies(&whole, &many).succeeds();
    let args: Vec<&str> = begin(&parts).into_iter().chain(many.iter().copied()).collect();
    let mut running = Running::start(&args, &parts);
    running.has("study/prednas-initial=5/seed5/trials.jsonl");
    running.kill();
    strategies(&parts, &[&many[..], &["--resume"]].concat()).succeeds();
    assert!(results(&whole) == results(&parts));
}

#[test]
fn inputs_are_read_by_a_twin_of_each_strategy_that_reads_them() {
    let ((_holder, folder), (_other, file)) = (fresh(), fresh());
    // What strategies see and one more, in another order of rows: no column that is refused.
    let scores = fs::read_to_string(table()).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        format!("{},{}", cells[1], cells[2].parse::<u32>().unwrap() + 1)
    };
    let mut rows: Vec<String> = scores.lines().skip(1).map(row).collect();
    rows.reverse();
    let header = "arch,pools";
    fs::create_dir_all(&file).unwrap();
    let file = file.join("scores.csv");
    fs::write(&file, format!("{header}\n{}\n", rows.join("\n"))).unwrap();
    let inputs = ["--inputs", text(&file), "--input", "pools"];
    strategies(&folder, &[&COMPARED[..], &inputs].concat()).succeeds();
    let study = json(&folder.join("study.json"));
    let names: Vec<&str> = study["strategies"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|s| s["strategy"].as_str())
        .collect();
    assert_eq!(names, ["random", "prednas:initial=5+pools", "prednas:initial=5"]);
    // The input is what strategies see: one that reads it has found it sooner.
    let seen = |name: &str| {
        let file = folder.join("study").join(name.replace(':', "-")).join("seed0/trials.jsonl");
        let trials = fs::read_to_string(file).unwrap();
        let lines = trials.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|trial| (trial["score"].clone(), trial["inputs"][0].clone())).collect::<Vec<_>>()
    };
    let with = seen(names[1]);
    let is_one_more =
        |(score, input): &(Value, Value)| score.as_f64().map(|score| score + 1.0) == input.as_f64();
    assert!(with.iter().all(is_one_more), "{with:?}");
    assert!(seen(names[2]).iter().all(|(_, input)| input.is_null()));
    let sum = |name: &str| -> f64 { seen(name).iter().filter_map(|(s, _)| s.as_f64()).sum() };
    assert!(sum(names[1]) > sum(names[2]));

    let first = results(&folder);
    fs::remove_dir_all(&folder).unwrap();
    strategies(&folder, &[&COMPARED[..], &inputs].concat()).succeeds();
    assert!(results(&folder) == first);

    let part = file.with_file_name("part.csv");
    fs::write(&part, format!("{header}\n{}\n", rows[..100].join("\n"))).unwrap();
    let again = file.with_file_name("again.csv");
    let copied = fs::read_to_string(table()).unwrap();
    fs::write(&again, copied.replace("index,arch,val,test", "my_test,arch,copy,x")).unwrap();
    let other = file.with_file_name("other.csv");
    fs::write(&other, "arch,pools\n02012100,1\n").unwrap();
    let random = &["--strategy", "random", "--evaluations", "3", "--inputs", text(&file)][..];
    let prednas = &["--strategy", "prednas", "--evaluations", "3", "--inputs"][..];
    for (flags, why) in [
        ([random, &["--input", "pools"]].concat(), "reads inputs"),
        (random.to_vec(), "--input"),
        ([prednas, &[text(&file), "--input", "pool"]].concat(), "no column \"pool\""),
        ([prednas, &[text(table()), "--input", "test"]].concat(), "the truth"),
        ([prednas, &[text(&part), "--input", "pools"]].concat(), "no row for"),
        ([prednas, &[text(&file), "--input", "pools", "--input", "pools"]].concat(), "twice"),
        ([prednas, &[text(&again), "--input", "copy"]].concat(), "what is evaluated"),
        ([prednas, &[text(table()), "--input", "val"]].concat(), "what is evaluated"),
        ([prednas, &[text(&again), "--input", "my_test"]].concat(), "test accuracies"),
        ([prednas, &[text(&other), "--input", "pools"]].concat(), "other.csv"),
    ] {
        let _ = fs::remove_dir_all(&folder);
        let ended = strategies(&folder, &flags).with_code(2);
        assert!(ended.stderr.contains(why), "{flags:?}: {}", ended.stderr);
    }
}

#[test]
fn what_makes_no_study_of_a_table_is_refused() {
    let (_holder, folder) = fresh();
    let random = ["--strategy", "random", "--evaluations", "3"];
    for (flags, why) in [
        (&["--strategy", "random"][..], "--evaluations"),
        (&["--strategy", "best", "--evaluations", "3"], "there is no strategy"),
        (&["--strategy", "random:size=3", "--evaluations", "3"], "random has no setting size"),
        (&["--strategy", "prednas:initial", "--evaluations", "3"], "SETTING=VALUE"),
        (&["--strategy", "prednas:initial=x", "--evaluations", "3"], "not a number"),
        (&["--strategy", "prednas:exploration=-1", "--evaluations", "3"], "exploration = -1"),
        (&["--strategy", "random", "--evaluations", "0"], "at least 1"),
        (&[&random[..], &["--strategy", "random"]].concat(), "there twice"),
        (&[&random[..], &["--truth", "accuracy"]].concat(), "accuracy"),
        (&[&random[..], &["--seeds", "0"]].concat(), "at least 1"),
        (&[&random[..], &["--scorer", "params"]].concat(), "--scorer"),
        (&[&random[..], &["--strategy", "random:"]].concat(), "there twice"),
        (&[&random[..], &["--column", "test"]].concat(), "cannot select by a test column"),
        (&[&random[..], &["--column", "index", "--truth", "index"]].concat(), "truth as well"),
        (&[&random[..], &["--truth", "test"]].concat(), "--truth test is there twice"),
        (&["--strategy", "prednas:initial=5,initial=9", "--evaluations", "3"], "initial is there"),
        (&["--fit", "40", "--max-params", "300K"], "leave out the limits"),
        (&["--fit", "40", "--column", "val"], "--column"),
        (&["--scorer", "params", "--evaluations", "3"], "--evaluations"),
        (&["--scorer", "params", "--scorer", "params"], "there twice"),
        (&["--scorer", "params", "--scorer", "table"], "no scorer \"table\""),
        (&["--scorer", "predicted-as-drawn"], "architectures drawn as α"),
        (&["--fit", "6466"], "6466"),
        (&["--fit", "0"], "at least 1"),
        (&[], "--strategy"),
    ] {
        let ended = strategies(&folder, flags).with_code(2);
        assert!(ended.stderr.contains(why), "{flags:?}: {}", ended.stderr);
        assert!(!folder.join("study.json").exists());
        let _ = fs::remove_dir_all(&folder);
    }
}

#[test]
fn what_needs_a_table_begins_no_other_study() {
    let (_holder, folder) = fresh();
    for flags in [&["--strategy", "random", "--evaluations", "3"][..], &["--scorer", "params"]] {
        let study = ["study", "--config", SETTINGS, "--run", text(&folder)];
        run(study.iter().chain(flags)).refuses(&["--table"]);
        assert!(!folder.exists());
    }
}

#[test]
fn scorers_are_held_against_a_table() {
    let ((_holder, whole), (_other, parts)) = (fresh(), fresh());
    let tiny = ["--set", "cells=3", "--set", "retrain.channels=4", "--set", "search.channels=2"];
    let size = ["--architectures", "60", "--seeds", "2", "--config", SETTINGS];
    let scorers = ["params", "expressivity", "novelty", "predicted-discrete", "ghn", "ghn-anytime"];
    let scorers: Vec<&str> = scorers.into_iter().flat_map(|name| ["--scorer", name]).collect();
    let args = |folder| -> Vec<&str> {
        begin(folder).into_iter().chain(tiny).chain(size).chain(scorers.clone()).collect()
    };
    let ended = run(args(&whole)).succeeds();
    assert!(ended.stdout.contains("60 architectures of mean "), "{}", ended.stdout);
    let study = json(&whole.join("study.json"));
    let names = study["scorers"].as_array().unwrap();
    assert_eq!(names.len(), 7, "six and their vote");
    // Pools have no parameters: the truth of this table is turned round.
    assert!(names[0]["kendall"]["value"].as_f64() < Some(0.0));
    assert_eq!(names[0]["scores"].as_array().map(Vec::len), Some(1), "params know no seed");
    assert_eq!(names[3]["scorer"], "predicted-discrete");
    assert_eq!(names[3]["scores"].as_array().map(Vec::len), Some(2));

    let mut begun = args(&parts);
    for training in ["search: epoch 1 (", "ghn: epoch 1,"] {
        let mut running = Running::start(&begun, &parts);
        running.says(training);
        running.kill();
        begun.push("--resume");
    }
    let begun = args(&parts);
    run(begun.iter().chain(&["--resume"])).succeeds();
    assert!(results(&whole) == results(&parts));
    run(begun.iter().chain(&["--resume", "--set", "search.rate=0.1"])).refuses(&["search.rate"]);
    strategies(&whole, &["--scorer", "params", "--column", "val"]).refuses(&["--column"]);
}
