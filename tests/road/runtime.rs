//! With and without the ONNX Runtime library.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::{TempDir, tempdir};

use crate::folder::{assert_same_results, copy, delete, json};
use crate::program::{Ended, adwp, end, run, text};
use crate::reference::{PICTURE, SETTINGS, reference};

#[test]
fn doctor_tells_the_library_or_how_to_get_one() {
    let found = run(["doctor", "--json"]).succeeds().json();
    let unset = end(adwp().arg("doctor").env_remove("ORT_DYLIB_PATH")).succeeds();
    assert!(unset.stdout.contains("ONNX Runtime"), "{unset:?}");
    let mut named = adwp();
    let wrong = end(named.arg("doctor").env("ORT_DYLIB_PATH", "/nonexistent")).with_code(2);
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
    // Under a name that says nothing of its version, or something else.
    let (holder, version) = (tempdir().unwrap(), &found["onnx_runtime"]["version"]);
    for name in ["runtime.so", "libonnxruntime.so.9.8.7"] {
        let copied = holder.path().join(name);
        fs::copy(library, &copied).unwrap();
        let stated = run(["doctor", "--json", "--ort-lib", text(&copied)]).succeeds().json();
        assert_eq!(&stated["onnx_runtime"]["version"], version, "{name}");
    }
}

#[test]
fn a_library_that_is_none_is_refused_before_anything_is_computed() {
    let holder = tempdir().unwrap();
    let (folder, library) = (holder.path().join("run"), holder.path().join("libonnxruntime.so"));
    fs::write(&library, "no library").unwrap();
    let run_it = ["run", "--config", SETTINGS, "--run", text(&folder)];
    let words = [text(&library), "cannot be loaded as ONNX Runtime", "pip install onnxruntime"];
    run(run_it.iter().chain(&["--ort-lib", text(&library)])).refuses(&words);
    end(adwp().args(run_it).env("ORT_DYLIB_PATH", &library)).refuses(&words);
    assert!(!folder.exists());
    let named = ["--ort-lib", text(&library)];
    let doctor = run(["doctor"].iter().chain(&named)).with_code(2);
    assert!(doctor.stdout.contains("cannot be loaded") && doctor.stderr.contains(words[0]));
    let doctor = run(["doctor", "--json"].iter().chain(&named)).with_code(2).json();
    assert!(doctor["onnx_runtime"].is_null(), "{doctor}");
    assert!(doctor["onnx_runtime_error"].as_str().unwrap().contains(words[1]), "{doctor}");
    // Steps that train run no file.
    let space = ["space", "--config", SETTINGS, "--run", text(&folder), "--ort-lib"];
    let Some(real) =
        run(["doctor", "--json"]).json()["onnx_runtime"]["path"].as_str().map(str::to_owned)
    else {
        return;
    };
    run(space.iter().copied().chain([&*real])).refuses(&["--ort-lib has no effect"]);
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
