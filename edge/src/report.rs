use std::path::{Path, PathBuf};

use adwp_base::{Failure, Result, check_writable, output::as_json};
use adwp_measure::{DeployError, bench::BenchReport};

use crate::{Format, ReportArgs, Style, page};

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
    keep_apart(&args.results, &[("--html", args.html.as_deref())])?;
    if let Some(path) = &args.html {
        write(path, &adwp_report::bench_html(&page))?;
    }
    if style.json {
        if args.format != Format::Table {
            return Err(Failure::input("--json is a format itself: leave --format out"));
        }
        return as_json(&reports.iter().map(|(_, report)| report).collect::<Vec<_>>());
    }
    Ok(page::text(&page, args.format))
}

/// Refuses to write over what is read, to write two things to one file, and to write where nothing
/// can be written.
///
/// # Errors
/// Names the flag.
pub(crate) fn keep_apart(read: &[PathBuf], written: &[(&str, Option<&Path>)]) -> Result<()> {
    // Where a path leads; of a file that is not there yet, its folder.
    let place = |path: &Path| {
        path.canonicalize().unwrap_or_else(|_| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new(".")).canonicalize();
            let name = path.file_name().unwrap_or_default();
            folder.map_or_else(|_| path.to_owned(), |folder| folder.join(name))
        })
    };
    // A device takes all that is written to it.
    let same = |a: &Path, b: &Path| (!a.exists() || a.is_file()) && place(a) == place(b);
    for (index, (flag, path)) in written.iter().enumerate() {
        let Some(path) = path else { continue };
        if read.iter().any(|read| same(path, read)) {
            return Err(Failure::input(format!("{flag} {}: that is what is read", path.display())));
        }
        let others = written[..index].iter();
        if let Some((other, _)) =
            others.into_iter().find(|(_, of)| of.is_some_and(|of| same(path, of)))
        {
            return Err(Failure::input(format!("{flag} and {other} both name {}", path.display())));
        }
        check_writable(path).map_err(|e| Failure::input(format!("{flag}: {e}")))?;
    }
    Ok(())
}

/// Writes a file, all of it or nothing.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), DeployError> {
    Ok(adwp_base::write_atomic(path, text.as_bytes())?)
}
