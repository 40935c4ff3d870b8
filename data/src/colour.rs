//! Decoded images as three channels of eight bits.

use image::DynamicImage;

use crate::resize::Picture;

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
