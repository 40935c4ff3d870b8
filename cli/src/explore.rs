//! Searches that score one architecture after another: those of `adwp search --strategy`, and those that
//! the settings of a run name.

use std::path::{Path, PathBuf};

use adwp_base::{Failure, Result};
use adwp_export::{ExportError, Network, RetrainData, RetrainSettings, retrain};
use adwp_lut::{LatencyTable, Networks};
use adwp_models::space::{Member, NamedSpace, find};
use adwp_models::{Blueprint, Choices, Intensive, IntensiveSpace, Limit, Skeleton, Space};
use adwp_report::{FinalistRow, PartRow, SearchRecord};
use adwp_search::{
    Column, Data, Exploration, Explored, FINALISTS, Finalist, History, Ingredient, Ingredients,
    JointTraining, Origin, Part, Problem, SearchError, ShortTraining, StopRule, TRIALS, Train,
    Trial, Unit, explore, halve, origin, read_finalists, registry,
};
use adwp_train::{Context, Finished, ProgressAlone, Reporter, Streams, TrainError, read_text};

use crate::architecture::{PREFIX, RunArchitecture, parsed};
use crate::config::{Config, LimitSettings};
use crate::run::Run;
use crate::strategy::StrategyConfig;
use crate::{inputs, limits};

/// What is to be searched, and how.
pub(crate) struct Search {
    /// What was asked for, which has been checked.
    pub(crate) asked: StrategyConfig,
    pub(crate) stop: StopRule,
    pub(crate) latency_table: Option<PathBuf>,
    /// The space, where it is one with a name.
    pub(crate) space: Option<&'static NamedSpace>,
    pub(crate) published: Option<Published>,
}

/// What a search came to.
pub(crate) struct Found {
    pub(crate) best: Trial,
    pub(crate) evaluations: usize,
    /// Trainings of the finalists.
    pub(crate) finalists: Vec<Finalist>,
}

/// Columns of a table.
pub(crate) struct Published {
    /// What the scorer sees, where that is a column.
    pub(crate) selection: Option<Column>,
    pub(crate) reported: Vec<Column>,
}

/// Carries out the search that the settings of a run ask for, or goes on with it; gives the
/// architecture.
pub(crate) fn of_run(
    run: &Run,
    command: &str,
    reporter: &mut dyn Reporter,
) -> Result<RunArchitecture> {
    let trials = run.dir.file(TRIALS);
    if !run.plan.resume && trials.exists() {
        let failure = Failure::input(format!("search: {} is there already", trials.display()));
        return Err(
            failure.hint("add --resume to go on from it, or delete it to do this step again")
        );
    }
    let search = Search::configured(run.config())?;
    let (space, found) = search.in_run(run, command, reporter)?;
    architecture(&*space, &found.best)
}

impl Search {
    /// The search of the settings of a run, which are valid.
    fn configured(config: &Config) -> Result<Self> {
        let (asked, table) = (config.strategy.clone(), &config.limits.latency_table);
        Ok(Self {
            stop: StopRule { evaluations: Some(asked.evaluations), ..StopRule::default() },
            latency_table: Some(table.clone()).filter(|path| !path.as_os_str().is_empty()),
            space: asked.space_of_run()?,
            published: None,
            asked,
        })
    }

    /// What is scored before any other, in a space.
    fn started(&self, space: &dyn Space) -> Result<Vec<Choices>> {
        self.asked.start.iter().map(|what| started(what, space)).collect()
    }

    pub(crate) fn latencies(&self) -> Result<Option<LatencyTable>> {
        Ok(self.latency_table.as_deref().map(LatencyTable::read).transpose()?)
    }

    /// What every scorer can be made of.
    pub(crate) fn ingredients<'b>(&'b self, space: &'b dyn Space) -> Ingredients<'b> {
        let table = self.published.as_ref().and_then(|published| published.selection.as_ref());
        Ingredients { table, ..Ingredients::of(space) }
    }

    /// A search in the folder of a run, whose images the scorer sees. Gives the space as well, at the
    /// sizes of the network that is delivered.
    pub(crate) fn in_run(
        &self,
        run: &Run,
        command: &str,
        reporter: &mut dyn Reporter,
    ) -> Result<(Box<dyn Space>, Found)> {
        let latencies = self.latencies()?;
        let config = run.config();
        let data = run.images.search_data(config, run.streams, &run.device)?;
        let searched = Skeleton { channels: config.search.channels, ..data.target };
        let open = |skeleton: Skeleton| opened(run, self.space, skeleton);
        let (space, searched) = (open(data.target)?, open(searched)?);
        let latency = |blueprint: &Blueprint| predict(latencies.as_ref(), blueprint);
        let train = |blueprint: Blueprint, epochs, context: &mut Context<'_>| {
            train(run, &data, blueprint, epochs, context)
        };
        let scaled = match self.training_side(&data.target) {
            side if side < data.target.image[1] => {
                let (config, device) = (run.config(), &run.device);
                Some(run.images.scaled_search_data(config, side, run.streams, device)?)
            }
            _ => None,
        };
        let train_scaled = |blueprint: Blueprint, epochs, context: &mut Context<'_>| {
            self::train(run, scaled.as_ref().unwrap_or(&data), blueprint, epochs, context)
        };
        let ingredients = Ingredients {
            data: Some(&data),
            training: Some(JointTraining {
                settings: &config.search,
                space: &*searched,
                drawn: None,
            }),
            latency: latencies.as_ref().map(|_| &latency as _),
            short: Some(ShortTraining { epochs: self.asked.training_epochs, train: &train_scaled }),
            ..self.ingredients(&*space)
        };
        let networks = match self.space {
            Some(named) => Networks::named(named.name, data.target),
            None => Networks::darts(data.target, config.search.keep),
        };
        // Trainings are at the price that fills the limits, and keep them; other scorers see the
        // channels of the space.
        let fill = config.limits.fill && self.asked.scorer()?.needs(Ingredient::ShortTraining);
        let settings = LimitSettings { fill, ..config.limits.clone() };
        let limits = limits::limits(&settings, &*space, &networks)?;
        let kept = format!("{} has the trials", run.dir.file(TRIALS).display());
        let found = run.phases("search", command, &kept, reporter, |context| {
            let found = self.explore(ingredients, &limits, config.seed, context)?;
            let Finished::Done(found) = found else { return Ok(Finished::Interrupted) };
            self.halve(&*space, found, &train, context)
        })?;
        Ok((space, found))
    }

    /// The side of the images that short trainings see: the nearest that a network can have.
    fn training_side(&self, target: &Skeleton) -> usize {
        let (side, step) = (target.image[1], target.stem.halvings());
        let steps = (self.asked.training_scale * side as f64 / step as f64).round();
        (steps as usize).max(1) * step
    }

    /// Has the best of what was found trained until one is left, where that is wanted.
    fn halve(
        &self,
        space: &dyn Space,
        Explored { best, trials }: Explored,
        train: &Train<'_>,
        context: &mut Context<'_>,
    ) -> Result<Finished<Found>> {
        let evaluations = trials.len();
        if self.asked.finalists == 0 {
            return Ok(Finished::Done(Found { best, evaluations, finalists: Vec::new() }));
        }
        let chosen = best_of(&trials, &best, self.asked.finalists);
        let halved = halve(space, &chosen, self.asked.first_epochs(), train, context)?;
        halved.try_map(|(best, finalists)| Ok(Found { best, evaluations, finalists }))
    }

    pub(crate) fn explore(
        &self,
        ingredients: Ingredients<'_>,
        limits: &[Limit],
        seed: u64,
        context: &mut Context<'_>,
    ) -> Result<Finished<Explored>> {
        let (asked, entry) = (&self.asked, self.asked.scorer()?);
        let mut scorer = entry.make(&ingredients)?;
        let Finished::Done(inputs) = inputs::open(&asked.inputs, &ingredients, seed, context)?
        else {
            return Ok(Finished::Interrupted);
        };
        let start = self.started(ingredients.space)?;
        let problem = Problem {
            inputs: inputs.as_ref(),
            ..Problem::new(ingredients.space, limits, Streams::new(seed))
        };
        let (strategy, settings) = asked.entry()?;
        let mut strategy = (strategy.open)(&settings, problem)?;
        let mut origin = origin(seed, &settings, ingredients.table);
        if entry.needs(Ingredient::Latency) {
            let table = self.latency_table.as_deref().map(read_text).transpose()?;
            let digest = table.map(|text| Streams::new(0).seed_for(&text)).unwrap_or_default();
            origin.insert("latency_table".into(), format!("{digest:016x}").into());
        }
        if scorer.epochs() > 0 {
            origin.insert("training_epochs".into(), asked.training_epochs.into());
            if asked.training_scale < 1.0 {
                origin.insert("training_scale".into(), asked.training_scale.into());
            }
        }
        let exploration = Exploration {
            problem,
            strategy: &mut *strategy,
            scorer: &mut *scorer,
            start: &start,
            stop: self.stop,
            origin,
        };
        if let Some(column) = ingredients.table {
            let text = format!("search: an architecture is worth its {}", column.name());
            context.reporter.message(&text);
        }
        Ok(explore(exploration, context)?)
    }
}

/// Trains an architecture for some epochs on one half of the search's images; gives the
/// accuracy on the other.
fn train(
    run: &Run,
    data: &Data,
    blueprint: Blueprint,
    epochs: usize,
    context: &mut Context<'_>,
) -> std::result::Result<Finished<f64>, SearchError> {
    let retraining = &run.config().retrain;
    // Channels are those for the images of the run, whatever size is seen here.
    let blueprint = run.config().limits.filled(blueprint)?;
    let ([_, from, _], size) = (blueprint.image(), data.target.image);
    let augmentation = retraining.augmentation.scaled(from, size[1]);
    let blueprint = blueprint.with_image(size);
    let auxiliary = if blueprint.has_auxiliary() { retraining.auxiliary } else { 0.0 };
    let settings = RetrainSettings {
        epochs,
        evaluate_every: epochs,
        auxiliary,
        augmentation,
        ..retraining.clone()
    };
    let network = Network {
        name: None,
        blueprint,
        dataset: run.config().dataset.to_string(),
        classes: run.images.train.dataset.classes().to_vec(),
        normalization: run.images.train.normalization.clone(),
    };
    let images = RetrainData {
        train: data.train.clone(),
        test: data.validation.clone(),
        streams: run.streams,
        device: run.device.clone(),
    };
    let Context { run: folder, resume, held_bytes, check_memory, interrupt, .. } = *context;
    let reporter = &mut ProgressAlone(context.reporter);
    let context =
        &mut Context { run: folder, resume, held_bytes, check_memory, interrupt, reporter };
    let trained = retrain(&settings, network, &images, context).map_err(|e| match e {
        ExportError::Train(e) => e.into(),
        ExportError::Model(e) => e.into(),
        ExportError::Engine(e) => e.into(),
        ExportError::Data(e) => TrainError::Data(e).into(),
        ExportError::NotExportable { .. }
        | ExportError::TooLarge { .. }
        | ExportError::Calibration { .. } => SearchError::Input(e.to_string()),
    })?;
    trained.try_map(|trained| Ok(trained.test.accuracy()))
}

/// The architecture of a trial, as a run keeps it.
pub(crate) fn architecture(space: &dyn Space, trial: &Trial) -> Result<RunArchitecture> {
    if let Some(genotype) = space.genotype(&trial.choices)? {
        return Ok(RunArchitecture::Genotype(genotype));
    }
    let member = Member::parse(space.name(), &trial.text)?;
    Ok(RunArchitecture::Named(member.into()))
}

/// An architecture of a space that is given by `zoo:NAME`, a file, or as the space writes it.
fn started(what: &str, space: &dyn Space) -> Result<Choices> {
    let name = |e: &dyn std::fmt::Display| Failure::input(format!("strategy.start: {what}: {e}"));
    let is_text = !what.starts_with(PREFIX) && !Path::new(what).is_file();
    if is_text {
        return space.parse(what).map_err(|e| name(&e));
    }
    let architecture = RunArchitecture::chosen(Path::new(what))?;
    let network = architecture.network(space.skeleton()).map_err(|e| name(&e))?;
    let choices = match (&network, network.genotype()) {
        (_, Some(genotype)) => space.choices_of(genotype),
        (Blueprint::Member { member, .. }, None) if member.space() == space.name() => {
            space.parse(&member.to_string())
        }
        _ => return Err(name(&format!("it is of no cells of the space {}", space.name()))),
    };
    choices.map_err(|e| name(&e))
}

/// A space of a name, or with `None` the intensive one of a run, at some sizes.
fn opened(
    run: &Run,
    named: Option<&'static NamedSpace>,
    skeleton: Skeleton,
) -> Result<Box<dyn Space>> {
    let Some(named) = named else {
        let space = parsed(run.needs("space.json", "space")?, IntensiveSpace::from_json)?;
        return Ok(Box::new(Intensive::new(space, skeleton, run.config().search.keep)?));
    };
    sized(named, skeleton)
}

/// The search whose result the architecture of a run is, for its report; none where it came from
/// elsewhere.
pub(crate) fn record(run: &Run) -> Result<Option<SearchRecord>> {
    let path = run.dir.file(TRIALS);
    let (true, Some(of_run)) = (path.exists(), RunArchitecture::of_run(run.dir.path())?) else {
        return Ok(None);
    };
    let skeleton = run.images.skeleton(run.config(), run.config().retrain.channels);
    let history = History::read(&path, |name| -> Result<_> {
        let named = if name == StrategyConfig::INTENSIVE { None } else { Some(find(name)?) };
        opened(run, named, skeleton)
    })?;
    let (space, delivered) = (&*history.space, of_run.to_json());
    let mut found = None;
    for trial in &history.trials {
        if architecture(space, trial)?.to_json() == delivered {
            found = Some(trial.number);
            break;
        }
    }
    let Some(found) = found else { return Ok(None) };
    let entry = registry::scorer_entry(&history.scorer)?;
    let Unit { axis, factor } = entry.unit;
    let scores = history.scores();
    let shown: Vec<f64> = scores.iter().map(|score| factor * score).collect();
    let row = |part: Part| PartRow {
        origin: match part.origin {
            Origin::Given => "given".into(),
            Origin::Drawn if history.has_inputs => "the first, half of them by inputs".into(),
            Origin::Drawn => "drawn at random".into(),
            Origin::Chosen => "chosen by earlier scores".into(),
        },
        count: part.count,
        mean: part.mean,
        sd: part.sd,
        best: part.best,
    };
    // Against what inputs chose there is no chance to compare with.
    let gain = history.origins.gain(&shown).filter(|_| !history.has_inputs);
    let number = |text: &str| history.trials.iter().position(|trial| trial.text == text);
    let finalists = read_finalists(&run.dir.file(FINALISTS))?;
    let finalists = finalists.into_iter().filter_map(|Finalist { text, epochs, accuracy }| {
        Some(FinalistRow { trial: number(&text)?, epochs, accuracy })
    });
    Ok(Some(SearchRecord {
        strategy: history.strategy,
        scorer: entry.label.to_owned(),
        axis: axis.to_owned(),
        factor,
        space: space.name().to_owned(),
        parts: history.origins.parts(&shown).into_iter().map(row).collect(),
        gain: gain.map(|(gain, error)| [gain, error]),
        scores,
        found,
        finalists: finalists.collect(),
    }))
}

/// The architectures of the highest scores, in that order, `best` before all.
fn best_of<'t>(trials: &'t [Trial], best: &'t Trial, count: usize) -> Vec<&'t Trial> {
    let mut ranked: Vec<&Trial> =
        trials.iter().filter(|trial| trial.number != best.number).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    std::iter::once(best).chain(ranked).take(count).collect()
}

/// A space that has a name, at the sizes of a run.
pub(crate) fn sized(named: &NamedSpace, skeleton: Skeleton) -> Result<Box<dyn Space>> {
    let Skeleton { cells, channels, .. } = named.published;
    (named.open)(skeleton).map_err(|e| {
        Failure::from(e).hint(format!(
            "published are {cells} cells and {channels} channels: --set cells={cells}, and \
             search.channels and retrain.channels"
        ))
    })
}

/// The latency of a network in ms.
pub(crate) fn predict(
    table: Option<&LatencyTable>,
    blueprint: &Blueprint,
) -> std::result::Result<f64, SearchError> {
    let table = table.ok_or_else(|| SearchError::Input("there is no latency table".into()))?;
    table.predict(blueprint).map_err(|e| {
        let hint = e.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        SearchError::Input(format!("{e}{hint}"))
    })
}
