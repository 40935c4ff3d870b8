//! Values that change over a run.

use serde::{Deserialize, Serialize};

/// How a learning rate falls from epoch to epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// [`cosine`] to 0: CIFAR-10 in the DARTS line.
    #[default]
    Cosine,
    /// [`exponential`], by the same factor every epoch: ImageNet in DARTS.
    Exponential,
    /// [`linear_fall`] to 0: ImageNet in P-DARTS and PC-DARTS.
    Linear,
}

/// Cosine decay from `initial` at epoch 0 to `last` at the end of `epochs` (PyTorch's
/// `CosineAnnealingLR`, one value an epoch).
pub fn cosine(initial: f32, last: f32, epoch: usize, epochs: usize) -> f32 {
    let t = epoch as f64 / epochs.max(1) as f64;
    last + (initial - last) * (0.5 * (1.0 + (std::f64::consts::PI * t).cos())) as f32
}

/// `initial` times `factor` for each epoch that is over (PyTorch's `ExponentialLR`).
pub fn exponential(initial: f32, factor: f32, epoch: usize) -> f32 {
    (f64::from(initial) * f64::from(factor).powf(epoch as f64)) as f32
}

/// Linear decay from `initial` at epoch 0 to 0 at the end of `epochs`.
pub fn linear_fall(initial: f32, epoch: usize, epochs: usize) -> f32 {
    (f64::from(initial) * (1.0 - epoch as f64 / epochs.max(1) as f64)) as f32
}

/// The share of its rate that a step gets: it rises linearly over all steps of the first `warmup`
/// epochs and is 1 from their last one on (Goyal et al., 2017, section 2.2).
pub fn warm_up(warmup: usize, epoch: usize, step: usize, steps: usize) -> f32 {
    let (done, all) = (epoch * steps + step + 1, warmup * steps);
    if done >= all { 1.0 } else { (done as f64 / all as f64) as f32 }
}

/// The decay of a moving average at its update number `update`, from 0: never more than `decay`,
/// and less at first, so that the first weights are soon forgotten (the `num_updates` of
/// TensorFlow's `ExponentialMovingAverage`).
pub fn average_decay(decay: f32, update: u64) -> f32 {
    decay.min(((1.0 + update as f64) / (10.0 + update as f64)) as f32)
}

/// Drop-path probability, rising linearly from 0 to just below `last` (as the DARTS code has it:
/// `last · epoch / epochs`).
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

    #[test]
    fn exponential_decay_is_that_of_pytorch() {
        // ExponentialLR(SGD([w], lr=0.1), gamma=0.97): the rates of epochs 0, 1, 2 and 249.
        for (epoch, rate) in [(0, 0.1), (1, 0.097), (2, 0.09409), (249, 5.083_5e-5)] {
            let found = exponential(0.1, 0.97, epoch);
            assert!((found - rate).abs() < 2e-5 * rate, "epoch {epoch}: {found}");
        }
    }

    #[test]
    fn linear_decay_ends_one_step_above_zero() {
        assert_eq!([0, 1, 5, 9].map(|epoch| linear_fall(0.5, epoch, 10)), [0.5, 0.45, 0.25, 0.05]);
    }

    #[test]
    fn a_warm_up_rises_with_every_step_and_ends_at_the_whole_rate() {
        assert_eq!([0, 1, 2, 3].map(|step| warm_up(2, 0, step, 4)), [0.125, 0.25, 0.375, 0.5]);
        assert_eq!(
            (warm_up(2, 1, 3, 4), warm_up(2, 2, 0, 4), warm_up(0, 0, 0, 4)),
            (1.0, 1.0, 1.0)
        );
    }

    #[test]
    fn the_decay_of_an_average_grows_to_what_was_asked_for() {
        assert_eq!(
            [0, 5, 89, 1_000_000].map(|update| average_decay(0.9, update)),
            [0.1, 0.4, 0.9, 0.9]
        );
        assert_eq!(average_decay(0.05, 0), 0.05);
    }
}
