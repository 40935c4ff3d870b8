//! adwp-export
