use rand::Rng;

use crate::random::{below, uniform};
use crate::resize::Region;

/// Crops that are drawn before one in the middle is taken.
const TRIES: usize = 10;
/// Least and largest width of a crop, divided by its height.
const ASPECTS: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);

/// Draws the part of a picture of `width` × `height` pixels that an image shows: at least the share
/// `least` of its area.
///
/// As `RandomResizedCrop` of torchvision: the area is uniformly distributed, the aspect ratio so is
/// in its logarithm. When ten of them do not fit into the picture, the largest crop in its middle
/// is taken that has an allowed aspect ratio.
pub(super) fn draw(least: f32, width: usize, height: usize, rng: &mut impl Rng) -> Region {
    let area = width as f64 * height as f64;
    for _ in 0..TRIES {
        let area = area * uniform(rng, f64::from(least), 1.0);
        let aspect = uniform(rng, ASPECTS.0.ln(), ASPECTS.1.ln()).exp();
        let side = |square: f64| square.sqrt().round_ties_even() as usize;
        let (w, h) = (side(area * aspect), side(area / aspect));
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            return Region {
                top: below(rng, height - h + 1),
                left: below(rng, width - w + 1),
                height: h,
                width: w,
            };
        }
    }
    middle(width, height)
}

fn middle(width: usize, height: usize) -> Region {
    let aspect = width as f64 / height as f64;
    let (w, h) = if aspect < ASPECTS.0 {
        (width, (width as f64 / ASPECTS.0).round_ties_even() as usize)
    } else if aspect > ASPECTS.1 {
        ((height as f64 * ASPECTS.1).round_ties_even() as usize, height)
    } else {
        (width, height)
    };
    Region { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, stream};

    fn drawn(least: f32, width: usize, height: usize) -> impl Iterator<Item = Region> {
        (0..2000).map(move |position| {
            draw(least, width, height, &mut stream(Purpose::Pixels, 3, 0, 0, position))
        })
    }

    #[test]
    fn areas_and_aspects_fill_their_ranges() {
        let shares: Vec<f64> =
            drawn(0.08, 500, 375).map(|r| (r.width * r.height) as f64 / (500.0 * 375.0)).collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!(shares.iter().all(|share| (0.079..=1.0).contains(share)));
        assert!(
            shares.iter().any(|&share| share < 0.1) && shares.iter().any(|&share| share > 0.95)
        );
        // Large crops fit less often, which draws the mean below that of the uniform distribution.
        // In 40,000 crops of torchvision it was 0.434, near the middle of this.
        assert!((0.42..0.45).contains(&mean), "{mean}");
        let aspects: Vec<f64> =
            drawn(0.08, 500, 375).map(|r| r.width as f64 / r.height as f64).collect();
        assert!(aspects.iter().all(|aspect| (0.74..1.35).contains(aspect)));
        assert!(
            aspects.iter().any(|&aspect| aspect < 0.76)
                && aspects.iter().any(|&aspect| aspect > 1.31)
        );
    }

    #[test]
    fn crops_lie_in_the_picture_and_reach_its_borders() {
        for (width, height) in [(500, 375), (9, 7), (1, 1), (2, 1)] {
            for Region { top, left, height: h, width: w } in drawn(0.08, width, height) {
                assert!(h > 0 && w > 0 && top + h <= height && left + w <= width);
            }
        }
        assert!(
            drawn(0.08, 9, 7).any(|r| r.left + r.width == 9)
                && drawn(0.08, 9, 7).any(|r| r.top + r.height == 7)
        );
        assert!(drawn(0.08, 9, 7).any(|r| r.left == 0) && drawn(0.08, 9, 7).any(|r| r.top == 0));
    }

    #[test]
    fn what_no_crop_fits_into_is_cropped_in_its_middle() {
        // Half of the area is at least 200 pixels long at the widest aspect that is drawn: none is
        // as narrow as the picture.
        for (width, height, region) in [
            (1000, 10, Region { top: 0, left: 493, height: 10, width: 13 }),
            (10, 1000, Region { top: 493, left: 0, height: 13, width: 10 }),
        ] {
            assert!(drawn(0.5, width, height).all(|r| r == region));
        }
        assert_eq!(middle(4, 3), Region { top: 0, left: 0, height: 3, width: 4 });
    }
}
