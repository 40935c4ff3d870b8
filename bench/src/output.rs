//! The only place that writes to stdout and stderr: stdout is data, stderr is messages.

use std::io::{self, ErrorKind, Write};

use crate::failure::{BenchError, Result};

/// Writes a line to stdout at once. A reader that went away ends the program quietly.
pub(crate) fn line(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(BenchError::Failed(format!("cannot write to stdout: {e}"))),
    }
}

/// Writes a line to stderr. Where nobody listens any more, the work goes on unheard.
pub(crate) fn message(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}
