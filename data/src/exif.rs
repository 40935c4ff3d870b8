//! The orientation of a photograph, as cameras and phones write it.

use image::metadata::Orientation;

use crate::jpeg::{self, Segment};

/// Tag of the orientation in the first directory (Exif 2.32, table 4).
const TAG: u16 = 0x112;
/// What stands before an Exif block in JPEG, and where some writers put one in other files.
const PREFIX: &[u8] = b"Exif\0\0";

/// The orientation that an Exif block states, whatever integer type it is stored in: the standard
/// has SHORT, and other writers use others. `None` where none can be read.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let exif = exif.strip_prefix(PREFIX).unwrap_or(exif);
    let Entry { value, .. } = first(exif, TAG)?;
    Orientation::from_exif(u8::try_from(value).ok()?)
}

/// The Exif block of a JPEG file. Where it has several they are one, continued, as Pillow has it:
/// the first says where the directory is.
pub(crate) fn in_jpeg(file: &[u8]) -> Option<Vec<u8>> {
    let (mut found, mut rest): (Option<Vec<u8>>, _) = (None, file);
    while let Some(Segment { marker, content, behind }) = jpeg::segment(rest) {
        rest = behind;
        match (marker, content.strip_prefix(PREFIX)) {
            (jpeg::START_OF_SCAN | jpeg::END_OF_IMAGE, _) => break,
            (jpeg::APP1, Some(block)) => found.get_or_insert_default().extend(block),
            _ => {}
        }
    }
    found
}

/// The Exif block of a PNG file, which may stand before or behind the pixels.
pub(crate) fn in_png(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(8..)?;
    loop {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let content = rest.get(8..8_usize.checked_add(length)?)?;
        if rest.get(4..8)? == b"eXIf" {
            return Some(content);
        }
        // A checksum follows.
        rest = rest.get(12 + length..)?;
    }
}

/// One integer in a directory of a TIFF file, which an Exif block is.
pub(crate) struct Entry {
    /// Where the value begins in the file.
    pub(crate) at: usize,
    /// The most significant byte comes first.
    pub(crate) is_big: bool,
    pub(crate) value: u32,
}

/// The integer with a tag in the first directory, of several the first.
pub(crate) fn first(tiff: &[u8], tag: u16) -> Option<Entry> {
    let is_big = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<u32> {
        let bytes = tiff.get(at..at.checked_add(bytes)?)?.iter().map(|&byte| u32::from(byte));
        let join = |value: u32, byte: u32| value << 8 | byte;
        Some(if is_big { bytes.fold(0, join) } else { bytes.rev().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    for entry in 0..number(directory, 2)? as usize {
        let at = directory.checked_add(2 + 12 * entry)?;
        let count = number(at + 4, 4)? as usize;
        if number(at, 2)? != u32::from(tag) || count == 0 {
            continue;
        }
        let bytes = match number(at + 2, 2)? {
            // BYTE and SBYTE; SHORT and SSHORT; LONG and SLONG.
            1 | 6 => 1,
            3 | 8 => 2,
            4 | 9 => 4,
            _ => return None,
        };
        // Values that fit lie in the entry, at its beginning, and others where it says.
        let all = count.checked_mul(bytes)?;
        let at = if all <= 4 { at + 8 } else { number(at + 8, 4)? as usize };
        tiff.get(at..at.checked_add(all)?)?;
        return Some(Entry { at, is_big, value: number(at, bytes)? });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block whose first directory has another entry, and then the orientation.
    fn block(is_big: bool, kind: u16, value: &[u8]) -> Vec<u8> {
        let two = |v: u16| if is_big { v.to_be_bytes() } else { v.to_le_bytes() };
        let four = |v: u32| if is_big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut bytes = if is_big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(four(10));
        bytes.extend([0, 0]);
        bytes.extend(two(2));
        for (tag, kind, value) in [(0x10f, 2, &b"abc"[..]), (0x112, kind, value)] {
            bytes.extend(two(tag));
            bytes.extend(two(kind));
            bytes.extend(four(1));
            bytes.extend([value, &[0; 4][value.len()..]].concat());
        }
        bytes
    }

    #[test]
    fn every_integer_type_of_both_orders_is_read() {
        for value in 1..=8_u8 {
            let expected = Orientation::from_exif(value);
            for kind in [1, 6] {
                assert_eq!(orientation(&block(true, kind, &[value])), expected);
                assert_eq!(orientation(&block(false, kind, &[value])), expected);
            }
            for kind in [3, 8] {
                assert_eq!(orientation(&block(true, kind, &[0, value])), expected);
                assert_eq!(orientation(&block(false, kind, &[value, 0])), expected);
            }
            for kind in [4, 9] {
                assert_eq!(orientation(&block(true, kind, &[0, 0, 0, value])), expected);
                assert_eq!(orientation(&block(false, kind, &[value, 0, 0, 0])), expected);
            }
        }
    }

    #[test]
    fn of_several_values_the_first_counts() {
        for is_big in [true, false] {
            let with = |count: u32, value: &[u8]| {
                let mut bytes = block(is_big, 3, value);
                let at = 10 + 2 + 12 + 4;
                let count = if is_big { count.to_be_bytes() } else { count.to_le_bytes() };
                bytes[at..at + 4].copy_from_slice(&count);
                bytes
            };
            let short = |v: u16| if is_big { v.to_be_bytes() } else { v.to_le_bytes() };
            let two = [short(6), short(3)].concat();
            assert_eq!(orientation(&with(2, &two)), Orientation::from_exif(6));
            // Three do not fit into the entry.
            let far = if is_big { 36_u32.to_be_bytes() } else { 36_u32.to_le_bytes() };
            let mut bytes = with(3, &far);
            assert_eq!(bytes.len(), 36);
            bytes.extend([short(8), short(3), short(1)].concat());
            assert_eq!(orientation(&bytes), Orientation::from_exif(8));
            assert_eq!(orientation(&bytes[..41]), None, "the third is missing");
            assert_eq!(orientation(&with(0, &two)), None);
            assert_eq!(orientation(&with(u32::MAX, &far)), None);
        }
    }

    #[test]
    fn of_several_blocks_in_a_jpeg_the_first_counts() {
        let segment = |marker: u8, content: &[u8]| {
            [&[0xff, marker][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
        };
        let exif = |value: u8| segment(0xe1, &[PREFIX, &block(true, 3, &[0, value])].concat());
        let other = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>");
        let comment = segment(0xfe, &exif(3));
        let scan = [&[0xff, 0xda, 0, 2, 1][..], &exif(5), &[0xff, 0xd9]].concat();
        let file = |segments: &[&[u8]]| [&[0xff, 0xd8], &segments.concat()[..], &scan].concat();
        let turned = |segments: &[&[u8]]| in_jpeg(&file(segments)).as_deref().and_then(orientation);
        assert_eq!(turned(&[&comment, &other, &exif(6), &exif(8)]), Orientation::from_exif(6));
        // The directory is that of the first, whatever it lacks.
        let mut without = block(true, 3, &[0, 6]);
        without[10 + 2 + 12] = 9;
        let without = segment(0xe1, &[PREFIX, &without].concat());
        assert_eq!(turned(&[&without, &exif(6)]), None);
        assert_eq!(in_jpeg(&file(&[&comment, &other])), None);
        let whole = file(&[&exif(6)]);
        assert!((0..whole.len()).all(|end| in_jpeg(&whole[..end]).is_none_or(|b| b.len() == 36)));
    }

    #[test]
    fn the_mark_of_jpeg_before_a_block_is_passed_over() {
        let marked = [PREFIX, &block(true, 3, &[0, 6])].concat();
        assert_eq!(orientation(&marked), Orientation::from_exif(6));
    }

    #[test]
    fn a_block_of_a_png_is_found_before_and_behind_the_pixels() {
        let chunk = |name: &[u8; 4], content: &[u8]| {
            [&(content.len() as u32).to_be_bytes()[..], name, content, b"sums"].concat()
        };
        let start = b"\x89PNG\r\n\x1a\n".to_vec();
        let (pixels, exif) = (chunk(b"IDAT", b"pixels"), chunk(b"eXIf", b"block"));
        for file in [[&start[..], &exif, &pixels].concat(), [&start[..], &pixels, &exif].concat()] {
            assert_eq!(in_png(&file), Some(&b"block"[..]));
            assert!((0..file.len() - pixels.len() - 4).all(|end| in_png(&file[..end]).is_none()));
        }
        let endless = [&start[..], &[0xff; 12]].concat();
        assert_eq!(in_png(&endless), None);
    }

    #[test]
    fn what_is_no_orientation_is_none() {
        let whole = block(true, 3, &[0, 6]);
        assert!((0..whole.len()).all(|len| {
            let cut = orientation(&whole[..len]);
            cut.is_none() || len >= whole.len() - 2
        }));
        assert_eq!(orientation(&block(true, 3, &[0, 9])), None);
        assert_eq!(orientation(&block(true, 4, &[1, 0, 0, 6])), None);
        assert_eq!(orientation(&block(true, 2, b"6")), None, "text");
        let mut far = whole;
        far[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(orientation(&far), None);
    }
}
