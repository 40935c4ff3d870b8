//! The report's JSON, its page, its table and its pictures.

mod bench;
mod html;
mod json;
mod markup;
mod sample;
mod scatter;
mod search;
mod terminal;
