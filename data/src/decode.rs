use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::error::DataError;
use crate::exif::{self, orientation};
use crate::resize::{Framing, Picture, frame};
use crate::shape::ImageShape;
use crate::{format, jpeg, tiff};

/// More pixels than any photograph has, those of phones with 200 megapixels included.
const MOST_PIXELS: u64 = 1 << 28;
/// More bytes than the file of any photograph has.
pub const MOST_BYTES: u64 = 1 << 28;
/// Bytes that decoded images may take at a time, those of all threads together. A small file can
/// claim as many pixels as any photograph; many such files, read by many threads, must not fill the
/// memory.
const MOST_DECODED: u64 = 4 * MOST_PIXELS;
/// Bytes that a decoder may take beside the picture, such as for a colour profile or for a part of
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

/// Whether a file begins like an image of a format that is read.
pub(crate) fn starts_like_an_image(path: &Path) -> bool {
    let start = || -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        // A pipe may never begin.
        if fs::metadata(path)?.is_file() {
            File::open(path)?.take(format::START as u64).read_to_end(&mut start)?;
        }
        Ok(start)
    };
    start().is_ok_and(|start| format::of(&start).is_ok())
}

/// Room for a decoded image, among those that other threads decode.
pub(crate) struct Room(u64);

static TAKEN: Mutex<u64> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

impl Room {
    /// Waits until there is room for an image of this size, each pixel of which is decoded to so
    /// many bytes.
    pub(crate) fn wait_for(
        path: &Path,
        (width, height): (u32, u32),
        bytes: u64,
    ) -> Result<Self, DataError> {
        if width == 0 || height == 0 {
            return Err(DataError::not_an_image(path, format!("it has {width}x{height} pixels")));
        }
        let pixels = u64::from(width) * u64::from(height);
        let limit = MOST_PIXELS.min(MOST_DECODED / bytes.max(1));
        if pixels > limit {
            return Err(DataError::TooManyPixels { path: path.to_owned(), width, height, limit });
        }
        let (bytes, taken) = (pixels * bytes, TAKEN.lock().unwrap_or_else(PoisonError::into_inner));
        let is_full = |taken: &mut u64| *taken + bytes > MOST_DECODED;
        *LEFT.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner) += bytes;
        Ok(Self(bytes))
    }

    /// Bytes of the image.
    pub(crate) fn bytes(&self) -> usize {
        self.0 as usize
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        LEFT.notify_all();
    }
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
    limits.max_alloc = Some(MOST_BESIDE.max(room.0));
    decoder.set_limits(limits).map_err(wrong)?;
    let turned = match format {
        ImageFormat::Png => exif::in_png(bytes).and_then(orientation),
        _ => decoder.exif_metadata().map_err(wrong)?.as_deref().and_then(orientation),
    };
    let mut image = if format == ImageFormat::Jpeg {
        jpeg::decode(bytes, MOST_PIXELS).map_err(|e| DataError::not_an_image(path, e))?
    } else {
        DynamicImage::from_decoder(decoder).map_err(wrong)?
    };
    if let Some(orientation) = turned {
        image.apply_orientation(orientation);
    }
    Ok(to_colour(image))
}

/// Sixteen bits of a sample to eight, rounded.
pub(crate) fn narrow(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// Three channels of eight bits: gray is repeated, 16 bits are scaled, transparency is dropped.
pub(crate) fn to_colour(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
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
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn room_is_given_back_and_no_more_is_taken_than_there_is() {
        let path = Path::new("x");
        let most = 1 << 14;
        let limit = |size, bytes| match Room::wait_for(path, size, bytes) {
            Ok(_) => None,
            Err(DataError::TooManyPixels { limit, .. }) => Some(limit),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(limit((16_320, 12_240), 3), None, "a phone's 200 megapixels");
        assert_eq!(limit((most, most), 4), None);
        assert_eq!(limit((most, most + 1), 3), Some(MOST_PIXELS));
        assert_eq!(limit((most, most), 8), Some(MOST_PIXELS / 2));
        assert!(matches!(Room::wait_for(path, (0, 5), 3), Err(DataError::NotAnImage { .. })));
        let (seen, most_seen) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let room = Room::wait_for(path, (most, most / 2), 3).unwrap();
                        let now = seen.fetch_add(room.0, Ordering::SeqCst) + room.0;
                        most_seen.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        seen.fetch_sub(room.0, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most_seen.into_inner() <= MOST_DECODED);
    }

    #[test]
    fn gray_keeps_its_value() {
        let pixels: Vec<u8> = (0..=255).flat_map(|v| [v; 3]).collect();
        let gray = to_gray(&Picture { width: 256, height: 1, channels: 3, pixels });
        assert_eq!(gray.pixels, (0..=255).collect::<Vec<u8>>());
        let colour = Picture { width: 1, height: 1, channels: 3, pixels: vec![255, 0, 0] };
        assert_eq!(to_gray(&colour).pixels, [76]);
    }
}
