//! Folders of runs: what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value};

/// The files in which two runs of the same settings are equal, byte by byte.
pub(crate) const RESULTS: [&str; 4] =
    ["space.json", "genotype.json", "weights.safetensors", "model.onnx"];

/// Every file below a folder with its content.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder)
        .into_iter()
        .map(|path| (path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect()
}

/// Every file below a folder with the time of its last change.
pub(crate) fn times(folder: &Path) -> BTreeMap<PathBuf, SystemTime> {
    files(folder)
        .into_iter()
        .map(|path| (path.clone(), fs::metadata(&path).unwrap().modified().unwrap()))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Copies a folder with everything below it.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (name, bytes) in contents(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Deletes files of a run.
pub(crate) fn delete(folder: &Path, names: &[&str]) {
    for name in names {
        fs::remove_file(folder.join(name)).unwrap();
    }
}

/// Two runs gave the same results.
#[track_caller]
pub(crate) fn assert_same_results(a: &Path, b: &Path) {
    for name in RESULTS {
        assert!(
            fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(),
            "{name} differs"
        );
    }
}

/// What a file of JSON says, without its checksum.
pub(crate) fn json(path: &Path) -> Value {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    value.as_object_mut().and_then(|object| object.remove("checksum"));
    value
}

/// The text of a file of JSON without its checksum, as a person would change it.
pub(crate) fn by_hand(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let (rest, _) = text.rsplit_once(",\n  \"checksum\"").unwrap();
    format!("{rest}\n}}\n")
}

/// The lines of `metrics.jsonl`, without their checksums.
pub(crate) fn metrics(folder: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let line = |text: &str| {
        let mut line: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert!(line.remove("checksum").is_some_and(|checksum| checksum.is_string()), "{text}");
        line
    };
    text.lines().map(line).collect()
}

/// How far the checkpoint of a phase is: epoch and step; none without one.
pub(crate) fn progress(folder: &Path, phase: &str) -> Option<(u64, u64)> {
    let values = stored(&folder.join("checkpoints").join(format!("{phase}.safetensors")))?;
    Some((values["epoch"].as_u64().unwrap(), values["step"].as_u64().unwrap()))
}

/// What a file of weights says of itself; none where there is no such file.
pub(crate) fn stored(weights: &Path) -> Option<Value> {
    let bytes = fs::read(weights).ok()?;
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let header: Value =
        serde_json::from_slice(&rest[..u64::from_le_bytes(*length) as usize]).unwrap();
    Some(serde_json::from_str(header["__metadata__"]["adwp"].as_str().unwrap()).unwrap())
}
