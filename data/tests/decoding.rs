//! Decoding and resizing single files. The fixtures are described in fixtures/README.md.

mod common;

use std::fs;
use std::path::Path;

use adwp_data::{DataError, Framing, ImageShape, decode_image, decode_image_framed};
use common::{fixture, message};
use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use tempfile::tempdir;

const RED: [u8; 3] = [200, 30, 40];
const GREEN: [u8; 3] = [20, 180, 60];
const BLUE: [u8; 3] = [30, 50, 210];
const WHITE: [u8; 3] = [240, 240, 240];

const fn square(channels: usize, side: usize) -> ImageShape {
    ImageShape { channels, height: side, width: side }
}

/// The colours of the quadrants' centres: above left and right, below left and right.
fn quadrants(path: &Path) -> [[u8; 3]; 4] {
    let image = decode_image(path, square(3, 32)).unwrap();
    [(8, 8), (8, 24), (24, 8), (24, 24)]
        .map(|(y, x)| [0, 1, 2].map(|c| image[(c * 32 + y) * 32 + x]))
}

fn assert_close(found: [[u8; 3]; 4], expected: [[u8; 3]; 4], tolerance: u8, what: &str) {
    let far = found
        .iter()
        .flatten()
        .zip(expected.iter().flatten())
        .any(|(a, b)| a.abs_diff(*b) > tolerance);
    assert!(!far, "{what}: {found:?}, expected {expected:?}");
}

#[test]
fn jpeg_files_give_their_colours() {
    for name in ["rgb.jpg", "progressive.jpg"] {
        assert_close(quadrants(&fixture(name)), [RED, GREEN, BLUE, WHITE], 2, name);
    }
    assert_close(
        quadrants(&fixture("gray.jpg")),
        [[40; 3], [90; 3], [160; 3], [230; 3]],
        2,
        "gray",
    );
}

/// Expected: what Pillow, which takes every CMYK JPEG as inverted like Adobe's, makes of these
/// files.
#[test]
fn four_inks_become_three_colours() {
    for name in ["cmyk.jpg", "cmyk-no-marker.jpg", "ycck.jpg"] {
        assert_close(quadrants(&fixture(name)), [RED, GREEN, [30, 50, 200], [200; 3]], 3, name);
    }
}

#[test]
fn a_rotation_in_the_metadata_is_applied() {
    assert_close(
        quadrants(&fixture("turned.jpg")),
        [BLUE, RED, WHITE, GREEN],
        2,
        "a quarter clockwise",
    );
}

#[test]
fn palettes_and_single_bits_are_expanded() {
    assert_eq!(quadrants(&fixture("palette.png")), [RED, GREEN, BLUE, WHITE]);
    assert_eq!(
        quadrants(&fixture("palette-alpha.png")),
        [RED, GREEN, BLUE, WHITE],
        "transparency is ignored"
    );
    assert_eq!(quadrants(&fixture("bilevel.png")), [[0; 3], [255; 3], [255; 3], [0; 3]]);
}

#[test]
fn depths_and_transparency_of_png_are_brought_to_eight_bits_of_colour() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.png");
    let quadrant = |x: u32, y: u32| [RED, GREEN, BLUE, WHITE][(y / 16 * 2 + x / 16) as usize];
    let wide = |v: u8| u16::from(v) * 257;
    let colours = [RED, GREEN, BLUE, WHITE];
    let grays = colours.map(|c| [c[1]; 3]);

    ImageBuffer::from_fn(32, 32, |x, y| Rgb(quadrant(x, y).map(wide))).save(&path).unwrap();
    assert_eq!(quadrants(&path), colours);
    ImageBuffer::from_fn(32, 32, |x, y| Luma([wide(quadrant(x, y)[1]) + 100])).save(&path).unwrap();
    assert_eq!(quadrants(&path), grays, "16 bits are rounded");
    ImageBuffer::from_fn(32, 32, |x, y| {
        let [r, g, b] = quadrant(x, y).map(wide);
        Rgba([r, g, b, 9])
    })
    .save(&path)
    .unwrap();
    assert_eq!(quadrants(&path), colours);
    ImageBuffer::from_fn(32, 32, |x, y| LumaA([wide(quadrant(x, y)[1]), 9])).save(&path).unwrap();
    assert_eq!(quadrants(&path), grays);
    ImageBuffer::from_fn(32, 32, |x, y| {
        let [r, g, b] = quadrant(x, y);
        Rgba([r, g, b, 0])
    })
    .save(&path)
    .unwrap();
    assert_eq!(quadrants(&path), colours);
    ImageBuffer::from_fn(32, 32, |x, y| LumaA([quadrant(x, y)[1], 128])).save(&path).unwrap();
    assert_eq!(quadrants(&path), grays);
    ImageBuffer::from_fn(32, 32, |x, y| Luma([quadrant(x, y)[1]])).save(&path).unwrap();
    assert_eq!(quadrants(&path), grays);
}

#[test]
fn one_channel_is_the_luma_of_the_colours() {
    let gray = decode_image(&fixture("palette.png"), square(1, 32)).unwrap();
    let centres = [(8, 8), (8, 24), (24, 8), (24, 24)].map(|(y, x)| gray[y * 32 + x]);
    // Pillow: Image.open("palette.png").convert("RGB").convert("L")
    assert_eq!(centres, [82, 118, 62, 240]);
}

/// Expected: Image.open("resize-37x53.png").resize((w, h), Image.BILINEAR), to the last bit.
#[test]
fn resizing_agrees_with_pillow() {
    for (width, height) in [(16, 22), (40, 57)] {
        let found =
            decode_image(&fixture("resize-37x53.png"), ImageShape { channels: 3, height, width })
                .unwrap();
        let pillow =
            image::open(fixture(&format!("resize-to-{width}x{height}.png"))).unwrap().into_rgb8();
        for (x, y, pixel) in pillow.enumerate_pixels() {
            let found = [0, 1, 2].map(|c| found[(c * height + y as usize) * width + x as usize]);
            assert_eq!(found, pixel.0, "{width}x{height}: pixel {x}, {y}");
        }
    }
}

#[test]
fn evaluation_cuts_the_centre_out_of_a_larger_picture() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.png");
    // 256x256 is the size that evaluation at 224 scales to: nothing is interpolated.
    ImageBuffer::from_fn(256, 256, |x, y| Rgb([x as u8, y as u8, 0])).save(&path).unwrap();
    let image = decode_image_framed(&path, square(3, 224), Framing::Evaluation).unwrap();
    let at = |c: usize, y: usize, x: usize| image[(c * 224 + y) * 224 + x];
    assert_eq!((at(0, 0, 0), at(1, 0, 0), at(0, 0, 223), at(1, 223, 0)), (16, 16, 239, 239));
    let whole = decode_image(&path, square(3, 256)).unwrap();
    assert_eq!((whole[0], whole[255]), (0, 255));
}

#[test]
fn what_is_no_image_is_an_error() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.jpg");
    for content in [
        &b""[..],
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a......",
        b"hello",
    ] {
        fs::write(&path, content).unwrap();
        let error = decode_image(&path, square(3, 8)).unwrap_err();
        assert!(
            message(&error, "replace or remove").contains("x.jpg: cannot be read as an image"),
            "{error}"
        );
    }
    let error = decode_image(&dir.path().join("none.jpg"), square(3, 8)).unwrap_err();
    assert!(matches!(error, DataError::Io { .. }), "{error}");
    assert!(matches!(decode_image(dir.path(), square(3, 8)), Err(DataError::Io { .. })));
}

#[test]
fn cut_and_damaged_files_never_panic_and_cut_ones_are_errors() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x");
    for name in [
        "rgb.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "turned.jpg",
        "jpeg/420-apart.jpg",
        "palette-alpha.png",
        "bilevel.png",
    ] {
        let whole = fs::read(fixture(name)).unwrap();
        // The last bytes of a PNG are a chunk without content; all pixels are there before it.
        let needed = if name.ends_with("png") { whole.len() - 16 } else { whole.len() };
        for end in 0..needed {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(
                decode_image(&path, square(3, 8)).is_err(),
                "{name}: {end} of {} bytes",
                whole.len()
            );
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x5a;
            fs::write(&path, &damaged).unwrap();
            let _ = decode_image(&path, square(3, 8));
        }
    }
}

/// A chunk of a PNG file.
fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let body = [&name[..], content].concat();
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let length = (content.len() as u32).to_be_bytes();
    [&length[..], &body, &crc.sum().to_be_bytes()].concat()
}

#[test]
fn a_small_file_cannot_claim_the_memory() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.png");
    let side = 60_000_u32.to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let file =
        [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", b"")].concat();
    fs::write(&path, file).unwrap();
    let error = decode_image(&path, square(3, 8)).unwrap_err();
    assert!(message(&error, "scale").contains("60000x60000 pixels are more than"), "{error}");
}

/// A JPEG file that claims another size.
fn resized_jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = fs::read(fixture("rgb.jpg")).unwrap();
    // The start of a frame: marker, length, bits of a sample, then height and width.
    let at = file.windows(5).position(|bytes| matches!(bytes, [0xff, 0xc0, _, _, 8])).unwrap() + 5;
    file[at..at + 4].copy_from_slice(&[height.to_be_bytes(), width.to_be_bytes()].concat());
    file
}

#[test]
fn a_jpeg_cannot_claim_the_memory_either() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.jpg");
    fs::write(&path, resized_jpeg(60_000, 60_000)).unwrap();
    let error = decode_image(&path, square(3, 8)).unwrap_err();
    assert!(message(&error, "scale").contains("60000x60000 pixels are more than"), "{error}");
    fs::write(&path, resized_jpeg(0, 32)).unwrap();
    assert!(matches!(decode_image(&path, square(3, 8)), Err(DataError::NotAnImage { .. })));
}

#[test]
fn what_never_ends_is_not_read() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.jpg");
    // No blocks are written: the file takes no room on the disk.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = decode_image(&path, square(3, 8)).unwrap_err();
    assert!(
        message(&error, "scale").contains("x.jpg: 1099511627776 bytes are more than"),
        "{error}"
    );
    #[cfg(unix)]
    {
        let endless = dir.path().join("endless.jpg");
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        let error = decode_image(&endless, square(3, 8)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("endless.jpg: cannot be read as an image: it is neither a file"),
            "{error}"
        );
    }
}

#[test]
fn shapes_that_are_no_image_are_refused() {
    for shape in [square(2, 8), square(0, 8), square(3, 0), square(3, usize::MAX)] {
        assert!(
            matches!(decode_image(&fixture("rgb.jpg"), shape), Err(DataError::Shape { .. })),
            "{shape}"
        );
    }
}

#[test]
fn pictures_of_any_proportion_fit() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("x.png");
    for (width, height) in [(1, 1), (1, 500), (500, 1), (3, 2)] {
        ImageBuffer::from_pixel(width, height, Rgb(RED)).save(&path).unwrap();
        for framing in [Framing::Cover, Framing::Evaluation] {
            let image = decode_image_framed(
                &path,
                ImageShape { channels: 3, height: 20, width: 30 },
                framing,
            )
            .unwrap();
            assert!(
                image.chunks_exact(600).zip(RED).all(|(plane, v)| plane.iter().all(|&p| p == v))
            );
        }
    }
}
