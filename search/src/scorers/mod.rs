//! Scorers: one file each, and one line in the registry.

pub(crate) mod ghn;
pub(crate) mod latency;
pub(crate) mod naswot;
pub(crate) mod predicted;
pub(crate) mod shared;
pub(crate) mod size;
pub(crate) mod spectrum;
pub(crate) mod table;
pub(crate) mod training;
pub(crate) mod zico;
