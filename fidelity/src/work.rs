//! What all studies share: units of work in the folders of seeds, done once by whoever comes first.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use adwp_models::Choices;
use adwp_search::{Scorer, ScorerEntry};
use adwp_train::{Context, Finished, RunDir};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::units::{self, BlockFile, Claim, Claims};

/// How long a process waits before it looks again at what others do.
const PATIENCE: Duration = Duration::from_millis(200);

/// Scores in a file of [`Work::scores`].
const BLOCK: usize = 50;

/// A process at work on a study.
pub(crate) struct Work<'a, 'c> {
    /// The folder of the study.
    pub(crate) folder: &'a RunDir,
    pub(crate) claims: &'a Claims,
    pub(crate) context: &'a mut Context<'c>,
    /// Whether anything was done since the start: only then an interrupt is heard, so that the
    /// shortest time brings a study on.
    has_worked: bool,
}

/// The folder of a seed.
pub(crate) struct SeedFolder {
    pub(crate) seed: u64,
    name: String,
    pub(crate) folder: RunDir,
}

/// Removes what kills have left half written. Nobody else may be working on the study.
pub(crate) fn clean(folder: &RunDir) -> Result<()> {
    folder.remove_partial_files()?;
    for seed in (0..).map(|k| folder.file(&format!("seed{k}"))).take_while(|seed| seed.exists()) {
        RunDir::create(&seed)?.remove_partial_files()?;
    }
    Ok(())
}

impl SeedFolder {
    /// That of the seed of a number.
    pub(crate) fn new(number: usize, seed: u64, study: &RunDir) -> Result<Self> {
        let name = format!("seed{number}");
        Ok(Self { seed, folder: RunDir::create(&study.file(&name))?, name })
    }

    /// The folder of a phase, for whoever has claimed it.
    pub(crate) fn run(&self, phase: &str) -> Result<RunDir> {
        let run = RunDir::create(&self.folder.file(phase))?;
        run.remove_partial_files()?;
        Ok(run)
    }

    /// The checkpoint of a phase in its folder.
    pub(crate) fn checkpoint(&self, folder: &str, phase: &str) -> PathBuf {
        self.folder.file(&format!("{folder}/checkpoints/{phase}.safetensors"))
    }
}

impl<'a, 'c> Work<'a, 'c> {
    pub(crate) fn new(
        folder: &'a RunDir,
        claims: &'a Claims,
        context: &'a mut Context<'c>,
    ) -> Self {
        Self { folder, claims, context, has_worked: false }
    }

    /// Works until nothing is left to do, here or elsewhere. A `pass` does what is left to do and
    /// in no other hands, and gives the result once that is all.
    pub(crate) fn until_done<T>(
        &mut self,
        mut pass: impl FnMut(&mut Self) -> Result<Finished<Option<T>>>,
    ) -> Result<Finished<T>> {
        loop {
            match pass(self)? {
                Finished::Interrupted => return Ok(Finished::Interrupted),
                Finished::Done(Some(result)) => return Ok(Finished::Done(result)),
                // Others are at work on what is left.
                Finished::Done(None) if self.context.interrupt.is_requested() => {
                    return Ok(Finished::Interrupted);
                }
                Finished::Done(None) => thread::sleep(PATIENCE),
            }
        }
    }

    /// The result in the file of a unit, computed here where there is none; `None` while that is in
    /// other hands. `work` gives `None` when it needs something that is.
    pub(crate) fn unit<T: Serialize + DeserializeOwned>(
        &mut self,
        seed: &SeedFolder,
        name: &str,
        work: impl FnOnce(&mut Self) -> Result<Finished<Option<T>>>,
    ) -> Result<Finished<Option<T>>> {
        let path = seed.folder.file(&format!("{name}.json"));
        if let Some(result) = units::read(&path)? {
            return Ok(Finished::Done(Some(result)));
        }
        let Some(_claim) = self.claim(seed, name)? else { return Ok(Finished::Done(None)) };
        // It may have been finished in between.
        if let Some(result) = units::read(&path)? {
            return Ok(Finished::Done(Some(result)));
        }
        if self.has_worked && self.context.interrupt.is_requested() {
            return Ok(Finished::Interrupted);
        }
        let finished = work(self)?;
        if let Finished::Done(Some(result)) = &finished {
            units::write(&path, result)?;
            self.has_worked = true;
        }
        Ok(finished)
    }

    pub(crate) fn claim(&self, seed: &SeedFolder, unit: &str) -> Result<Option<Claim>> {
        self.claims.take(&format!("{}/{unit}", seed.name))
    }

    /// Prepares a scorer; `false` while others prepare it.
    pub(crate) fn prepare(
        &mut self,
        seed: &SeedFolder,
        entry: &'static ScorerEntry,
        scorer: &mut dyn Scorer,
    ) -> Result<Finished<bool>> {
        let Some(folder) = entry.prepared_in else { return Ok(Finished::Done(true)) };
        let Some(_claim) = self.claim(seed, folder)? else { return Ok(Finished::Done(false)) };
        let run = seed.run(folder)?;
        let prepared =
            self.timed(folder, |work| Ok(scorer.prepare(&mut work.context.within(&run))?))?;
        prepared.try_map(|()| Ok(true))
    }

    /// The scores of architectures, as far as they are known: several in a file.
    pub(crate) fn scores(
        &mut self,
        seed: &SeedFolder,
        entry: &'static ScorerEntry,
        scorer: &mut dyn Scorer,
        architectures: &[Choices],
    ) -> Result<Finished<Vec<f64>>> {
        let (mut scores, mut is_prepared) = (Vec::new(), false);
        for (i, block) in architectures.chunks(BLOCK).enumerate() {
            let last = i * BLOCK + block.len();
            let name = format!("{}.architectures{:05}-{last:05}", entry.name, i * BLOCK);
            let unit = self.unit(seed, &name, |work| {
                if !is_prepared {
                    match work.prepare(seed, entry, scorer)? {
                        Finished::Done(true) => is_prepared = true,
                        Finished::Done(false) => return Ok(Finished::Done(None)),
                        Finished::Interrupted => return Ok(Finished::Interrupted),
                    }
                }
                let mut scores = Vec::with_capacity(block.len());
                let what = format!("seed {}: {}: architecture", seed.seed, entry.name);
                let finished = work.timed(entry.name, |work| {
                    for choices in block {
                        let mut context = work.context.within(&seed.folder);
                        let Finished::Done(score) = scorer.score(choices, &mut context)? else {
                            return Ok(Finished::Interrupted);
                        };
                        scores.push(score);
                        let done = last - block.len() + scores.len();
                        work.context.reporter.aside(&what, done, architectures.len());
                    }
                    Ok(Finished::Done(()))
                })?;
                finished.try_map(|()| Ok(Some(BlockFile::new(scores))))
            })?;
            match unit {
                Finished::Interrupted => return Ok(Finished::Interrupted),
                Finished::Done(file) => {
                    scores.extend(file.map(|file| file.scores).unwrap_or_default())
                }
            }
        }
        Ok(Finished::Done(scores))
    }

    /// Adds the time that something takes to that of its kind.
    pub(crate) fn timed<T>(
        &mut self,
        kind: &str,
        work: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        let result = work(self);
        let (path, seconds) = (self.folder.file("times.json"), start.elapsed().as_secs_f64());
        units::add_time(&path, self.claims, kind, seconds)?;
        result
    }
}
