//! The steps of a run. Each reads files of the run folder and writes files to it.

mod bench;
mod export;
mod report;
mod train;

pub(crate) use bench::bench;
pub(crate) use export::{export, export_form};
pub(crate) use report::report;
pub(crate) use train::{retrain, search, space};
