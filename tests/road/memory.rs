//! What a run needs of memory: reported before, measured after, and refused where it is too much.

use std::time::{Duration, Instant};

use crate::folder::{delete, json, metrics};
use crate::program::{run, text};
use crate::reference::{SETTINGS, copy_of_run, fresh, reference};

const TRAINING: [&str; 3] = ["space", "search", "retrain"];

#[test]
fn every_phase_tells_what_it_needs_and_what_it_took() {
    let said = &reference().ended.stderr;
    let report = json(&reference().folder.join("report.json"));
    for (i, phase) in TRAINING.into_iter().enumerate() {
        let line = |start: &str| {
            said.lines().position(|line| line.starts_with(&format!("{phase}: {start}")))
        };
        let (needs, first_epoch) = (line("needs about "), line("epoch 1"));
        assert!(
            needs.is_some() && needs < first_epoch,
            "{phase} does not tell what it needs before it starts:\n{said}"
        );
        let lines: Vec<_> = metrics(&reference().folder)
            .into_iter()
            .filter(|line| line["phase"] == phase)
            .collect();
        assert!(
            lines.iter().all(|line| line["planned_bytes"] == lines[0]["planned_bytes"]),
            "{lines:?}"
        );
        let row = &report["phases"][i];
        assert_eq!(
            (&row["name"], &row["planned_bytes"]),
            (&phase.into(), &lines[0]["planned_bytes"])
        );
        if cfg!(target_os = "linux") {
            assert!(
                said.lines().any(|line| line.starts_with(&format!("{phase}: needs about"))
                    && line.ends_with(" available)")),
                "{said}"
            );
            assert!(line("memory: ") > first_epoch, "{phase} does not tell what it took:\n{said}");
            let marks: Vec<u64> =
                lines.iter().map(|line| line["peak_bytes"].as_u64().unwrap()).collect();
            assert!(marks.is_sorted() && marks[0] > 0, "{marks:?}");
            assert_eq!(row["peak_bytes"], *marks.last().unwrap());
        }
    }
    assert!(report["phases"][3].get("planned_bytes").is_none(), "export trains nothing: {report}");
}

/// A run with these settings is refused for the memory of a phase, immediately, before anything is
/// written.
#[track_caller]
fn refuse_memory(command: &str, phase: &str, settings: &[&str]) {
    let (_holder, folder) = fresh();
    let sets = settings.iter().flat_map(|setting| ["--set", setting]);
    let start = Instant::now();
    let ended =
        run([command, "--config", SETTINGS, "--run", text(&folder)].into_iter().chain(sets));
    assert!(start.elapsed() < Duration::from_secs(60), "it took {:?}", start.elapsed());
    let (batch, channels) = (format!("{phase}.batch"), format!("{phase}.channels"));
    ended.refuses(&[
        &format!("{phase} needs about"),
        "TB of memory",
        "available",
        &batch,
        &channels,
        "--no-memory-check",
    ]);
    assert!(!folder.exists(), "{settings:?} was refused only after the folder was made");
}

#[test]
#[cfg(target_os = "linux")]
fn more_channels_than_memory_holds_are_refused_before_the_first_phase() {
    for phase in TRAINING {
        refuse_memory("run", phase, &[&format!("{phase}.channels=16384")]);
    }
    refuse_memory("space", "space", &["space.channels=16384"]);
}

/// All images of the sample would take 100 GB at that size. They are scaled as they are read: the
/// plan is made before.
#[test]
#[cfg(target_os = "linux")]
fn images_larger_than_memory_holds_are_refused_before_they_are_scaled() {
    refuse_memory("run", "space", &["image_size=4096", "space.channels=512"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_larger_batch_than_memory_holds_is_refused() {
    refuse_memory(
        "run",
        "space",
        &["train_images=0", "search_images=0", "space.batch=3000", "space.channels=2048"],
    );
    refuse_memory(
        "run",
        "retrain",
        &["train_images=0", "retrain.batch=6000", "retrain.channels=4096", "cells=20"],
    );
}

#[test]
fn a_run_is_continued_without_the_check_where_that_is_asked_for() {
    let (_holder, folder) = copy_of_run();
    delete(&folder, &["weights.safetensors", "checkpoints/retrain.safetensors"]);
    let ended = run(["retrain", "--run", text(&folder), "--no-memory-check"]).succeeds();
    assert!(ended.stderr.contains("retrain: needs about"), "{ended:?}");
}
