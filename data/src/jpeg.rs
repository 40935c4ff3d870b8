//! JPEG files: whether they are whole, and their pixels.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, GrayImage, RgbImage};
use mozjpeg::{ColorSpace, Decompress};

use crate::error::DataError;
use crate::room::Room;

/// Marker of the end.
pub(crate) const END_OF_IMAGE: u8 = 0xd9;
/// Marker of the header of coded pixels, which follow.
pub(crate) const START_OF_SCAN: u8 = 0xda;
/// Marker of what applications keep, Exif blocks among it.
pub(crate) const APP1: u8 = 0xe1;

/// A marker with what it stands before.
pub(crate) struct Segment<'a> {
    pub(crate) marker: u8,
    /// What belongs to it, without its length.
    pub(crate) content: &'a [u8],
    /// The rest of the file.
    pub(crate) behind: &'a [u8],
}

/// The first marker of a rest of a JPEG file; `None` where the file ends before that does.
pub(crate) fn segment(mut rest: &[u8]) -> Option<Segment<'_>> {
    loop {
        let at = rest.iter().position(|&byte| byte == 0xff)?;
        rest = &rest[at + 1..];
        match *rest.first()? {
            // A fill byte, a stuffed zero or a marker without a segment: go on behind it.
            0xff => {}
            0x00 | 0x01 | 0xd0..=0xd8 => rest = &rest[1..],
            marker @ END_OF_IMAGE => {
                return Some(Segment { marker, content: &[], behind: &rest[1..] });
            }
            marker => {
                let length = usize::from(u16::from_be_bytes(*rest.get(1..3)?.first_chunk()?));
                let (content, behind) = rest[1..].split_at_checked(length)?;
                let content = content.get(2..).unwrap_or_default();
                return Some(Segment { marker, content, behind });
            }
        }
    }
}

/// Whether the markers of a JPEG file lead to its end. The decoder fills what is missing with gray
/// and says nothing, which would go into training unseen.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(Segment { marker, behind, .. }) = segment(rest) {
        if marker == END_OF_IMAGE {
            return true;
        }
        rest = behind;
    }
    false
}

/// Decodes a file, to gray where it is gray. The decoder is that of libjpeg, so that the pixels are
/// those that nearly every other program has of the same file: a network's logits need not differ
/// from one to the next.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<DynamicImage, DataError> {
    if let Some(reason) = unread(bytes) {
        return Err(DataError::UnknownFormat { path: path.to_owned(), reason });
    }
    // It leaves by unwinding where the data are wrong.
    catch_unwind(AssertUnwindSafe(|| pixels(path, bytes))).unwrap_or_else(|why| {
        let why = why.downcast::<String>();
        Err(DataError::not_an_image(
            path,
            why.map_or("the decoder failed on it".to_owned(), |why| *why),
        ))
    })
}

/// Marker of the first and of the last frame header (ITU-T T.81, table B.1), which has the coding,
/// and the markers between that are none.
const FRAMES: RangeInclusive<u8> = 0xc0..=0xcf;
const NO_FRAMES: [u8; 3] = [0xc4, 0xc8, 0xcc];

/// What a file is whose coding the decoder does not have; `None` of one that it has.
fn unread(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    let frame = loop {
        let segment = segment(rest)?;
        match segment.marker {
            START_OF_SCAN | END_OF_IMAGE => return None,
            marker if FRAMES.contains(&marker) && !NO_FRAMES.contains(&marker) => break segment,
            _ => rest = segment.behind,
        }
    };
    let coding = match (frame.marker, frame.content.first()) {
        (0xc9..=0xcf, _) => "arithmetic coding",
        (0xc3, _) => "lossless coding",
        (0xc5..=0xc7, _) => "hierarchical coding",
        (_, Some(12)) => "12 bits of a sample",
        _ => return None,
    };
    Some(format!("it is a JPEG with {coding}, which is not read"))
}

fn pixels(path: &Path, bytes: &[u8]) -> Result<DynamicImage, DataError> {
    let wrong = |e: std::io::Error| DataError::not_an_image(path, e);
    let header = Decompress::new_mem(bytes).map_err(wrong)?;
    let (to, channels) = match header.color_space() {
        gray @ ColorSpace::JCS_GRAYSCALE => (gray, 1),
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => (ColorSpace::JCS_CMYK, 4),
        _ => (ColorSpace::JCS_RGB, 3),
    };
    let (width, height) = header.size();
    let (width, height) = (width as u32, height as u32);
    let _room = Room::wait_for(path, (width, height), channels)?;
    let values: Vec<u8> =
        header.to_colorspace(to).and_then(|mut started| started.read_scanlines()).map_err(wrong)?;
    let image = match to {
        ColorSpace::JCS_GRAYSCALE => GrayImage::from_raw(width, height, values).map(From::from),
        ColorSpace::JCS_CMYK => {
            let (inks, _) = values.as_chunks::<4>();
            let values = inks.iter().flat_map(|&inks| without_black(inks)).collect();
            RgbImage::from_raw(width, height, values).map(From::from)
        }
        _ => RgbImage::from_raw(width, height, values).map(From::from),
    };
    image.ok_or_else(|| {
        DataError::not_an_image(path, format!("its pixels are not those of {width}x{height}"))
    })
}

/// Three colours of four inks, which files have the other way round, 255 for none: as Pillow does it.
fn without_black([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|light| {
        let product = u32::from(255 - light) * u32::from(black) + 128;
        black.saturating_sub(((product + (product >> 8)) >> 8) as u8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_jpeg_is_told_from_a_cut_one() {
        // SOI, an APP1 segment that holds the end marker of a thumbnail, a scan with a stuffed
        // zero, EOI.
        let whole = [
            0xff, 0xd8, 0xff, 0xe1, 0, 4, 0xff, 0xd9, 0xff, 0xda, 0, 2, 1, 0xff, 0, 2, 0xff, 0xd3,
            3, 0xff, 0xd9,
        ];
        assert!(is_complete(&whole));
        for end in 0..whole.len() {
            assert!(!is_complete(&whole[..end]), "{end} bytes");
        }
    }

    #[test]
    fn what_the_decoder_leaves_by_is_an_error() {
        let path = Path::new("x.jpg");
        let headless = [0xff, 0xd8, 0xff, 0xda, 0, 2, 0xff, 0xd9];
        for (bytes, part) in [(&headless[..], "SOS"), (b"none", "JPEG"), (b"", "")] {
            let error = decode(path, bytes).unwrap_err().to_string();
            assert!(error.starts_with("x.jpg: ") && error.contains(part), "{error}");
        }
        let gray = include_bytes!("../tests/fixtures/gray.jpg");
        assert!(matches!(decode(path, gray), Ok(DynamicImage::ImageLuma8(_))));
    }

    #[test]
    fn codings_that_are_not_read_are_named() {
        let gray = include_bytes!("../tests/fixtures/gray.jpg");
        let at = gray.windows(5).position(|bytes| matches!(bytes, [0xff, 0xc0, _, _, 8])).unwrap();
        let with = |marker: u8, bits: u8| {
            let mut changed = gray.to_vec();
            (changed[at + 1], changed[at + 4]) = (marker, bits);
            unread(&changed).unwrap_or_default()
        };
        for (marker, bits, coding) in [
            (0xc9, 8, "arithmetic coding"),
            (0xca, 8, "arithmetic coding"),
            (0xcb, 8, "arithmetic coding"),
            (0xcd, 8, "arithmetic coding"),
            (0xc3, 8, "lossless coding"),
            (0xc5, 8, "hierarchical coding"),
            (0xc1, 12, "12 bits of a sample"),
        ] {
            assert_eq!(
                with(marker, bits),
                format!("it is a JPEG with {coding}, which is not read")
            );
        }
        for read in [0xc0, 0xc1, 0xc2] {
            assert_eq!(with(read, 8), "");
        }
    }

    #[test]
    fn inks_are_mixed_as_pillow_does() {
        // Image.frombytes("CMYK", (1, 1), bytes(255 - v for v in inks)).convert("RGB")
        for (inks, expected) in [
            ([255, 255, 255, 255], [255, 255, 255]),
            ([0, 0, 0, 0], [0, 0, 0]),
            ([0, 128, 255, 255], [0, 128, 255]),
            ([10, 200, 30, 77], [3, 60, 9]),
            ([254, 1, 127, 254], [253, 1, 127]),
            ([90, 90, 90, 1], [0, 0, 0]),
        ] {
            assert_eq!(without_black(inks), expected, "{inks:?}");
        }
    }
}
