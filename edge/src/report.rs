use std::path::Path;

use adwp_base::{Result, output::as_json};
use adwp_measure::{DeployError, bench::BenchReport};

use crate::{ReportArgs, Style, page};

/// The report of one or more results of `bench`, those of several machines side by side.
///
/// # Errors
/// A result cannot be read, or the page cannot be written.
pub fn report(args: &ReportArgs, style: Style<'_>) -> Result<String> {
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let reports = args
        .results
        .iter()
        .map(|path| Ok((name(path), BenchReport::read(path)?)))
        .collect::<Result<Vec<_>, DeployError>>()?;
    let page = page::page(&reports);
    if let Some(path) = &args.html {
        write(path, &adwp_report::bench_html(&page))?;
    }
    if style.json {
        return as_json(&reports.iter().map(|(_, report)| report).collect::<Vec<_>>());
    }
    Ok(page::text(&page, args.format))
}

/// Writes a file, all of it or nothing.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), DeployError> {
    Ok(adwp_base::write_atomic(path, text.as_bytes())?)
}
