//! What a run trains: a genotype that was found or given, or an architecture that was named.

use std::path::Path;

use adwp_base::Failure;
use adwp_models::zoo::{Architecture, NamedArchitecture};
use adwp_models::{Blueprint, Genotype, ModelError, Skeleton, Stem};
use adwp_train::RunDir;
use serde::Deserialize;
use toml::Table;

use crate::commands::zoo;
use crate::steps::parsed;

/// The file of a run with a genotype.
pub(crate) const GENOTYPE: &str = "genotype.json";
/// The file of a run with an architecture of the zoo, or one of the user's own in the same form.
pub(crate) const NAMED: &str = "architecture.json";

/// The architecture of a run.
#[derive(Clone)]
pub(crate) enum RunArchitecture {
    Genotype(Genotype),
    Named(NamedArchitecture),
}

/// Whether a run has its architecture.
pub(crate) fn is_there(run: &RunDir) -> bool {
    [GENOTYPE, NAMED].into_iter().any(|file| run.file(file).exists())
}

impl RunArchitecture {
    /// The architecture in the folder of a run; none where there is none yet.
    pub(crate) fn of_run(folder: &Path) -> Result<Option<Self>, Failure> {
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
    pub(crate) fn chosen(what: &Path) -> Result<Self, Failure> {
        if let Some(name) = what.to_str().and_then(|what| what.strip_prefix(zoo::PREFIX)) {
            return Ok(Self::Named(zoo::find(name)?.into()));
        }
        if !what.is_file() {
            let failure = Failure::input(format!("--architecture: {} is no file", what.display()));
            return Err(
                failure.hint("zoo:NAME is one of `adwp zoo list`, such as zoo:mobilenet-v2")
            );
        }
        parsed(what.to_owned(), Self::from_json)
    }

    /// Reads the text of a file of either form; its schema tells which.
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

    /// Its file in the folder of a run.
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

    /// Settings that follow from it where nothing else is asked for: the sizes that it was
    /// published with behind a stem, and of a network with a builder of its own the dropout, and
    /// neither an auxiliary classifier nor drop-path.
    pub(crate) fn settings(&self, stem: Stem) -> Table {
        let (mut all, mut retrain) = (Table::new(), Table::new());
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
                Architecture::Cells(_) | Architecture::WideCells(_) => {
                    if let Some(stack) =
                        zoo::find(&named.name).ok().and_then(|entry| entry.stack(stem))
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

fn integer(value: usize) -> toml::Value {
    toml::Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}
