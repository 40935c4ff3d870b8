//! Runs of fewer images than a batch has, and of fewer epochs than the settings say.

use std::fs;

use crate::folder::{assert_same_results, contents};
use crate::program::{Ended, run, text};
use crate::reference::{begin, fresh};

/// Flags by which no batch is filled: 30 images, of which a half of the search has 15.
const FEW: [&str; 10] = [
    "--set",
    "train_images=30",
    "--set",
    "search_images=0",
    "--set",
    "retrain.batch=96",
    "--set",
    "space.batch=40",
    "--set",
    "search.batch=4",
];

/// The sentences of the settings that were lowered.
fn lowered(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter(|line| line.contains(" lowered to ")).collect()
}

#[test]
fn a_batch_that_is_not_filled_is_lowered_and_the_run_goes_on() {
    let (_holder, folder) = fresh();
    let step = |name, flags: &[&str]| run(begin(name, &folder).iter().chain(&FEW).chain(flags));
    let space = step("space", &[]).succeeds();
    let [of_space, of_retraining] = lowered(&space)[..] else { panic!("{space:?}") };
    assert!(of_space.contains("space.batch 40 lowered to 15, the number of images in a half"));
    assert!(
        of_retraining.contains("retrain.batch 96 lowered to 30, the number of training images")
    );
    let stored = fs::read_to_string(folder.join("config.toml")).unwrap();
    for batch in ["batch = 15", "batch = 4", "batch = 30"] {
        assert!(stored.contains(batch), "{stored}");
    }
    // The flags may be said again, and others are still of another run.
    let before = contents(&folder);
    let refuse = |setting: &str, why: &str| {
        let ended = step("search", &["--set", setting]).refuses(&[why, "another configuration"]);
        assert!(lowered(&ended).is_empty());
    };
    refuse("retrain.batch=29", "retrain.batch is 30, not 29");
    refuse("search.batch=5", "search.batch is 4, not 5");
    refuse("space.batch=14", "space.batch is 15, not 14");
    assert!(contents(&folder) == before);
    assert!(lowered(&step("search", &[]).succeeds()).is_empty());
    assert!(lowered(&run(["run", "--run", text(&folder), "--resume"]).succeeds()).is_empty());
    assert!(lowered(&step("run", &["--resume"]).succeeds()).is_empty());

    // As if it had been said so.
    let (_holder, said) = fresh();
    let fitting = ["--set", "space.batch=15", "--set", "retrain.batch=30"];
    let ended = run(begin("run", &said).iter().chain(&FEW).chain(&fitting)).succeeds();
    assert!(lowered(&ended).is_empty());
    assert_same_results(&folder, &said);
    let settings = |folder| fs::read_to_string(std::path::Path::join(folder, "config.toml"));
    assert_eq!(settings(&folder).unwrap(), settings(&said).unwrap());
}

#[test]
fn trainings_of_a_search_have_no_more_images_in_a_batch_than_there_are() {
    let (_holder, folder) = fresh();
    let strategy = ["strategy.name=random", "strategy.space=darts", "strategy.evaluations=2"];
    let shorter = ["strategy.training_epochs=1", "retrain.epochs=1", "retrain.drop_path=0"];
    let flags = strategy.iter().chain(&shorter).flat_map(|setting| ["--set", setting]);
    // Of the batches only that of trainings counts here.
    let few = FEW.chunks(2).filter(|set| !set[1].contains("space.") && !set[1].contains("search."));
    let flags: Vec<&str> = few.flatten().copied().chain(flags).collect();
    let ended = run(begin("search", &folder).iter().chain(&flags)).succeeds();
    let said = lowered(&ended);
    assert!(said.iter().any(|line| line.contains("lowered to 15 for the trainings")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("retrain.batch 96 lowered to 30, ")), "{said:?}");
}

#[test]
fn one_factor_shortens_everything_that_counts_epochs() {
    let (_holder, folder) = fresh();
    let step = |name, flags: &[&str]| run(begin(name, &folder).iter().chain(flags));
    step("space", &["--epochs-scale", "0.5", "--set", "retrain.epochs=1"]).succeeds();
    let stored = fs::read_to_string(folder.join("config.toml")).unwrap();
    // 6 epochs from the 2nd on become 3 from the 1st on; what is set stays.
    for setting in [
        "epochs = 3\nhypernetwork_epochs = 1\ncross_search_start = 2\ncross_search_end = 3\n",
        "[retrain]\nepochs = 1\n",
        "[space]\nepochs = 2\n",
        "evaluate_every = 5\n",
    ] {
        assert!(stored.contains(setting), "{setting} is not in\n{stored}");
    }
    // What the run has is scaled already.
    let again = ["--epochs-scale", "0.5", "--set", "retrain.epochs=1"];
    step("search", &again).succeeds();
    let refuse = |args: &[&str], why: &str| {
        run(["retrain", "--run", text(&folder)].iter().chain(args))
            .refuses(&[why, "another configuration"]);
    };
    refuse(&["--epochs-scale", "2"], "retrain.epochs is 1, not 2");
    refuse(&["--config", crate::reference::SETTINGS, "--epochs-scale", "1"], "epochs is ");
    let ended = run(["run", "--run", text(&folder), "--resume"]).succeeds();
    assert!(ended.stderr.contains("retrain: epoch 1"), "{ended:?}");
    assert!(!ended.stderr.contains("retrain: epoch 2"), "{ended:?}");
}
