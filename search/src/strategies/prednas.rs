use std::collections::HashSet;

use adwp_models::Choices;
use adwp_train::Finished;
use rand::Rng;

use crate::ascent::Climb;
use crate::explore::every;
use crate::predictor::{Point, Posterior, Predictor};
use crate::strategy::{Problem, Strategy, StrategyEntry, StrategySetting, StrategySettings};
use crate::trials::Trial;
use crate::{Result, SearchError};

/// Ascents of a round; half of them set out from the best architectures, half from anywhere.
const ASCENTS: usize = 32;

/// Architectures of a round whose inputs are looked at, the most promising by structure.
const SHORTLIST: usize = 200;

/// PredNAS (arXiv 2210.14460, abstract): a differentiable predictor of scores, fitted to what was
/// scored so far, and gradient ascent through it to a better architecture, in rounds, under limits.
///
/// An ascent moves the shares in which the options of every decision are kept. Where it ends is
/// the nearest architecture and those around it: of all that the ascents of a round end in, the
/// most promising that were not scored yet are scored next. What is delivered is the architecture
/// of the highest prediction among those that were scored: a single score is noisier.
///
/// With [`Inputs`](crate::Inputs), half of the architectures before the first round are those that
/// the inputs stand highest for, and of a round the most promising by structure are told apart by
/// their inputs too.
struct PredNas<'a> {
    entry: &'static StrategyEntry,
    problem: Problem<'a>,
    source: Source,
    initial: usize,
    per_round: usize,
    exploration: f64,
    predictor: Predictor,
    keys: HashSet<String>,
    told: Vec<Choices>,
    points: Vec<Point>,
    scores: Vec<f64>,
    /// The round that `next` belongs to.
    round: Option<usize>,
    /// What the round scores, the most promising last.
    next: Vec<Choices>,
}

/// Where a round finds architectures.
#[derive(Clone, Copy)]
enum Source {
    /// Where ascents end, and around it.
    Ascents,
    /// Anywhere: as many random ones.
    Random(usize),
}

pub(crate) const ENTRY: StrategyEntry = StrategyEntry {
    name: "prednas",
    about: "gradient ascent through a predictor of scores, in rounds",
    settings: &[INITIAL, PER_ROUND, EXPLORATION],
    first: Some(INITIAL.name),
    reads_inputs: true,
    open: |settings, problem| open(&ENTRY, settings, problem, Source::Ascents),
};

/// The same without ascents: what the gradient is worth shows in the difference.
pub(crate) const PREDICTOR: StrategyEntry = StrategyEntry {
    name: "predictor",
    about: "the best of random architectures by the predictor of prednas, in rounds",
    settings: &[
        INITIAL,
        PER_ROUND,
        EXPLORATION,
        StrategySetting {
            name: "candidates",
            about: "random architectures that a round chooses from; all of the space, where it has \
                    no more",
            usual: 1000.0,
        },
    ],
    first: Some(INITIAL.name),
    reads_inputs: true,
    open: |settings, problem| {
        let candidates = Source::Random(settings.count("candidates")?);
        open(&PREDICTOR, settings, problem, candidates)
    },
};

const INITIAL: StrategySetting = StrategySetting {
    name: "initial",
    about: "random architectures before the first round",
    usual: 20.0,
};

const PER_ROUND: StrategySetting = StrategySetting {
    name: "per_round",
    about: "architectures scored between two fits of the predictor",
    usual: 2.0,
};

const EXPLORATION: StrategySetting = StrategySetting {
    name: "exploration",
    about: "what the uncertainty of a prediction is worth, by its standard deviation",
    usual: 0.75,
};

fn open<'a>(
    entry: &'static StrategyEntry,
    settings: &StrategySettings,
    problem: Problem<'a>,
    source: Source,
) -> Result<Box<dyn Strategy + 'a>> {
    let exploration = settings.number("exploration");
    if !(exploration >= 0.0 && exploration.is_finite()) {
        let message = format!("exploration = {exploration} is not a number from 0");
        return Err(SearchError::Input(message));
    }
    Ok(Box::new(PredNas {
        entry,
        problem,
        source,
        initial: settings.count("initial")?,
        per_round: settings.count("per_round")?,
        exploration,
        predictor: Predictor::new(problem.space),
        keys: HashSet::new(),
        told: Vec::new(),
        points: Vec::new(),
        scores: Vec::new(),
        round: None,
        next: Vec::new(),
    }))
}

impl Strategy for PredNas<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn ask(&mut self, rng: &mut dyn Rng) -> Result<Finished<Choices>> {
        let told = self.told.len();
        if told >= self.initial {
            let round = (told - self.initial) / self.per_round;
            if self.round != Some(round) {
                let Finished::Done(next) = self.plan(round)? else {
                    return Ok(Finished::Interrupted);
                };
                self.next = next;
                self.round = Some(round);
            }
            while let Some(choices) = self.next.pop() {
                // Some of them were scored already when a search is resumed within a round.
                if !self.keys.contains(&self.problem.space.key(&choices)) {
                    return Ok(Finished::Done(choices));
                }
            }
        } else if let (Some(inputs), true) = (self.problem.inputs, told.is_multiple_of(2)) {
            let is_new = |choices: &&Choices| {
                !self.keys.contains(&self.problem.space.key(choices))
                    && self.problem.allows(choices)
            };
            if let Some(choices) = inputs.reference().iter().find(is_new) {
                return Ok(Finished::Done(choices.clone()));
            }
        }
        Ok(Finished::Done(self.problem.space.sample(rng)))
    }

    fn tell(&mut self, trial: &Trial) {
        self.keys.insert(trial.key.clone());
        let point = self.predictor.point(&trial.choices);
        let inputs = self.problem.inputs.map(|inputs| inputs.standing(&trial.inputs));
        self.points.push(point.with_inputs(inputs.unwrap_or_default()));
        self.told.push(trial.choices.clone());
        self.scores.push(trial.score);
    }

    fn choose<'t>(&self, trials: &'t [Trial]) -> &'t Trial {
        let posterior = self.predictor.fit(&self.points, &self.scores);
        let means: Vec<f64> = self.points.iter().map(|point| posterior.at(point).mean).collect();
        &trials[first_largest(&means)]
    }
}

impl PredNas<'_> {
    /// What a round scores, the most promising last. Only what was known before the round counts.
    fn plan(&self, round: usize) -> Result<Finished<Vec<Choices>>> {
        let Problem { space, limits, streams, inputs } = self.problem;
        let known = self.initial + round * self.per_round;
        let posterior = self.predictor.fit(&self.points[..known], &self.scores[..known]);
        let climb = Climb {
            space,
            limits,
            predictor: &self.predictor,
            posterior: &posterior,
            exploration: self.exploration,
        };
        let mut rng = streams.at("prednas/round", round, 0);
        let pool = match self.source {
            Source::Ascents => self.ascents(&climb, &posterior, known, &mut rng),
            Source::Random(count) => {
                let all = every(space.decisions()).map(|all| all.take(count + 1).collect());
                let all: Option<Vec<Choices>> = all.filter(|all: &Vec<_>| all.len() <= count);
                all.unwrap_or_else(|| (0..count).map(|_| space.sample(&mut rng)).collect())
            }
        };
        // The keys of before the round, so that a round that is resumed is planned as it was.
        let mut keys: HashSet<String> =
            self.told[..known].iter().map(|choices| space.key(choices)).collect();
        let mut ranked: Vec<(f64, Choices)> = pool
            .into_iter()
            .filter(|choices| keys.insert(space.key(choices)))
            .map(|choices| (climb.worth(&self.predictor.point(&choices)), choices))
            .collect();
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        ranked.retain(|(_, choices)| self.problem.allows(choices));
        if let Some(inputs) = inputs {
            ranked.truncate(SHORTLIST);
            // Wherever they are: what the inputs tell is not told by the structure around.
            let best = inputs.reference().iter().filter(|choices| self.problem.allows(choices));
            let new = best.filter(|choices| keys.insert(space.key(choices)));
            ranked.extend(new.take(SHORTLIST / 4).map(|choices| (0.0, choices.clone())));
            for (worth, choices) in &mut ranked {
                let Finished::Done(scores) = inputs.of(choices)? else {
                    return Ok(Finished::Interrupted);
                };
                let point = self.predictor.point(choices).with_inputs(inputs.standing(&scores));
                *worth = climb.worth(&point);
            }
            ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        }
        ranked.truncate(self.per_round);
        Ok(Finished::Done(ranked.into_iter().rev().map(|(_, choices)| choices).collect()))
    }

    /// Where the ascents of a round end, and around it.
    fn ascents(
        &self,
        climb: &Climb<'_>,
        posterior: &Posterior<'_>,
        known: usize,
        rng: &mut dyn Rng,
    ) -> Vec<Choices> {
        let means: Vec<f64> =
            self.points[..known].iter().map(|point| posterior.at(point).mean).collect();
        let mut order: Vec<usize> = (0..known).collect();
        order.sort_by(|&a, &b| means[b].total_cmp(&means[a]));
        order.truncate(ASCENTS / 2);
        let mut pool = Vec::new();
        for ascent in 0..ASCENTS {
            let start = order.get(ascent).map(|&best| &self.told[best]);
            let top = climb.ascend(start, rng);
            pool.extend(self.problem.space.neighbours(&top));
            pool.push(top);
        }
        pool
    }
}

/// Position of the largest value, the first of equals.
fn first_largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}
