//! The commands of published architectures.

use adwp_models::zoo::differs;
use adwp_models::{Genotype, Stem, Zoo, ZooEntry};
use serde::Serialize;

use super::Style;
use crate::args::ZooCommand;
use crate::failure::Failure;
use crate::output;
use crate::progress::Console;

/// What tells the name of a published architecture from that of a file.
pub(crate) const PREFIX: &str = "zoo:";

/// `adwp zoo`.
pub(crate) fn run(command: ZooCommand, style: Style) -> Result<(), Failure> {
    match command {
        ZooCommand::List { markdown } => list(markdown, style),
        ZooCommand::Show { name, cells } => show(&name, cells, style),
    }
}

/// The genotype of a published architecture, with the cells it was published with behind a stem unless others are asked for.
pub(crate) fn genotype(name: &str, cells: Option<usize>, stem: Stem) -> Result<Genotype, Failure> {
    let entry = find(name)?;
    let cells = cells.or(entry.published_cells(stem)).ok_or_else(|| {
        let failure = Failure::input(format!("{name} was not published for CIFAR-10, so it is not known how many cells are meant"));
        failure.hint("add --cells N")
    })?;
    Ok(entry.genotype(cells)?)
}

fn find(name: &str) -> Result<&'static ZooEntry, Failure> {
    Zoo::embedded().find(name).map_err(|e| Failure::from(e).hint("`adwp zoo list` has all names"))
}

/// An architecture with what its published networks cost.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    entry: &'static ZooEntry,
    counted: Counted,
}

#[derive(Serialize)]
struct Counted {
    cifar10: Option<Count>,
    imagenet: Count,
}

#[derive(Serialize)]
struct Count {
    params: u64,
    madds: u64,
}

impl Listed {
    fn new(entry: &'static ZooEntry) -> Result<Self, Failure> {
        let count = |skeleton| entry.cost(&skeleton).map(|cost| Count { params: cost.params, madds: cost.madds });
        let cifar10 = entry.cifar10.as_ref().map(|network| count(network.skeleton())).transpose()?;
        Ok(Self { entry, counted: Counted { cifar10, imagenet: count(entry.imagenet.skeleton())? } })
    }

    /// The cells of its row under [`HEADER`].
    fn row(&self) -> [String; COLUMNS] {
        let ZooEntry { name, citation, cifar10, imagenet, .. } = self.entry;
        let on_imagenet = &self.counted.imagenet;
        let (mut params, mut error) = ("–".to_owned(), "–".to_owned());
        if let (Some(reported), Some(counted)) = (cifar10, &self.counted.cifar10) {
            params = beside(counted.params, reported.reported_params_m, [2, 1]);
            error = format!("{:.2}%", reported.reported_error);
        }
        [
            name.clone(),
            citation.year.to_string(),
            params,
            error,
            beside(on_imagenet.params, imagenet.reported_params_m, [2, 1]),
            beside(on_imagenet.madds, imagenet.reported_madds_m, [1, 0]),
            format!("{:.1}%", imagenet.reported_top1_error),
            format!("{:.1}%", imagenet.reported_top5_error),
        ]
    }
}

const COLUMNS: usize = 8;

const HEADER: [&str; COLUMNS] =
    ["name", "year", "CIFAR-10 params", "error", "ImageNet params", "multiply-adds", "top-1 error", "top-5 error"];

const LEGEND: &str = "millions as counted here, in brackets as reported; errors as reported; \
                      * over 2% from the reported: `adwp zoo show NAME` says what is known of it";

/// A count beside what was reported, both in millions with so many decimals, and a mark where they differ.
fn beside(counted: u64, reported_m: f64, [decimals, reported_decimals]: [usize; 2]) -> String {
    let mark = if differs(counted, reported_m) { " *" } else { "" };
    format!("{:.decimals$} ({reported_m:.reported_decimals$}){mark}", counted as f64 / 1e6)
}

/// `adwp zoo list`.
fn list(markdown: bool, style: Style) -> Result<(), Failure> {
    // The parser notices a conflict with a global flag only where that flag comes last.
    if markdown && style.json {
        return Err(Failure::input("the table can be printed as Markdown or as JSON: --markdown or --json"));
    }
    let listed: Vec<Listed> = Zoo::embedded().entries().iter().map(Listed::new).collect::<Result<_, _>>()?;
    if style.json {
        return output::json(&listed);
    }
    let rows: Vec<[String; COLUMNS]> = listed.iter().map(Listed::row).collect();
    if markdown {
        return output::data(&as_markdown(&rows));
    }
    output::data(&as_text(&rows))?;
    Console::new(style.verbosity).say(LEGEND);
    Ok(())
}

fn as_markdown(rows: &[[String; COLUMNS]]) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&HEADER) + &"|---".repeat(COLUMNS) + "|\n";
    for row in rows {
        let mut cells: Vec<&str> = row.iter().map(String::as_str).collect();
        let name = format!("`{}`", cells[0]);
        cells[0] = &name;
        // An asterisk alone could begin emphasis.
        text += &line(&cells).replace('*', "\\*");
    }
    text
}

fn as_text(rows: &[[String; COLUMNS]]) -> String {
    let header = HEADER.map(str::to_owned);
    let lines = || std::iter::once(&header).chain(rows);
    let widths: Vec<usize> = (0..COLUMNS).map(|i| lines().map(|cells| cells[i].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for cells in lines() {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    text
}

/// All that is known of an architecture, with its genotype for a number of cells.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    entry: &'static ZooEntry,
    genotype: Genotype,
}

/// `adwp zoo show`.
fn show(name: &str, cells: Option<usize>, style: Style) -> Result<(), Failure> {
    let entry = find(name)?;
    let published = entry.cifar10.as_ref().map_or(entry.imagenet.cells, |network| network.cells);
    let genotype = entry.genotype(cells.unwrap_or(published))?;
    if style.json {
        return output::json(&Shown { entry, genotype });
    }
    output::data(&genotype.to_json())?;
    Console::new(style.verbosity).say(&about(entry));
    Ok(())
}

/// The publication, where the cells are written, and the note.
fn about(entry: &ZooEntry) -> String {
    let (citation, source) = (&entry.citation, &entry.source);
    let mut text = format!("{}: {}\n", entry.title, citation.authors);
    text += &format!("{}, {} {}, arXiv:{}\n", citation.paper, citation.venue, citation.year, citation.arxiv);
    text += &format!("cells: {} in {} of github.com/{} at {}", source.symbol, source.file, source.repository, &source.commit[..7]);
    if let Some(note) = &entry.note {
        text += &format!("\n{note}");
    }
    text
}
