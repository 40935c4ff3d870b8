//! Published architectures, with what their publications report of them.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::genotype::parse;
use crate::skeleton::check_cells;
use crate::space::Member;
use crate::{Blueprint, CellGenotype, CellKind, Genotype, ModelError, Pair, Sizes, Stem};

mod named;
mod networks;
#[cfg(test)]
mod tests;
mod wide;
mod width;

pub use named::NamedArchitecture;
pub use networks::Handmade;
pub use wide::{WideCell, WideCells, WideOperation, WidePair};
pub use width::Width;

const SCHEMA: &str = "adwp/zoo/2";

/// Pairs that a node of a cell of the DARTS space sums.
const PAIRS: usize = 2;

/// How far a count may be from the reported one, as a share of it, before a note has to say why.
/// Reported numbers have two digits.
const TOLERANCE: f64 = 0.02;

/// Names that an error suggests.
const SUGGESTIONS: usize = 2;

/// Published architectures by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zoo {
    schema: String,
    entries: Vec<ZooEntry>,
}

/// A published architecture. Nothing in it is counted here: [`Self::cost`] does that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZooEntry {
    /// What it is found by: lower case, digits and hyphens.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// The publication.
    pub citation: Citation,
    /// Where the architecture is written.
    pub source: Source,
    /// What it is.
    pub architecture: Architecture,
    /// The network for CIFAR-10, where one was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cifar10: Option<OnCifar10>,
    /// The network for the 224×224 pixels of ImageNet, where one was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imagenet: Option<OnImagenet>,
    /// Why the counts of [`Self::cost`] differ from the reported ones, and what else a reader
    /// should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How an architecture is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// By its cells of the DARTS space.
    Cells(Cells),
    /// By its cells of a wider space.
    WideCells(WideCells),
    /// By a builder of its own.
    Handmade(Handmade),
    /// As one of a named space.
    Member(Member),
}

/// Cells whose nodes sum two pairs each; the normal cells of a network are all alike, as its
/// reduction cells are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cells {
    /// For each intermediate node of a normal cell the two pairs it sums, sorted.
    pub normal: Vec<Vec<Pair>>,
    /// The same of a reduction cell.
    pub reduction: Vec<Vec<Pair>>,
}

/// Cells and channels of a network that stacks cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stack {
    /// Number of cells.
    pub cells: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Citation {
    /// First and last names, separated by commas.
    pub authors: String,
    /// Its title.
    pub paper: String,
    /// The conference.
    pub venue: String,
    /// Year of the venue.
    pub year: u16,
    /// Its identifier at arXiv.
    pub arxiv: String,
}

/// A place in published source code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `owner/name` at GitHub.
    pub repository: String,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
    /// The file in it.
    pub file: String,
    /// What the architecture is called there.
    pub symbol: String,
}

/// A network for the 32×32 pixels of CIFAR-10, and what was reported of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnCifar10 {
    /// Its cells and channels, where it has cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// Reported params, in millions.
    pub reported_params_m: f64,
    /// Reported test error, in percent: with cutout, the mean where there are several runs.
    pub reported_error: f64,
    /// Where all of this is written.
    pub written_in: String,
}

/// A network for the 224×224 pixels of ImageNet, and what was reported of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnImagenet {
    /// Its cells and channels, where it has cells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
    /// Reported params, in millions.
    pub reported_params_m: f64,
    /// Reported multiply-adds, in millions.
    pub reported_madds_m: f64,
    /// Reported top-1 error of the validation images, in percent.
    pub reported_top1_error: f64,
    /// Reported top-5 error of the validation images, in percent, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_top5_error: Option<f64>,
    /// Where all of this is written.
    pub written_in: String,
}

impl Zoo {
    /// The zoo that is part of this library: `models/zoo/zoo.json`.
    pub fn embedded() -> &'static Self {
        static ZOO: LazyLock<Zoo> = LazyLock::new(|| {
            Zoo::from_json(include_str!("../zoo/zoo.json"))
                .expect("the file is compiled in, and tests read all of it")
        });
        &ZOO
    }

    /// Reads `zoo.json`.
    ///
    /// # Errors
    /// Unknown schema, unknown keys or operations, a name twice, cells that are not of the DARTS
    /// space, networks that cannot be built.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let zoo: Self = parse(text, "zoo", SCHEMA)?;
        let mut names = HashSet::new();
        for entry in &zoo.entries {
            let fail =
                |message: String| ModelError::Invalid(format!("zoo: {}: {message}", entry.name));
            if !names.insert(&entry.name) {
                return Err(fail("the name is there twice".into()));
            }
            entry.validate().map_err(|e| fail(e.to_string()))?;
        }
        Ok(zoo)
    }

    /// All architectures, in the order of the file: by year.
    pub fn entries(&self) -> &[ZooEntry] {
        &self.entries
    }

    /// The architecture of a name.
    ///
    /// # Errors
    /// [`ModelError::UnknownArchitecture`] with the nearest names.
    pub fn find(&self, name: &str) -> Result<&ZooEntry, ModelError> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let mut names: Vec<&str> =
                self.entries.iter().map(|entry| entry.name.as_str()).collect();
            names.sort_by_key(|known| strsim::damerau_levenshtein(name, known));
            names.truncate(SUGGESTIONS);
            ModelError::UnknownArchitecture { name: name.to_owned(), nearest: names.join(", ") }
        })
    }
}

impl Cells {
    /// The architecture with so many cells.
    ///
    /// # Errors
    /// When a network cannot have so many cells, or these are not of the DARTS space.
    pub fn genotype(&self, cells: usize) -> Result<Genotype, ModelError> {
        check_cells(cells)?;
        let cell = |index| {
            let kind = CellKind::of(index, cells);
            let nodes = match kind {
                CellKind::Normal => &self.normal,
                CellKind::Reduction => &self.reduction,
            };
            CellGenotype { kind, nodes: nodes.clone() }
        };
        Genotype::new((0..cells).map(cell).collect())
    }
}

impl Architecture {
    fn validate(&self) -> Result<(), ModelError> {
        match self {
            Self::Cells(cells) => {
                match cells.normal.iter().chain(&cells.reduction).find(|pairs| pairs.len() != PAIRS)
                {
                    Some(node) => Err(ModelError::Invalid(format!(
                        "a node sums {} pairs, expected {PAIRS}",
                        node.len()
                    ))),
                    // Two of three cells reduce, so that both kinds are looked at.
                    None => cells.genotype(3).map(|_| ()),
                }
            }
            Self::WideCells(cells) => cells.validate(),
            Self::Handmade(network) => network.validate(),
            Self::Member(_) => Ok(()),
        }
    }
}

impl ZooEntry {
    /// Cells and channels of the network that was published for a stem's data set; none where it
    /// has no cells, or there was no such network.
    pub fn stack(&self, stem: Stem) -> Option<Stack> {
        match stem {
            Stem::Cifar => self.cifar10.as_ref().and_then(|network| network.stack),
            Stem::Imagenet => self.imagenet.as_ref().and_then(|network| network.stack),
        }
    }

    /// The data sets that it was published for, by their stems.
    pub fn stems(&self) -> Vec<Stem> {
        let cifar10 = self.cifar10.as_ref().map(|_| Stem::Cifar);
        cifar10.into_iter().chain(self.imagenet.as_ref().map(|_| Stem::Imagenet)).collect()
    }

    /// The network that was published for a stem's data set, where there was one.
    ///
    /// # Errors
    /// When a network cannot have its sizes.
    pub fn published(&self, stem: Stem) -> Result<Option<Blueprint>, ModelError> {
        if !self.stems().contains(&stem) {
            return Ok(None);
        }
        self.network(Sizes { stem: Some(stem), ..Sizes::default() }).map(Some)
    }

    /// The network with other sizes than the published ones; what is not given is as published.
    ///
    /// # Errors
    /// When the sizes are not complete, or are those of cells and it has none.
    pub fn network(&self, sizes: Sizes) -> Result<Blueprint, ModelError> {
        named::of_sizes(&self.name, &self.architecture, Some(self), sizes)
    }

    fn validate(&self) -> Result<(), ModelError> {
        self.architecture.validate()?;
        let stems = self.stems();
        if stems.is_empty() {
            return Err(ModelError::Invalid("it needs a network for cifar10 or imagenet".into()));
        }
        for stem in stems {
            if self.stack(stem).is_none() != matches!(self.architecture, Architecture::Handmade(_))
            {
                return Err(ModelError::Invalid(
                    "a stack belongs to a network of cells, and to no other".into(),
                ));
            }
            if let Some(skeleton) = self.published(stem)?.and_then(|network| network.skeleton()) {
                skeleton.validate()?;
            }
        }
        Ok(())
    }
}

/// Whether a count is further from a reported number, which is in millions, than the digits of the
/// reported one explain: over 2%.
pub fn differs(counted: u64, reported_m: f64) -> bool {
    let reported = reported_m * 1e6;
    (counted as f64 - reported).abs() > TOLERANCE * reported
}
