//! Weights that a graph network predicts from the architecture.

mod graph;
mod network;
mod phase;

pub(crate) use phase::{PredictedByGraph, train_ghn};
