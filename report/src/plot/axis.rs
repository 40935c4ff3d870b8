/// Where values lie on an axis.
pub(crate) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    smallest_step: f64,
}

/// A round value of an axis.
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) at: f64,
    pub(crate) label: String,
}

impl Axis {
    /// From the least to the greatest of finite `values`, drawn between `from` and `to`; from 0 to
    /// 1 where there are none.
    pub(crate) fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let size = low.abs().max(high.abs());
        // Of values that are as good as equal, the middle of the axis says more than their last
        // digits.
        let margin = if high / 2.0 - low / 2.0 > size * 1e-9 { 0.0 } else { size.max(1.0) / 2.0 };
        Self { low: low - margin, high: high + margin, from, to, smallest_step: 0.0 }
    }

    /// With whole numbers alone as ticks.
    pub(crate) fn whole(self) -> Self {
        Self { smallest_step: 1.0, ..self }
    }

    /// With room at both ends, as a share of the axis, so that marks which stand there are not cut.
    pub(crate) fn with_room(self, share: f64) -> Self {
        // Halved first: the difference of two finite numbers need not be finite.
        let room = 2.0 * share * (self.high / 2.0 - self.low / 2.0);
        Self {
            low: (self.low - room).max(f64::MIN),
            high: (self.high + room).min(f64::MAX),
            ..self
        }
    }

    pub(crate) fn at(&self, value: f64) -> f64 {
        // Halved for the same reason.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        self.from + share * (self.to - self.from)
    }

    /// Three to six round values.
    pub(crate) fn ticks(&self) -> Vec<Tick> {
        let rough =
            (self.high / 4.0 - self.low / 4.0).max(self.smallest_step).max(f64::MIN_POSITIVE);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|&step| step >= rough * 0.7)
            .unwrap_or(rough);
        let first = (self.low / step).ceil() * step;
        // Counted, because adding a small step to a large number may leave it as it is.
        let end = (self.high + step * 1e-6).min(f64::MAX);
        let values = (0..10).map(|i| first + f64::from(i) * step).take_while(|&value| value <= end);
        values.map(|value| Tick { value, at: self.at(value), label: label(value, step) }).collect()
    }
}

fn label(value: f64, step: f64) -> String {
    let size = value.abs();
    if size < step / 2.0 && step < 1e-4 {
        return "0".to_owned();
    }
    if size >= 1e5 || (size < 1e-2 && step < 1e-4) {
        // As many digits as tell a value from the next.
        let digits = (size.log10().floor() - step.log10().floor()).clamp(0.0, 4.0) as usize;
        return format!("{value:.digits$e}");
    }
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    // Ticks are multiples of a step, so that 0 may come out as -0.
    format!("{:.decimals$}", if size < step / 2.0 { 0.0 } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = Axis::new([0.13, 0.92].into_iter(), 0.0, 100.0);
        assert_eq!(labels(&axis), ["0.2", "0.4", "0.6", "0.8"]);
        assert!(axis.ticks().iter().all(|tick| (0.0..=100.0).contains(&tick.at)));
        assert_eq!(labels(&Axis::new([-3.0, 4.0].into_iter(), 0.0, 1.0)), ["-2", "0", "2", "4"]);
        assert_eq!(
            labels(&Axis::new([2.1, 2.100_05].into_iter(), 0.0, 1.0)),
            ["2.10000", "2.10001", "2.10002", "2.10003", "2.10004", "2.10005"]
        );
        assert_eq!(
            labels(&Axis::new([0.0, 3e-5].into_iter(), 0.0, 1.0)),
            ["0", "1e-5", "2e-5", "3e-5"]
        );
        assert_eq!(
            labels(&Axis::new([90_000.0, 310_000.0].into_iter(), 0.0, 1.0)),
            ["1.0e5", "1.5e5", "2.0e5", "2.5e5", "3.0e5"]
        );
    }

    #[test]
    fn there_is_no_half_an_epoch() {
        assert_eq!(
            labels(&Axis::new([0.0, 2.0].into_iter(), 0.0, 1.0)),
            ["0.0", "0.5", "1.0", "1.5", "2.0"]
        );
        assert_eq!(labels(&Axis::new([0.0, 2.0].into_iter(), 0.0, 1.0).whole()), ["0", "1", "2"]);
    }

    #[test]
    fn room_moves_the_ends_inwards() {
        let axis = Axis::new([10.0, 20.0].into_iter(), 0.0, 120.0).with_room(0.1);
        assert_eq!([axis.at(10.0), axis.at(20.0)].map(f64::round), [10.0, 110.0]);
    }

    #[test]
    fn extremes_have_a_place() {
        for values in [
            vec![],
            vec![f64::MIN, f64::MAX],
            vec![5e-324, 0.0],
            vec![7.0, 7.0],
            vec![1.0, 1.0 + f64::EPSILON],
        ] {
            let axis = Axis::new(values.iter().copied(), 0.0, 100.0).with_room(0.05);
            assert!(
                values.iter().all(|&value| (0.0..=100.0).contains(&axis.at(value))),
                "{values:?}"
            );
            let ticks = axis.ticks();
            assert!(ticks.iter().all(|tick| tick.at.is_finite()), "{values:?}");
        }
    }
}
