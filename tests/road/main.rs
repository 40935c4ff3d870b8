//! The road from images to a measured network, through the binary.
// A skipped part says so on stdout.
#![allow(clippy::print_stdout)]

mod architecture;
mod bad_input;
mod bad_settings;
mod bench;
mod damage;
mod determinism;
mod divided;
mod explore;
mod few_images;
mod fidelity;
mod folder;
mod formats;
mod fusion;
mod gpu;
mod lut;
mod memory;
mod mistakes;
mod output;
mod preprocessing;
mod program;
mod recipe;
mod reference;
mod resume;
mod road;
mod running;
mod runtime;
mod study;
mod weights;
mod zoo;
