//! Sliding windows over one plane, laid out so that every tap of a kernel is a contiguous run of
//! the plane.
//!
//! The plane is padded and, for stride s, split into s × s phases (all rows and columns of one
//! remainder). Then output position (row, column) reads `scratch[offset(tap) + row · pitch +
//! column]` for each tap, whatever stride, padding and dilation are. The padding on the right of a
//! row is the padding on the left of the next.

// Vectors are loaded and stored through pointers: a check of every load would cost as much as the
// load.
#![allow(unsafe_code)]

mod chosen;
mod correlate;
mod join;
mod layout;
mod load;
mod products;
mod rows;
mod runs;
mod transpose;

pub(crate) use chosen::{first_maximum, gather_chosen, scatter_chosen};
pub(crate) use correlate::{correlate, correlate_two};
pub(crate) use join::{maximum, sum};
pub(crate) use layout::{Key, Window};
pub(crate) use load::{load, load_gradient, unload};
pub(crate) use products::{sum_taps, tap_products};
pub(crate) use transpose::transpose;
