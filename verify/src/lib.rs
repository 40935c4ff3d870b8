//! The promise about an ONNX file: it gets its name only after the engine, candle and every runtime
//! at hand have executed it and agree. [`deliver`] keeps it; nothing else names such a file.
//!
//! Files of 8-bit integers are not held to a tolerance: their accuracy is measured and reported.

mod agree;
mod calibrate;
mod checks;
mod deliver;
mod error;
mod reference;

pub use agree::{Logits, TOLERANCE, agree};
pub use calibrate::calibrate;
pub use checks::{Checks, Reference};
pub use deliver::{Verification, deliver};
pub use error::{Result, VerifyError};
