//! `adwp study --table`: what a published table says of strategies.

use std::collections::BTreeMap;
use std::path::Path;

use adwp_base::{Failure, Result, output};
use adwp_fidelity::{
    Contestant, Found, Ranked, StrategyExperiment, StrategyStudy, study_strategies,
};
use adwp_lut::Networks;
use adwp_models::space::find;
use adwp_report::{StudyContent, StudyPage, StudySection, study_html};
use adwp_search::{SearchError, Table, registry};
use adwp_train::{Context, Finished, Reporter, RunDir, write_atomic};

use super::explore::{refuse_what_has_no_effect, rules, selection};
use crate::args::StudyArgs;
use crate::config::LimitSettings;
use crate::interrupt;
use crate::limits;
use crate::plan::deadline;
use crate::run::lock;

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
    if args.architectures.is_some() {
        let failure = Failure::input("--architectures is for a study of scorers");
        return Err(failure.hint("strategies score as many as --evaluations says"));
    }
    let named = find(args.published.space.as_deref().unwrap_or_default())?;
    let space = (named.open)(named.published)?;
    let (table, rules) = (Table::read(table)?, rules(Some(named)));
    let selection = selection(&table, args.published.column.as_deref(), rules)?;
    let truth = args.published.truth.iter();
    let truth: Vec<_> = truth
        .map(|name| table.reported(name, &selection, rules))
        .collect::<std::result::Result<_, SearchError>>()?;
    let settings = LimitSettings::of(run);
    settings.validate()?;
    let networks = Networks::named(named.name, named.published);
    let limits = limits::limits(&settings, &*space, &networks)?;
    let mut evaluations = args.published.evaluations.clone();
    evaluations.sort_unstable();
    evaluations.dedup();
    let mut contestants = Vec::new();
    for strategy in &args.published.strategy {
        let entry = registry::strategy(&strategy.name)?;
        let given: BTreeMap<&str, f64> =
            strategy.settings.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let label = strategy.text.clone();
        if contestants.iter().any(|other: &Contestant| other.label == label) {
            return Err(Failure::input(format!("--strategy {label} is there twice")));
        }
        contestants.push(Contestant { label, entry, settings: entry.settings(&given)? });
    }
    let experiment = StrategyExperiment {
        space: &*space,
        limits: &limits,
        selection: &selection,
        truth: &truth,
        strategies: contestants,
        evaluations,
        fitted: args.published.fit.clone(),
        seeds: args.seeds.unwrap_or(SEEDS),
        seed: run.seed.unwrap_or(0),
        threads: threads(run.threads),
    };
    let folder = run.run.clone().unwrap_or_else(|| Path::new("runs").join(named.name));
    let dir = RunDir::create(&folder)?;
    let _lock = lock(&dir)?;
    if !run.resume && dir.file("study").exists() {
        let failure = Failure::input(format!("study: {} is there already", folder.display()));
        return Err(
            failure.hint("add --resume to go on from it, or name another folder with --run")
        );
    }
    let interrupt = interrupt::listen_until(deadline(&args.train))?;
    let command = resumed();
    interrupt::resume_with(command.clone());
    let mut context = Context {
        run: &dir,
        resume: run.resume,
        held_bytes: 0,
        check_memory: false,
        interrupt: &interrupt,
        reporter: &mut *reporter,
    };
    let study = interrupt::in_phase(|| study_strategies(&experiment, &mut context))?;
    let Finished::Done(study) = study else {
        let kept = format!("{} has what is done", dir.file("study").display());
        return Err(interrupt::stopped(&interrupt, &kept, &command));
    };
    write_atomic(&dir.file("study.json"), study.to_json().as_bytes())?;
    write_atomic(&dir.file("study.html"), study_html(&page(&study)).as_bytes())?;
    if as_json { output::data(&study.to_json()) } else { output::data(&text(&study)) }
}

fn threads(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// What was typed, with `--resume`.
fn resumed() -> String {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    words.insert(0, "adwp".into());
    if !words.iter().any(|word| word == "--resume") {
        words.push("--resume".into());
    }
    words.join(" ")
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
    let mut about = format!(
        "{}; selected by {}, judged by {}; seeds: {} from {} on",
        study.space,
        study.selection,
        study.truth.join(" and "),
        study.seeds,
        study.seed
    );
    if let Some(bounds) = &study.bounds {
        about += &format!(
            "; of {} networks the best by {} has {:.3}, the best of all {:.3}",
            bounds.networks, study.selection, bounds.best_selected, bounds.best
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
