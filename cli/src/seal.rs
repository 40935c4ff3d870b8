//! The checksum of `config.toml`, in a comment that it begins with.

use std::path::Path;

use adwp_base::{Checksum, Failure};
use toml::Table;

/// How the line with the checksum begins. To TOML it is a comment.
const SEAL: &str = "# checksum: ";

/// The first line of `config.toml`, of settings as they are written there.
pub(crate) fn seal(settings: &Table) -> String {
    format!("{SEAL}{}; whoever changes a setting takes this line out\n", checksum(settings))
}

fn checksum(settings: &Table) -> Checksum {
    let value = serde_json::to_value(settings).expect("settings are strings and numbers");
    Checksum::of_value(&value)
}

/// Settings that are not those that were written.
#[derive(Debug)]
pub(crate) struct Changed {
    found: String,
    counted: Checksum,
}

impl Changed {
    /// As a failure that names the file.
    pub(crate) fn of(self, path: &Path) -> Failure {
        let Self { found, counted } = self;
        let failure = Failure::input(format!(
            "{} was changed after it was written: its checksum is {found}, its settings have \
             {counted}",
            path.display()
        ));
        failure.hint(HINT)
    }
}

const HINT: &str =
    "bring back what it held; where the change was meant, take out its line `# checksum`";

/// Whether the text of settings has a checksum.
///
/// # Errors
/// [`Changed`], where it is that of other settings.
pub(crate) fn check(text: &str, settings: &Table) -> std::result::Result<bool, Changed> {
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(SEAL)) else {
        return Ok(false);
    };
    let found = line.split(';').next().unwrap_or_default().trim();
    let counted = checksum(settings);
    match found == counted.to_string() {
        true => Ok(true),
        false => Err(Changed { found: found.to_owned(), counted }),
    }
}
