use std::fmt;

use super::{Choices, Space};
use crate::{ModelError, Skeleton};

/// A space that is known by its name and the sizes of its networks alone.
pub struct NamedSpace {
    /// What files and the command line call it.
    pub name: &'static str,
    /// Sizes of the networks that its publication trained.
    pub published: Skeleton,
    /// Whether its networks have these where nothing else is asked for; those of other spaces have
    /// the sizes of the settings.
    pub has_sizes: bool,
    /// The space of networks of given sizes.
    ///
    /// # Errors
    /// When there are no networks of these sizes.
    pub open: fn(Skeleton) -> Result<Box<dyn Space>, ModelError>,
    /// The architecture of a text, whatever its sizes are.
    ///
    /// # Errors
    /// When the text is none of an architecture.
    pub parse: fn(&str) -> Result<Choices, ModelError>,
    /// Whether its networks have operations that can be dropped while they are trained.
    pub has_drop_path: bool,
    /// Which columns of its published tables a search may see.
    pub table: TableRules,
}

/// Which columns of a published table a search may see: none of test accuracies, but for these.
#[derive(Clone, Copy, Debug)]
pub struct TableRules {
    /// Test accuracies that architectures may be selected by, where the publication has no
    /// validation accuracies: those of one run, while other runs are reported.
    pub selects: &'static [&'static str],
    /// Columns that are computed from those, and are therefore not reported of what was selected
    /// by them.
    pub contains_selected: &'static [&'static str],
}

impl TableRules {
    /// The rules of a table of no named space.
    pub const STRICT: Self = Self { selects: &[], contains_selected: &[] };
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
