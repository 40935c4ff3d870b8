//! What values of flags can look like.

use std::num::NonZeroUsize;
use std::time::Duration;

use adwp_data::AutoAugment;
use adwp_engine::cuda::Precision;
use adwp_models::Stem;
use adwp_models::zoo::Width;

/// Channels, height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageSize(pub(crate) [usize; 3]);

pub(super) fn image_shape(text: &str) -> Result<ImageSize, String> {
    let parts: Option<Vec<usize>> = text.split('x').map(|part| part.parse().ok()).collect();
    parts
        .and_then(|parts| <[usize; 3]>::try_from(parts).ok())
        .map(ImageSize)
        .ok_or_else(|| "expected CHANNELSxHEIGHTxWIDTH, such as 3x32x32".into())
}

pub(super) fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: Option<f64> = text.parse().ok().filter(|minutes| *minutes > 0.0);
    minutes
        .and_then(|minutes| Duration::try_from_secs_f64(60.0 * minutes).ok())
        .ok_or_else(|| "expected a number of minutes above 0, such as 9.5".into())
}

/// What numbers of epochs are multiplied by: more than a thousandfold was not meant.
pub(super) fn scale(text: &str) -> Result<f64, String> {
    const MOST: f64 = 1000.0;
    let scale: Option<f64> = text.parse().ok().filter(|scale| *scale > 0.0 && *scale <= MOST);
    scale.ok_or_else(|| format!("expected a number above 0, at most {MOST}, such as 0.25"))
}

/// A number with K, M or G for thousands, millions and thousands of millions.
pub(super) fn amount(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1e3),
        None => match text.strip_suffix(['M', 'm']) {
            Some(digits) => (digits, 1e6),
            None => text.strip_suffix(['G', 'g']).map_or((text, 1.0), |digits| (digits, 1e9)),
        },
    };
    let number: Option<f64> = digits.parse().ok().map(|number: f64| (number * factor).round());
    let number = number.filter(|number| (1.0..=9e15).contains(number));
    number
        .map(|number| number as u64)
        .ok_or_else(|| "expected a number of at least 1, such as 1500000, 1.5M or 600M".into())
}

pub(super) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a number of at least 1".into())
}

/// Networks that are measured one after the other: more than some thousands were not meant.
pub(super) fn networks(text: &str) -> Result<NonZeroUsize, String> {
    const MOST: usize = 10_000;
    let number: Option<NonZeroUsize> = text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= MOST);
    number.ok_or_else(|| format!("expected a number from 1 to {MOST}"))
}

pub(super) fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("expected f32 or bf16".into()),
    }
}

pub(super) fn auto_augment(text: &str) -> Result<AutoAugment, String> {
    match text {
        "off" => Ok(AutoAugment::Off),
        "cifar10" => Ok(AutoAugment::Cifar10),
        "imagenet" => Ok(AutoAugment::Imagenet),
        _ => Err("expected cifar10, imagenet or off".into()),
    }
}

pub(super) fn width(text: &str) -> Result<Width, String> {
    let width: f64 = text.parse().map_err(|_| "expected a number, such as 0.5")?;
    Width::try_from(width).map_err(|e| e.to_string())
}

pub(super) fn stem(text: &str) -> Result<Stem, String> {
    match text {
        "cifar" => Ok(Stem::Cifar),
        "imagenet" => Ok(Stem::Imagenet),
        _ => Err("expected cifar or imagenet".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_parse_or_are_refused() {
        assert_eq!(networks("10000").map(NonZeroUsize::get), Ok(10_000));
        let too_many = "18446744073709551615";
        assert!(["0", "-1", "10001", too_many, "x"].iter().all(|text| networks(text).is_err()));
        assert_eq!(image_shape("1x28x28"), Ok(ImageSize([1, 28, 28])));
        assert!(image_shape("28x28").is_err() && image_shape("ax1x1").is_err());
        assert_eq!(
            (amount("1.52M"), amount("600m"), amount("26922")),
            (Ok(1_520_000), Ok(600_000_000), Ok(26_922))
        );
        assert!(["0", "-1", "", "M", "1e30", "nan", "5T"].iter().all(|text| amount(text).is_err()));
        assert_eq!((scale("0.25"), scale("2")), (Ok(0.25), Ok(2.0)));
        assert!(["0", "-1", "nan", "inf", "1001", "half"].iter().all(|text| scale(text).is_err()));
        assert_eq!(minutes("0.5"), Ok(Duration::from_secs(30)));
        assert!(
            ["0", "-1", "NaN", "inf", "1e300", "9m", ""].iter().all(|text| minutes(text).is_err())
        );
    }
}
