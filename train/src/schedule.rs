//! Values that change over a run.

/// Cosine decay from `initial` at epoch 0 to `last` at the end of `epochs` (PyTorch's `CosineAnnealingLR`, one value an epoch).
pub fn cosine(initial: f32, last: f32, epoch: usize, epochs: usize) -> f32 {
    let t = epoch as f64 / epochs.max(1) as f64;
    last + (initial - last) * (0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
}

/// Drop-path probability, rising linearly from 0 to just below `last` (as the DARTS code has it: `last · epoch / epochs`).
pub fn linear_rise(last: f32, epoch: usize, epochs: usize) -> f32 {
    last * epoch as f32 / epochs.max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_starts_at_the_initial_value_and_halves_midway() {
        assert_eq!(cosine(0.025, 0.0, 0, 60), 0.025);
        assert!((cosine(0.025, 0.001, 30, 60) - 0.013).abs() < 1e-7);
        assert!(cosine(0.025, 0.0, 59, 60) > 0.0 && cosine(0.025, 0.0, 59, 60) < 2e-5);
    }
}
