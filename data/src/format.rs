//! What a file is by its first bytes.

use image::{ImageFormat, guess_format};

/// First bytes of a file that are enough to tell.
pub(crate) const START: usize = 32;

/// The format of an image that is read; of other content what it looks like.
pub(crate) fn of(bytes: &[u8]) -> Result<ImageFormat, String> {
    // BigTIFF, which has room for larger files.
    if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
        return Ok(ImageFormat::Tiff);
    }
    match guess_format(bytes) {
        // Two letters are too few to tell a BMP by: a text can begin with them.
        Ok(ImageFormat::Bmp) if !has_bmp_header(bytes) => Err(other(bytes)),
        Ok(
            format @ (ImageFormat::Jpeg
            | ImageFormat::Png
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Gif
            | ImageFormat::Tiff
            | ImageFormat::Qoi),
        ) => Ok(format),
        // Letter and digit are as few.
        Ok(ImageFormat::Pnm) | Err(_) => Err(other(bytes)),
        Ok(format) => Err(unread(&format!("{format:?}"))),
    }
}

/// Whether the second header has a size that one can have.
fn has_bmp_header(bytes: &[u8]) -> bool {
    let size =
        bytes.get(14..).and_then(|rest| rest.first_chunk()).map(|&size| u32::from_le_bytes(size));
    size.is_some_and(|size| (12..=124).contains(&size))
}

fn unread(name: &str) -> String {
    format!("it is a file of the format {name}, which is not read")
}

fn other(bytes: &[u8]) -> String {
    let is_pnm = matches!(bytes, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace());
    let known: [(bool, &str); 6] = [
        (is_pnm, "PNM"),
        (bytes.starts_with(b"8BPS"), "Photoshop"),
        (bytes.starts_with(b"%PDF"), "PDF"),
        (bytes.starts_with(b"\0\0\0\x0cjP  "), "JPEG 2000"),
        (bytes.starts_with(b"\xff\x0a") || bytes.starts_with(b"\0\0\0\x0cJXL "), "JPEG XL"),
        (is_heif(bytes), "HEIF (HEIC)"),
    ];
    if let Some((_, name)) = known.into_iter().find(|(is_it, _)| *is_it) {
        return unread(name);
    }
    let start = &bytes[..bytes.len().min(512)];
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace() || *byte > 0x7f;
    match String::from_utf8_lossy(start).trim_start().to_ascii_lowercase() {
        text if text.starts_with("<svg") || text.contains("<svg ") => unread("SVG"),
        text if text.starts_with("<!doctype html") || text.starts_with("<html") => {
            "it is a web page".to_owned()
        }
        _ if start.iter().all(is_text) => "it is a text".to_owned(),
        _ => "it begins like no image".to_owned(),
    }
}

/// Whether the first box names a brand of still images of HEIF.
fn is_heif(bytes: &[u8]) -> bool {
    const BRANDS: [&[u8]; 8] =
        [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    bytes.get(4..8) == Some(b"ftyp")
        && bytes.get(8..12).is_some_and(|brand| BRANDS.contains(&brand))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_is_not_read_says_what_it_is() {
        for (content, expected) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0"[..], "HEIF"),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "Avif"),
            (b"\xff\x0a1234", "JPEG XL"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
            (b"8BPS\0\x01", "Photoshop"),
            (b"%PDF-1.7", "PDF"),
            (b"P6\n3 2\n255\n", "PNM"),
            (b"<?xml version=\"1.0\"?>\n<svg width=\"3\"/>", "SVG"),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"<html>Too many requests</html>", "web page"),
            (b"hello", "a text"),
            (b"BMW is a make of cars and not an image", "a text"),
            (b"P2P", "a text"),
            (b"\x01\x02\x03", "begins like no image"),
            (b"", "a text"),
        ] {
            let found = of(content).unwrap_err();
            assert!(found.contains(expected), "{found}, expected {expected}");
        }
    }

    #[test]
    fn the_beginning_is_enough() {
        let bmp = [&b"BM"[..], &[0; 12], &[40, 0, 0, 0], &[0; 14]].concat();
        for (content, format) in [
            (&b"\xff\xd8\xff\xe0"[..], ImageFormat::Jpeg),
            (b"\x89PNG\r\n\x1a\n", ImageFormat::Png),
            (b"RIFF\x10\0\0\0WEBPVP8 ", ImageFormat::WebP),
            (&bmp, ImageFormat::Bmp),
            (b"GIF87a", ImageFormat::Gif),
            (b"GIF89a", ImageFormat::Gif),
            (b"II*\0", ImageFormat::Tiff),
            (b"MM\0*", ImageFormat::Tiff),
            (b"II+\0", ImageFormat::Tiff),
            (b"qoif", ImageFormat::Qoi),
        ] {
            assert_eq!(of(&content[..content.len().min(START)]), Ok(format));
        }
    }
}
