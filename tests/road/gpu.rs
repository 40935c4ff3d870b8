//! The road on a GPU, where `ADWP_TEST_DEVICE` is `cuda`; elsewhere it is skipped. In the place of
//! a GPU there may be a stand-in.

use tempfile::tempdir;

use crate::folder::metrics;
use crate::program::{run, text};
use crate::reference::{SETTINGS, fresh};
use crate::running::{Running, Stage, stage};

/// Few images: a stand-in for a GPU takes a second for what a GPU does in a millisecond.
const FEW: [&str; 12] = [
    "--set",
    "train_images=16",
    "--set",
    "search_images=8",
    "--set",
    "test_images=8",
    "--set",
    "space.validation_images=4",
    "--set",
    "search.recalibration_images=4",
    "--set",
    "search.validation_images=4",
];

/// What adds inputs and nodes to the graphs of the search. More than half of the architectures take
/// more than this limit.
const OPTIONS: [&str; 6] = [
    "--max-madds",
    "600K",
    "--identity-dropout",
    "0.3",
    "--set",
    "search.generator_activation=relu",
];

/// How far losses of the first phases may part: an epoch has few steps, so that rounding has no
/// time to grow.
const TOLERANCE: f64 = 1e-3;

fn there_is_no_gpu() -> bool {
    let skipped = std::env::var("ADWP_TEST_DEVICE").as_deref() != Ok("cuda");
    if skipped {
        println!("skipped: ADWP_TEST_DEVICE is not cuda");
    }
    skipped
}

#[test]
fn every_phase_learns_on_a_gpu_what_it_learns_on_a_cpu() {
    if there_is_no_gpu() {
        return;
    }
    let holder = tempdir().unwrap();
    let lines = ["cpu", "cuda"].map(|device| {
        let folder = holder.path().join(device);
        let command = ["run", "--config", SETTINGS, "--run", text(&folder), "--device", device];
        run(command.iter().chain(&FEW).chain(&OPTIONS)).succeeds();
        assert_eq!(stage(&folder), Stage::Done);
        metrics(&folder)
    });
    let [cpu, gpu] = &lines;
    assert_eq!(cpu.len(), gpu.len());
    for (cpu, gpu) in cpu.iter().zip(gpu) {
        assert_eq!((&cpu["phase"], &cpu["epoch"]), (&gpu["phase"], &gpu["epoch"]));
        assert_ne!(cpu["device"], gpu["device"]);
        let loss = |line: &serde_json::Map<String, serde_json::Value>| {
            line["train_loss"].as_f64().unwrap()
        };
        // What the search finds may hang on the last bit, and with it the network that is
        // retrained.
        let compared = cpu["phase"] != "retrain";
        assert!(
            !compared || (loss(cpu) - loss(gpu)).abs() < TOLERANCE * loss(cpu),
            "{cpu:?}\n{gpu:?}"
        );
    }
}

#[test]
fn a_run_goes_from_cpu_to_gpu_and_back() {
    if there_is_no_gpu() {
        return;
    }
    let (_holder, folder) = fresh();
    let start = ["run", "--config", SETTINGS, "--run", text(&folder), "--device", "cpu"];
    let start: Vec<&str> = start.into_iter().chain(FEW).collect();
    let go_on = |device| ["run", "--run", text(&folder), "--resume", "--device", device].to_vec();
    for (command, until) in [(start, Stage::Space(1)), (go_on("cuda"), Stage::Search(1))] {
        let mut running = Running::start(&command, &folder);
        running.reaches(until);
        running.interrupt();
    }
    run(go_on("cpu")).succeeds();
    assert_eq!(stage(&folder), Stage::Done);
    let devices: Vec<bool> = metrics(&folder).iter().map(|line| line["device"] == "cpu").collect();
    assert!(devices.contains(&true) && devices.contains(&false), "{devices:?}");
}
