//! What is to be known of a JPEG file before it is decoded, and a decoder for what the usual one
//! gets wrong.

use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::{Decoder, PixelFormat};

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// Whether the markers of a JPEG file lead to its end. The decoder fills what is missing with gray
/// and says nothing, which would go into training unseen.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    walk(bytes, &mut |_, _| {})
}

/// Hands every segment to `visit`, its marker and what it holds; whether they lead to the end of the
/// image.
fn walk(bytes: &[u8], visit: &mut dyn FnMut(u8, &[u8])) -> bool {
    let mut rest = bytes;
    loop {
        let Some(at) = rest.iter().position(|&byte| byte == 0xff) else {
            return false;
        };
        rest = &rest[at + 1..];
        match rest.first() {
            None => return false,
            Some(&END_OF_IMAGE) => return true,
            // Another fill byte, a stuffed zero or a marker without a segment: go on behind it.
            Some(0xff) => {}
            Some(0x00 | 0x01 | 0xd0..=0xd8) => rest = &rest[1..],
            Some(&marker) => {
                let Some(&[high, low]) = rest.get(1..3).and_then(|length| length.first_chunk())
                else {
                    return false;
                };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(behind) = rest.get(1 + length..) else {
                    return false;
                };
                visit(marker, rest.get(3..1 + length).unwrap_or_default());
                rest = behind;
            }
        }
    }
}

/// Whether a file is of a kind that zune-jpeg 0.5.15 decodes to other pixels without a word: a
/// sequential one whose components have scans of their own (zune-image issues 419 and 422), and one
/// whose first component is not the finest.
pub(crate) fn is_decoded_wrongly(bytes: &[u8]) -> bool {
    let (mut components, mut is_sequential, mut is_wrong) = (0, false, false);
    walk(bytes, &mut |marker, segment| match marker {
        // The markers of frames, but for those of tables and of arithmetic conditioning.
        0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
            is_sequential = marker <= 0xc1;
            let Some((&count, each)) = segment.get(5..).and_then(<[u8]>::split_first) else {
                return;
            };
            components = count;
            let factors: Vec<[u8; 2]> =
                each.as_chunks::<3>().0.iter().map(|of| [of[1] >> 4, of[1] & 15]).collect();
            let Some((first, others)) = factors.split_first() else { return };
            is_wrong |= others.iter().any(|of| of[0] > first[0] || of[1] > first[1]);
        }
        START_OF_SCAN => {
            is_wrong |= is_sequential && segment.first().is_some_and(|&count| count < components);
        }
        _ => {}
    });
    is_wrong
}

/// Decodes such a file; `most` is the largest number of its values.
pub(crate) fn decode(bytes: &[u8], most: usize) -> Result<DynamicImage, String> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(most);
    let pixels = decoder.decode().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("it has no frame")?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    let image = match info.pixel_format {
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
        PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        other @ (PixelFormat::L16 | PixelFormat::CMYK32) => {
            return Err(format!("{other:?} pixels in scans of their own are not supported"));
        }
    };
    image.ok_or_else(|| format!("its pixels are not those of {width}x{height}"))
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

    /// A frame of components with these sampling factors, and a first scan of `scan` components.
    fn frame(marker: u8, factors: &[u8], scan: u8) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, marker, 0, 8 + 3 * factors.len() as u8];
        bytes.extend([8, 0, 16, 0, 16, factors.len() as u8]);
        factors.iter().for_each(|of| bytes.extend([1, *of, 0]));
        bytes.extend([0xff, 0xda, 0, 3, scan, 0xff, 0xd9]);
        bytes
    }

    #[test]
    fn kinds_that_are_decoded_wrongly_are_told_from_the_usual_ones() {
        for usual in [
            frame(0xc0, &[0x22, 0x11, 0x11], 3),
            frame(0xc2, &[0x22, 0x11, 0x11], 1),
            frame(0xc0, &[0x22], 1),
            frame(0xc0, &[], 0),
        ] {
            assert!(!is_decoded_wrongly(&usual), "{usual:x?}");
        }
        for wrong in [
            frame(0xc0, &[0x22, 0x11, 0x11], 1),
            frame(0xc1, &[0x11, 0x11, 0x11], 2),
            frame(0xc2, &[0x11, 0x22, 0x22], 1),
            frame(0xc0, &[0x21, 0x11, 0x12], 3),
        ] {
            assert!(is_decoded_wrongly(&wrong), "{wrong:x?}");
        }
        let wrong = frame(0xc0, &[0x11, 0x22, 0x22], 3);
        for end in 0..wrong.len() {
            let _ = is_decoded_wrongly(&wrong[..end]);
        }
    }
}
