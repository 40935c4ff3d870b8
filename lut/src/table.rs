use std::path::Path;

use adwp_engine::Owner;
use adwp_models::{Blueprint, ChoiceCosts, ModelError, Space};
use adwp_train::{read_json_text, write_atomic};
use serde::{Deserialize, Serialize};

use crate::networks::parts;
use crate::part::{Cut, Part};
use crate::stopwatch::slowdown;
use crate::{Calibration, LutError, Networks, Result, Setup, Stopwatch, Timing};

const SCHEMA: &str = "adwp/latency-table/2";

/// The latency of a part, and what it was found from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The text of the part.
    pub part: String,
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
    pub(crate) fn new(part: String, copies: usize, with: Timing, without: Option<Timing>) -> Self {
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
        Self::from_json(&read_json_text(path)?)
            .map_err(|detail| LutError::Table { path: path.to_owned(), detail })
    }

    fn from_json(text: &str) -> Result<Self, String> {
        let mut table: Self = adwp_base::from_json(text, SCHEMA).map_err(|e| e.to_string())?;
        table.entries.sort_by(|a, b| a.part.cmp(&b.part));
        table.validate()?;
        Ok(table)
    }

    fn validate(&self) -> Result<(), String> {
        if let Some(twice) = self.entries.windows(2).find(|pair| pair[0].part == pair[1].part) {
            return Err(format!("there are two entries for {}", twice[0].part));
        }
        if let Some(entry) = self.entries.iter().find(|entry| entry.ms < 0.0 || entry.copies == 0) {
            return Err(format!(
                "the entry for {} has {} ms from {} copies",
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
        Ok(write_atomic(path, adwp_base::to_json(self).as_bytes())?)
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

    /// The entry of a part, by its text.
    pub fn entry(&self, part: &str) -> Option<&Entry> {
        Some(&self.entries[self.place(part).ok()?])
    }

    /// Where the entry of a part is, or would be.
    fn place(&self, part: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.part.as_str().cmp(part))
    }

    /// The calibration for networks.
    ///
    /// # Errors
    /// [`LutError::Missing`] when there is none.
    pub fn calibration(&self, networks: &Networks) -> Result<&Calibration> {
        let found = self.calibrations.iter().find(|calibration| calibration.of == *networks);
        found.ok_or_else(|| networks.missing("calibration for networks of these sizes"))
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
        match self.place(&entry.part) {
            Ok(place) => self.entries[place] = entry,
            Err(place) => self.entries.insert(place, entry),
        }
    }

    /// Adds a calibration, in the place of one of the same networks.
    pub(crate) fn calibrate(&mut self, calibration: Calibration) {
        self.calibrations.retain(|old| old.of != calibration.of);
        self.calibrations.push(calibration);
    }

    fn ms(&self, part: &Part, networks: &Networks) -> Result<f64> {
        let text = part.to_string();
        let entry = self.entry(&text).ok_or_else(|| networks.missing(text.as_str()))?;
        Ok(entry.ms)
    }

    /// Sum of a network's parts in milliseconds, without the calibration.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub(crate) fn sum(&self, blueprint: &Blueprint) -> Result<f64> {
        let networks = covered(blueprint)?;
        parts(blueprint)?.iter().map(|cut| self.ms(&cut.part, &networks)).sum()
    }

    /// The latency of a network in milliseconds, for one image.
    ///
    /// # Errors
    /// When no table is of such networks, or the sizes make none; [`LutError::Missing`] when the
    /// table lacks a part of it or was not calibrated for it.
    pub fn predict(&self, blueprint: &Blueprint) -> Result<f64> {
        // A part that is lacking says more than a calibration that is.
        let sum = self.sum(blueprint)?;
        Ok(self.calibration(&covered(blueprint)?)?.latency_ms(sum))
    }

    /// What every option of a space adds to the latency of its networks, which are some of
    /// `networks`, in milliseconds.
    ///
    /// With the fixed part they add up to [`Self::predict`] where nothing falls away and nothing is
    /// shared, and to more elsewhere: the fixed part has every preprocessing and every ReLU that a
    /// candidate could ask for, and each factorised reduction has a crop of its own.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn choice_costs(&self, space: &dyn Space, networks: &Networks) -> Result<ChoiceCosts> {
        let calibration = self.calibration(networks)?;
        let ms = |part: &Part| self.ms(part, networks).map(|ms| calibration.factor * ms);
        let mut costs = ChoiceCosts::none(space);
        costs.fixed = calibration.offset_ms;
        for Cut { owner, part, readers } in parts(&Blueprint::of(space, &space.widest())?)? {
            match owner {
                Owner::Node { node, .. } if part.terms().is_some() => match space.terms(node) {
                    0 | 1 => {}
                    terms => costs.fixed += ms(&Part::sum(terms, part.output()))?,
                },
                _ if part.is_crop() && !readers.is_empty() => {
                    let ms = ms(&part)?;
                    for candidate in readers {
                        *costs.of_mut(space, Owner::Candidate(candidate)) += ms;
                    }
                }
                _ => *costs.of_mut(space, owner) += ms(&part)?,
            }
        }
        Ok(costs)
    }
}

/// The networks that a network is one of.
fn covered(blueprint: &Blueprint) -> Result<Networks> {
    let message = "latency tables are of networks of a space that can be searched";
    Networks::of(blueprint).ok_or_else(|| ModelError::Invalid(message.into()).into())
}
