//! The crate on small models that the tests build themselves.
// A skipped test says so on stdout.
#![allow(clippy::print_stdout)]

mod accuracy;
mod bench;
mod constants;
mod cost;
mod files;
mod hostile;
mod interface;
mod learned;
mod models;
mod mutated;
mod ort_library;
mod runtimes;
mod trial;
