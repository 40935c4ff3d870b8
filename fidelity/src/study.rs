//! The study, from the first architecture drawn to `fidelity.json`.

use std::fs;
use std::time::Instant;

use adwp_engine::Device;
use adwp_export::{Network, RetrainData, RetrainSettings, TestResult, retrain};
use adwp_models::{Blueprint, Genotype, IntensiveSpace, Limit, Skeleton};
use adwp_search::{
    Data, Finished, SearchSettings, naswot, search, train_hypernetwork, train_one_shot,
};
use adwp_train::{
    BatchSource, Context, Progress, Reporter, RunDir, Streams, TrainError, read_text, store_images,
    write_atomic,
};
use serde_json::{Map, Value};

use crate::architectures::{Candidate, size};
use crate::methods::Method;
use crate::result::{Measured, Searched};
use crate::units::{self, Scores};
use crate::{Fidelity, FidelityError, FidelitySettings, Result};

/// Everything that decides what a study gives.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// How large it is.
    pub settings: FidelitySettings,
    /// The space that architectures are drawn from.
    pub space: IntensiveSpace,
    /// What a searched architecture may take at most. Those drawn may take more.
    pub limits: Vec<Limit>,
    /// How predicted and shared weights are trained, and how is searched.
    pub search: SearchSettings,
    /// How architectures are retrained.
    pub retrain: RetrainSettings,
    /// Sizes of the retrained network.
    pub skeleton: Skeleton,
    /// Name of the data set.
    pub dataset: String,
    /// The images of the search, both halves.
    pub search_images: BatchSource,
    /// The share of them that weights learn from.
    pub train_share: f64,
    /// The images of retraining.
    pub train: BatchSource,
    /// The test images.
    pub test: BatchSource,
    /// Seed of the run: the first of those of the study.
    pub seed: u64,
    /// What the engine computes on.
    pub device: Device,
}

/// Carries out a study in the folder `fidelity` of the run, or goes on with it: what is finished
/// there is not done again, whatever [`Context::resume`] says. Writes `fidelity.json` beside that
/// folder, and into it `times.json`: seconds of each kind of work.
///
/// Every seed trains a HyperNetwork and shared weights, scores all architectures with both and
/// without training, searches, and retrains the architectures and the one it found.
///
/// # Errors
/// Settings that cannot be, a folder with a study of another space, and what scoring, searching and
/// retraining meet.
pub fn study(experiment: &Experiment, context: &mut Context<'_>) -> Result<Finished<Fidelity>> {
    experiment.settings.validate()?;
    if experiment.search.hypernetwork_epochs == 0 {
        return Err(TrainError::Settings(
            "fidelity: search.hypernetwork_epochs = 0 leaves nothing that predicts weights".into(),
        )
        .into());
    }
    let file = context.run.file("fidelity.json");
    let folder = RunDir::create(&context.run.file("fidelity"))?;
    let mut work = Work::new(experiment, context, &folder)?;
    match work.measure() {
        Ok(measured) => {
            let fidelity = Fidelity::of(measured, experiment.settings, experiment.seed);
            write_atomic(&file, fidelity.to_json().as_bytes())?;
            Ok(Finished::Done(fidelity))
        }
        Err(Stop::Interrupted) => Ok(Finished::Interrupted),
        Err(Stop::Failed(e)) => Err(e),
    }
}

/// Why work ends before it is done.
enum Stop {
    Interrupted,
    Failed(FidelityError),
}

impl<E: Into<FidelityError>> From<E> for Stop {
    fn from(e: E) -> Self {
        Self::Failed(e.into())
    }
}

/// What a phase gave, where it was not interrupted.
fn finished<T>(finished: Finished<T>) -> Result<T, Stop> {
    match finished {
        Finished::Done(result) => Ok(result),
        Finished::Interrupted => Err(Stop::Interrupted),
    }
}

/// A study under way.
struct Work<'a, 'c> {
    experiment: &'a Experiment,
    context: &'a mut Context<'c>,
    folder: &'a RunDir,
    candidates: Vec<Candidate>,
    /// Whether anything was done since the start: only then an interrupt is heard, so that the
    /// shortest time brings a study on.
    has_worked: bool,
}

impl<'a, 'c> Work<'a, 'c> {
    fn new(
        experiment: &'a Experiment,
        context: &'a mut Context<'c>,
        folder: &'a RunDir,
    ) -> Result<Self> {
        folder.remove_partial_files()?;
        let space = folder.file("space.json");
        if !space.exists() {
            write_atomic(&space, experiment.space.to_json().as_bytes())?;
        } else if IntensiveSpace::from_json(&read_text(&space)?)? != experiment.space {
            let message = format!(
                "fidelity: {} is a study of another space; move it away to begin another",
                folder.path().display()
            );
            return Err(TrainError::Settings(message).into());
        }
        let Experiment { settings, search, skeleton, .. } = experiment;
        let streams = Streams::new(experiment.seed);
        let draw = |i| {
            Candidate::draw(i, &experiment.space, skeleton, search.keep, search.alpha_sd, streams)
        };
        let candidates = (0..settings.architectures).map(draw).collect::<Result<_, _>>()?;
        Ok(Self { experiment, context, folder, candidates, has_worked: false })
    }

    /// Does what is left to do and collects what was measured.
    fn measure(&mut self) -> Result<Measured, Stop> {
        let count = self.candidates.len();
        let (mut seeds, mut retrained, mut searched) = (Vec::new(), Vec::new(), Vec::new());
        for k in 0..self.experiment.settings.seeds {
            let seed = Seed::new(k, self.experiment, self.folder)?;
            self.predicted(&seed)?;
            self.shared(&seed)?;
            self.training_free(&seed)?;
            let genotype = self.search(&seed)?;
            let tests = (0..count).map(|i| {
                let genotype = self.candidates[i].genotype.clone();
                self.retrain(
                    &seed,
                    &format!("architecture{i:03}"),
                    &format!("architecture {} of {count}", i + 1),
                    genotype,
                )
            });
            retrained.push(tests.collect::<Result<Vec<_>, Stop>>()?);
            let test =
                self.retrain(&seed, "searched", "the searched architecture", genotype.clone())?;
            let [params, madds] = size(&genotype, &self.experiment.skeleton)?;
            searched.push(Searched {
                seed: seed.seed,
                genotype,
                params,
                madds,
                accuracy: test.accuracy(),
            });
            seeds.push(seed);
        }
        let candidates = std::mem::take(&mut self.candidates);
        let scores = |method: Method| -> Result<(Method, Vec<Vec<f64>>)> {
            let rows = match method {
                Method::Params => {
                    vec![candidates.iter().map(|candidate| candidate.params as f64).collect()]
                }
                Method::Madds => {
                    vec![candidates.iter().map(|candidate| candidate.madds as f64).collect()]
                }
                Method::PredictedDiscrete
                | Method::PredictedDrawn
                | Method::OneShot
                | Method::Naswot => seeds
                    .iter()
                    .map(|seed| Ok(seed.scores(method)?.first(count)))
                    .collect::<Result<_>>()?,
            };
            Ok((method, rows))
        };
        let scores = Method::ALL.into_iter().map(scores).collect::<Result<_>>()?;
        Ok(Measured { candidates, scores, retrained, searched })
    }

    /// Trains the HyperNetwork and scores all architectures with the weights that it predicts from
    /// either encoding.
    fn predicted(&mut self, seed: &Seed) -> Result<(), Stop> {
        if self.are_scored(seed, &[Method::PredictedDiscrete, Method::PredictedDrawn])? {
            return Ok(());
        }
        let Experiment { search, space, .. } = self.experiment;
        let run = seed.run("hypernetwork")?;
        let weights = self.timed("hypernetwork", |work| {
            train_hypernetwork(search, space, &seed.data, &mut work.sub_context(&run))
        })?;
        let mut weights = finished(weights)?;
        self.score(seed, Method::PredictedDiscrete, |candidate| {
            Ok(weights.score(&candidate.discrete(space))?)
        })?;
        self.score(seed, Method::PredictedDrawn, |candidate| Ok(weights.score(&candidate.drawn)?))
    }

    /// Trains shared weights and scores all architectures with them.
    fn shared(&mut self, seed: &Seed) -> Result<(), Stop> {
        if self.are_scored(seed, &[Method::OneShot])? {
            return Ok(());
        }
        let Experiment { search, space, .. } = self.experiment;
        let run = seed.run("one-shot")?;
        let weights = self.timed("one-shot", |work| {
            train_one_shot(search, space, &seed.data, &mut work.sub_context(&run))
        })?;
        let weights = finished(weights)?;
        self.score(seed, Method::OneShot, |candidate| Ok(weights.score(&candidate.genotype)?))
    }

    /// Scores all architectures without training.
    fn training_free(&mut self, seed: &Seed) -> Result<(), Stop> {
        self.score(seed, Method::Naswot, |candidate| Ok(naswot(&candidate.genotype, &seed.data)?))
    }

    /// Searches from where the HyperNetwork is trained.
    fn search(&mut self, seed: &Seed) -> Result<Genotype, Stop> {
        let path = seed.folder.file("genotype.json");
        let run = seed.run("search")?;
        let checkpoint = run.checkpoint("search");
        if !path.exists() {
            // A copy: what the HyperNetwork was before the search scores the architectures of a
            // larger study.
            if !checkpoint.exists() {
                let trained = seed.run("hypernetwork")?.checkpoint("search");
                let bytes = fs::read(&trained).map_err(|source| TrainError::File {
                    action: "read",
                    path: trained,
                    source,
                })?;
                write_atomic(&checkpoint, &bytes)?;
            }
            let Experiment { search: settings, space, limits, .. } = self.experiment;
            let found = self.timed("search", |work| {
                search(settings, space, limits, &seed.data, &mut work.sub_context(&run))
            })?;
            write_atomic(&path, finished(found)?.to_json().as_bytes())?;
            self.has_worked = true;
        }
        units::remove(&checkpoint)?;
        Ok(Genotype::from_json(&read_text(&path)?)?)
    }

    /// Retrains an architecture in the folder `name`, and gives how it did on the test images;
    /// `told` is what people are told it is.
    fn retrain(
        &mut self,
        seed: &Seed,
        name: &str,
        told: &str,
        genotype: Genotype,
    ) -> Result<TestResult, Stop> {
        let path = seed.folder.file(&format!("{name}.json"));
        let run = seed.run(name)?;
        let test = match units::read(&path)? {
            Some(test) => test,
            None => {
                self.pause()?;
                let experiment = self.experiment;
                let network = Network {
                    name: None,
                    blueprint: Blueprint::Cells { genotype, skeleton: experiment.skeleton },
                    dataset: experiment.dataset.clone(),
                    classes: experiment.train.dataset.classes().to_vec(),
                    normalization: experiment.train.normalization.clone(),
                };
                // Evaluations before the last change nothing.
                let settings = RetrainSettings {
                    evaluate_every: experiment.retrain.epochs,
                    ..experiment.retrain.clone()
                };
                let trained = self.timed("retrain", |work| {
                    let mut context = work.sub_context(&run);
                    let mut reporter = ProgressAlone(context.reporter);
                    context.reporter = &mut reporter;
                    retrain(&settings, network, &seed.retraining, &mut context)
                })?;
                let test = trained.ok_or(Stop::Interrupted)?.test;
                units::write(&path, &test)?;
                self.has_worked = true;
                let accuracy = 100.0 * test.accuracy();
                self.context.reporter.message(&format!(
                    "fidelity: seed {}: {told}: test accuracy {accuracy:.2}%",
                    seed.seed
                ));
                test
            }
        };
        units::remove(&run.checkpoint("retrain"))?;
        Ok(test)
    }

    /// Whether all architectures have scores by these methods.
    fn are_scored(&self, seed: &Seed, methods: &[Method]) -> Result<bool> {
        for method in methods {
            if seed.scores(*method)?.len() < self.candidates.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Scores the architectures that have none by this method yet.
    fn score(
        &mut self,
        seed: &Seed,
        method: Method,
        mut score: impl FnMut(&Candidate) -> Result<f64>,
    ) -> Result<(), Stop> {
        let mut scores = seed.scores(method)?;
        for i in scores.len()..self.candidates.len() {
            self.pause()?;
            let value = self.timed(method.name(), |work| score(&work.candidates[i]))?;
            scores.push(value)?;
            self.has_worked = true;
            let what = format!("seed {}: {}: architecture", seed.seed, method.name());
            self.context.reporter.aside(&what, i + 1, self.candidates.len());
        }
        Ok(())
    }

    /// Stops here where that was asked for.
    fn pause(&self) -> Result<(), Stop> {
        if self.has_worked && self.context.interrupt.is_requested() {
            Err(Stop::Interrupted)
        } else {
            Ok(())
        }
    }

    /// Adds the time that something takes to that of its kind.
    fn timed<T, E>(
        &mut self,
        kind: &str,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, Stop>
    where
        Stop: From<E>,
    {
        let start = Instant::now();
        let result = work(self);
        units::add_time(&self.folder.file("times.json"), kind, start.elapsed().as_secs_f64())?;
        Ok(result?)
    }

    /// The surroundings of a phase that works in a folder of its own.
    fn sub_context<'b>(&'b mut self, run: &'b RunDir) -> Context<'b> {
        let Context { held_bytes, check_memory, interrupt, reporter, .. } = &mut *self.context;
        Context {
            run,
            resume: true,
            held_bytes: *held_bytes,
            check_memory: *check_memory,
            interrupt,
            reporter: &mut **reporter,
        }
    }
}

/// Passes on how far a retraining is, and not what each of its epochs gave: there are many of them.
struct ProgressAlone<'a>(&'a mut dyn Reporter);

impl Reporter for ProgressAlone<'_> {
    fn step(&mut self, progress: &Progress) {
        self.0.step(progress);
    }

    fn aside(&mut self, what: &str, done: usize, total: usize) {
        self.0.aside(what, done, total);
    }

    fn epoch(&mut self, _: &Map<String, Value>) {}

    fn message(&mut self, _: &str) {}

    fn phase_end(&mut self) {
        self.0.phase_end();
    }
}

/// What one seed works on, and where.
struct Seed {
    seed: u64,
    folder: RunDir,
    data: Data,
    retraining: RetrainData,
}

impl Seed {
    fn new(k: usize, experiment: &Experiment, folder: &RunDir) -> Result<Self> {
        let Experiment { skeleton, search_images, train_share, train, test, device, .. } =
            experiment;
        let seed = experiment.seed.wrapping_add(k as u64);
        let streams = Streams::new(seed);
        let (mut train, mut test) = (train.clone(), test.clone());
        // Once for all retrainings.
        store_images(&mut [&mut train, &mut test], device)?;
        let folder = RunDir::create(&folder.file(&format!("seed{k}")))?;
        folder.remove_partial_files()?;
        Ok(Self {
            seed,
            folder,
            data: Data::new(*skeleton, search_images, *train_share, streams, device)?,
            retraining: RetrainData { train, test, streams, device: device.clone() },
        })
    }

    /// The folder of a phase.
    fn run(&self, phase: &str) -> Result<RunDir> {
        let run = RunDir::create(&self.folder.file(phase))?;
        run.remove_partial_files()?;
        Ok(run)
    }

    fn scores(&self, method: Method) -> Result<Scores> {
        Scores::open(self.folder.file(&format!("{}.json", method.name())))
    }
}
