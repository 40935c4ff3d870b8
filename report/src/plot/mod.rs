//! What every chart is made of: axes with round values, and the frame that they stand in.

mod axis;
mod frame;

pub(crate) use axis::Axis;
pub(crate) use frame::Frame;
