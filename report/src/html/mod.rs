//! `report.html`: one file that needs nothing else, no script and no network.

mod architecture;
mod cells;
mod chart;
mod curves;
mod header;
mod heat;
mod metrics;
mod search;
mod tables;

use serde_json::{Map, Value};

use crate::RunReport;
use crate::escape::escape;
pub(crate) use architecture::Genotype;
use architecture::Space;
pub use architecture::{Cell, Pair};
pub(crate) use cells::pictures;
pub(crate) use header::noise;
pub(crate) use tables::{Column, table};

/// The report as one HTML page, light and dark, for wide and narrow windows.
///
/// `metrics` are the lines of `metrics.jsonl`: each phase gets the charts that its lines have
/// numbers for, and a banner where its last line has `"collapsed": true`. `space` is what
/// `space.json` holds: it names the candidates whose probabilities the lines of the search have.
///
/// Nothing in either can make this fail: what cannot be drawn is shown as text, and what is no
/// number as `n/a`.
pub fn html(report: &RunReport, metrics: &[Map<String, Value>], space: Option<&Value>) -> String {
    let title = match &report.preset {
        Some(preset) => format!("{} · {}", escape(&report.dataset), escape(preset)),
        None => escape(&report.dataset),
    };
    let style = include_str!("style.css");
    let phases = metrics::phases(metrics);
    let genotype = Genotype::read(&report.genotype);
    let drawn = match &report.cells[..] {
        [] => Genotype::cells(&report.genotype),
        cells => cells.to_vec(),
    };
    let space = space.and_then(Space::read);
    let budgets = if report.budgets.is_empty() {
        String::new()
    } else {
        section("Budgets", tables::budgets(&report.budgets))
    };
    let formats = if report.formats.is_empty() {
        String::new()
    } else {
        section("Other files", tables::formats(&report.formats))
    };
    let searched = match &report.search {
        Some(record) => section("Search", search::search(record)),
        None => String::new(),
    };
    let body = [
        header::header(report, &title),
        header::warnings(&phases),
        noise("", &report.warnings),
        budgets,
        section("Phases", tables::phases(&report.phases)),
        searched,
        section("Curves", curves::curves(&phases)),
        section("Latency", tables::latency(&report.latency)),
        section("Accuracy", tables::accuracy(report)),
        section("Parity", tables::parity(report)),
        formats,
        section("Architecture", cells::pictures(&drawn, &report.genotype)),
        section("Candidates", heat::maps(&phases, genotype.as_ref(), space.as_ref())),
        section("Machine", tables::machine(&report.machine)),
    ]
    .concat();
    document(&title, style, &body)
}

/// A page for a browser that needs no other file. The title is escaped already.
pub(crate) fn document(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · adwp</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn section(title: &str, content: String) -> String {
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}
