//! Every kind of WebP, BMP, GIF, TIFF, QOI and turned PNG, held against the pixels of Pillow:
//! fixtures/make_formats.py.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use adwp_data::{
    DataError, Framing, ImageShape, LeftOut, Reason, decode_image, decode_image_bytes, images_in,
};
use common::{fixture, message};
use tempfile::tempdir;

struct Expected {
    name: String,
    shape: ImageShape,
    /// u8 [height, width, 3]
    pixels: Vec<u8>,
}

fn path(name: &str) -> PathBuf {
    fixture("formats").join(name)
}

fn expected() -> Vec<Expected> {
    let text = fs::read_to_string(path("pixels.txt")).unwrap();
    let line = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let (width, height) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        let byte = |at: usize| u8::from_str_radix(&parts[3][at..at + 2], 16).unwrap();
        Expected {
            name: parts[0].to_owned(),
            shape: ImageShape { channels: 3, height, width },
            pixels: (0..parts[3].len()).step_by(2).map(byte).collect(),
        }
    };
    text.lines().map(line).collect()
}

/// How far a value may be from Pillow's: lossy formats are decoded by other code, and five bits are
/// made eight in more than one way.
fn tolerance(name: &str) -> u8 {
    match name {
        name if name.starts_with("lossy") => 3,
        "alpha1.tif" | "cmyk.tif" | "555.bmp" | "565.bmp" => 1,
        _ => 0,
    }
}

/// Decoded in its own size, as u8 [height, width, 3].
fn pixels(path: &Path, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    let planes = decode_image(path, shape)?;
    let size = shape.height * shape.width;
    Ok((0..size).flat_map(|at| [planes[at], planes[size + at], planes[2 * size + at]]).collect())
}

#[test]
fn every_kind_gives_the_pixels_of_pillow() {
    let all = expected();
    assert!(all.len() > 70, "{} files", all.len());
    let mut wrong = Vec::new();
    for Expected { name, shape, pixels: expected } in all {
        match pixels(&path(&name), shape) {
            Ok(found) => {
                let far = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                if far > tolerance(&name) {
                    wrong.push(format!("{name}: off by {far}\n  {found:?}\n  {expected:?}"));
                }
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn content_decides_and_not_the_ending() {
    let dir = tempdir().unwrap();
    for Expected { name, shape, pixels: expected } in expected() {
        for ending in ["jpg", "png", "tif", "webp"] {
            let copy = dir.path().join(format!("x.{ending}"));
            fs::copy(path(&name), &copy).unwrap();
            let found = pixels(&copy, shape).unwrap();
            let far = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(far <= tolerance(&name), "{name} as {ending}");
        }
    }
}

#[test]
fn tiff_files_of_other_samples_are_refused_by_a_sentence() {
    let shape = ImageShape { channels: 3, height: 5, width: 7 };
    for (name, what) in [
        ("float.tif", "signed or floating-point samples"),
        ("int32.tif", "signed or floating-point samples"),
        ("lab.tif", "CIELab"),
        ("gray-alpha-jpeg.tif", "a JPEG of 2 samples"),
    ] {
        let error = decode_image(&path(name), shape).unwrap_err();
        let text = message(&error, "replace or remove");
        assert!(text.contains(what) && text.contains("convert it to 8 bits"), "{text}");
    }
}

#[test]
fn what_the_first_picture_of_a_gif_does_not_cover_is_black() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("x.gif");
    let mut gif = fs::read(path("palette.gif")).unwrap();
    // A screen of 9x6, with the picture in its corner above to the left.
    gif[6] = 9;
    gif[8] = 6;
    fs::write(&file, gif).unwrap();
    let all = expected();
    let whole = all.iter().find(|expected| expected.name == "palette.gif").unwrap();
    let found = pixels(&file, ImageShape { channels: 3, height: 6, width: 9 }).unwrap();
    for (y, row) in found.chunks_exact(9 * 3).enumerate() {
        let (inside, outside) = row.split_at(7 * 3);
        match whole.pixels.chunks_exact(7 * 3).nth(y) {
            Some(expected) => assert_eq!(inside, expected),
            None => assert_eq!(inside, [0; 21]),
        }
        assert_eq!(outside, [0; 6]);
    }
}

#[test]
fn cut_and_damaged_files_never_panic_and_cut_ones_are_errors() {
    for Expected { name, shape, .. } in expected() {
        let whole = fs::read(path(&name)).unwrap();
        let decoded =
            |content: &[u8]| decode_image_bytes(Path::new("x"), content, shape, Framing::Cover);
        let right = decoded(&whole).unwrap();
        for end in (0..whole.len()).step_by(3) {
            // What follows the first picture is not needed, and neither is a mark of the end.
            if let Ok(cut) = decoded(&whole[..end]) {
                let is_metadata = name.starts_with("turned");
                assert!(cut == right || is_metadata, "{name}: {end} of {} bytes", whole.len());
            }
        }
        for at in (0..whole.len()).step_by(2) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x5a;
            let _ = decoded(&damaged);
        }
    }
}

/// A file that claims `side` pixels on each side, by the offsets and the order of its bytes.
fn giant(name: &str, side: u32, places: &[usize], bytes: usize, is_big: bool) -> Vec<u8> {
    let mut file = fs::read(path(name)).unwrap();
    let value = if is_big { side.to_be_bytes() } else { side.to_le_bytes() };
    for &at in places {
        let value = if is_big { &value[4 - bytes..] } else { &value[..bytes] };
        file[at..at + bytes].copy_from_slice(value);
    }
    file
}

#[test]
fn a_small_file_cannot_claim_the_memory() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("x");
    let shape = ImageShape { channels: 3, height: 8, width: 8 };
    // The first, second and eighth entry of the directory are width, height and rows of a strip.
    let tiff = fs::read(path("rgb16-II.tif")).unwrap();
    let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
    let of_tiff = [0, 1, 7].map(|entry| directory + 2 + 12 * entry + 8);
    for (content, said) in [
        // The decoder itself refuses more than 400 million pixels.
        (giant("rgb.qoi", 18_000, &[4, 8], 4, true), "18000x18000"),
        (giant("rgb.bmp", 60_000, &[18, 22], 4, false), "60000x60000"),
        (giant("palette.gif", 65_535, &[6, 8], 2, false), "65535x65535"),
        (giant("rgb16-II.tif", 60_000, &of_tiff, 4, false), "60000x60000"),
        (giant("rgb16-II.tif", 15_000, &of_tiff, 4, false), "15000x15000"),
    ] {
        fs::write(&file, content).unwrap();
        let error = decode_image(&file, shape).unwrap_err();
        let text = message(&error, "scale");
        assert!(text.contains(&format!("{said} pixels are more than")), "{text}");
    }
    for none in [
        giant("rgb.qoi", 0, &[4, 8], 4, true),
        giant("rgb.bmp", 0, &[18, 22], 4, false),
        giant("palette.gif", 0, &[6, 8], 2, false),
        giant("rgb16-II.tif", 0, &of_tiff, 4, false),
    ] {
        fs::write(&file, none).unwrap();
        assert!(matches!(decode_image(&file, shape), Err(DataError::NotAnImage { .. })));
    }
}

#[test]
fn what_begins_like_an_image_is_one_but_for_copies_and_raw_photographs() {
    let dir = tempdir().unwrap();
    let put = |name: &str, from: &str| {
        fs::copy(path(from), dir.path().join(name)).unwrap();
    };
    let images = [
        ("a.txt", "turned-1.png"),
        ("b.jpg", "rgb.bmp"),
        ("c.heic", "lossless.webp"),
        ("d.jpg.2", "palette.gif"),
        ("e.tiff", "rgb16-II.tif"),
        ("f.2024", "rgb.qoi"),
        ("photo", "lossless.webp"),
        ("scan", "rgb16-II.tif"),
    ];
    images.iter().for_each(|(name, from)| put(name, from));
    let copies = ["k.jpg.BAK", "k.jpg.orig", "k.jpg.part", "k.jpg~", "k.txt~", "k~"];
    copies.iter().for_each(|name| put(name, "rgb.qoi"));
    put("l.nef", "rgb16-II.tif");
    put("m.dng", "big.tif");
    put(".hidden.png", "turned-1.png");
    fs::write(dir.path().join("README"), "BM is no mark of an image").unwrap();
    fs::write(dir.path().join("notes.txt"), "nor is P6 one").unwrap();
    fs::write(dir.path().join("empty.txt"), "").unwrap();
    fs::create_dir(dir.path().join("more")).unwrap();
    let (found, left_out) = images_in(dir.path()).unwrap();
    assert_eq!(found, images.map(|(name, _)| dir.path().join(name)));
    let mut expected = LeftOut::of(dir.path());
    let others = ["README", "notes.txt", "empty.txt", "l.nef", "m.dng"];
    for name in copies.iter().chain(&others) {
        expected.add(Reason::Name, &dir.path().join(name));
    }
    expected.add(Reason::Hidden, &dir.path().join(".hidden.png"));
    expected.add(Reason::Folder, &dir.path().join("more"));
    assert_eq!(left_out, expected);
}
