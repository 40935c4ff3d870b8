//! Units of work: each has a file with its result, written whole or not at all, and a claim of the
//! process that works on it.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use adwp_base::to_json;
use adwp_train::{TrainError, read_json, read_json_without_schema, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Result;

const SCORES_SCHEMA: &str = "adwp/scores/1";

/// The score of one architecture.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScoreFile {
    schema: ScoreSchema,
    pub(crate) score: f64,
}

#[derive(Serialize, Deserialize)]
enum ScoreSchema {
    #[serde(rename = "adwp/score/1")]
    First,
}

impl ScoreFile {
    pub(crate) fn new(score: f64) -> Self {
        Self { schema: ScoreSchema::First, score }
    }
}

/// The scores of some architectures that follow each other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockFile {
    schema: BlockSchema,
    pub(crate) scores: Vec<f64>,
}

#[derive(Serialize, Deserialize)]
enum BlockSchema {
    #[serde(rename = "adwp/score-block/1")]
    First,
}

impl BlockFile {
    pub(crate) fn new(scores: Vec<f64>) -> Self {
        Self { schema: BlockSchema::First, scores }
    }
}

/// The scores of the first architectures, as older studies have them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScoresFile {
    #[serde(rename = "schema")]
    _schema: String,
    scores: Vec<f64>,
}

/// The scores that an older study has in a file; none where there is no file.
pub(crate) fn older_scores(path: &Path) -> Result<Vec<f64>> {
    match path.exists() {
        true => Ok(read_json::<ScoresFile>(path, SCORES_SCHEMA)?.scores),
        false => Ok(Vec::new()),
    }
}

/// The folder of the claims of a study.
#[derive(Debug)]
pub(crate) struct Claims(PathBuf);

/// What one process works on and no other, until it is dropped or the process ends, however it
/// ends: the system then takes its lock back. The file has the number of the process, for people.
pub(crate) struct Claim(#[expect(dead_code, reason = "holds the lock")] File);

impl Claims {
    /// The claims of the study in a folder.
    pub(crate) fn of(study: &Path) -> Self {
        Self(study.join("claims"))
    }

    /// Claims a unit; `None` while another process has it.
    pub(crate) fn take(&self, unit: &str) -> Result<Option<Claim>> {
        let (mut file, path) = self.open(unit)?;
        match file.try_lock() {
            Ok(()) => {
                let number = format!("{}\n", std::process::id());
                let written = file.set_len(0).and_then(|()| file.write_all(number.as_bytes()));
                written.map_err(|e| failed(&path, e))?;
                Ok(Some(Claim(file)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(failed(&path, e).into()),
        }
    }

    /// Joins those who work on the study. Whoever is alone cleans up with `alone` before others
    /// join.
    pub(crate) fn join(&self, alone: impl FnOnce() -> Result<()>) -> Result<Claim> {
        let (file, path) = self.open("study")?;
        match file.try_lock() {
            Ok(()) => alone()?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(failed(&path, e).into()),
        }
        // Gives the exclusive lock up.
        file.lock_shared().map_err(|e| failed(&path, e))?;
        Ok(Claim(file))
    }

    /// Waits for a unit.
    fn wait(&self, unit: &str) -> Result<Claim> {
        let (file, path) = self.open(unit)?;
        file.lock().map_err(|e| failed(&path, e))?;
        Ok(Claim(file))
    }

    /// Removes all claims of a study that is done.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(TrainError::File { action: "remove", path: self.0.clone(), source }.into())
            }
            _ => Ok(()),
        }
    }

    fn open(&self, unit: &str) -> Result<(File, PathBuf)> {
        let path = self.0.join(unit.replace('/', "."));
        let open = || {
            fs::create_dir_all(&self.0)?;
            File::options().create(true).truncate(false).write(true).open(&path)
        };
        // Whoever ends the study may remove the folder in between.
        let file = match open() {
            Err(e) if e.kind() == ErrorKind::NotFound => open(),
            opened => opened,
        };
        let file = file.map_err(|e| failed(&path, e))?;
        Ok((file, path))
    }
}

fn failed(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::File { action: "claim", path: path.to_owned(), source }
}

/// Adds seconds to those of a kind of work; apart from the results, which are the same however long
/// they take.
pub(crate) fn add_time(path: &Path, claims: &Claims, work: &str, seconds: f64) -> Result<()> {
    let _claim = claims.wait("times")?;
    let mut times: BTreeMap<String, f64> = read(path)?.unwrap_or_default();
    *times.entry(work.to_owned()).or_default() += seconds;
    write(path, &times)
}

/// Reads a JSON file, and checks that it is as it was written; `None` where there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(read_json_without_schema(path)?))
}

/// Writes a JSON file with a checksum.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    Ok(write_atomic(path, to_json(value).as_bytes())?)
}

/// Removes a file that may be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(TrainError::File { action: "remove", path: path.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_of_one_at_a_time_and_ends_with_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::of(folder.path());
        let first = claims.take("seed0/search").unwrap();
        assert!(first.is_some() && claims.take("seed0/search").unwrap().is_none());
        assert!(claims.take("seed1/search").unwrap().is_some());
        drop(first);
        assert!(claims.take("seed0/search").unwrap().is_some());
        // What a process that was killed leaves behind is a file without a lock.
        fs::write(folder.path().join("claims/seed2.search"), "1\n").unwrap();
        assert!(claims.take("seed2/search").unwrap().is_some());
        claims.remove().unwrap();
        assert!(!folder.path().join("claims").exists());
    }

    #[test]
    fn a_result_that_is_damaged_is_named_and_not_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one-shot.architecture000.json");
        assert!(read::<ScoreFile>(&path).unwrap().is_none());
        write(&path, &ScoreFile::new(0.625)).unwrap();
        assert_eq!(read::<ScoreFile>(&path).unwrap().unwrap().score, 0.625);
        let text = fs::read_to_string(&path).unwrap();
        for (damaged, why) in
            [(text.replace("0.625", "0.627"), "it was changed"), (text[..20].to_owned(), "EOF")]
        {
            fs::write(&path, damaged).unwrap();
            let refused = read::<ScoreFile>(&path).err().unwrap().to_string();
            assert!(refused.contains("architecture000.json") && refused.contains(why), "{refused}");
        }
        // As an older version wrote it.
        fs::write(&path, "{\"schema\": \"adwp/score/1\", \"score\": 0.5}").unwrap();
        assert_eq!(read::<ScoreFile>(&path).unwrap().unwrap().score, 0.5);
    }

    #[test]
    fn only_who_joins_alone_cleans_up() {
        let folder = tempfile::tempdir().unwrap();
        let claims = Claims::of(folder.path());
        let mut cleaned = [false; 3];
        let mut join = |i: usize| {
            claims.join(|| {
                cleaned[i] = true;
                Ok(())
            })
        };
        let (first, second) = (join(0).unwrap(), join(1).unwrap());
        drop((first, second));
        join(2).unwrap();
        assert_eq!(cleaned, [true, false, true]);
    }
}
