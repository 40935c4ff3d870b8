//! Strategies: one file each, and one line in the registry.

pub(crate) mod evolution;
pub(crate) mod local;
pub(crate) mod prednas;
pub(crate) mod random;
