//! The result of a run, and its pictures: `report.json`, `report.html`, the table that ends `adwp
//! run`, plots of points for studies, and the tables and the page of a bench.
//!
//! This crate computes nothing. It takes what the other rooms have measured, as plain numbers, and
//! shows it.

mod bench;
mod escape;
mod figure;
mod format;
mod html;
mod plot;
mod run_report;
mod scatter;
mod study;
mod terminal;

pub use bench::{
    BenchFold, BenchLatency, BenchMachine, BenchModel, BenchNode, BenchPage, BenchParity,
    BenchProfile, bench_csv, bench_html, bench_markdown, bench_table,
};
pub use html::{Cell, Pair, html};
pub use run_report::{
    BudgetRow, FinalistRow, FormatRow, LatencyRow, ParityRow, PartRow, PhaseTime, RunReport,
    RuntimeAccuracy, SearchRecord, SkippedImages,
};
pub use scatter::{Panel, Scatter, scatter};
pub use study::{StudyContent, StudyPage, StudySection, study_html};
pub use terminal::terminal_table;
