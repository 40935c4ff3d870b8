use std::path::Path;

use adwp_models::{CellGenotype, ChoiceCosts, Genotype, IntensiveSpace, NODES, Skeleton};
use adwp_train::{read_text, write_atomic};
use serde::{Deserialize, Serialize};

use crate::network::{Owner, parts};
use crate::stopwatch::slowdown;
use crate::{Calibration, LutError, Part, Result, Setup, Stopwatch, Timing};

const SCHEMA: &str = "adwp/latency-table/1";

/// The latency of a part, and what it was found from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Which part.
    pub part: Part,
    /// Its latency in milliseconds: the difference of the two timings for each copy, and 0 where
    /// noise made that negative.
    pub ms: f64,
    /// Copies that the two networks differ by.
    pub copies: usize,
    /// The network with the copies.
    pub with: Timing,
    /// The network without them; none where the part is all of the network.
    pub without: Option<Timing>,
}

impl Entry {
    pub(crate) fn new(part: Part, copies: usize, with: Timing, without: Option<Timing>) -> Self {
        let difference = with.ms - without.map_or(0.0, |without| without.ms);
        Self { part, ms: difference.max(0.0) / copies as f64, copies, with, without }
    }
}

/// Latencies of the parts of networks, measured on one machine with one runtime: a JSON file of the
/// schema `adwp/latency-table/1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyTable {
    schema: String,
    version: String,
    setup: Setup,
    /// What the yardstick takes on the quiet machine, which all other times belong to.
    yardstick_ms: f64,
    /// In the order of their parts, each part once.
    entries: Vec<Entry>,
    calibrations: Vec<Calibration>,
}

impl LatencyTable {
    /// A table without entries, for what `stopwatch` measures.
    pub fn new(stopwatch: &dyn Stopwatch) -> Self {
        let (version, setup, yardstick_ms) =
            (env!("CARGO_PKG_VERSION").to_owned(), stopwatch.setup(), stopwatch.yardstick_ms());
        Self {
            schema: SCHEMA.to_owned(),
            version,
            setup,
            yardstick_ms,
            entries: Vec::new(),
            calibrations: Vec::new(),
        }
    }

    /// Reads a table.
    ///
    /// # Errors
    /// When the file cannot be read, has another schema or an unknown key, or holds what no
    /// measurement gives.
    pub fn read(path: &Path) -> Result<Self> {
        Self::from_json(&read_text(path)?)
            .map_err(|detail| LutError::Table { path: path.to_owned(), detail })
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let mut table: Self = adwp_base::from_json(text, SCHEMA).map_err(|e| e.to_string())?;
        table.entries.sort_by_key(|entry| entry.part);
        table.validate()?;
        Ok(table)
    }

    fn validate(&self) -> Result<(), String> {
        if let Some(twice) = self.entries.windows(2).find(|pair| pair[0].part == pair[1].part) {
            return Err(format!("there are two entries for the {}", twice[0].part));
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.ms < 0.0 || entry.copies == 0) {
            return Err(format!(
                "the entry for the {} has {} ms from {} copies",
                entry.part, entry.ms, entry.copies
            ));
        }
        if self.yardstick_ms <= 0.0 {
            return Err(format!("yardstick_ms is {}", self.yardstick_ms));
        }
        if let Some(calibration) =
            self.calibrations.iter().find(|calibration| calibration.factor <= 0.0)
        {
            return Err(format!("a calibration has the factor {}", calibration.factor));
        }
        Ok(())
    }

    /// Writes the table, all of it or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .expect("a table has only finite numbers and strings")
            + "\n";
        Ok(write_atomic(path, text.as_bytes())?)
    }

    /// What it was measured with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Every entry, in the order of the parts.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The calibrations, one for each skeleton that the table was measured for.
    pub fn calibrations(&self) -> &[Calibration] {
        &self.calibrations
    }

    /// What the yardstick takes on the quiet machine, which all times of the table belong to, in
    /// milliseconds.
    pub fn yardstick_ms(&self) -> f64 {
        self.yardstick_ms
    }

    /// How many of the entries were measured on a machine that was not quiet.
    pub fn disturbed(&self) -> usize {
        let slowdown = |entry: &&Entry| {
            entry.with.slowdown.max(entry.without.map_or(1.0, |without| without.slowdown))
        };
        self.entries.iter().filter(|entry| slowdown(entry) > 1.0).count()
    }

    /// The entry of a part.
    pub fn entry(&self, part: Part) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&part, |entry| entry.part).ok()?;
        Some(&self.entries[place])
    }

    /// The calibration for networks of a skeleton whose nodes sum `keep` pairs.
    ///
    /// # Errors
    /// [`LutError::Missing`] when there is none.
    pub fn calibration(&self, skeleton: &Skeleton, keep: usize) -> Result<&Calibration> {
        let missing =
            || LutError::missing("calibration for networks of these sizes", skeleton, keep);
        self.calibrations
            .iter()
            .find(|c| (c.skeleton, c.keep) == (*skeleton, keep))
            .ok_or_else(missing)
    }

    /// The yardstick took `yardstick_ms`. Where the machine was never so quiet before, what was
    /// measured would have been faster by as much.
    pub(crate) fn quieten(&mut self, yardstick_ms: f64) {
        let slower = slowdown(self.yardstick_ms, yardstick_ms);
        if slower <= 1.0 {
            return;
        }
        self.yardstick_ms = yardstick_ms;
        for entry in &mut self.entries {
            entry.ms /= slower;
            entry.with = entry.with.slower(slower);
            entry.without = entry.without.map(|without| without.slower(slower));
        }
        for calibration in &mut self.calibrations {
            calibration.offset_ms /= slower;
            for network in &mut calibration.networks {
                network.sum_ms /= slower;
                network.measured = network.measured.slower(slower);
            }
        }
    }

    /// Adds an entry, in the place of one of the same part.
    pub(crate) fn insert(&mut self, entry: Entry) {
        match self.entries.binary_search_by_key(&entry.part, |entry| entry.part) {
            Ok(place) => self.entries[place] = entry,
            Err(place) => self.entries.insert(place, entry),
        }
    }

    /// Adds a calibration, in the place of one of the same networks.
    pub(crate) fn calibrate(&mut self, calibration: Calibration) {
        self.calibrations
            .retain(|old| (old.skeleton, old.keep) != (calibration.skeleton, calibration.keep));
        self.calibrations.push(calibration);
    }

    fn ms(&self, part: Part, skeleton: &Skeleton, keep: usize) -> Result<f64> {
        let entry =
            self.entry(part).ok_or_else(|| LutError::missing(part.to_string(), skeleton, keep))?;
        Ok(entry.ms)
    }

    /// Sum of a network's parts in milliseconds, without the calibration.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub(crate) fn sum(&self, genotype: &Genotype, skeleton: &Skeleton) -> Result<f64> {
        let keep = keep_of(genotype);
        parts(genotype, skeleton)?.into_iter().map(|(_, part)| self.ms(part, skeleton, keep)).sum()
    }

    /// The latency of a network in milliseconds, for one image.
    ///
    /// # Errors
    /// When the genotype is not one of the skeleton; [`LutError::Missing`] when the table lacks a
    /// part of it or was not calibrated for it.
    pub fn predict(&self, genotype: &Genotype, skeleton: &Skeleton) -> Result<f64> {
        let sum = self.sum(genotype, skeleton)?;
        Ok(self.calibration(skeleton, keep_of(genotype))?.latency_ms(sum))
    }

    /// What every candidate of a space adds to the latency of a network whose nodes sum `keep` of
    /// them, in milliseconds.
    ///
    /// With the fixed part they add up to [`Self::predict`] where nothing falls away and nothing is
    /// shared, and to more elsewhere: the fixed part has every preprocessing and every ReLU that a
    /// candidate could ask for, and each factorised reduction has a crop of its own.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn choice_costs(
        &self,
        space: &IntensiveSpace,
        skeleton: &Skeleton,
        keep: usize,
    ) -> Result<ChoiceCosts> {
        let calibration = self.calibration(skeleton, keep)?;
        let ms = |part| self.ms(part, skeleton, keep).map(|ms| calibration.factor * ms);
        let widest = skeleton
            .cells()
            .into_iter()
            .map(|site| CellGenotype { kind: site.kind, nodes: space.cell(site.kind).clone() });
        let widest = Genotype::new(widest.collect())?;
        let mut costs = ChoiceCosts {
            fixed: calibration.offset_ms,
            cells: vec![vec![0.0; NODES * space.width()]; skeleton.cells],
        };
        for (owner, part) in parts(&widest, skeleton)? {
            match (owner, part) {
                (Owner::Network, Part::Sum { .. }) if keep < 2 => {}
                (Owner::Network, Part::Sum { image, .. }) => {
                    costs.fixed += ms(Part::Sum { terms: keep, image })?
                }
                (Owner::Network, part) => costs.fixed += ms(part)?,
                (Owner::Pair { cell, node, place }, part) => {
                    let crop = match part {
                        Part::Reduce { image, .. } => ms(Part::Crop { image })?,
                        _ => 0.0,
                    };
                    costs.cells[cell][node * space.width() + place] += ms(part)? + crop;
                }
                (Owner::Pairs, _) => {}
            }
        }
        Ok(costs)
    }
}

/// How many pairs the nodes of a genotype sum.
fn keep_of(genotype: &Genotype) -> usize {
    genotype.cells.iter().flat_map(|cell| &cell.nodes).map(Vec::len).max().unwrap_or(0)
}
