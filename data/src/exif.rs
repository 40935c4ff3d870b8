//! The orientation of a photograph, as cameras and phones write it.

use image::metadata::Orientation;

/// Tag of the orientation in the first directory (Exif 2.32, table 4).
const TAG: u32 = 0x112;

/// The orientation that an Exif block states, whatever integer type it is stored in: the standard
/// has SHORT, and other writers use others. `None` where none can be read.
pub(crate) fn orientation(exif: &[u8]) -> Option<Orientation> {
    let is_big = match exif.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let number = |at: usize, bytes: usize| -> Option<u32> {
        let bytes = exif.get(at..at.checked_add(bytes)?)?.iter().map(|&byte| u32::from(byte));
        let join = |value: u32, byte: u32| value << 8 | byte;
        Some(if is_big { bytes.fold(0, join) } else { bytes.rev().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    for entry in 0..number(directory, 2)? as usize {
        let at = directory.checked_add(2 + 12 * entry)?;
        if number(at, 2)? != TAG || number(at + 4, 4)? != 1 {
            continue;
        }
        let bytes = match number(at + 2, 2)? {
            // BYTE and SBYTE; SHORT and SSHORT; LONG and SLONG. A value that fits lies in the entry,
            // at its beginning.
            1 | 6 => 1,
            3 | 8 => 2,
            4 | 9 => 4,
            _ => return None,
        };
        let value = number(at + 8, bytes)?;
        return Orientation::from_exif(u8::try_from(value).ok()?);
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
