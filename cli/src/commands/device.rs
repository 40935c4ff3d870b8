//! The commands that devices have too: `adwp_edge` carries them out, here their results are
//! printed.

use adwp_base::{Failure, Result, output};
use adwp_edge::{CompareArgs, Format, PredictArgs, ReportArgs, Style};
use adwp_train::Reporter;

use super::road;

/// Carries out a command and prints what it gives.
pub(super) fn print(
    as_json: bool,
    reporter: &mut dyn Reporter,
    command: impl FnOnce(Style<'_>) -> Result<String>,
) -> Result {
    output::data(&with_style(as_json, reporter, command)?)
}

fn with_style<T>(
    as_json: bool,
    reporter: &mut dyn Reporter,
    command: impl FnOnce(Style<'_>) -> Result<T>,
) -> Result<T> {
    command(Style { json: as_json, say: &mut |text| reporter.message(&output::name(text)) })
}

/// `adwp compare`: a regression is printed, and is a failure.
pub(super) fn compare(args: &CompareArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let (text, failure) = with_style(as_json, reporter, |style| adwp_edge::compare(args, style))?;
    output::data(&text)?;
    failure.map_or(Ok(()), Err)
}

/// `adwp predict`: images that cannot be read are a failure once the others are printed.
pub(super) fn predict(args: &PredictArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let (text, failure) = with_style(as_json, reporter, |style| adwp_edge::predict(args, style))?;
    output::data(&text)?;
    failure.map_or(Ok(()), Err)
}

/// `adwp report`: of a run's folder, or of results of `adwp bench`.
pub(super) fn report(args: &ReportArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    match args.results.as_slice() {
        [run]
            if run.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("json")) =>
        {
            if args.html.is_some() || args.format != Format::Table {
                let failure = Failure::input("--html and --format are for results of `adwp bench`");
                return Err(failure.hint(format!(
                    "the report of a run is written to {}",
                    run.join("report.html").display()
                )));
            }
            road::report(run.clone(), as_json, reporter)
        }
        _ => print(as_json, reporter, |style| adwp_edge::report(args, style)),
    }
}
