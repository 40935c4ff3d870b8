use adwp_engine::{Executor, NodeId, Op, Program, Statistics, Variables};
use adwp_models::{Blueprint, Choices, Discrete, Space};
use adwp_train::{BatchSource, Context, Finished, TrainError};

use crate::scorer::{Ingredient, Scorer, ScorerEntry, Unit};
use crate::{Data, Result};

/// NASWOT, without training.
struct Naswot<'a> {
    space: &'a dyn Space,
    data: &'a Data,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "naswot",
    about: "how well the untrained network distinguishes images",
    label: "NASWOT, untrained",
    unit: Unit::plain("log-determinant"),
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: None,
    needs: &[Ingredient::Images],
    open: |ingredients| {
        Some(Box::new(Naswot { space: ingredients.space, data: ingredients.data? }))
    },
};

impl Scorer for Naswot<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        Ok(Finished::Done(naswot(&Blueprint::of(self.space, choices)?, self.data)?))
    }
}

/// Images of the batch, as in the publication.
const IMAGES: usize = 128;

/// NASWOT (Mellor et al., Neural Architecture Search without Training, 2021, section 3): the
/// logarithm of the determinant of the kernel that counts in how many rectified units two images
/// agree on being active, over a batch of training images and at first values. The more it tells
/// images apart, the larger it is.
///
/// It is computed in single precision; weights and images are the seed's.
/// A rectification that several operations read is counted once. Where two images have the same
/// codes the determinant is 0, and the score as well: a determinant of whole numbers that is not 0
/// is at least 1.
///
/// # Errors
/// An architecture that does not fit, images that cannot be read, a device that fails.
pub fn naswot(network: &Blueprint, data: &Data) -> Result<f64> {
    let batch = IMAGES.min(data.train.indices.len());
    let Discrete { graph, images, .. } = network.build(batch, None)?;
    let rectified: Vec<NodeId> =
        graph.nodes().filter(|(_, node)| node.op == Op::Relu).map(|(id, _)| id).collect();
    let mut variables = Variables::new();
    variables.initialize(&graph, &mut data.streams.once("naswot/weights"))?;
    let program = Program::inference(&graph, &rectified, Statistics::Batch)?;
    let mut executor = Executor::new(program, &data.device.in_f32())?;
    let source = BatchSource { batch, stored: None, ..data.train.clone() };
    let first = source.in_order(batch)?.next();
    let first = first
        .ok_or_else(|| TrainError::Settings("search: there are no training images".into()))?
        .map_err(TrainError::Data)?;
    executor.run(&mut variables, &[(images, first.feed())])?;
    let mut kernel = Kernel::new(batch);
    for &id in &rectified {
        kernel.add(&executor.value(id)?);
    }
    Ok(kernel.log_determinant())
}

/// K_H: for every two images the units in which their binary codes agree.
struct Kernel {
    images: usize,
    /// `[images, images]`, row-major.
    agreements: Vec<u64>,
}

impl Kernel {
    fn new(images: usize) -> Self {
        Self { images, agreements: vec![0; images * images] }
    }

    /// Adds the units of a layer: `[images, units]`, row-major.
    fn add(&mut self, values: &[f32]) {
        let units = values.len() / self.images;
        let code = |values: &[f32]| -> Vec<u64> {
            let word = |values: &[f32]| {
                values.iter().fold(0, |word, &value| word << 1 | u64::from(value > 0.0))
            };
            values.chunks(u64::BITS as usize).map(word).collect()
        };
        let codes: Vec<Vec<u64>> = values.chunks_exact(units).map(code).collect();
        for (i, a) in codes.iter().enumerate() {
            for (j, b) in codes[..=i].iter().enumerate() {
                let distance: u64 =
                    a.iter().zip(b).map(|(a, b)| u64::from((a ^ b).count_ones())).sum();
                let agreements = units as u64 - distance;
                self.agreements[i * self.images + j] += agreements;
                if i != j {
                    self.agreements[j * self.images + i] += agreements;
                }
            }
        }
    }

    /// ln |det K_H|, by elimination with partial pivoting; 0 where the determinant is 0.
    fn log_determinant(&self) -> f64 {
        let n = self.images;
        let mut rows: Vec<Vec<f64>> = self
            .agreements
            .chunks_exact(n)
            .map(|row| row.iter().map(|&v| v as f64).collect())
            .collect();
        let mut sum = 0.0;
        for column in 0..n {
            let pivot = (column..n)
                .max_by(|&a, &b| rows[a][column].abs().total_cmp(&rows[b][column].abs()));
            rows.swap(column, pivot.expect("there is a row left for every column"));
            let (done, rest) = rows.split_at_mut(column + 1);
            let top = &done[column];
            if top[column] == 0.0 {
                return 0.0;
            }
            sum += top[column].abs().ln();
            for row in rest {
                let factor = row[column] / top[column];
                row[column..]
                    .iter_mut()
                    .zip(&top[column..])
                    .for_each(|(value, above)| *value -= factor * above);
            }
        }
        sum.max(0.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::tests::black_images;
    use adwp_data::{Dataset, ImageShape, Normalization};
    use adwp_engine::Device;
    use adwp_models::{IntensiveSpace, Skeleton, Stem};
    use adwp_train::Streams;
    use std::sync::Arc;

    /// Images of noise in two halves of one class each, and a device that nobody else uses.
    pub(crate) fn noise(count: usize) -> Data {
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let labels = (0..count as u32).map(|i| i % 2).collect();
        let pixels = (0..count * shape.values())
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8)
            .collect();
        let dataset = Dataset::from_memory(
            "noise",
            ["a", "b"].map(str::to_owned).to_vec(),
            shape,
            labels,
            pixels,
        )
        .unwrap();
        let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
        let images = BatchSource {
            indices: dataset.indices(),
            dataset: Arc::new(dataset),
            normalization,
            batch: 1,
            stored: None,
        };
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
        Data::new(skeleton, &images, 0.5, Streams::new(5), &Device::cpu(1).unwrap()).unwrap()
    }

    /// Checks that scores differ between architectures and between seeds, and otherwise repeat;
    /// gives an architecture and the images for further checks.
    pub(crate) fn check_score(score: impl Fn(&Blueprint, &Data) -> f64) -> (Blueprint, Data) {
        let data = noise(48);
        let mut rng = Streams::new(1).once("architecture");
        let space = IntensiveSpace::random(3, &mut rng).unwrap();
        let [a, b] = [(); 2].map(|()| Blueprint::Cells {
            genotype: space.random_genotype(&data.target, 2, &mut rng).unwrap(),
            skeleton: data.target,
        });
        assert_eq!(score(&a, &data), score(&a, &data));
        assert_ne!(score(&a, &data), score(&b, &data));
        let other = Data { streams: Streams::new(6), ..data.clone() };
        assert_ne!(score(&a, &data), score(&a, &other));
        (a, data)
    }

    #[test]
    fn the_kernel_counts_agreements_and_its_determinant_is_known() {
        let mut kernel = Kernel::new(3);
        kernel.add(&[1.0, -1.0, 2.0, 0.5, 0.0, 3.0]);
        // Codes 10, 11 and 01.
        assert_eq!(kernel.agreements, [2, 1, 0, 1, 2, 1, 0, 1, 2]);
        assert!((kernel.log_determinant() - 4f64.ln()).abs() < 1e-12);
        // A layer of 70 units, more than a word has bits: the first two images agree in all, the
        // third has the last active as well.
        let mut layer = vec![0.0; 3 * 70];
        layer[209] = 1.0;
        kernel.add(&layer);
        assert_eq!(kernel.agreements, [72, 71, 69, 71, 72, 70, 69, 70, 72]);
        // numpy.linalg.det of these
        assert!(
            (kernel.log_determinant() - 564f64.ln()).abs() < 1e-9,
            "{}",
            kernel.log_determinant().exp()
        );
    }

    #[test]
    fn images_that_are_not_distinguished_score_nothing() {
        let mut kernel = Kernel::new(3);
        kernel.add(&[1.0, -1.0, 1.0, -1.0, -1.0, -1.0]);
        assert_eq!(kernel.log_determinant(), 0.0);
        let data = black_images(32);
        let mut rng = Streams::new(1).once("architecture");
        let genotype = IntensiveSpace::random(3, &mut rng)
            .unwrap()
            .random_genotype(&data.target, 2, &mut rng)
            .unwrap();
        let network = Blueprint::Cells { genotype, skeleton: data.target };
        assert_eq!(naswot(&network, &data).unwrap(), 0.0);
    }

    #[test]
    fn a_score_is_that_of_the_seed_and_the_architecture() {
        let (network, data) = check_score(|network, data| naswot(network, data).unwrap());
        assert!(naswot(&network, &data).unwrap() > 0.0);
    }
}
