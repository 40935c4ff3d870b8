//! Files without checksums, which are read all the same and spoken of once.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Files of runs that were read and have no checksum.
static FILES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Remembers that a file of a run was read whose content has no checksum.
pub fn remember(path: &Path) {
    FILES.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
}

/// A word about the files that were read and have no checksum, once for all of them: `None` where
/// there is none that was not spoken of.
pub fn word() -> Option<String> {
    let files = std::mem::take(&mut *FILES.lock().unwrap_or_else(PoisonError::into_inner));
    let first = files.first()?.display();
    let (others, has, it) = match files.len() {
        1 => (String::new(), "has", "it"),
        2 => (" and another file".to_owned(), "have", "them"),
        count => (format!(" and {} other files", count - 1), "have", "them"),
    };
    Some(format!(
        "{first}{others} {has} no checksum, as what is written by hand or by an older version: damage \
         to {it} would not be noticed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_said_of_all_files() {
        // Other tests of this process read such files, too.
        word();
        [1, 2, 2].iter().for_each(|i| remember(Path::new(&format!(" {i}.json"))));
        let said = word().unwrap();
        assert!(said.starts_with(" 1.json and ") && said.contains("no checksum"), "{said}");
    }
}
