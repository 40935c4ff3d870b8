//! The loop of every search that scores architectures one by one.

use std::collections::HashSet;
use std::time::Instant;

use adwp_models::{Choices, Decision, Resource, Space};
use adwp_train::{Context, Finished, Streams};
use rand::Rng;
use serde_json::{Map, Value, json};

use crate::scorer::Scorer;
use crate::strategy::{Problem, Strategy, StrategySettings};
use crate::table::Column;
use crate::trials::{INPUTS, Record, Trial};
use crate::{Result, SearchError};

/// The record of a search in the folder of its run.
pub const TRIALS: &str = "trials.jsonl";

/// How often a strategy is asked for an architecture that was not scored before.
const ASKS: usize = 100;

/// How many architectures are drawn when it has found none.
const SAMPLES: usize = 1000;

/// The largest number of architectures of a space that are looked through, one by one, when none
/// was drawn.
const LISTED: u64 = 1 << 20;

/// What a search consists of.
pub struct Exploration<'a> {
    /// What architectures are looked for.
    pub problem: Problem<'a>,
    /// Which of them are scored.
    pub strategy: &'a mut dyn Strategy,
    /// What they are worth.
    pub scorer: &'a mut dyn Scorer,
    /// Architectures that are scored first. The strategy learns their scores like any others.
    pub start: &'a [Choices],
    /// When it ends.
    pub stop: StopRule,
    /// What else decides the trials, such as settings: kept in the record, and compared when the
    /// search is resumed.
    pub origin: Map<String, Value>,
}

/// The [`Exploration::origin`] that every search has: its seed, the settings of its strategy, and
/// the column that it sees.
pub fn origin(
    seed: u64,
    settings: &StrategySettings,
    column: Option<&Column>,
) -> Map<String, Value> {
    let mut origin = Map::new();
    origin.insert("seed".into(), seed.into());
    if let Some(column) = column {
        origin.insert("column".into(), column.name().into());
        origin.insert("table".into(), format!("{:016x}", column.digest()).into());
    }
    origin.insert("settings".into(), json!(settings));
    origin
}

/// When a search ends: as soon as one of these is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StopRule {
    /// Architectures scored.
    pub evaluations: Option<usize>,
    /// Minutes of scoring, over all sessions.
    pub minutes: Option<f64>,
    /// Epochs of training that the scores took.
    pub epochs: Option<usize>,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq)]
pub struct Explored {
    /// The trial that the strategy chose: that of the highest score, unless it knows better.
    pub best: Trial,
    /// All trials, in order.
    pub trials: Vec<Trial>,
}

/// Scores architectures until the stop rule ends it or the space is exhausted. No two of them have
/// the same key. Every trial is a line of `trials.jsonl`; a search that was interrupted or killed
/// and is resumed has the same trials as one that was not.
///
/// # Errors
/// [`SearchError::Input`] for a stop rule that ends nothing and for a record of another search;
/// those of the scorer.
pub fn explore(
    exploration: Exploration<'_>,
    context: &mut Context<'_>,
) -> Result<Finished<Explored>> {
    explore_watched(exploration, context, &mut |_, _| {})
}

/// The same; `watch` gets the strategy and the trials that it was told each time that another one
/// was told, those of the record included.
///
/// # Errors
/// As [`explore`].
pub fn explore_watched(
    exploration: Exploration<'_>,
    context: &mut Context<'_>,
    watch: &mut Watch<'_>,
) -> Result<Finished<Explored>> {
    let finished = drive(exploration, context, watch);
    context.reporter.phase_end();
    finished
}

/// Looks at a strategy and the trials that it was told.
pub type Watch<'a> = dyn FnMut(&dyn Strategy, &[Trial]) + 'a;

/// Every architecture of a space, in order; `None` where there are too many.
pub fn every_architecture(space: &dyn Space) -> Option<impl Iterator<Item = Choices>> {
    every(space.decisions())
}

fn drive(
    exploration: Exploration<'_>,
    context: &mut Context<'_>,
    watch: &mut Watch<'_>,
) -> Result<Finished<Explored>> {
    let Exploration { problem, strategy, scorer, start, stop, mut origin } = exploration;
    let space = problem.space;
    stop.validate(scorer)?;
    for choices in start {
        space.validate(choices)?;
        if !problem.allows(choices) {
            let text =
                format!("{} is to be scored first, and beyond the limits", space.text(choices));
            return Err(SearchError::Input(text));
        }
    }
    if !start.is_empty() {
        let texts: Vec<String> = start.iter().map(|choices| space.text(choices)).collect();
        origin.insert("start".into(), texts.into());
    }
    for (key, name) in
        [("space", space.name()), ("strategy", strategy.name()), ("scorer", scorer.name())]
    {
        origin.insert(key.into(), name.into());
    }
    if let Some(inputs) = problem.inputs {
        origin.insert(INPUTS.into(), inputs.names().into());
    }
    for limit in problem.limits {
        origin.insert(format!("most {}", limit.resource), limit.most.into());
        if limit.resource == Resource::Latency {
            let digest = Streams::new(0).seed_for(&format!("{:?}", limit.costs));
            origin.insert("latencies".into(), format!("{digest:016x}").into());
        }
    }
    let (mut record, mut trials) =
        Record::open(context.run.file(TRIALS), context.resume, &origin, space)?;
    for (i, trial) in trials.iter().enumerate() {
        record.check(trial, scorer.published(&trial.choices)?)?;
        strategy.tell(trial);
        watch(strategy, &trials[..=i]);
    }
    let mut keys: HashSet<String> = trials.iter().map(|trial| trial.key.clone()).collect();
    let known = trials.len();
    if known > 0 {
        context.reporter.message(&format!("search: continuing after {known} architectures"));
        if stop.evaluations.is_some_and(|most| most < known) {
            let text =
                format!("search: the record has {known} already, and the best of them counts");
            context.reporter.message(&text);
        }
    }
    if !stop.is_reached(&trials, scorer) && scorer.prepare(context)? == Finished::Interrupted {
        return Ok(Finished::Interrupted);
    }
    while !stop.is_reached(&trials, scorer) {
        // A session scores at least one, so that the shortest one makes progress.
        if trials.len() > known && context.interrupt.is_requested() {
            return Ok(Finished::Interrupted);
        }
        let number = trials.len();
        let mut rng = problem.streams.at("explore", number, 0);
        let first = start.iter().find(|choices| !keys.contains(&space.key(choices)));
        let choices = match first {
            Some(choices) => Some(choices.clone()),
            None => match next(problem, strategy, &keys, &mut rng)? {
                Finished::Interrupted => return Ok(Finished::Interrupted),
                Finished::Done(choices) => choices,
            },
        };
        let Some(choices) = choices else {
            let within = if problem.limits.is_empty() { "" } else { " within the limits" };
            if number == 0 {
                let name = space.name();
                let text = format!("no architecture of the space {name}{within} was found");
                return Err(SearchError::Input(text));
            }
            let text =
                format!("search: no architecture of the space{within} is left after {number}");
            context.reporter.message(&text);
            break;
        };
        let inputs = problem.inputs.map(|inputs| inputs.of(&choices)).transpose()?;
        let Finished::Done(inputs) = inputs.unwrap_or(Finished::Done(Vec::new())) else {
            return Ok(Finished::Interrupted);
        };
        let start = Instant::now();
        let Finished::Done(score) = scorer.score(&choices, context)? else {
            return Ok(Finished::Interrupted);
        };
        let (key, text) = (space.key(&choices), space.text(&choices));
        if !score.is_finite() {
            let scorer = scorer.name();
            return Err(SearchError::Input(format!("{scorer}: the score of {text} is {score}")));
        }
        let seconds = start.elapsed().as_secs_f64();
        let trial = Trial { number, choices, key, text, score, inputs, seconds };
        record.add(&trial)?;
        strategy.tell(&trial);
        keys.insert(trial.key.clone());
        trials.push(trial);
        watch(strategy, &trials);
        let done = trials.len();
        let total = stop.evaluations.unwrap_or(done);
        context.reporter.aside("search: architecture", done, total);
    }
    let best = strategy.choose(&trials).clone();
    Ok(Finished::Done(Explored { best, trials }))
}

impl StopRule {
    /// Checks that it ends a search with this scorer, and not before the first trial.
    fn validate(&self, scorer: &dyn Scorer) -> Result<()> {
        let fail = |message: String| Err(SearchError::Input(message));
        let (name, needed) = (scorer.name(), scorer.epochs());
        match *self {
            Self { evaluations: None, minutes: None, epochs: None } => {
                fail("a search needs an end: evaluations, minutes or epochs".into())
            }
            Self { evaluations: Some(0), .. } => fail("evaluations must be at least 1".into()),
            Self { minutes: Some(minutes), .. } if !(minutes > 0.0 && minutes.is_finite()) => {
                fail(format!("minutes = {minutes} is not a number above 0"))
            }
            Self { epochs: Some(_), .. } if needed == 0 => {
                fail(format!("epochs end no search by {name}, which trains no architecture"))
            }
            Self { epochs: Some(epochs), .. } if epochs < needed => {
                fail(format!("epochs = {epochs}: {name} takes {needed} for one architecture"))
            }
            _ => Ok(()),
        }
    }

    fn is_reached(&self, trials: &[Trial], scorer: &dyn Scorer) -> bool {
        let seconds = || trials.iter().map(|trial| trial.seconds).sum::<f64>();
        self.evaluations.is_some_and(|most| trials.len() >= most)
            || self.minutes.is_some_and(|most| seconds() >= 60.0 * most)
            || self.epochs.is_some_and(|most| (trials.len() + 1) * scorer.epochs() > most)
    }
}

/// An architecture within the limits whose key is not among `keys`; `None` when there is none left.
/// A duplicate is not scored and counts nowhere: the strategy is asked again, then architectures
/// are drawn, then all are looked through.
fn next(
    problem: Problem<'_>,
    strategy: &mut dyn Strategy,
    keys: &HashSet<String>,
    rng: &mut dyn Rng,
) -> Result<Finished<Option<Choices>>> {
    let space = problem.space;
    let is_new = |choices: &Choices| !keys.contains(&space.key(choices)) && problem.allows(choices);
    for _ in 0..ASKS {
        match strategy.ask(rng)? {
            Finished::Interrupted => return Ok(Finished::Interrupted),
            Finished::Done(choices) if is_new(&choices) => {
                return Ok(Finished::Done(Some(choices)));
            }
            Finished::Done(_) => {}
        }
    }
    let drawn = (0..SAMPLES).map(|_| space.sample(rng)).find(is_new);
    Ok(Finished::Done(drawn.or_else(|| every(space.decisions())?.find(is_new))))
}

/// Every architecture, in order; `None` where there are too many.
pub(crate) fn every(decisions: &[Decision]) -> Option<impl Iterator<Item = Choices>> {
    let kept: Vec<Vec<Vec<usize>>> = decisions
        .iter()
        .map(|decision| (decision.options < 64).then(|| subsets(decision)))
        .collect::<Option<_>>()?;
    let count = kept
        .iter()
        .try_fold(1u64, |count, kept| count.checked_mul(kept.len() as u64))
        .filter(|&count| count <= LISTED)?;
    Some((0..count).map(move |mut number| {
        Choices(
            kept.iter()
                .map(|kept| {
                    let choice = kept[(number % kept.len() as u64) as usize].clone();
                    number /= kept.len() as u64;
                    choice
                })
                .collect(),
        )
    }))
}

/// The ways to keep options of a decision.
fn subsets(decision: &Decision) -> Vec<Vec<usize>> {
    let mut subsets = vec![Vec::new()];
    for _ in 0..decision.keep {
        subsets = subsets
            .into_iter()
            .flat_map(|kept: Vec<usize>| {
                let first = kept.last().map_or(0, |last| last + 1);
                (first..decision.options).map(move |option| [&kept[..], &[option]].concat())
            })
            .collect();
    }
    subsets
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::inputs::Inputs;
    use crate::registry;
    use adwp_engine::Candidate;
    use adwp_models::{
        ChoiceCosts, Discrete, Genotype, Heads, Hypernetwork, HypernetworkOptions, Limit,
        ModelError, Skeleton,
    };
    use adwp_train::{Interrupt, Progress, Reporter, RunDir};
    use std::fs;
    use std::path::Path;

    /// Decisions between five options, the first two of which compute the same.
    struct Toy {
        decisions: Vec<Decision>,
    }

    impl Toy {
        fn new(decisions: usize) -> Self {
            Self { decisions: vec![Decision { options: 5, keep: 1 }; decisions] }
        }
    }

    impl Space for Toy {
        fn option(&self, _: Candidate) -> (usize, usize) {
            unreachable!("nothing is built")
        }

        fn terms(&self, _: usize) -> usize {
            unreachable!("nothing is built")
        }

        fn name(&self) -> &'static str {
            "toy"
        }

        fn decisions(&self) -> &[Decision] {
            &self.decisions
        }

        fn key(&self, choices: &Choices) -> String {
            choices.0.iter().map(|kept| kept[0].max(1).to_string()).collect()
        }

        fn text(&self, choices: &Choices) -> String {
            choices.0.iter().map(|kept| kept[0].to_string()).collect()
        }

        fn parse(&self, text: &str) -> Result<Choices, ModelError> {
            let digit = |c: char| c.to_digit(5).map(|digit| vec![digit as usize]);
            let choices = text.chars().map(digit).collect::<Option<_>>();
            choices.map(Choices).ok_or_else(|| ModelError::Invalid(format!("{text:?}")))
        }

        fn skeleton(&self) -> Skeleton {
            unreachable!("nothing is built")
        }

        fn genotype(&self, _: &Choices) -> Result<Option<Genotype>, ModelError> {
            unreachable!("nothing is built")
        }

        fn build(&self, _: &Choices, _: usize, _: Option<Heads>) -> Result<Discrete, ModelError> {
            unreachable!("nothing is built")
        }

        fn with_cells(&self, _: usize) -> Result<Box<dyn Space>, ModelError> {
            unreachable!("nothing is built")
        }

        fn hypernetwork(
            &self,
            _: &Choices,
            _: usize,
            _: HypernetworkOptions,
        ) -> Result<Hypernetwork, ModelError> {
            unreachable!("nothing is built")
        }
    }

    /// The sum of what every decision adds; the best architecture is found only by luck.
    #[derive(Default)]
    struct Additive {
        scored: Vec<String>,
        epochs: usize,
    }

    /// What an architecture is worth by one of its decisions.
    fn worth(choices: &Choices, decision: usize) -> f64 {
        ((choices.0[decision][0].max(1) * 7 + decision * 3) % 5) as f64
    }

    impl Scorer for Additive {
        fn name(&self) -> &'static str {
            "additive"
        }

        fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
            let key: Vec<usize> = choices.0.iter().map(|kept| kept[0].max(1)).collect();
            self.scored.push(key.iter().map(usize::to_string).collect());
            Ok(Finished::Done((0..key.len()).map(|i| worth(choices, i)).sum()))
        }

        fn epochs(&self) -> usize {
            self.epochs
        }
    }

    /// Asks for a stop after some trials.
    struct Impatient {
        left: usize,
        interrupt: Interrupt,
        said: Vec<String>,
    }

    impl Reporter for Impatient {
        fn step(&mut self, _: &Progress) {}
        fn aside(&mut self, _: &str, _: usize, _: usize) {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                self.interrupt.request();
            }
        }
        fn epoch(&mut self, _: &Map<String, Value>) {}
        fn message(&mut self, text: &str) {
            self.said.push(text.to_owned());
        }
        fn phase_end(&mut self) {}
    }

    /// Settings for searches of few trials.
    const SMALL: [(&str, f64); 6] = [
        ("population_size", 10.0),
        ("sample_size", 4.0),
        ("starts", 3.0),
        ("initial", 5.0),
        ("per_round", 4.0),
        ("candidates", 40.0),
    ];

    const NAMES: [&str; 5] = ["random", "local", "evolution", "predictor", "prednas"];

    /// A strategy with the settings of those given that it has.
    fn opened<'a>(
        name: &str,
        given: &[(&'static str, f64)],
        problem: Problem<'a>,
    ) -> Result<Box<dyn Strategy + 'a>> {
        let entry = registry::strategy(name)?;
        let has = |(name, _): &&(&str, f64)| entry.settings.iter().any(|s| s.name == *name);
        let given = given.iter().filter(has).copied().collect();
        (entry.open)(&entry.settings(&given)?, problem)
    }

    /// What a search does in a folder.
    struct Toil<'a> {
        folder: &'a Path,
        strategy: &'a str,
        decisions: usize,
        seed: u64,
        stop: StopRule,
        resume: bool,
        /// Trials before the interrupt.
        trials: usize,
        epochs: usize,
        /// Gives an input of every architecture.
        input: Option<fn(&Choices) -> f64>,
        start: &'a [Choices],
    }

    impl<'a> Toil<'a> {
        fn new(folder: &'a Path, strategy: &'a str, evaluations: usize) -> Self {
            let stop = StopRule { evaluations: Some(evaluations), ..StopRule::default() };
            let (decisions, seed, trials) = (6, 1, usize::MAX);
            let (resume, epochs, input) = (false, 0, None);
            let start = &[];
            Self { folder, strategy, decisions, seed, stop, resume, trials, epochs, input, start }
        }

        /// The result, the architectures that were scored, and the messages.
        fn done(&self) -> (Result<Finished<Explored>>, Vec<String>, Vec<String>) {
            let space = Toy::new(self.decisions);
            let streams = Streams::new(self.seed);
            let inputs = self.input.map(|of| {
                let scores = move |choices: &Choices| Ok(Finished::Done(vec![of(choices)]));
                let names = vec!["hint".to_owned()];
                let opened =
                    Inputs::open(names, &space, streams, Box::new(scores), &mut |_, _| {}).unwrap();
                opened.done().expect("nobody interrupts it")
            });
            let problem = Problem { inputs: inputs.as_ref(), ..Problem::new(&space, &[], streams) };
            let mut strategy = opened(self.strategy, &SMALL, problem).unwrap();
            let mut scorer = Additive { epochs: self.epochs, ..Additive::default() };
            let interrupt = Interrupt::default();
            let mut reporter =
                Impatient { left: self.trials, interrupt: interrupt.clone(), said: Vec::new() };
            let exploration = Exploration {
                problem,
                strategy: &mut *strategy,
                scorer: &mut scorer,
                start: self.start,
                stop: self.stop,
                origin: Map::from_iter([("seed".to_owned(), self.seed.into())]),
            };
            let run = RunDir::create(self.folder).unwrap();
            let mut context =
                Context { resume: self.resume, ..Context::new(&run, &interrupt, &mut reporter) };
            let finished = explore(exploration, &mut context);
            (finished, scorer.scored, reporter.said)
        }

        fn explored(&self) -> Explored {
            self.done().0.unwrap().done().expect("nobody interrupts it")
        }
    }

    /// The record without its times.
    fn record(folder: &Path) -> Vec<Map<String, Value>> {
        let text = fs::read_to_string(folder.join(TRIALS)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let timeless = |mut line: Map<String, Value>| {
            line.remove("seconds");
            line.remove("checksum");
            line
        };
        lines.map(timeless).collect()
    }

    #[test]
    fn a_seed_decides_the_trials() {
        let holder = tempfile::tempdir().unwrap();
        for strategy in NAMES {
            let texts = |seed| -> Vec<String> {
                let toil = Toil { seed, ..Toil::new(holder.path(), strategy, 40) };
                toil.explored().trials.into_iter().map(|trial| trial.text).collect()
            };
            assert_eq!(texts(1), texts(1));
            assert_ne!(texts(1), texts(2));
        }
    }

    #[test]
    fn every_strategy_finds_better_architectures_than_random_search() {
        let holder = tempfile::tempdir().unwrap();
        let mean = |strategy: &str| {
            let best = |seed| {
                let toil = Toil { seed, decisions: 12, ..Toil::new(holder.path(), strategy, 100) };
                toil.explored().best.score
            };
            (0..20).map(best).sum::<f64>() / 20.0
        };
        let means = NAMES.map(mean);
        // The best of all is 48; the best of 100 at random is about 2.5 standard deviations above
        // the mean of 27.
        assert!(
            means[0] < 42.0 && means[1..].iter().all(|mean| *mean > means[0] + 2.0),
            "{means:?}"
        );
    }

    /// What an architecture is worth but for two of its decisions.
    fn hint(choices: &Choices) -> f64 {
        (2..choices.0.len()).map(|i| worth(choices, i)).sum()
    }

    /// Something that has nothing to do with what architectures are worth.
    fn noise(choices: &Choices) -> f64 {
        (Streams::new(0).seed_for(&format!("{choices:?}")) % 1000) as f64
    }

    #[test]
    fn inputs_save_evaluations_where_they_tell_something() {
        let holder = tempfile::tempdir().unwrap();
        let mean = |input| {
            let best = |seed| {
                let toil = Toil::new(holder.path(), "prednas", 14);
                Toil { seed, decisions: 12, input, ..toil }.explored().best.score
            };
            (0..10).map(best).sum::<f64>() / 10.0
        };
        let [without, with, misled] =
            [None, Some(hint as fn(&Choices) -> f64), Some(noise)].map(mean);
        assert!(with > without + 3.0, "{with} with a hint, {without} without");
        assert!(misled > without - 2.0, "{misled} with noise, {without} without");
    }

    #[test]
    fn a_search_that_is_interrupted_after_any_trial_has_the_same_record() {
        let holder = tempfile::tempdir().unwrap();
        // Architectures that compute the same can differ in their inputs.
        let inputs = [("prednas", Some(hint as fn(&Choices) -> f64)), ("predictor", Some(noise))];
        for (strategy, input) in NAMES.map(|name| (name, None)).into_iter().chain(inputs) {
            let [whole, pieces] = ["whole", "pieces"].map(|name| holder.path().join(name));
            let begun = |folder| Toil { input, ..Toil::new(folder, strategy, 24) };
            let expected = begun(&whole).explored();
            for trials in 1..24 {
                let toil = Toil { trials, ..begun(&pieces) };
                let (first, scored, _) = toil.done();
                assert_eq!((first.unwrap(), scored.len()), (Finished::Interrupted, trials));
                let toil = Toil { resume: true, trials: usize::MAX, ..toil };
                let (second, rest, said) = toil.done();
                assert_eq!(rest.len(), 24 - trials, "nothing is scored twice");
                assert_eq!(said, [format!("search: continuing after {trials} architectures")]);
                let second = second.unwrap().done().unwrap();
                assert_eq!((second.best.number, &second.best.text), {
                    (expected.best.number, &expected.best.text)
                });
                assert_eq!(record(&pieces), record(&whole));
            }
        }
    }

    #[test]
    fn a_line_that_a_kill_cut_off_is_written_again() {
        let holder = tempfile::tempdir().unwrap();
        let [whole, killed] = ["whole", "killed"].map(|name| holder.path().join(name));
        Toil::new(&whole, "evolution", 15).explored();
        Toil::new(&killed, "evolution", 15).explored();
        let path = killed.join(TRIALS);
        let bytes = fs::read(&path).unwrap();
        for cut in [1, 20, 300] {
            fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            let toil = Toil { resume: true, ..Toil::new(&killed, "evolution", 15) };
            let (finished, scored, _) = toil.done();
            // Of a line that lacks nothing but its end, nothing is lost.
            assert!(finished.is_ok() && scored.is_empty() == (cut == 1), "{cut}: {scored:?}");
            assert_eq!(record(&killed), record(&whole));
        }
        // Cut off in its first line, it is begun again.
        fs::write(&path, &bytes[..10]).unwrap();
        Toil { resume: true, ..Toil::new(&killed, "evolution", 15) }.explored();
        assert_eq!(record(&killed), record(&whole));
    }

    #[test]
    fn architectures_that_compute_the_same_are_scored_once_until_none_is_left() {
        let holder = tempfile::tempdir().unwrap();
        for strategy in NAMES {
            let toil = Toil { decisions: 3, ..Toil::new(holder.path(), strategy, 1000) };
            let (finished, mut scored, said) = toil.done();
            let explored = finished.unwrap().done().unwrap();
            // Of five options each, two are the same.
            assert_eq!((explored.trials.len(), scored.len()), (64, 64));
            scored.sort();
            scored.dedup();
            assert_eq!(scored.len(), 64);
            assert_eq!(said, ["search: no architecture of the space is left after 64"]);
        }
    }

    #[test]
    fn every_registered_strategy_is_tested_here() {
        assert_eq!(registry::STRATEGIES.iter().map(|e| e.name).collect::<Vec<_>>(), NAMES);
    }

    #[test]
    fn of_equal_scores_the_earlier_is_the_best() {
        let holder = tempfile::tempdir().unwrap();
        let Explored { best, trials } =
            Toil { decisions: 3, ..Toil::new(holder.path(), "random", 64) }.explored();
        let highest = trials.iter().map(|trial| trial.score).fold(f64::MIN, f64::max);
        let first = trials.iter().find(|trial| trial.score == highest).unwrap();
        assert_eq!(&best, first);
        let equal = trials.iter().filter(|trial| trial.score == 6.0);
        assert!(equal.count() > 1, "scores of this space are often equal");
    }

    #[test]
    fn what_is_to_be_scored_first_is_and_the_strategy_learns_of_it() {
        // The first two options compute the same, so that the third of these is the first again.
        let start = [0, 4, 1].map(|option| Choices(vec![vec![option]; 6]));
        for strategy in NAMES {
            let holder = tempfile::tempdir().unwrap();
            let toil = Toil { start: &start, ..Toil::new(holder.path(), strategy, 8) };
            let found = toil.done().0.unwrap().done().unwrap();
            let scored: Vec<&Choices> = found.trials.iter().map(|trial| &trial.choices).collect();
            assert_eq!(scored[..2], [&start[0], &start[1]], "{strategy}");
            assert_eq!(found.trials.len(), 8, "{strategy}");
            assert_ne!(scored[2], &start[2], "{strategy}: the same architecture again");
            let first = found.trials[0].score.max(found.trials[1].score);
            assert!(found.best.score >= first, "{strategy}: what was given counts");
            // The record is of a search with this start.
            let resumed =
                |start| Toil { start, resume: true, ..Toil::new(holder.path(), strategy, 9) };
            let error = resumed(&[]).done().0.unwrap_err().to_string();
            assert!(error.contains("start"), "{error}");
            let found = resumed(&start).done().0.unwrap().done().unwrap();
            assert_eq!(found.trials.len(), 9);
        }
        let holder = tempfile::tempdir().unwrap();
        let wrong = [Choices(vec![vec![5]; 6])];
        let toil = Toil { start: &wrong, ..Toil::new(holder.path(), "random", 8) };
        assert!(toil.done().0.unwrap_err().to_string().contains("decision 0"));
    }

    #[test]
    fn the_stop_rule_that_is_reached_first_ends_the_search() {
        let holder = tempfile::tempdir().unwrap();
        let toil = |stop, epochs| Toil { stop, epochs, ..Toil::new(holder.path(), "random", 1) };
        let rule = |evaluations, minutes, epochs| StopRule { evaluations, minutes, epochs };
        let trials = |stop| toil(stop, 3).explored().trials.len();
        assert_eq!(trials(rule(Some(9), None, Some(29))), 9);
        assert_eq!(trials(rule(Some(10), None, Some(29))), 9);
        assert_eq!(trials(rule(None, Some(1e-12), None)), 1);
        for (stop, epochs, reason) in [
            (rule(None, None, None), 3, "needs an end"),
            (rule(Some(0), None, None), 3, "at least 1"),
            (rule(None, Some(f64::NAN), None), 3, "minutes = NaN"),
            (rule(Some(9), None, Some(9)), 0, "trains no architecture"),
            (rule(None, None, Some(2)), 3, "takes 3 for one"),
        ] {
            let error = toil(stop, epochs).done().0.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn the_record_of_another_search_is_refused() {
        let holder = tempfile::tempdir().unwrap();
        Toil::new(holder.path(), "random", 5).explored();
        let other =
            |toil: Toil<'_>| Toil { resume: true, ..toil }.done().0.unwrap_err().to_string();
        let strategy = other(Toil::new(holder.path(), "evolution", 5));
        assert!(strategy.contains("strategy is \"random\" there"), "{strategy}");
        let seed = other(Toil { seed: 2, ..Toil::new(holder.path(), "random", 5) });
        assert!(seed.contains("seed is 1 there and 2 here"), "{seed}");
        let input = Some(hint as fn(&Choices) -> f64);
        let input = other(Toil { input, ..Toil::new(holder.path(), "random", 5) });
        assert!(input.contains("inputs is null there and [\"hint\"] here"), "{input}");
        let path = holder.path().join(TRIALS);
        let text = fs::read_to_string(&path).unwrap();
        let score = text.replacen("\"score\":", "\"score\":1", 1);
        fs::write(&path, score).unwrap();
        let damaged = other(Toil::new(holder.path(), "random", 5));
        assert!(damaged.contains("line 2: it was changed after it was written"), "{damaged}");
        // Lines of an older version have no checksums.
        let lines = text.lines().map(|line| line.split_once(",\"checksum\"").unwrap().0);
        let text: String = lines.map(|line| format!("{line}}}\n")).collect();
        for (wrong, reason) in [
            (text.replace("\"number\":3", "\"number\":4"), "line 5: it does not follow"),
            (text.replace("adwp/trials/1", "adwp/trials/9"), "adwp/trials/9"),
            (text.replace("\"score\"", "\"worth\""), "worth"),
        ] {
            fs::write(&path, wrong).unwrap();
            let error = other(Toil::new(holder.path(), "random", 5));
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_name_without_a_scorer_or_strategy_is_answered_with_those_there_are() {
        let error = registry::strategy("annealing").err().unwrap().to_string();
        assert!(error.contains("there are random, "), "{error}");
        let toy = Toy::new(1);
        let scorer = |name| {
            let ingredients = crate::Ingredients::of(&toy);
            registry::scorer(name, &ingredients).err().unwrap().to_string()
        };
        assert!(scorer("oracle").contains("there are predicted-discrete, "));
        for entry in registry::SCORERS {
            let made = entry.make(&crate::Ingredients::of(&toy)).err().map(|e| e.to_string());
            let needs = entry.needs.iter().map(ToString::to_string).collect::<Vec<_>>();
            let expected = format!("the scorer {:?} needs {}", entry.name, needs.join(" and "));
            assert_eq!(made, (!needs.is_empty()).then_some(expected));
        }
    }

    #[test]
    fn limits_are_kept_and_those_by_other_latencies_are_another_search() {
        let holder = tempfile::tempdir().unwrap();
        let toy = Toy::new(6);
        let limit = |unit: f64| Limit {
            resource: Resource::Latency,
            most: 9.0,
            costs: ChoiceCosts {
                fixed: 0.0,
                decisions: vec![[0.0, 1.0, 2.0, 3.0, 4.0].map(|cost| unit * cost).to_vec(); 6],
            },
        };
        let search = |limits: &[Limit], evaluations| {
            let problem = Problem::new(&toy, limits, Streams::new(1));
            let mut strategy = opened("random", &[], problem).unwrap();
            let exploration = Exploration {
                problem,
                strategy: &mut *strategy,
                scorer: &mut Additive::default(),
                start: &[],
                stop: StopRule { evaluations: Some(evaluations), ..StopRule::default() },
                origin: Map::new(),
            };
            let (run, interrupt) = (RunDir::create(holder.path()).unwrap(), Interrupt::default());
            let quiet = &mut adwp_train::Quiet;
            let context = &mut Context { resume: true, ..Context::new(&run, &interrupt, quiet) };
            explore(exploration, context)
        };
        let found = search(&[limit(1.0)], 30).unwrap().done().unwrap();
        assert!(found.trials.iter().all(|trial| limit(1.0).costs.of(&trial.choices) <= 9.0));
        assert!(search(&[limit(1.0)], 31).is_ok());
        let error = search(&[limit(0.5)], 40).unwrap_err().to_string();
        assert!(error.contains("latencies is"), "{error}");
        assert!(search(&[], 40).unwrap_err().to_string().contains("record of another search"));
    }

    #[test]
    fn settings_that_make_no_strategy_are_refused() {
        let toy = Toy::new(1);
        for (setting, reason) in [
            (("sample_size", 21.0), "sample_size = 21 is not in 1 to population_size = 20"),
            (("sample_size", 0.0), "sample_size = 0 is not a whole number"),
            (("population_size", 2.5), "population_size = 2.5 is not a whole number"),
            (("population_size", f64::NAN), "population_size = NaN"),
        ] {
            let problem = Problem::new(&toy, &[], Streams::new(1));
            let error = opened("evolution", &[setting], problem).err().unwrap().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let given = [("sample_size", 2.0)].into();
        let error = registry::strategy("random").unwrap().settings(&given).unwrap_err();
        assert_eq!(error.to_string(), "random has no setting sample_size");
    }
}
