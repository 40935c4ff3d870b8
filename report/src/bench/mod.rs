//! Models measured on one or more machines: as tables of text, and as one page for a browser.

mod measured;
mod page;
mod plot;
mod text;

pub use measured::{
    BenchFold, BenchLatency, BenchMachine, BenchModel, BenchNode, BenchPage, BenchParity,
    BenchProfile,
};
pub use page::bench_html;
pub use text::{bench_csv, bench_markdown, bench_table};
