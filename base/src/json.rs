use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Checksum;

/// Why a text is not the JSON of a schema.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is no JSON of the expected form; the parser's message names key, line and column.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
    /// It has a schema that is not the one this version reads.
    #[error("unknown schema {found:?}, expected {expected:?}")]
    Schema {
        /// The schema in the text.
        found: String,
        /// The schema this version reads.
        expected: &'static str,
    },
    /// It is not what its checksum was written for.
    #[error(
        "it was changed after it was written: its checksum is {found}, what it holds has {counted}; \
         where that was meant, take its key `checksum` out"
    )]
    Changed {
        /// The checksum in the text.
        found: String,
        /// The checksum of the rest.
        counted: Checksum,
    },
}

/// Parses JSON whose key `schema` has the value `expected`. The schema is looked at first, so that
/// a file of another version is reported as such and not as a wrong key; then the checksum of
/// [`to_json`], where there is one. How the text is laid out does not matter to it.
///
/// # Errors
/// [`JsonError`].
pub fn from_json<T: DeserializeOwned>(text: &str, expected: &'static str) -> Result<T, JsonError> {
    // The second field makes serde refuse arrays, whose first element it would take for a schema.
    #[derive(Deserialize)]
    #[serde(expecting = "an object with the key `schema`")]
    struct Version {
        schema: String,
        #[serde(flatten)]
        _rest: IgnoredAny,
    }
    let Version { schema: found, .. } = serde_json::from_str(text)?;
    if found != expected {
        return Err(JsonError::Schema { found, expected });
    }
    from_json_without_schema(text)
}

/// Parses JSON that has no schema, and checks its checksum where it has one.
///
/// # Errors
/// [`JsonError::Form`] and [`JsonError::Changed`].
pub fn from_json_without_schema<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    match unsealed(serde_json::from_str(text)?)? {
        (value, true) => Ok(serde_json::from_value(value)?),
        // Its messages have lines and columns, which whoever wrote it by hand can use.
        (_, false) => Ok(serde_json::from_str(text)?),
    }
}

/// The text of a JSON file with this value, an object, whose last key is the checksum of the rest.
/// What goes to stdout is [`as_json`](crate::output::as_json), which has none.
///
/// # Panics
/// Where the value's `Serialize` fails, it has a map whose keys are not strings, or it is no object:
/// types of the program's own files do none of it.
pub fn to_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value).expect("the types of files print as JSON");
    sealed(&text, "\n  ", ": ", "\n")
}

/// The text of a value as a line of a file, with its end: like [`to_json`], without other breaks.
///
/// # Panics
/// As [`to_json`].
pub fn to_json_line(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("the types of files print as JSON");
    sealed(&text, "", ":", "")
}

/// Adds the checksum to the text of an object: after `before`, with `between` key and value, and
/// `after` before the bracket.
fn sealed(text: &str, before: &str, between: &str, after: &str) -> String {
    // Of the text, since a number can have other digits in it than in a value.
    let value: Value = serde_json::from_str(text).expect("what was printed is JSON");
    assert!(
        value.as_object().is_some_and(|object| !object.contains_key(Checksum::KEY)),
        "a file holds an object without a checksum: {text}"
    );
    let (key, checksum) = (Checksum::KEY, Checksum::of_value(&value));
    let body = text.strip_suffix('}').expect("an object ends in a bracket").trim_end();
    let comma = if body.ends_with('{') { "" } else { "," };
    format!("{body}{comma}{before}\"{key}\"{between}\"{checksum}\"{after}}}\n")
}

/// A value without its checksum, and whether it had one.
///
/// # Errors
/// [`JsonError::Changed`] when it is that of another value.
pub(crate) fn unsealed(mut value: Value) -> Result<(Value, bool), JsonError> {
    let found = value.as_object_mut().and_then(|object| object.remove(Checksum::KEY));
    let Some(found) = found else { return Ok((value, false)) };
    let counted = Checksum::of_value(&value);
    match found {
        Value::String(found) if found == counted.to_string() => Ok((value, true)),
        Value::String(found) => Err(JsonError::Changed { found, counted }),
        found => Err(JsonError::Changed { found: found.to_string(), counted }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        schema: String,
        x: f64,
        name: String,
        small: f32,
    }

    fn point() -> Point {
        Point { schema: "point/2".into(), x: 0.1 + 0.2, name: "checksum".into(), small: 0.1 }
    }

    fn parse(text: &str) -> Result<Point, String> {
        from_json::<Point>(text, "point/2").map_err(|e| e.to_string())
    }

    #[test]
    fn the_schema_is_looked_at_before_the_keys() {
        assert_eq!(parse(&to_json(&point())).unwrap(), point());
        assert_eq!(
            parse(r#"{"y": 1, "schema": "point/1"}"#).unwrap_err(),
            r#"unknown schema "point/1", expected "point/2""#
        );
        let later = to_json(&point()).replace("point/2", "point/3");
        assert!(parse(&later).unwrap_err().contains(r#"unknown schema "point/3""#));
        assert!(parse("{}").unwrap_err().contains("missing field `schema`"));
        assert!(parse(r#"["point/2", 1]"#).unwrap_err().contains("the key `schema`"));
        let unknown = r#"{"schema": "point/2", "x": 1, "y": 1}"#;
        assert!(parse(unknown).unwrap_err().contains("unknown field `y`"));
    }

    #[test]
    fn a_file_is_what_was_written_however_it_is_laid_out() {
        let text = to_json(&point());
        assert!(
            text.ends_with("\"\n}\n") && text.contains("\n  \"checksum\": \"crc32c:"),
            "{text}"
        );
        let value: Value = serde_json::from_str(&text).unwrap();
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let compact = value.to_string();
        assert_eq!(parse(&compact).unwrap(), point());
        keys.reverse();
        let turned: Vec<String> =
            keys.iter().map(|key| format!("\"{key}\":{}", value[key])).collect();
        assert_eq!(parse(&format!("{{\n{}}}", turned.join(" ,\t"))).unwrap(), point());
        // Neither a file of an older version nor one by hand has a checksum.
        let by_hand = without_checksum(&text).replace("0.30000000000000004", "7");
        assert_eq!(parse(&by_hand).unwrap(), Point { x: 7.0, ..point() });
        let of_none: BTreeMap<String, f64> =
            from_json_without_schema(&to_json(&BTreeMap::<String, f64>::new())).unwrap();
        assert!(of_none.is_empty());
    }

    fn without_checksum(text: &str) -> String {
        let at = text.find(",\n  \"checksum\":").unwrap();
        format!("{}\n}}\n", &text[..at])
    }

    #[test]
    fn a_change_of_any_bit_is_noticed_or_changes_nothing() {
        let text = to_json(&point());
        let line = to_json_line(&point());
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        for text in [text, line] {
            let mut changed = 0;
            for bit in 0..8 * text.len() {
                let mut bytes = text.clone().into_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let Ok(damaged) = String::from_utf8(bytes) else { continue };
                match from_json::<Point>(&damaged, "point/2") {
                    Ok(read) => assert_eq!(read, point(), "{damaged}"),
                    Err(JsonError::Changed { .. }) => changed += 1,
                    Err(_) => {}
                }
            }
            assert!(changed > 100, "{changed} were noticed by the checksum");
        }
    }

    #[test]
    fn what_was_changed_says_how_it_is_taken_as_it_is() {
        let text = to_json(&point()).replace("0.30000000000000004", "0.5");
        let refused = parse(&text).unwrap_err();
        assert!(refused.contains("take its key `checksum` out"), "{refused}");
        assert_eq!(parse(&without_checksum(&text)).unwrap().x, 0.5);
        let number = text.replace("\"crc32c:", "12, \"x\": \"");
        assert!(parse(&number).unwrap_err().contains("its checksum is 12"), "{number}");
    }
}
