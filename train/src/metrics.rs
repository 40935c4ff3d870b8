use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::tensorboard::EventFile;
use crate::{Result, RunDir, TrainError, read_text, write_atomic};

/// `metrics.jsonl`: one JSON object a line, one line an epoch. What a phase writes there also goes
/// into its event file for TensorBoard.
pub(crate) struct Metrics {
    path: PathBuf,
    events: EventFile,
}

impl Metrics {
    /// Opens the files for a phase that starts or continues at `epoch`: lines of that phase from
    /// there on are dropped, they will be written again.
    pub(crate) fn open(run: &RunDir, phase: &str, epoch: usize) -> Result<Self> {
        let path = run.metrics();
        let text = if path.exists() { read_text(&path)? } else { String::new() };
        let is_own = |line: &Map<String, Value>| line.get("phase") == Some(&phase.into());
        let is_before = |line: &Map<String, Value>| {
            line.get("epoch").and_then(Value::as_u64).is_some_and(|e| e < epoch as u64)
        };
        let kept: Vec<(&str, Map<String, Value>)> = text
            .lines()
            // A line cut off by a kill is none.
            .filter_map(|text| Some((text, serde_json::from_str(text).ok()?)))
            .filter(|(_, line)| !is_own(line) || is_before(line))
            .collect();
        let wanted: String = kept.iter().flat_map(|(text, _)| [text, "\n"]).collect();
        if wanted != text {
            write_atomic(&path, wanted.as_bytes())?;
        }
        let own = kept.iter().map(|(_, line)| line).filter(|line| is_own(line));
        Ok(Self { events: EventFile::open(run.events(phase), own)?, path })
    }

    /// Adds the line of an epoch.
    pub(crate) fn append(&self, line: &Map<String, Value>) -> Result<()> {
        let text = serde_json::to_string(line).expect("a JSON object prints") + "\n";
        let append = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.path)?
                .write_all(text.as_bytes())
        };
        append().map_err(|source| TrainError::File {
            action: "write",
            path: self.path.clone(),
            source,
        })?;
        self.events.append(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensorboard::tests::read;
    use serde_json::json;

    fn line(phase: &str, epoch: usize, loss: f64) -> Map<String, Value> {
        json!({"phase": phase, "epoch": epoch, "time": 1e9 + 0.1 * epoch as f64, "loss": loss})
            .as_object()
            .unwrap()
            .clone()
    }

    /// Epochs and losses of a phase: those of `metrics.jsonl`, once they are known to be those of
    /// the event file.
    fn losses(run: &RunDir, phase: &str) -> Vec<(u64, f64)> {
        let text = read_text(&run.metrics()).unwrap();
        let lines =
            text.lines().map(|text| serde_json::from_str::<Map<String, Value>>(text).unwrap());
        let own: Vec<_> = lines.filter(|line| line["phase"] == phase).collect();
        let of_line = |line: &Map<String, Value>| {
            (
                line["time"].as_f64().unwrap(),
                line["epoch"].as_i64().unwrap(),
                vec![("loss".into(), line["loss"].as_f64().unwrap() as f32)],
            )
        };
        assert_eq!(read(&run.events(phase)), own.iter().map(of_line).collect::<Vec<_>>());
        own.iter()
            .map(|line| (line["epoch"].as_u64().unwrap(), line["loss"].as_f64().unwrap()))
            .collect()
    }

    #[test]
    fn a_phase_that_continues_drops_the_later_epochs_of_its_own_in_both_files() {
        let holder = tempfile::tempdir().unwrap();
        let run = RunDir::create(holder.path()).unwrap();
        let space = Metrics::open(&run, "space", 0).unwrap();
        (0..4).for_each(|epoch| space.append(&line("space", epoch, 1.0)).unwrap());
        let search = Metrics::open(&run, "search", 0).unwrap();
        (0..2).for_each(|epoch| search.append(&line("search", epoch, 2.0)).unwrap());

        let space = Metrics::open(&run, "space", 2).unwrap();
        assert_eq!(losses(&run, "space"), [(0, 1.0), (1, 1.0)]);
        space.append(&line("space", 2, 3.0)).unwrap();
        assert_eq!(losses(&run, "space"), [(0, 1.0), (1, 1.0), (2, 3.0)]);
        assert_eq!(losses(&run, "search"), [(0, 2.0), (1, 2.0)]);

        let space = Metrics::open(&run, "space", 0).unwrap();
        assert!(!run.events("space").exists(), "a phase that starts afresh has no epoch yet");
        space.append(&line("space", 0, 4.0)).unwrap();
        assert_eq!(losses(&run, "space"), [(0, 4.0)]);
    }

    #[test]
    fn a_line_that_is_cut_off_is_in_neither_file() {
        let holder = tempfile::tempdir().unwrap();
        let run = RunDir::create(holder.path()).unwrap();
        let space = Metrics::open(&run, "space", 0).unwrap();
        (0..2).for_each(|epoch| space.append(&line("space", epoch, 1.0)).unwrap());
        let text = read_text(&run.metrics()).unwrap();
        write_atomic(&run.metrics(), &text.as_bytes()[..text.len() - 5]).unwrap();
        Metrics::open(&run, "space", 2).unwrap();
        assert_eq!(losses(&run, "space"), [(0, 1.0)]);
    }
}
