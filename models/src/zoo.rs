//! Published architectures of the DARTS space, with what their publications report of them.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::cost::{Cost, count};
use crate::genotype::parse;
use crate::skeleton::check_cells;
use crate::{CellGenotype, CellKind, Discrete, Genotype, ModelError, Pair, Skeleton, Stem};

#[cfg(test)]
mod tests;

const SCHEMA: &str = "adwp/zoo/1";

/// Pairs that a node of a cell of the DARTS space sums.
const PAIRS: usize = 2;

/// How far a count may be from the reported one, as a share of it, before a note has to say why. Reported numbers have two digits.
const TOLERANCE: f64 = 0.02;

/// Names that an error suggests.
const SUGGESTIONS: usize = 2;

/// Architectures whose nodes sum two pairs each, and whose normal cells are all alike, as their reduction cells are.
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
    /// Where the cells are written.
    pub source: Source,
    /// For each intermediate node of a normal cell the two pairs it sums, sorted.
    pub normal: Vec<Vec<Pair>>,
    /// The same of a reduction cell.
    pub reduction: Vec<Vec<Pair>>,
    /// The network for CIFAR-10, where one was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cifar10: Option<OnCifar10>,
    /// The network for ImageNet in the mobile setting: 224×224 pixels, below 600M multiply-adds.
    pub imagenet: OnImagenet,
    /// Why the counts of [`Self::cost`] differ from the reported ones, and what else a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
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
    /// Number of cells.
    pub cells: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
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
    /// Number of cells.
    pub cells: usize,
    /// Channels of a node in the first cell.
    pub channels: usize,
    /// Reported params, in millions.
    pub reported_params_m: f64,
    /// Reported multiply-adds, in millions.
    pub reported_madds_m: f64,
    /// Reported top-1 error of the validation images, in percent.
    pub reported_top1_error: f64,
    /// Reported top-5 error of the validation images, in percent.
    pub reported_top5_error: f64,
    /// Where all of this is written.
    pub written_in: String,
}

impl OnCifar10 {
    /// The network around the cells.
    pub fn skeleton(&self) -> Skeleton {
        Skeleton { stem: Stem::Cifar, cells: self.cells, channels: self.channels, classes: 10, image: [3, 32, 32] }
    }
}

impl OnImagenet {
    /// The network around the cells.
    pub fn skeleton(&self) -> Skeleton {
        Skeleton { stem: Stem::Imagenet, cells: self.cells, channels: self.channels, classes: 1000, image: [3, 224, 224] }
    }
}

impl Zoo {
    /// The zoo that is part of this library: `models/zoo/zoo.json`.
    pub fn embedded() -> &'static Self {
        static ZOO: LazyLock<Zoo> =
            LazyLock::new(|| Zoo::from_json(include_str!("../zoo/zoo.json")).expect("the file is compiled in, and tests read all of it"));
        &ZOO
    }

    /// Reads `zoo.json`.
    ///
    /// # Errors
    /// Unknown schema, unknown keys or operations, a name twice, cells that are not of the DARTS space, networks that cannot be built.
    pub fn from_json(text: &str) -> Result<Self, ModelError> {
        let zoo: Self = parse(text, "zoo", SCHEMA)?;
        let mut names = HashSet::new();
        for entry in &zoo.entries {
            let fail = |message: String| ModelError::Invalid(format!("zoo: {}: {message}", entry.name));
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
            let mut names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
            names.sort_by_key(|known| strsim::damerau_levenshtein(name, known));
            names.truncate(SUGGESTIONS);
            ModelError::UnknownArchitecture { name: name.to_owned(), nearest: names.join(", ") }
        })
    }
}

impl ZooEntry {
    /// The architecture with so many cells: each normal cell and each reduction cell as published.
    ///
    /// # Errors
    /// When a network cannot have so many cells.
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

    /// The number of cells it was published with behind a stem; none where no such network was published.
    pub fn published_cells(&self, stem: Stem) -> Option<usize> {
        match stem {
            Stem::Cifar => self.cifar10.as_ref().map(|network| network.cells),
            Stem::Imagenet => Some(self.imagenet.cells),
        }
    }

    /// Counts a network of these cells, without an auxiliary head.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn cost(&self, skeleton: &Skeleton) -> Result<Cost, ModelError> {
        Ok(count(&Discrete::build(&self.genotype(skeleton.cells)?, skeleton, 1, None)?.graph))
    }

    fn validate(&self) -> Result<(), ModelError> {
        if let Some(node) = self.normal.iter().chain(&self.reduction).find(|pairs| pairs.len() != PAIRS) {
            return Err(ModelError::Invalid(format!("a node sums {} pairs, expected {PAIRS}", node.len())));
        }
        for skeleton in self.cifar10.as_ref().map(OnCifar10::skeleton).into_iter().chain([self.imagenet.skeleton()]) {
            skeleton.validate()?;
            self.genotype(skeleton.cells)?;
        }
        Ok(())
    }
}

/// Whether a count is further from a reported number, which is in millions, than the digits of the reported one explain: over 2%.
pub fn differs(counted: u64, reported_m: f64) -> bool {
    let reported = reported_m * 1e6;
    (counted as f64 - reported).abs() > TOLERANCE * reported
}
