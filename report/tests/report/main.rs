//! The report's JSON, its page and its table.

mod html;
mod json;
mod sample;
mod terminal;
