use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

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
}

/// Parses JSON whose key `schema` has the value `expected`. The schema is looked at first, so that
/// a file of another version is reported as such and not as a wrong key.
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
    Ok(serde_json::from_str(text)?)
}

/// The text of a JSON file with this value.
///
/// # Panics
/// Where the value's `Serialize` fails, or it has a map whose keys are not strings: types of the
/// program's own files do neither.
pub fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("the types of files print as JSON") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Point {
        schema: String,
        x: f64,
    }

    #[test]
    fn the_schema_is_looked_at_before_the_keys() {
        let parse = |text: &str| from_json::<Point>(text, "point/2").map_err(|e| e.to_string());
        let point = Point { schema: "point/2".into(), x: 0.5 };
        assert_eq!(parse(&to_json(&point)).unwrap(), point);
        assert_eq!(
            parse(r#"{"y": 1, "schema": "point/1"}"#).unwrap_err(),
            r#"unknown schema "point/1", expected "point/2""#
        );
        assert!(parse("{}").unwrap_err().contains("missing field `schema`"));
        assert!(parse(r#"["point/2", 1]"#).unwrap_err().contains("the key `schema`"));
        assert!(parse(r#"{"schema": "point/2", "x": 1, "y": 1}"#).unwrap_err().contains("`y`"));
    }
}
