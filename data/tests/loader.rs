//! Loaders: order, reproducibility, errors, and that threads end.

mod common;

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adwp_data::{
    Augmentation, AutoAugment, Batch, ColorJitter, DataError, Dataset, DatasetKind, ImageShape,
    Loader, LoaderConfig, Normalization, OpenOptions, Order, Splits, epoch_order, open,
};
use common::{numbered, write_image_folder};
use tempfile::TempDir;

fn normalization() -> Normalization {
    Normalization::of(DatasetKind::Cifar10)
}

fn training(dataset: &Arc<Dataset>) -> LoaderConfig {
    LoaderConfig {
        augmentation: Augmentation { crop_padding: 2, flip: true, cutout: 2, ..Augmentation::NONE },
        order: Order::Shuffled,
        seed: 11,
        epoch: 3,
        ..LoaderConfig::sequential(Arc::clone(dataset), normalization(), 7)
    }
}

/// Everything that can happen to an image.
const ALL: Augmentation = Augmentation {
    resized_crop: 0.08,
    crop_padding: 2,
    flip: true,
    auto_augment: AutoAugment::Cifar10,
    color_jitter: ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
    cutout: 2,
};

fn collect(config: LoaderConfig) -> Vec<Batch> {
    Loader::new(config).unwrap().map(Result::unwrap).collect()
}

/// The loader does not take these settings, and says why.
#[track_caller]
fn refused(config: LoaderConfig, why: &str) {
    match Loader::new(config) {
        Ok(_) => panic!("the loader accepted it"),
        Err(error) => assert!(error.to_string().contains(why), "{error}"),
    }
}

/// A folder of images, and its splits at a size.
fn images(size: usize) -> (TempDir, Splits) {
    let dir = tempfile::tempdir().unwrap();
    write_image_folder(dir.path());
    let options = OpenOptions { image_size: Some(size), ..OpenOptions::default() };
    let splits = open(DatasetKind::ImageFolder, Some(dir.path()), &options).unwrap();
    (dir, splits)
}

#[test]
fn evaluation_gives_every_image_once_normalised_and_in_order() {
    let data = numbered(20);
    let batches = collect(LoaderConfig::sequential(Arc::clone(&data), normalization(), 7));
    assert_eq!(batches.iter().map(|batch| batch.labels.len()).collect::<Vec<_>>(), [7, 7, 6]);
    let indices: Vec<u32> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(indices, data.indices());
    let labels: Vec<u32> = batches.iter().flat_map(|batch| batch.labels.clone()).collect();
    assert_eq!(labels, data.labels());

    let images: Vec<f32> = batches.into_iter().flat_map(|batch| batch.images).collect();
    let mut pixels = vec![0; data.shape().values()];
    let mut expected = vec![0.0; pixels.len()];
    for (index, image) in images.chunks_exact(pixels.len()).enumerate() {
        data.read_image(index, &mut pixels).unwrap();
        normalization().apply(&pixels, &mut expected).unwrap();
        assert_eq!(image, expected);
    }
    assert_eq!(images.len(), 20 * pixels.len());
}

#[test]
fn threads_and_prefetch_change_nothing() {
    let data = numbered(100);
    for augmentation in [training(&data).augmentation, ALL] {
        let expected = collect(LoaderConfig { augmentation, ..training(&data) });
        for (threads, prefetch) in [(1, 1), (2, 1), (2, 3), (8, 2), (5, 100), (0, 0)] {
            let found =
                collect(LoaderConfig { threads, prefetch, augmentation, ..training(&data) });
            assert!(found == expected, "{threads}, {prefetch}");
        }
    }
}

#[test]
fn changes_of_no_effect_leave_every_bit() {
    let shape = ImageShape { channels: 3, height: 8, width: 8 };
    let pixels = (0..50 * shape.values()).map(|i| (i * 7 % 251) as u8).collect();
    let data = Arc::new(
        Dataset::from_memory("square", vec!["a".to_owned()], shape, vec![0; 50], pixels).unwrap(),
    );
    let plain = training(&data);
    let expected = collect(plain.clone());
    // Only the whole of a square has all of its area and fits into it; and the factors differ from
    // 1 by less than a number shows.
    let whole = Augmentation { resized_crop: 1.0, ..plain.augmentation };
    let faint = ColorJitter { brightness: 1e-9, contrast: 1e-9, saturation: 1e-9, hue: 0.0 };
    let faint = Augmentation { color_jitter: faint, ..plain.augmentation };
    for augmentation in [whole, faint] {
        assert!(augmentation.changes_pixels());
        assert!(
            collect(LoaderConfig { augmentation, ..plain.clone() }) == expected,
            "{augmentation:?}"
        );
    }
}

#[test]
fn changes_of_pixels_leave_placements_and_come_before_normalisation_and_holes() {
    for (data, normalization) in [
        (numbered(100), normalization()),
        (
            open(DatasetKind::Sample, None, &OpenOptions::default()).unwrap().train,
            Normalization::of(DatasetKind::Sample),
        ),
    ] {
        let (shape, tables) = (data.shape(), normalization.tables());
        let config = LoaderConfig { indices: (0..100).collect(), normalization, ..training(&data) };
        let plain = collect(config.clone());
        let changed = collect(LoaderConfig { augmentation: ALL, ..config });
        for (plain, changed) in plain.iter().zip(&changed) {
            assert!(plain.indices == changed.indices && plain.placements == changed.placements);
            assert_ne!(plain.images, changed.images);
            for (image, placement) in
                changed.images.chunks_exact(shape.values()).zip(&changed.placements)
            {
                for (at, &value) in image.iter().enumerate() {
                    let (channel, y, x) = (
                        at / shape.width / shape.height,
                        at / shape.width % shape.height,
                        at % shape.width,
                    );
                    let within =
                        |(from, to): (usize, usize), position| (from..to).contains(&position);
                    let is_hole =
                        within(placement.hole_rows, y) && within(placement.hole_columns, x);
                    assert!(
                        if is_hole { value == 0.0 } else { tables[channel].contains(&value) },
                        "{channel}, {y}, {x}: {value}"
                    );
                }
            }
        }
    }
}

#[test]
fn images_of_a_folder_are_cropped_from_the_whole_picture() {
    let (_dir, splits) = images(16);
    let augmentation = Augmentation { resized_crop: 0.08, ..Augmentation::NONE };
    let config = LoaderConfig {
        indices: vec![0; 1000],
        augmentation,
        threads: 2,
        ..LoaderConfig::sequential(splits.train.clone(), splits.normalization, 50)
    };
    let tables = config.normalization.tables();
    // The first quadrant of the picture is red, the second green: crops of one colour come from
    // parts of it, others show several.
    let red = |image: &[f32]| {
        image[..256].iter().all(|&v| v > tables[0][180])
            && image[256..512].iter().all(|&v| v < tables[1][60])
    };
    let whole = |image: &[f32]| {
        image[0] > tables[0][180] && image[15] < tables[0][60] && image[255] > tables[0][220]
    };
    let batches = collect(config);
    let images: Vec<&[f32]> =
        batches.iter().flat_map(|batch| batch.images.chunks_exact(768)).collect();
    let (reds, wholes) = (
        images.iter().filter(|image| red(image)).count(),
        images.iter().filter(|image| whole(image)).count(),
    );
    assert!(reds > 5 && wholes > 500 && reds + wholes < 1000, "{reds}, {wholes}");
}

#[test]
fn without_pixels_batches_are_the_same_but_for_them() {
    let data = numbered(100);
    let with = collect(training(&data));
    let without = collect(LoaderConfig { pixels: false, ..training(&data) });
    assert!(
        with.iter()
            .flat_map(|batch| &batch.placements)
            .any(|placement| placement.mirrored && placement.down < 0)
    );
    let bare: Vec<Batch> =
        with.into_iter().map(|batch| Batch { images: Vec::new(), ..batch }).collect();
    assert!(without == bare);
}

#[test]
fn an_epoch_goes_on_where_it_was_interrupted() {
    let data = numbered(100);
    for augmentation in [training(&data).augmentation, ALL] {
        let whole = collect(LoaderConfig { augmentation, ..training(&data) });
        for first_batch in 0..=whole.len() {
            let rest = collect(LoaderConfig {
                first_batch,
                threads: 3,
                prefetch: 4,
                augmentation,
                ..training(&data)
            });
            assert!(rest == whole[first_batch..], "from {first_batch}");
        }
    }
    refused(LoaderConfig { first_batch: 16, ..training(&data) }, "the epoch has 15 batches");
}

#[test]
fn seed_and_epoch_change_order_and_augmentation() {
    let data = numbered(100);
    let base = collect(training(&data));
    let pixels = |seed, epoch| {
        let augmentation = Augmentation {
            auto_augment: AutoAugment::Imagenet,
            color_jitter: ALL.color_jitter,
            ..Augmentation::NONE
        };
        collect(LoaderConfig {
            seed,
            epoch,
            augmentation,
            order: Order::Sequential,
            ..training(&data)
        })
    };
    assert!(pixels(11, 3) != pixels(12, 3) && pixels(11, 3) != pixels(11, 4));
    for other in
        [LoaderConfig { seed: 12, ..training(&data) }, LoaderConfig { epoch: 4, ..training(&data) }]
    {
        let unshuffled = LoaderConfig { order: Order::Sequential, ..other.clone() };
        let batches = collect(other);
        assert_ne!(batches[0].indices, base[0].indices);
        let mut all: Vec<u32> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
        all.sort_unstable();
        assert_eq!(all, data.indices(), "a permutation");
        let in_order = collect(LoaderConfig { order: Order::Sequential, ..training(&data) });
        assert_ne!(collect(unshuffled)[0].images, in_order[0].images);
    }
}

#[test]
fn neither_batches_nor_positions_share_their_chance() {
    // The same image at every place: were two places augmented from the same draws, they would be
    // equal throughout.
    let data = numbered(1);
    let jitter = Augmentation { color_jitter: ALL.color_jitter, ..Augmentation::NONE };
    for augmentation in [training(&data).augmentation, jitter] {
        let batches = collect(LoaderConfig {
            indices: vec![0; 400],
            batch_size: 20,
            augmentation,
            ..training(&data)
        });
        let images: Vec<&[f32]> =
            batches.iter().flat_map(|batch| batch.images.chunks_exact(60)).collect();
        let distinct: HashSet<Vec<u32>> =
            images.iter().map(|image| image.iter().map(|v| v.to_bits()).collect()).collect();
        // 25 crops, 2 directions, 20 holes: of 400 draws at least half differ.
        assert!(distinct.len() > 200, "{}", distinct.len());
        assert_ne!(batches[0].images, batches[1].images);
    }
}

#[test]
fn the_order_is_that_of_epoch_order_over_the_indices_given() {
    let data = numbered(50);
    let indices: Vec<u32> = (10..40).collect();
    let batches = collect(LoaderConfig { indices: indices.clone(), ..training(&data) });
    let seen: Vec<u32> = batches.iter().flat_map(|batch| batch.indices.clone()).collect();
    assert_eq!(seen, epoch_order(indices, Order::Shuffled, 11, 3));
    for batch in &batches {
        assert!(
            batch
                .indices
                .iter()
                .zip(&batch.labels)
                .all(|(&i, &label)| data.label(i as usize) == Some(label))
        );
    }
}

#[test]
fn the_last_batch_can_be_dropped() {
    let data = numbered(20);
    let loader = Loader::new(LoaderConfig { drop_last: true, ..training(&data) }).unwrap();
    assert_eq!((loader.len(), loader.batches_per_epoch()), (2, 2));
    assert!(loader.map(Result::unwrap).all(|batch| batch.labels.len() == 7));
    assert_eq!(collect(LoaderConfig { drop_last: true, batch_size: 21, ..training(&data) }), []);
    assert_eq!(collect(LoaderConfig { indices: vec![], ..training(&data) }), []);
}

#[test]
fn the_length_counts_down() {
    let data = numbered(20);
    let mut loader = Loader::new(LoaderConfig { first_batch: 1, ..training(&data) }).unwrap();
    assert_eq!((loader.len(), loader.batches_per_epoch()), (2, 3));
    loader.next().unwrap().unwrap();
    assert_eq!(loader.len(), 1);
    loader.next().unwrap().unwrap();
    assert!(loader.next().is_none());
    assert!(loader.next().is_none());
}

#[test]
fn dropping_a_loader_ends_its_threads() {
    let data = numbered(1000);
    for taken in [0, 1, 5] {
        for (threads, prefetch) in [(1, 1), (4, 1), (4, 8), (16, 64)] {
            let mut loader =
                Loader::new(LoaderConfig { batch_size: 4, threads, prefetch, ..training(&data) })
                    .unwrap();
            for _ in 0..taken {
                loader.next().unwrap().unwrap();
            }
            if taken == 1 {
                // Long enough for the queue to fill and the threads to wait.
                std::thread::sleep(Duration::from_millis(20));
            }
            drop(loader);
            assert_eq!(Arc::strong_count(&data), 1, "a thread still holds the data set");
        }
    }
}

#[test]
fn dropping_does_not_wait_for_a_batch_to_be_finished() {
    let (_dir, splits) = images(1024);
    let normalization = splits.normalization.clone();
    // One batch of images enough for minutes; of its memory nothing is touched that is not written.
    let config = LoaderConfig {
        indices: vec![0; 1000],
        threads: 2,
        ..LoaderConfig::sequential(splits.train.clone(), normalization, 1000)
    };
    let loader = Loader::new(config).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    drop(loader);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(Arc::strong_count(&splits.train), 1);
}

#[test]
fn an_unreadable_image_costs_its_batch_only() {
    let (dir, splits) = images(16);
    let broken = dir.path().join("train/cat/1.JPEG");
    fs::write(&broken, "no image").unwrap();
    let config = LoaderConfig {
        threads: 3,
        prefetch: 3,
        ..LoaderConfig::sequential(splits.train, splits.normalization, 1)
    };
    let results: Vec<Result<Batch, DataError>> = Loader::new(config).unwrap().collect();
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert!(matches!(&results[1], Err(DataError::UnknownFormat { path, .. }) if *path == broken));
    assert_eq!(results[3].as_ref().unwrap().index, 3);
}

#[test]
fn the_first_unreadable_image_of_a_batch_is_told_whichever_is_found_first() {
    let (dir, splits) = images(16);
    for (broken, content) in [("train/cat/1.JPEG", "no image"), ("train/dog/0.JPEG", "")] {
        fs::write(dir.path().join(broken), content).unwrap();
    }
    for threads in [1, 4] {
        let indices: Vec<u32> =
            [0, 3].into_iter().chain([2, 1].into_iter().cycle().take(60)).collect();
        let config = LoaderConfig {
            indices,
            threads,
            augmentation: ALL,
            ..LoaderConfig::sequential(splits.train.clone(), splits.normalization.clone(), 100)
        };
        let error = Loader::new(config).unwrap().next().unwrap().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("train/dog/0.JPEG: cannot be read as an image: the file is empty"),
            "{error}"
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let data = numbered(20);
    let augmentation = Augmentation { resized_crop: 1.5, ..Augmentation::NONE };
    refused(LoaderConfig { augmentation, ..training(&data) }, "resized_crop = 1.5");
    refused(
        LoaderConfig { augmentation: ALL, pixels: false, ..training(&data) },
        "batches need pixels",
    );
    let shape = ImageShape { channels: 2, height: 2, width: 2 };
    let two = Arc::new(
        Dataset::from_memory("two", vec!["a".to_owned()], shape, vec![0], vec![0; 8]).unwrap(),
    );
    let of_two = Normalization { mean: vec![0.5; 2], std: vec![0.5; 2] };
    refused(
        LoaderConfig { augmentation: ALL, ..LoaderConfig::sequential(two, of_two, 1) },
        "not of 2x2x2",
    );
    refused(LoaderConfig { batch_size: 0, ..training(&data) }, "batch size is 0");
    refused(LoaderConfig { indices: vec![3, 20], ..training(&data) }, "there is no image 20");
    let gray = Normalization::of(DatasetKind::FashionMnist);
    refused(LoaderConfig { normalization: gray, ..training(&data) }, "constants for 1 channels");
    let zero = Normalization { std: vec![1.0, 0.0, 1.0], ..normalization() };
    refused(LoaderConfig { normalization: zero, ..training(&data) }, "standard deviation 0");
}

#[test]
fn the_whole_sample_can_be_loaded() {
    let splits = open(DatasetKind::Sample, None, &OpenOptions::default()).unwrap();
    let config = LoaderConfig {
        threads: 2,
        prefetch: 4,
        augmentation: Augmentation::CIFAR,
        ..LoaderConfig::sequential(splits.train.clone(), splits.normalization, 256)
    };
    let batches = collect(config);
    assert_eq!(batches.iter().map(|batch| batch.labels.len()).sum::<usize>(), 6000);
    assert!(batches.iter().all(|batch| batch.images.iter().all(|v| v.is_finite())));
}
