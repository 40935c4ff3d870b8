//! adwp-search
