use std::fmt;

use serde::{Deserialize, Serialize};

use super::choices::Choices;
use super::named::NamedSpace;
use super::registry::find;
use crate::{Discrete, Heads, ModelError, Skeleton};

/// An architecture of a space that has a name, without sizes. Files hold the name and the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredMember", into = "StoredMember")]
pub struct Member {
    space: &'static NamedSpace,
    choices: Choices,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMember {
    space: String,
    architecture: String,
}

impl Member {
    /// An architecture of the space of a name.
    ///
    /// # Errors
    /// When there is no such space.
    pub(crate) fn new(space: &str, choices: &Choices) -> Result<Self, ModelError> {
        Ok(Self { space: find(space)?, choices: choices.clone() })
    }

    /// The architecture that a text of a space names.
    ///
    /// # Errors
    /// When there is no such space, or the text is none of it.
    pub fn parse(space: &str, text: &str) -> Result<Self, ModelError> {
        let space = find(space)?;
        Ok(Self { space, choices: (space.parse)(text)? })
    }

    /// Name of its space.
    pub fn space(&self) -> &'static str {
        self.space.name
    }

    /// All that is known of its space without sizes.
    pub fn named(&self) -> &'static NamedSpace {
        self.space
    }

    /// Its network of sizes for a batch size: for training with the heads given, else for
    /// inference.
    ///
    /// # Errors
    /// When the space has no network of these sizes.
    pub(crate) fn build(
        &self,
        skeleton: &Skeleton,
        batch: usize,
        heads: Option<Heads>,
    ) -> Result<Discrete, ModelError> {
        (self.space.open)(*skeleton)?.build(&self.choices, batch, heads)
    }
}

impl fmt::Display for Member {
    /// The text that its space writes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = (self.space.open)(self.space.published).map_err(|_| fmt::Error)?;
        f.write_str(&space.text(&self.choices))
    }
}

impl TryFrom<StoredMember> for Member {
    type Error = ModelError;

    fn try_from(stored: StoredMember) -> Result<Self, ModelError> {
        Self::parse(&stored.space, &stored.architecture)
    }
}

impl From<Member> for StoredMember {
    fn from(member: Member) -> Self {
        Self { space: member.space().to_owned(), architecture: member.to_string() }
    }
}
