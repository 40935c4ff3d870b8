//! The result of a run, and its pictures: `report.json`, `report.html` and the table that ends `adwp run`.
//!
//! This crate computes nothing. It takes what the other rooms have measured, as plain numbers, and shows it.

mod error;
mod format;
mod html;
mod run_report;
mod schema;
mod terminal;

pub use error::ReportError;
pub use html::html;
pub use run_report::{LatencyRow, ParityRow, PhaseTime, RunReport, RuntimeAccuracy};
pub use schema::Schema;
pub use terminal::terminal_table;
