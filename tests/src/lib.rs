//! adwp-tests
