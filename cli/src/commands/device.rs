//! The commands that devices have too: `adwp_edge` carries them out, here their results are
//! printed.

use adwp_base::{Failure, output};
use adwp_edge::{CompareArgs, ReportArgs};

use super::{Style, road};
use crate::progress::Console;

/// Carries out a command and prints what it gives.
pub(super) fn print(
    style: Style,
    command: impl FnOnce(adwp_edge::Style<'_>) -> Result<String, Failure>,
) -> Result<(), Failure> {
    output::data(&with_style(style, command)?)
}

fn with_style<T>(
    style: Style,
    command: impl FnOnce(adwp_edge::Style<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut console = Console::new(style.verbosity);
    command(adwp_edge::Style { json: style.json, say: &mut |text| console.say(text) })
}

/// `adwp compare`: a regression is printed, and is a failure.
pub(super) fn compare(args: &CompareArgs, style: Style) -> Result<(), Failure> {
    let (text, failure) = with_style(style, |style| adwp_edge::compare(args, style))?;
    output::data(&text)?;
    failure.map_or(Ok(()), Err)
}

/// `adwp report`: of a run's folder, or of results of `adwp bench`.
pub(super) fn report(args: &ReportArgs, style: Style) -> Result<(), Failure> {
    match args.results.as_slice() {
        [run]
            if run.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("json")) =>
        {
            road::report(run.clone(), style)
        }
        _ => print(style, |style| adwp_edge::report(args, style)),
    }
}
