//! The files of `adwp_base` with the errors of a run, whose hints name its flags.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::Result;

/// Writes a file whole or not at all: [`adwp_base::write_atomic`].
///
/// # Errors
/// [`TrainError::File`](crate::TrainError::File) naming `path`.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<()> {
    Ok(adwp_base::write_atomic(path, contents)?)
}

/// Reads a text file.
///
/// # Errors
/// [`TrainError::File`](crate::TrainError::File) naming `path`.
pub fn read_text(path: &Path) -> Result<String> {
    Ok(adwp_base::read_text(path)?)
}

/// Reads a JSON file of a schema.
///
/// # Errors
/// [`TrainError::File`](crate::TrainError::File) or
/// [`TrainError::Damaged`](crate::TrainError::Damaged) naming `path`.
pub fn read_json<T: DeserializeOwned>(path: &Path, schema: &'static str) -> Result<T> {
    Ok(adwp_base::read_json(path, schema)?)
}

/// Reads the text of a JSON file of a run, which something else parses.
///
/// # Errors
/// [`TrainError::File`](crate::TrainError::File) or
/// [`TrainError::Damaged`](crate::TrainError::Damaged) naming `path`.
pub fn read_json_text(path: &Path) -> Result<String> {
    Ok(adwp_base::read_json_text(path)?)
}

/// Reads a JSON file that has no schema.
///
/// # Errors
/// Those of [`read_json`].
pub fn read_json_without_schema<T: DeserializeOwned>(path: &Path) -> Result<T> {
    Ok(adwp_base::read_json_without_schema(path)?)
}
