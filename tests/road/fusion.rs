//! With `--no-fuse` the engine computes every operation on its own, and finds the same up to
//! rounding.

use crate::folder::{delete, json, metrics};
use crate::program::{run, text};
use crate::reference::{PICTURE, SETTINGS, copy_of_run, fresh, reference};

#[test]
fn a_run_without_fusion_goes_to_its_end_and_starts_with_the_same_losses() {
    let (_holder, folder) = fresh();
    let ended = run(["run", "--config", SETTINGS, "--run", text(&folder), "--no-fuse"]).succeeds();
    assert!(
        ended.stderr.contains("not fused") && !reference().ended.stderr.contains("not fused"),
        "{ended:?}"
    );
    assert!(folder.join("report.html").exists());
    // Later epochs may go ways of their own: a difference in the last bit can make another choice
    // of the search.
    let first =
        |line: &serde_json::Map<String, serde_json::Value>| line["train_loss"].as_f64().unwrap();
    let (with, without) = (first(&metrics(&reference().folder)[0]), first(&metrics(&folder)[0]));
    assert!((with - without).abs() < 1e-2 * with, "{with} with fusion, {without} without");
}

#[test]
fn a_network_classifies_alike_without_fusion() {
    let (_holder, folder) = copy_of_run();
    delete(&folder, &["model.onnx", "verification.json"]);
    // It compares the engine's logits with those of candle and the runtimes.
    run(["export", "--run", text(&folder), "--no-fuse"]).succeeds();
    let correct = |folder: &std::path::Path| {
        json(&folder.join("verification.json"))["correct"].as_u64().unwrap()
    };
    let (with, without) = (correct(&reference().folder), correct(&folder));
    assert!(with.abs_diff(without) <= 1, "{with} right with fusion, {without} without");
}

#[test]
fn every_step_of_a_run_takes_the_flag() {
    let (_holder, folder) = copy_of_run();
    for step in ["space", "search", "retrain", "export"] {
        run([step, "--run", text(&folder), "--resume", "--no-fuse"]).succeeds();
    }
}

#[test]
fn commands_that_do_not_use_the_engine_do_not_take_the_flag() {
    let model = reference().folder.join("model.onnx");
    let model = text(&model);
    let folder = text(&reference().folder);
    for args in [
        vec!["bench", model],
        vec!["eval", model, "--dataset", "sample"],
        vec!["predict", model, PICTURE],
        vec!["cost", model],
        vec!["report", folder],
        vec!["doctor"],
    ] {
        run(args.iter().chain(&["--no-fuse"])).refuses(&["--no-fuse"]);
    }
}
