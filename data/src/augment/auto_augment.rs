use rand::Rng;
use serde::{Deserialize, Serialize};

use self::Operation::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness,
    ShearX, ShearY, Solarize, TranslateX, TranslateY,
};
use crate::augment::canvas::Canvas;
use crate::random::below;

/// Policies of AutoAugment (Cubuk et al., CVPR 2019): one of 25 pairs of operations is drawn for an
/// image, and each operation of the pair is done with its probability.
///
/// Policies, magnitudes and operations are those of `torchvision.transforms.AutoAugment` for Pillow
/// images: the nearest pixel is taken where pixels move, and black fills what they leave. In images
/// of one channel the operation `Color` changes nothing, as in Pillow's mode L.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AutoAugment {
    /// The image stays as it is.
    #[default]
    Off,
    /// The policy found on CIFAR-10, which CIFAR-100 is trained with too.
    Cifar10,
    /// The policy found on ImageNet.
    Imagenet,
}

/// What can happen to an image, named as in the paper (Table 6 of its appendix).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

/// An operation, its probability in tenths, and its level of 0 to 9; the last three operations have
/// none, and 0 stands here.
pub(super) type Step = (Operation, usize, u8);

impl AutoAugment {
    /// Does to an image what is drawn from the policy.
    pub(super) fn apply(self, canvas: &mut Canvas, rng: &mut impl Rng) {
        let pairs = self.pairs();
        if pairs.is_empty() {
            return;
        }
        for (operation, tenths, level) in pairs[below(rng, pairs.len())] {
            // Both are drawn whatever comes of them, so that the second operation does not depend
            // on the first.
            let (happens, negative) = (below(rng, 10) < tenths, below(rng, 2) == 0);
            if happens {
                operation.apply(level, negative, canvas);
            }
        }
    }

    pub(super) fn pairs(self) -> &'static [[Step; 2]] {
        match self {
            Self::Off => &[],
            Self::Cifar10 => &CIFAR10,
            Self::Imagenet => &IMAGENET,
        }
    }
}

impl Operation {
    /// Does the operation with the strength of a level; `negative` turns the direction of those
    /// that have one.
    pub(super) fn apply(self, level: u8, negative: bool, canvas: &mut Canvas) {
        let strength = self.magnitude(level, canvas.shape.width, canvas.shape.height);
        let signed = if negative { -f64::from(strength) } else { f64::from(strength) };
        let factor = (1.0 + signed) as f32;
        match self {
            ShearX => canvas.shear_x(signed),
            ShearY => canvas.shear_y(signed),
            TranslateX => canvas.translate(signed.trunc(), 0.0),
            TranslateY => canvas.translate(0.0, signed.trunc()),
            Rotate => canvas.rotate(signed),
            Brightness => canvas.brightness(factor),
            Color => canvas.saturation(factor),
            Contrast => canvas.contrast(factor),
            Sharpness => canvas.sharpness(factor),
            Posterize => canvas.posterize(strength as u32),
            Solarize => canvas.solarize(strength),
            AutoContrast => canvas.auto_contrast(),
            Equalize => canvas.equalize(),
            Invert => canvas.invert(),
        }
    }

    /// Shares for shears, pixels for translations, degrees for rotations, the change of a factor of
    /// 1 for those that have a factor, bits for posterize, a threshold for solarize; 0 for the
    /// rest.
    pub(super) fn magnitude(self, level: u8, width: usize, height: usize) -> f32 {
        let of_length = |length: usize| linear(0.0, (150.0 / 331.0 * length as f64) as f32, level);
        match self {
            ShearX | ShearY => linear(0.0, 0.3, level),
            TranslateX => of_length(width),
            TranslateY => of_length(height),
            Rotate => linear(0.0, 30.0, level),
            Brightness | Color | Contrast | Sharpness => linear(0.0, 0.9, level),
            Posterize => 8.0 - (f32::from(level) * 4.0 / HIGHEST).round(),
            Solarize => linear(255.0, 0.0, level),
            AutoContrast | Equalize | Invert => 0.0,
        }
    }
}

/// The highest level.
const HIGHEST: f32 = 9.0;

/// From `first` at level 0 to `last` at level 9, with the bits of `torch.linspace`, which rounds
/// product and sum at once.
fn linear(first: f32, last: f32, level: u8) -> f32 {
    let step = (last - first) / HIGHEST;
    let level = f32::from(level);
    if level < HIGHEST / 2.0 {
        step.mul_add(level, first)
    } else {
        step.mul_add(level - HIGHEST, last)
    }
}

/// Table 7 of the paper.
const CIFAR10: [[Step; 2]; 25] = [
    [(Invert, 1, 0), (Contrast, 2, 6)],
    [(Rotate, 7, 2), (TranslateX, 3, 9)],
    [(Sharpness, 8, 1), (Sharpness, 9, 3)],
    [(ShearY, 5, 8), (TranslateY, 7, 9)],
    [(AutoContrast, 5, 0), (Equalize, 9, 0)],
    [(ShearY, 2, 7), (Posterize, 3, 7)],
    [(Color, 4, 3), (Brightness, 6, 7)],
    [(Sharpness, 3, 9), (Brightness, 7, 9)],
    [(Equalize, 6, 0), (Equalize, 5, 0)],
    [(Contrast, 6, 7), (Sharpness, 6, 5)],
    [(Color, 7, 7), (TranslateX, 5, 8)],
    [(Equalize, 3, 0), (AutoContrast, 4, 0)],
    [(TranslateY, 4, 3), (Sharpness, 2, 6)],
    [(Brightness, 9, 6), (Color, 2, 8)],
    [(Solarize, 5, 2), (Invert, 0, 0)],
    [(Equalize, 2, 0), (AutoContrast, 6, 0)],
    [(Equalize, 2, 0), (Equalize, 6, 0)],
    [(Color, 9, 9), (Equalize, 6, 0)],
    [(AutoContrast, 8, 0), (Solarize, 2, 8)],
    [(Brightness, 1, 3), (Color, 7, 0)],
    [(Solarize, 4, 5), (AutoContrast, 9, 0)],
    [(TranslateY, 9, 9), (TranslateY, 7, 9)],
    [(AutoContrast, 9, 0), (Solarize, 8, 3)],
    [(Equalize, 8, 0), (Invert, 1, 0)],
    [(TranslateY, 7, 9), (AutoContrast, 9, 0)],
];

/// Table 9 of the paper.
const IMAGENET: [[Step; 2]; 25] = [
    [(Posterize, 4, 8), (Rotate, 6, 9)],
    [(Solarize, 6, 5), (AutoContrast, 6, 0)],
    [(Equalize, 8, 0), (Equalize, 6, 0)],
    [(Posterize, 6, 7), (Posterize, 6, 6)],
    [(Equalize, 4, 0), (Solarize, 2, 4)],
    [(Equalize, 4, 0), (Rotate, 8, 8)],
    [(Solarize, 6, 3), (Equalize, 6, 0)],
    [(Posterize, 8, 5), (Equalize, 10, 0)],
    [(Rotate, 2, 3), (Solarize, 6, 8)],
    [(Equalize, 6, 0), (Posterize, 4, 6)],
    [(Rotate, 8, 8), (Color, 4, 0)],
    [(Rotate, 4, 9), (Equalize, 6, 0)],
    [(Equalize, 0, 0), (Equalize, 8, 0)],
    [(Invert, 6, 0), (Equalize, 10, 0)],
    [(Color, 6, 4), (Contrast, 10, 8)],
    [(Rotate, 8, 8), (Color, 10, 2)],
    [(Color, 8, 8), (Solarize, 8, 7)],
    [(Sharpness, 4, 7), (Invert, 6, 0)],
    [(ShearX, 6, 5), (Equalize, 10, 0)],
    [(Color, 4, 0), (Equalize, 6, 0)],
    [(Equalize, 4, 0), (Solarize, 2, 4)],
    [(Solarize, 6, 5), (AutoContrast, 6, 0)],
    [(Invert, 6, 0), (Equalize, 10, 0)],
    [(Color, 6, 4), (Contrast, 10, 8)],
    [(Equalize, 8, 0), (Equalize, 6, 0)],
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::random::{Purpose, stream};
    use crate::shape::ImageShape;

    const DRAWS: u64 = 4000;

    /// What becomes of an image in which no value is 0.
    fn results(policy: AutoAugment, channels: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
        let shape = ImageShape { channels, height: 9, width: 9 };
        let image: Vec<u8> = (0..shape.values()).map(|i| 30 + (i * i % 190) as u8).collect();
        let result = |position| {
            let mut canvas = Canvas::new(shape);
            canvas.pixels_mut().copy_from_slice(&image);
            policy.apply(&mut canvas, &mut stream(Purpose::Pixels, 2, 0, 0, position));
            canvas.pixels().to_vec()
        };
        let all = (0..DRAWS).map(result).collect();
        (image, all)
    }

    #[test]
    fn operations_happen_as_often_as_the_policy_says() {
        for policy in [AutoAugment::Cifar10, AutoAugment::Imagenet] {
            let (image, results) = results(policy, 3);
            // At level 0 a factor is 1, and equalising 81 pixels changes nothing.
            let remains = |(operation, tenths, level): Step| match (operation, level) {
                (Color, 0) | (Equalize, _) => 1.0,
                _ => 1.0 - tenths as f64 / 10.0,
            };
            let pairs = policy.pairs();
            let expected =
                pairs.iter().map(|&[first, second]| remains(first) * remains(second)).sum::<f64>()
                    / pairs.len() as f64;
            let unchanged =
                results.iter().filter(|result| **result == image).count() as f64 / DRAWS as f64;
            assert!(
                (unchanged - expected).abs() < 0.03,
                "{policy:?}: {unchanged} of all are unchanged, expected {expected}"
            );
        }
    }

    #[test]
    fn images_move_in_both_directions_and_gray_ones_change_too() {
        for channels in [1, 3] {
            let (_, results) = results(AutoAugment::Cifar10, channels);
            let black_row = |row: usize| {
                results
                    .iter()
                    .filter(|result| result.chunks_exact(81).all(|p| p[row * 9..][..9] == [0; 9]))
                    .count()
            };
            let (above, below) = (black_row(0), black_row(8));
            assert!(above.min(below) > 100 && above.abs_diff(below) < 100, "{above}, {below}");
            assert!(results.iter().collect::<HashSet<_>>().len() > 60);
        }
    }

    #[test]
    fn off_does_and_draws_nothing() {
        let (image, results) = results(AutoAugment::Off, 1);
        assert!(results.iter().all(|result| *result == image));
    }
}
