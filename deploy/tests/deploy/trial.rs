//! Models in a process of their own: what becomes of its end.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use adwp_measure::{
    DeployError,
    onnx::{Interface, OnnxModel},
    runtime::{Runtime, SessionOptions},
    trial::{Attempt, PeakMemory, Request, Trial, child},
};
use tempfile::TempDir;

use crate::models::classifier;

/// What comes of a trial whose program is a shell that does what `script` says.
#[cfg(unix)]
fn tried(
    dir: &TempDir,
    script: &str,
    timeout: Duration,
) -> Result<Option<PeakMemory>, DeployError> {
    let (text, program) = (dir.path().join("script"), dir.path().join("program"));
    std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
    // A file that this process writes could still be open in a process of another test, and then
    // does not start.
    let copied = Command::new("install").args(["-m", "755"]).arg(&text).arg(&program).status();
    assert!(copied.unwrap().success());
    let trial = Trial { program, timeout, max_memory: Some(3_000_000_000) };
    attempt(dir, &trial)
}

fn attempt(dir: &TempDir, trial: &Trial) -> Result<Option<PeakMemory>, DeployError> {
    attempt_with(dir, trial, -1)
}

fn attempt_with(
    dir: &TempDir,
    trial: &Trial,
    batch: i64,
) -> Result<Option<PeakMemory>, DeployError> {
    let shapes = BTreeMap::from([("x".to_owned(), vec![batch.max(1) as usize, 3, 8, 8])]);
    let said = Interface { shapes, output: Some("y".to_owned()) };
    let model = OnnxModel::load_as(classifier(batch).write(dir, "a.onnx"), &said).unwrap();
    let options = SessionOptions { threads: 1, ort_library: None, batch: 7 };
    let attempt = Attempt { model: &model, runtime: Runtime::Tract, options };
    trial.run(&attempt, &mut |_| {})
}

const LONG: Duration = Duration::from_secs(60);

#[cfg(unix)]
#[test]
fn every_end_of_a_trial_is_said_in_words() {
    let dir = TempDir::new().unwrap();
    let loading = r#"echo '{"stage":"loading"}'"#;
    let running = r#"echo '{"stage":"running"}'"#;
    for (script, words) in [
        (
            format!("{loading}; kill -FPE $$"),
            "a.onnx: tract died of SIGFPE while loading and optimising the graph",
        ),
        (
            format!("{running}; echo why >&2; kill -ABRT $$"),
            "a.onnx: tract died of SIGABRT while running it for the first time (why)",
        ),
        (
            format!("{loading}; echo memory allocation of 8 bytes failed >&2; kill -ABRT $$"),
            "needs more than 3.00 GB of memory while loading",
        ),
        (
            format!("{loading}; echo '{{\"failed\":\"std::bad_alloc\"}}'"),
            "needs more than 3.00 GB of memory while loading",
        ),
        (
            format!("{running}; echo '{{\"failed\":\"no such kernel\"}}'"),
            "a.onnx: tract cannot run the model: no such kernel",
        ),
        (
            format!("{loading}; echo '{{\"failed\":\"no such kernel\"}}'"),
            "a.onnx: tract cannot load the model: no such kernel",
        ),
        (format!("{loading}; exit 3"), "ended with exit status: 3 while loading"),
        // What it was asked for came, and then it fell.
        (r#"echo '{"done":null}'; kill -SEGV $$"#.to_owned(), "tract died of SIGSEGV"),
    ] {
        let error = tried(&dir, &script, LONG).unwrap_err();
        assert!(error.to_string().contains(words), "{script}: {error}");
        let is_memory = words.contains("GB");
        assert_eq!(error.hint().is_some_and(|hint| hint.contains("--max-memory")), is_memory);
    }
    let nowhere = Trial { program: dir.path().join("none"), timeout: LONG, max_memory: None };
    let error = attempt(&dir, &nowhere).unwrap_err().to_string();
    assert!(error.contains("none cannot be started"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_trial_without_end_is_stopped_and_one_that_talks_too_much_ends() {
    let dir = TempDir::new().unwrap();
    let endless = r#"echo '{"stage":"loading"}'; exec sleep 600"#;
    let start = std::time::Instant::now();
    let error = tried(&dir, endless, Duration::from_millis(300)).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(60));
    let expected = "tract was stopped after 0.3 s of loading and optimising the graph";
    assert!(error.to_string().ends_with(expected), "{error}");
    assert!(error.hint().unwrap().contains("--load-timeout"));

    // More than a pipe holds, on both.
    let talk = "i=0; while [ $i -lt 3000 ]; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; \
                echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy >&2; \
                i=$((i + 1)); done";
    let done = r#"echo '{"done":{"peak_bytes":5,"before_bytes":2}}'"#;
    let memory = tried(&dir, &format!("{done}; {talk}"), LONG).unwrap();
    assert_eq!(memory, Some(PeakMemory { peak_bytes: 5, before_bytes: 2 }));
}

#[cfg(unix)]
#[test]
fn the_process_is_told_what_the_session_will_be() {
    let dir = TempDir::new().unwrap();
    let script = r#"printf '%s\n' "$@" > "$0.arguments"; echo '{"done":null}'"#;
    assert_eq!(tried(&dir, script, Duration::from_secs(9)).unwrap(), None);
    let said = std::fs::read_to_string(dir.path().join("program.arguments")).unwrap();
    let file = dir.path().join("a.onnx");
    let expected = [
        "trial",
        file.to_str().unwrap(),
        "--runtime",
        "tract",
        "--threads",
        "1",
        "--batch",
        "7",
        "--processor-seconds",
        "22",
        "--max-memory",
        "3000000000",
        "--input",
        "x=1x3x8x8",
        "--output=y",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    // A file that fixes its batch is tried with that.
    let (program, timeout) = (dir.path().join("program"), Duration::from_secs(9));
    attempt_with(&dir, &Trial { program, timeout, max_memory: None }, 3).unwrap();
    let said = std::fs::read_to_string(dir.path().join("program.arguments")).unwrap();
    assert!(said.contains("--batch\n3\n") && said.contains("x=3x3x8x8"), "{said}");
}

fn lines(path: &Path, part: Option<usize>) -> Vec<String> {
    let request = Request {
        path: path.to_owned(),
        said: Interface::default(),
        runtime: Runtime::Tract,
        threads: 1,
        batch: 2,
        part,
        library: None,
        max_memory: None,
        processor_seconds: None,
    };
    let mut lines = Vec::new();
    child(&request, &mut |line| lines.push(line.to_owned()));
    lines
}

#[test]
fn the_process_says_how_far_it_is_and_what_it_held() {
    let dir = TempDir::new().unwrap();
    let said = lines(&classifier(-1).write(&dir, "a.onnx"), None);
    let stages = ["reading", "loading", "running"].map(|of| format!("{{\"stage\":\"{of}\"}}\n"));
    assert_eq!(said[..3], stages);
    assert!(said[3].starts_with("{\"done\":"), "{said:?}");
    if cfg!(target_os = "linux") {
        assert!(said[3].contains("peak_bytes"), "{said:?}");
    }
    // Damaged after the first process has looked at it.
    let path = dir.path().join("b.onnx");
    std::fs::write(&path, [8, 8, 58]).unwrap();
    let said = lines(&path, None);
    assert_eq!(said.len(), 2);
    assert!(said[1].starts_with("{\"failed\":") && said[1].contains("b.onnx"), "{said:?}");
}

#[test]
fn the_process_tries_a_part_where_it_is_asked_to() {
    let dir = TempDir::new().unwrap();
    let path = classifier(-1).write(&dir, "a.onnx");
    assert_eq!(lines(&path, Some(3)).last().unwrap(), "{\"done\":null}\n");
    let said = lines(&path, Some(1000));
    assert!(said.last().unwrap().contains("node 1000 has no result"), "{said:?}");
}

#[cfg(unix)]
#[test]
fn the_process_is_told_of_the_part() {
    let dir = TempDir::new().unwrap();
    let script = r#"printf '%s\n' "$@" > "$0.arguments"; echo '{"done":null}'"#;
    tried(&dir, script, LONG).unwrap();
    let (program, timeout) = (dir.path().join("program"), LONG);
    let model = OnnxModel::load(classifier(-1).write(&dir, "a.onnx")).unwrap();
    let options = SessionOptions { threads: 1, ort_library: None, batch: 7 };
    let attempt = Attempt { model: &model, runtime: Runtime::Tract, options };
    Trial { program, timeout, max_memory: None }.run_part(&attempt, 3).unwrap();
    let said = std::fs::read_to_string(dir.path().join("program.arguments")).unwrap();
    assert!(said.ends_with("--part\n3\n"), "{said}");
}
