//! Operations that look every value of a channel up in a table.

use std::array;

use crate::augment::canvas::{Canvas, Histogram, SAME, blend, histogram};
use crate::decode::luma;

impl Canvas {
    /// Pillow's `ImageOps.invert`.
    pub(super) fn invert(&mut self) {
        self.look_up(&by_value(|value| 255 - value));
    }

    /// Pillow's `ImageOps.solarize`: values from `threshold` on are inverted.
    pub(super) fn solarize(&mut self, threshold: f32) {
        self.look_up(&by_value(
            |value| if f32::from(value) < threshold { value } else { 255 - value },
        ));
    }

    /// Pillow's `ImageOps.posterize`: the upper `bits` of a value, 1 to 8, are kept.
    pub(super) fn posterize(&mut self, bits: u32) {
        self.look_up(&by_value(|value| value & (0xff << (8 - bits))));
    }

    /// Pillow's `ImageOps.autocontrast` without a cutoff: the values of each channel are spread
    /// over 0 to 255.
    pub(super) fn auto_contrast(&mut self) {
        self.look_up_by_channel(|histogram| {
            let lowest = histogram.iter().position(|&count| count > 0).unwrap_or(0);
            let highest = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
            if highest <= lowest {
                return SAME;
            }
            let scale = 255.0 / (highest - lowest) as f64;
            let offset = -(lowest as f64) * scale;
            by_value(|value| (f64::from(value) * scale + offset) as u8)
        });
    }

    /// Pillow's `ImageOps.equalize`: the values of each channel become about equally frequent.
    pub(super) fn equalize(&mut self) {
        self.look_up_by_channel(equalized);
    }

    /// Pillow's `ImageEnhance.Brightness`: 0 gives black, 1 the image.
    pub(super) fn brightness(&mut self, factor: f32) {
        self.look_up(&by_value(|value| blend(0, value, factor)));
    }

    /// Pillow's `ImageEnhance.Contrast`: 0 gives the gray of the mean luma, 1 the image.
    pub(super) fn contrast(&mut self, factor: f32) {
        let count = self.plane();
        let luma = match self.colors() {
            Some([red, green, blue]) => histogram(
                red.iter()
                    .zip(green)
                    .zip(blue)
                    .map(|((red, green), blue)| luma([*red, *green, *blue])),
            ),
            None => histogram(self.pixels.iter().copied()),
        };
        let sum: usize = luma.iter().enumerate().map(|(value, count)| value * count).sum();
        let mean = (sum as f64 / count as f64 + 0.5) as u8;
        self.look_up(&by_value(|value| blend(mean, value, factor)));
    }
}

fn by_value(change: impl Fn(u8) -> u8) -> [u8; 256] {
    array::from_fn(|value| change(value as u8))
}

fn equalized(histogram: &Histogram) -> [u8; 256] {
    let Some(&last) = histogram.iter().rfind(|&&count| count > 0) else {
        return SAME;
    };
    let step = (histogram.iter().sum::<usize>() - last) / 255;
    if step == 0 {
        return SAME;
    }
    let mut below = step / 2;
    array::from_fn(|value| {
        let level = (below / step).min(255) as u8;
        below += histogram[value];
        level
    })
}
