use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::DataError;
use crate::kind::DatasetKind;

/// Mean and standard deviation per channel, over pixels scaled to [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// One per channel.
    pub mean: Vec<f32>,
    /// One per channel, positive.
    pub std: Vec<f32>,
}

impl Normalization {
    /// The constants that belong to a data set: published ones for CIFAR-10 (those of DARTS),
    /// CIFAR-100 and image folders (those of ImageNet), measured ones over the training images for
    /// Fashion-MNIST and the sample.
    #[must_use]
    pub fn of(kind: DatasetKind) -> Self {
        let (mean, std): (&[f32], &[f32]) = match kind {
            DatasetKind::Sample => (&[0.286_914_94], &[0.353_779_26]),
            DatasetKind::FashionMnist => (&[0.286_040_6], &[0.353_024_24]),
            DatasetKind::Cifar10 => (
                &[0.491_399_68, 0.482_158_27, 0.446_531_24],
                &[0.247_032_33, 0.243_485_05, 0.261_587_68],
            ),
            DatasetKind::Cifar100 => (
                &[0.507_075_16, 0.486_548_87, 0.440_917_84],
                &[0.267_334_28, 0.256_438_46, 0.276_150_5],
            ),
            DatasetKind::ImageFolder => (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
        };
        Self { mean: mean.to_vec(), std: std.to_vec() }
    }

    /// Measures mean and (population) standard deviation over every pixel of `dataset`, without
    /// rounding until the end.
    ///
    /// # Errors
    /// When an image cannot be read, or there is none.
    pub fn measure(dataset: &Dataset) -> Result<Self, DataError> {
        let shape = dataset.shape();
        let plane = shape.height * shape.width;
        let mut sums = vec![(0_u64, 0_u64); shape.channels];
        let mut scratch = Vec::new();
        for index in 0..dataset.len() {
            let image = dataset.pixels(index, &mut scratch)?;
            for ((sum, squares), values) in sums.iter_mut().zip(image.chunks_exact(plane)) {
                *sum += values.iter().map(|&v| u64::from(v)).sum::<u64>();
                *squares += values.iter().map(|&v| u64::from(v).pow(2)).sum::<u64>();
            }
        }
        let count = dataset.len() as u128 * plane as u128;
        if count == 0 {
            return Err(DataError::Normalization(format!(
                "`{}` has no image to measure",
                dataset.name()
            )));
        }
        let scale = count as f64 * 255.0;
        let mean = sums.iter().map(|&(sum, _)| (sum as f64 / scale) as f32).collect();
        let std = sums
            .iter()
            .map(|&(sum, squares)| {
                let spread = u128::from(squares) * count - u128::from(sum).pow(2);
                ((spread as f64).sqrt() / scale) as f32
            })
            .collect();
        Ok(Self { mean, std })
    }

    /// Number of channels, after checking that the constants can be used.
    ///
    /// # Errors
    /// [`DataError::Normalization`] when the two lists differ in length, or a value is not finite,
    /// or a standard deviation is not positive.
    pub fn channels(&self) -> Result<usize, DataError> {
        let wrong = |detail: String| Err(DataError::Normalization(detail));
        if self.mean.len() != self.std.len() || self.mean.is_empty() {
            return wrong(format!(
                "{} means and {} standard deviations",
                self.mean.len(),
                self.std.len()
            ));
        }
        if let Some(mean) = self.mean.iter().find(|mean| !mean.is_finite()) {
            return wrong(format!("the mean {mean}"));
        }
        if let Some(std) = self.std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return wrong(format!("the standard deviation {std}"));
        }
        Ok(self.mean.len())
    }

    /// Writes (pixel / 255 − mean) / std. `pixels`: u8 [channels, …]; `out`: as many values, same
    /// order.
    ///
    /// # Errors
    /// When the constants are unusable or the lengths are not equal multiples of the number of
    /// channels.
    pub fn apply(&self, pixels: &[u8], out: &mut [f32]) -> Result<(), DataError> {
        let channels = self.channels()?;
        if out.len() != pixels.len() {
            return Err(DataError::BufferLength { expected: pixels.len(), actual: out.len() });
        }
        if !pixels.len().is_multiple_of(channels) {
            let detail = format!("{} values do not divide into {channels} channels", pixels.len());
            return Err(DataError::Normalization(detail));
        }
        let plane = (pixels.len() / channels).max(1);
        for ((table, from), to) in
            self.tables().iter().zip(pixels.chunks(plane)).zip(out.chunks_mut(plane))
        {
            for (to, &from) in to.iter_mut().zip(from) {
                *to = table[from as usize];
            }
        }
        Ok(())
    }

    /// The normalised value of each of the 256 pixel values, per channel.
    #[must_use]
    pub fn tables(&self) -> Vec<[f32; 256]> {
        let table =
            |(&mean, &std): (&f32, &f32)| std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std);
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::ImageShape;

    #[test]
    fn apply_uses_the_constants_of_each_channel() {
        let n = Normalization { mean: vec![0.5, 0.0], std: vec![0.25, 2.0] };
        let mut out = [0.0; 4];
        n.apply(&[0, 255, 0, 255], &mut out).unwrap();
        assert_eq!(out, [-2.0, 2.0, 0.0, 0.5]);
    }

    #[test]
    fn unusable_constants_are_errors() {
        let bad = [
            (vec![0.5], vec![]),
            (vec![], vec![]),
            (vec![0.5], vec![0.0]),
            (vec![0.5], vec![f32::NAN]),
            (vec![f32::INFINITY], vec![1.0]),
        ];
        for (mean, std) in bad {
            let n = Normalization { mean, std };
            assert!(matches!(n.apply(&[], &mut []), Err(DataError::Normalization { .. })), "{n:?}");
        }
        let n = Normalization::of(DatasetKind::Cifar10);
        assert!(matches!(n.apply(&[0; 4], &mut [0.0; 4]), Err(DataError::Normalization { .. })));
        assert!(matches!(n.apply(&[0; 3], &mut [0.0; 4]), Err(DataError::BufferLength { .. })));
    }

    #[test]
    fn measure_is_exact() {
        let shape = ImageShape { channels: 2, height: 1, width: 2 };
        let pixels = vec![0, 255, 51, 51, 0, 255, 51, 51];
        let data = Dataset::from_memory("t", vec!["a".into()], shape, vec![0, 0], pixels).unwrap();
        let n = Normalization::measure(&data).unwrap();
        assert_eq!(n, Normalization { mean: vec![0.5, 0.2], std: vec![0.5, 0.0] });
    }

    #[test]
    fn every_kind_has_usable_constants() {
        for kind in DatasetKind::ALL {
            assert!(Normalization::of(kind).channels().is_ok());
        }
    }
}
