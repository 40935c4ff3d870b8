use serde::{Deserialize, Serialize};

use crate::ModelError;

/// What the channels of a network that is no stack of cells are multiplied by, in steps of a
/// thousandth. Howard et al., 2017, section 3.3, call it the width multiplier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Width(usize);

impl Width {
    /// The network as it was published.
    pub const PUBLISHED: Self = Self(1000);

    /// The least.
    pub const LEAST: Self = Self(1);

    /// The most: far beyond any network of use, so that no product of sizes overflows.
    pub const MOST: Self = Self(16_000);

    /// A number of thousandths between [`Self::LEAST`] and [`Self::MOST`].
    pub(crate) fn of_thousandths(thousandths: usize) -> Self {
        Self(thousandths.clamp(Self::LEAST.0, Self::MOST.0))
    }

    pub(crate) fn thousandths(self) -> usize {
        self.0
    }

    /// The larger of two.
    pub(super) fn at_least(self, least: Self) -> Self {
        self.max(least)
    }

    /// So many channels, cut to a whole number of them, but never fewer than `least`.
    pub(super) fn cut(self, channels: usize, least: usize) -> usize {
        (channels * self.0 / 1000).max(least)
    }

    /// So many channels, to the nearest multiple of 8: never down by more than a tenth.
    pub(super) fn eights(self, channels: usize) -> usize {
        let wanted = channels * self.0;
        let nearest = ((wanted + 4000) / 8000 * 8).max(8);
        if 10_000 * nearest < 9 * wanted { nearest + 8 } else { nearest }
    }
}

impl Default for Width {
    fn default() -> Self {
        Self::PUBLISHED
    }
}

impl TryFrom<f64> for Width {
    type Error = ModelError;

    /// # Errors
    /// [`ModelError::Invalid`] beyond [`Self::LEAST`] and [`Self::MOST`].
    fn try_from(width: f64) -> Result<Self, ModelError> {
        let thousandths = (1000.0 * width).round();
        if (Self::LEAST.0 as f64..=Self::MOST.0 as f64).contains(&thousandths) {
            Ok(Self(thousandths as usize))
        } else {
            let [least, most] = [Self::LEAST, Self::MOST].map(f64::from);
            Err(ModelError::Invalid(format!("a width is from {least} to {most}, got {width}")))
        }
    }
}

impl From<Width> for f64 {
    fn from(width: Width) -> Self {
        width.0 as Self / 1000.0
    }
}

impl std::fmt::Display for Width {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f64::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_rounded_as_published_code_does() {
        let width = |width: f64| Width::try_from(width).unwrap();
        // torchvision's `_make_divisible`: of 33.6 the nearest is 32, of 11.2 it is 8, which is
        // less than nine tenths of it.
        assert_eq!([24, 8].map(|channels| width(1.4).eights(channels)), [32, 16]);
        assert_eq!([16, 24, 1280].map(|channels| width(0.35).eights(channels)), [8, 8, 448]);
        for channels in [8, 16, 24, 72, 184, 1280] {
            assert_eq!(Width::PUBLISHED.eights(channels), channels);
        }
        assert_eq!([width(0.75).cut(32, 8), width(0.1).cut(32, 8)], [24, 8]);
    }

    #[test]
    fn more_width_is_never_fewer_channels() {
        for channels in 1..200 {
            for thousandths in 1..3000 {
                let [a, b] = [thousandths, thousandths + 1].map(Width::of_thousandths);
                assert!(a.eights(channels) <= b.eights(channels));
            }
        }
    }

    #[test]
    fn a_width_is_a_number_in_files() {
        let read = |text: &str| serde_json::from_str::<Width>(text).ok();
        assert_eq!(read("0.35"), Some(Width(350)));
        assert_eq!(read("1"), Some(Width::PUBLISHED));
        assert_eq!(serde_json::to_string(&Width(1400)).unwrap(), "1.4");
        assert!(
            ["0", "0.0001", "-1", "17", "1e400", "\"1\""].iter().all(|text| read(text).is_none())
        );
        assert!(Width::try_from(f64::NAN).is_err());
    }
}
