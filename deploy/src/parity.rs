//! How closely two engines agree on the same images.

use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result,
    predict::{argmax, top_k},
};

/// The agreement of two arrays of logits `[n, classes]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// The largest absolute difference of two logits.
    pub max_abs: f64,
    /// The mean absolute difference.
    pub mean_abs: f64,
    /// The cosine of the angle between the two arrays, each taken as one vector; 1 when both are
    /// zero, 0 when one is.
    pub cosine: f64,
    /// Images on which both put the same class first.
    pub top1_agree: usize,
    /// Images of which both put the same five classes first, in any order; all classes where there
    /// are fewer.
    pub top5_agree: usize,
    /// The largest absolute value of the first array.
    pub largest: f64,
    /// Images compared.
    pub n: usize,
}

/// Differences above this, relative to the largest value of the reference or to 1, are no rounding
/// of 32-bit floats.
pub const TOLERANCE: f64 = 1e-3;

impl Parity {
    /// Whether all differences are within [`TOLERANCE`].
    pub fn agrees(&self) -> bool {
        self.max_abs <= TOLERANCE * self.largest.max(1.0)
    }
}

/// Compares the logits `a` and `b`, both `[n, classes]`.
///
/// # Errors
/// The lengths differ or are no multiple of `classes`, or a value is not finite: engines that both
/// give NaN do not agree.
pub fn compare(a: &[f32], b: &[f32], classes: usize) -> Result<Parity> {
    if classes == 0 || !a.len().is_multiple_of(classes) {
        let expected = format!("a multiple of {classes} classes");
        return Err(DeployError::Length { what: "logits", expected, actual: a.len() });
    }
    if a.len() != b.len() {
        return Err(DeployError::Length {
            what: "logits",
            expected: a.len().to_string(),
            actual: b.len(),
        });
    }
    finite("logits of the first engine", a)?;
    finite("logits of the second engine", b)?;
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let (mut max_abs, mut sum_abs) = (0.0_f64, 0.0_f64);
    let (mut dot, mut square_a, mut square_b) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (a, b) in pairs() {
        let difference = (a - b).abs();
        max_abs = max_abs.max(difference);
        sum_abs += difference;
        dot += a * b;
        square_a += a * a;
        square_b += b * b;
    }
    let cosine = match (square_a > 0.0, square_b > 0.0) {
        (true, true) => dot / (square_a.sqrt() * square_b.sqrt()),
        (false, false) => 1.0,
        _ => 0.0,
    };
    let rows = || a.chunks_exact(classes).zip(b.chunks_exact(classes));
    let top1_agree = rows().filter(|(a, b)| argmax(a) == argmax(b)).count();
    let first_five = |logits: &[f32]| {
        let mut classes = top_k(logits, 5);
        classes.sort_unstable();
        classes
    };
    let top5_agree = rows().filter(|(a, b)| first_five(a) == first_five(b)).count();
    let largest = a.iter().map(|&value| f64::from(value).abs()).fold(0.0, f64::max);
    let mean_abs = sum_abs / a.len().max(1) as f64;
    Ok(Parity { max_abs, mean_abs, cosine, top1_agree, top5_agree, largest, n: a.len() / classes })
}

fn finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(DeployError::NotFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_agree() {
        let logits = [1.0, 2.0, 3.0, -1.0];
        let parity = compare(&logits, &logits, 2).unwrap();
        assert_eq!(
            (parity.max_abs, parity.mean_abs, parity.top1_agree, parity.n),
            (0.0, 0.0, 2, 2)
        );
        assert!((parity.cosine - 1.0).abs() < 1e-12);
    }

    #[test]
    fn differences_are_measured() {
        let parity = compare(&[1.0, 0.0, 0.0, 1.0], &[1.0, 0.5, 1.0, 0.0], 2).unwrap();
        assert_eq!(
            (parity.max_abs, parity.mean_abs, parity.top1_agree, parity.n),
            (1.0, 0.625, 1, 2)
        );
        // 1 / (sqrt(2) * sqrt(2.25))
        assert!((parity.cosine - 0.471_404_520_791_031_7).abs() < 1e-12);
        assert!(!parity.agrees() && compare(&[1000.0, 0.0], &[1000.5, 0.0], 2).unwrap().agrees());
        let (a, b) = ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 6.0, 4.0, 3.0, 1.0, 2.0]);
        let parity = compare(&[a, a].concat(), &[a, b].concat(), 6).unwrap();
        assert_eq!((parity.top1_agree, parity.top5_agree, parity.largest), (1, 1, 6.0));
        assert_eq!(compare(&[0.0; 2], &[0.0; 2], 2).unwrap().cosine, 1.0);
        assert_eq!(compare(&[0.0; 2], &[1.0; 2], 2).unwrap().cosine, 0.0);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert!(matches!(compare(&[1.0; 3], &[1.0; 3], 2), Err(DeployError::Length { .. })));
        assert!(matches!(compare(&[1.0; 4], &[1.0; 2], 2), Err(DeployError::Length { .. })));
        assert!(matches!(compare(&[1.0; 4], &[1.0; 4], 0), Err(DeployError::Length { .. })));
        let nan = compare(&[1.0, f32::NAN], &[1.0, f32::NAN], 2);
        assert!(matches!(nan, Err(DeployError::NotFinite { index: 1, .. })));
    }
}
