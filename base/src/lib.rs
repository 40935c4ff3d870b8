//! What every room needs and none is about: files that are written whole or not at all, JSON with
//! a version, failures with an exit code and a hint, and what programs print.
//!
//! This crate uses no other of the workspace.

mod failure;
mod files;
mod json;
pub mod output;
mod program;

pub use failure::{Failure, Kind, Result};
pub use files::{Draft, FileError, PARTIAL, read_json, read_text, write_atomic};
pub use json::{JsonError, from_json, to_json};
pub use program::program;
