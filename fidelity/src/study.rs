//! The study, from the first architecture drawn to `fidelity.json`.

use std::collections::{BTreeMap, HashMap};

use adwp_engine::Device;
use adwp_export::{Network, RetrainData, RetrainSettings, TestResult, retrain};
use adwp_models::cost::Cost;
use adwp_models::{
    Blueprint, Choices, Genotype, Intensive, IntensiveSpace, Limit, Skeleton, Space,
};
use adwp_search::{
    Data, Ingredients, JointTraining, Scorer, ScorerEntry, SearchSettings, registry, search_from,
    train_hypernetwork,
};
use adwp_train::{
    BatchSource, Context, Finished, ProgressAlone, RunDir, Streams, TrainError, read_json_text,
    store_images, write_atomic,
};

use crate::architectures::Candidate;
use crate::result::{Measured, Searched};
use crate::units::{self, Claims, ScoreFile};
use crate::work::{SeedFolder, Work, clean};
use crate::{Fidelity, FidelitySettings, Result};

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
/// there is not done again, whatever [`Context::resume`] says. Writes `fidelity.json` next to that
/// folder, and into it `times.json`: seconds of each kind of work.
///
/// Every seed scores all architectures with every scorer of the registry that a study has the
/// ingredients of; every search is followed by one retraining of what it found; every architecture
/// drawn is retrained under the same recipe. No two retrainings have a seed in common. Several
/// processes can work on one study: each takes units of work that no other has, and all end with
/// the same result.
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
    let claims = Claims::of(folder.path());
    let member = claims.join(|| clean(&folder))?;
    let plan = Plan::new(experiment, folder, claims)?;
    let mut work = Work::new(&plan.folder, &plan.claims, context);
    work.until_done(|work| Pass { plan: &plan, work }.measure())?.try_map(|measured| {
        let fidelity = Fidelity::of(measured, experiment.settings, experiment.seed);
        write_atomic(&file, fidelity.to_json().as_bytes())?;
        drop(member);
        plan.claims.remove()?;
        Ok(fidelity)
    })
}

/// A study, laid out.
struct Plan<'a> {
    experiment: &'a Experiment,
    folder: RunDir,
    claims: Claims,
    /// The space at the sizes of the retrained network, and of the search.
    space: Intensive,
    searched: Intensive,
    candidates: Vec<Candidate>,
    drawn: HashMap<Choices, Vec<Vec<f32>>>,
    seeds: Vec<Seed>,
}

impl<'a> Plan<'a> {
    fn new(experiment: &'a Experiment, folder: RunDir, claims: Claims) -> Result<Self> {
        let file = folder.file("space.json");
        if !file.exists() {
            write_atomic(&file, experiment.space.to_json().as_bytes())?;
        } else if IntensiveSpace::from_json(&read_json_text(&file)?)? != experiment.space {
            let message = format!(
                "fidelity: {} is a study of another space; move it away to begin another",
                folder.path().display()
            );
            return Err(TrainError::Settings(message).into());
        }
        let Experiment { settings, search, skeleton, .. } = experiment;
        let sized = |skeleton| Intensive::new(experiment.space.clone(), skeleton, search.keep);
        let (space, searched) =
            (sized(*skeleton)?, sized(Skeleton { channels: search.channels, ..*skeleton })?);
        let streams = Streams::new(experiment.seed);
        let draw = |i| Candidate::draw(i, &space, search.alpha_sd, streams);
        let candidates: Vec<Candidate> =
            (0..settings.architectures).map(draw).collect::<Result<_, _>>()?;
        let drawn = candidates.iter().map(|of| (of.choices.clone(), of.drawn.clone())).collect();
        let seed = |k| Seed::new(k, experiment, &folder);
        let seeds = (0..settings.folders()).map(seed).collect::<Result<_>>()?;
        Ok(Self { experiment, claims, space, searched, candidates, drawn, seeds, folder })
    }

    /// Random numbers of a retraining of an architecture drawn: of no other one, so that what a
    /// seed does is nothing that architectures have in common.
    fn streams_of(&self, retraining: usize, architecture: usize) -> Streams {
        let purpose = format!("fidelity/retraining{retraining}/architecture{architecture}");
        Streams::new(Streams::new(self.experiment.seed).seed_for(&purpose))
    }

    fn ingredients<'b>(&'b self, seed: &'b Seed) -> Ingredients<'b> {
        Ingredients {
            data: Some(&seed.data),
            training: Some(JointTraining {
                settings: &self.experiment.search,
                space: &self.searched,
                drawn: Some(&self.drawn),
            }),
            ..Ingredients::of(&self.space)
        }
    }
}

/// A retraining to be done.
struct Retraining {
    /// Name of its unit of work and of its folder.
    unit: String,
    /// What messages call the architecture.
    what: String,
    streams: Streams,
}

/// A way through all that is to be done.
struct Pass<'a, 'w, 'p, 'c> {
    plan: &'a Plan<'a>,
    work: &'w mut Work<'p, 'c>,
}

impl<'a> Pass<'a, '_, '_, '_> {
    /// Does what is left to do and in no other hands; gives what was measured once that is all.
    fn measure(&mut self) -> Result<Finished<Option<Measured<'a>>>> {
        let plan = self.plan;
        let count = plan.candidates.len();
        let mut scores: Vec<(&'static str, Vec<Vec<f64>>)> = Vec::new();
        let (mut retrained, mut searched, mut is_whole) = (Vec::new(), Vec::new(), true);
        let settings = plan.experiment.settings;
        for (k, seed) in plan.seeds.iter().enumerate() {
            let count_of_seeds = |entry: &&ScorerEntry| match entry.is_seeded {
                true => settings.seeds,
                false => 1,
            };
            let rows = registry::SCORERS.iter().filter(|entry| entry.is_of_accuracy);
            for entry in rows.filter(|entry| k < count_of_seeds(entry)) {
                let Some(mut scorer) = (entry.open)(&plan.ingredients(seed)) else { continue };
                let Finished::Done(row) = self.score(seed, entry, &mut *scorer)? else {
                    return Ok(Finished::Interrupted);
                };
                is_whole &= row.len() == count;
                match scores.iter_mut().find(|(name, _)| *name == entry.name) {
                    Some((_, rows)) => rows.push(row),
                    None => scores.push((entry.name, vec![row])),
                }
            }
            if k < settings.retrainings {
                let mut tests = Vec::with_capacity(count);
                for (i, candidate) in plan.candidates.iter().enumerate() {
                    let retraining = Retraining {
                        unit: format!("architecture{i:03}"),
                        what: format!("architecture {} of {count}", i + 1),
                        streams: plan.streams_of(k, i),
                    };
                    match self.retrain(seed, retraining, candidate.genotype.clone())? {
                        Finished::Interrupted => return Ok(Finished::Interrupted),
                        Finished::Done(test) => tests.extend(test),
                    }
                }
                is_whole &= tests.len() == count;
                retrained.push(tests);
            }
            if k >= settings.searches() {
                continue;
            }
            let Finished::Done(genotype) = self.search(seed)? else {
                return Ok(Finished::Interrupted);
            };
            let Some(genotype) = genotype else {
                is_whole = false;
                continue;
            };
            let retraining = Retraining {
                unit: "searched".to_owned(),
                what: "the searched architecture".to_owned(),
                streams: Streams::new(seed.place.seed),
            };
            match self.retrain(seed, retraining, genotype.clone())? {
                Finished::Interrupted => return Ok(Finished::Interrupted),
                Finished::Done(None) => is_whole = false,
                Finished::Done(Some(test)) => {
                    let skeleton = plan.experiment.skeleton;
                    let network = Blueprint::Cells { genotype: genotype.clone(), skeleton };
                    let Cost { params, madds, .. } = network.cost()?;
                    let Finished::Done(scores) = self.scores_of_itself(&genotype)? else {
                        return Ok(Finished::Interrupted);
                    };
                    let (seed, accuracy) = (seed.place.seed, test.accuracy());
                    searched.push(Searched { seed, genotype, params, madds, accuracy, scores });
                }
            }
        }
        let candidates = &plan.candidates;
        Ok(Finished::Done(is_whole.then_some(Measured { candidates, scores, retrained, searched })))
    }

    /// The scores of the architectures, as far as they are known.
    fn score(
        &mut self,
        seed: &Seed,
        entry: &'static ScorerEntry,
        scorer: &mut dyn Scorer,
    ) -> Result<Finished<Vec<f64>>> {
        let candidates = &self.plan.candidates;
        let mut scores =
            units::older_scores(&seed.place.folder.file(&format!("{}.json", entry.name)))?;
        scores.truncate(candidates.len());
        let mut is_prepared = false;
        for (i, candidate) in candidates.iter().enumerate().skip(scores.len()) {
            let name = format!("{}.architecture{i:03}", entry.name);
            let unit = self.work.unit(&seed.place, &name, |work| {
                if !is_prepared {
                    match work.prepare(&seed.place, entry, scorer)? {
                        Finished::Done(true) => is_prepared = true,
                        Finished::Done(false) => return Ok(Finished::Done(None)),
                        Finished::Interrupted => return Ok(Finished::Interrupted),
                    }
                }
                let score = work.timed(entry.name, |work| {
                    Ok(scorer
                        .score(&candidate.choices, &mut work.context.within(&seed.place.folder))?)
                })?;
                let what = format!("seed {}: {}: architecture", seed.place.seed, entry.name);
                work.context.reporter.aside(&what, i + 1, candidates.len());
                score.try_map(|score| Ok(Some(ScoreFile::new(score))))
            })?;
            match unit {
                Finished::Interrupted => return Ok(Finished::Interrupted),
                Finished::Done(score) => scores.extend(score.map(|file| file.score)),
            }
        }
        Ok(Finished::Done(scores))
    }

    /// The scores of an architecture by the scorers that need nothing but itself.
    fn scores_of_itself(&mut self, genotype: &Genotype) -> Result<Finished<BTreeMap<String, f64>>> {
        let space = &self.plan.space;
        let choices = space.choices_of(genotype)?;
        let mut scores = BTreeMap::new();
        for entry in registry::SCORERS {
            let Some(mut scorer) = (entry.open)(&Ingredients::of(space)) else { continue };
            let Finished::Done(score) = scorer.score(&choices, self.work.context)? else {
                return Ok(Finished::Interrupted);
            };
            scores.insert(entry.name.to_owned(), score);
        }
        Ok(Finished::Done(scores))
    }

    /// Searches from where the HyperNetwork is trained.
    fn search(&mut self, seed: &Seed) -> Result<Finished<Option<Genotype>>> {
        let Experiment { search, space, limits, .. } = self.plan.experiment;
        let found = self.work.unit(&seed.place, "genotype", |work| {
            let trained = seed.place.checkpoint("hypernetwork", "search");
            let Some(claim) = work.claim(&seed.place, "hypernetwork")? else {
                return Ok(Finished::Done(None));
            };
            if !trained.exists() {
                let run = seed.place.run("hypernetwork")?;
                let mut context = work.context.within(&run);
                let searched = &self.plan.searched;
                let weights = train_hypernetwork(search, searched, &seed.data, &mut context)?;
                if weights.done().is_none() {
                    return Ok(Finished::Interrupted);
                }
            }
            drop(claim);
            let run = seed.place.run("search")?;
            let found = work.timed("search", |work| {
                let mut context = work.context.within(&run);
                Ok(search_from(&trained, search, space, limits, &seed.data, &mut context)?)
            })?;
            found.try_map(|genotype| Ok(Some(genotype)))
        })?;
        if let Finished::Done(Some(_)) = found {
            units::remove(&seed.place.checkpoint("search", "search"))?;
        }
        Ok(found)
    }

    /// Retrains an architecture, and gives how it did on the test images.
    fn retrain(
        &mut self,
        seed: &Seed,
        Retraining { unit, what, streams }: Retraining,
        genotype: Genotype,
    ) -> Result<Finished<Option<TestResult>>> {
        let experiment = self.plan.experiment;
        let test = self.work.unit(&seed.place, &unit, |work| {
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
            let run = seed.place.run(&unit)?;
            let data = RetrainData { streams, ..seed.retraining.clone() };
            let trained = work.timed("retrain", |work| {
                let mut context = work.context.within(&run);
                let mut reporter = ProgressAlone(context.reporter);
                context.reporter = &mut reporter;
                Ok(retrain(&settings, network, &data, &mut context)?)
            })?;
            trained.try_map(|trained| {
                let accuracy = 100.0 * trained.test.accuracy();
                work.context.reporter.message(&format!(
                    "fidelity: seed {}: {what}: test accuracy {accuracy:.2}%",
                    seed.place.seed
                ));
                Ok(Some(trained.test))
            })
        })?;
        if let Finished::Done(Some(_)) = test {
            units::remove(&seed.place.checkpoint(&unit, "retrain"))?;
        }
        Ok(test)
    }
}

/// What one seed works on, and where.
struct Seed {
    place: SeedFolder,
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
        Ok(Self {
            place: SeedFolder::new(k, seed, folder)?,
            data: Data::new(*skeleton, search_images, *train_share, streams, device)?,
            retraining: RetrainData { train, test, streams, device: device.clone() },
        })
    }
}
