//! Metrics as event files, which TensorBoard shows.
//!
//! An event file is a sequence of records as TensorFlow frames them (`TFRecord`), each of which
//! holds a protobuf message `Event`. Field numbers are those of `event.proto` and `summary.proto`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use prost::Message;
use serde_json::{Map, Value};

use crate::{Result, TrainError, write_atomic};

/// What the first event of a file says.
const FILE_VERSION: &str = "brain.Event:2";

/// Something that happened at a moment of a run.
#[derive(Clone, PartialEq, prost::Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    /// Where TensorBoard draws it: the epoch.
    #[prost(int64, tag = "2")]
    step: i64,
    /// Only the first event of a file has one.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    /// All others have one.
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// What was measured.
#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// One number.
#[derive(Clone, PartialEq, prost::Message)]
struct Scalar {
    /// Name of its curve; what stands before a slash is a section of the page.
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional so that a 0 is written, too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The event file of a phase: an event for each of its lines in `metrics.jsonl`.
pub(crate) struct EventFile {
    path: PathBuf,
}

impl EventFile {
    /// Opens the file of a phase that has these lines. Where it has others, or is cut off, it is
    /// written anew.
    ///
    /// # Errors
    /// [`TrainError::File`] naming what could not be read or written.
    pub(crate) fn open<'a>(
        path: PathBuf,
        lines: impl IntoIterator<Item = &'a Map<String, Value>>,
    ) -> Result<Self> {
        let mut wanted = Vec::new();
        for line in lines {
            put_line(line, &mut wanted);
        }
        let fail = |action, path: &Path| {
            let path = path.to_owned();
            move |source| TrainError::File { action, path, source }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail("create", folder))?;
        }
        let found = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found.map_err(fail("read", &path))?,
        };
        // A file that is right is left as it is: a TensorBoard that shows it reads on in it, and
        // would not notice another in its place.
        if found != wanted {
            if wanted.is_empty() {
                fs::remove_file(&path).map_err(fail("delete", &path))?;
            } else {
                write_atomic(&path, &wanted)?;
            }
        }
        Ok(Self { path })
    }

    /// Adds the event of a line. After a kill in the middle of it the file ends in a part of a
    /// record, before which TensorBoard stops and which the next [`Self::open`] removes.
    ///
    /// # Errors
    /// [`TrainError::File`] naming the file.
    pub(crate) fn append(&self, line: &Map<String, Value>) -> Result<()> {
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let mut bytes = Vec::new();
            match file.metadata()?.len() {
                0 => put_line(line, &mut bytes),
                _ => put_record(&event(line), &mut bytes),
            }
            file.write_all(&bytes)
        };
        append().map_err(|source| TrainError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })
    }
}

/// Appends the event of a line, and before the first one what a file begins with.
fn put_line(line: &Map<String, Value>, bytes: &mut Vec<u8>) {
    let event = event(line);
    if bytes.is_empty() {
        // As old as the first line, so that the same lines always make the same file.
        let first = Event {
            wall_time: event.wall_time,
            file_version: Some(FILE_VERSION.to_owned()),
            ..Event::default()
        };
        put_record(&first, bytes);
    }
    put_record(&event, bytes);
}

/// Appends length, checksum of the length, message, checksum of the message; numbers have their
/// lowest byte first.
fn put_record(event: &Event, bytes: &mut Vec<u8>) {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    for part in [&length[..], &message] {
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(&masked_crc(part).to_le_bytes());
    }
}

/// TensorFlow's CRC-32C, changed so that the checksum of data which contains checksums is a good
/// one, too.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The numbers of a line, at its epoch and time. A line without a time is as old as 1970.
fn event(line: &Map<String, Value>) -> Event {
    let mut value = Vec::new();
    for (key, number) in line.iter().filter(|(key, _)| !["epoch", "time"].contains(&key.as_str())) {
        put_scalars(key, number, &mut value);
    }
    let wall_time = line.get("time").and_then(Value::as_f64).unwrap_or_default();
    let step = line.get("epoch").and_then(Value::as_i64).unwrap_or_default();
    Event { wall_time, step, file_version: None, summary: Some(Summary { value }) }
}

/// Appends a number, or those of an object under `tag/key`. Texts and lists are no curves.
fn put_scalars(tag: &str, value: &Value, scalars: &mut Vec<Scalar>) {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(is_true) => Some(f64::from(u8::from(*is_true))),
        Value::Object(entries) => {
            entries
                .iter()
                .for_each(|(key, value)| put_scalars(&format!("{tag}/{key}"), value, scalars));
            None
        }
        Value::Null | Value::String(_) | Value::Array(_) => None,
    };
    scalars.extend(
        number.map(|number| Scalar { tag: tag.to_owned(), simple_value: Some(number as f32) }),
    );
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// An event as it was read back: time, step, scalars by tag.
    pub(crate) type Read = (f64, i64, Vec<(String, f32)>);

    /// All events of a file but the first, whose version is checked, as is every checksum.
    pub(crate) fn read(path: &Path) -> Vec<Read> {
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut take = |count: usize| {
            let (taken, left) = rest.split_at(count);
            rest = left;
            taken
        };
        let mut events = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let mut part = |count: usize| {
                let part = take(count);
                assert_eq!(
                    take(4),
                    masked_crc(part).to_le_bytes(),
                    "checksum of {count} bytes at {at}"
                );
                at += count + 4;
                part
            };
            let length = u64::from_le_bytes(part(8).try_into().unwrap());
            events.push(Event::decode(part(length as usize)).unwrap());
        }
        let first = events.remove(0);
        assert_eq!((first.file_version.as_deref(), first.summary), (Some(FILE_VERSION), None));
        let plain = |event: Event| {
            let scalars = event
                .summary
                .unwrap()
                .value
                .into_iter()
                .map(|scalar| (scalar.tag, scalar.simple_value.unwrap()));
            (event.wall_time, event.step, scalars.collect())
        };
        events.into_iter().map(plain).collect()
    }

    fn line(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_checksum_is_that_of_tensorflow() {
        // The length of the first record, 24 bytes, and its checksum, as in every file that
        // TensorFlow wrote.
        assert_eq!(masked_crc(&24_u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn numbers_and_truths_are_curves_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("search").join("events");
        let metrics = json!({
            "phase": "search", "epoch": 7, "time": 1e9 + 0.25, "loss": 0.0, "planned_bytes": 4096,
            "settled": false, "stable": true,
            "operation_shares": {"identity": 0.5, "pools": {"max": -2}},
            "history": [1, 2], "nothing": null,
        });
        EventFile::open(path.clone(), []).unwrap().append(&line(metrics)).unwrap();
        let mut events = read(&path);
        events[0].2.sort_by(|a, b| a.0.cmp(&b.0));
        let scalars = [
            ("loss", 0.0),
            ("operation_shares/identity", 0.5),
            ("operation_shares/pools/max", -2.0),
            ("planned_bytes", 4096.0),
            ("settled", 0.0),
            ("stable", 1.0),
        ];
        assert_eq!(
            events,
            [(1e9 + 0.25, 7, scalars.map(|(tag, value)| (tag.to_owned(), value)).to_vec())]
        );
    }

    #[test]
    fn a_file_without_lines_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        EventFile::open(path.clone(), [])
            .unwrap()
            .append(&line(json!({"epoch": 0, "a": 1})))
            .unwrap();
        EventFile::open(path.clone(), []).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_right_stays_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let lines = [0, 1, 2].map(|epoch| line(json!({"epoch": epoch, "time": 9.5, "loss": 0.1})));
        let file = EventFile::open(path.clone(), []).unwrap();
        lines[..2].iter().for_each(|line| file.append(line).unwrap());
        let mut shown = fs::File::open(&path).unwrap();
        EventFile::open(path.clone(), &lines[..2]).unwrap().append(&lines[2]).unwrap();
        let mut seen = Vec::new();
        io::Read::read_to_end(&mut shown, &mut seen).unwrap();
        assert_eq!(seen, fs::read(&path).unwrap(), "who reads the file sees what is appended");
        assert_eq!(read(&path).iter().map(|(_, step, _)| *step).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn a_file_that_is_cut_off_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let lines = [0, 1].map(|epoch| line(json!({"epoch": epoch, "time": 9.5, "loss": 0.1})));
        EventFile::open(path.clone(), &lines).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            EventFile::open(path.clone(), &lines).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "cut off after {length} bytes");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let file = EventFile::open(path.clone(), []).unwrap();
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let error = file.append(&line(json!({"epoch": 0, "loss": 0.1}))).unwrap_err();
        let TrainError::File { action: "write", path: named, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*named, path);
        assert!(error.hint().unwrap().contains("free space"), "{error}");
    }

    /// Prints what TensorBoard's reader finds in the folder it is given: a JSON object of lists of
    /// [time, step, value] by tag.
    const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing import event_accumulator

every = {"scalars": 0, "tensors": 0}
accumulator = event_accumulator.EventAccumulator(sys.argv[1], size_guidance=every)
accumulator.Reload()
tags = accumulator.Tags()
assert accumulator.file_version == 2.0, accumulator.file_version
scalars = {tag: accumulator.Scalars(tag) for tag in tags["scalars"]}
scalars = {tag: [[e.wall_time, e.step, e.value] for e in scalars[tag]] for tag in scalars}
print(json.dumps(scalars))
"#;

    /// Needs TensorBoard, so it does nothing unless `ADWP_PYTHON` names an interpreter that has it;
    /// `ADWP_REQUIRE_ORT` insists, since what fetches ONNX Runtime fetches both.
    #[test]
    fn tensorboard_reads_what_was_written() {
        let Some(python) = std::env::var_os("ADWP_PYTHON") else {
            assert!(
                std::env::var_os("ADWP_REQUIRE_ORT").is_none(),
                "ADWP_PYTHON must name a Python that has the package tensorboard"
            );
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.out.tfevents.metrics");
        let lines = [0, 1, 2].map(|epoch| {
            let time = 1_764_000_000.25 + f64::from(epoch);
            let loss = 0.5 * f64::from(epoch);
            let shares = json!({"identity": 0.25});
            line(json!({
                "phase": "space", "epoch": epoch, "time": time, "loss": loss, "shares": shares
            }))
        });
        let file = EventFile::open(path.clone(), &lines[..1]).unwrap();
        file.append(&lines[1]).unwrap();
        file.append(&lines[2]).unwrap();
        // As a kill leaves it.
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();

        let output =
            std::process::Command::new(&python).arg("-c").arg(READER).arg(folder.path()).output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}", python.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (first, second) = (1_764_000_000.25, 1_764_000_001.25);
        let expected = json!({
            "loss": [[first, 0, 0.0], [second, 1, 0.5]],
            "shares/identity": [[first, 0, 0.25], [second, 1, 0.25]],
        });
        assert_eq!(found, expected);
    }
}
