//! What a run trains: a genotype that was found or given, or an architecture that was named.

use std::path::{Path, PathBuf};

use adwp_base::{Failure, Result};
use adwp_models::space::NamedSpace;
use adwp_models::zoo::{Architecture, Handmade, NamedArchitecture};
use adwp_models::{Blueprint, Genotype, ModelError, Skeleton, Stem, Zoo, ZooEntry};
use adwp_train::{RunDir, read_json_text, read_text};
use serde::Deserialize;
use toml::Table;

use crate::config::LimitSettings;

/// The file of a run with a genotype.
pub(crate) const GENOTYPE: &str = "genotype.json";
/// The file of a run with an architecture of the zoo, or one of the user's own in the same form.
pub(crate) const NAMED: &str = "architecture.json";

/// Begins the name of a published architecture where a file could be named too.
pub(crate) const PREFIX: &str = "zoo:";

/// Reads a JSON file of the run; an error names it.
pub(crate) fn parsed<T>(
    path: PathBuf,
    parse: impl FnOnce(&str) -> Result<T, ModelError>,
) -> Result<T> {
    parse(&read_json_text(&path)?).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

/// The published architecture of a name.
pub(crate) fn published(name: &str) -> Result<&'static ZooEntry> {
    Zoo::embedded().find(name).map_err(|e| Failure::from(e).hint("`adwp zoo list` has all names"))
}

/// The architecture of a run.
#[derive(Clone)]
pub(crate) enum RunArchitecture {
    Genotype(Genotype),
    Named(NamedArchitecture),
}

/// The file with the architecture of a run, where there is one.
pub(crate) fn file_of(run: &RunDir) -> Option<&'static str> {
    [GENOTYPE, NAMED].into_iter().find(|file| run.file(file).exists())
}

impl RunArchitecture {
    /// The architecture in the folder of a run; none where there is none yet.
    pub(crate) fn of_run(folder: &Path) -> Result<Option<Self>> {
        match (folder.join(GENOTYPE), folder.join(NAMED)) {
            (genotype, named) if genotype.exists() && named.exists() => {
                let failure = Failure::input(format!(
                    "{} has two architectures: {GENOTYPE} and {NAMED}",
                    folder.display()
                ));
                Err(failure.hint("remove the one that is not to be trained"))
            }
            (genotype, _) if genotype.exists() => {
                Ok(Some(Self::Genotype(parsed(genotype, Genotype::from_json)?)))
            }
            (_, named) if named.exists() => {
                Ok(Some(Self::Named(parsed(named, NamedArchitecture::from_json)?)))
            }
            _ => Ok(None),
        }
    }

    /// What `--architecture` names: `zoo:NAME`, or a file of either form.
    pub(crate) fn chosen(what: &Path) -> Result<Self> {
        if let Some(name) = what.to_str().and_then(|what| what.strip_prefix(PREFIX)) {
            return Ok(Self::Named(published(name)?.into()));
        }
        if !what.is_file() {
            let failure = Failure::input(format!("--architecture: {} is no file", what.display()));
            return Err(
                failure.hint("zoo:NAME is one of `adwp zoo list`, such as zoo:mobilenet-v2")
            );
        }
        Self::given(what)
    }

    /// Reads a file that the user names, of either form. It may be one by hand.
    pub(crate) fn given(path: &Path) -> Result<Self> {
        Self::from_json(&read_text(path)?)
            .map_err(|e| Failure::input(format!("{}: {e}", path.display())))
    }

    /// Reads the text of a file of either form, by its schema.
    pub(crate) fn from_json(text: &str) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: String,
        }
        match serde_json::from_str(text) {
            Ok(Schema { schema }) if schema == NamedArchitecture::SCHEMA => {
                NamedArchitecture::from_json(text).map(Self::Named)
            }
            _ => Genotype::from_json(text).map(Self::Genotype),
        }
    }

    /// Name of the file that a run keeps it in.
    pub(crate) fn file(&self) -> &'static str {
        match self {
            Self::Genotype(_) => GENOTYPE,
            Self::Named(_) => NAMED,
        }
    }

    /// The text of that file.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Genotype(genotype) => genotype.to_json(),
            Self::Named(named) => named.to_json(),
        }
    }

    /// The name that it goes by, where it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Genotype(_) => None,
            Self::Named(named) => Some(&named.name),
        }
    }

    /// Whether settings that follow from it turn off the drop-path of a preset.
    pub(crate) fn has_nothing_to_drop(&self) -> bool {
        match self {
            Self::Genotype(_) => false,
            Self::Named(named) => match &named.architecture {
                Architecture::Member(member) => !member.named().has_drop_path,
                Architecture::Handmade(_) | Architecture::Cells(_) | Architecture::WideCells(_) => {
                    false
                }
            },
        }
    }

    /// Whether cells and channels can be chosen for it.
    pub(crate) fn has_cells(&self) -> bool {
        match self {
            Self::Genotype(_) => true,
            Self::Named(named) => !matches!(named.architecture, Architecture::Handmade(_)),
        }
    }

    /// The network of given sizes.
    pub(crate) fn network(&self, skeleton: Skeleton) -> Result<Blueprint, ModelError> {
        match self {
            Self::Genotype(genotype) => {
                Ok(Blueprint::Cells { genotype: genotype.clone(), skeleton })
            }
            Self::Named(named) => named.architecture.network(skeleton),
        }
    }

    /// The network with a builder of its own that it is.
    pub(crate) fn handmade(&self) -> Option<Handmade> {
        match self {
            Self::Named(NamedArchitecture { architecture: Architecture::Handmade(of), .. }) => {
                Some(*of)
            }
            Self::Named(_) | Self::Genotype(_) => None,
        }
    }

    /// Settings that follow from it where nothing else is asked for: the sizes that it was
    /// published with behind a stem, no limits, and of a network with a builder of its own the
    /// dropout, and neither an auxiliary classifier nor drop-path.
    pub(crate) fn settings(&self, stem: Stem) -> Table {
        let (mut all, mut retrain) = (no_limits(), Table::new());
        match self {
            Self::Genotype(genotype) => {
                all.insert("cells".into(), integer(genotype.cells.len()));
            }
            Self::Named(named) => match named.architecture {
                Architecture::Handmade(network) => {
                    // As decimal digits: the nearest f64 of an f32 would be written with many more.
                    let dropout = network.dropout().to_string().parse().unwrap_or_default();
                    for (key, value) in
                        [("dropout", dropout), ("auxiliary", 0.0), ("drop_path", 0.0)]
                    {
                        retrain.insert(key.into(), toml::Value::Float(value));
                    }
                }
                Architecture::Member(ref member) => return of_space(member.named()),
                Architecture::Cells(_) | Architecture::WideCells(_) => {
                    if let Some(stack) =
                        published(&named.name).ok().and_then(|entry| entry.stack(stem))
                    {
                        all.insert("cells".into(), integer(stack.cells));
                        retrain.insert("channels".into(), integer(stack.channels));
                    }
                }
            },
        }
        if !retrain.is_empty() {
            all.insert("retrain".into(), retrain.into());
        }
        all
    }
}

/// Settings that follow from a space whose networks have published sizes: these, no limits, no
/// auxiliary classifier, and no drop-path where its blocks have nothing to drop.
pub(crate) fn of_space(space: &NamedSpace) -> Table {
    let (mut all, mut retrain) = (no_limits(), Table::new());
    retrain.insert("channels".into(), integer(space.published.channels));
    retrain.insert("auxiliary".into(), toml::Value::Float(0.0));
    if !space.has_drop_path {
        retrain.insert("drop_path".into(), toml::Value::Float(0.0));
    }
    all.insert("cells".into(), integer(space.published.cells));
    all.insert("retrain".into(), retrain.into());
    all
}

/// Settings that follow from what is in the folder of a run that has no settings yet: the cells of a
/// genotype, and those of an architecture of a space with a name.
pub(crate) fn of_folder(folder: &Path) -> Result<Table> {
    Ok(match RunArchitecture::of_run(folder)? {
        Some(RunArchitecture::Named(NamedArchitecture {
            architecture: Architecture::Member(member),
            ..
        })) => of_space(member.named()),
        Some(genotype @ RunArchitecture::Genotype(_)) => genotype.settings(Stem::Cifar),
        _ => Table::new(),
    })
}

/// Nothing is limited: the limits of a preset are for what is searched at its sizes.
fn no_limits() -> Table {
    let none = Table::try_from(LimitSettings::default());
    let none = none.expect("settings are TOML; a test prints them");
    Table::from_iter([("limits".to_owned(), none.into())])
}

fn integer(value: usize) -> toml::Value {
    toml::Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use adwp_models::space::{Member, find};

    /// An architecture of a space with a name.
    pub(crate) fn member(space: &str, text: &str) -> RunArchitecture {
        RunArchitecture::Named(Member::parse(space, text).unwrap().into())
    }

    #[test]
    fn what_a_space_cannot_drop_is_not_asked_for() {
        let drop_path = |settings: &Table| settings["retrain"].get("drop_path").cloned();
        let none = Some(toml::Value::Float(0.0));
        for (space, text, expected) in [
            ("nas-bench-macro", "02220122", none),
            ("nas-bench-201", "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", None),
        ] {
            let architecture = member(space, text);
            assert_eq!(drop_path(&architecture.settings(Stem::Cifar)), expected, "{space}");
            assert_eq!(drop_path(&of_space(find(space).unwrap())), expected, "{space}");
            assert_eq!(architecture.has_nothing_to_drop(), expected.is_some(), "{space}");
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(architecture.file());
            std::fs::write(file, architecture.to_json()).unwrap();
            assert_eq!(drop_path(&of_folder(folder.path()).unwrap()), expected, "{space}");
        }
    }
}
