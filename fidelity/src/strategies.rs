//! Strategies against each other, with a published table as the truth.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use adwp_models::{Choices, Limit, Space};
use adwp_search::{
    Column, Exploration, Ingredients, Inputs, Point, Predictor, Problem, SearchError, StopRule,
    StrategyEntry, StrategySettings, every_architecture, explore_watched, origin, registry,
};
use adwp_train::{Context, Finished, Interrupt, Quiet, RunDir, Streams};
use rand::seq::index::sample;
use serde::Serialize;

use crate::Result;
use crate::rank::{interval, kendall_tau, mean, resamples, sd};

const SCHEMA: &str = "adwp/strategy-study/1";

/// Resamples of the seeds in a bootstrap interval.
const RESAMPLES: usize = 4000;

/// Networks that a predictor ranks where the space has too many to rank all.
const RANKED: usize = 2000;

/// What strategies are compared on.
pub struct StrategyExperiment<'a> {
    /// Where architectures come from.
    pub space: &'a dyn Space,
    /// What they may take at most.
    pub limits: &'a [Limit],
    /// What the strategies see; nothing where there are none.
    pub selection: Option<&'a Column>,
    /// What counts: the mean of these columns.
    pub truth: &'a [Column],
    /// Scores that strategies with [`Contestant::with_inputs`] read.
    pub inputs: &'a [Column],
    /// The strategies, each under the name that results call it by.
    pub strategies: Vec<Contestant>,
    /// After how many evaluations they are compared, ascending.
    pub evaluations: Vec<usize>,
    /// Numbers of architectures that the predictor is fitted to, to rank the others.
    pub fitted: Vec<usize>,
    /// How many seeds, from `seed` on.
    pub seeds: usize,
    /// The first of them.
    pub seed: u64,
    /// Searches that run at a time.
    pub threads: usize,
}

/// A strategy with its settings.
#[derive(Clone)]
pub struct Contestant {
    /// What results call it.
    pub label: String,
    /// The strategy.
    pub entry: &'static StrategyEntry,
    /// Its settings.
    pub settings: StrategySettings,
    /// Whether it reads the inputs of the study.
    pub with_inputs: bool,
}

/// The result: `study.json`. Values are those of the columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StrategyStudy {
    schema: &'static str,
    /// Name of the space.
    pub space: String,
    /// The column that strategies saw.
    pub selection: Option<String>,
    /// The columns whose mean counts.
    pub truth: Vec<String>,
    /// How many seeds.
    pub seeds: usize,
    /// The first of them.
    pub seed: u64,
    /// What is the best there is; nothing where the space is too large to look at all, where limits
    /// leave only a part of it or the table has holes, and where no strategy selects.
    pub bounds: Option<Bounds>,
    /// The strategies, in the order in which they were named.
    pub strategies: Vec<StrategyResult>,
    /// How well the predictor ranks what it was not fitted to.
    pub predictor: Vec<PredictorResult>,
}

/// The largest values of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// How many networks the space has.
    pub networks: usize,
    /// The truth of the architecture that is best by the selection column.
    pub best_selected: f64,
    /// The best truth.
    pub best: f64,
}

/// What a strategy found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StrategyResult {
    /// What it is called.
    pub strategy: String,
    /// Its settings.
    pub settings: StrategySettings,
    /// After each number of evaluations asked for.
    pub found: Vec<Found>,
    /// After every evaluation the mean over the seeds.
    pub curve: Vec<f64>,
}

/// The truth of what a strategy would deliver after some evaluations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Found {
    /// How many architectures were scored.
    pub evaluations: usize,
    /// Mean over the seeds.
    pub mean: f64,
    /// Standard deviation between seeds (n - 1); `None` for one.
    pub sd: Option<f64>,
    /// For each other strategy the mean of the differences seed by seed, with their 95% bootstrap
    /// interval: positive where this one is better.
    pub better_than: BTreeMap<String, Difference>,
    /// For each seed.
    pub values: Vec<f64>,
}

/// A mean of paired differences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Their mean.
    pub mean: f64,
    /// Its 95% percentile bootstrap interval over the seeds; `None` for one seed.
    pub interval: Option<[f64; 2]>,
}

/// How well the predictor ranks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PredictorResult {
    /// Architectures that it was fitted to, by their truth.
    pub fitted: usize,
    /// All other architectures, as publications count them.
    pub architectures: Ranked,
    /// All other networks, each once: several architectures can be one network.
    pub networks: Ranked,
}

/// How well some architectures are ranked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ranked {
    /// Architectures, or networks, that are ranked.
    pub count: usize,
    /// Kendall's τ-b of predictions and truth, the mean over the seeds.
    pub kendall: f64,
    /// Standard deviation between seeds; `None` for one.
    pub sd: Option<f64>,
}

/// Searches with every strategy and every seed, each in a folder of its own below `study` of the
/// run, and goes on with those that were begun.
///
/// # Errors
/// Settings that make no study, an architecture that the table does not have, and what searching
/// meets.
pub fn study_strategies(
    experiment: &StrategyExperiment<'_>,
    context: &mut Context<'_>,
) -> Result<Finished<StrategyStudy>> {
    experiment.validate()?;
    let inputs = experiment.known_inputs()?;
    let folder = RunDir::create(&context.run.file("study"))?;
    let units = experiment.strategies.len() * experiment.seeds;
    let curves = on_threads(experiment.threads, units, context, |unit, interrupt| {
        let contestant = &experiment.strategies[unit / experiment.seeds];
        experiment.search(contestant, unit % experiment.seeds, &inputs, &folder, interrupt)
    })?;
    let Finished::Done(curves) = curves else { return Ok(Finished::Interrupted) };
    let ranking = experiment.ranking()?;
    let units = experiment.fitted.len() * experiment.seeds;
    let taus = on_threads(experiment.threads, units, context, |unit, _| {
        let ranking = ranking.as_ref().expect("there is a ranking where something is fitted");
        let fitted = experiment.fitted[unit / experiment.seeds];
        let seed = experiment.seed_of(unit % experiment.seeds);
        let streams = Streams::new(seed);
        let of = |unique| ranking.kendall(fitted, unique, streams);
        Ok(Finished::Done([of(false), of(true)]))
    })?;
    let Finished::Done(taus) = taus else { return Ok(Finished::Interrupted) };
    Ok(Finished::Done(experiment.result(&curves, &taus, ranking.as_ref())?))
}

impl StrategyExperiment<'_> {
    fn validate(&self) -> Result<()> {
        let fail = |message: &str| Err(SearchError::Input(format!("study: {message}")).into());
        if self.seeds == 0 {
            return fail("seeds must be at least 1");
        }
        if self.strategies.is_empty() && self.fitted.is_empty() {
            return fail("there is nothing to compare: name strategies");
        }
        if !self.strategies.is_empty() && self.evaluations.iter().min().is_none_or(|&n| n == 0) {
            return fail("evaluations must be at least 1");
        }
        if self.truth.is_empty() {
            return fail("no column is the truth");
        }
        if !self.strategies.is_empty() && self.selection.is_none() {
            return fail("no column is what strategies see");
        }
        if !self.fitted.is_empty() && !self.limits.is_empty() {
            return fail(
                "a predictor is fitted to any architectures: leave out the limits, or --fit",
            );
        }
        if self.fitted.contains(&0) {
            return fail("a predictor is fitted to at least 1 architecture");
        }
        Ok(())
    }

    fn seed_of(&self, number: usize) -> u64 {
        self.seed.wrapping_add(number as u64)
    }

    /// The mean of the columns that count.
    fn truth_of(&self, text: &str) -> Result<f64> {
        let values = self.truth.iter().map(|column| column.value(text));
        let sum = values.sum::<Result<f64, SearchError>>()?;
        Ok(sum / self.truth.len() as f64)
    }

    /// The inputs, by the texts of architectures; and, for those that have no row, by their keys:
    /// those of the first other text of the same network.
    fn known_inputs(&self) -> Result<HashMap<String, Vec<f64>>> {
        let mut inputs = HashMap::new();
        let Some(first) = self.inputs.first() else { return Ok(inputs) };
        let fail =
            |reason: String| SearchError::Input(format!("{}: {reason}", first.path().display()));
        for text in first.architectures() {
            let choices = self.space.parse(text).map_err(|e| fail(e.to_string()))?;
            let values = self.inputs.iter().map(|column| column.value(text));
            let values = values.collect::<Result<Vec<f64>, SearchError>>()?;
            inputs.entry(self.space.key(&choices)).or_insert_with(|| values.clone());
            inputs.insert(text.to_owned(), values);
        }
        let missing = every_architecture(self.space)
            .and_then(|mut all| all.find(|choices| !inputs.contains_key(&self.space.key(choices))));
        match missing {
            None => Ok(inputs),
            Some(choices) => {
                let text = self.space.text(&choices);
                Err(fail(format!("there is no row for {text}, nor for its network")).into())
            }
        }
    }

    /// For every number of evaluations the truth of what the strategy would deliver.
    fn search(
        &self,
        contestant: &Contestant,
        number: usize,
        inputs: &HashMap<String, Vec<f64>>,
        folder: &RunDir,
        interrupt: &Interrupt,
    ) -> Result<Finished<Vec<f64>>> {
        let seed = self.seed_of(number);
        // What labels are made of tells settings apart in a name too.
        let name = contestant.label.replace(':', "-");
        let run = RunDir::create(&folder.file(&format!("{name}/seed{seed}")))?;
        let streams = Streams::new(seed);
        let scores = |choices: &Choices| {
            let text = self.space.text(choices);
            let scores =
                inputs.get(&text).or_else(|| inputs.get(&self.space.key(choices))).cloned();
            let missing = || SearchError::Input(format!("there are no inputs for {text}"));
            Ok(Finished::Done(scores.ok_or_else(missing)?))
        };
        let names = self.inputs.iter().map(|column| column.name().to_owned()).collect();
        let inputs = contestant
            .with_inputs
            .then(|| Inputs::open(names, self.space, streams, Box::new(scores), &mut |_, _| {}))
            .transpose()?
            .and_then(Finished::done);
        let problem =
            Problem { inputs: inputs.as_ref(), ..Problem::new(self.space, self.limits, streams) };
        let mut strategy = (contestant.entry.open)(&contestant.settings, problem)?;
        let selection = self.selection.expect("strategies are checked to see something");
        let ingredients = Ingredients { table: Some(selection), ..Ingredients::of(self.space) };
        let mut scorer = registry::scorer("table", &ingredients)?;
        let most = self.evaluations.iter().copied().max().unwrap_or(0);
        let exploration = Exploration {
            problem,
            strategy: &mut *strategy,
            scorer: &mut *scorer,
            start: &[],
            stop: StopRule { evaluations: Some(most), ..StopRule::default() },
            origin: {
                let mut origin = origin(seed, &contestant.settings, Some(selection));
                if contestant.with_inputs {
                    let digests = self.inputs.iter().map(|c| format!("{:016x}", c.digest()));
                    origin.insert("input_tables".into(), digests.collect::<Vec<_>>().into());
                }
                origin
            },
        };
        let mut chosen = Vec::with_capacity(most);
        let reporter = &mut Quiet;
        let mut context = Context {
            resume: true,
            check_memory: false,
            ..Context::new(&run, interrupt, reporter)
        };
        let explored = explore_watched(exploration, &mut context, &mut |strategy, trials| {
            chosen.push(strategy.choose(trials).text.clone());
        })?;
        explored.try_map(|_| {
            chosen.truncate(most);
            // A space that is exhausted has nothing better to offer.
            let last = chosen.last().cloned().unwrap_or_default();
            chosen.resize(most, last);
            chosen.iter().map(|text| self.truth_of(text)).collect()
        })
    }

    /// The networks that predictors rank, where any is fitted.
    fn ranking(&self) -> Result<Option<Ranking>> {
        let Some(most) = self.fitted.iter().copied().max() else { return Ok(None) };
        let architectures: Vec<Choices> = match every_architecture(self.space) {
            Some(architectures) => architectures.collect(),
            None => {
                let mut rng = Streams::new(self.seed).once("study/ranked");
                (0..RANKED + most).map(|_| self.space.sample(&mut rng)).collect()
            }
        };
        let mut keys = HashSet::new();
        let is_first = |choices| keys.insert(self.space.key(choices));
        let firsts: Vec<bool> = architectures.iter().map(is_first).collect();
        let networks = firsts.iter().filter(|&&first| first).count();
        if networks <= most + 1 {
            let message = format!(
                "study: a predictor fitted to {most} of {networks} networks has none to rank"
            );
            return Err(SearchError::Input(message).into());
        }
        let predictor = Predictor::new(self.space);
        let points = architectures.iter().map(|choices| predictor.point(choices)).collect();
        let truth = |choices: &Choices| self.truth_of(&self.space.text(choices));
        let truth = architectures.iter().map(truth).collect::<Result<_>>()?;
        Ok(Some(Ranking { predictor, points, truth, firsts }))
    }

    fn bounds(&self) -> Result<Option<Bounds>> {
        let (Some(selection), true) = (self.selection, self.limits.is_empty()) else {
            return Ok(None);
        };
        let Some(architectures) = every_architecture(self.space) else { return Ok(None) };
        let mut keys = HashSet::new();
        let mut best_selected = (f64::NEG_INFINITY, f64::NAN);
        let mut best = f64::NEG_INFINITY;
        for choices in architectures {
            if !keys.insert(self.space.key(&choices)) {
                continue;
            }
            let text = self.space.text(&choices);
            // A table with holes has no best of all.
            let (Ok(selected), Ok(truth)) = (selection.value(&text), self.truth_of(&text)) else {
                return Ok(None);
            };
            if selected > best_selected.0 {
                best_selected = (selected, truth);
            }
            best = best.max(truth);
        }
        let networks = keys.len();
        Ok(Some(Bounds { networks, best_selected: best_selected.1, best }))
    }

    fn result(
        &self,
        curves: &[Vec<f64>],
        taus: &[[f64; 2]],
        ranking: Option<&Ranking>,
    ) -> Result<StrategyStudy> {
        let mut rng = Streams::new(self.seed).once("study/bootstrap");
        let samples = resamples(self.seeds, RESAMPLES, &mut rng);
        let curves: Vec<&[Vec<f64>]> = curves.chunks(self.seeds).collect();
        let at = |strategy: usize, count: usize| -> Vec<f64> {
            curves[strategy].iter().map(|curve| curve[count - 1]).collect()
        };
        let found = |i: usize, count: usize| {
            let values = at(i, count);
            let others = self.strategies.iter().enumerate().filter(|(j, _)| *j != i);
            let better_than = others.map(|(j, other)| {
                let differences: Vec<f64> =
                    values.iter().zip(at(j, count)).map(|(a, b)| a - b).collect();
                let of = |sample: &[usize]| {
                    let sum: f64 = sample.iter().map(|&seed| differences[seed]).sum();
                    Some(sum / sample.len() as f64)
                };
                let interval = interval(&samples, of).filter(|_| self.seeds > 1);
                (other.label.clone(), Difference { mean: mean(&differences), interval })
            });
            let (better_than, sd) = (better_than.collect(), sd(&values));
            Found { evaluations: count, mean: mean(&values), sd, better_than, values }
        };
        let strategies = self.strategies.iter().enumerate().map(|(i, contestant)| {
            let most = curves[i][0].len();
            StrategyResult {
                strategy: contestant.label.clone(),
                settings: contestant.settings.clone(),
                found: self.evaluations.iter().map(|&count| found(i, count)).collect(),
                curve: (1..=most).map(|count| mean(&at(i, count))).collect(),
            }
        });
        let predictor = self.fitted.iter().zip(taus.chunks(self.seeds)).map(|(&fitted, taus)| {
            let [all, once] = ranking.map_or([0; 2], Ranking::counts);
            let ranked = |of: usize, count: usize| {
                let taus: Vec<f64> = taus.iter().map(|both| both[of]).collect();
                Ranked { count: count - fitted, kendall: mean(&taus), sd: sd(&taus) }
            };
            PredictorResult { fitted, architectures: ranked(0, all), networks: ranked(1, once) }
        });
        Ok(StrategyStudy {
            schema: SCHEMA,
            space: self.space.name().to_owned(),
            selection: self.selection.map(|column| column.name().to_owned()),
            truth: self.truth.iter().map(|column| column.name().to_owned()).collect(),
            seeds: self.seeds,
            seed: self.seed,
            bounds: self.bounds()?,
            strategies: strategies.collect(),
            predictor: predictor.collect(),
        })
    }
}

impl StrategyStudy {
    /// The text of `study.json`.
    pub fn to_json(&self) -> String {
        adwp_base::to_json(self)
    }
}

/// Architectures with their truth.
struct Ranking {
    predictor: Predictor,
    points: Vec<Point>,
    truth: Vec<f64>,
    /// Which of them are no network that another one before is.
    firsts: Vec<bool>,
}

impl Ranking {
    /// How many architectures and how many networks there are.
    fn counts(&self) -> [usize; 2] {
        [self.points.len(), self.firsts.iter().filter(|&&first| first).count()]
    }

    /// Kendall's τ-b of the predictions for all architectures, or all networks, but those that the
    /// predictor was fitted to.
    fn kendall(&self, fitted: usize, unique: bool, streams: Streams) -> f64 {
        let mut rng = streams.at("study/fitted", fitted, 0);
        let all: Vec<usize> =
            (0..self.points.len()).filter(|&i| !unique || self.firsts[i]).collect();
        let chosen = sample(&mut rng, all.len(), fitted).into_vec();
        let chosen: Vec<usize> = chosen.into_iter().map(|i| all[i]).collect();
        let points: Vec<Point> = chosen.iter().map(|&i| self.points[i].clone()).collect();
        let values: Vec<f64> = chosen.iter().map(|&i| self.truth[i]).collect();
        let posterior = self.predictor.fit(&points, &values);
        let mut is_fitted = vec![false; self.points.len()];
        chosen.iter().for_each(|&i| is_fitted[i] = true);
        let rest = || all.iter().copied().filter(|&i| !is_fitted[i]);
        let predicted: Vec<f64> = rest().map(|i| posterior.at(&self.points[i]).mean).collect();
        let truth: Vec<f64> = rest().map(|i| self.truth[i]).collect();
        kendall_tau(&predicted, &truth).unwrap_or(0.0)
    }
}

/// The results of all units, in order, computed by some threads.
fn on_threads<T: Send>(
    threads: usize,
    units: usize,
    context: &mut Context<'_>,
    work: impl Fn(usize, &Interrupt) -> Result<Finished<T>> + Sync,
) -> Result<Finished<Vec<T>>> {
    let interrupt = context.interrupt;
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Vec<Option<Result<Finished<T>>>>> =
        Mutex::new((0..units).map(|_| None).collect());
    let work_on = |tell: &mut dyn FnMut(usize)| {
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                return;
            }
            if interrupt.is_requested() && done.load(Ordering::Relaxed) > 0 {
                next.store(units, Ordering::Relaxed);
                return;
            }
            let result = work(unit, interrupt);
            if !matches!(result, Ok(Finished::Done(_))) {
                next.store(units, Ordering::Relaxed);
            }
            results.lock().expect("no holder panics")[unit] = Some(result);
            tell(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            scope.spawn(|| work_on(&mut |_| {}));
        }
        work_on(&mut |count| context.reporter.aside("study: unit", count, units));
    });
    context.reporter.phase_end();
    let mut all = Vec::with_capacity(units);
    for result in results.into_inner().expect("no holder panics") {
        match result.transpose()? {
            Some(Finished::Done(result)) => all.push(result),
            Some(Finished::Interrupted) | None => return Ok(Finished::Interrupted),
        }
    }
    Ok(Finished::Done(all))
}
