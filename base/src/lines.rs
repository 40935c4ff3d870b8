use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::files::{FileError, read_bytes};
use crate::json::{JsonError, unsealed};
use crate::unchecked;

/// Most bytes of a file of lines: a hundred times what the longest searches and trainings write.
const MOST: u64 = 512 << 20;

/// Most bytes of a line.
const MOST_OF_LINE: usize = 16 << 20;

/// A line of a file of JSON that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonLine {
    /// As it stands in the file, without its end.
    pub text: String,
    /// What it says, without the checksum.
    pub value: Value,
}

/// What a file holds that grows by a line of JSON at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonLines {
    /// All that were written to their end.
    pub lines: Vec<JsonLine>,
    /// Whether the file ends where a line does. A kill can leave a part of one behind, which is no
    /// line, or all of it but for its end.
    pub is_whole: bool,
}

/// Reads a file of lines that [`to_json_line`](crate::to_json_line) wrote; older versions wrote
/// them without checksums, and a file may have been begun by one.
///
/// # Errors
/// [`FileError`], with the number of the line.
pub fn read_json_lines(path: &Path) -> Result<JsonLines, FileError> {
    let bytes = read_bytes(path, MOST)?;
    let (whole, rest) = match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(last) => bytes.split_at(last + 1),
        None => (&[][..], &bytes[..]),
    };
    let mut reader = Reader { path, lines: Vec::new(), checked: 0 };
    for line in whole.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let value = reader.parse(line).map_err(|e| reader.damaged(&e))?;
        reader.add(line, value)?;
    }
    // A beginning of a line is all that a kill leaves.
    match reader.parse(rest) {
        _ if rest.is_empty() => {}
        Ok(value) => reader.add(rest, value)?,
        Err(e) if e.is_eof() => {}
        Err(e) => return Err(reader.damaged(&e)),
    }
    let Reader { lines, checked, .. } = reader;
    if checked < lines.len() {
        unchecked::remember(path);
    }
    Ok(JsonLines { lines, is_whole: rest.is_empty() })
}

struct Reader<'a> {
    path: &'a Path,
    lines: Vec<JsonLine>,
    /// Lines that had a checksum.
    checked: usize,
}

impl Reader<'_> {
    fn parse(&self, line: &[u8]) -> Result<Value, serde_json::Error> {
        if line.len() > MOST_OF_LINE {
            let message = format!("it has {} bytes, at most {MOST_OF_LINE} are read", line.len());
            return Err(serde::de::Error::custom(message));
        }
        serde_json::from_slice(line)
    }

    fn add(&mut self, line: &[u8], value: Value) -> Result<(), FileError> {
        let (value, is_checked) = unsealed(value).map_err(|e| match e {
            JsonError::Changed { found, counted } => self.damaged(&format!(
                "it was changed after it was written: its checksum is {found}, what it holds has \
                 {counted}; where that was meant, take the key `checksum` out of every line"
            )),
            e => self.damaged(&e),
        })?;
        // Once lines have one, those that follow do.
        if self.checked > 0 && !is_checked {
            return Err(self.damaged(&"it has no checksum, and the lines before have one"));
        }
        self.checked += usize::from(is_checked);
        let text = String::from_utf8_lossy(line).into_owned();
        self.lines.push(JsonLine { text, value });
        Ok(())
    }

    /// What is wrong with the line that follows those that were read.
    fn damaged(&self, reason: &dyn std::fmt::Display) -> FileError {
        let reason = format!("line {}: {reason}", self.lines.len() + 1);
        FileError::Damaged { path: PathBuf::from(self.path), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::to_json_line;
    use serde_json::json;
    use std::fs;

    /// A file of lines, with its folder.
    fn file(lines: &[Value]) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        let text: String = lines.iter().map(to_json_line).collect();
        fs::write(&path, &text).unwrap();
        (folder, path, text.into_bytes())
    }

    fn values(read: &JsonLines) -> Vec<Value> {
        read.lines.iter().map(|line| line.value.clone()).collect()
    }

    fn three() -> [Value; 3] {
        [0, 1, 2].map(|i| json!({"epoch": i, "loss": 0.1 * f64::from(i), "on": "é"}))
    }

    #[test]
    fn what_a_kill_leaves_of_the_last_line_is_none() {
        let (_folder, path, whole) = file(&three());
        assert_eq!(values(&read_json_lines(&path).unwrap()), three());
        let starts = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let ends: Vec<usize> = starts.map(|(at, _)| at).collect();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let read = read_json_lines(&path).unwrap();
            let expected = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(values(&read), three()[..expected], "{length} bytes");
            assert_eq!(read.is_whole, length == 0 || whole[length - 1] == b'\n', "{length} bytes");
        }
    }

    #[test]
    fn a_bit_that_is_another_is_noticed_with_its_line_or_changes_nothing() {
        let (_folder, path, whole) = file(&three());
        let mut noticed = 0;
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            match read_json_lines(&path) {
                // The key of the first line's checksum is all that can be lost.
                Ok(read) if read.lines[0].value.get("epoch").is_some() => {
                    let mut values = values(&read);
                    let first = values[0].as_object_mut().unwrap();
                    first.retain(|_, value| !value.to_string().contains("crc32c"));
                    assert_eq!(values, three(), "bit {bit}");
                }
                Ok(read) => panic!("bit {bit}: {read:?}"),
                Err(e) => {
                    let line = 1 + whole[..bit / 8].iter().filter(|byte| **byte == b'\n').count();
                    let message = e.to_string();
                    // A line that is cut in two is at fault in its first half, and one that has
                    // lost its end in itself.
                    assert!(message.contains(&format!("line {line}: ")), "bit {bit}: {message}");
                    assert!(message.contains("lines.jsonl"), "{message}");
                    noticed += 1;
                }
            }
        }
        assert!(8 * whole.len() - noticed < 80, "{noticed} of {}", 8 * whole.len());
    }

    #[test]
    fn lines_of_an_older_version_come_first_or_not_at_all() {
        let (_folder, path, whole) = file(&three());
        let old = "{\"epoch\":0}\n";
        fs::write(&path, [old.as_bytes(), &whole].concat()).unwrap();
        assert_eq!(read_json_lines(&path).unwrap().lines.len(), 4);
        fs::write(&path, [&whole, old.as_bytes()].concat()).unwrap();
        let refused = read_json_lines(&path).unwrap_err().to_string();
        assert!(refused.contains("line 4: it has no checksum"), "{refused}");
        fs::write(&path, [old, "\n", old].concat()).unwrap();
        assert!(read_json_lines(&path).unwrap_err().to_string().contains("line 2: "));
    }
}
