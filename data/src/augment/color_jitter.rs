use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::augment::canvas::Canvas;
use crate::error::DataError;
use crate::random::{shuffle, uniform};

/// Random brightness, contrast, saturation and hue, in a random order: torchvision's `ColorJitter`
/// for Pillow images.
///
/// The first three are factors drawn uniformly from 1 − x, at least 0, to 1 + x; 0 turns each off.
/// Gray images have neither saturation nor hue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Largest change of the factor towards black.
    pub brightness: f32,
    /// Largest change of the factor towards the gray of the mean luma.
    pub contrast: f32,
    /// Largest change of the factor towards the luma of each pixel.
    pub saturation: f32,
    /// Largest turn of hues in either direction, as a part of the circle: at most 0.5.
    pub hue: f32,
}

impl ColorJitter {
    /// No change.
    pub const OFF: Self = Self { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0 };

    pub(super) fn validate(&self) -> Result<(), DataError> {
        let Self { brightness, contrast, saturation, hue } = *self;
        for (name, value) in
            [("brightness", brightness), ("contrast", contrast), ("saturation", saturation)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(DataError::Augmentation(format!(
                    "color_jitter.{name} = {value} is not finite and at least 0"
                )));
            }
        }
        if !(0.0..=0.5).contains(&hue) {
            return Err(DataError::Augmentation(format!(
                "color_jitter.hue = {hue} is not in 0 to 0.5"
            )));
        }
        Ok(())
    }

    /// Does to an image what is drawn.
    pub(super) fn apply(&self, canvas: &mut Canvas, rng: &mut impl Rng) {
        if *self == Self::OFF {
            return;
        }
        for change in self.draw(rng) {
            match change {
                // Of no effect, as where a setting is 0.
                Change::Brightness(1.0)
                | Change::Contrast(1.0)
                | Change::Saturation(1.0)
                | Change::Hue(0.0) => {}
                Change::Brightness(factor) => canvas.brightness(factor),
                Change::Contrast(factor) => canvas.contrast(factor),
                Change::Saturation(factor) => canvas.saturation(factor),
                Change::Hue(turns) => canvas.hue(turns),
            }
        }
    }

    fn draw(&self, rng: &mut impl Rng) -> [Change; 4] {
        let mut factor = |change: f32| {
            uniform(rng, f64::from(1.0 - change).max(0.0), f64::from(1.0 + change)) as f32
        };
        let [brightness, contrast, saturation] =
            [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turns = uniform(rng, -f64::from(self.hue), f64::from(self.hue));
        let mut changes = [
            Change::Brightness(brightness),
            Change::Contrast(contrast),
            Change::Saturation(saturation),
            Change::Hue(turns),
        ];
        shuffle(rng, &mut changes);
        changes
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Brightness(f32),
    Contrast(f32),
    Saturation(f32),
    Hue(f64),
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::random::{Purpose, stream};

    #[test]
    fn every_order_is_drawn_and_every_range_is_filled() {
        let jitter = ColorJitter { brightness: 0.4, contrast: 1.5, saturation: 0.0, hue: 0.1 };
        let mut orders = HashSet::new();
        let (mut lowest, mut highest) = ([f64::MAX; 4], [f64::MIN; 4]);
        for position in 0..2000 {
            let changes = jitter.draw(&mut stream(Purpose::Pixels, 1, 0, 0, position));
            let numbered = changes.map(|change| match change {
                Change::Brightness(factor) => (0, f64::from(factor)),
                Change::Contrast(factor) => (1, f64::from(factor)),
                Change::Saturation(factor) => (2, f64::from(factor)),
                Change::Hue(turns) => (3, turns),
            });
            orders.insert(numbered.map(|(number, _)| number));
            for (number, value) in numbered {
                (lowest[number], highest[number]) =
                    (lowest[number].min(value), highest[number].max(value));
            }
        }
        assert_eq!(orders.len(), 24);
        let close = |found: [f64; 4], expected: [f64; 4]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.01)
        };
        assert!(close(lowest, [0.6, 0.0, 1.0, -0.1]), "{lowest:?}");
        assert!(close(highest, [1.4, 2.5, 1.0, 0.1]), "{highest:?}");
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        let off = ColorJitter::OFF;
        for (jitter, name) in [
            (ColorJitter { brightness: -0.1, ..off }, "brightness"),
            (ColorJitter { contrast: f32::INFINITY, ..off }, "contrast"),
            (ColorJitter { saturation: f32::NAN, ..off }, "saturation"),
            (ColorJitter { hue: 0.6, ..off }, "hue"),
        ] {
            assert!(
                jitter
                    .validate()
                    .unwrap_err()
                    .to_string()
                    .contains(&format!("color_jitter.{name} = "))
            );
        }
        ColorJitter { brightness: 3.0, contrast: 0.0, saturation: 0.4, hue: 0.5 }
            .validate()
            .unwrap();
    }
}
