//! `adwp search --strategy`: architectures are scored one after another.

use std::num::NonZeroUsize;
use std::path::Path;

use adwp_base::{Failure, Result, output};
use adwp_engine::cuda::Precision;
use adwp_lut::Networks;
use adwp_models::space::{NamedSpace, TableRules, find};
use adwp_models::{Blueprint, Space};
use adwp_search::{
    Column, Explored, Finalist, Ingredient, Ingredients, ScorerEntry, SearchError, StopRule,
    TRIALS, Table, registry,
};
use adwp_train::{Reporter, RunDir, write_atomic};
use serde_json::{Map, Value, json};

use crate::architecture::{self, RunArchitecture, parsed};
use crate::args::{ExploreArgs, RunArgs, SearchArgs, TrainArgs, flag};
use crate::config::{Config, LimitSettings};
use crate::explore::{Found, Published, Search, predict};
use crate::folder::Held;
use crate::phases::Training;
use crate::plan::{Plan, refuse_to_resume_nothing};
use crate::run::{Run, without_images};
use crate::settings::{self, keep_done};
use crate::strategy::StrategyConfig;
use crate::{epochs, limits};

/// Carries out a search, or goes on with it.
pub(crate) fn search(args: &SearchArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let search = typed(args)?;
    if let Some(named) = search.space {
        let space = (named.open)(named.published)?;
        let scorers = search.asked.scorers()?;
        let is_read = scorers.iter().any(|scorer| scorer.needs(Ingredient::Latency))
            || args.train.run.max_latency_ms.is_some();
        let latencies = if is_read { search.latencies()? } else { None };
        let latency = |blueprint: &Blueprint| predict(latencies.as_ref(), blueprint);
        let mut ingredients = search.ingredients(&*space);
        ingredients.latency = latencies.as_ref().map(|_| &latency as _);
        // A scorer that can be made of these looks at architectures alone: no data set is needed,
        // unless finalists are trained.
        let mut needed = scorers.iter().flat_map(|scorer| scorer.needs);
        if search.asked.finalists == 0 && needed.all(|needed| ingredients.have(*needed)) {
            refuse_what_has_no_effect(&args.train.run)?;
            refuse_idle_table(&args.train.run, is_read)?;
            let folder = args.train.run.run.clone();
            let folder = folder.unwrap_or_else(|| Path::new("runs").join(named.name));
            return in_folder(&search, &args.train, &folder, ingredients, as_json, reporter);
        }
    }
    let plan = Plan::searching(&args.train, search.space)?;
    // A search that has ended may go on.
    settings::check_rounding(&plan.folder, &plan.compute)?;
    let run = Run::open(plan, reporter)?;
    run.announce(reporter);
    refuse_what_is_there(&run.dir, run.plan.resume)?;
    let command = flags(&search, &args.explore);
    let (space, found) = search.in_run(&run, &command, reporter)?;
    print(&search, &*space, &run.dir, &found, as_json)
}

/// The search that was typed.
fn typed(args: &SearchArgs) -> Result<Search> {
    let ExploreArgs { space, scorer, table, column, report_column, .. } = &args.explore;
    let ExploreArgs { evaluations, search_minutes, search_epochs, .. } = args.explore;
    let ExploreArgs { training_epochs, training_scale, .. } = args.explore;
    let ExploreArgs { finalists, finalist_epochs, .. } = args.explore;
    let space = space.as_deref().map(find).transpose()?;
    let default = if table.is_some() { "table" } else { "one-shot" };
    let scorer = registry::scorer_entry(scorer.as_deref().unwrap_or(default))?;
    let sees_table = scorer.needs(Ingredient::Table);
    if let (Some(column), false) = (column, sees_table) {
        let failure = Failure::input(format!("--column {column}: {} sees no column", scorer.name));
        return Err(failure.hint("--report-column reports one of what was found"));
    }
    let published = table.as_deref().map(|table| {
        let (table, rules) = (Table::read(table)?, rules(space));
        let selection = match sees_table {
            true => Some(selection(&table, column.as_deref(), rules)?),
            false => None,
        };
        let reported = report_column.iter().map(|name| match &selection {
            Some(selection) => table.reported(name, selection, rules),
            None => table.column(name),
        });
        let reported = reported.collect::<std::result::Result<_, SearchError>>()?;
        Ok::<_, Failure>(Published { selection, reported })
    });
    let published = published.transpose()?;
    let usual = StrategyConfig::default();
    let scale = args.train.run.epochs_scale.unwrap_or(1.0);
    let usual_epochs = || epochs::scaled(usual.training_epochs as i64, scale) as usize;
    let asked = StrategyConfig {
        name: args.strategy.clone().unwrap_or_default(),
        space: space.map_or(usual.space, |space| space.name.to_owned()),
        scorer: scorer.name.to_owned(),
        inputs: args.explore.input.clone(),
        start: args.explore.start.clone(),
        evaluations: evaluations.unwrap_or(0),
        training_epochs: training_epochs.map_or_else(usual_epochs, NonZeroUsize::get),
        training_scale: training_scale.unwrap_or(usual.training_scale),
        finalists: finalists.unwrap_or(usual.finalists),
        finalist_epochs: finalist_epochs.map_or(usual.finalist_epochs, NonZeroUsize::get),
        settings: args.explore.settings.0.clone(),
    };
    refuse_trainings_of_nothing(&args.explore, scorer)?;
    let latency_table = args.train.run.latency_table.clone();
    let can_have = |ingredient| match ingredient {
        Ingredient::Table => published.as_ref().is_some_and(|table| table.selection.is_some()),
        Ingredient::Latency => latency_table.is_some(),
        Ingredient::Drawn => false,
        Ingredient::Images | Ingredient::JointTraining | Ingredient::ShortTraining => true,
    };
    asked.check(can_have, |key| match key {
        "inputs" => "--input".to_owned(),
        key => format!("--{}", flag(key)),
    })?;
    let stop = StopRule { evaluations, minutes: search_minutes, epochs: search_epochs };
    Ok(Search { asked, stop, latency_table, space, published })
}

/// Refuses what is said of trainings that the search does not have.
fn refuse_trainings_of_nothing(args: &ExploreArgs, scorer: &ScorerEntry) -> Result {
    let has_finalists = args.finalists.is_some_and(|finalists| finalists > 0);
    let is_scored = scorer.needs(Ingredient::ShortTraining);
    // Finalists are trained for a multiple of the epochs of a score, unless they have a number of
    // their own.
    let counts_epochs = is_scored || has_finalists && args.finalist_epochs.is_none();
    let flags = [
        ("--training-epochs", args.training_epochs.is_some() && !counts_epochs),
        ("--training-scale", args.training_scale.is_some() && !is_scored),
        ("--finalist-epochs", args.finalist_epochs.is_some() && !has_finalists),
    ];
    match flags.into_iter().find(|(_, is_useless)| *is_useless) {
        None => Ok(()),
        Some(("--finalist-epochs", _)) => {
            Err(Failure::input("--finalist-epochs: there are no finalists")
                .hint("--finalists N has the N best trained"))
        }
        Some((flag, _)) => Err(Failure::input(format!(
            "{flag} is for the scorer training, not {}, which trains no architecture",
            scorer.name
        ))),
    }
}

/// A search that needs no data set: only a folder.
fn in_folder(
    search: &Search,
    args: &TrainArgs,
    folder: &Path,
    ingredients: Ingredients<'_>,
    as_json: bool,
    reporter: &mut dyn Reporter,
) -> Result {
    let run = &args.run;
    let settings = LimitSettings::of(run);
    settings.validate()?;
    let space = ingredients.space;
    let networks = Networks::named(space.name(), space.skeleton());
    let limits = limits::limits(&settings, space, &networks)?;
    refuse_to_resume_nothing(folder, run.resume)?;
    let (dir, _held) = Held::open(folder)?;
    refuse_what_is_there(&dir, run.resume)?;
    let seed = run.seed.unwrap_or(0);
    let kept = format!("{} has the trials", dir.file(TRIALS).display());
    let found = without_images(&dir, args, &kept, reporter, |context| {
        search.explore(ingredients, &limits, seed, context)
    })?;
    let Explored { best, trials } = found;
    let found = Found { best, evaluations: trials.len(), finalists: Vec::new() };
    print(search, ingredients.space, &dir, &found, as_json)
}

/// Writes the architecture that was found, and prints it.
fn print(search: &Search, space: &dyn Space, dir: &RunDir, found: &Found, as_json: bool) -> Result {
    let Found { best, evaluations, finalists } = found;
    let architecture = crate::explore::architecture(space, best)?;
    let (file, text) = (architecture.file(), architecture.to_json());
    let path = dir.file(file);
    let is_another =
        path.exists() && parsed(path.clone(), RunArchitecture::from_json)?.to_json() != text;
    let trained = [dir.file("weights.safetensors"), dir.checkpoint("retrain")];
    if let Some(trained) = trained.into_iter().find(|trained| is_another && trained.exists()) {
        let (path, trained) = (path.display(), trained.display());
        return Err(Failure::input(format!(
            "the search has found another architecture than {path}, which {trained} is of"
        ))
        .hint(format!("remove {trained} and what follows from it, or search in another folder")));
    }
    write_atomic(&path, text.as_bytes())?;
    // A search that sees no images is no run, and its folder has none of what binds one.
    if dir.file(Config::FILE).exists() {
        keep_done(dir, Training::Search, file)?;
    }
    let columns = search.published.iter().flat_map(|published| &published.reported);
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
    if search.space.is_some() {
        lines += &format!("{}\n", best.text);
    }
    let number = best.number + 1;
    // What is on record counts, although fewer were asked for.
    let is_beyond = search.stop.evaluations.is_some_and(|asked| *evaluations > asked);
    let record = if is_beyond { " on record" } else { "" };
    lines += &format!(
        "{} {} (architecture {number} of {evaluations}{record})\n",
        search.asked.scorer, best.score
    );
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
fn flags(search: &Search, args: &ExploreArgs) -> String {
    let ExploreArgs { table, column, report_column, .. } = args;
    let ExploreArgs { evaluations, search_minutes, search_epochs, input, .. } = args;
    let ExploreArgs { finalists, finalist_epochs, training_epochs, training_scale, .. } = *args;
    let mut flags = vec![
        ("strategy", Some(search.asked.name.clone())),
        ("space", search.space.map(|space| space.name.to_owned())),
        ("scorer", Some(search.asked.scorer.clone())),
        ("table", table.as_ref().map(|path| path.display().to_string())),
        ("column", column.clone()),
        ("evaluations", evaluations.map(|n| n.to_string())),
        ("search-minutes", search_minutes.map(|m| m.to_string())),
        ("search-epochs", search_epochs.map(|n| n.to_string())),
        ("training-epochs", training_epochs.map(|n| n.to_string())),
        ("training-scale", training_scale.map(|scale| scale.to_string())),
        ("finalists", finalists.map(|n| n.to_string())),
    ];
    flags.push(("finalist-epochs", finalist_epochs.map(|n| n.to_string())));
    flags.extend(report_column.iter().map(|name| ("report-column", Some(name.clone()))));
    flags.extend(input.iter().map(|name| ("input", Some(name.clone()))));
    flags.extend(args.start.iter().map(|what| ("start", Some(format!("'{what}'")))));
    let flags = flags.into_iter().filter_map(|(flag, value)| Some(format!(" --{flag} {}", value?)));
    let settings = args.settings.0.iter();
    let settings = settings.map(|(name, value)| format!(" --{} {value}", flag(name)));
    format!("search{}", flags.chain(settings).collect::<String>())
}

/// Nothing that is there is touched: without `--resume` no search, and with it no architecture
/// that another search has found.
fn refuse_what_is_there(dir: &RunDir, resume: bool) -> Result {
    let trials = dir.file(TRIALS);
    let found = [architecture::GENOTYPE, architecture::NAMED].map(|name| dir.file(name));
    let found = found.into_iter().find(|path| path.exists());
    let there = match (resume, trials.exists()) {
        (false, true) => Some((trials, "add --resume to go on from it, or")),
        (_, false) => found.map(|path| (path, "remove it to search again, or")),
        (true, true) => None,
    };
    match there {
        None => Ok(()),
        Some((path, advice)) => {
            let failure = Failure::input(format!("search: {} is there already", path.display()));
            Err(failure.hint(format!("{advice} name another folder with --run")))
        }
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
        ("--fill", args.fill),
        ("--epochs-scale", args.epochs_scale.is_some()),
    ];
    match flags.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            Err(Failure::input(format!("{flag} has no effect on a search that looks at no images"))
                .hint("its networks have the sizes that the space was published with"))
        }
    }
}

/// A table of latencies that nothing looks into is refused; `is_read` says whether a scorer does.
pub(super) fn refuse_idle_table(args: &RunArgs, is_read: bool) -> Result {
    if args.latency_table.is_none() || args.max_latency_ms.is_some() || is_read {
        return Ok(());
    }
    let failure = Failure::input("--latency-table: nothing here asks for a latency");
    Err(failure.hint("--max-latency-ms is a limit on it"))
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
