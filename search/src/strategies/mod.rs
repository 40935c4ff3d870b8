//! Strategies: one file each, and one line in the registry.

pub(crate) mod evolution;
pub(crate) mod random;
