//! An architecture that was chosen by name, not searched.

use serde::{Deserialize, Serialize};

use super::{Architecture, Stack, Width, Zoo, ZooEntry};
use crate::genotype::parse;
use crate::space::Member;
use crate::{Blueprint, ModelError, Sizes, Skeleton, Stem};

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
    /// Unknown schema, unknown keys or operations, cells that read later nodes, a builder's numbers
    /// that make no network.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let named: Self = parse(text, "architecture", SCHEMA)?;
        if named.name.trim().is_empty() || named.name.chars().any(char::is_control) {
            return Err(ModelError::Invalid(
                "architecture: its name must be one line of text".into(),
            ));
        }
        named
            .architecture
            .validate()
            .map_err(|e| ModelError::Invalid(format!("architecture: {e}")))?;
        Ok(named)
    }

    /// The network of given sizes. What is not given is as published, where the zoo has this
    /// architecture under this name.
    ///
    /// # Errors
    /// When the sizes are not complete, or are those of cells and it has none.
    pub fn network(&self, sizes: Sizes) -> Result<Blueprint, ModelError> {
        let entry = Zoo::embedded()
            .find(&self.name)
            .ok()
            .filter(|entry| entry.architecture == self.architecture);
        of_sizes(&self.name, &self.architecture, entry, sizes)
    }

    /// The text of `architecture.json`.
    pub fn to_json(&self) -> String {
        adwp_base::to_json(self)
    }
}

impl From<Member> for NamedArchitecture {
    /// Under the text that its space writes.
    fn from(member: Member) -> Self {
        let (name, architecture) = (member.to_string(), Architecture::Member(member));
        Self { schema: SCHEMA.to_owned(), name, architecture }
    }
}

impl From<&ZooEntry> for NamedArchitecture {
    fn from(entry: &ZooEntry) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            name: entry.name.clone(),
            architecture: entry.architecture.clone(),
        }
    }
}

impl Architecture {
    /// Cells and channels of the networks that the publication of its space trained; none where
    /// it is of no named space.
    pub fn stack(&self) -> Option<Stack> {
        match self {
            Self::Member(member) => {
                let Skeleton { cells, channels, .. } = member.named().published;
                Some(Stack { cells, channels })
            }
            Self::Cells(_) | Self::WideCells(_) | Self::Handmade(_) => None,
        }
    }

    /// The network of given sizes. One with a builder of its own takes image and classes of them,
    /// and has the cells and channels that were published.
    ///
    /// # Errors
    /// When a network cannot have so many cells, or the cells are not of the DARTS space.
    pub fn network(&self, skeleton: Skeleton) -> Result<Blueprint, ModelError> {
        Ok(match self {
            Self::Cells(cells) => {
                Blueprint::Cells { genotype: cells.genotype(skeleton.cells)?, skeleton }
            }
            Self::WideCells(cells) => Blueprint::WideCells { cells: cells.clone(), skeleton },
            Self::Member(member) => Blueprint::Member { member: member.clone(), skeleton },
            Self::Handmade(network) => Blueprint::Handmade {
                network: *network,
                width: Width::PUBLISHED,
                image: skeleton.image,
                classes: skeleton.classes,
            },
        })
    }
}

/// The network of given sizes; what is not given is as `published`.
pub(super) fn of_sizes(
    name: &str,
    architecture: &Architecture,
    published: Option<&ZooEntry>,
    sizes: Sizes,
) -> Result<Blueprint, ModelError> {
    let stems = published.map(ZooEntry::stems).unwrap_or_default();
    let stem = sizes.stem.or(stems.first().copied()).unwrap_or(Stem::Cifar);
    let (image, classes) =
        (sizes.image.unwrap_or(stem.image()), sizes.classes.unwrap_or(stem.classes()));
    match architecture {
        Architecture::Cells(_) | Architecture::WideCells(_) | Architecture::Member(_) => {
            if sizes.width.is_some() {
                return Err(ModelError::Invalid(format!(
                    "{name} is a stack of cells: its channels are chosen, not a width"
                )));
            }
            let stack = published.and_then(|entry| entry.stack(stem)).or(architecture.stack());
            let missing = |what| {
                ModelError::Invalid(format!(
                    "{name} was not published for this stem: its {what} must be given"
                ))
            };
            let cells =
                sizes.cells.or(stack.map(|stack| stack.cells)).ok_or_else(|| missing("cells"))?;
            let channels = sizes
                .channels
                .or(stack.map(|stack| stack.channels))
                .ok_or_else(|| missing("channels"))?;
            architecture.network(Skeleton { stem, cells, channels, classes, image })
        }
        Architecture::Handmade(network) => {
            if sizes.cells.is_some()
                || sizes.channels.is_some()
                || sizes.stem.is_some_and(|stem| !stems.contains(&stem))
            {
                let message = format!(
                    "{name} is no stack of cells: only its width, its image and its classes can be \
                     chosen"
                );
                return Err(ModelError::Invalid(message));
            }
            let width = sizes.width.unwrap_or_default();
            Ok(Blueprint::Handmade { network: *network, width, image, classes })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stem, Zoo};

    #[test]
    fn a_file_gives_the_network_that_was_named() {
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 5, channels: 4, classes: 3, image: [3, 32, 32] };
        for name in ["gdas", "nasnet-a", "densenet-bc-100"] {
            let entry = Zoo::embedded().find(name).unwrap();
            let named = NamedArchitecture::from(entry);
            let read = NamedArchitecture::from_json(&named.to_json()).unwrap();
            assert_eq!(read, named);
            let network = read.architecture.network(skeleton).unwrap();
            assert_eq!((network.image(), network.classes()), ([3, 32, 32], 3), "{name}");
            assert_eq!(
                network.skeleton(),
                (name != "densenet-bc-100").then_some(skeleton),
                "{name}"
            );
        }
    }

    #[test]
    fn sizes_are_published_ones_where_the_architecture_is_a_published_one() {
        let named = |name| NamedArchitecture::from(Zoo::embedded().find(name).unwrap());
        let channels = Sizes { channels: Some(8), ..Sizes::default() };
        let skeleton = named("nasnet-a").network(channels).unwrap().skeleton().unwrap();
        let published = Zoo::embedded().find("nasnet-a").unwrap().stack(Stem::Cifar).unwrap();
        assert_eq!((skeleton.cells, skeleton.channels), (published.cells, 8));

        // Another architecture under its name, and the same under another.
        let other = NamedArchitecture { name: "nasnet-a".into(), ..named("amoebanet-a") };
        let renamed = NamedArchitecture { name: "mine".into(), ..named("nasnet-a") };
        for own in [other, renamed] {
            assert!(
                own.network(channels).unwrap_err().to_string().contains("its cells must be given"),
                "{}",
                own.name
            );
            let sizes = Sizes { cells: Some(3), image: Some([3, 16, 16]), ..channels };
            assert_eq!(own.network(sizes).unwrap().image(), [3, 16, 16]);
        }
        let renamed = NamedArchitecture { name: "mine".into(), ..named("mobilenet-v2") };
        assert_eq!(
            renamed.network(Sizes { classes: Some(7), ..Sizes::default() }).unwrap().classes(),
            7
        );
        for sizes in [channels, Sizes { stem: Some(Stem::Imagenet), ..Sizes::default() }] {
            assert!(
                renamed
                    .network(sizes)
                    .unwrap_err()
                    .to_string()
                    .contains("mine is no stack of cells")
            );
        }
    }

    #[test]
    fn files_that_are_wrong_are_refused() {
        let by_hand = |name: &str| {
            let named = NamedArchitecture::from(Zoo::embedded().find(name).unwrap());
            let changed = named.to_json().replacen(name, "other", 1);
            let error = NamedArchitecture::from_json(&changed).unwrap_err().to_string();
            assert!(error.contains("take its key `checksum` out"), "{error}");
            adwp_base::output::as_json(&named).unwrap()
        };
        let right = by_hand("densenet-bc-100");
        for (from, to, why) in [
            ("architecture/1", "architecture/2", "adwp/architecture/2"),
            ("densenet-bc-100", " ", "one line of text"),
            ("densenet-bc-100", "a\\nb", "one line of text"),
            ("\"depth\": 100", "\"depth\": 99", "6n + 4"),
            ("\"depth\"", "\"width\"", "width"),
            ("densenet_bc\"", "densenet\"", "densenet"),
        ] {
            assert!(right.contains(from), "{from} is not in {right}");
            let error =
                NamedArchitecture::from_json(&right.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let cells = by_hand("gdas");
        let error =
            NamedArchitecture::from_json(&cells.replacen("\"input\": 0", "\"input\": 9", 1))
                .unwrap_err()
                .to_string();
        assert!(error.starts_with("architecture: "), "{error}");
    }
}
