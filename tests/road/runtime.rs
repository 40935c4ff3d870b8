//! With and without the ONNX Runtime library.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::{TempDir, tempdir};

use crate::folder::{assert_same_results, copy, delete, json};
use crate::program::{Ended, adwp, end, run, text};
use crate::reference::{PICTURE, reference};

#[test]
fn doctor_tells_the_library_or_how_to_get_one() {
    let found = run(["doctor", "--json"]).succeeds().json();
    let unset = end(adwp().arg("doctor").env_remove("ORT_DYLIB_PATH")).succeeds();
    assert!(unset.stdout.contains("ONNX Runtime"), "{unset:?}");
    let wrong = end(adwp().arg("doctor").env("ORT_DYLIB_PATH", "/nonexistent")).succeeds();
    assert!(
        wrong.stdout.contains("/nonexistent") && wrong.stdout.contains("pip install onnxruntime"),
        "{wrong:?}"
    );
    let Some(library) = found["onnx_runtime"]["path"].as_str() else {
        assert!(std::env::var_os("ADWP_REQUIRE_ORT").is_none(), "no library: {found}");
        return println!("skipped: there is no ONNX Runtime library to name");
    };
    let named =
        end(adwp().args(["doctor", "--json"]).env("ORT_DYLIB_PATH", library)).succeeds().json();
    assert_eq!(
        (&named["onnx_runtime"]["path"], &named["onnx_runtime"]["source"]),
        (&library.into(), &"environment".into())
    );
    let flagged = run(["doctor", "--json", "--ort-lib", library]).succeeds().json();
    assert_eq!(flagged["onnx_runtime"]["source"], "explicit");
}

/// The program where it finds no library: a copy in a folder of its own, in an environment that
/// names nothing.
struct Bare {
    holder: TempDir,
    program: PathBuf,
}

impl Bare {
    /// None where the system itself has a library.
    fn new() -> Option<Self> {
        let holder = tempdir().unwrap();
        let program = holder.path().join("bin").join("adwp");
        fs::create_dir(holder.path().join("bin")).unwrap();
        fs::create_dir(holder.path().join("home")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_adwp"), &program).unwrap();
        let bare = Self { holder, program };
        bare.run(&["doctor", "--json"]).succeeds().json()["onnx_runtime"].is_null().then_some(bare)
    }

    fn run(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", self.holder.path().join("home"))
            .current_dir(self.holder.path());
        end(command.args(args))
    }
}

#[test]
fn without_a_library_everything_else_works_and_says_how_to_get_one() {
    let Some(bare) = Bare::new() else {
        return println!("skipped: the system has an ONNX Runtime library");
    };
    let folder = bare.holder.path().join("run");
    copy(&reference().folder, &folder);
    delete(
        &folder,
        &["model.onnx", "verification.json", "bench.json", "report.json", "report.html"],
    );
    let how = |said: &str| said.contains("pip install onnxruntime") || said.contains("adwp doctor");

    let doctor = bare.run(&["doctor"]).succeeds();
    assert!(
        doctor.stdout.contains("pip install onnxruntime") && doctor.stdout.contains("--ort-lib"),
        "{doctor:?}"
    );

    let ended = bare.run(&["run", "--run", text(&folder), "--resume"]).succeeds();
    assert!(how(&ended.stderr), "{ended:?}");
    assert_same_results(&folder, &reference().folder);
    let report = json(&folder.join("report.json"));
    let runtimes: Vec<_> =
        report["latency"].as_array().unwrap().iter().map(|row| row["runtime"].clone()).collect();
    assert_eq!(runtimes, ["tract"]);
    assert_eq!(
        report["test_accuracy"],
        json(&reference().folder.join("report.json"))["test_accuracy"]
    );

    let model = folder.join("model.onnx");
    let model = text(&model);
    for args in [
        vec!["eval", model, "--dataset", "sample"],
        vec!["bench", model, "--min-time", "0.01", "--repeat", "1"],
    ] {
        let ended = bare.run(&args).succeeds();
        assert!(ended.stdout.contains("tract") && how(&ended.stderr), "{ended:?}");
        let wanted: Vec<&str> = args.iter().copied().chain(["--runtime", "ort"]).collect();
        bare.run(&wanted).refuses(&["no ONNX Runtime library", "pip install onnxruntime"]);
    }
    bare.run(&["predict", model, PICTURE]).succeeds();
}
