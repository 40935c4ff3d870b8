//! What programs print: data on stdout, messages on stderr.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::Failure;

/// A text in which what would steer a terminal is written out: control characters but for line
/// breaks and tabs, and those that turn the direction of what follows. They can come from any file
/// name, class or node, and could forge what the program says. Within a string of JSON the result
/// means the same.
pub fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    let steers = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() && c != '\n' && c != '\t' || turns
    };
    if !text.contains(steers) {
        return text.into();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if steers(c) => plain += &format!("\\u{:04x}", u32::from(c)),
            c => plain.push(c),
        }
    }
    plain.into()
}

/// A name on one line: [`plain`], with line breaks and tabs written out too.
pub fn name(text: &str) -> String {
    plain(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Writes data to stdout. A reader that went away (`adwp … | head`) ends the program quietly.
///
/// # Errors
/// Where stdout cannot be written to for another reason.
pub fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(plain(text).as_bytes()).and_then(|()| stdout.flush()) {
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

/// Writes lines to stdout that another process reads. Where it has gone, so does this one; nothing
/// else can go wrong with a pipe that is read.
pub fn lines(text: &str) {
    data(text).ok();
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
    writeln!(io::stderr(), "{}", plain(text)).ok();
}

/// Writes a failure to stderr. What of its message stands on further lines is set in, so that no
/// text of a file can look like another failure.
pub fn error(failure: &Failure) {
    let set_in = |text: &str| text.lines().collect::<Vec<_>>().join("\n  ");
    message(&format!("error: {}", set_in(&failure.message)));
    if let Some(hint) = &failure.hint {
        message(&format!("hint: {}", set_in(hint)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_a_terminal_is_written_out() {
        assert_eq!(plain("é\n\t→ 中"), "é\n\t→ 中");
        let hostile = "a\u{1b}[2Kb\rc\u{9b}d\u{7f}e\u{202e}f\u{8}";
        let expected = r"a\u001b[2Kb\u000dc\u009bd\u007fe\u202ef\u0008";
        assert_eq!(plain(hostile), expected);
        assert_eq!(name("x\nerror: forged\t\u{1b}"), r"x\nerror: forged\t\u001b");
        // JSON says the same before and after.
        let value = serde_json::json!({ hostile: hostile });
        let text = as_json(&value).unwrap();
        let read: serde_json::Value = serde_json::from_str(&plain(&text)).unwrap();
        assert_eq!(read, value);
    }
}
