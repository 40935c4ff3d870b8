//! The orientation of a photograph, as cameras and phones write it.

use image::metadata::Orientation;

use crate::jpeg::{self, Segment};

/// Tag of the orientation in the first directory (Exif 2.32, table 4).
const TAG: u16 = 0x112;
/// What stands before an Exif block in JPEG, and where some writers put one in other files.
const PREFIX: &[u8] = b"Exif\0\0";

/// The orientation that an Exif block or a TIFF file states, in every type of numbers as Pillow reads
/// them; bytes and text are none. `None` where none can be read.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let exif = exif.strip_prefix(PREFIX).unwrap_or(exif);
    let Entry { kind, value, .. } = first(exif, TAG)?;
    if matches!(kind, BYTE | ASCII | UNDEFINED) {
        return None;
    }
    (1..=8).find(|&known| value == f64::from(known)).and_then(Orientation::from_exif)
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

/// Types of values (TIFF 6.0) that are no numbers to Pillow, however many bytes they have.
const BYTE: u16 = 1;
const ASCII: u16 = 2;
const UNDEFINED: u16 = 7;

/// One number in a directory of a TIFF file, which an Exif block is.
pub(crate) struct Entry {
    /// Where the value begins in the file.
    pub(crate) at: usize,
    /// The most significant byte comes first.
    pub(crate) is_big: bool,
    /// Its type, by the number of it in TIFF.
    pub(crate) kind: u16,
    pub(crate) value: f64,
}

/// The number with a tag in the first directory of a TIFF or BigTIFF file, of several the first.
pub(crate) fn first(tiff: &[u8], tag: u16) -> Option<Entry> {
    let (is_big, is_long) = match tiff.get(..4)? {
        b"MM\0*" => (true, false),
        b"II*\0" => (false, false),
        b"MM\0+" => (true, true),
        b"II+\0" => (false, true),
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<u64> {
        let bytes = tiff.get(at..at.checked_add(bytes)?)?.iter().map(|&byte| u64::from(byte));
        let join = |value: u64, byte: u64| value << 8 | byte;
        Some(if is_big { bytes.fold(0, join) } else { bytes.rev().fold(0, join) })
    };
    // Bytes of an offset or a count, and of the number of entries.
    let (wide, of_number) = if is_long { (8, 8) } else { (4, 2) };
    let length = 4 + 2 * wide;
    let directory = usize::try_from(number(wide, wide)?).ok()?;
    let mut at = directory.checked_add(of_number)?;
    for _ in 0..number(directory, of_number)? {
        let entry = at;
        tiff.get(entry..entry.checked_add(length)?)?;
        at += length;
        let (kind, count) = (number(entry + 2, 2)? as u16, number(entry + 4, wide)?);
        let bytes = match kind {
            BYTE | ASCII | UNDEFINED | 6 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16 => 8,
            _ => continue,
        };
        if number(entry, 2)? != u64::from(tag) || count == 0 {
            continue;
        }
        // Values that fit lie in the entry, at its end, and others where it says.
        let all = usize::try_from(count).ok()?.checked_mul(bytes)?;
        let inside = entry + 4 + wide;
        let at = if all <= wide { inside } else { usize::try_from(number(inside, wide)?).ok()? };
        tiff.get(at..at.checked_add(all)?)?;
        let whole = number(at, bytes)?;
        let value = match kind {
            5 => whole_of(number(at, 4)?) / whole_of(number(at + 4, 4)?),
            6 => f64::from(whole as i8),
            8 => f64::from(whole as i16),
            9 => f64::from(whole as i32),
            10 => f64::from(number(at, 4)? as i32) / f64::from(number(at + 4, 4)? as i32),
            11 => f64::from(f32::from_bits(whole as u32)),
            12 => f64::from_bits(whole),
            _ => whole_of(whole),
        };
        return Some(Entry { at, is_big, kind, value });
    }
    None
}

/// Rounded beyond 2^53, where no value of a tag is looked for.
fn whole_of(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block whose first directory has another entry, and then the orientation. A value that does
    /// not fit lies behind.
    fn block(is_big: bool, kind: u16, value: &[u8]) -> Vec<u8> {
        let two = |v: u16| if is_big { v.to_be_bytes() } else { v.to_le_bytes() };
        let four = |v: u32| if is_big { v.to_be_bytes() } else { v.to_le_bytes() };
        let mut bytes = if is_big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        bytes.extend(four(10));
        bytes.extend([0, 0]);
        bytes.extend(two(2));
        let is_far = value.len() > 4;
        let inside = if is_far { four(36).to_vec() } else { value.to_vec() };
        for (tag, kind, value) in [(0x10f, 2, b"abc".to_vec()), (0x112, kind, inside)] {
            bytes.extend(two(tag));
            bytes.extend(two(kind));
            bytes.extend(four(1));
            bytes.extend([&value[..], &[0; 4][value.len()..]].concat());
        }
        if is_far {
            bytes.extend(value);
        }
        bytes
    }

    /// A value in a type of TIFF; types that are not of it as two bytes.
    fn stored(is_big: bool, kind: u16, value: u8) -> Vec<u8> {
        let order = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if !is_big {
                bytes.reverse();
            }
            bytes
        };
        let four = |value: u32| order(&value.to_be_bytes());
        match kind {
            1 | 6 | 7 => vec![value],
            2 => vec![b'0' + value],
            4 | 9 | 13 => four(value.into()),
            // Not in lowest terms.
            5 | 10 => [four(u32::from(value) * 2), four(2)].concat(),
            11 => order(&f32::from(value).to_be_bytes()),
            12 => order(&f64::from(value).to_be_bytes()),
            16..=18 => order(&u64::from(value).to_be_bytes()),
            _ => order(&u16::from(value).to_be_bytes()),
        }
    }

    /// Expected: whether ImageOps.exif_transpose of Pillow 13 turns a picture with such a block.
    #[test]
    fn every_type_of_both_orders_is_read_as_pillow_does() {
        #[rustfmt::skip]
        let turns = [
            (0, false), (1, false), (2, false), (3, true), (4, true), (5, true), (6, true),
            (7, false), (8, true), (9, true), (10, true), (11, true), (12, true), (13, true),
            (14, false), (15, false), (16, true), (17, false), (18, false),
        ];
        for (kind, turns) in turns {
            for (is_big, value) in
                [true, false].into_iter().flat_map(|b| (1..=8).map(move |v| (b, v)))
            {
                let block = block(is_big, kind, &stored(is_big, kind, value));
                let expected = turns.then(|| Orientation::from_exif(value)).flatten();
                assert_eq!(orientation(&block), expected, "type {kind}, {value}, {is_big}");
            }
        }
    }

    #[test]
    fn numbers_that_are_no_orientation_are_none() {
        let float = |v: f32| block(true, 11, &v.to_be_bytes());
        let ratio = |a: i32, b: i32| block(true, 10, &[a.to_be_bytes(), b.to_be_bytes()].concat());
        for (block, expected) in [
            (float(6.0), Some(6)),
            (float(6.5), None),
            (float(f32::NAN), None),
            (float(-6.0), None),
            (ratio(-12, -2), Some(6)),
            (ratio(12, -2), None),
            (ratio(6, 0), None),
            (ratio(0, 0), None),
            (ratio(13, 2), None),
            (block(true, 6, &[0xfa]), None),
            (block(true, 16, &(6_u64 + (1 << 32)).to_be_bytes()), None),
        ] {
            assert_eq!(orientation(&block), expected.and_then(Orientation::from_exif));
        }
    }

    /// Pillow takes the next entry with the tag where the type of one is not known or it is empty.
    #[test]
    fn an_entry_that_says_nothing_is_passed_over() {
        let mut twice = block(true, 3, &[0, 8]);
        // What is the other entry becomes an orientation.
        twice[12..14].copy_from_slice(&[1, 0x12]);
        for (kind, count, expected) in
            [(14, 1, Some(8)), (3, 0, Some(8)), (3, 1, Some(3)), (1, 1, None)]
        {
            twice[14..24].copy_from_slice(&[0, kind, 0, 0, 0, count, 0, 3, 0, 0]);
            assert_eq!(orientation(&twice), expected.and_then(Orientation::from_exif), "{kind}");
        }
    }

    #[test]
    fn a_directory_of_a_bigtiff_is_read() {
        let mut bytes = b"II+\0\x08\0\0\0".to_vec();
        bytes.extend(16_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend([0x12, 1, 16, 0]);
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(6_u64.to_le_bytes());
        assert_eq!(orientation(&bytes), Orientation::from_exif(6));
        assert!((0..bytes.len()).all(|end| orientation(&bytes[..end]).is_none()));
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
        assert!((0..whole.len()).all(|len| orientation(&whole[..len]).is_none()));
        assert_eq!(orientation(&block(true, 3, &[0, 9])), None);
        assert_eq!(orientation(&block(true, 4, &[1, 0, 0, 6])), None);
        assert_eq!(orientation(&block(true, 2, b"6")), None, "text");
        let mut far = whole;
        far[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(orientation(&far), None);
    }
}
