use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::json::unsealed;
use crate::{Failure, JsonError, Kind, from_json, from_json_without_schema, unchecked};

/// How the names of files begin that are being written.
pub const PARTIAL: &str = ".partial-";

/// What can go wrong with a file of the program's own.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted: "read", "write", …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is cut off or holds something else.
    #[error("{} is damaged or no file of this kind: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
}

impl From<FileError> for Failure {
    fn from(e: FileError) -> Self {
        Self::of(Kind::Input, &e, None)
    }
}

/// A file that is whole and on disk and does not have its name yet. Without
/// [`publish`](Self::publish) it is removed again.
#[derive(Debug)]
pub struct Draft {
    file: NamedTempFile,
    path: PathBuf,
    /// Whether it is written to what is there, which is no file that could be replaced.
    is_through: bool,
}

impl Draft {
    /// Writes what `path` is to hold, in the same folder and with the same extension. Of a link it
    /// is the file that is linked. What is there and no file, such as a device or a pipe, is
    /// written to in the end, and the draft of it lies among temporary files.
    ///
    /// # Errors
    /// [`FileError::Io`] naming `path`.
    pub fn write(path: &Path, contents: &[u8]) -> Result<Self, FileError> {
        let is_through = fs::metadata(path).is_ok_and(|of| !of.is_file() && !of.is_dir());
        // What a link to a pipe says is no path, such as that of /dev/stdout.
        let target = match is_through {
            true => path.to_owned(),
            false => linked(path).map_err(|source| cannot_write(path, source))?,
        };
        let write = || {
            let folder = target.parent().filter(|p| !p.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !(is_through || folder.is_dir()) {
                let text = format!("there is no folder {}", folder.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            let temporary = std::env::temp_dir();
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            let mut file = tempfile::Builder::new()
                .prefix(PARTIAL)
                .suffix(&format!(".{extension}"))
                .tempfile_in(if is_through { &temporary } else { folder })
                .map_err(without_path)?;
            file.write_all(contents)?;
            file.as_file().sync_all()?;
            make_readable(file.as_file())?;
            Ok(file)
        };
        match write() {
            Ok(file) => Ok(Self { file, path: target, is_through }),
            Err(source) => Err(cannot_write(path, source)),
        }
    }

    /// Where it is until then.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Gives it its name, and the place of what had this name.
    ///
    /// # Errors
    /// [`FileError::Io`] naming the path; what is there is then untouched.
    pub fn publish(self) -> Result<(), FileError> {
        let Self { file, path, is_through } = self;
        if is_through {
            let contents = fs::read(file.path()).map_err(|e| cannot_write(&path, e))?;
            let written = File::options().write(true).open(&path);
            return written
                .and_then(|mut there| there.write_all(&contents))
                .map_err(|e| cannot_write(&path, e));
        }
        file.persist(&path).map_err(|e| cannot_write(&path, e.error))?;
        // The rename is on disk once the folder is; file systems that cannot sync a folder order it
        // themselves.
        if let Some(folder) = path.parent().and_then(|folder| File::open(folder).ok()) {
            folder.sync_all().ok();
        }
        Ok(())
    }
}

/// The error without the name of the temporary file, which nobody has asked for.
fn without_path(e: io::Error) -> io::Error {
    let text = e.to_string();
    match text.split_once(" at path \"") {
        Some((what, _)) => io::Error::new(e.kind(), what.to_owned()),
        None => e,
    }
}

/// What a path leads to, through links; itself where it is none.
fn linked(path: &Path) -> io::Result<PathBuf> {
    // As many as the system follows.
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(to) = fs::read_link(&path) else { return Ok(path) };
        // A relative link is relative to the folder that it lies in.
        path = path.parent().map_or_else(|| to.clone(), |folder| folder.join(&to));
    }
    Err(io::Error::other("its links lead in a circle"))
}

fn cannot_write(path: &Path, source: io::Error) -> FileError {
    FileError::Io { action: "write", path: path.to_owned(), source }
}

/// Writes a file so that a kill at any moment leaves the old one or the new one: temporary file
/// in the same folder, fsync, rename.
///
/// # Errors
/// [`FileError::Io`] naming `path`; the old file is then untouched and the temporary one removed.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), FileError> {
    Draft::write(path, contents)?.publish()
}

/// Checks that a file can be written at `path` before what it is to hold is computed. Nothing is
/// left there.
///
/// # Errors
/// [`FileError::Io`] naming `path`.
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        let source = io::Error::new(io::ErrorKind::IsADirectory, "it is a folder");
        return Err(cannot_write(path, source));
    }
    Draft::write(path, &[]).map(drop)
}

/// Temporary files are private to their owner; results are for everyone who may read the folder.
fn make_readable(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Most bytes of a text that is read whole, such as a JSON file: hundreds of times what a run writes.
pub const MOST_TEXT: u64 = 64 << 20;

/// Most bytes of a file of settings.
pub const MOST_SETTINGS: u64 = 1 << 20;

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`FileError::Io`] naming `path`; [`FileError::Damaged`] for a larger one, and for a device or a
/// pipe, which may have no end.
pub fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let fail = |source| FileError::Io { action: "read", path: path.to_owned(), source };
    let damaged = |reason: String| FileError::Damaged { path: path.to_owned(), reason };
    // Opening a pipe waits for who writes to it.
    let of = fs::metadata(path).map_err(fail)?;
    if !of.is_file() && !of.is_dir() {
        return Err(damaged("it is a device or a pipe".into()));
    }
    let too_large = |bytes: u64| damaged(format!("it has {bytes} bytes, at most {most} are read"));
    if of.is_file() && of.len() > most {
        return Err(too_large(of.len()));
    }
    let mut bytes = Vec::new();
    let length = usize::try_from(of.len()).unwrap_or(usize::MAX);
    bytes.try_reserve_exact(length).map_err(|e| fail(io::Error::other(e)))?;
    let file = File::open(path).map_err(fail)?;
    // It may be growing, and some that have a length of 0 have no end.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    match bytes.len() as u64 {
        found if found > most => Err(too_large(found)),
        _ => Ok(bytes),
    }
}

/// Reads a text file of at most [`MOST_TEXT`] bytes.
///
/// # Errors
/// Those of [`read_bytes`], and [`FileError::Io`] for what is no UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    utf8(path, read_bytes(path, MOST_TEXT)?)
}

/// Reads a file of settings, of at most [`MOST_SETTINGS`] bytes.
///
/// # Errors
/// As [`read_text`].
pub fn read_settings(path: &Path) -> Result<String, FileError> {
    utf8(path, read_bytes(path, MOST_SETTINGS)?)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|e| FileError::Io {
        action: "read",
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()),
    })
}

/// Reads the text of a JSON file of a run, which something else parses. One without a checksum is
/// spoken of in the end ([`unchecked`]).
///
/// # Errors
/// As [`read_text`].
pub fn read_json_text(path: &Path) -> Result<String, FileError> {
    let text = read_text(path)?;
    // What is no JSON is for the parser to say.
    if let Ok(value) = serde_json::from_str(&text)
        && matches!(unsealed(value), Ok((_, false)))
    {
        unchecked::remember(path);
    }
    Ok(text)
}

/// Reads a JSON file of a schema.
///
/// # Errors
/// [`FileError`], with what is wrong with its JSON.
pub fn read_json<T: DeserializeOwned>(path: &Path, schema: &'static str) -> Result<T, FileError> {
    from_json(&read_json_text(path)?, schema).map_err(|e| not_json(path, e))
}

/// Reads a JSON file that has no schema.
///
/// # Errors
/// [`FileError`], with what is wrong with its JSON.
pub fn read_json_without_schema<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    from_json_without_schema(&read_json_text(path)?).map_err(|e| not_json(path, e))
}

fn not_json(path: &Path, error: JsonError) -> FileError {
    let reason = match error {
        JsonError::Schema { found, expected } => {
            format!("its schema is {found:?}, expected {expected:?}")
        }
        error => error.to_string(),
    };
    FileError::Damaged { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Numbers {
        #[serde(rename = "schema")]
        _schema: String,
        numbers: Vec<u32>,
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        for text in ["old", "new"] {
            write_atomic(&path, text.as_bytes()).unwrap();
            assert_eq!(read_text(&path).unwrap(), text);
        }
        let draft = Draft::write(&path, b"newer").unwrap();
        assert_eq!(
            (read_text(draft.path()).unwrap(), read_text(&path).unwrap().as_str()),
            ("newer".into(), "new")
        );
        drop(draft);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("no/a.json");
        let refused = write_atomic(&nowhere, b"").unwrap_err().to_string();
        assert!(refused.starts_with(&format!("cannot write {}: ", nowhere.display())), "{refused}");
    }

    #[test]
    fn what_is_wrong_with_a_json_file_is_said_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let read = |text: &str| {
            write_atomic(&path, text.as_bytes()).unwrap();
            read_json::<Numbers>(&path, "numbers/2").map_err(|e| e.to_string())
        };
        assert_eq!(read(r#"{"schema": "numbers/2", "numbers": [3]}"#).unwrap().numbers, [3]);
        let another = read(r#"{"schema": "numbers/1", "letters": []}"#).unwrap_err();
        let expected = r#"its schema is "numbers/1", expected "numbers/2""#;
        assert!(another.ends_with(expected) && another.contains("a.json is damaged"), "{another}");
        assert!(read(r#"{"schema": "numbers/2", "letters": 1}"#).unwrap_err().contains("letters"));
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let grow = |bytes: u64| File::create(&path).unwrap().set_len(bytes).unwrap();
        grow(MOST_SETTINGS);
        assert_eq!(read_settings(&path).unwrap().len() as u64, MOST_SETTINGS);
        grow(MOST_SETTINGS + 1);
        let refused = read_settings(&path).unwrap_err().to_string();
        assert!(refused.contains("a.json") && refused.contains("1048577 bytes"), "{refused}");
        // Nothing is taken for it: it would not fit.
        grow(1 << 40);
        assert!(read_text(&path).unwrap_err().to_string().contains("at most 67108864 are read"));
        assert!(read_json::<Numbers>(&path, "numbers/2").is_err());
        let none = read_text(folder.path()).unwrap_err().to_string();
        assert!(none.starts_with("cannot read "), "{none}");
    }

    #[cfg(unix)]
    #[test]
    fn what_may_have_no_end_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("a.json");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [&*pipe, Path::new("/dev/zero")] {
            for refused in [
                read_text(path).unwrap_err(),
                read_settings(path).unwrap_err(),
                read_bytes(path, u64::MAX).unwrap_err(),
            ] {
                let refused = refused.to_string();
                assert!(refused.ends_with("it is a device or a pipe"), "{refused}");
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_there_is_written_to_and_not_replaced() {
        use std::io::Read;
        use std::os::unix::fs::{FileTypeExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        // Links stay links, also those to nothing and to links.
        fs::create_dir(at("deep")).unwrap();
        fs::write(at("deep/file.json"), "old").unwrap();
        symlink("deep/file.json", at("first")).unwrap();
        symlink("first", at("second")).unwrap();
        write_atomic(&at("second"), b"new").unwrap();
        assert_eq!(fs::read(at("deep/file.json")).unwrap(), b"new");
        symlink("deep/none.json", at("dangling")).unwrap();
        write_atomic(&at("dangling"), b"begun").unwrap();
        assert_eq!(fs::read(at("deep/none.json")).unwrap(), b"begun");
        for link in ["first", "second", "dangling"] {
            assert!(fs::symlink_metadata(at(link)).unwrap().is_symlink(), "{link}");
        }
        symlink("circle", at("circle")).unwrap();
        assert!(write_atomic(&at("circle"), b"x").is_err());
        assert!(write_atomic(&at("deep"), b"x").is_err(), "a folder is not written to");

        // A pipe gets what is written, and stays.
        let pipe = at("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || {
                let mut text = String::new();
                File::open(pipe).unwrap().read_to_string(&mut text).unwrap();
                text
            })
        };
        write_atomic(&pipe, b"through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        write_atomic(Path::new("/dev/null"), b"away").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert!(left.iter().all(|of| !of.file_name().to_string_lossy().starts_with(PARTIAL)));
    }
}
