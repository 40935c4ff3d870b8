//! The idx format of the MNIST family, gzip-compressed or not.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::DataError;
use crate::shape::ImageShape;

const LABELS_MAGIC: u32 = 0x0801;
const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_HEADER: usize = 8;
const IMAGES_HEADER: usize = 16;

/// Reads the images of an idx file: u8 [n, 1, height, width]. `path` is for messages.
pub(crate) fn images(path: &Path, bytes: &[u8], shape: ImageShape) -> Result<Vec<u8>, DataError> {
    let mut reader = Reader::new(path, bytes);
    reader.magic("idx image files", IMAGES_MAGIC, IMAGES_HEADER)?;
    let [count, height, width] = [
        reader.number(IMAGES_HEADER)?,
        reader.number(IMAGES_HEADER)?,
        reader.number(IMAGES_HEADER)?,
    ];
    if (height as usize, width as usize) != (shape.height, shape.width) {
        let (found_height, found_width) = (height, width);
        return Err(DataError::IdxShape {
            path: path.to_owned(),
            found_height,
            found_width,
            expected: shape,
        });
    }
    reader.rest(IMAGES_HEADER, u64::from(count) * shape.values() as u64)
}

/// Reads the labels of an idx file, each below `classes`.
pub(crate) fn labels(path: &Path, bytes: &[u8], classes: usize) -> Result<Vec<u32>, DataError> {
    let mut reader = Reader::new(path, bytes);
    reader.magic("idx label files", LABELS_MAGIC, LABELS_HEADER)?;
    let count = reader.number(LABELS_HEADER)?;
    let labels = reader.rest(LABELS_HEADER, u64::from(count))?;
    if let Some(record) = labels.iter().position(|&label| usize::from(label) >= classes) {
        let offset = (LABELS_HEADER + record) as u64;
        let value = u32::from(labels[record]);
        return Err(DataError::LabelOutOfRange {
            path: path.to_owned(),
            record,
            offset,
            value,
            classes,
        });
    }
    Ok(labels.into_iter().map(u32::from).collect())
}

/// The content of a file, for [`images`] and [`labels`].
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    fs::read(path).map_err(|e| DataError::io(path, "read the file", e))
}

struct Reader<'a> {
    path: &'a Path,
    input: Box<dyn Read + 'a>,
    /// Uncompressed bytes taken so far.
    taken: u64,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        let input: Box<dyn Read + 'a> = if bytes.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(bytes))
        } else {
            Box::new(bytes)
        };
        Self { path, input, taken: 0 }
    }

    fn magic(&mut self, what: &'static str, expected: u32, header: usize) -> Result<(), DataError> {
        let found = self.number(header)?;
        if found == expected {
            Ok(())
        } else {
            Err(DataError::IdxMagic { path: self.path.to_owned(), what, found, expected })
        }
    }

    /// The next number of a header of `header` bytes.
    fn number(&mut self, header: usize) -> Result<u32, DataError> {
        let bytes = self.take(4)?;
        match bytes.as_slice().try_into() {
            Ok(four) => Ok(u32::from_be_bytes(four)),
            Err(_) => Err(self.size(header as u64, Some(self.taken))),
        }
    }

    /// Exactly `wanted` bytes and then the end of the file.
    fn rest(&mut self, header: usize, wanted: u64) -> Result<Vec<u8>, DataError> {
        let expected = header as u64 + wanted;
        let bytes = self.take(wanted)?;
        if (bytes.len() as u64) < wanted {
            return Err(self.size(expected, Some(self.taken)));
        }
        if self.take(1)?.is_empty() { Ok(bytes) } else { Err(self.size(expected, None)) }
    }

    /// At most `wanted` bytes; fewer at the end of the file. Memory grows with what is there, not
    /// with what a header claims.
    fn take(&mut self, wanted: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        self.input
            .by_ref()
            .take(wanted)
            .read_to_end(&mut bytes)
            .map_err(|e| DataError::io(self.path, "decompress the file", e))?;
        self.taken += bytes.len() as u64;
        Ok(bytes)
    }

    fn size(&self, expected: u64, actual: Option<u64>) -> DataError {
        DataError::IdxSize { path: self.path.to_owned(), expected, actual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 2, width: 3 };

    fn image_file(count: u32, body: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [IMAGES_MAGIC, count, 2, 3].iter().flat_map(|v| v.to_be_bytes()).collect();
        bytes.extend((0..body).map(|i| i as u8));
        bytes
    }

    fn label_file(labels: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [LABELS_MAGIC, labels.len() as u32].iter().flat_map(|v| v.to_be_bytes()).collect();
        bytes.extend(labels);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_and_plain_files_read_the_same() {
        let path = Path::new("x");
        let plain = image_file(2, 12);
        assert_eq!(images(path, &plain, SHAPE).unwrap(), (0..12).collect::<Vec<u8>>());
        assert_eq!(images(path, &gzip(&plain), SHAPE).unwrap(), (0..12).collect::<Vec<u8>>());
        assert_eq!(labels(path, &gzip(&label_file(&[3, 0])), 4).unwrap(), [3, 0]);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = image_file(2, 12);
        for end in 0..whole.len() {
            let error = images(Path::new("x"), &whole[..end], SHAPE).unwrap_err();
            assert!(
                matches!(error, DataError::IdxSize { actual: Some(n), .. } if n == end as u64),
                "{end}: {error}"
            );
        }
        let packed = gzip(&whole);
        for end in 2..packed.len() {
            assert!(images(Path::new("x"), &packed[..end], SHAPE).is_err(), "{end}");
        }
    }

    #[test]
    fn too_long_a_file_is_an_error() {
        let error = images(Path::new("x"), &image_file(2, 13), SHAPE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x: the header promises 28 bytes (uncompressed), the file has more"
        );
    }

    #[test]
    fn wrong_magic_shape_and_labels_say_what_was_found() {
        let path = Path::new("x");
        let error = images(path, &label_file(&[1]), SHAPE).unwrap_err();
        assert!(error.to_string().contains("0x00000801"), "{error}");
        let other = ImageShape { channels: 1, height: 28, width: 28 };
        let error = images(path, &image_file(2, 12), other).unwrap_err();
        assert!(error.to_string().contains("2x3 pixels, expected 28x28"), "{error}");
        let error = labels(path, &label_file(&[1, 4]), 4).unwrap_err();
        assert!(
            matches!(
                error,
                DataError::LabelOutOfRange { record: 1, offset: 9, value: 4, classes: 4, .. }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_header_that_claims_too_much_reserves_nothing() {
        let error = images(Path::new("x"), &image_file(u32::MAX, 6), SHAPE).unwrap_err();
        assert!(matches!(error, DataError::IdxSize { actual: Some(22), .. }), "{error}");
    }
}
