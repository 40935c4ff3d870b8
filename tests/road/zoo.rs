//! Published architectures: listed, shown, counted, retrained.

use std::fs;

use serde_json::Value;
use tempfile::tempdir;

use crate::program::{run, text};
use crate::reference::{SETTINGS, reference};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// The flags of a network for ImageNet in the mobile setting.
const IMAGENET: [&str; 6] = ["--stem", "imagenet", "--image", "3x224x224", "--classes", "1000"];

fn listed() -> Vec<Value> {
    run(["zoo", "list", "--json"]).succeeds().json().as_array().unwrap().clone()
}

#[test]
fn the_list_counts_what_cost_counts() {
    let printed = run(["zoo", "list"]).succeeds();
    let entries = listed();
    assert_eq!(printed.stdout.lines().count(), 1 + entries.len(), "{printed:?}");
    assert!(printed.stderr.contains("as reported"), "{printed:?}");
    assert!(run(["zoo", "list", "--quiet"]).succeeds().stderr.is_empty());
    for (entry, line) in entries.iter().zip(printed.stdout.lines().skip(1)) {
        let name = entry["name"].as_str().unwrap();
        let channels = entry["imagenet"]["channels"].to_string();
        let cost = ["cost", &format!("zoo:{name}"), "--json", "--channels", &channels].map(str::to_owned);
        let cost = run(cost.into_iter().chain(IMAGENET.map(str::to_owned))).succeeds().json();
        let counted = &entry["counted"]["imagenet"];
        assert_eq!((&cost["params"], &cost["madds"]), (&counted["params"], &counted["madds"]), "{name}");
        let millions = format!("{:.1} ({})", counted["madds"].as_f64().unwrap() / 1e6, entry["imagenet"]["reported_madds_m"]);
        assert!(line.starts_with(name) && line.contains(&millions.replace(".0)", ")")), "{millions} is not in {line}");
    }
}

#[test]
fn what_is_shown_is_a_genotype() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("genotype.json");
    let shown = run(["zoo", "show", "darts-v2", "--cells", "14"]).succeeds();
    for word in ["Hanxiao Liu", "arXiv:1806.09055", "quark0/darts", "574M"] {
        assert!(shown.stderr.contains(word), "{word} is not in\n{}", shown.stderr);
    }
    fs::write(&file, &shown.stdout).unwrap();
    let cost = |what: &str| run(["cost", what, "--json", "--channels", "48"].into_iter().chain(IMAGENET)).succeeds().json();
    assert_eq!(cost(text(&file)), cost("zoo:darts-v2"), "14 cells are what it was published with");
    assert_eq!(cost(text(&file))["madds"], 529_911_552);

    let all = run(["zoo", "show", "darts-v2", "--cells", "14", "--json"]).succeeds();
    assert!(all.stderr.is_empty(), "{all:?}");
    assert_eq!(all.json()["genotype"], shown.json());
    assert_eq!(all.json()["citation"]["year"], 2019);
    let cells = |name: &str| run(["zoo", "show", name, "--quiet"]).succeeds().json()["cells"].as_array().unwrap().len();
    assert_eq!((cells("darts-v2"), cells("pc-darts-imagenet")), (20, 14), "those of CIFAR-10 where there are any");
}

#[test]
fn cells_and_layers_can_be_asked_for() {
    let cost = |cells: &str| run(["cost", "zoo:p-darts", "--cells", cells, "--layers", "--json"]).succeeds().json();
    let (small, large) = (cost("8"), cost("20"));
    assert!(small["layers"].as_array().unwrap().len() < large["layers"].as_array().unwrap().len());
    assert_eq!(large["params"], 3_433_798, "the default sizes are those of CIFAR-10");
    assert_eq!(large["params"], run(["cost", "zoo:p-darts", "--json"]).succeeds().json()["params"]);
}

#[test]
fn a_published_architecture_is_retrained() {
    let folder = tempdir().unwrap();
    let run_folder = folder.path().join("run");
    fs::create_dir(&run_folder).unwrap();
    let shown = run(["zoo", "show", "gdas", "--cells", "3"]).succeeds();
    fs::write(run_folder.join("genotype.json"), shown.stdout).unwrap();
    run(["retrain", "--config", SETTINGS, "--run", text(&run_folder)]).succeeds();
    assert!(run_folder.join("weights.safetensors").exists());
}

#[test]
fn wrong_names_and_sizes_are_told() {
    for command in [["zoo", "show", "darts-v3"], ["cost", "zoo:darts-v3", "--json"]] {
        run(command).refuses(&["darts-v3", "darts-v1, darts-v2", "adwp zoo list"]);
    }
    run(["cost", "zoo:"]).refuses(&["\"\"", "adwp zoo list"]);
    run(["zoo", "show", "gdas", "--cells", "2"]).refuses(&["at least 3 cells"]);
    run(["zoo", "show", "gdas", "--cells", "99999999"]).refuses(&["99999999", "at most"]);
    run(["cost", "zoo:pc-darts-imagenet"]).refuses(&["pc-darts-imagenet", "CIFAR-10", "--cells N"]);
    run(["cost", "zoo:gdas", "--image", "3x30x30"]).refuses(&["30×30"]);
    let genotype = reference().folder.join("genotype.json");
    run(["cost", text(&genotype), "--cells", "8"]).refuses(&[text(&genotype), "--cells", "zoo:"]);
    for both in [["zoo", "list", "--markdown", "--json"], ["--json", "zoo", "list", "--markdown"]] {
        run(both).refuses(&["--markdown", "--json"]);
    }
}

#[test]
fn the_readme_has_the_table() {
    let readme = fs::read_to_string(README).unwrap();
    let (_, rest) = readme.split_once("<!-- zoo begins -->\n").expect("the first marker");
    let (table, _) = rest.split_once("<!-- zoo ends -->\n").expect("the second marker");
    let fresh = run(["zoo", "list", "--markdown"]).succeeds().stdout;
    assert_eq!(table.trim(), fresh.trim(), "README.md is stale: put the output of `adwp zoo list --markdown` between its markers");
}
