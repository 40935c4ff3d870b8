//! Architecture parameters on the host.

/// Softmax of every row of `width` values.
pub(crate) fn softmax_rows(values: &[f32], width: usize) -> Vec<f32> {
    let mut p = Vec::with_capacity(values.len());
    for row in values.chunks_exact(width) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f32> = row.iter().map(|v| (v - max).exp()).collect();
        let sum: f32 = exp.iter().sum();
        p.extend(exp.iter().map(|e| e / sum));
    }
    p
}

/// Mean entropy of the rows of probabilities, as a share of the largest possible: 1 undecided, 0
/// decided.
pub(crate) fn relative_entropy(probabilities: &[f32], width: usize) -> f64 {
    let rows = probabilities.chunks_exact(width);
    let count = rows.len() as f64;
    let entropy = |row: &[f32]| {
        row.iter().map(|&p| f64::from(p)).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum::<f64>()
    };
    rows.map(entropy).sum::<f64>() / count / (width as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_one_when_undecided_and_falls_with_a_preference() {
        assert!((relative_entropy(&softmax_rows(&[0.0; 12], 6), 6) - 1.0).abs() < 1e-6);
        let decided = softmax_rows(&[50.0, 0.0, 0.0, 50.0, 0.0, 0.0], 3);
        assert!(relative_entropy(&decided, 3) < 1e-6);
        assert!(
            (decided[0] - 1.0).abs() < 1e-6 && (decided.iter().sum::<f32>() - 2.0).abs() < 1e-6
        );
    }
}
