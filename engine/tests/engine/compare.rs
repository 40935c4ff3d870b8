//! How close an executor in `f32` has to come to a reference in `f64`; on a CUDA device
//! [`tolerance`] allows for more.

use crate::device::tolerance;

/// Values of nodes, relative to the largest magnitude of the tensor.
pub(crate) const FORWARD: f64 = 1e-5;
/// Gradients, relative to the largest magnitude of the tensor.
pub(crate) const BACKWARD: f64 = 5e-5;
/// A tensor counts as at least this share of the largest gradient of its graph: where terms cancel
/// (a bias before a BatchNorm has gradient zero), what is left is rounding of the terms.
pub(crate) const CANCELLATION: f64 = 0.1;

/// Largest magnitude.
pub(crate) fn magnitude(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// What is wrong with `found`, if anything: some element is further from `expected` than `on_cpu` ·
/// `scale`, or what a CUDA device is allowed instead.
pub(crate) fn mismatch(found: &[f32], expected: &[f64], on_cpu: f64, scale: f64) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} values, expected {}", found.len(), expected.len()));
    }
    let wrong = |&(&f, &e): &(&f32, &f64)| {
        let error = (f64::from(f) - e).abs();
        error.is_nan() || error > tolerance(on_cpu) * scale
    };
    let pairs = || found.iter().zip(expected);
    let (i, (f, e)) = pairs().enumerate().find(|(_, pair)| wrong(pair))?;
    let count = pairs().filter(wrong).count();
    Some(format!(
        "{count} of {} values are off; the first is at {i}: {f}, expected {e} (scale {scale:.3e})",
        found.len()
    ))
}

/// Panics with `context` unless there is no [`mismatch`], relative to the largest magnitude
/// expected.
#[track_caller]
pub(crate) fn assert_close(
    found: &[f32],
    expected: &[f64],
    on_cpu: f64,
    context: &dyn std::fmt::Display,
) {
    let scale = magnitude(expected.iter().copied()).max(1e-3);
    if let Some(what) = mismatch(found, expected, on_cpu, scale) {
        panic!("{what}\n{context}");
    }
}
