//! Runs that search nothing: they train an architecture of the zoo, or one of a file.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use crate::folder::{contents, json};
use crate::program::{run, text};
use crate::recipe::{train_twice, transfer, write_images};
use crate::reference::{PICTURE, SETTINGS, copy_of_run, fresh, reference};
use crate::zoo::cost;

/// The command that trains an architecture, for an epoch.
fn retrain<'a>(what: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let start = ["--architecture", what, "--config", SETTINGS, "--set", "retrain.epochs=1"];
    [&["retrain"], &start[..], more].concat()
}

/// Trains `what` whole and in parts, compares, and finishes the run: the folder with the report,
/// the metadata of the file and the accuracy.
fn trained(what: &str, name: &str, more: &[&str], judge: impl Fn(&Path, &Value, &str)) {
    let holder = tempdir().unwrap();
    let (ended, folder) = train_twice(&holder, &retrain(what, more), |_| ());
    assert!(ended.stderr.contains(&format!("architecture: {what}, ")), "{ended:?}");
    let ended = run(["run", "--run", text(&folder), "--resume"]).succeeds();
    assert!(ended.stderr.contains("search: not needed"), "{ended:?}");
    let report = json(&folder.join("report.json"));
    assert_eq!(report["network"], name);
    let model = folder.join("model.onnx");
    let evaluated = run(["eval", text(&model), "--dataset", "sample", "--json"]).succeeds();
    assert!(evaluated.stdout.contains(&report["test_correct"].to_string()), "{evaluated:?}");
    assert_eq!(cost(text(&model), &[])["madds"], report["madds"], "{what}");
    let html = fs::read_to_string(folder.join("report.html")).unwrap();
    assert!(html.contains(&format!("{name} · ")), "{what}: the page does not name it");
    let file = fs::read(&model).unwrap();
    judge(&folder, &report, &String::from_utf8_lossy(&file));
}

#[test]
fn a_network_that_is_no_stack_of_cells_is_retrained() {
    trained(
        "zoo:mobilenet-v2",
        "mobilenet-v2",
        &["--set", "image_size=32"],
        |folder, report, file| {
            let stored: Value = json(&folder.join("architecture.json"));
            assert_eq!(
                (&stored["schema"], &stored["name"]),
                (&"adwp/architecture/1".into(), &"mobilenet-v2".into())
            );
            assert_eq!(report["genotype"], serde_json::json!({ "handmade": "mobilenet_v2" }));
            let recipe = report["recipe"].to_string();
            assert!(recipe.contains("dropout 0.2 before the classifier"), "{recipe}");
            assert!(
                !recipe.contains("auxiliary") && !recipe.contains("drop-path"),
                "it has neither: {recipe}"
            );
            assert!(
                file.contains("adwp.network") && file.contains("{\"handmade\":\"mobilenet_v2\"}")
            );
            assert!(!file.contains("adwp.genotype"));
            let sizes = ["--image", "1x32x32", "--classes", "10"];
            let counted = cost(text(&folder.join("architecture.json")), &sizes);
            assert_eq!(
                (&counted["params"], &counted["madds"]),
                (&report["params"], &report["madds"])
            );
        },
    );
}

#[test]
fn cells_of_a_wider_space_are_retrained() {
    let sizes =
        ["--set", "cells=3", "--set", "retrain.channels=2", "--set", "retrain.auxiliary=0.4"];
    trained("zoo:nasnet-a", "nasnet-a", &sizes, |_, report, file| {
        assert!(report["recipe"].to_string().contains("auxiliary loss 0.4"), "{report}");
        assert!(report["genotype"]["wide_cells"]["normal"].is_object());
        assert!(file.contains("adwp.architecture") && file.contains("cell0/node"));
    });
}

#[test]
fn cells_of_the_space_are_retrained_with_their_genotype() {
    let sizes = ["--set", "cells=3", "--set", "retrain.channels=2"];
    trained("zoo:gdas", "gdas", &sizes, |_, report, file| {
        let shown = run(["zoo", "show", "gdas", "--cells", "3"]).succeeds().json();
        assert_eq!(report["genotype"], shown);
        assert!(file.contains("adwp.genotype") && file.contains("adwp.network"));
    });
}

#[test]
fn sizes_are_the_published_ones_unless_something_else_is_said() {
    let (_holder, folder) = fresh();
    let stopped = |what: &str, more: &[&str]| {
        let args = ["retrain", "--architecture", what, "--run", text(&folder)];
        let brief = ["--max-minutes", "0.00001", "--set", "retrain.batch=4"];
        let ended = run(args.iter().chain(&brief).chain(more)).with_code(130);
        fs::remove_dir_all(&folder).unwrap();
        ended.stderr
    };
    assert!(stopped("zoo:darts-v2", &[]).contains("20 cells with 36 channels"));
    assert!(stopped("zoo:darts-v2", &["--set", "cells=5"]).contains("5 cells with 36 channels"));
    let bounds = ["--set", "cells=3", "--target-params", "20K", "--target-madds", "4M"];
    let said = stopped("zoo:darts-v2", &bounds);
    let channels: u64 = said
        .split("3 cells with ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap()
        .parse()
        .unwrap();
    let fits = |channels: u64| {
        let channels = channels.to_string();
        let sizes =
            ["--cells", "3", "--image", "1x28x28", "--classes", "10", "--channels", &channels];
        let cost = cost("zoo:darts-v2", &sizes);
        cost["params"].as_u64().unwrap() <= 20_000 && cost["madds"].as_u64().unwrap() <= 4_000_000
    };
    assert!(fits(channels) && !fits(channels + 1), "{channels}");
    // What a file holds has its own number of cells.
    let genotype = reference().folder.join("genotype.json");
    assert!(stopped(text(&genotype), &[]).contains("3 cells with "));
}

#[test]
fn sizes_that_a_genotype_is_counted_with_are_said() {
    let genotype = reference().folder.join("genotype.json");
    let cost = ["cost", text(&genotype)];
    let said = run(cost).succeeds().stderr;
    assert!(said.contains("36 channels, images of 3x32x32 and 10 classes"), "{said}");
    let sizes = ["--channels", "2", "--image", "1x28x28", "--classes", "10"];
    let given = run([&cost[..], &sizes].concat()).succeeds();
    assert!(!given.stderr.contains("no sizes of its own"), "{given:?}");
}

#[test]
fn a_run_with_a_named_architecture_is_one_to_start_from() {
    let holder = tempdir().unwrap();
    let (first, second, data) =
        (holder.path().join("first"), holder.path().join("second"), holder.path().join("data"));
    // One of the user's own: a form of the zoo's with other numbers.
    let own = holder.path().join("mine.json");
    let architecture = r#"{ "densenet_bc": { "depth": 10, "growth": 4 } }"#;
    let named = format!(
        r#"{{ "schema": "adwp/architecture/1", "name": "dense",
            "architecture": {{ "handmade": {architecture} }} }}"#
    );
    fs::write(&own, named).unwrap();
    run(["cost", text(&own), "--channels", "4"]).refuses(&["dense", "no stack of cells"]);
    run(retrain(text(&own), &["--run", text(&first)])).succeeds();
    write_images(&data, 4);
    let flags = ["--fine-tune", "--set", "image_size=16", "--run", text(&second)];
    let ended = run(transfer(&first, &data, &flags)).succeeds();
    assert!(
        ended.stderr.contains("the architecture dense (")
            && ended.stderr.contains("classifier/linear/weight"),
        "{ended:?}"
    );
    run(["export", "--run", text(&second)]).succeeds();
    run(["predict", text(&second.join("model.onnx")), PICTURE]).succeeds();
}

#[test]
fn what_cannot_be_trained_is_told_before_anything_is_written() {
    let (holder, folder) = fresh();
    let refuse = |what: &str, more: &[&str], culprits: &[&str]| {
        run(retrain(what, more).into_iter().chain(["--run", text(&folder)])).refuses(culprits);
        assert!(!folder.exists(), "{what} {more:?} left a folder");
    };
    refuse("zoo:gdos", &[], &["gdos", "gdas", "adwp zoo list"]);
    refuse("absent.json", &[], &["absent.json is no file", "adwp zoo list"]);
    refuse("zoo:mobilenet-v2", &[], &["28×28", "at least 32"]);
    let large = ["--set", "image_size=32"];
    for (setting, culprit) in [
        ("retrain.auxiliary=0.4", "no auxiliary classifier"),
        ("retrain.drop_path=0.2", "no operation that could be dropped"),
        ("retrain.dropout=1.0", "dropout = 1"),
    ] {
        refuse("zoo:mobilenet-v1", &[&large[..], &["--set", setting]].concat(), &[culprit]);
    }
    refuse(
        "zoo:mobilenet-v1",
        &[&large[..], &["--target-params", "1000"]].concat(),
        &["even with 1 thousandths of its width"],
    );
    refuse(
        "zoo:mobilenet-v1",
        &[&large[..], &["--target-params", "1M", "--set", "retrain.width=0.5"]].concat(),
        &["retrain.width", "--target-params"],
    );
    refuse("zoo:gdas", &["--set", "retrain.width=0.5"], &["retrain.width", "no stack of cells"]);
    refuse("zoo:mobilenet-v1", &["--set", "retrain.width=0"], &["a width is from"]);
    refuse("zoo:gdas", &["--target-params", "10"], &["even with 1 channels"]);
    refuse(
        "zoo:gdas",
        &["--target-params", "1M", "--set", "retrain.channels=4"],
        &["retrain.channels", "--target-params"],
    );
    refuse("zoo:gdas", &["--max-params", "1M"], &["limits are for a search", "--target-params"]);
    refuse("zoo:gdas", &["--from", text(&reference().folder)], &["--architecture", "--from"]);
    run(["retrain", "--architecture", "zoo:gdas"]).refuses(&["--run"]);
    run(["retrain", "--target-params", "1M", "--run", text(&folder)]).refuses(&["--architecture"]);
    let broken = holder.path().join("broken.json");
    let unknown = r#"{ "schema": "adwp/architecture/1", "name": "x",
        "architecture": { "handmade": "mobilenet_v0" } }"#;
    fs::write(&broken, unknown).unwrap();
    refuse(text(&broken), &[], &["broken.json", "mobilenet_v0"]);
    fs::write(&broken, "{}").unwrap();
    refuse(text(&broken), &[], &["broken.json", "schema"]);
}

#[test]
fn a_run_has_one_architecture() {
    let (_holder, folder) = copy_of_run();
    let before = contents(&folder);
    let start = ["retrain", "--architecture", "zoo:mobilenet-v2", "--run", text(&folder)];
    run(start).refuses(&["holds a run already", "--resume"]);
    // With the cells of the run, since those of the zoo would be reported as another configuration.
    let resume = ["retrain", "--architecture", "zoo:gdas", "--run", text(&folder), "--resume"];
    run(resume).refuses(&[text(&folder.join("genotype.json")), "--architecture"]);
    assert!(contents(&folder) == before);

    let named = folder.with_file_name("named");
    let cells = ["--set", "cells=3", "--set", "retrain.channels=2", "--run", text(&named)];
    run(retrain("zoo:gdas", &cells)).succeeds();
    run(["search", "--run", text(&named)])
        .refuses(&["has an architecture already", "architecture.json"]);
    run(["retrain", "--architecture", "zoo:pnas", "--run", text(&named), "--resume"])
        .refuses(&["architecture.json", "--architecture"]);
    fs::copy(folder.join("genotype.json"), named.join("genotype.json")).unwrap();
    run(["retrain", "--run", text(&named), "--resume"]).refuses(&[
        "two architectures",
        "genotype.json",
        "architecture.json",
    ]);
}
