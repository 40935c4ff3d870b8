use std::fs;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use crate::error::DataError;
use crate::exif::orientation;
use crate::jpeg;
use crate::resize::{Framing, Picture, frame};
use crate::shape::ImageShape;

/// More pixels than any photograph has, few enough that a small file cannot fill the memory.
const MOST_PIXELS: u64 = 1 << 27;
/// More bytes than the file of any photograph has.
pub const MOST_BYTES: u64 = 1 << 28;

/// Reads one JPEG or PNG file as u8 [channels, height, width] of `shape`: scaled so that it covers
/// the shape, then the centre cut out; converted to gray when the shape has one channel. What the
/// file is follows from its content, not from its name.
///
/// A viewer's rotation (EXIF orientation) is applied. Transparency is ignored: the colour below it
/// counts.
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
    frame(&for_channels(caught(name, bytes)?, shape)?, shape, framing, &mut out);
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
    caught(path, &read(path)?)
}

fn caught(path: &Path, bytes: &[u8]) -> Result<Picture, DataError> {
    // The decoders are large and read what strangers wrote: a panic in one of them must not end a
    // training run.
    match catch_unwind(AssertUnwindSafe(|| decode_bytes(path, bytes))) {
        Ok(result) => result,
        Err(_) => Err(DataError::not_an_image(path, "the decoder failed on it")),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
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

fn decode_bytes(path: &Path, bytes: &[u8]) -> Result<Picture, DataError> {
    let wrong = |e: image::ImageError| DataError::not_an_image(path, e);
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| DataError::io(path, "read the file", e))?;
    match reader.format() {
        Some(ImageFormat::Jpeg) if !jpeg::is_complete(bytes) => {
            return Err(DataError::not_an_image(
                path,
                "the JPEG data end before the image does (a truncated file?)",
            ));
        }
        Some(ImageFormat::Jpeg | ImageFormat::Png) => {}
        _ if bytes.is_empty() => return Err(DataError::not_an_image(path, "the file is empty")),
        _ => {
            return Err(DataError::not_an_image(
                path,
                "it starts like neither a JPEG nor a PNG file",
            ));
        }
    }
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(DataError::TooManyPixels {
            path: path.to_owned(),
            width,
            height,
            limit: MOST_PIXELS,
        });
    }
    if width == 0 || height == 0 {
        return Err(DataError::not_an_image(path, format!("it has {width}x{height} pixels")));
    }
    let exif = decoder.exif_metadata().map_err(wrong)?;
    let mut image = if is_jpeg {
        jpeg::decode(bytes, MOST_PIXELS).map_err(|e| DataError::not_an_image(path, e))?
    } else {
        DynamicImage::from_decoder(decoder).map_err(wrong)?
    };
    if let Some(orientation) = exif.as_deref().and_then(orientation) {
        image.apply_orientation(orientation);
    }
    Ok(to_colour(image))
}

/// Three channels of eight bits: gray is repeated, 16 bits are scaled, transparency is dropped.
fn to_colour(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let narrow = |v: u16| ((u32::from(v) + 128) / 257) as u8;
    let pixels = match image {
        DynamicImage::ImageRgb8(image) => image.into_raw(),
        DynamicImage::ImageLuma8(image) => {
            image.into_raw().into_iter().flat_map(|v| [v; 3]).collect()
        }
        DynamicImage::ImageLumaA8(image) => image.pixels().flat_map(|p| [p.0[0]; 3]).collect(),
        DynamicImage::ImageRgba8(image) => {
            image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect()
        }
        DynamicImage::ImageLuma16(image) => {
            image.pixels().flat_map(|p| [narrow(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageLumaA16(image) => {
            image.pixels().flat_map(|p| [narrow(p.0[0]); 3]).collect()
        }
        DynamicImage::ImageRgb16(image) => image.into_raw().into_iter().map(narrow).collect(),
        DynamicImage::ImageRgba16(image) => {
            image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]].map(narrow)).collect()
        }
        other => other.into_rgb8().into_raw(),
    };
    Picture { width, height, channels: 3, pixels }
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
