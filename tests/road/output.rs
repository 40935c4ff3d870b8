//! stdout is data, stderr is messages, and a reader that goes away is no reason to panic.

use std::fs::OpenOptions;
use std::io;
use std::process::Stdio;

use crate::folder::{assert_same_results, copy, delete, json};
use crate::program::{adwp, end, run, text};
use crate::reference::{PICTURE, SETTINGS, copy_of_run, fresh, reference};

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_closed_stdout_ends_the_program_quietly() {
    let (_holder, folder) = copy_of_run();
    let model = folder.join("model.onnx");
    for args in [
        vec!["data", "list"],
        vec!["doctor"],
        vec!["cost", text(&model), "--layers"],
        vec!["predict", text(&model), PICTURE],
        vec!["report", text(&folder)],
        vec!["--help"],
    ] {
        let child = adwp().args(&args).stdout(closed()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("panic") && !said.contains("error"), "{args:?}: {said}");
        assert_eq!(output.status.code(), Some(0), "{args:?}: {said}");
    }
}

#[test]
fn a_closed_stderr_does_not_end_a_run() {
    let (_holder, folder) = fresh();
    copy(&reference().folder, &folder);
    delete(
        &folder,
        &["weights.safetensors", "checkpoints/retrain.safetensors", "model.onnx", "bench.json"],
    );
    let status = adwp()
        .args(["run", "--run", text(&folder), "--resume"])
        .stdout(Stdio::null())
        .stderr(closed())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_same_results(&folder, &reference().folder);
}

#[test]
fn a_closed_stderr_does_not_change_the_exit_code() {
    let status = adwp()
        .args(["cost", "nowhere.onnx"])
        .stdout(Stdio::null())
        .stderr(closed())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
#[cfg(target_os = "linux")]
fn a_stdout_that_cannot_be_written_is_an_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let child = adwp().args(["data", "list"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write to stdout"), "{said}");
}

#[test]
fn every_command_prints_json_when_asked() {
    let (_holder, folder) = copy_of_run();
    let (model, bench, genotype) =
        (folder.join("model.onnx"), folder.join("bench.json"), folder.join("genotype.json"));
    let (model, bench, genotype, folder) =
        (text(&model), text(&bench), text(&genotype), text(&folder));
    for args in [
        vec!["data", "list"],
        vec!["data", "check", "--dataset", "sample"],
        vec!["doctor"],
        vec!["cost", model],
        vec!["cost", genotype, "--layers"],
        vec!["bench", model, "--min-time", "0.01", "--repeat", "1"],
        vec!["eval", model, "--dataset", "sample"],
        vec!["predict", model, PICTURE],
        vec!["compare", bench, bench],
        vec!["report", folder],
        vec!["run", "--run", folder, "--resume"],
    ] {
        let value = run(args.iter().chain(&["--json"])).succeeds().json();
        assert!(value.is_object() || value.is_array(), "{args:?}: {value}");
    }
}

#[test]
fn steps_print_json_when_asked() {
    let (_holder, folder) = copy_of_run();
    for step in ["space", "search", "retrain", "export"] {
        run([step, "--run", text(&folder), "--resume", "--json"]).succeeds().json();
    }
}

#[test]
fn json_of_a_run_is_its_report() {
    let (_holder, folder) = copy_of_run();
    let printed = run(["report", text(&folder), "--json"]).succeeds().json();
    assert_eq!(printed, json(&folder.join("report.json")));
}

#[test]
fn quiet_says_nothing_and_verbose_says_every_metric() {
    let (_holder, folder) = copy_of_run();
    let quiet = run(["run", "--run", text(&folder), "--resume", "--quiet"]).succeeds();
    assert!(quiet.stderr.is_empty() && !quiet.stdout.is_empty(), "{quiet:?}");
    delete(&folder, &["weights.safetensors", "checkpoints/retrain.safetensors"]);
    let verbose = run(["retrain", "--run", text(&folder), "-v"]).succeeds();
    assert!(verbose.stderr.contains("\"learning_rate\""), "{verbose:?}");
}

#[test]
fn where_no_gpu_is_found_that_is_said_once_and_only_when_one_was_looked_for() {
    let (_holder, folder) = copy_of_run();
    let said = |flags: &[&str]| {
        let mut command = adwp();
        command
            .args(["run", "--run", text(&folder), "--resume"])
            .args(flags)
            .env("CUDA_VISIBLE_DEVICES", "");
        end(&mut command).succeeds().stderr
    };
    let lines = said(&[]).lines().filter(|line| line.starts_with("computing on the CPU: ")).count();
    assert_eq!(lines, 1);
    assert!(!said(&["--device", "cpu"]).contains("computing on the CPU"));
    assert!(said(&["--quiet"]).is_empty());
}

#[test]
fn progress_goes_to_stderr_and_the_result_to_stdout() {
    let ended = run(["space", "--run", text(&copy_of_run().1), "--resume", "--config", SETTINGS])
        .succeeds();
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert!(!ended.stderr.is_empty());
}

#[test]
fn doctor_names_the_instructions_that_the_engine_computes_with() {
    let kernels = |at_most: &str| {
        let mut command = adwp();
        command.args(["doctor", "--json"]).env("ADWP_SIMD", at_most);
        end(&mut command).succeeds().json()["kernels"].clone()
    };
    let least = if cfg!(target_arch = "aarch64") { "neon" } else { "portable" };
    assert_eq!(kernels("portable"), least);
    // The best that the engine itself finds, which the environment may bound for all tests.
    let usual = std::env::var("ADWP_SIMD").unwrap_or_default();
    assert_eq!(kernels(&usual), adwp_engine::cpu::instruction_set());
}
