use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{Result, TrainError};

/// How the names of files begin that are being written.
pub(crate) const PARTIAL: &str = ".partial-";

/// Writes a file so that a kill at any moment leaves the old one or the new one: temporary file
/// beside it, fsync, rename.
///
/// # Errors
/// [`TrainError::File`] naming `path`; the old file is then untouched and the temporary one
/// removed.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<()> {
    let fail = |source| TrainError::File { action: "write", path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary =
        tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder).map_err(fail)?;
    temporary.write_all(contents).and_then(|()| temporary.as_file().sync_all()).map_err(fail)?;
    make_readable(temporary.as_file()).map_err(fail)?;
    temporary.persist(path).map_err(|e| fail(e.error))?;
    // The rename is on disk once the folder is; file systems that cannot sync a folder order it
    // themselves.
    if let Ok(folder) = File::open(folder) {
        folder.sync_all().ok();
    }
    Ok(())
}

/// Temporary files are private to their owner; results are for everyone who may read the folder.
fn make_readable(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Reads a text file.
///
/// # Errors
/// [`TrainError::File`] naming `path`.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|source| TrainError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })
}
