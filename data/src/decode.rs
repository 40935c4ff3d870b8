use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::colour::to_colour;
use crate::error::DataError;
use crate::exif::{self, orientation};
use crate::resize::{Framing, Picture, frame};
use crate::room::{MOST_PIXELS, Room};
use crate::shape::ImageShape;
use crate::{format, jpeg, tiff};

/// More bytes than the file of any photograph has.
pub const MOST_BYTES: u64 = 1 << 28;
/// Bytes that a decoder may take in addition to the picture, such as for a colour profile or for a part of
/// an animation that is larger than the whole.
const MOST_BESIDE: u64 = 1 << 26;

/// Reads one image file as u8 [channels, height, width] of `shape`: scaled so that it covers the
/// shape, then the centre cut out; converted to gray when the shape has one channel. JPEG, PNG,
/// WebP, BMP, GIF, TIFF and QOI are read; which of them a file is follows from its content, not
/// from its name. Of several pictures in a file the first counts.
///
/// A viewer's rotation (EXIF orientation) is applied. Transparency is ignored: the colour below it
/// counts. What the first picture of an animation does not cover is black. Sixteen bits of a sample
/// are scaled to eight.
///
/// # Errors
/// When the file cannot be read or decoded, or the shape is not one of images.
pub fn decode_image(path: &Path, shape: ImageShape) -> Result<Vec<u8>, DataError> {
    decode_image_framed(path, shape, Framing::Cover)
}

/// Like [`decode_image`], with a choice of how much of the picture is kept: [`Framing::Evaluation`]
/// gives exactly what the test set of an image folder gives.
///
/// # Errors
/// Those of [`decode_image`].
pub fn decode_image_framed(
    path: &Path,
    shape: ImageShape,
    framing: Framing,
) -> Result<Vec<u8>, DataError> {
    let mut out = space_for(shape)?;
    decode_into(path, shape, framing, &mut out)?;
    Ok(out)
}

/// Like [`decode_image_framed`], of the content of a file; `name` stands for it in errors.
///
/// # Errors
/// Those of [`decode_image`].
pub fn decode_image_bytes(
    name: &Path,
    bytes: &[u8],
    shape: ImageShape,
    framing: Framing,
) -> Result<Vec<u8>, DataError> {
    let mut out = space_for(shape)?;
    frame(&for_channels(decode_picture(name, bytes)?, shape)?, shape, framing, &mut out);
    Ok(out)
}

/// As many values as an image of a shape has.
fn space_for(shape: ImageShape) -> Result<Vec<u8>, DataError> {
    let size = shape.channels.checked_mul(shape.height).and_then(|n| n.checked_mul(shape.width));
    Ok(vec![0; size.filter(|&n| n as u64 <= MOST_PIXELS).ok_or(DataError::Shape(shape))?])
}

/// Decodes to `out`, which has the values of `shape`.
pub(crate) fn decode_into(
    path: &Path,
    shape: ImageShape,
    framing: Framing,
    out: &mut [u8],
) -> Result<(), DataError> {
    frame(&decode_for(path, shape)?, shape, framing, out);
    Ok(())
}

/// Decodes a whole file to the channels of `shape`.
pub(crate) fn decode_for(path: &Path, shape: ImageShape) -> Result<Picture, DataError> {
    check(shape)?;
    for_channels(decode(path)?, shape)
}

fn check(shape: ImageShape) -> Result<(), DataError> {
    if matches!(shape.channels, 1 | 3) && shape.values() > 0 {
        Ok(())
    } else {
        Err(DataError::Shape(shape))
    }
}

/// A picture with the channels of `shape`.
fn for_channels(picture: Picture, shape: ImageShape) -> Result<Picture, DataError> {
    check(shape)?;
    Ok(if shape.channels == 1 { to_gray(&picture) } else { picture })
}

/// Decodes a whole file to three channels.
pub(crate) fn decode(path: &Path) -> Result<Picture, DataError> {
    decode_picture(path, &read(path)?)
}

/// The content of a file to three channels; `path` is named in errors.
pub(crate) fn decode_picture(path: &Path, bytes: &[u8]) -> Result<Picture, DataError> {
    // The decoders are large and read what strangers wrote: a panic in one of them must not end a
    // training run.
    match catch_unwind(AssertUnwindSafe(|| decode_bytes(path, bytes))) {
        Ok(result) => result,
        Err(_) => Err(DataError::not_an_image(path, "the decoder failed on it")),
    }
}

/// The bytes of a file, which is no pipe and no larger than any photograph.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let failed = |e| DataError::io(path, "read the file", e);
    let about = fs::metadata(path).map_err(failed)?;
    // A pipe may never begin, and a device may never end.
    if !about.is_file() && !about.is_dir() {
        return Err(DataError::not_an_image(path, "it is neither a file nor a link to one"));
    }
    if about.len() > MOST_BYTES {
        return Err(DataError::TooManyBytes {
            path: path.to_owned(),
            size: about.len(),
            limit: MOST_BYTES,
        });
    }
    fs::read(path).map_err(failed)
}

/// The format of an image that a file begins like, where it is one that is read.
pub(crate) fn starts_like(path: &Path) -> Option<ImageFormat> {
    let start = || -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        // A pipe may never begin.
        if fs::metadata(path)?.is_file() {
            File::open(path)?.take(format::START as u64).read_to_end(&mut start)?;
        }
        Ok(start)
    };
    format::of(&start().ok()?).ok()
}

fn decode_bytes(path: &Path, bytes: &[u8]) -> Result<Picture, DataError> {
    let wrong = |e: image::ImageError| DataError::not_an_image(path, e);
    if bytes.is_empty() {
        return Err(DataError::not_an_image(path, "the file is empty"));
    }
    let format = format::of(bytes)
        .map_err(|reason| DataError::UnknownFormat { path: path.to_owned(), reason })?;
    match format {
        ImageFormat::Jpeg if !jpeg::is_complete(bytes) => {
            return Err(DataError::not_an_image(
                path,
                "the JPEG data end before the image does (a truncated file?)",
            ));
        }
        ImageFormat::Jpeg => {
            let mut image = jpeg::decode(path, bytes)?;
            if let Some(orientation) = exif::in_jpeg(bytes).as_deref().and_then(orientation) {
                image.apply_orientation(orientation);
            }
            return Ok(to_colour(image));
        }
        ImageFormat::Tiff => return tiff::decode(path, bytes),
        _ => {}
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MOST_BESIDE);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let per_pixel = u64::from(decoder.color_type().bytes_per_pixel());
    let room = Room::wait_for(path, decoder.dimensions(), per_pixel)?;
    limits.max_alloc = Some(MOST_BESIDE.max(room.bytes() as u64));
    decoder.set_limits(limits).map_err(wrong)?;
    let turned = match format {
        ImageFormat::Png => exif::in_png(bytes).and_then(orientation),
        _ => decoder.exif_metadata().map_err(wrong)?.as_deref().and_then(orientation),
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    if let Some(orientation) = turned {
        image.apply_orientation(orientation);
    }
    Ok(to_colour(image))
}

/// Luma of ITU-R BT.601 in 16-bit fixed point, the weights Pillow uses; gray stays the same gray.
pub(crate) fn luma([red, green, blue]: [u8; 3]) -> u8 {
    ((u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471 + 0x8000) >> 16)
        as u8
}

fn to_gray(picture: &Picture) -> Picture {
    let (colours, _) = picture.pixels.as_chunks::<3>();
    Picture {
        channels: 1,
        pixels: colours.iter().map(|&colour| luma(colour)).collect(),
        ..*picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_keeps_its_value() {
        let pixels: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
        let gray = to_gray(&Picture { width: 256, height: 1, channels: 3, pixels });
        assert_eq!(gray.pixels, (0..=255).collect::<Vec<u8>>());
        let colour = Picture { width: 1, height: 1, channels: 3, pixels: vec![255, 0, 0] };
        assert_eq!(to_gray(&colour).pixels, [76]);
    }
}
