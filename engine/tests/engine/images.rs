//! Batches that a GPU cuts out of images in its memory. Run where `ADWP_TEST_DEVICE` is `cuda`.

use adwp_engine::cuda::{self, ImageStore, StoredView};
use adwp_engine::{
    Device, EngineError, Executor, Feed, Graph, NodeId, Op, Program, Result, Statistics, Variables,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cuda::gpu;

const IMAGES: usize = 5;
const BATCH: usize = 6;

/// Distinct bytes for every pixel of a channel, as far as they reach.
fn pixel(image: usize, at: usize) -> u8 {
    (1 + image * 37 + at * 11) as u8
}

fn tables(channels: usize) -> Vec<[f32; 256]> {
    (0..channels).map(|c| std::array::from_fn(|v| v as f32 + 1000.0 * c as f32 + 0.5)).collect()
}

fn store(device: &cuda::Device, shape: [usize; 3]) -> ImageStore {
    ImageStore::new(device, shape, IMAGES, &tables(shape[0]), |image, out| {
        out.iter_mut().enumerate().for_each(|(at, out)| *out = pixel(image, at));
        Ok::<(), EngineError>(())
    })
    .unwrap()
}

/// The image at a place, value by value.
fn expected(place: StoredView, [channels, height, width]: [usize; 3]) -> Vec<f32> {
    let tables = tables(channels);
    let inside = |(from, to): (u32, u32), at: usize| (from as usize..to as usize).contains(&at);
    let value = |c: usize, row: usize, column: usize| {
        if inside(place.hole_rows, row) && inside(place.hole_columns, column) {
            return 0.0;
        }
        let y = row as i64 + i64::from(place.down);
        let x = (if place.mirrored { width - 1 - column } else { column }) as i64
            + i64::from(place.right);
        let is_there = (0..height as i64).contains(&y) && (0..width as i64).contains(&x);
        let byte = if is_there {
            pixel(place.image as usize, (c * height + y as usize) * width + x as usize)
        } else {
            0
        };
        tables[c][byte as usize]
    };
    (0..channels)
        .flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
        .map(|(c, y, x)| value(c, y, x))
        .collect()
}

/// A program that gives its input back.
fn same(shape: [usize; 3]) -> (Program, NodeId, NodeId) {
    let mut graph = Graph::new();
    let x = graph.input("x", [BATCH, shape[0], shape[1], shape[2]]).unwrap();
    let y = graph.add("y", Op::Scale { factor: 1.0 }, &[x]).unwrap();
    (Program::inference(&graph, &[y], Statistics::Running).unwrap(), x, y)
}

fn random_place([_, height, width]: [usize; 3], rng: &mut ChaCha8Rng) -> StoredView {
    let mut range = |size: usize| {
        let (a, b) = (rng.random_range(0..=size as u32), rng.random_range(0..=size as u32));
        (a.min(b), a.max(b))
    };
    let (hole_rows, hole_columns) = (range(height), range(width));
    let mut shift = |size: usize| rng.random_range(-(size as i32)..=size as i32);
    let (down, right) = (shift(height), shift(width));
    StoredView {
        image: rng.random_range(0..IMAGES as u32),
        down,
        right,
        mirrored: rng.random(),
        hole_rows,
        hole_columns,
    }
}

#[test]
fn every_pixel_is_the_one_of_its_place() {
    let Some(device) = gpu() else { return };
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for shape in [[3, 8, 12], [2, 5, 7], [1, 1, 1], [3, 33, 32]] {
        let (images, (program, x, y)) = (store(&device, shape), same(shape));
        let mut executor = Executor::new(program, &device.clone().into()).unwrap();
        // More than two runs: later ones are replayed.
        for _ in 0..4 {
            let mut places: Vec<StoredView> =
                (0..BATCH).map(|_| random_place(shape, &mut rng)).collect();
            places[0] = StoredView { image: 1, ..StoredView::default() };
            places[1] = StoredView {
                down: i32::MIN,
                right: i32::MAX,
                hole_rows: (0, u32::MAX),
                ..places[1]
            };
            executor
                .run(
                    &mut Variables::new(),
                    &[(x, Feed::Stored { images: &images, places: &places })],
                )
                .unwrap();
            let wanted: Vec<f32> =
                places.iter().flat_map(|&place| expected(place, shape)).collect();
            assert!(*executor.value(y).unwrap() == wanted, "{shape:?}: {places:?}");
        }
    }
}

#[test]
fn images_that_do_not_fit_the_input_are_refused() {
    let Some(device) = gpu() else { return };
    let shape = [3, 4, 6];
    let (images, places) = (store(&device, shape), [StoredView::default(); BATCH]);
    let run = |device: Device, shape, places: &[StoredView]| -> Result<()> {
        let (program, x, _) = same(shape);
        Executor::new(program, &device)?
            .run(&mut Variables::new(), &[(x, Feed::Stored { images: &images, places })])
    };
    let on = |device: &cuda::Device| Device::from(device.clone());
    assert!(run(on(&device), shape, &places).is_ok());
    assert!(matches!(
        run(on(&device), shape, &places[1..]),
        Err(EngineError::Feed { expected: 432, found: 360, .. })
    ));
    let refused = |result: Result<()>| match result {
        Err(EngineError::StoredImages(detail)) => detail,
        other => panic!("{other:?}"),
    };
    assert!(refused(run(on(&device), [3, 6, 4], &places)).contains("the images are [3, 4, 6]"));
    let beyond = [StoredView { image: IMAGES as u32, ..StoredView::default() }; BATCH];
    assert!(refused(run(on(&device), shape, &beyond)).contains("no image 5"));
    assert!(
        refused(run(on(&cuda::Device::open(0).unwrap()), shape, &places))
            .contains("another device")
    );
    assert!(refused(run(Device::cpu(1).unwrap(), shape, &places)).contains("on the CPU"));
}

#[test]
fn stores_that_cannot_be_are_refused() {
    let Some(device) = gpu() else { return };
    let make = |shape, channels| {
        ImageStore::new(&device, shape, 1, &tables(channels), |_, _| Ok::<(), EngineError>(()))
    };
    assert!(matches!(make([2, 4, 4], 1), Err(EngineError::StoredImages(_))));
    assert!(matches!(make([1, 0, 4], 1), Err(EngineError::StoredImages(_))));
    assert!(matches!(make([1, 1 << 16, 1 << 16], 1), Err(EngineError::StoredImages(_))));
    let unreadable = ImageStore::new(&device, [1, 4, 4], 2, &tables(1), |image, _| match image {
        0 => Ok(()),
        _ => Err(EngineError::UnknownNode("its file".to_owned())),
    });
    assert!(matches!(unreadable, Err(EngineError::UnknownNode(_))));
}
