//! Image files that cannot be read. They are found when a run is begun and left out by each of its
//! steps: `skipped.json`. It also has what else the folders hold that is no image of a class.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use adwp_base::{Failure, Result, to_json};
use adwp_data::{Counted, DataError, Dataset, Reason, Splits, subset, unreadable};
use adwp_report::SkippedImages;
use adwp_train::{Reporter, Streams, TrainError, read_json, write_atomic};
use serde::{Deserialize, Serialize};

use crate::config::Config;

const SCHEMA: &str = "adwp/skipped/1";
/// The file, in the folder of a run.
pub(crate) const FILE: &str = "skipped.json";
/// Files that are named on stderr.
const SHOWN: usize = 5;

/// The images that a run leaves out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Skipped {
    schema: String,
    train: Split,
    test: Split,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    /// Images in all, so that a folder which has changed is noticed.
    files: usize,
    skipped: Vec<Entry>,
    /// What was not taken for an image of a class, as it was when the run was begun.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    left_out: BTreeMap<Reason, Counted>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    index: u32,
    reason: String,
}

impl Skipped {
    /// Looks at every image that the run uses, where they are in files.
    pub(crate) fn find(
        splits: &Splits,
        config: &Config,
        streams: Streams,
        reporter: &mut dyn Reporter,
    ) -> Result<Self> {
        let train = Split::find(&splits.train, config.train_images, "train", streams, reporter)?;
        let test = Split::find(&splits.test, config.test_images, "test", streams, reporter)?;
        Ok(Self { schema: SCHEMA.into(), train, test })
    }

    /// Reads what [`Self::write`] wrote; nothing is skipped in a run without the file.
    pub(crate) fn read(path: &Path, splits: &Splits) -> Result<Self> {
        if !path.exists() {
            let none = |dataset: &Dataset| Split::of(dataset);
            return Ok(Self {
                schema: SCHEMA.into(),
                train: none(&splits.train),
                test: none(&splits.test),
            });
        }
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        let skipped: Self = read_json(path, SCHEMA)?;
        for (split, dataset) in [(&skipped.train, &splits.train), (&skipped.test, &splits.test)] {
            if split.files != dataset.len() {
                let (then, now, name) = (split.files, dataset.len(), dataset.name());
                return Err(Failure::input(format!(
                    "{name} has {now} files, and had {then} when the run was begun"
                ))
                .hint("bring the folder back to what it was, or begin another run"));
            }
            if let Some(entry) =
                split.skipped.iter().find(|entry| entry.index as usize >= split.files)
            {
                return Err(damaged(format!("there is no image {}", entry.index)).into());
            }
        }
        Ok(skipped)
    }

    /// Writes `skipped.json` where there is something to say.
    pub(crate) fn write(&self, path: &Path) -> Result {
        let is_all_read = [&self.train, &self.test]
            .iter()
            .all(|split| split.skipped.is_empty() && split.left_out.is_empty());
        if is_all_read {
            return Ok(());
        }
        Ok(write_atomic(path, to_json(self).as_bytes())?)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> SkippedImages {
        SkippedImages { train: self.train.skipped.len(), test: self.test.skipped.len() }
    }

    /// The images of a training run: `count` of those that can be read, 0 for all.
    pub(crate) fn train_indices(
        &self,
        dataset: &Dataset,
        count: usize,
        streams: Streams,
    ) -> Result<Vec<u32>> {
        self.train.choose(dataset, count, "train", streams)
    }

    /// The same for testing.
    pub(crate) fn test_indices(
        &self,
        dataset: &Dataset,
        count: usize,
        streams: Streams,
    ) -> Result<Vec<u32>> {
        self.test.choose(dataset, count, "test", streams)
    }
}

impl Split {
    /// Nothing is skipped yet.
    fn of(dataset: &Dataset) -> Self {
        let left_out =
            dataset.left_out().map(|left_out| left_out.reasons().clone()).unwrap_or_default();
        Self { files: dataset.len(), skipped: Vec::new(), left_out }
    }

    fn find(
        dataset: &Dataset,
        count: usize,
        what: &str,
        streams: Streams,
        reporter: &mut dyn Reporter,
    ) -> Result<Self> {
        let mut split = Self::of(dataset);
        let Some(mut left_out) = dataset.left_out().cloned() else { return Ok(split) };
        let (mut seen, mut bad): (HashSet<u32>, Vec<(u32, DataError)>) =
            (HashSet::new(), Vec::new());
        // What takes the place of a file that cannot be read has to be looked at in turn.
        loop {
            let chosen = split.choose(dataset, count, what, streams)?;
            let unseen: Vec<u32> = chosen.into_iter().filter(|index| seen.insert(*index)).collect();
            let label = format!("{what} image looked at");
            let found = unreadable(dataset, &unseen, &mut |done, total| {
                reporter.aside(&label, done, total)
            });
            reporter.phase_end();
            if found.is_empty() {
                break;
            }
            split.skipped.extend(
                found
                    .iter()
                    .map(|(index, error)| Entry { index: *index, reason: error.to_string() }),
            );
            split.skipped.sort_unstable_by_key(|entry| entry.index);
            bad.extend(found);
            split.check_classes(dataset, &bad)?;
        }
        for (index, error) in &bad {
            let path = dataset.path(*index as usize).unwrap_or_default();
            left_out.add(Reason::of(error), &path);
        }
        if !left_out.is_empty() {
            reporter.message(&format!("warning: {left_out}"));
        }
        for (_, error) in bad.iter().take(SHOWN) {
            reporter.message(&format!("warning: skipping {error}"));
        }
        if bad.len() > SHOWN {
            reporter.message(&format!(
                "warning: skipping {} more of the {what} images; {FILE} names them",
                bad.len() - SHOWN
            ));
        }
        Ok(split)
    }

    /// A class without an image is not one that can be learned or tested.
    fn check_classes(&self, dataset: &Dataset, bad: &[(u32, DataError)]) -> Result {
        let counts = dataset.class_counts();
        let mut lost = vec![0; counts.len()];
        for (index, _) in bad {
            lost[dataset.labels()[*index as usize] as usize] += 1;
        }
        let Some(class) = (0..counts.len()).find(|&class| lost[class] == counts[class]) else {
            return Ok(());
        };
        let first =
            bad.iter().find(|(index, _)| dataset.labels()[*index as usize] as usize == class);
        let (name, all) = (&dataset.classes()[class], counts[class]);
        let first = first.map(|(_, error)| format!(", the first: {error}")).unwrap_or_default();
        let failure = Failure::input(format!(
            "{}: none of the {all} images of the class `{name}` can be read{first}",
            dataset.name()
        ));
        Err(failure
            .hint("replace or remove the files; `adwp data check` lists all that cannot be read"))
    }

    fn choose(
        &self,
        dataset: &Dataset,
        count: usize,
        what: &str,
        streams: Streams,
    ) -> Result<Vec<u32>> {
        let skipped: HashSet<u32> = self.skipped.iter().map(|entry| entry.index).collect();
        let indices: Vec<u32> =
            dataset.indices().into_iter().filter(|index| !skipped.contains(index)).collect();
        match count {
            0 => Ok(indices),
            count => {
                Ok(subset(dataset, &indices, count, streams.seed_for(&format!("subset/{what}")))?)
            }
        }
    }
}
