//! Operations on colours. Gray has none: an image of one channel stays as it is.

use crate::augment::canvas::{Canvas, blend};
use crate::decode::luma;

impl Canvas {
    /// Pillow's `ImageEnhance.Color`: 0 gives the luma, 1 the image.
    pub(super) fn saturation(&mut self, factor: f32) {
        self.recolor(|color| {
            let gray = luma(color);
            color.map(|value| blend(gray, value, factor))
        });
    }

    /// torchvision's `adjust_hue` of a Pillow image: hues are turned by `turns`, -0.5 to 0.5 of the
    /// circle.
    pub(super) fn hue(&mut self, turns: f64) {
        let shift = (turns * 255.0) as i32 as u8;
        self.recolor(|color| {
            let [hue, saturation, value] = to_hsv(color);
            to_rgb([hue.wrapping_add(shift), saturation, value])
        });
    }

    fn recolor(&mut self, change: impl Fn([u8; 3]) -> [u8; 3]) {
        let Some([red, green, blue]) = self.colors() else { return };
        for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
            [*red, *green, *blue] = change([*red, *green, *blue]);
        }
    }
}

// The conversions are those of Pillow between modes RGB and HSV. Its variables are single, its
// constants double precision; both matter for the bits of the result.

fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let below = |value: u8| f32::from(most - value) / range;
    let (r, g, b) = (below(red), below(green), below(blue));
    let sixths = if red == most {
        b - g
    } else if green == most {
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    // Pillow calls `fmod` here and `round` below. Calls of a library would take most of the time.
    let turns = f64::from(sixths) / 6.0 + 1.0;
    let hue = (if turns < 1.0 { turns } else { turns - 1.0 }) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    let (sector, shares) = shares(hue, saturation);
    let [low, falling, rising] = shares.map(|share| scaled(value, share));
    match sector {
        0 | 6 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// The sixth of the circle that a hue lies in, 0 to 6, and the parts of the value that the other
/// channels have there: that of the least one, and those of the middle one where it falls and where
/// it rises.
fn shares(hue: u8, saturation: u8) -> (u8, [f64; 3]) {
    let sixths = f64::from(hue) * 6.0 / 255.0;
    let sector = sixths as u8;
    let rest = (sixths - f64::from(sector)) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let falling = 1.0 - f64::from(saturation * rest);
    (
        sector,
        [
            1.0 - f64::from(saturation),
            falling,
            1.0 - f64::from(saturation) * (1.0 - f64::from(rest)),
        ],
    )
}

/// Rounded to the nearest number.
fn scaled(value: u8, share: f64) -> u8 {
    (f64::from(value) * share + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number just below a half may become 1 when a half is added: none of these does.
    #[test]
    fn every_product_is_rounded_as_the_library_does() {
        for hue in 0..=255 {
            for saturation in 0..=255 {
                let (_, shares) = shares(hue, saturation);
                let same = |share: f64| {
                    (0..=255).all(|value| {
                        scaled(value, share) == (f64::from(value) * share).round() as u8
                    })
                };
                assert!(shares.into_iter().all(same), "{hue}, {saturation}");
            }
        }
    }
}
