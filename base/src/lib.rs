//! What every room needs and none is about: files that are written whole or not at all and notice
//! damage, JSON with a version, failures with an exit code and a hint, and what programs print.
//!
//! This crate uses no other of the workspace.

pub mod checksum;
mod failure;
mod files;
mod json;
mod lines;
pub mod output;
mod program;
pub mod unchecked;

pub use checksum::Checksum;
pub use failure::{Failure, Kind, Result};
pub use files::{
    Draft, FileError, MOST_SETTINGS, MOST_TEXT, PARTIAL, check_writable, read_bytes, read_json,
    read_json_text, read_json_without_schema, read_settings, read_text, write_atomic,
};
pub use json::{JsonError, from_json, from_json_without_schema, to_json, to_json_line};
pub use lines::{JsonLine, JsonLines, read_json_lines};
pub use program::program;
