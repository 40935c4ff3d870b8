use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use adwp_base::{JsonLine, JsonLines, read_json_lines, to_json_line};
use serde_json::{Map, Value};

use crate::tensorboard::EventFile;
use crate::{Result, RunDir, TrainError, write_atomic};

/// The lines of `metrics.jsonl`, without their checksums; none where there is no file. What a kill
/// has left of a line is none: the phase that continues writes it again.
///
/// # Errors
/// [`TrainError::File`], and [`TrainError::Damaged`] naming the line.
pub fn read_metrics(run: &RunDir) -> Result<Vec<Map<String, Value>>> {
    Ok(lines(&run.metrics())?.0.into_iter().map(|(_, line)| line).collect())
}

/// A line as it stands in the file, and what it says.
type Line = (String, Map<String, Value>);

/// The lines of a file, and whether nothing else is in it.
fn lines(path: &Path) -> Result<(Vec<Line>, bool)> {
    if !path.exists() {
        return Ok((Vec::new(), true));
    }
    let JsonLines { lines, is_whole } = read_json_lines(path)?;
    let object = |(number, line): (usize, JsonLine)| match line.value {
        Value::Object(object) => Ok((line.text, object)),
        other => {
            let reason = format!("line {}: {other} is no object", number + 1);
            Err(TrainError::Damaged { path: path.to_owned(), reason })
        }
    };
    let lines = lines.into_iter().enumerate().map(object).collect::<Result<_>>()?;
    Ok((lines, is_whole))
}

/// `metrics.jsonl`: one JSON object a line, one line an epoch, each with a checksum. What a phase
/// writes there also goes into its event file for TensorBoard.
pub(crate) struct Metrics {
    path: PathBuf,
    events: EventFile,
}

impl Metrics {
    /// Opens the files for a phase that starts or continues at `epoch`: lines of that phase from
    /// there on are dropped, they will be written again.
    pub(crate) fn open(run: &RunDir, phase: &str, epoch: usize) -> Result<Self> {
        let path = run.metrics();
        let (lines, is_whole) = lines(&path)?;
        let is_own = |line: &Map<String, Value>| line.get("phase") == Some(&phase.into());
        let is_before = |line: &Map<String, Value>| {
            line.get("epoch").and_then(Value::as_u64).is_some_and(|e| e < epoch as u64)
        };
        let found = lines.len();
        let kept: Vec<Line> =
            lines.into_iter().filter(|(_, line)| !is_own(line) || is_before(line)).collect();
        if kept.len() < found || !is_whole {
            let wanted: String = kept.iter().flat_map(|(text, _)| [text, "\n"]).collect();
            write_atomic(&path, wanted.as_bytes())?;
        }
        let own = kept.iter().map(|(_, line)| line).filter(|line| is_own(line));
        Ok(Self { events: EventFile::open(run.events(phase), own)?, path })
    }

    /// Adds the line of an epoch.
    pub(crate) fn append(&self, line: &Map<String, Value>) -> Result<()> {
        let text = to_json_line(line);
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
    use crate::read_text;
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
    #[test]
    fn a_line_that_is_damaged_is_named_and_stays() {
        let holder = tempfile::tempdir().unwrap();
        let run = RunDir::create(holder.path()).unwrap();
        let space = Metrics::open(&run, "space", 0).unwrap();
        (0..3).for_each(|epoch| space.append(&line("space", epoch, 1.5)).unwrap());
        let whole = read_text(&run.metrics()).unwrap();
        let second = whole.match_indices("1.5").nth(1).unwrap().0;
        let damaged = format!("{}7{}", &whole[..second], &whole[second + 1..]);
        write_atomic(&run.metrics(), damaged.as_bytes()).unwrap();
        for refused in [
            read_metrics(&run).unwrap_err(),
            Metrics::open(&run, "space", 3).err().unwrap(),
            Metrics::open(&run, "search", 0).err().unwrap(),
        ] {
            let message = refused.to_string();
            assert!(message.contains("metrics.jsonl") && message.contains("line 2: "), "{message}");
        }
        assert_eq!(read_text(&run.metrics()).unwrap(), damaged);
        // What an older version has written is read, and what follows is checked.
        let old = "{\"epoch\":0,\"loss\":2.0,\"phase\":\"space\",\"time\":1e9}\n";
        write_atomic(&run.metrics(), old.as_bytes()).unwrap();
        let space = Metrics::open(&run, "space", 1).unwrap();
        space.append(&line("space", 1, 1.5)).unwrap();
        assert_eq!(losses(&run, "space"), [(0, 2.0), (1, 1.5)]);
        assert_eq!(read_metrics(&run).unwrap()[1], line("space", 1, 1.5));
        write_atomic(&run.metrics(), b"[1]\n").unwrap();
        assert!(read_metrics(&run).unwrap_err().to_string().contains("no object"));
    }
}
