use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The version of `report.json`: the one value is written as `"adwp/report/1"`, and nothing else is
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schema;

impl Schema {
    /// The text in the file.
    pub const NAME: &'static str = "adwp/report/1";
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Self::NAME)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = String::deserialize(deserializer)?;
        if found == Self::NAME {
            Ok(Self)
        } else {
            Err(de::Error::invalid_value(de::Unexpected::Str(&found), &Self::NAME))
        }
    }
}
