//! An architecture that was chosen by name, not searched.

use serde::{Deserialize, Serialize};

use super::{Architecture, ZooEntry};
use crate::genotype::parse;
use crate::{Blueprint, ModelError, Skeleton};

const SCHEMA: &str = "adwp/architecture/1";

/// An architecture under a name: `architecture.json` of a run that trains a published one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedArchitecture {
    schema: String,
    /// That of the zoo, or one of the user's own.
    pub name: String,
    /// What it is; sizes belong to the [`Skeleton`].
    pub architecture: Architecture,
}

impl NamedArchitecture {
    /// The schema that its file starts with.
    pub const SCHEMA: &str = SCHEMA;

    /// Reads `architecture.json`.
    ///
    /// # Errors
    /// Unknown schema, unknown keys or operations, cells that read later nodes, a builder's numbers that make no network.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let named: Self = parse(text, "architecture", SCHEMA)?;
        if named.name.trim().is_empty() || named.name.chars().any(char::is_control) {
            return Err(ModelError::Invalid("architecture: its name must be one line of text".into()));
        }
        named.architecture.validate().map_err(|e| ModelError::Invalid(format!("architecture: {e}")))?;
        Ok(named)
    }

    /// The text of `architecture.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("an architecture has only strings and numbers") + "\n"
    }
}

impl From<&ZooEntry> for NamedArchitecture {
    fn from(entry: &ZooEntry) -> Self {
        Self { schema: SCHEMA.to_owned(), name: entry.name.clone(), architecture: entry.architecture.clone() }
    }
}

impl Architecture {
    /// The network of given sizes. One with a builder of its own takes image and classes of them, and has its own cells and channels.
    ///
    /// # Errors
    /// When a network cannot have so many cells, or the cells are not of the DARTS space.
    pub fn network(&self, skeleton: Skeleton) -> Result<Blueprint, ModelError> {
        Ok(match self {
            Self::Cells(cells) => Blueprint::Cells { genotype: cells.genotype(skeleton.cells)?, skeleton },
            Self::WideCells(cells) => Blueprint::WideCells { cells: cells.clone(), skeleton },
            Self::Handmade(network) => Blueprint::Handmade { network: *network, image: skeleton.image, classes: skeleton.classes },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stem, Zoo};

    #[test]
    fn a_file_gives_the_network_that_was_named() {
        let skeleton = Skeleton { stem: Stem::Cifar, cells: 5, channels: 4, classes: 3, image: [3, 32, 32] };
        for name in ["gdas", "nasnet-a", "densenet-bc-100"] {
            let entry = Zoo::embedded().find(name).unwrap();
            let named = NamedArchitecture::from(entry);
            let read = NamedArchitecture::from_json(&named.to_json()).unwrap();
            assert_eq!(read, named);
            let network = read.architecture.network(skeleton).unwrap();
            assert_eq!((network.image(), network.classes()), ([3, 32, 32], 3), "{name}");
            assert_eq!(network.skeleton(), (name != "densenet-bc-100").then_some(skeleton), "{name}");
        }
    }

    #[test]
    fn files_that_are_wrong_are_refused() {
        let right = NamedArchitecture::from(Zoo::embedded().find("densenet-bc-100").unwrap()).to_json();
        for (from, to, why) in [
            ("architecture/1", "architecture/2", "adwp/architecture/2"),
            ("densenet-bc-100", " ", "one line of text"),
            ("densenet-bc-100", "a\\nb", "one line of text"),
            ("\"depth\": 100", "\"depth\": 99", "6n + 4"),
            ("\"depth\"", "\"width\"", "width"),
            ("densenet_bc\"", "densenet\"", "densenet"),
        ] {
            assert!(right.contains(from), "{from} is not in {right}");
            let error = NamedArchitecture::from_json(&right.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let cells = NamedArchitecture::from(Zoo::embedded().find("gdas").unwrap()).to_json();
        let error = NamedArchitecture::from_json(&cells.replacen("\"input\": 0", "\"input\": 9", 1)).unwrap_err().to_string();
        assert!(error.starts_with("architecture: "), "{error}");
    }
}
