//! Architectures drawn at random, through every reader of a graph.
// A skipped test says so on stdout.
#![allow(clippy::print_stdout)]

mod counts;
mod draw;
mod files;
mod parity;
