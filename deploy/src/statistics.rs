//! What is said of some measurements: means and percentiles.

/// Sorted measurements.
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    pub(crate) fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    pub(crate) fn sd(&self) -> f64 {
        if self.0.len() < 2 {
            return 0.0;
        }
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (self.0.len() - 1) as f64).sqrt()
    }

    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        percentile(&self.0, percent)
    }
}

/// The `percent`-th percentile of values sorted in ascending order: the value at position `(n − 1)
/// · percent / 100`, counted from 0, interpolated linearly between its two neighbours (the default
/// of NumPy, definition 7 of Hyndman and Fan). 0 for no values.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = last as f64 * (percent / 100.0).clamp(0.0, 1.0);
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (position - position.floor())
}

/// The mean of the middle half of some times. A run that was disturbed counts no more than in a
/// median, and times in whole microseconds keep their fractions. 0 for no times.
pub(crate) fn interquartile_mean(times: impl IntoIterator<Item = f64>) -> f64 {
    let Sample(times) = Sample::new(times.into_iter());
    let outer = times.len() / 4;
    let middle = &times[outer..times.len() - outer];
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate_between_neighbours() {
        // numpy.percentile([1, 2, 3, 4, 10], [0, 50, 90, 95, 99, 100])
        let values = [1.0, 2.0, 3.0, 4.0, 10.0];
        for (percent, expected) in
            [(0.0, 1.0), (50.0, 3.0), (90.0, 7.6), (95.0, 8.8), (99.0, 9.76), (100.0, 10.0)]
        {
            assert!((percentile(&values, percent) - expected).abs() < 1e-12, "{percent}");
        }
        assert_eq!(percentile(&[1.0, 2.0], 50.0), 1.5);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }

    #[test]
    fn disturbed_runs_do_not_count() {
        assert_eq!(interquartile_mean([900.0, 2.0, 4.0, 3.0, 0.0, 5.0, 3.0, 800.0]), 3.75);
        assert_eq!(interquartile_mean([1.0, 2.0, 6.0]), 3.0);
        assert_eq!(interquartile_mean([]), 0.0);
    }
}
