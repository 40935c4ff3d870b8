use std::fmt;

use super::Space;
use crate::{ModelError, Skeleton};

/// A space that is known by its name and the sizes of its networks alone.
pub struct NamedSpace {
    /// What files and the command line call it.
    pub name: &'static str,
    /// Sizes of the networks that its publication trained.
    pub published: Skeleton,
    /// The space of networks of given sizes.
    ///
    /// # Errors
    /// When there are no networks of these sizes.
    pub open: fn(Skeleton) -> Result<Box<dyn Space>, ModelError>,
}

impl PartialEq for NamedSpace {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for NamedSpace {}

impl fmt::Debug for NamedSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
