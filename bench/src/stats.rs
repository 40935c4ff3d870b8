use serde::Serialize;

/// Several measurements of one quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    /// Number of measurements.
    pub(crate) n: usize,
}

impl Spread {
    /// `None` without measurements.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let min = *values.first()?;
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Self { median, min, n: values.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_odd_and_even_numbers_of_values() {
        assert_eq!(Spread::of([5.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, n: 3 }));
        assert_eq!(Spread::of([8.0, 1.0, 2.0, 4.0]), Some(Spread { median: 3.0, min: 1.0, n: 4 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { median: 7.0, min: 7.0, n: 1 }));
        assert_eq!(Spread::of([]), None);
    }
}
