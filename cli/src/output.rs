//! The only place that writes to stdout and stderr beside the progress bars.
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Writes data to stdout. A reader that went away (`adwp … | head`) ends the program quietly.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::failed(format!("cannot write to stdout: {e}"))),
    }
}

/// Writes a value to stdout as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::failed(format!("cannot print the result as JSON: {e}")))?;
    data(&(text + "\n"))
}

/// Writes a line to stderr. Where nobody listens any more, the work goes on unheard.
pub(crate) fn message(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

pub(crate) fn error(failure: &Failure) {
    message(&format!("error: {}", failure.message));
    if let Some(hint) = &failure.hint {
        message(&format!("hint: {hint}"));
    }
}
