//! A run that is killed or interrupted and continued ends in the bytes of one that was left alone.

use std::fs;
use std::path::Path;

use crate::folder::{assert_same_results, contents, delete, metrics, progress};
use crate::program::{run, text};
use crate::reference::{SETTINGS, copy_of_run, fresh, reference};
use crate::running::{Running, Stage, resume, stage};
use serde_json::{Map, Value};

/// The lines of `metrics.jsonl` without what the clock and the system's memory decide.
fn timeless_metrics(folder: &Path) -> Vec<Map<String, Value>> {
    let mut lines = metrics(folder);
    for line in &mut lines {
        line.retain(|key, _| {
            !["step_ms", "images_per_s", "peak_bytes", "seconds_left", "time"]
                .contains(&key.as_str())
        });
    }
    lines
}

/// The run in `folder` is finished and what the undisturbed one is.
#[track_caller]
fn assert_undisturbed(folder: &Path) {
    assert_eq!(stage(folder), Stage::Done);
    assert_same_results(folder, &reference().folder);
    assert_eq!(timeless_metrics(folder), timeless_metrics(&reference().folder));
}

#[test]
fn kills_in_every_phase_change_nothing() {
    let (_holder, folder) = fresh();
    // Where it is killed, and the last stage in which the kill still is in that phase.
    let kills = [
        (Stage::Space(0), Stage::Space(1)),
        (Stage::Space(1), Stage::Space(3)),
        // HyperNetwork training is epochs 0 and 1, the search 2 and 5, the cross-search 3 and 4.
        (Stage::Search(1), Stage::Search(1)),
        (Stage::Search(2), Stage::Search(2)),
        (Stage::Search(4), Stage::Search(4)),
        (Stage::Retrain(0), Stage::Retrain(0)),
        (Stage::Retrain(2), Stage::Retrain(4)),
        (Stage::Export, Stage::Export),
        (Stage::Bench, Stage::Report),
    ];
    let mut command = vec!["run", "--config", SETTINGS, "--run", text(&folder)];
    for (from, to) in kills {
        let mut running = Running::start(&command, &folder);
        running.reaches(from);
        running.kill();
        let reached = stage(&folder);
        assert!((from..=to).contains(&reached), "the kill at {from:?} came as late as {reached:?}");
        command = resume(&folder).to_vec();
    }
    let ended = run(resume(&folder)).succeeds();
    assert!(ended.stdout.contains("report.html"), "{ended:?}");
    assert_undisturbed(&folder);
    assert!(!contents(&folder).into_keys().any(|path| text(&path).contains("unverified")));
}

/// Random numbers, others in each call of the tests; their seed is printed when a test fails.
fn random() -> impl FnMut(u64) -> u64 {
    let mut x = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    println!("the moments follow from {x}");
    move |below| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) % below
    }
}

#[test]
fn five_kills_at_random_moments_of_each_phase_change_nothing() {
    let (_holder, folder) = fresh();
    let mut command = vec!["run", "--config", SETTINGS, "--run", text(&folder)];
    let mut random = random();
    let phases =
        [|epoch| Stage::Space(epoch), |epoch| Stage::Search(epoch), |epoch| Stage::Retrain(epoch)];
    for (phase, epochs) in phases.into_iter().zip([3, 6, 4]) {
        let mut moments: Vec<(u64, u64)> = (0..5).map(|_| (random(epochs), random(60))).collect();
        moments.sort_unstable();
        for (epoch, milliseconds) in moments {
            let mut running = Running::start(&command, &folder);
            running.reaches(phase(epoch));
            std::thread::sleep(std::time::Duration::from_millis(milliseconds));
            running.kill();
            println!("killed {milliseconds} ms after {:?}, at {:?}", phase(epoch), stage(&folder));
            command = resume(&folder).to_vec();
        }
    }
    run(resume(&folder)).succeeds();
    assert_undisturbed(&folder);
}

/// Interrupts the run in a phase and checks what it says. Whether that was in the middle of an
/// epoch.
fn interrupt(args: &[&str], folder: &Path, phase: &str, at: Stage) -> bool {
    let mut running = Running::start(args, folder);
    running.reaches(at);
    let said = running.interrupt();
    assert!(
        said.contains("interrupted") && said.contains(&format!("{phase}.safetensors")),
        "{said}"
    );
    let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{said}");
    let (_, step) =
        progress(folder, phase).unwrap_or_else(|| panic!("there is no checkpoint\n{said}"));
    step > 0
}

/// The arguments of the command that the program advises after an interrupt.
pub(crate) fn advised(said: &str) -> Vec<&str> {
    let (_, rest) = said.split_once("`adwp ").unwrap_or_else(|| panic!("no command in\n{said}"));
    rest.split_once('`').unwrap().0.split(' ').collect()
}

#[test]
fn interrupts_write_a_checkpoint_and_change_nothing() {
    let (_holder, folder) = fresh();
    let stderr = folder.with_extension("stderr");
    let start = ["run", "--config", SETTINGS, "--run", text(&folder)].map(str::to_owned).to_vec();
    // An interrupt between two epochs is met at the next one: the phases have several to be
    // interrupted in.
    let phases = [
        ("space", [Stage::Space(1), Stage::Space(2)]),
        ("search", [Stage::Search(1), Stage::Search(2)]),
        ("retrain", [Stage::Retrain(1), Stage::Retrain(2)]),
    ];
    let mut command = start;
    for (phase, epochs) in phases {
        let middle = epochs.into_iter().any(|epoch| {
            let args: Vec<&str> = command.iter().map(String::as_str).collect();
            let middle = interrupt(&args, &folder, phase, epoch);
            let said = std::fs::read_to_string(&stderr).unwrap();
            command = advised(&said).into_iter().map(str::to_owned).collect();
            assert_eq!(command, resume(&folder), "{said}");
            middle
        });
        assert!(middle, "{phase} was not interrupted in the middle of an epoch");
    }
    run(&command).succeeds();
    assert_undisturbed(&folder);
}

#[test]
fn the_end_of_the_time_is_an_interrupt_after_the_first_step() {
    let (_holder, folder) = fresh();
    // Over before there is a step.
    let no_time = ["--max-minutes", "0.000001"];
    let stopped = |args: &[&str], phase: &str| {
        let ended = run(args.iter().chain(&no_time)).with_code(130);
        assert!(ended.stderr.contains("the time of --max-minutes is over"), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{phase}.safetensors is written")), "{ended:?}");
        progress(&folder, phase).unwrap_or_else(|| panic!("there is no checkpoint: {ended:?}"));
        ended.stderr
    };
    let said = stopped(&["space", "--config", SETTINGS, "--run", text(&folder)], "space");
    assert_eq!(progress(&folder, "space"), Some((0, 1)));
    assert_eq!(advised(&said), ["space", "--run", text(&folder), "--resume"]);
    run(advised(&said)).succeeds();

    let said = stopped(&resume(&folder), "search");
    assert_eq!(progress(&folder, "search"), Some((0, 1)));
    assert_eq!(advised(&said), resume(&folder));
    run(advised(&said).into_iter().chain(["--max-minutes", "60"])).succeeds();
    assert_undisturbed(&folder);
}

#[test]
fn an_interrupt_outside_of_the_phases_loses_nothing() {
    let (_holder, folder) = copy_of_run();
    delete(
        &folder,
        &["model.onnx", "verification.json", "bench.json", "report.json", "report.html"],
    );
    let mut running = Running::start(&resume(&folder), &folder);
    // The message about the weights comes when the program listens already, right before the
    // export.
    running.says("retrain: ");
    let said = running.interrupt();
    run(resume(&folder)).succeeds();
    assert_undisturbed(&folder);
    assert!(
        said.contains("interrupted") && said.contains("--resume"),
        "it does not say how to go on:\n{said}"
    );
}

#[test]
fn two_programs_do_not_work_in_one_folder() {
    let (_holder, folder) = fresh();
    let mut first = Running::start(&["run", "--config", SETTINGS, "--run", text(&folder)], &folder);
    first.reaches(Stage::Space(1));
    run(resume(&folder)).refuses(&["another adwp is working in", text(&folder)]);
    run(["space", "--run", text(&folder)]).refuses(&["another adwp is working in", text(&folder)]);
    run(["report", text(&folder)]).refuses(&["another adwp is working in", text(&folder)]);
    first.kill();
    run(["space", "--run", text(&folder), "--resume"]).succeeds();
}

#[test]
fn a_folder_that_is_not_there_has_nothing_to_resume() {
    let holder = tempfile::tempdir().unwrap();
    let folder = holder.path().join("mistyped");
    let named = ["--space", "nas-bench-201", "--strategy", "random", "--scorer", "params"];
    let search = [&["search"], &named[..], &["--evaluations", "3"]].concat();
    for command in [&["run"][..], &["space"], &["retrain"], &search] {
        let there = ["--resume", "--run", text(&folder)];
        run(command.iter().chain(&there)).refuses(&[
            text(&folder),
            "is not there",
            "leave --resume out",
        ]);
        assert!(!folder.exists());
    }
}

#[test]
fn the_command_that_began_a_run_goes_on_with_it_whatever_the_run_has_found() {
    let (holder, folder) = fresh();
    // Of an architecture that comes from elsewhere it would follow that nothing is limited.
    let settings =
        fs::read_to_string(SETTINGS).unwrap().replace("madds = 0", "madds = 900_000_000");
    let config = holder.path().join("limited.toml");
    fs::write(&config, settings).unwrap();
    let step = |name, flags: &[&str]| {
        let args = [name, "--config", text(&config), "--run", text(&folder)];
        run(args.iter().chain(flags))
    };
    step("space", &[]).succeeds();
    step("search", &[]).succeeds();
    assert!(folder.join("genotype.json").exists());
    step("retrain", &["--seed", "1"]).refuses(&["seed is 0, not 1"]);
    step("retrain", &["--max-minutes", "0.001"]).with_code(130);
    step("retrain", &["--resume"]).succeeds();
}

#[test]
fn a_run_is_computed_in_one_way() {
    let (_holder, folder) = fresh();
    let begin = ["space", "--config", SETTINGS, "--run", text(&folder)];
    run(begin.iter().chain(&["--no-fuse"])).succeeds();
    let before = contents(&folder);
    let go_on = ["run", "--run", text(&folder), "--resume"];
    run(go_on).refuses(&[text(&folder), "is computed with --no-fuse", "add --no-fuse"]);
    assert!(contents(&folder) == before);
    run(go_on.iter().chain(&["--no-fuse"])).succeeds();
    // What trains nothing may be done in any way.
    run(go_on).succeeds();
    run(["report", text(&folder)]).succeeds();
    let (_holder, folder) = copy_of_run();
    delete(&folder, &["weights.safetensors"]);
    run(["retrain", "--run", text(&folder), "--resume", "--no-fuse"])
        .refuses(&["is computed without --no-fuse", "leave --no-fuse out"]);
}

#[test]
fn a_run_began_with_one_preset() {
    let (_holder, folder) = copy_of_run();
    let path = folder.join("config.toml");
    let whole = fs::read_to_string(&path).unwrap();
    let by_hand = whole.split_once('\n').unwrap().1.replace("\"demo\"", "\"adwp-cpu\"");
    assert!(by_hand.contains("preset = \"adwp-cpu\""), "{by_hand}");
    fs::write(&path, by_hand).unwrap();
    run(["report", text(&folder)])
        .refuses(&[text(&folder), "began with the preset demo, not adwp-cpu"]);
}
