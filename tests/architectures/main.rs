//! Architectures drawn at random, through every reader of a graph.
