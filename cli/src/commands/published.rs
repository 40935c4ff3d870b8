//! `adwp study --table`: what a published table says of strategies and of scorers.

use std::collections::BTreeMap;
use std::path::Path;

use adwp_base::{Failure, Result, output};
use adwp_fidelity::{
    Contestant, Correlation, Found, Ranked, ScorerExperiment, ScorerStudy, StrategyExperiment,
    StrategyStudy, study_scorers, study_strategies,
};
use adwp_lut::Networks;
use adwp_models::Skeleton;
use adwp_models::space::find;
use adwp_report::{Panel, Scatter, StudyContent, StudyPage, StudySection, scatter, study_html};
use adwp_search::{Column, SearchError, Table, Unit, registry};
use adwp_train::{Reporter, Streams, write_atomic};

use super::explore::{refuse_idle_table, refuse_what_has_no_effect, rules, selection};
use super::fidelity::label;
use crate::args::{PublishedArgs, StudyArgs};
use crate::config::LimitSettings;
use crate::device::threads;
use crate::explore::sized;
use crate::folder::Held;
use crate::limits;
use crate::plan::{Plan, refuse_to_resume_nothing};
use crate::run::{Run, without_images};
use crate::strategy::{once, useless};

/// Seeds of a study of strategies where none are asked for.
const SEEDS: usize = 20;

/// Compares strategies on a table, or goes on with it.
pub(crate) fn strategies(
    args: &StudyArgs,
    table: &Path,
    as_json: bool,
    reporter: &mut dyn Reporter,
) -> Result {
    let run = &args.train.run;
    refuse_what_has_no_effect(run)?;
    refuse_idle_table(run, false)?;
    if args.architectures.is_some() {
        let failure = Failure::input("--architectures is for a study of scorers");
        return Err(failure.hint("strategies score as many as --evaluations says"));
    }
    let named = find(args.published.space.as_deref().unwrap_or_default())?;
    let space = (named.open)(named.published)?;
    let (table, rules) = (Table::read(table)?, rules(Some(named)));
    let column = args.published.column.as_deref();
    let selection = match args.published.strategy.is_empty() {
        true if column.is_some() => {
            return Err(Failure::input("--column is what strategies see, and there are none"));
        }
        true => None,
        false => Some(selection(&table, column, rules)?),
    };
    once("--truth", &args.published.truth)?;
    once("--fit", &args.published.fit)?;
    let truth = args.published.truth.iter().map(|name| match &selection {
        Some(selection) if selection.name() == name => Err(SearchError::Input(format!(
            "{name:?} is what the strategies see: it cannot be the truth as well"
        ))),
        Some(selection) => table.reported(name, selection, rules),
        None => table.column(name),
    });
    let truth: Vec<_> = truth.collect::<std::result::Result<_, SearchError>>()?;
    let settings = LimitSettings::of(run);
    settings.validate()?;
    let networks = Networks::named(named.name, named.published);
    let limits = limits::limits(&settings, &*space, &networks)?;
    let mut evaluations = args.published.evaluations.clone();
    evaluations.sort_unstable();
    evaluations.dedup();
    once("--input", &args.published.input)?;
    let scores = args.published.inputs.as_deref().map(Table::read).transpose()?;
    let inputs = args.published.input.iter().filter_map(|name| Some(scores.as_ref()?.column(name)));
    let inputs: Vec<_> = inputs.collect::<std::result::Result<_, SearchError>>()?;
    for input in &inputs {
        let name = input.name();
        let is = |column: &Column| column.name() == name || column.digest() == input.digest();
        let what = match &selection {
            _ if truth.iter().any(is) => "the truth",
            Some(selection) if is(selection) => "what is evaluated",
            _ if name.to_lowercase().contains("test") => "of test accuracies",
            _ => continue,
        };
        return Err(useless("--input", name, &format!("that column is {what}")));
    }
    let mut contestants: Vec<Contestant> = Vec::new();
    for strategy in &args.published.strategy {
        let entry = registry::strategy(&strategy.name)?;
        let given: BTreeMap<&str, f64> =
            strategy.settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let label = strategy.text.clone();
        let settings = entry.settings(&given)?;
        let is_same =
            |other: &Contestant| other.entry.name == entry.name && other.settings == settings;
        if contestants.iter().any(is_same) {
            return Err(Failure::input(format!("--strategy {label} is there twice")));
        }
        let with_inputs = entry.reads_inputs && !inputs.is_empty();
        if with_inputs {
            let label = format!("{label}+{}", args.published.input.join("+"));
            contestants.push(Contestant { label, entry, settings: settings.clone(), with_inputs });
        }
        contestants.push(Contestant { label, entry, settings, with_inputs: false });
    }
    if !inputs.is_empty() && !contestants.iter().any(|contestant| contestant.with_inputs) {
        return Err(Failure::input("--input: none of the strategies reads inputs"));
    }
    let experiment = StrategyExperiment {
        space: &*space,
        limits: &limits,
        selection: selection.as_ref(),
        truth: &truth,
        inputs: &inputs,
        strategies: contestants,
        evaluations,
        fitted: args.published.fit.clone(),
        seeds: args.seeds.unwrap_or(SEEDS),
        seed: run.seed.unwrap_or(0),
        threads: threads(run.threads, reporter),
    };
    let folder = run.run.clone().unwrap_or_else(|| Path::new("runs").join(named.name));
    refuse_to_resume_nothing(&folder, run.resume)?;
    let (dir, _held) = Held::open(&folder)?;
    if !run.resume && dir.file("study").exists() {
        let failure = Failure::input(format!("study: {} is there already", folder.display()));
        return Err(
            failure.hint("add --resume to go on from it, or name another folder with --run")
        );
    }
    let kept = format!("{} has what is done", dir.file("study").display());
    let study = without_images(&dir, &args.train, &kept, reporter, |context| {
        Ok(study_strategies(&experiment, context)?)
    })?;
    write_atomic(&dir.file("study.json"), study.to_json().as_bytes())?;
    write_atomic(&dir.file("study.html"), study_html(&page(&study)).as_bytes())?;
    if as_json { output::json(&study) } else { output::data(&text(&study)) }
}

/// Holds scorers against a table, or goes on with it.
pub(crate) fn scorers(
    args: &StudyArgs,
    table: &Path,
    as_json: bool,
    reporter: &mut dyn Reporter,
) -> Result {
    let named = find(args.published.space.as_deref().unwrap_or_default())?;
    if args.published.column.is_some() {
        let failure = Failure::input("--column is what strategies see");
        return Err(failure.hint("--truth names the columns that scores are held against"));
    }
    let table = Table::read(table)?;
    once("--truth", &args.published.truth)?;
    once("--scorer", &args.published.scorer)?;
    let truth = args.published.truth.iter().map(|name| table.column(name));
    let truth: Vec<_> = truth.collect::<std::result::Result<_, SearchError>>()?;
    let scorers = args.published.scorer.iter().map(|name| registry::scorer_entry(name));
    let scorers: Vec<_> = scorers.collect::<std::result::Result<_, SearchError>>()?;
    let plan = Plan::searching(&args.train, Some(named))?;
    if plan.config.limits.are_set() {
        let failure = Failure::input("a study of scorers keeps to no limits");
        return Err(failure.hint("leave out --max-params, --max-madds and --max-latency-ms"));
    }
    let run = Run::open(Plan { is_shared: true, ..plan }, reporter)?;
    run.announce(reporter);
    let folder = run.dir.file("study");
    if !run.plan.resume && folder.exists() {
        let failure = Failure::input(format!("study: {} is there already", folder.display()));
        return Err(failure.hint("add --resume to go on from it, or delete it to begin afresh"));
    }
    let config = run.config();
    let seeds = args.seeds.unwrap_or(config.fidelity.seeds);
    let data = (0..seeds as u64).map(|k| {
        let streams = Streams::new(config.seed.wrapping_add(k));
        run.images.search_data(config, streams, &run.device)
    });
    let data = data.collect::<Result<Vec<_>>>()?;
    let target = run.images.skeleton(config, config.retrain.channels);
    let space = sized(named, target)?;
    let searched = sized(named, Skeleton { channels: config.search.channels, ..target })?;
    let experiment = ScorerExperiment {
        space: &*space,
        searched: &*searched,
        truth: &truth,
        scorers,
        architectures: args.architectures.unwrap_or(config.fidelity.architectures),
        settings: &config.search,
        data,
        seed: config.seed,
    };
    let kept = format!("{} has what is done", folder.display());
    let study = run.phases("study", &flags(args), &kept, reporter, |context| {
        Ok(study_scorers(&experiment, context)?)
    })?;
    write_atomic(&run.dir.file("study.json"), study.to_json().as_bytes())?;
    write_atomic(&run.dir.file("scores.csv"), study.to_csv().as_bytes())?;
    write_atomic(&run.dir.file("study.html"), study_html(&scorer_page(&study)).as_bytes())?;
    if as_json { output::json(&study) } else { output::data(&scorer_text(&study)) }
}

/// The command with the flags of a study of scorers.
fn flags(args: &StudyArgs) -> String {
    let PublishedArgs { space, table, truth, scorer, .. } = &args.published;
    let mut flags = String::from("study");
    let mut add = |flag: &str, value: &str| flags += &format!(" --{flag} {value}");
    space.iter().for_each(|space| add("space", space));
    table.iter().for_each(|table| add("table", &table.display().to_string()));
    truth.iter().for_each(|column| add("truth", column));
    scorer.iter().for_each(|scorer| add("scorer", scorer));
    args.architectures.iter().for_each(|count| add("architectures", &count.to_string()));
    args.seeds.iter().for_each(|count| add("seeds", &count.to_string()));
    flags
}

/// Headings and cells of what was found, a row for each strategy.
fn found_rows(study: &StrategyStudy) -> (Vec<String>, Vec<Vec<String>>) {
    let counts: Vec<usize> = study
        .strategies
        .first()
        .map_or_else(Vec::new, |first| first.found.iter().map(|found| found.evaluations).collect());
    let mut columns = vec!["strategy".to_owned()];
    columns.extend(counts.iter().map(|count| format!("after {count}")));
    let rows = study.strategies.iter().map(|result| {
        let cell = |found: &Found| format!("{:.3}{}", found.mean, plus_minus(found.sd));
        std::iter::once(result.strategy.clone()).chain(result.found.iter().map(cell)).collect()
    });
    (columns, rows.collect())
}

/// The differences of one strategy from each other, with their intervals.
fn difference_rows(study: &StrategyStudy) -> (Vec<String>, Vec<Vec<String>>) {
    let mut columns = vec!["strategy less another".to_owned()];
    let mut rows = Vec::new();
    for (i, result) in study.strategies.iter().enumerate() {
        for other in &study.strategies[..i] {
            let mut row = vec![format!("{} − {}", result.strategy, other.strategy)];
            for found in &result.found {
                if rows.is_empty() {
                    columns.push(format!("after {}", found.evaluations));
                }
                let Some(difference) = found.better_than.get(&other.strategy) else { continue };
                let interval = difference
                    .interval
                    .map_or_else(String::new, |[low, high]| format!(" [{low:+.3}, {high:+.3}]"));
                row.push(format!("{:+.3}{interval}", difference.mean));
            }
            rows.push(row);
        }
    }
    (columns, rows)
}

fn plus_minus(sd: Option<f64>) -> String {
    sd.map_or_else(String::new, |sd| format!(" ± {sd:.3}"))
}

fn about(study: &StrategyStudy) -> String {
    let selected = study.selection.as_deref().unwrap_or("nothing");
    let mut about = format!(
        "{}; selected by {selected}, judged by {}; seeds: {} from {} on",
        study.space,
        study.truth.join(" and "),
        study.seeds,
        study.seed
    );
    if let Some(bounds) = &study.bounds {
        about += &format!(
            "; of {} networks the best by {} has {:.3}, the best of all {:.3}",
            bounds.networks, selected, bounds.best_selected, bounds.best
        );
    }
    about
}

/// The result for a terminal.
fn text(study: &StrategyStudy) -> String {
    let mut text = format!("{}\n", about(study));
    for (columns, rows) in [found_rows(study), difference_rows(study), predictor_rows(study)] {
        if !rows.is_empty() {
            text += "\n";
            text += &aligned(&columns, &rows);
        }
    }
    text
}

fn predictor_rows(study: &StrategyStudy) -> (Vec<String>, Vec<Vec<String>>) {
    let columns =
        ["predictor fitted to", "τ over all other architectures", "τ over all other networks"];
    let rows = study.predictor.iter().map(|result| {
        let of = |ranked: &Ranked| {
            format!("{:.3}{} (n = {})", ranked.kendall, plus_minus(ranked.sd), ranked.count)
        };
        vec![
            format!("{} architectures", result.fitted),
            of(&result.architectures),
            of(&result.networks),
        ]
    });
    (columns.map(str::to_owned).to_vec(), rows.collect())
}

/// Columns as wide as their widest cell.
fn aligned(columns: &[String], rows: &[Vec<String>]) -> String {
    let width = |(place, heading): (usize, &String)| {
        let cells = rows.iter().filter_map(|row| row.get(place)).chain([heading]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let line = |row: &[String]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    std::iter::once(line(columns)).chain(rows.iter().map(|row| line(row))).collect()
}

fn correlation(of: &Correlation) -> String {
    let value = of.value.map_or_else(|| "n/a".to_owned(), |value| format!("{value:.3}"));
    let interval = of.interval.map(|[low, high]| format!(" [{low:.3}, {high:.3}]"));
    value + &interval.unwrap_or_default()
}

/// Headings and cells, a row for each scorer.
fn scorer_rows(study: &ScorerStudy) -> (Vec<String>, Vec<Vec<String>>) {
    let mut columns =
        ["score", "Kendall τ", "Spearman ρ", "τ of the better half", "reliability"].to_vec();
    let regrets: Vec<String> = study.scorers.first().map_or_else(Vec::new, |first| {
        first.regret.iter().map(|regret| format!("regret of top {}", regret.top)).collect()
    });
    columns.extend(regrets.iter().map(String::as_str));
    columns.push("chosen by each seed");
    let rows = study.scorers.iter().map(|result| {
        let reliability =
            result.reliability.map_or_else(|| "–".to_owned(), |rho| format!("{rho:.2}"));
        let mut row = vec![
            label(&result.scorer).to_owned(),
            correlation(&result.kendall),
            correlation(&result.spearman),
            correlation(&result.kendall_of_better_half),
            reliability,
        ];
        row.extend(result.regret.iter().map(|regret| format!("{:.2}", regret.points)));
        let chosen = result.by_seed.iter().map(|seed| format!("{:.2}", seed.chosen));
        row.push(chosen.collect::<Vec<_>>().join(" "));
        row
    });
    (columns.into_iter().map(str::to_owned).collect(), rows.collect())
}

fn scorers_about(study: &ScorerStudy) -> String {
    let mut about = format!(
        "{}; judged by {}; {} architectures of mean {:.2}, the best {:.2}; seeds: {} from {} on",
        study.space,
        study.truth.join(" and "),
        study.architectures.len(),
        study.mean,
        study.best,
        study.seeds,
        study.seed
    );
    if let Some(tau) = study.one_more_run {
        about += &format!("; τ of one run of the truth with another: {tau:.3}");
    }
    about
}

fn scorer_text(study: &ScorerStudy) -> String {
    let (columns, rows) = scorer_rows(study);
    format!("{}\n\n{}", scorers_about(study), aligned(&columns, &rows))
}

fn scorer_page(study: &ScorerStudy) -> StudyPage {
    let (columns, rows) = scorer_rows(study);
    let panels = study.scorers.iter().filter(|result| !result.scores.is_empty()).map(|result| {
        let unit = registry::scorer_entry(&result.scorer).map(|entry| entry.unit);
        let Unit { axis, factor } = unit.unwrap_or(Unit::plain(""));
        let seeds = result.scores.len() as f64;
        let score = |i: usize| result.scores.iter().map(|seed| seed[i]).sum::<f64>() / seeds;
        let points = study.values.iter().enumerate();
        Panel {
            title: format!("{}, τ = {}", label(&result.scorer), correlation(&result.kendall)),
            x_label: axis.to_owned(),
            points: points.map(|(i, value)| (factor * score(i), *value)).collect(),
            marked: Vec::new(),
        }
    });
    let title = format!("Scores of architectures of {}", study.space);
    let picture = scatter(&Scatter {
        title: "Scores against the table".into(),
        x_label: String::new(),
        y_label: study.truth.join(", "),
        panels: panels.collect(),
    });
    let sections = vec![
        StudySection {
            title: "What scores know".into(),
            note: "Of mean ranks over the seeds, with 95% bootstrap intervals over the \
                   architectures; the better half is that of the table. Reliability is the rank \
                   correlation between two seeds. A regret is what the best of the highest scores \
                   lacks to the best of all."
                .into(),
            content: StudyContent::Table { columns, rows },
        },
        StudySection {
            title: "Scores".into(),
            note: "Means over the seeds.".into(),
            content: StudyContent::Picture(picture),
        },
    ];
    StudyPage { title, about: scorers_about(study), sections }
}

fn page(study: &StrategyStudy) -> StudyPage {
    let table =
        |(columns, rows): (Vec<String>, Vec<Vec<String>>)| StudyContent::Table { columns, rows };
    let mut sections = Vec::new();
    let mut add = |title: &str, note: &str, content: StudyContent| {
        sections.push(StudySection { title: title.into(), note: note.into(), content });
    };
    if !study.strategies.is_empty() {
        let curves = study.strategies.iter().map(|result| {
            let points = result.curve.iter().enumerate();
            let points = points.map(|(i, value)| ((i + 1) as f64, *value)).collect();
            (result.strategy.clone(), points)
        });
        add(
            "Found",
            "What each strategy would deliver, by the columns that count: mean over the seeds ± \
             standard deviation between them.",
            table(found_rows(study)),
        );
        add(
            "Found against evaluations",
            "Mean over the seeds of what would be delivered after each evaluation.",
            StudyContent::Curves {
                x_label: "evaluations".into(),
                y_label: study.truth.join(", "),
                curves: curves.collect(),
            },
        );
        let (columns, rows) = difference_rows(study);
        if !rows.is_empty() {
            add(
                "Differences",
                "Means of differences seed by seed, with 95% bootstrap intervals over the seeds. \
                 Where an interval has 0 in it, chance explains the difference.",
                table((columns, rows)),
            );
        }
    }
    if !study.predictor.is_empty() {
        add(
            "Predictor",
            "The predictor of prednas, fitted to the columns that count of random architectures, \
             and how it ranks all others: mean over the seeds ± standard deviation.",
            table(predictor_rows(study)),
        );
    }
    let title = format!("Strategies on {}", study.space);
    StudyPage { title, about: about(study), sections }
}
