//! The networks that a table is measured for, and their parts.

use std::collections::BTreeMap;

use adwp_models::space::find;
use adwp_models::{Blueprint, Genotype, Intensive, IntensiveSpace, Skeleton, Space, Stem};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::part::{Cut, Part, cut};
use crate::{LutError, Result, Timeable};

/// The name of the space that DARTS and ADWPNAS search.
const DARTS: &str = "darts";

/// Pairs that a node of it sums in published networks.
const PAIRS: usize = 2;

/// Random architectures whose parts a table has: those of most sizes of sums.
const SAMPLED: usize = 64;

/// All networks of a space at one size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Networks {
    /// Name of the space: `darts`, or one that has a name of its own.
    pub space: String,
    /// Sizes of the networks.
    pub skeleton: Skeleton,
    /// Pairs that each node of a network of the space `darts` sums; elsewhere 1.
    pub keep: usize,
}

impl Networks {
    /// Those of the DARTS space whose nodes sum `keep` pairs.
    pub fn darts(skeleton: Skeleton, keep: usize) -> Self {
        Self { space: DARTS.to_owned(), skeleton, keep }
    }

    /// Those of a space that has a name.
    pub fn named(space: impl Into<String>, skeleton: Skeleton) -> Self {
        let space = space.into();
        let keep = if space == DARTS { PAIRS } else { 1 };
        Self { space, skeleton, keep }
    }

    /// Those that a network is one of; none where no table is of such networks.
    pub fn of(blueprint: &Blueprint) -> Option<Self> {
        match blueprint {
            Blueprint::Cells { genotype, skeleton } => Some(Self::darts(*skeleton, keep(genotype))),
            Blueprint::Member { member, skeleton } => Some(Self::named(member.space(), *skeleton)),
            Blueprint::WideCells { .. } | Blueprint::Handmade { .. } => None,
        }
    }

    /// Their space.
    ///
    /// # Errors
    /// When it has no networks of these sizes.
    pub fn space(&self) -> Result<Box<dyn Space>> {
        Ok(match self.space.as_str() {
            DARTS => Box::new(Intensive::original(self.skeleton, self.keep)?),
            name => (find(name)?.open)(self.skeleton)?,
        })
    }

    /// Architectures drawn evenly.
    ///
    /// # Errors
    /// As [`Self::space`].
    pub fn sample(&self, count: usize, rng: &mut dyn Rng) -> Result<Vec<Blueprint>> {
        let space = self.space()?;
        (0..count).map(|_| Ok(Blueprint::of(&*space, &space.sample(rng))?)).collect()
    }

    /// Architectures that differ more than those drawn evenly do, to tell what is proportional to
    /// the sum of the parts from what is not. Each of the DARTS space is of an intensive space of
    /// its own that has hardly more candidates than a node sums, so that its cells are alike, and
    /// all light or all heavy; cells of other spaces are alike anyway.
    ///
    /// # Errors
    /// As [`Self::space`].
    pub(crate) fn sample_alike(
        &self,
        count: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Blueprint>> {
        if self.space != DARTS {
            return self.sample(count, rng);
        }
        let Self { skeleton, keep, .. } = *self;
        let mut alike = || {
            let space = IntensiveSpace::random(keep.max(2), rng)?;
            Ok(Blueprint::Cells {
                genotype: space.random_genotype(&skeleton, keep, rng)?,
                skeleton,
            })
        };
        (0..count).map(|_| alike()).collect()
    }

    /// The parts that they can have, by their texts.
    ///
    /// # Errors
    /// As [`Self::space`].
    pub(crate) fn parts(&self) -> Result<BTreeMap<String, Part>> {
        let space = self.space()?;
        // The widest network has every part but the sums, which are of all candidates there.
        let widest = parts(&Blueprint::of(&*space, &space.widest())?)?;
        let mut all: Vec<Cut> =
            widest.into_iter().filter(|cut| cut.part.terms().is_none()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for blueprint in self.sample(SAMPLED, &mut rng)? {
            all.extend(parts(&blueprint)?);
        }
        Ok(all.into_iter().map(|cut| (cut.part.to_string(), cut.part)).collect())
    }

    /// Flags of `adwp lut build` that ask for them.
    pub fn flags(&self) -> String {
        let Self { space, skeleton, keep } = self;
        let Skeleton { stem, cells, channels, classes, image: [c, h, w] } = skeleton;
        let sizes = format!(
            "--cells {cells} --channels {channels} --image {c}x{h}x{w} --classes {classes}"
        );
        if space != DARTS {
            return format!("--space {space} {sizes}");
        }
        let stem = match stem {
            Stem::Cifar => "cifar",
            Stem::Imagenet => "imagenet",
        };
        format!("{sizes} --stem {stem} --keep {keep}")
    }

    pub(crate) fn missing(&self, what: impl Into<String>) -> LutError {
        LutError::Missing { what: what.into(), flags: self.flags() }
    }
}

/// The parts of a network, without those that no output depends on.
///
/// # Errors
/// When the sizes make no network.
pub(crate) fn parts(blueprint: &Blueprint) -> Result<Vec<Cut>> {
    Ok(cut(&Timeable::whole(blueprint)?.graph))
}

/// How many pairs the nodes of a genotype sum.
fn keep(genotype: &Genotype) -> usize {
    genotype.cells.iter().flat_map(|cell| &cell.nodes).map(Vec::len).max().unwrap_or(0)
}
