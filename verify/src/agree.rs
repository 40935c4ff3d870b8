use adwp_report::ParityRow;

use crate::{Result, VerifyError};

/// Largest absolute difference of two logits between executions of one network that export accepts,
/// unless rounding alone comes near it: [`allowance`].
pub const TOLERANCE: f64 = 1e-4;

/// Times that an execution may be as far from another as rounding takes one of them from the exact
/// logits: both round, each in its own order.
const ROUNDINGS: f64 = 4.0;

/// How far two executions in f32 may be apart: `tolerance`, or more in a network that amplifies
/// rounding. Deep ones do, above all those of random weights, from layer to layer. What it amounts
/// to shows between logits computed in f32 and the `exact` ones computed in f64.
pub(crate) fn allowance(tolerance: f64, rounded: &[f64], exact: &[f64]) -> f64 {
    let differences = rounded.iter().zip(exact).map(|(rounded, exact)| (rounded - exact).abs());
    // What only f64 can hold is no rounding.
    let largest = differences.filter(|difference| difference.is_finite()).fold(0.0, f64::max);
    tolerance.max(ROUNDINGS * largest)
}

/// What one way of executing a network gave for some images.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// Who executed it: "engine", "candle", "ort", "tract".
    pub by: String,
    /// `[images, classes]`.
    pub values: Vec<f32>,
}

/// Compares every execution with the first.
///
/// # Errors
/// [`VerifyError::Disagreement`] when a difference exceeds `tolerance`, is NaN, or the numbers of
/// logits differ.
pub fn agree(executions: &[Logits], classes: usize, tolerance: f64) -> Result<Vec<ParityRow>> {
    let Some((reference, others)) = executions.split_first() else { return Ok(Vec::new()) };
    others.iter().map(|other| compare(reference, other, classes, tolerance)).collect()
}

pub(crate) fn compare(a: &Logits, b: &Logits, classes: usize, tolerance: f64) -> Result<ParityRow> {
    let mut worst = (0, 0.0f64);
    let mut sum = 0.0;
    // A missing logit differs from every number.
    let count = a.values.len().max(b.values.len());
    for i in 0..count {
        let at = |logits: &Logits| logits.values.get(i).map_or(f64::NAN, |&v| f64::from(v));
        let difference = (at(a) - at(b)).abs();
        sum += difference;
        if difference.is_nan() || difference > worst.1 {
            worst = (i / classes, difference);
        }
        if difference.is_nan() {
            break;
        }
    }
    if worst.1.is_nan() || worst.1 > tolerance {
        let (image, difference) = worst;
        return Err(VerifyError::Disagreement {
            a: a.by.clone(),
            b: b.by.clone(),
            image,
            difference,
            tolerance,
        });
    }
    let top = |row: &[f32]| {
        row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
    };
    let rows = a.values.chunks_exact(classes).zip(b.values.chunks_exact(classes));
    Ok(ParityRow {
        a: a.by.clone(),
        b: b.by.clone(),
        max_abs: worst.1,
        mean_abs: sum / count.max(1) as f64,
        top1_agree: rows.filter(|(a, b)| top(a) == top(b)).count(),
        n: count / classes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(by: &str, values: &[f32]) -> Logits {
        Logits { by: by.into(), values: values.to_vec() }
    }

    #[test]
    fn what_rounding_does_is_allowed_for() {
        assert_eq!(allowance(1e-4, &[1.0, 2.0], &[1.0, 2.0 + 1e-5]), 1e-4);
        assert!((allowance(1e-4, &[1.0, 2.0], &[1.0 - 1e-3, 2.0]) - 4e-3).abs() < 1e-9);
        for beyond in [f64::NAN, f64::INFINITY] {
            assert_eq!(allowance(1e-4, &[beyond], &[1.0]), 1e-4);
        }
    }

    #[test]
    fn refuses_what_differs_and_what_is_no_number() {
        let reference = logits("engine", &[1.0, 2.0, 3.0, 4.0]);
        let close = logits("ort", &[1.0, 2.0, 3.00005, 4.0]);
        let agreement = &agree(&[reference.clone(), close], 2, TOLERANCE).unwrap()[0];
        assert!(agreement.max_abs > 4e-5 && agreement.top1_agree == 2 && agreement.n == 2);
        for bad in [
            vec![1.0, 2.0, 3.1, 4.0],
            vec![1.0, f32::NAN, 3.0, 4.0],
            vec![1.0, 2.0],
            vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ] {
            let refused = agree(&[reference.clone(), logits("tract", &bad)], 2, TOLERANCE);
            assert!(matches!(refused, Err(VerifyError::Disagreement { .. })), "{bad:?}");
        }
    }
}
