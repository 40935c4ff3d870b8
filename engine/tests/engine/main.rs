//! Tests of the engine through its public interface.

mod cases;
mod compare;
mod cuda;
mod determinism;
mod device;
mod edges;
mod fusion;
mod gradients;
mod images;
mod interpreter;
mod networks;
mod operations;
mod optimizers;
mod pytorch;
mod shapes;
mod statistics;
