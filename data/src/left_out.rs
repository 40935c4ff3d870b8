//! What a folder of images has that is not read, and why.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use adwp_base::output::name;
use serde::{Deserialize, Serialize};

use crate::error::DataError;

/// Why a file or a folder is left out. In JSON: `hidden`, `name`, `folder`, `outside-class`,
/// `format`, `unreadable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The name begins with a dot.
    Hidden,
    /// A file that is not named like an image and does not begin like one, or is by its ending a
    /// copy or a raw photograph.
    Name,
    /// A folder where only images are looked for.
    Folder,
    /// A file next to the class folders.
    OutsideClass,
    /// Content of a format that is not read.
    Format,
    /// An image that is damaged or too large, or a file that cannot be opened.
    Unreadable,
}

impl Reason {
    /// Why the image of an error is left out.
    #[must_use]
    pub fn of(error: &DataError) -> Self {
        match error {
            DataError::UnknownFormat { .. } => Self::Format,
            _ => Self::Unreadable,
        }
    }

    /// Says of one or several what they are.
    fn text(self, count: usize) -> String {
        match self {
            Self::Hidden => format!("{count} hidden"),
            Self::Name => format!("{count} not named like an image"),
            Self::Folder if count == 1 => "1 folder that is not looked into".to_owned(),
            Self::Folder => format!("{count} folders that are not looked into"),
            Self::OutsideClass => format!("{count} outside of the class folders"),
            Self::Format => format!("{count} of a format that is not read"),
            Self::Unreadable => format!("{count} unreadable"),
        }
    }
}

/// What is left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Number of files or folders, at least 1.
    pub count: usize,
    /// The first of them by name: its path in the folder.
    pub example: String,
}

/// What is left out of a folder. Shown as one line: the folder, then a number and an example for
/// every reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    folder: PathBuf,
    reasons: BTreeMap<Reason, Counted>,
}

impl LeftOut {
    /// Nothing yet.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), reasons: BTreeMap::new() }
    }

    /// Counts a file or folder in the folder.
    pub fn add(&mut self, reason: Reason, path: &Path) {
        let example =
            path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy().into_owned();
        match self.reasons.get_mut(&reason) {
            None => {
                self.reasons.insert(reason, Counted { count: 1, example });
            }
            Some(entries) => {
                entries.count += 1;
                // Folders are listed in any order: the message is to be the same every time.
                if example < entries.example {
                    entries.example = example;
                }
            }
        }
    }

    /// Counts several in one folder.
    pub(crate) fn add_all(&mut self, reason: Reason, folder: &Path, names: &[OsString]) {
        names.iter().for_each(|name| self.add(reason, &folder.join(name)));
    }

    /// Whether all is read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// What is left out, by reason.
    #[must_use]
    pub fn reasons(&self) -> &BTreeMap<Reason, Counted> {
        &self.reasons
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: left out: ", name(&self.folder.to_string_lossy()))?;
        for (number, (reason, entries)) in self.reasons.iter().enumerate() {
            let (comma, such) = if number > 0 { (", ", "") } else { ("", "such as ") };
            let text = reason.text(entries.count);
            write!(f, "{comma}{text} ({such}{})", name(&entries.example))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_reason_with_a_number_and_the_first_example() {
        let mut left_out = LeftOut::of(Path::new("photos/train"));
        assert!(left_out.is_empty());
        for file in ["dog/b.txt", "dog/a\n.txt", "cat/z.txt"] {
            left_out.add(Reason::Name, &Path::new("photos/train").join(file));
        }
        left_out.add(Reason::Hidden, Path::new("photos/train/dog/.DS_Store"));
        left_out.add(Reason::Folder, Path::new("photos/train/dog/more"));
        left_out.add(Reason::Unreadable, Path::new("photos/train/dog/\n.jpg"));
        assert_eq!(
            left_out.to_string(),
            "photos/train: left out: 1 hidden (such as dog/.DS_Store), 3 not named like an image \
             (cat/z.txt), 1 folder that is not looked into (dog/more), 1 unreadable (dog/\\n.jpg)"
        );
        assert_eq!(left_out.reasons()[&Reason::Name].count, 3);
    }
}
