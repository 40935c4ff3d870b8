//! What programs print: data on stdout, messages on stderr.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::Failure;

/// Writes data to stdout. A reader that went away (`adwp … | head`) ends the program quietly.
///
/// # Errors
/// Where stdout cannot be written to for another reason.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::failed(format!("cannot write to stdout: {e}"))),
    }
}

/// Writes a line of data to stdout.
///
/// # Errors
/// As [`data`].
pub fn line(text: &str) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// A value as the JSON that belongs on stdout.
///
/// # Errors
/// Where the value's `Serialize` fails, or it has a map whose keys are not strings.
pub fn as_json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::failed(format!("cannot print the result as JSON: {e}")))?;
    Ok(text + "\n")
}

/// Writes a value to stdout as JSON.
///
/// # Errors
/// As [`as_json`] and [`data`].
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    data(&as_json(value)?)
}

/// Writes a line to stderr. Where nobody listens any more, the work goes on unheard.
pub fn message(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Writes a failure to stderr.
pub fn error(failure: &Failure) {
    message(&format!("error: {failure}"));
}
