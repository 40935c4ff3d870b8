//! adwp-train
