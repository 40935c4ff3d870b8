use std::{fs, io::Write, path::Path};

use adwp_deploy::{DeployError, bench::BenchReport};

use crate::{Failure, ReportArgs, Style, json, page};

/// The report of one or more results of `bench`, those of several machines side by side.
///
/// # Errors
/// A result cannot be read, or the page cannot be written.
pub fn report(args: &ReportArgs, style: Style<'_>) -> Result<String, Failure> {
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
        return json(&reports.iter().map(|(_, report)| report).collect::<Vec<_>>());
    }
    Ok(page::text(&page, args.format))
}

/// Writes a file, all of it or nothing.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // What failed is reported; the rest of a temporary file is only litter.
        let _ = fs::remove_file(&temporary);
        Failure::from(DeployError::Unwritable { path: path.to_owned(), source })
    })
}
