//! Who may use whom: the table of ARCHITECTURE.md, held against the manifests; and no circles of
//! files within a room.

mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use toml::{Table, Value};

/// Names of rooms by room.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The names between backquotes.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows `` | `room` | `used`, `used` | `` of the table under "Who may use whom".
fn allowed(architecture: &str) -> Uses {
    let (_, section) = architecture.split_once("\n## Who may use whom\n").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let used = names(cells[2]);
        names(cells[1]).into_iter().map(move |room| (room, used.clone()))
    })
    .collect()
}

/// A room goes by the name of its folder.
fn room(folder: &str) -> String {
    folder.rsplit('/').next().unwrap_or(folder).to_owned()
}

/// The rooms that a manifest, or a part of it, uses; its tests may use more. `packages` has the
/// folders of those packages that the workspace names.
fn dependencies(manifest: &Table, packages: &Table, used: &mut BTreeSet<String>) {
    for (key, value) in manifest {
        match value.as_table() {
            Some(table) if matches!(key.as_str(), "dependencies" | "build-dependencies") => {
                let rooms = table.keys().filter_map(|name| {
                    let folder = packages.get(name).and_then(|package| package.get("path"));
                    folder.and_then(Value::as_str).or_else(|| name.strip_prefix("adwp-"))
                });
                used.extend(rooms.map(room));
            }
            Some(table) => dependencies(table, packages, used),
            None => {}
        }
    }
}

/// What every room of the workspace uses.
fn used(workspace: &str, manifest: impl Fn(&str) -> String) -> Uses {
    let workspace: Table = workspace.parse().expect("a manifest");
    let workspace = workspace["workspace"].as_table().expect("a table");
    let members = workspace["members"].as_array().expect("a list of members");
    let packages = workspace.get("dependencies").and_then(Value::as_table).expect("a table");
    let rooms = members.iter().filter_map(Value::as_str).map(|folder| {
        let text = manifest(&format!("{folder}/Cargo.toml"));
        let manifest: Table = text.parse().unwrap_or_else(|e| panic!("{folder}: {e}"));
        let mut used = BTreeSet::new();
        dependencies(&manifest, packages, &mut used);
        (room(folder), used)
    });
    rooms.collect()
}

/// What is used and not allowed, and rooms that only one side knows.
fn offences(allowed: &Uses, used: &Uses) -> Vec<String> {
    let none = BTreeSet::new();
    let mut offences = Vec::new();
    for (room, uses) in used {
        if !allowed.contains_key(room) {
            offences.push(format!("`{room}` has no row"));
        }
        let allowed = allowed.get(room).unwrap_or(&none);
        offences.extend(uses.difference(allowed).map(|other| format!("`{room}` uses `{other}`")));
    }
    let gone = allowed.keys().filter(|room| !used.contains_key(*room));
    offences.extend(gone.map(|room| format!("there is no room `{room}`")));
    offences
}

#[test]
fn no_room_uses_one_that_it_may_not() {
    let (allowed, used) = (allowed(&read("ARCHITECTURE.md")), used(&read("Cargo.toml"), read));
    assert!(used.len() > 10 && used["cli"].contains("engine"), "{used:?}");
    assert_eq!(offences(&allowed, &used), [""; 0], "ARCHITECTURE.md, Who may use whom");
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let workspace: Table = read("Cargo.toml").parse().expect("a manifest");
    let members = workspace["workspace"]["members"].as_array().expect("a list of members");
    let (mut seen, mut all) = (0, Vec::new());
    for folder in members.iter().filter_map(Value::as_str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
        let found = circles::of_room(&path);
        all.extend(found.into_iter().map(|circle| format!("{folder}: {circle}")));
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
    assert_eq!(all, [""; 0], "a type or function of them belongs where all of them may look");
}

#[test]
fn what_is_not_allowed_is_found_in_every_part_of_a_manifest() {
    let text = "# A\n\n## Who may use whom\n\n| room | may use |\n|---|---|\n| `a`, `b` | `c` |\n\
                | `c` | – |\n| `d` | `a` |\n\n## B\n\n| `e` | `a` |\n";
    let workspace = "[workspace]\nmembers = [\"a\", \"a/b\", \"c\"]\n\
                     [workspace.dependencies]\nadwp-sea = { path = \"c\" }\n";
    let manifest = |path: &str| {
        let text = match path {
            "a/Cargo.toml" => "[dependencies]\nadwp-sea.workspace = true\n",
            "a/b/Cargo.toml" => {
                "[dev-dependencies]\nadwp-z = \"1\"\n\
                 [target.'cfg(unix)'.dependencies]\nadwp-a = \"1\"\n"
            }
            _ => "[build-dependencies]\nadwp-a = { path = \"../a\" }\nserde = \"1\"\n",
        };
        text.to_owned()
    };
    let found = offences(&allowed(text), &used(workspace, manifest));
    assert_eq!(found, ["`b` uses `a`", "`c` uses `a`", "there is no room `d`"]);
}
