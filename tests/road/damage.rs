//! Files of a run that are cut off, damaged or hold something else: named, and never made worse.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::explore;
use crate::folder::{by_hand, contents, delete};
use crate::program::{Ended, run, text};
use crate::reference::{PICTURE, copy_of_run};

/// The command refuses the folder for the file, which stays as it is, like every other file.
#[track_caller]
fn refuse(args: &[&str], folder: &Path, file: &str, why: &[&str]) {
    let before = contents(folder);
    let path = folder.join(file);
    let culprits: Vec<&str> = why.iter().copied().chain([text(&path)]).collect();
    run(args).refuses(&culprits);
    let mut after = contents(folder);
    // The time of the attempt counts.
    if let Some(times) = before.get(Path::new("times.json")) {
        after.insert("times.json".into(), times.clone());
    }
    let changed: Vec<_> = before
        .keys()
        .chain(after.keys())
        .filter(|name| before.get(*name) != after.get(*name))
        .collect();
    assert!(changed.is_empty(), "{args:?} changed {changed:?}");
}

/// Cuts a file to some of its lengths and looks what becomes of it.
fn cut(path: &Path, mut look: impl FnMut()) {
    let whole = fs::read(path).unwrap();
    for length in [0, 5, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(path, &whole[..length]).unwrap();
        look();
    }
    fs::write(path, whole).unwrap();
}

#[test]
fn checkpoints_that_are_cut_off() {
    let (_holder, folder) = copy_of_run();
    let resume = ["run", "--run", text(&folder), "--resume"];
    delete(
        &folder,
        &["report.json", "report.html", "bench.json", "model.onnx", "weights.safetensors"],
    );
    for (phase, result) in
        [("retrain", None), ("search", Some("genotype.json")), ("space", Some("space.json"))]
    {
        if let Some(result) = result {
            delete(&folder, &[result]);
        }
        let file = format!("checkpoints/{phase}.safetensors");
        cut(&folder.join(&file), || refuse(&resume, &folder, &file, &["damaged"]));
    }
    // One phase's checkpoint under another's name.
    fs::copy(
        folder.join("checkpoints/search.safetensors"),
        folder.join("checkpoints/space.safetensors"),
    )
    .unwrap();
    refuse(&resume, &folder, "checkpoints/space.safetensors", &["search"]);
}

#[test]
fn weights_that_are_cut_off() {
    let (_holder, folder) = copy_of_run();
    let weights = folder.join("weights.safetensors");
    cut(&weights, || {
        refuse(&["report", text(&folder)], &folder, "weights.safetensors", &["damaged"])
    });
    delete(&folder, &["model.onnx"]);
    cut(&weights, || {
        refuse(&["export", "--run", text(&folder)], &folder, "weights.safetensors", &["damaged"])
    });
    run(["export", "--run", text(&folder)]).succeeds();
}

/// Texts that are no genotype, and what is wrong with each.
fn wrong_genotypes(right: &str) -> Vec<(String, &'static str)> {
    let operations = [
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
        "avg_pool_3x3",
        "max_pool_3x3",
        "identity",
    ];
    let operation = operations.into_iter().find(|name| right.contains(name)).unwrap();
    vec![
        (right.replace("adwp/genotype/1", "adwp/genotype/9"), "adwp/genotype/9"),
        (right.replacen(operation, "sep_conv_9x9", 1), "sep_conv_9x9"),
        (right.replacen("\"cells\"", "\"layers\"", 1), "layers"),
        (right[..right.len() / 2].to_owned(), "EOF"),
        (String::new(), "EOF"),
    ]
}

#[test]
fn genotypes_that_are_something_else_have_no_cost() {
    let (_holder, folder) = copy_of_run();
    let path = folder.join("genotype.json");
    for (content, why) in wrong_genotypes(&by_hand(&path)) {
        fs::write(&path, content).unwrap();
        refuse(&["cost", text(&path)], &folder, "genotype.json", &[why]);
    }
}

#[test]
fn genotypes_that_are_something_else_are_not_trained() {
    let (_holder, folder) = copy_of_run();
    delete(&folder, &["weights.safetensors", "checkpoints/retrain.safetensors"]);
    let path = folder.join("genotype.json");
    for (content, why) in wrong_genotypes(&by_hand(&path)) {
        fs::write(&path, content).unwrap();
        refuse(&["retrain", "--run", text(&folder)], &folder, "genotype.json", &[why]);
    }
}

#[test]
fn spaces_that_are_something_else() {
    let (_holder, folder) = copy_of_run();
    delete(&folder, &["genotype.json", "checkpoints/search.safetensors"]);
    let path = folder.join("space.json");
    let whole = fs::read_to_string(&path).unwrap();
    for (content, why) in [
        (whole.replace("adwp/space/1", "adwp/space/2"), "adwp/space/2"),
        (whole[..99].to_owned(), "EOF"),
    ] {
        fs::write(&path, content).unwrap();
        refuse(&["search", "--run", text(&folder)], &folder, "space.json", &[why]);
    }
}

#[test]
fn settings_and_measurements_that_are_something_else() {
    let (_holder, folder) = copy_of_run();
    for (file, schema) in
        [("bench.json", "adwp/bench/2"), ("verification.json", "adwp/verification/1")]
    {
        let whole = fs::read_to_string(folder.join(file)).unwrap();
        fs::write(folder.join(file), whole.replace(schema, "adwp/else/7")).unwrap();
        refuse(&["report", text(&folder)], &folder, file, &["adwp/else/7", schema]);
        fs::write(folder.join(file), &whole[..whole.len() / 2]).unwrap();
        refuse(&["report", text(&folder)], &folder, file, &[]);
        fs::write(folder.join(file), whole).unwrap();
    }
    fs::write(folder.join("config.toml"), "seed = ").unwrap();
    refuse(&["run", "--run", text(&folder), "--resume"], &folder, "config.toml", &["line 1"]);
}

/// What a report warns of, in JSON and on stderr, apart from how busy the machine was.
fn warned(folder: &Path) -> (Vec<String>, Vec<String>) {
    let ended = run(["report", text(folder), "--json"]).succeeds();
    let is_lost = |text: &String| text.contains("is not there") || text.contains(" lacks ");
    // Where nothing is to be warned of, on a quiet machine, there is no list.
    let warnings = ended.json()["warnings"].as_array().cloned().unwrap_or_default();
    let in_report = warnings.iter().map(|of| of.as_str().unwrap().to_owned()).filter(is_lost);
    (in_report.collect(), ended.stderr.lines().map(str::to_owned).filter(is_lost).collect())
}

#[test]
fn what_a_finished_run_has_lost_is_named() {
    let (_holder, folder) = copy_of_run();
    assert_eq!(warned(&folder), (Vec::new(), Vec::new()));
    let restored = contents(&folder);
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines: Vec<&str> = metrics.split_inclusive('\n').collect();
    let without = |lost: &[usize]| -> String {
        let kept = lines.iter().enumerate().filter(|(i, _)| !lost.contains(i));
        kept.map(|(_, line)| *line).collect()
    };
    let times = by_hand(&folder.join("times.json")).replace("\"space\"", "\"spice\"");
    for (file, content, expected) in [
        ("metrics.jsonl", None, "metrics.jsonl is not there"),
        // The first of space and the last of retraining; one of the search.
        ("metrics.jsonl", Some(without(&[0])), "metrics.jsonl lacks 1 of 3 epochs of space"),
        (
            "metrics.jsonl",
            Some(without(&[lines.len() - 2, lines.len() - 1])),
            "metrics.jsonl lacks 2 of 4 epochs of retrain",
        ),
        ("metrics.jsonl", Some(without(&[5])), "metrics.jsonl lacks 1 of 6 epochs of search"),
        (
            "metrics.jsonl",
            Some(metrics[..metrics.len() - 20].to_owned()),
            "metrics.jsonl lacks 1 of 4 epochs of retrain",
        ),
        ("times.json", None, "times.json is not there"),
        ("times.json", Some(times), "times.json lacks the time of space"),
    ] {
        match content {
            Some(content) => fs::write(folder.join(file), content).unwrap(),
            None => fs::remove_file(folder.join(file)).unwrap(),
        }
        let (in_report, on_stderr) = warned(&folder);
        assert_eq!(in_report, [expected]);
        assert_eq!(on_stderr.len(), 1, "{on_stderr:?}");
        assert!(on_stderr[0].contains(text(&folder)) && on_stderr[0].ends_with(expected));
        let resumed = run(["run", "--run", text(&folder), "--resume"]).succeeds();
        assert!(resumed.stderr.contains(expected), "{resumed:?}");
        restore(&folder, &restored);
    }
    // What is to be done again has nothing to lose.
    delete(&folder, &["weights.safetensors", "checkpoints/retrain.safetensors"]);
    fs::write(folder.join("metrics.jsonl"), without(&[9, 10, 11, 12])).unwrap();
    let resumed = run(["run", "--run", text(&folder), "--resume"]).succeeds();
    assert!(!resumed.stderr.contains("lacks"), "{resumed:?}");
}

#[test]
fn settings_that_are_others_than_those_of_the_results_are_named() {
    let (_holder, folder) = copy_of_run();
    let path = folder.join("config.toml");
    let whole = fs::read_to_string(&path).unwrap();
    let (seal, rest) = whole.split_once('\n').unwrap();
    assert!(seal.starts_with("# checksum: crc32c:"), "{seal}");
    let report = ["report", text(&folder)];
    for (from, to, difference) in [
        ("seed = 0", "seed = 5", "seed is 0, not 5"),
        ("cells = 3", "cells = 4", "cells is 3, not 4"),
        ("search_images = 48", "search_images = 40", "search_images is 48, not 40"),
    ] {
        assert!(rest.contains(from), "{from}");
        // With its checksum, and as by someone who meant it.
        for settings in [&*whole, rest] {
            fs::write(&path, settings.replacen(from, to, 1)).unwrap();
            refuse(&report, &folder, "config.toml", &[difference, ".safetensors was made with"]);
        }
    }
    // How latency is measured may change, once it is known that it was meant.
    let repeats = |text: &str| text.replacen("repeats = 1", "repeats = 2", 1);
    fs::write(&path, repeats(&whole)).unwrap();
    refuse(&report, &folder, "config.toml", &["was changed after it was written", "# checksum"]);
    fs::write(&path, repeats(rest)).unwrap();
    run(report).succeeds();
    let stored = fs::read_to_string(&path).unwrap();
    assert!(stored.starts_with("# checksum: ") && stored.contains("repeats = 2"), "{stored}");
    assert!(!run(report).succeeds().stderr.contains("no checksum"));
    fs::write(&path, "").unwrap();
    refuse(&report, &folder, "config.toml", &["is empty"]);
}

#[test]
fn a_folder_of_an_older_version_is_read_with_a_word_about_it() {
    let (_holder, folder) = copy_of_run();
    let report = ["report", text(&folder), "--json"];
    let expected = run(report).succeeds();
    assert!(!expected.stderr.contains("checksum"), "{expected:?}");
    for file in ["space.json", "genotype.json", "bench.json", "verification.json", "times.json"] {
        let old = by_hand(&folder.join(file));
        fs::write(folder.join(file), old).unwrap();
    }
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let line = |line: &str| format!("{}}}\n", line.split_once(",\"checksum\"").unwrap().0);
    fs::write(folder.join("metrics.jsonl"), metrics.lines().map(line).collect::<String>()).unwrap();
    let settings = fs::read_to_string(folder.join("config.toml")).unwrap();
    fs::write(folder.join("config.toml"), settings.split_once('\n').unwrap().1).unwrap();
    let ended = run(report).succeeds();
    assert_eq!(ended.stdout, expected.stdout);
    assert_eq!(ended.stderr.matches("no checksum").count(), 1, "{ended:?}");
    assert!(!run(report.iter().chain(&["--quiet"])).succeeds().stderr.contains("checksum"));
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
    let (_holder, folder) = copy_of_run();
    for file in ["genotype.json", "weights.safetensors", "metrics.jsonl", "config.toml"] {
        let path = folder.join(file);
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        run(["report", text(&folder)]).refuses(&[text(&path), "a device or a pipe"]);
        fs::remove_file(&path).unwrap();
        fs::copy(crate::reference::reference().folder.join(file), &path).unwrap();
    }
}

/// A command that reads files of a folder, and what it is to give.
struct Reading<'a> {
    folder: &'a Path,
    command: Vec<&'a str>,
    /// The file that it makes; else what it prints counts.
    result: Option<&'a str>,
    /// The files that are damaged; all where there is none.
    files: &'a [&'a str],
    /// How often.
    times: usize,
}

impl Reading<'_> {
    fn given(&self, ended: &Ended) -> Vec<u8> {
        self.result.map_or_else(
            || ended.stdout.clone().into_bytes(),
            |result| fs::read(self.folder.join(result)).unwrap(),
        )
    }

    /// Changes one bit at a time: a command that goes on all the same gives what it gave before,
    /// and one that does not names the file.
    fn survives(&self, random: &mut Random) {
        let before = contents(self.folder);
        let expected = self.given(&run(&self.command).succeeds());
        restore(self.folder, &before);
        let is_damaged = |name: &Path| {
            self.files.is_empty() || self.files.iter().any(|file| name == Path::new(file))
        };
        let files: Vec<(&PathBuf, &Vec<u8>)> =
            before.iter().filter(|(name, bytes)| is_damaged(name) && !bytes.is_empty()).collect();
        assert!(files.len() >= self.files.len().max(1), "{:?} are not all there", self.files);
        let mut noticed = 0;
        for _ in 0..self.times {
            let (name, whole) = files[random.below(files.len())];
            let (bit, path) = (random.below(8 * whole.len()), self.folder.join(name));
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            let ended = run(&self.command).without_panic();
            let story = format!("bit {bit} of {}: {ended:?}", path.display());
            match ended.code {
                Some(0) => {
                    assert!(self.given(&ended) == expected, "it gave something else: {story}")
                }
                Some(1 | 2) => {
                    assert!(ended.stderr.contains(text(&path)), "the file is not named: {story}");
                    assert_eq!(fs::read(&path).unwrap(), bytes, "it was written to: {story}");
                    noticed += 1;
                }
                _ => panic!("{story}"),
            }
            restore(self.folder, &before);
        }
        // Not all bits count: some are those of files that this command does not read.
        let least = if self.files.is_empty() { self.times / 4 } else { 3 * self.times / 4 };
        assert!(noticed >= least, "{:?}: {noticed} of {} noticed", self.command, self.times);
    }
}

/// Brings a folder back to what it held.
fn restore(folder: &Path, before: &BTreeMap<PathBuf, Vec<u8>>) {
    let now = contents(folder);
    for name in now.keys().filter(|name| !before.contains_key(*name)) {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, bytes) in before.iter().filter(|(name, bytes)| now.get(*name) != Some(bytes)) {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Numbers that are the same in every run of the tests: the generator SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}

#[test]
fn one_bit_of_a_finished_run_is_noticed_or_changes_nothing() {
    let (_holder, folder) = copy_of_run();
    let command = vec!["report", text(&folder), "--json"];
    let reading = |files, times| {
        let (folder, command) = (&*folder, command.clone());
        Reading { folder, command, result: None, files, times }
    };
    let read = [
        "settings.json",
        "space.json",
        "genotype.json",
        "weights.safetensors",
        "bench.json",
        "config.toml",
        "verification.json",
        "times.json",
        "metrics.jsonl",
    ];
    reading(&read, 60).survives(&mut Random(1));
    reading(&[], 30).survives(&mut Random(2));
}

#[test]
fn one_bit_of_an_interrupted_run_is_noticed_or_changes_nothing() {
    let (_holder, folder) = copy_of_run();
    // Each of these phases has done its last step and has not written its result.
    for (result, phase, files, seed) in [
        ("weights.safetensors", "retrain", &["genotype.json", "metrics.jsonl"][..], 3),
        ("genotype.json", "search", &["space.json", "metrics.jsonl"], 4),
        ("space.json", "space", &["config.toml", "times.json"], 5),
    ] {
        delete(&folder, &[result]);
        let checkpoint = format!("checkpoints/{phase}.safetensors");
        let checkpoint = [&*checkpoint];
        let command = vec![phase, "--run", text(&folder), "--resume"];
        let reading = |files, times| {
            let (folder, command) = (&*folder, command.clone());
            Reading { folder, command, result: Some(result), files, times }
        };
        reading(&checkpoint, 25).survives(&mut Random(seed));
        reading(files, 10).survives(&mut Random(seed));
    }
}

#[test]
fn one_bit_of_a_model_is_noticed_or_changes_nothing() {
    let (_holder, folder) = copy_of_run();
    let model = folder.join("model.onnx");
    let commands = [
        (vec!["cost", text(&model)], 7, 40),
        (vec!["predict", text(&model), PICTURE], 8, 20),
        (vec!["eval", text(&model), "--dataset", "sample", "--runtime", "tract"], 9, 10),
    ];
    for (command, seed, times) in commands {
        let files = &["model.onnx"];
        Reading { folder: &folder, command, result: None, files, times }
            .survives(&mut Random(seed));
    }
    // The bench of a resumed run reads it.
    delete(&folder, &["bench.json", "report.json", "report.html"]);
    let command = vec!["run", "--run", text(&folder), "--resume"];
    let files = &["model.onnx"];
    Reading { folder: &folder, command, result: Some("model.onnx"), files, times: 5 }
        .survives(&mut Random(10));
}

#[test]
fn a_model_that_another_program_has_changed_is_read() {
    let (_holder, folder) = copy_of_run();
    let model = folder.join("model.onnx");
    let cost = ["cost", text(&model)];
    let expected = run(cost).succeeds().stdout;
    let mut bytes = fs::read(&model).unwrap();
    // One more entry of the metadata, a: b.
    bytes.extend([0x72, 6, 0x0a, 1, b'a', 0x12, 1, b'b']);
    fs::write(&model, bytes).unwrap();
    assert_eq!(run(cost).succeeds().stdout, expected);
}

#[test]
fn one_bit_of_a_record_of_trials_is_noticed_or_changes_nothing() {
    let holder = tempfile::tempdir().unwrap();
    let folder = holder.path().join("run");
    let table = text(explore::table());
    let search = ["search", "--space", "nas-bench-201", "--table", table, "--run", text(&folder)];
    let evolution = ["--strategy", "evolution", "--evaluations", "20"];
    let command = [&search[..], &evolution].concat();
    run(&command).succeeds();
    let command = [&command[..], &["--resume"]].concat();
    let files = &["trials.jsonl", "architecture.json"];
    Reading { folder: &folder, command, result: None, files, times: 30 }.survives(&mut Random(6));
}
