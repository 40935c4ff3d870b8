//! Small data sets that the tests write themselves.
#![allow(dead_code, reason = "every test binary uses another part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adwp_data::{DataError, Dataset, ImageShape};

/// A picture that was committed.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A CIFAR record: label bytes, then 3,072 pixels of one value.
pub(crate) fn record(labels: &[u8], value: u8) -> Vec<u8> {
    let mut bytes = labels.to_vec();
    bytes.extend([value; 3072]);
    bytes
}

/// CIFAR-10 with two records in each file: labels i and i + 1 for file i, pixels 10 i and 10 i + 1.
pub(crate) fn write_cifar10(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for i in 0..6_u8 {
        let name =
            if i == 5 { "test_batch.bin".to_owned() } else { format!("data_batch_{}.bin", i + 1) };
        fs::write(dir.join(name), [record(&[i], 10 * i), record(&[i + 1], 10 * i + 1)].concat())
            .unwrap();
    }
}

/// An idx file: magic, dimensions, content.
pub(crate) fn idx(magic: u32, dimensions: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        [&[magic], dimensions].concat().iter().flat_map(|v| v.to_be_bytes()).collect();
    bytes.extend(content);
    bytes
}

/// Fashion-MNIST with three training images and two test images.
pub(crate) fn write_fashion_mnist(dir: &Path) {
    for (stem, labels) in [("train", &[3, 9, 0][..]), ("t10k", &[1, 2][..])] {
        let n = labels.len() as u32;
        let pixels: Vec<u8> = (0..n * 784).map(|i| (i / 784 * 50 + 3 - n) as u8).collect();
        fs::write(dir.join(format!("{stem}-images-idx3-ubyte")), idx(0x803, &[n, 28, 28], &pixels))
            .unwrap();
        fs::write(dir.join(format!("{stem}-labels-idx1-ubyte")), idx(0x801, &[n], labels)).unwrap();
    }
}

/// An image folder with classes `cat` and `dog`: two training images and one test image of each.
/// Training images are all the same picture, test images another.
pub(crate) fn write_image_folder(dir: &Path) {
    for (split, count, picture) in [("train", 2, "rgb.jpg"), ("val", 1, "turned.jpg")] {
        for class in ["cat", "dog"] {
            let folder = dir.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                fs::copy(fixture(picture), folder.join(format!("{i}.JPEG"))).unwrap();
            }
        }
    }
}

/// `n` images of 3x4x5 whose pixels tell them apart.
pub(crate) fn numbered(n: u32) -> Arc<Dataset> {
    let shape = ImageShape { channels: 3, height: 4, width: 5 };
    let pixels = (0..n as usize * shape.values()).map(|i| (i * 7 % 251) as u8).collect();
    let classes = (0..4).map(|c| format!("c{c}")).collect();
    Arc::new(
        Dataset::from_memory("numbered", classes, shape, (0..n).map(|i| i % 4).collect(), pixels)
            .unwrap(),
    )
}

/// The message, after checking that there is a hint with `advice` in it.
pub(crate) fn message(error: &DataError, advice: &str) -> String {
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(advice), "the hint of `{error}` is `{hint}`");
    error.to_string()
}
