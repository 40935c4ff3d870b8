//! Files of a run that are cut off or hold something else: named, and never made worse.

use std::fs;
use std::path::Path;

use crate::folder::{by_hand, contents, delete};
use crate::program::{run, text};
use crate::reference::copy_of_run;

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

#[test]
fn metrics_that_are_cut_off_are_no_hindrance() {
    let (_holder, folder) = copy_of_run();
    let path = folder.join("metrics.jsonl");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    run(["report", text(&folder)]).succeeds();
}
