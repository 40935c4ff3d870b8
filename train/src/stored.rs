//! Images in the memory of a GPU, which cuts the batches out of them that a phase takes.

use std::sync::{Arc, OnceLock};

use adwp_data::{Dataset, ImageShape, Normalization, Placement};
use adwp_engine::cuda::{self, ImageStore, StoredView};

use crate::Result;

/// Images of one data set that lie in the memory of a GPU from the first batch on. They are read
/// once, so image files are decoded once instead of every time that a batch has them.
#[derive(Debug)]
pub struct StoredImages {
    dataset: Arc<Dataset>,
    normalization: Normalization,
    /// Which images of the data set, ascending: the number of each in the store is its position
    /// here.
    images: Vec<u32>,
    device: cuda::Device,
    store: OnceLock<Arc<ImageStore>>,
}

/// Images that are read at a time, by all cores, while a store is filled.
const AHEAD: usize = 256;

impl StoredImages {
    /// Those images of a data set, ascending; nothing is taken before they are asked for.
    pub(crate) fn new(
        dataset: Arc<Dataset>,
        normalization: Normalization,
        images: Vec<u32>,
        device: cuda::Device,
    ) -> Self {
        Self { dataset, normalization, images, device, store: OnceLock::new() }
    }

    /// Bytes that it takes of the GPU's memory, once it is filled.
    pub fn bytes(&self) -> usize {
        ImageStore::bytes_of(self.shape(), self.images.len())
    }

    /// The store, which the first call fills.
    ///
    /// # Errors
    /// When an image cannot be read or the GPU has no room.
    pub(crate) fn store(&self) -> Result<Arc<ImageStore>> {
        if let Some(store) = self.store.get() {
            return Ok(Arc::clone(store));
        }
        let mut ahead = Vec::new();
        let read = |number: usize, out: &mut [u8]| -> Result<()> {
            let position = number % AHEAD;
            if position == 0 {
                let next = &self.images[number..self.images.len().min(number + AHEAD)];
                ahead.resize(next.len() * out.len(), 0);
                self.dataset.read_images(next, &mut ahead)?;
            }
            out.copy_from_slice(&ahead[position * out.len()..][..out.len()]);
            Ok(())
        };
        let store = ImageStore::new(
            &self.device,
            self.shape(),
            self.images.len(),
            &self.normalization.tables(),
            read,
        )?;
        Ok(Arc::clone(self.store.get_or_init(|| Arc::new(store))))
    }

    /// What a batch shows of image `index` of the data set.
    ///
    /// # Panics
    /// When it is not stored.
    pub(crate) fn place(&self, index: u32, placement: &Placement) -> StoredView {
        let image = self.images.binary_search(&index).expect("all images of a source are stored");
        let Placement { down, right, mirrored, hole_rows, hole_columns } = *placement;
        // Sizes of stored images are below 2³¹, positions below 2³²: the store refuses others.
        let range = |(from, to): (usize, usize)| (from as u32, to as u32);
        StoredView {
            image: image as u32,
            down: down as i32,
            right: right as i32,
            mirrored,
            hole_rows: range(hole_rows),
            hole_columns: range(hole_columns),
        }
    }

    fn shape(&self) -> [usize; 3] {
        let ImageShape { channels, height, width } = self.dataset.shape();
        [channels, height, width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, BatchSource, store_images, stored_bytes};
    use adwp_data::{Augmentation, AutoAugment, ColorJitter};
    use adwp_engine::{Device, Executor, Graph, Op, Program, Statistics, Variables};

    const BATCH: usize = 6;

    fn dataset(shape: ImageShape, images: usize) -> Arc<Dataset> {
        let pixels = (0..images * shape.values())
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8)
            .collect();
        let labels = (0..images as u32).map(|i| i % 2).collect();
        Arc::new(
            Dataset::from_memory(
                "t",
                ["a", "b"].map(str::to_owned).to_vec(),
                shape,
                labels,
                pixels,
            )
            .unwrap(),
        )
    }

    fn source(dataset: &Arc<Dataset>, indices: Vec<u32>) -> BatchSource {
        let channels = dataset.shape().channels;
        let normalization = Normalization {
            mean: (0..channels).map(|c| 0.3 + 0.1 * c as f32).collect(),
            std: vec![0.37; dataset.shape().channels],
        };
        BatchSource {
            dataset: Arc::clone(dataset),
            indices,
            normalization,
            batch: BATCH,
            stored: None,
        }
    }

    /// What an executor on `device` is fed with by each batch, with the labels.
    fn seen(
        batches: impl Iterator<Item = Result<Batch, adwp_data::DataError>>,
        shape: ImageShape,
        device: &Device,
    ) -> Vec<(Vec<u32>, Vec<u32>)> {
        let mut graph = Graph::new();
        let x = graph.input("x", [BATCH, shape.channels, shape.height, shape.width]).unwrap();
        let y = graph.add("y", Op::Scale { factor: 1.0 }, &[x]).unwrap();
        let program = Program::inference(&graph, &[y], Statistics::Running).unwrap();
        let mut executor = Executor::new(program, device).unwrap();
        let mut see = |batch: Result<Batch, adwp_data::DataError>| {
            let mut batch = batch.unwrap();
            batch.fill_up(BATCH);
            executor.run(&mut Variables::new(), &[(x, batch.feed())]).unwrap();
            let images = batch.labels.len() * shape.values();
            let bits =
                executor.value(y).unwrap()[..images].iter().map(|value| value.to_bits()).collect();
            (batch.labels, bits)
        };
        batches.map(&mut see).collect()
    }

    #[test]
    fn nothing_is_stored_for_the_cpu() {
        let mut images =
            source(&dataset(ImageShape { channels: 1, height: 2, width: 2 }, 4), vec![0, 1]);
        store_images(&mut [&mut images], &Device::cpu(1).unwrap()).unwrap();
        assert!(images.stored.is_none());
        assert_eq!(stored_bytes(&[&images]), 0);
    }

    const OF_PLACES: Augmentation =
        Augmentation { crop_padding: 3, flip: true, cutout: 4, ..Augmentation::NONE };
    /// Changes that a GPU cannot make.
    const OF_PIXELS: [Augmentation; 3] = [
        Augmentation { resized_crop: 0.08, ..OF_PLACES },
        Augmentation { auto_augment: AutoAugment::Cifar10, ..OF_PLACES },
        Augmentation {
            color_jitter: ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
            ..OF_PLACES
        },
    ];

    #[test]
    fn batches_of_changed_pixels_are_the_same_again_and_counted_with_their_pixels() {
        let shape = ImageShape { channels: 3, height: 8, width: 8 };
        let images = source(&dataset(shape, 40), (0..40).collect());
        let cpu = Device::cpu(1).unwrap();
        let epoch =
            |augmentation| seen(images.shuffled(augmentation, 7, 2, 1).unwrap(), shape, &cpu);
        for augmentation in OF_PIXELS {
            assert!(
                epoch(augmentation) == epoch(augmentation)
                    && epoch(augmentation) != epoch(OF_PLACES)
            );
            assert!(
                images.bytes_in_flight(&augmentation)
                    > 5 * BATCH * shape.values() * size_of::<f32>()
            );
        }
    }

    #[test]
    fn a_gpu_cuts_out_the_bits_that_the_host_prepares() {
        // The same switch as that of the engine's tests.
        if std::env::var("ADWP_TEST_DEVICE").as_deref() != Ok("cuda") {
            return;
        }
        let (cpu, gpu) = (Device::cpu(1).unwrap(), Device::from(cuda::Device::open(0).unwrap()));
        for (channels, height, width) in [(3, 8, 12), (1, 7, 9)] {
            let shape = ImageShape { channels, height, width };
            let dataset = dataset(shape, 60);
            let halves = [
                source(&dataset, (0..40).rev().step_by(2).collect()),
                source(&dataset, (1..40).step_by(2).collect()),
            ];
            let mut stored = halves.clone();
            let [first, second] = &mut stored;
            store_images(&mut [first, second], &gpu).unwrap();
            for (on_host, on_gpu) in halves.iter().zip(&stored) {
                let of_places = [
                    Augmentation::NONE,
                    OF_PLACES,
                    Augmentation {
                        crop_padding: usize::MAX,
                        flip: false,
                        cutout: usize::MAX,
                        ..Augmentation::NONE
                    },
                ];
                assert!(
                    of_places
                        .iter()
                        .all(|places| on_gpu.bytes_in_flight(places)
                            < on_host.bytes_in_flight(places))
                );
                assert!(OF_PIXELS.iter().all(
                    |pixels| on_gpu.bytes_in_flight(pixels) == on_host.bytes_in_flight(pixels)
                ));
                for augmentation in of_places.into_iter().chain(OF_PIXELS) {
                    let epoch = |source: &BatchSource, device| {
                        seen(source.shuffled(augmentation, 7, 2, 1).unwrap(), shape, device)
                    };
                    assert!(
                        epoch(on_host, &cpu) == epoch(on_gpu, &gpu),
                        "{shape}, {augmentation:?}"
                    );
                }
                let all =
                    |source: &BatchSource, device| seen(source.in_order(0).unwrap(), shape, device);
                assert!(
                    all(on_host, &cpu) == all(on_gpu, &gpu),
                    "{shape}, with a last batch that is not full"
                );
            }
        }
    }

    #[test]
    fn sources_of_one_data_set_share_what_they_have_of_it() {
        if std::env::var("ADWP_TEST_DEVICE").as_deref() != Ok("cuda") {
            return;
        }
        let gpu = Device::from(cuda::Device::open(0).unwrap());
        let shape = ImageShape { channels: 1, height: 4, width: 4 };
        let (one, other) = (dataset(shape, 10), dataset(shape, 3));
        let [mut a, mut b, mut c] =
            [source(&one, vec![8, 2]), source(&other, vec![0]), source(&one, vec![2, 5])];
        store_images(&mut [&mut a, &mut b, &mut c], &gpu).unwrap();
        let [of_a, of_b, of_c] = [&a, &b, &c].map(|source| source.stored.as_ref().unwrap());
        assert!(Arc::ptr_eq(of_a, of_c) && !Arc::ptr_eq(of_a, of_b));
        assert_eq!(of_a.images, [2, 5, 8]);
        assert_eq!(
            stored_bytes(&[&a, &b, &c]),
            (3 + 1) * shape.values() + 2 * 256 * size_of::<f32>()
        );
        assert!(of_a.store.get().is_none(), "nothing is taken before a batch is asked for");
        assert!(Arc::ptr_eq(&of_a.store().unwrap(), &of_c.store().unwrap()));
    }
}
