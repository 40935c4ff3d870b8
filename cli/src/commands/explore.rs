//! `adwp search --strategy`: architectures are scored one after another.

use std::path::Path;

use adwp_base::{Failure, Result, output};
use adwp_engine::cuda::Precision;
use adwp_export::{ExportError, Network, RetrainData, RetrainSettings, retrain};
use adwp_lut::{LatencyTable, Networks};
use adwp_models::space::{Member, NamedSpace, TableRules, find};
use adwp_models::zoo::NamedArchitecture;
use adwp_models::{Blueprint, Intensive, IntensiveSpace, Limit, Skeleton, Space};
use adwp_search::{
    Column, Data, Exploration, Explored, Finalist, Ingredients, JointTraining, Problem,
    SearchError, ShortTraining, StopRule, StrategyEntry, StrategySettings, TRIALS, Table, Train,
    Trial, explore, halve, origin, registry,
};
use adwp_train::{
    Context, Finished, Reporter, RunDir, Streams, TrainError, read_text, write_atomic,
};
use serde_json::{Map, Value, json};

use super::inputs;
use crate::architecture::{self, parsed};
use crate::args::{ExploreArgs, RunArgs, SearchArgs, flag};
use crate::config::LimitSettings;
use crate::limits;
use crate::plan::Plan;
use crate::run::{Run, lock, without_images};

/// What is to be searched, and how.
struct Search<'a> {
    args: &'a SearchArgs,
    strategy: &'static StrategyEntry,
    settings: StrategySettings,
    scorer: &'a str,
    /// The space, where it is one with a name.
    space: Option<&'static NamedSpace>,
    published: Option<Published>,
}

/// What a search came to.
struct Found {
    best: Trial,
    evaluations: usize,
    /// Trainings of the finalists.
    finalists: Vec<Finalist>,
}

/// Columns of a table.
struct Published {
    /// What the scorer sees, where that is a column.
    selection: Option<Column>,
    reported: Vec<Column>,
}

/// Carries out a search, or goes on with it.
pub(crate) fn search(args: &SearchArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let search = Search::plan(args)?;
    let latencies = args.train.run.latency_table.as_deref();
    let latencies = latencies.map(LatencyTable::read).transpose()?;
    if let Some(named) = search.space {
        let space = (named.open)(named.published)?;
        let latency = |blueprint: &Blueprint| predict(latencies.as_ref(), blueprint);
        let mut ingredients = search.ingredients(&*space);
        ingredients.latency = latencies.as_ref().map(|_| &latency as _);
        // A scorer that can be made of these looks at architectures alone: no data set is needed,
        // unless finalists are trained.
        let names = std::iter::once(search.scorer);
        let names = names.chain(args.explore.input.iter().map(String::as_str));
        let mut names = names.map(|name| registry::scorer(name, &ingredients).is_ok());
        if args.explore.finalists == 0 && names.all(|is_opened| is_opened) {
            refuse_what_has_no_effect(&args.train.run)?;
            let folder = args.train.run.run.clone();
            let folder = folder.unwrap_or_else(|| Path::new("runs").join(named.name));
            return search.in_folder(&folder, ingredients, as_json, reporter);
        }
    }
    search.in_run(latencies.as_ref(), as_json, reporter)
}

impl<'a> Search<'a> {
    fn plan(args: &'a SearchArgs) -> Result<Self> {
        let ExploreArgs { space, scorer, table, column, report_column, .. } = &args.explore;
        let space = space.as_deref().map(find).transpose()?;
        let default = if table.is_some() { "table" } else { "one-shot" };
        let scorer = scorer.as_deref().unwrap_or(default);
        if let (Some(column), true) = (column, scorer != "table") {
            let failure = Failure::input(format!("--column {column}: {scorer} sees no column"));
            return Err(failure.hint("--report-column reports one of what was found"));
        }
        let published = table.as_deref().map(|table| {
            let (table, rules) = (Table::read(table)?, rules(space));
            let selection = match scorer {
                "table" => Some(selection(&table, column.as_deref(), rules)?),
                _ => None,
            };
            let reported = report_column.iter().map(|name| match &selection {
                Some(selection) => table.reported(name, selection, rules),
                None => table.column(name),
            });
            let reported = reported.collect::<std::result::Result<_, SearchError>>()?;
            Ok::<_, Failure>(Published { selection, reported })
        });
        let published = published.transpose()?;
        if args.explore.training_epochs == 0 {
            return Err(Failure::input("--training-epochs must be at least 1"));
        }
        if args.explore.finalists == 1 || args.explore.finalist_epochs == Some(0) {
            return Err(Failure::input(
                "--finalists must be at least 2, and --finalist-epochs at least 1",
            ));
        }
        if scorer == "table" && published.is_none() {
            return Err(Failure::input("--scorer table needs --table FILE"));
        }
        if scorer == "latency" && args.train.run.latency_table.is_none() {
            let failure = Failure::input("--scorer latency needs --latency-table FILE");
            return Err(failure.hint("`adwp lut build` measures one"));
        }
        let strategy = registry::strategy(args.strategy.as_deref().unwrap_or_default())?;
        inputs::refuse_useless(strategy, scorer, &args.explore.input)?;
        Ok(Self {
            args,
            strategy,
            settings: strategy.settings(&args.explore.settings.0)?,
            scorer,
            space,
            published,
        })
    }

    fn stop(&self) -> StopRule {
        let ExploreArgs { evaluations, search_minutes, search_epochs, .. } = self.args.explore;
        StopRule { evaluations, minutes: search_minutes, epochs: search_epochs }
    }

    /// What every scorer can be made of.
    fn ingredients<'b>(&'b self, space: &'b dyn Space) -> Ingredients<'b> {
        let table = self.published.as_ref().and_then(|published| published.selection.as_ref());
        Ingredients { table, ..Ingredients::of(space) }
    }

    /// A search that needs no data set: only a folder.
    fn in_folder(
        &self,
        folder: &Path,
        ingredients: Ingredients<'_>,
        as_json: bool,
        reporter: &mut dyn Reporter,
    ) -> Result {
        let run = &self.args.train.run;
        let settings = LimitSettings::of(run);
        settings.validate()?;
        let space = ingredients.space;
        let networks = Networks::named(space.name(), space.skeleton());
        let limits = limits::limits(&settings, space, &networks)?;
        let dir = RunDir::create(folder)?;
        let _lock = lock(&dir)?;
        self.refuse_what_is_there(&dir)?;
        let seed = run.seed.unwrap_or(0);
        let kept = format!("{} has the trials", dir.file(TRIALS).display());
        let found = without_images(&dir, &self.args.train, &kept, reporter, |context| {
            self.explore(ingredients, &limits, seed, context)
        })?;
        let Explored { best, trials } = found;
        let found = Found { best, evaluations: trials.len(), finalists: Vec::new() };
        self.deliver(ingredients.space, &dir, found, as_json)
    }

    /// A search in the folder of a run, whose images the scorer sees.
    fn in_run(
        &self,
        latencies: Option<&LatencyTable>,
        as_json: bool,
        reporter: &mut dyn Reporter,
    ) -> Result {
        let plan = Plan::searching(&self.args.train, self.space)?;
        let run = Run::open(plan, reporter)?;
        run.announce(reporter);
        self.refuse_what_is_there(&run.dir)?;
        let config = run.config();
        let data = run.images.search_data(config, run.streams, &run.device)?;
        let searched = Skeleton { channels: config.search.channels, ..data.target };
        let intensive = match self.space {
            Some(_) => None,
            None => Some(parsed(run.needs("space.json", "space")?, IntensiveSpace::from_json)?),
        };
        let open = |skeleton: Skeleton| -> Result<Box<dyn Space>> {
            Ok(match (self.space, &intensive) {
                (None, Some(space)) => {
                    Box::new(Intensive::new(space.clone(), skeleton, config.search.keep)?)
                }
                (named, _) => {
                    sized(named.expect("a search is of a named space or of the run's"), skeleton)?
                }
            })
        };
        let (space, searched) = (open(data.target)?, open(searched)?);
        let latency = |blueprint: &Blueprint| predict(latencies, blueprint);
        let train = |blueprint: Blueprint, epochs, context: &mut Context<'_>| {
            self.train(&run, &data, blueprint, epochs, context)
        };
        let ingredients = Ingredients {
            data: Some(&data),
            training: Some(JointTraining {
                settings: &config.search,
                space: &*searched,
                drawn: None,
            }),
            latency: latencies.map(|_| &latency as _),
            short: Some(ShortTraining { epochs: self.args.explore.training_epochs, train: &train }),
            ..self.ingredients(&*space)
        };
        let networks = match self.space {
            Some(named) => Networks::named(named.name, data.target),
            None => Networks::darts(data.target, config.search.keep),
        };
        let limits = limits::limits(&config.limits, &*space, &networks)?;
        let kept = format!("{} has the trials", run.dir.file(TRIALS).display());
        let found = run.phases("search", &self.flags(), &kept, reporter, |context| {
            let found = self.explore(ingredients, &limits, config.seed, context)?;
            let Finished::Done(found) = found else { return Ok(Finished::Interrupted) };
            self.finalists(&*space, found, &train, context)
        })?;
        self.deliver(&*space, &run.dir, found, as_json)
    }

    /// Has the best of what was found trained until one is left, where that is wanted.
    fn finalists(
        &self,
        space: &dyn Space,
        Explored { best, trials }: Explored,
        train: &Train<'_>,
        context: &mut Context<'_>,
    ) -> Result<Finished<Found>> {
        let ExploreArgs { finalists, finalist_epochs, training_epochs, .. } = self.args.explore;
        let evaluations = trials.len();
        if finalists == 0 {
            return Ok(Finished::Done(Found { best, evaluations, finalists: Vec::new() }));
        }
        let epochs = finalist_epochs.unwrap_or(2 * training_epochs);
        let chosen = best_of(&trials, &best, finalists);
        let halved = halve(space, &chosen, epochs, train, context)?;
        halved.try_map(|(best, finalists)| Ok(Found { best, evaluations, finalists }))
    }

    /// Trains an architecture for some epochs on one half of the search's images; gives the
    /// accuracy on the other.
    fn train(
        &self,
        run: &Run,
        data: &Data,
        blueprint: Blueprint,
        epochs: usize,
        context: &mut Context<'_>,
    ) -> std::result::Result<Finished<f64>, SearchError> {
        let retraining = &run.config().retrain;
        let auxiliary = if blueprint.has_auxiliary() { retraining.auxiliary } else { 0.0 };
        let settings =
            RetrainSettings { epochs, evaluate_every: epochs, auxiliary, ..retraining.clone() };
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

    fn explore(
        &self,
        ingredients: Ingredients<'_>,
        limits: &[Limit],
        seed: u64,
        context: &mut Context<'_>,
    ) -> Result<Finished<Explored>> {
        let training_epochs = self.args.explore.training_epochs;
        let mut scorer = registry::scorer(self.scorer, &ingredients)?;
        let names = &self.args.explore.input;
        let Finished::Done(inputs) = inputs::open(names, &ingredients, seed, context)? else {
            return Ok(Finished::Interrupted);
        };
        let problem = Problem {
            inputs: inputs.as_ref(),
            ..Problem::new(ingredients.space, limits, Streams::new(seed))
        };
        let mut strategy = (self.strategy.open)(&self.settings, problem)?;
        let mut origin = origin(seed, &self.settings, ingredients.table);
        if self.scorer == "latency" {
            let table = self.args.train.run.latency_table.as_deref().map(read_text).transpose()?;
            let digest = table.map(|text| Streams::new(0).seed_for(&text)).unwrap_or_default();
            origin.insert("latency_table".into(), format!("{digest:016x}").into());
        }
        if scorer.epochs() > 0 {
            origin.insert("training_epochs".into(), training_epochs.into());
        }
        let exploration = Exploration {
            problem,
            strategy: &mut *strategy,
            scorer: &mut *scorer,
            stop: self.stop(),
            origin,
        };
        if let Some(column) = ingredients.table {
            let text = format!("search: an architecture is worth its {}", column.name());
            context.reporter.message(&text);
        }
        Ok(explore(exploration, context)?)
    }

    /// Nothing that is there is touched: without `--resume` no search, and with it no architecture
    /// that another search has found.
    fn refuse_what_is_there(&self, dir: &RunDir) -> Result {
        let trials = dir.file(TRIALS);
        let found = [architecture::GENOTYPE, architecture::NAMED].map(|name| dir.file(name));
        let found = found.into_iter().find(|path| path.exists());
        let there = match (self.args.train.run.resume, trials.exists()) {
            (false, true) => Some((trials, "add --resume to go on from it, or")),
            (_, false) => found.map(|path| (path, "remove it to search again, or")),
            (true, true) => None,
        };
        match there {
            None => Ok(()),
            Some((path, advice)) => {
                let failure =
                    Failure::input(format!("search: {} is there already", path.display()));
                Err(failure.hint(format!("{advice} name another folder with --run")))
            }
        }
    }

    /// Writes the architecture that was found, and prints it.
    fn deliver(&self, space: &dyn Space, dir: &RunDir, found: Found, as_json: bool) -> Result {
        let Found { best, evaluations, finalists } = found;
        let (file, text) = match self.space {
            Some(named) => {
                let member = Member::parse(named.name, &best.text)?;
                (architecture::NAMED, NamedArchitecture::from(member).to_json())
            }
            None => {
                let Blueprint::Cells { genotype, .. } = Blueprint::of(space, &best.choices)? else {
                    return Err(Failure::failed("an intensive space has no genotype"));
                };
                (architecture::GENOTYPE, genotype.to_json())
            }
        };
        let path = dir.file(file);
        let is_another = path.exists() && read_text(&path)? != text;
        let trained = [dir.file("weights.safetensors"), dir.checkpoint("retrain")];
        if let Some(trained) = trained.into_iter().find(|trained| is_another && trained.exists()) {
            let (path, trained) = (path.display(), trained.display());
            return Err(Failure::input(format!(
                "the search has found another architecture than {path}, which {trained} is of"
            ))
            .hint(format!(
                "remove {trained} and what follows from it, or search in another folder"
            )));
        }
        write_atomic(&path, text.as_bytes())?;
        let columns = self.published.iter().flat_map(|published| &published.reported);
        let value = |column: &Column| -> Result<_> {
            Ok((column.name().to_owned(), Value::from(column.value_if_any(&best.text)?)))
        };
        let reported: Map<String, Value> = columns.map(value).collect::<Result<_>>()?;
        if as_json {
            return output::json(&json!({
                "step": "search",
                "file": path,
                "architecture": best.text,
                "score": best.score,
                "trial": best.number,
                "evaluations": evaluations,
                "finalists": finalists,
                "reported": reported,
            }));
        }
        let mut lines = format!("{}\n", path.display());
        if self.space.is_some() {
            lines += &format!("{}\n", best.text);
        }
        let number = best.number + 1;
        lines +=
            &format!("{} {} (architecture {number} of {evaluations})\n", self.scorer, best.score);
        if let Some(Finalist { epochs, accuracy, .. }) =
            finalists.iter().rfind(|of| of.text == best.text)
        {
            let percent = 100.0 * accuracy;
            lines += &format!("validation accuracy {percent:.2}% after {epochs} epochs\n");
        }
        for (name, value) in reported {
            let value = value.as_f64().map_or_else(|| "–".to_owned(), |value| value.to_string());
            lines += &format!("{name} {value}\n");
        }
        output::data(&lines)
    }

    /// The command with the flags of the search.
    fn flags(&self) -> String {
        let ExploreArgs { table, column, report_column, .. } = &self.args.explore;
        let ExploreArgs { evaluations, search_minutes, search_epochs, input, .. } =
            &self.args.explore;
        let ExploreArgs { finalists, finalist_epochs, .. } = self.args.explore;
        let mut flags = vec![
            ("strategy", Some(self.strategy.name.to_owned())),
            ("space", self.space.map(|space| space.name.to_owned())),
            ("scorer", Some(self.scorer.to_owned())),
            ("table", table.as_ref().map(|path| path.display().to_string())),
            ("column", column.clone()),
            ("evaluations", evaluations.map(|n| n.to_string())),
            ("search-minutes", search_minutes.map(|m| m.to_string())),
            ("search-epochs", search_epochs.map(|n| n.to_string())),
            (
                "training-epochs",
                (self.scorer == "training" || finalists > 0)
                    .then(|| self.args.explore.training_epochs.to_string()),
            ),
        ];
        flags.push(("finalists", (finalists > 0).then(|| finalists.to_string())));
        flags.push(("finalist-epochs", finalist_epochs.map(|n| n.to_string())));
        flags.extend(report_column.iter().map(|name| ("report-column", Some(name.clone()))));
        flags.extend(input.iter().map(|name| ("input", Some(name.clone()))));
        let flags =
            flags.into_iter().filter_map(|(flag, value)| Some(format!(" --{flag} {}", value?)));
        let settings = self.args.explore.settings.0.iter();
        let settings = settings.map(|(name, value)| format!(" --{} {value}", flag(name)));
        format!("search{}", flags.chain(settings).collect::<String>())
    }
}

/// The architectures of the highest scores, in that order, `best` before all.
fn best_of<'t>(trials: &'t [Trial], best: &'t Trial, count: usize) -> Vec<&'t Trial> {
    let mut ranked: Vec<&Trial> =
        trials.iter().filter(|trial| trial.number != best.number).collect();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score));
    std::iter::once(best).chain(ranked).take(count).collect()
}

/// Checks that no value of a flag is there twice.
pub(super) fn once<T: PartialEq + std::fmt::Display>(flag: &str, values: &[T]) -> Result {
    match (1..values.len()).find(|&i| values[..i].contains(&values[i])) {
        None => Ok(()),
        Some(i) => Err(Failure::input(format!("{flag} {} is there twice", values[i]))),
    }
}

/// A search that needs no images is of networks of the published sizes: what would choose data,
/// sizes, limits or a device changes nothing, and is refused.
pub(super) fn refuse_what_has_no_effect(args: &RunArgs) -> Result {
    let flags = [
        ("--preset", args.preset.is_some()),
        ("--config", args.config.is_some()),
        ("--set", !args.set.is_empty()),
        ("--dataset", args.dataset.is_some()),
        ("--data", args.data.is_some()),
        ("--identity-dropout", args.identity_dropout.is_some()),
        ("--early-stop", args.early_stop.is_some()),
        ("--ema", args.ema.is_some()),
        ("--auto-augment", args.auto_augment.is_some()),
        ("--test-flips", args.test_flips),
        ("--device", args.device != "auto" && args.device != "cpu"),
        ("--precision", args.precision != Precision::F32),
        ("--no-fuse", args.no_fuse),
    ];
    match flags.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(Failure::input(format!("{flag} has no effect on a search that looks at no images"))
                .hint("its networks have the sizes that the space was published with"))
        }
    }
}

/// A space that has a name, at the sizes of a run.
pub(super) fn sized(named: &NamedSpace, skeleton: Skeleton) -> Result<Box<dyn Space>> {
    let Skeleton { cells, channels, .. } = named.published;
    (named.open)(skeleton).map_err(|e| {
        Failure::from(e).hint(format!(
            "published are {cells} cells and {channels} channels: --set cells={cells}, and \
             search.channels and retrain.channels"
        ))
    })
}

/// Which columns of a table of a space may be seen.
pub(super) fn rules(space: Option<&NamedSpace>) -> TableRules {
    space.map_or(TableRules::STRICT, |space| space.table)
}

/// The column of a table that a strategy sees: the named one, or the first that it may.
pub(super) fn selection(
    table: &Table,
    name: Option<&str>,
    rules: TableRules,
) -> std::result::Result<Column, SearchError> {
    match name {
        Some(name) => table.selection(name, rules),
        None => table.first_selection(rules),
    }
}

/// The latency of a network in ms.
fn predict(
    table: Option<&LatencyTable>,
    blueprint: &Blueprint,
) -> std::result::Result<f64, SearchError> {
    let table = table.ok_or_else(|| SearchError::Input("there is no latency table".into()))?;
    table.predict(blueprint).map_err(|e| {
        let hint = e.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        SearchError::Input(format!("{e}{hint}"))
    })
}
