//! Checksums, by which damage is noticed.

use std::fmt;

use serde_json::Value;

/// CRC-32C of what a file holds, as it stands in the file: `crc32c:` and eight hexadecimal digits.
/// It tells damage, of which a single bit suffices. It is no protection against intent: whoever
/// changes a file can count a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum(u32);

impl Checksum {
    /// The key that has it, in an object of JSON.
    pub const KEY: &str = "checksum";

    /// That of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::default().and(bytes)
    }

    /// That of the bytes so far, followed by these.
    #[must_use]
    pub fn and(self, bytes: &[u8]) -> Self {
        Self(crc32c::crc32c_append(self.0, bytes))
    }

    /// That of a value, however its text is laid out: keys in order, and no blanks.
    pub fn of_value(value: &Value) -> Self {
        let mut value = value.clone();
        // Where a crate of the program wants keys to keep their order, they do so in all crates.
        value.sort_all_objects();
        Self::of(value.to_string().as_bytes())
    }
}

/// What a file says of the bytes before it says so: their checksum and how many they are.
pub fn statement(bytes: &[u8]) -> String {
    format!("{}{}", Checksum::of(bytes), of_length(bytes))
}

/// Whether `statement` is of as many bytes, and of others: a bit of the file is not what it was, or
/// of the statement. One of another number of bytes is of another file, which something else has
/// made of it.
pub fn contradicts(statement: &str, bytes: &[u8]) -> bool {
    statement.ends_with(&of_length(bytes)) && statement != self::statement(bytes)
}

fn of_length(bytes: &[u8]) -> String {
    format!(" of {} bytes", bytes.len())
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crc32c:{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_standard_and_of_all_parts_together() {
        // The check value of CRC-32C.
        assert_eq!(Checksum::of(b"123456789").to_string(), "crc32c:e3069283");
        assert_eq!(Checksum::of(b"1234").and(b"").and(b"56789"), Checksum::of(b"123456789"));
    }

    #[test]
    fn a_statement_contradicts_other_bytes_of_its_length() {
        let stated = statement(b"123456789");
        assert_eq!(stated, "crc32c:e3069283 of 9 bytes");
        assert!(!contradicts(&stated, b"123456789"));
        assert!(contradicts(&stated, b"123456788"));
        assert!(contradicts("crc32c:e3069282 of 9 bytes", b"123456789"));
        assert!(!contradicts(&stated, b"12345678"));
    }

    #[test]
    fn a_value_has_one_whatever_its_layout() {
        let of = |text: &str| Checksum::of_value(&serde_json::from_str(text).unwrap());
        let value = of(r#"{"a": {"c": 1e-5, "b": [1, 2.50]}, "d": "\u0041"}"#);
        assert_eq!(of(r#"{"d":"A","a":{"b":[1,2.5],"c":0.00001}}"#), value);
        for other in [
            r#"{"a": {"c": 1e-5, "b": [2, 2.50]}, "d": "A"}"#,
            r#"{"a": {"c": 1e-5, "b": [1, 2.50]}, "d": "B"}"#,
            r#"{"a": {"c": 1e-5, "b": [1, 2.50]}, "e": "A"}"#,
        ] {
            assert_ne!(of(other), value, "{other}");
        }
    }
}
