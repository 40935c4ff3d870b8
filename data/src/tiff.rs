//! TIFF files, the first picture of each.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, RgbImage};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{CompressionMethod, SampleFormat, Tag};
use tiff::{ColorType, TiffError};

use crate::colour::{narrow, to_colour};
use crate::error::DataError;
use crate::exif;
use crate::resize::Picture;
use crate::room::Room;

/// Tag of what samples mean, and its values for grays and for numbers of colours (TIFF 6.0).
const INTERPRETATION: u16 = 262;
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: f64 = 3.0;
/// The colour under transparency is stored multiplied by it (TIFF 6.0, `ExtraSamples`).
const ASSOCIATED_ALPHA: u16 = 1;
/// Bytes of a table in the file, such as that of the strips.
const MOST_IN_TABLE: usize = 16 << 20;

/// Decodes a file to three channels.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Picture, DataError> {
    let wrong = |e: TiffError| DataError::not_an_image(path, e);
    let refused = |what: &str| {
        let advice = "convert it to 8 bits of gray or RGB";
        DataError::not_an_image(path, format!("{what}, which is not read of TIFF files: {advice}"))
    };
    let (file, has_palette) = as_grays(bytes);
    let mut decoder = Decoder::new(Cursor::new(&*file)).map_err(wrong)?;
    let formats: Option<Vec<u16>> =
        decoder.find_tag_unsigned_vec(Tag::SampleFormat).map_err(wrong)?;
    let is_whole = |format: &u16| *format == SampleFormat::Uint.to_u16();
    if !formats.unwrap_or_default().iter().all(is_whole) {
        return Err(refused("it has signed or floating-point samples"));
    }
    let colour = decoder.colortype().map_err(|e| refused(&e.to_string()))?;
    let (bits, samples) = match colour {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8 | 16)) => (bits, 1),
        ColorType::RGB(bits @ (8 | 16)) => (bits, 3),
        ColorType::RGBA(bits @ (8 | 16)) | ColorType::CMYK(bits @ (8 | 16)) => (bits, 4),
        ColorType::CMYKA(bits @ (8 | 16)) => (bits, 5),
        // Gray, and more that is not looked at.
        ColorType::Multiband { bit_depth: bits @ (8 | 16), num_samples } => {
            (bits, num_samples.into())
        }
        other => return Err(refused(&format!("its colours are {other:?}"))),
    };
    // The decoder takes a JPEG of two components for one of one.
    let compression: Option<u16> = decoder.find_tag_unsigned(Tag::Compression).map_err(wrong)?;
    let is_jpeg = compression == Some(CompressionMethod::ModernJPEG.to_u16());
    if is_jpeg && matches!(colour, ColorType::Multiband { .. }) {
        return Err(refused(&format!("it is a JPEG of {samples} samples")));
    }
    let size = decoder.dimensions().map_err(wrong)?;
    let room = Room::wait_for(path, size, samples as u64 * u64::from(bits.div_ceil(8)))?;
    let palette = match has_palette {
        true => Some(decoder.get_tag_u16_vec(Tag::ColorMap).map_err(wrong)?),
        false => None,
    };
    let extra: Option<Vec<u16>> =
        decoder.find_tag_unsigned_vec(Tag::ExtraSamples).map_err(wrong)?;
    let is_multiplied = extra.is_some_and(|extra| extra.first() == Some(&ASSOCIATED_ALPHA));
    let mut limits = Limits::default();
    limits.decoding_buffer_size = room.bytes();
    limits.intermediate_buffer_size = limits.intermediate_buffer_size.max(room.bytes());
    limits.ifd_value_size = MOST_IN_TABLE;
    let mut decoder = decoder.with_limits(limits);
    let mut values = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut values).map_err(wrong)?;
    let values = match values {
        DecodingResult::U8(values) => values,
        DecodingResult::U16(values) if palette.is_none() => {
            values.into_iter().map(narrow).collect()
        }
        _ => return Err(refused(&format!("it has {bits} bits of a sample"))),
    };
    let width = size.0 as usize;
    let values = if bits < 8 { unpacked(&values, width, bits, palette.is_none()) } else { values };
    let pixels = width * size.1 as usize;
    if values.len() < pixels * samples {
        return Err(DataError::not_an_image(path, "it has fewer samples than its size needs"));
    }
    // Planes one after the other, or the samples of a pixel side by side.
    let (of_pixel, of_sample) = if layout.planes > 1 { (1, pixels) } else { (samples, 1) };
    let sample = |pixel: usize, number: usize| values[pixel * of_pixel + number * of_sample];
    let colour_of = |pixel: usize| -> [u8; 3] {
        let first = sample(pixel, 0);
        if let Some(palette) = &palette {
            let colours = palette.len() / 3;
            let part = |channel: usize| match palette.get(usize::from(first) + channel * colours) {
                Some(value) if usize::from(first) < colours => (value >> 8) as u8,
                _ => 0,
            };
            return [0, 1, 2].map(part);
        }
        let three = || [first, sample(pixel, 1), sample(pixel, 2)];
        match colour {
            ColorType::RGBA(_) if is_multiplied => {
                let alpha = u32::from(sample(pixel, 3)).max(1);
                three().map(|value| (u32::from(value) * 255 / alpha).min(255) as u8)
            }
            ColorType::RGB(_) | ColorType::RGBA(_) => three(),
            ColorType::CMYK(_) | ColorType::CMYKA(_) => {
                let light = 255 - u32::from(sample(pixel, 3));
                three().map(|ink| (light - (u32::from(ink) * light + 127) / 255) as u8)
            }
            _ => [first; 3],
        }
    };
    let colours: Vec<u8> = (0..pixels).flat_map(colour_of).collect();
    let image = RgbImage::from_raw(size.0, size.1, colours)
        .ok_or_else(|| DataError::not_an_image(path, "its pixels are not those of its size"))?;
    let mut image = DynamicImage::from(image);
    if let Some(orientation) = exif::orientation(bytes) {
        image.apply_orientation(orientation);
    }
    Ok(to_colour(image))
}

/// The file, changed to say that its numbers of colours are grays where it has a palette: the
/// decoder reads no such file, and the numbers are stored in the same way. And whether it has one.
fn as_grays(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    match exif::first(bytes, INTERPRETATION) {
        Some(exif::Entry { at, is_big, value, .. }) if value == PALETTE => {
            let mut changed = bytes.to_vec();
            let value =
                if is_big { BLACK_IS_ZERO.to_be_bytes() } else { BLACK_IS_ZERO.to_le_bytes() };
            // Where the file ends within it, the decoder will say so.
            if let Some(place) = changed.get_mut(at..at + 2) {
                place.copy_from_slice(&value);
            }
            (Cow::Owned(changed), true)
        }
        _ => (Cow::Borrowed(bytes), false),
    }
}

/// A byte for each sample of fewer bits: grays are spread over all values.
fn unpacked(packed: &[u8], width: usize, bits: u8, is_gray: bool) -> Vec<u8> {
    let most = (1_u8 << bits) - 1;
    let factor = if is_gray { 255 / most } else { 1 };
    let in_byte = usize::from(8 / bits);
    let value = |row: &[u8], x: usize| {
        let shift = 8 - bits * (x % in_byte + 1) as u8;
        (row[x / in_byte] >> shift & most) * factor
    };
    let rows = packed.chunks_exact(width.div_ceil(in_byte));
    rows.flat_map(|row| (0..width).map(move |x| value(row, x))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bits_are_unpacked_row_by_row() {
        assert_eq!(unpacked(&[0b1010_0000, 0b0100_0000], 3, 1, true), [255, 0, 255, 0, 255, 0]);
        assert_eq!(unpacked(&[0b0001_1011], 4, 2, true), [0, 85, 170, 255]);
        assert_eq!(unpacked(&[0x1f, 0x20], 3, 4, false), [1, 15, 2]);
    }
}
