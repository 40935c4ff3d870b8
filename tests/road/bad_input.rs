//! Data sets, files and flags that are not what they should be.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::folder::{contents, json};
use crate::program::{Ended, adwp, end, run, text};
use crate::recipe::write_images;
use crate::reference::{PICTURE, SETTINGS, begin, copy_of_run, fresh, reference};

/// The arguments that begin a run on a folder of data.
fn begin_on<'a>(kind: &'a str, data: &'a Path, folder: &'a Path) -> Vec<&'a str> {
    [&begin("run", folder)[..], &["--dataset", kind, "--data", text(data)]].concat()
}

/// Starts a run on a folder of data, in a folder of its own.
fn run_on(kind: &str, data: &Path) -> Ended {
    let (_holder, folder) = fresh();
    run(begin_on(kind, data, &folder))
}

/// What a run on a few small pictures is set to.
const PICTURES: [&str; 6] =
    ["--set", "image_size=16", "--set", "train_images=0", "--set", "search_images=0"];

/// A data set in the form of CIFAR-10, of four images a file.
fn write_cifar10(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let files = (1..=5).map(|i| format!("data_batch_{i}.bin")).chain(["test_batch.bin".to_owned()]);
    for (number, file) in files.enumerate() {
        // No two images are the same.
        let record = |label: u8| {
            let shift = 5 * number + usize::from(label);
            std::iter::once(label).chain((0..3072).map(move |i| ((i + shift) % 251) as u8))
        };
        let records: Vec<u8> = (0..4).flat_map(record).collect();
        fs::write(folder.join(file), records).unwrap();
    }
}

#[test]
fn folders_of_data_that_are_missing_or_empty_are_named() {
    let holder = tempdir().unwrap();
    let (missing, empty) = (holder.path().join("missing"), holder.path().join("empty"));
    fs::create_dir(&empty).unwrap();
    for kind in ["fashion-mnist", "cifar10", "cifar100", "image-folder"] {
        for folder in [&missing, &empty] {
            run_on(kind, folder).refuses(&[text(folder), "--data DIR"]);
            run(["data", "check", text(folder), "--dataset", kind]).refuses(&[text(folder)]);
        }
        run(["eval", text(&reference().folder.join("model.onnx")), "--dataset", kind])
            .refuses(&[kind, "--data DIR"]);
    }
}

#[test]
fn a_run_on_missing_data_can_be_started_again_on_the_right_one() {
    let holder = tempdir().unwrap();
    let (data, folder) = (holder.path().join("data"), holder.path().join("run"));
    let start = begin_on("cifar10", &data, &folder);
    run(&start).refuses(&[text(&data)]);
    write_cifar10(&data);
    // Now the data is there, and what is refused is that 20 images are fewer than the settings
    // take.
    run(&start).refuses(&["120 images", "it has 20"]);
}

#[test]
fn damaged_cifar_files_are_named_with_what_is_wrong() {
    let holder = tempdir().unwrap();
    let data = holder.path().join("cifar");
    write_cifar10(&data);
    run(["data", "check", text(&data), "--dataset", "cifar10"]).succeeds();

    let third = data.join("data_batch_3.bin");
    let whole = fs::read(&third).unwrap();
    fs::write(&third, &whole[..whole.len() - 100]).unwrap();
    run_on("cifar10", &data).refuses(&[text(&third), "12192 bytes", "truncated"]);
    fs::write(&third, []).unwrap();
    run_on("cifar10", &data).refuses(&[text(&third), "empty"]);
    let mut wrong = whole;
    wrong[2 * 3073] = 77;
    fs::write(&third, wrong).unwrap();
    run_on("cifar10", &data).refuses(&[text(&third), "record 2", "label 77", "below 10"]);
    let checked = run(["data", "check", text(&data), "--dataset", "cifar10"]).with_code(2);
    assert!(
        checked.stdout.contains("data_batch_3.bin") && checked.stdout.contains("77"),
        "{checked:?}"
    );
    fs::remove_file(&third).unwrap();
    run_on("cifar10", &data).refuses(&["data_batch_3.bin", text(&data)]);
}

#[test]
fn a_file_that_is_no_image_is_named() {
    let holder = tempdir().unwrap();
    let data = holder.path().join("images");
    write_images(&data, 12);
    for i in 0..12 {
        fs::write(data.join(format!("train/dog/{i}.jpg")), "<html>Too many requests</html>")
            .unwrap();
    }
    let folder = data.with_extension("run");
    let args = begin_on("image-folder", &data, &folder);
    run(args.iter().chain(&PICTURES)).refuses(&[
        text(&data.join("train/dog")),
        "none of the 12 images of the class `dog`",
        "cannot be read as an image",
    ]);
    assert!(!folder.exists(), "the folder is only made once the images were looked at");
    let checked = run(["data", "check", text(&data), "--dataset", "image-folder"]).with_code(2);
    assert!(checked.stdout.contains("train/dog/11.jpg"), "{checked:?}");
    // The test images have a class that the training images lack: each count has its own name.
    fs::rename(data.join("val/dog"), data.join("val/ant")).unwrap();
    let checked = run(["data", "check", text(&data), "--dataset", "image-folder"]).with_code(2);
    let after = checked.stdout.split("test ").nth(1).unwrap();
    let named: Vec<&str> = after.lines().skip(1).take(2).map(str::trim).collect();
    assert!(named[0].starts_with("ant ") && named[1].starts_with("cat "), "{checked:?}");
}

/// The picture as a JPEG whose header promises `side` pixels on each side.
fn giant(side: u16) -> Vec<u8> {
    let mut jpeg = fs::read(PICTURE).unwrap();
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
    jpeg[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
    jpeg
}

#[test]
fn files_that_are_no_images_are_skipped_and_counted() {
    let holder = tempdir().unwrap();
    let (data, folder) = (holder.path().join("images"), holder.path().join("run"));
    let whole = fs::read(PICTURE).unwrap();
    let cmyk = fs::read(Path::new(PICTURE).with_file_name("cmyk.jpg")).unwrap();
    for (split, class) in [("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "dog")] {
        let folder = data.join(split).join(class);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..8 {
            fs::write(folder.join(format!("good{i}.jpg")), if i % 2 == 0 { &whole } else { &cmyk })
                .unwrap();
        }
    }
    let bad: [(&str, &[u8]); 6] = [
        ("train/cat/empty.jpg", b""),
        ("train/cat/cut.jpg", &whole[..whole.len() / 2]),
        ("train/cat/text.png", b"<html>Too many requests</html>"),
        ("train/dog/giant.jpg", &giant(60_000)),
        ("train/dog/header.png", b"\x89PNG\r\n\x1a\n"),
        ("val/dog/empty.png", b""),
    ];
    for (name, content) in bad {
        fs::write(data.join(name), content).unwrap();
    }
    let mut train = 5;
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        // A link to itself, one to a folder above, and a name that is no text.
        std::os::unix::fs::symlink("loop.jpg", data.join("train/cat/loop.jpg")).unwrap();
        std::os::unix::fs::symlink("../../..", data.join("train/dog/above.jpg")).unwrap();
        let odd = data.join("train/dog").join(std::ffi::OsStr::from_bytes(b"\xff\xfe.jpg"));
        train += 1 + usize::from(fs::write(odd, "no image").is_ok());
    }
    fs::write(data.join("train/cat/notes.txt"), "of no image").unwrap();
    let args = begin_on("image-folder", &data, &folder);
    let ended = run(args.iter().chain(&PICTURES)).succeeds();
    let line = "train: left out: 1 not named like an image (such as cat/notes.txt)";
    assert!(ended.stderr.contains(line), "{ended:?}");
    assert!(
        ended.stderr.contains("warning: skipping")
            && ended.stderr.contains("empty.png: cannot be read"),
        "{ended:?}"
    );
    assert!(ended.stdout.contains(&format!("{} skipped", train + 1)), "{ended:?}");
    let report = json(&folder.join("report.json"));
    assert_eq!(report["skipped_images"], serde_json::json!({ "train": train, "test": 1 }));
    assert_eq!((&report["train_images"], &report["test_images"]), (&16.into(), &16.into()));
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(html.contains(&format!("{train} training and 1 test images could not be read")));
    let skipped = fs::read_to_string(folder.join("skipped.json")).unwrap();
    assert!(
        bad.iter().all(|(name, _)| skipped.contains(name))
            && skipped.contains("60000x60000 pixels"),
        "{skipped}"
    );

    let others = &json(&folder.join("skipped.json"))["train"]["left_out"];
    assert_eq!(others["name"], serde_json::json!({ "count": 1, "example": "cat/notes.txt" }));

    // Continued: the files are not looked at again, the same ones are left out, and a folder that
    // has changed is reported.
    let before = contents(&folder);
    crate::folder::delete(&folder, &["model.onnx", "verification.json"]);
    run(["run", "--run", text(&folder), "--resume"]).succeeds();
    assert_eq!(fs::read(folder.join("model.onnx")).unwrap(), before[Path::new("model.onnx")]);
    fs::write(data.join("train/cat/more.jpg"), &whole).unwrap();
    run(["run", "--run", text(&folder), "--resume"]).refuses(&[
        "image-folder train",
        "when the run was begun",
        "another run",
    ]);
    fs::remove_file(data.join("train/cat/more.jpg")).unwrap();
    fs::write(folder.join("skipped.json"), skipped.replace("adwp/skipped/1", "adwp/skipped/2"))
        .unwrap();
    run(["run", "--run", text(&folder), "--resume"]).refuses(&["skipped.json", "adwp/skipped/2"]);
}

#[test]
fn models_that_are_cut_off_or_something_else_are_named() {
    let holder = tempdir().unwrap();
    let whole = fs::read(reference().folder.join("model.onnx")).unwrap();
    let model = holder.path().join("cut.onnx");
    let refuse = |model: &Path, why: &[&str]| {
        let path = text(model);
        let culprits: Vec<&str> = why.iter().copied().chain([path]).collect();
        run(["cost", path]).refuses(&culprits);
        run(["bench", path, "--min-time", "0.01"]).refuses(&culprits);
        run(["eval", path, "--dataset", "sample"]).refuses(&culprits);
        run(["predict", path, PICTURE]).refuses(&culprits);
    };
    for length in [1, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&model, &whole[..length]).unwrap();
        refuse(&model, &["truncated"]);
    }
    fs::write(&model, []).unwrap();
    refuse(&model, &["the file is empty"]);
    refuse(&reference().folder.join("report.html"), &["not an ONNX file"]);
    refuse(&holder.path().join("nowhere.onnx"), &["no such file"]);
    refuse(holder.path(), &["directory"]);
}

#[test]
fn pictures_that_are_none_are_named() {
    let model = reference().folder.join("model.onnx");
    let ended = run(["predict", text(&model), "nowhere.png", PICTURE, SETTINGS]).with_code(1);
    assert!(ended.stdout.starts_with(PICTURE), "the one that is a picture: {}", ended.stdout);
    for part in ["nowhere.png", SETTINGS, "cannot be read as an image", "error: 2 of 3 images"] {
        assert!(ended.stderr.contains(part), "{part} is not in {}", ended.stderr);
    }
    let file = run(["predict", text(&model), PICTURE]).succeeds().stdout;
    let mut command = adwp();
    command.args(["predict", text(&model), "-"]).stdin(fs::File::open(PICTURE).unwrap());
    let stdin = end(&mut command).succeeds().stdout;
    assert_eq!(stdin.split_once('\n').unwrap(), ("-", file.split_once('\n').unwrap().1));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let holder = tempdir().unwrap();
    let file = holder.path().join("file");
    fs::write(&file, "kept").unwrap();
    for folder in [file.clone(), file.join("run")] {
        for command in ["run", "space", "retrain"] {
            run([command, "--config", SETTINGS, "--run", text(&folder)]).refuses(&[
                "--run",
                text(&file),
                "is a file and no folder",
            ]);
        }
    }
    run(["report", text(&file)]).refuses(&[text(&file), "no folder of a run"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    if cfg!(target_os = "linux") {
        run(["run", "--config", SETTINGS, "--run", "/proc/adwp-run"]).refuses(&["/proc/adwp-run"]);
    }
}

/// Runs the program where no file may grow beyond 4 KiB, as on a disk that is full.
#[cfg(unix)]
fn on_full_disk(args: &[&str]) -> Ended {
    // Blocks of `ulimit -f` are 512 bytes in a POSIX shell. With the signal ignored, the write
    // fails.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    end(std::process::Command::new("sh")
        .args(["-c", script, "sh", env!("CARGO_BIN_EXE_adwp")])
        .args(args))
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_told_and_costs_no_file() {
    use crate::folder::{assert_same_results, delete};

    let (holder, folder) = copy_of_run();
    let before = contents(&folder);
    let resume = ["run", "--run", text(&folder), "--resume"];

    on_full_disk(&["report", text(&folder)]).refuses(&[text(&folder), "report."]);
    assert!(contents(&folder) == before);
    let (model, bench) = (folder.join("model.onnx"), folder.join("bench.json"));
    let short = ["--min-time", "0.01", "--repeat", "1", "--out", text(&bench)];
    on_full_disk(&[&["bench", text(&model)], &short[..]].concat()).refuses(&[text(&bench)]);
    assert!(contents(&folder) == before);

    // Every file that has to be written again, the last one first.
    for missing in [
        "report.html",
        "report.json",
        "bench.json",
        "model.onnx",
        "verification.json",
        "weights.safetensors",
    ] {
        delete(&folder, &[missing]);
        let before = contents(&folder);
        on_full_disk(&resume).refuses(&[text(&folder)]);
        let mut after = contents(&folder);
        // This one fits: it says how long the attempts took.
        after.insert("times.json".into(), before[Path::new("times.json")].clone());
        assert!(after == before, "without {missing} other files changed");
    }
    run(resume).succeeds();
    assert_same_results(&folder, &reference().folder);

    let fresh = holder.path().join("fresh");
    on_full_disk(&["run", "--config", SETTINGS, "--run", text(&fresh)]).refuses(&[text(&fresh)]);
    run(["run", "--run", text(&fresh), "--resume"]).succeeds();
    assert_same_results(&fresh, &reference().folder);
}

#[test]
fn flags_with_values_that_do_not_exist_are_named() {
    let (_holder, folder) = fresh();
    let refuse = |flag: &str, value: &str, culprits: &[&str]| {
        run(["run", "--config", SETTINGS, "--run", text(&folder), flag, value]).refuses(culprits);
        assert!(!folder.exists(), "{flag} {value} left a folder");
    };
    refuse("--device", "cuda:4096", &["--device cuda:4096: ", "--device cpu"]);
    refuse("--device", "cuda:first", &["--device cuda:first: ", "cuda:N"]);
    refuse("--device", "tpu", &["--device tpu", "cpu, cuda"]);
    refuse("--precision", "f16", &["f16", "f32 or bf16"]);
    refuse("--preset", "nosuch", &["nosuch", "demo", "imagenet-14"]);
    let model = reference().folder.join("model.onnx");
    let model = text(&model);
    run(["bench", model, "--ort-lib", "/nonexistent"]).refuses(&["/nonexistent", "--ort-lib"]);
    run(["eval", model, "--dataset", "sample", "--ort-lib", "/nonexistent"])
        .refuses(&["/nonexistent", "--ort-lib"]);
    run(["predict", model, PICTURE, "--ort-lib", "/nonexistent"])
        .refuses(&["/nonexistent", "--ort-lib"]);
    run(["predict", model, PICTURE, "--ort-lib", SETTINGS, "--runtime", "ort"])
        .refuses(&[SETTINGS, "cannot be loaded"]);
    run(["eval", model, "--dataset", "sample", "--runtime", "openvino"])
        .refuses(&["openvino", "tract"]);
    run(["compare", "a.json", "b.json", "--threshold", "much"]).refuses(&["much", "5%"]);
    run(["compare", "a.json", "b.json"]).refuses(&["a.json"]);
}

#[test]
fn half_precision_is_refused_on_the_cpu() {
    let (_holder, folder) = fresh();
    run(begin("run", &folder).iter().chain(&["--device", "cpu", "--precision", "bf16"]))
        .refuses(&["--precision bf16", "CPU", "f32", "--device cuda"]);
    assert!(!folder.exists());
}

#[test]
fn an_unknown_data_set_is_told_with_the_known_ones() {
    run(["run", "--dataset", "cifar11"]).refuses(&["cifar11", "cifar10", "image-folder"]);
}

#[test]
fn a_run_without_the_library_that_was_asked_for_is_not_started() {
    let (_holder, folder) = fresh();
    let start = ["run", "--config", SETTINGS, "--run", text(&folder), "--ort-lib", "/nonexistent"];
    run(start).refuses(&["/nonexistent", "--ort-lib"]);
    assert!(!folder.join("space.json").exists(), "it was refused only after a phase");
}

#[test]
fn data_without_a_word_of_its_kind_is_what_its_files_say() {
    let holder = tempdir().unwrap();
    let (data, folder) = (holder.path().join("images"), holder.path().join("run"));
    write_images(&data, 80);
    let no_time = ["--max-minutes", "0.000001", "--set", "image_size=16"];
    let args = ["space", "--run", text(&folder), "--data", text(&data)];
    let ended = run(args.iter().chain(&no_time)).with_code(130);
    for part in ["image-folder: 160 training and 80 test images", "preset folder-cpu"] {
        assert!(ended.stderr.contains(part), "{part:?} is not in\n{}", ended.stderr);
    }
    // The sample is part of the program and would be used in place of the data.
    let other = holder.path().join("other");
    let sample = |more: &[&str]| {
        run(["run", "--run", text(&other), "--data", text(&data)].iter().chain(more))
    };
    sample(&["--preset", "demo"]).refuses(&["--data", "sample", "--dataset"]);
    sample(&["--dataset", "sample"]).refuses(&["--data", "sample"]);
    // What is no data set is not taken for one.
    let empty = holder.path().join("empty");
    let on = |path: &Path| run(["run", "--run", text(&other), "--data", text(path)]);
    on(&empty).refuses(&[text(&empty), "there is no such folder"]);
    fs::create_dir_all(&empty).unwrap();
    let loose = data.join("train/cat");
    for path in [&empty, &loose] {
        on(path).refuses(&[text(path), "no data set is known", "--dataset"]);
    }
    // Without parts the same picture, eighty times, is on one side.
    on(&data.join("train")).refuses(&["of the 80 images of the class", "train/CLASS/*"]);
    assert!(!other.exists());
}
