//! What retraining adds to the plain recipe, and architectures that go to other images.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use crate::bad_settings::refuse_setting;
use crate::folder::{contents, delete, json, metrics};
use crate::program::{Ended, run, text};
use crate::reference::{PICTURE, SETTINGS, copy_of_run, reference};

/// Trains in a folder at once, and in another stopped after its first step and again after the next
/// one: both have the same weights. What the first said, and the folder of the second.
pub(crate) fn train_twice(
    holder: &TempDir,
    start: &[&str],
    prepare: impl Fn(&Path),
) -> (Ended, PathBuf) {
    let [whole, parts] = ["at-once", "in-parts"].map(|name| holder.path().join(name));
    let begin = |folder| {
        prepare(folder);
        [start, &["--run", text(folder)]].concat()
    };
    let ended = run(begin(&whole)).succeeds();
    let (first, next) = (begin(&parts), ["retrain", "--run", text(&parts), "--resume"]);
    let stop = ["--max-minutes", "0.00001"];
    run(first.iter().chain(&stop)).with_code(130);
    run(next.iter().chain(&stop)).with_code(130);
    run(next).succeeds();
    let weights = [&whole, &parts].map(|run| fs::read(run.join("weights.safetensors")).unwrap());
    assert!(weights[0] == weights[1], "the weights differ");
    (ended, parts)
}

/// The arguments that train what a run has found on a folder of images.
pub(crate) fn transfer<'a>(from: &'a Path, data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let (from, data) = (text(from), text(data));
    [&["retrain", "--from", from, "--dataset", "image-folder", "--data", data], more].concat()
}

/// Small images, and little training.
const SMALL: [&str; 4] = ["--set", "image_size=16", "--set", "retrain.epochs=2"];

/// A folder of `count` training images of each of two classes, and half as many test images; one
/// class is turned upside down.
pub(crate) fn write_images(data: &Path, count: usize) {
    let turned = Path::new(PICTURE).with_file_name("turned.jpg");
    for (split, count) in [("train", count), ("val", count / 2)] {
        for (class, picture) in [("cat", Path::new(PICTURE)), ("dog", &turned)] {
            let folder = data.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                fs::copy(picture, folder.join(format!("{i}.jpg"))).unwrap();
            }
        }
    }
}

#[test]
fn averaged_weights_come_out_the_same_when_a_run_is_stopped() {
    let holder = tempdir().unwrap();
    let options = [
        "--ema",
        "0.9",
        "--test-flips",
        "--set",
        "retrain.decay=exponential",
        "--set",
        "retrain.warmup_epochs=2",
    ];
    let start = [&["retrain", "--config", SETTINGS], &options[..]].concat();
    let (_, folder) = train_twice(&holder, &start, |folder| {
        fs::create_dir(folder).unwrap();
        fs::copy(reference().folder.join("genotype.json"), folder.join("genotype.json")).unwrap();
    });
    let weights = |folder: &Path| fs::read(folder.join("weights.safetensors")).unwrap();
    assert!(weights(&folder) != weights(&reference().folder), "the recipe changed nothing");

    // The rest of the run: what the report says of it.
    let printed = run(["run", "--run", text(&folder), "--resume"]).succeeds().stdout;
    let report = json(&folder.join("report.json"));
    let recipe = report["recipe"].as_array().unwrap();
    for part in [
        "moving average of weights 0.9",
        "test-time flips",
        "times 0.97 every epoch",
        "warm-up over 2 epochs",
        "cutout 8",
    ] {
        assert!(
            recipe.iter().any(|entry| entry.as_str().unwrap().contains(part)),
            "{part}: {recipe:?}"
        );
    }
    // The accuracy of the file is that of one look at each image.
    let plain = &report["test_correct"];
    assert!(
        report["runtime_accuracy"].as_array().unwrap().iter().all(|row| row["correct"] == *plain),
        "{report}"
    );
    let with_flips = report["test_correct_with_flips"].as_u64().unwrap();
    assert_eq!(
        metrics(&folder).last().unwrap()["test_accuracy_with_flips"],
        with_flips as f64 / 1000.0
    );
    assert!(printed.contains("with mirror images"), "{printed}");
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(
        html.contains("moving average of weights 0.9")
            && html.contains("engine, with mirror images")
    );

    let plain = json(&reference().folder.join("report.json"));
    assert!(
        plain.get("test_correct_with_flips").is_none()
            && !plain["recipe"].to_string().contains("average"),
        "{plain}"
    );
    // A run is not continued with another recipe.
    run(["retrain", "--run", text(&folder), "--resume", "--ema", "0.99"])
        .refuses(&["retrain.ema is", "0.9"]);
}

#[test]
fn recipes_out_of_range_are_named() {
    refuse_setting("retrain.ema=1.0", &["ema = 1"]);
    refuse_setting("retrain.decay_factor=0.0", &["decay_factor = 0"]);
    refuse_setting("retrain.decay=sudden", &["sudden"]);
    refuse_setting("retrain.warmup_epochs=5", &["warmup_epochs = 5"]);
    for phase in ["space", "search", "retrain"] {
        let setting = format!("{phase}.augmentation.resized_crop=-1.0");
        refuse_setting(&setting, &["resized_crop = -1"]);
    }
    run(["run", "--auto-augment", "svhn"]).refuses(&["svhn", "cifar10, imagenet or off"]);
}

#[test]
fn an_architecture_goes_to_other_images() {
    let (holder, from) = copy_of_run();
    let (data, new) = (holder.path().join("data"), holder.path().join("new"));
    write_images(&data, 4);
    let start = [&transfer(&from, &data, &SMALL)[..], &["--run", text(&new)]].concat();
    let before = contents(&from);
    let ended = run(&start).succeeds();
    assert!(
        ended.stderr.contains("the architecture (3 cells with 2 channels)")
            && ended.stderr.contains("not its data set"),
        "{ended:?}"
    );
    assert!(contents(&from) == before, "the run it came from was changed");
    assert_eq!(
        fs::read(new.join("genotype.json")).unwrap(),
        fs::read(from.join("genotype.json")).unwrap()
    );
    run(&start).refuses(&["holds a run already", "--resume"]);
    run(start.iter().chain(&["--resume"])).succeeds();
    // Images are as large as those of the run it came from, unless another size is asked for.
    let kept = holder.path().join("kept");
    let flags = ["--set", "retrain.epochs=1", "--run", text(&kept)];
    run(transfer(&from, &data, &flags)).succeeds();
    for (folder, line) in [(&kept, "image_size = 28\n"), (&new, "image_size = 16\n")] {
        let settings = fs::read_to_string(folder.join("config.toml")).unwrap();
        assert!(settings.contains(line), "{settings}");
    }

    // The folder is a run like any other, which needs no search.
    let printed = run(["run", "--run", text(&new), "--resume"]).succeeds();
    assert!(printed.stderr.contains("space: not needed"), "{printed:?}");
    assert!(!new.join("space.json").exists());
    let report = json(&new.join("report.json"));
    assert_eq!((&report["dataset"], &report["train_images"]), (&"image-folder".into(), &8.into()));
    assert_eq!(report["classes"], serde_json::json!(["cat", "dog"]));
    assert!(!report["recipe"].to_string().contains("fine-tuned"), "{report}");
    run(["predict", text(&new.join("model.onnx")), PICTURE]).succeeds();
}

#[test]
fn weights_go_to_other_images_as_far_as_they_fit() {
    let (holder, from) = copy_of_run();
    let data = holder.path().join("data");
    write_images(&data, 4);
    let fine_tune = [&["--fine-tune"], &SMALL[..]].concat();
    // Three colours instead of one, and other classes.
    let (ended, _) = train_twice(&holder, &transfer(&from, &data, &fine_tune), |_| ());
    let said = ended
        .stderr
        .lines()
        .find(|line| line.contains("parameters and statistics are those of"))
        .unwrap();
    assert!(
        said.contains("fresh: stem")
            && said.contains("classifier/linear/weight, classifier/linear/bias"),
        "{said}"
    );
    assert!(!said.contains("cell"), "{said}");
    assert!(ended.stderr.contains("at a learning rate of 0.005"), "a tenth of the rate: {ended:?}");
    let new = holder.path().join("at-once");
    run(["run", "--run", text(&new), "--resume"]).succeeds();
    assert!(json(&new.join("report.json"))["recipe"][0].as_str().unwrap().contains("fine-tuned"));
    // From scratch it is another network; and the folder does not become one that was trained so.
    run(transfer(&from, &data, &["--run", text(&new), "--resume"]))
        .refuses(&[text(&new), "--fine-tune"]);
}

#[test]
fn what_cannot_be_transferred_is_told_before_anything_is_written() {
    let (holder, from) = copy_of_run();
    let (data, new, missing) =
        (holder.path().join("data"), holder.path().join("new"), holder.path().join("missing"));
    write_images(&data, 4);
    let images = ["--dataset", "image-folder", "--data", text(&data), "--set", "image_size=16"];
    let refuse = |from: &Path, flags: &[&str], culprits: &[&str]| {
        run(["retrain", "--from", text(from), "--run", text(&new)].iter().chain(flags))
            .refuses(culprits);
        assert!(!new.exists(), "{flags:?} left a folder");
    };
    refuse(&missing, &images, &[text(&missing), "no folder of a run"]);
    refuse(&from, &[], &["--dataset", "--data"]);
    refuse(&from, &["--preset", "demo"], &["--preset"]);
    let channels = [&images[..], &["--fine-tune", "--set", "retrain.channels=4"]].concat();
    refuse(&from, &channels, &["2 channels", "has 4", "retrain.channels"]);
    run(["retrain", "--from", text(&from), "--run", text(&from)].iter().chain(&images))
        .refuses(&["--from and --run", text(&from)]);
    run(["retrain", "--from", text(&from)].iter().chain(&images)).refuses(&["--run"]);
    run(["retrain", "--fine-tune", "--run", text(&new)]).refuses(&["--from"]);

    delete(&from, &["weights.safetensors"]);
    refuse(
        &from,
        &[&images[..], &["--fine-tune"]].concat(),
        &["weights.safetensors", "adwp retrain --run"],
    );
    delete(&from, &["genotype.json"]);
    refuse(&from, &images, &["genotype.json", "adwp search --run"]);
}

#[test]
fn a_folder_is_not_continued_with_the_architecture_of_another_run() {
    let (holder, from) = copy_of_run();
    let (data, new) = (holder.path().join("data"), holder.path().join("new"));
    write_images(&data, 4);
    let start = transfer(&from, &data, &["--run", text(&new)]);
    let settings = ["--set", "image_size=16", "--set", "retrain.epochs=1"];
    let begun = run(start.iter().chain(&settings).chain(&["--set", "retrain.batch=9"])).succeeds();
    assert!(begun.stderr.contains("retrain.batch 9 lowered to 8, "), "{begun:?}");
    let genotype = fs::read_to_string(from.join("genotype.json")).unwrap();
    let other = run(["zoo", "show", "darts-v2", "--cells", "3"]).succeeds().stdout;
    assert_ne!(genotype, other);
    fs::write(from.join("genotype.json"), other).unwrap();
    let before = contents(&new);
    run(start.iter().chain(&["--resume"])).refuses(&[text(&new.join("genotype.json")), "--from"]);
    assert!(contents(&new) == before);
}
