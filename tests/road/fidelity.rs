//! The study of how well predicted weights rank architectures, in the folder of a run.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use crate::folder::{contents, json};
use crate::program::{run, text};
use crate::reference::{SETTINGS, reference};
use crate::resume::advised;
use crate::running::Running;

const SIZE: [&str; 6] = ["--architectures", "2", "--seeds", "2", "--retrainings", "2"];

/// Many networks are retrained, each for a moment.
const SHORT: [&str; 6] =
    ["--config", SETTINGS, "--set", "retrain.epochs=1", "--set", "test_images=100"];

/// A folder with an intensive space.
fn run_with_space() -> (TempDir, PathBuf) {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    fs::create_dir(&folder).unwrap();
    fs::copy(reference().folder.join("space.json"), folder.join("space.json")).unwrap();
    (holder, folder)
}

/// The arguments that begin a study.
fn begin(folder: &Path) -> Vec<&str> {
    ["fidelity", "--run", text(folder)].into_iter().chain(SHORT).chain(SIZE).collect()
}

/// What a study gave, byte by byte.
fn results(folder: &Path) -> [Vec<u8>; 2] {
    ["fidelity.json", "fidelity.svg"].map(|name| fs::read(folder.join(name)).unwrap())
}

#[test]
fn a_study_that_was_interrupted_and_killed_is_the_one_that_was_left_alone() {
    let (_holder, whole) = run_with_space();
    let ended = run(begin(&whole)).succeeds();
    for line in [
        "predicted weights, discrete α ",
        "shared one-shot weights ",
        "a score that knows all ",
        "one more retraining ",
        "number of max_pool_3x3 ",
        "searched less random: ",
    ] {
        assert!(
            ended.stdout.lines().any(|found| found.starts_with(line)),
            "{line:?} is not in\n{}",
            ended.stdout
        );
    }
    assert!(fs::read_to_string(whole.join("fidelity.svg")).unwrap().starts_with("<svg"));

    let (_holder, folder) = run_with_space();
    // While the HyperNetwork is trained, while shared weights are, and while architectures are
    // retrained.
    let mut running = Running::start(&begin(&folder), &folder);
    running.says("search: epoch 1 ");
    let said = running.interrupt();
    assert!(said.contains("interrupted; ") && said.contains("fidelity has what is done"), "{said}");
    let advised = advised(&said);
    let expected = ["fidelity"]
        .into_iter()
        .chain(SIZE)
        .chain(["--run", text(&folder), "--resume"])
        .collect::<Vec<_>>();
    assert_eq!(advised, expected);
    for said in ["one-shot: epoch 1,", "fidelity: seed 0: architecture 1 of 2: test accuracy"] {
        let mut running = Running::start(&advised, &folder);
        running.says(said);
        running.kill();
        assert!(!folder.join("fidelity.json").exists());
    }
    run(&advised).succeeds();
    assert!(results(&folder) == results(&whole));
    let leftover = contents(&folder.join("fidelity"))
        .into_keys()
        .find(|path| text(path).contains(".partial-"));
    assert_eq!(leftover, None);

    let printed = run(advised.iter().chain(&["--json"])).succeeds().json();
    assert_eq!(printed, json(&folder.join("fidelity.json")));
}

#[test]
fn the_end_of_the_time_is_an_interrupt() {
    let (_holder, folder) = run_with_space();
    let no_time = ["--max-minutes", "0.000001"];
    let ended = run(begin(&folder).iter().chain(&no_time)).with_code(130);
    assert!(ended.stderr.contains("the time of --max-minutes is over"), "{ended:?}");
    let checkpoint = folder.join("fidelity/seed0/hypernetwork/checkpoints/search.safetensors");
    assert!(checkpoint.exists(), "{ended:?}");
    let ended = run(advised(&ended.stderr).iter().chain(&no_time)).with_code(130);
    assert!(ended.stderr.contains("continuing at epoch 1, step 1"), "{ended:?}");
}

#[test]
fn what_makes_no_study_is_refused() {
    let holder = tempdir().unwrap();
    let folder = holder.path().join("run");
    run(["fidelity", "--config", SETTINGS, "--run", text(&folder)])
        .refuses(&["space.json", "adwp space"]);
    let (_holder, folder) = run_with_space();
    let refused = |flags: [&str; 2]| {
        run(["fidelity", "--run", text(&folder)].iter().chain(&SHORT).chain(&flags))
    };
    refused(["--architectures", "1"]).refuses(&["architectures = 1"]);
    refused(["--retrainings", "0"]).refuses(&["retrainings"]);
    refused(["--set", "fidelity.seeds=0"]).refuses(&["seeds"]);
    fs::create_dir(folder.join("fidelity")).unwrap();
    run(begin(&folder)).refuses(&["fidelity is there already", "--resume"]);
}

#[test]
fn the_size_of_a_study_is_no_other_configuration() {
    let (_holder, folder) = run_with_space();
    let no_time = ["--max-minutes", "0.000001"];
    run(begin(&folder).iter().chain(&no_time)).with_code(130);
    let set = ["--resume", "--set", "fidelity.architectures=3"];
    run(["fidelity", "--run", text(&folder)].iter().chain(&set).chain(&no_time)).with_code(130);
    let stored = fs::read_to_string(folder.join("config.toml")).unwrap();
    assert!(stored.contains("architectures = 3"), "{stored}");
}
