//! Filling a table.

use std::num::NonZeroUsize;

use adwp_models::Skeleton;

use crate::calibration::{self, Calibration, CalibrationNetwork, HeldOut};
use crate::check::check;
use crate::network::all_parts;
use crate::probe::Probe;
use crate::{Entry, LatencyTable, Part, Result, Stopwatch, Timeable, Timing};

/// Parts that are measured together. What is kept when a measurement is killed is whole batches.
const BATCH: usize = 8;

/// Random networks that a table is held against once it is complete, and what they are drawn with.
pub(crate) const HELD_OUT: (NonZeroUsize, u64) = (NonZeroUsize::new(30).expect("30 is not 0"), 0);

impl LatencyTable {
    /// Measures what networks of the skeleton whose nodes sum `keep` pairs have and the table
    /// lacks, and how well it predicts 30 random ones. Gives the number of new entries.
    ///
    /// `save` is called with the table after every batch; `progress` with the networks timed, and
    /// those in all.
    ///
    /// # Errors
    /// When the stopwatch measures something else than the table has, a network cannot be run, or
    /// `save` fails.
    pub fn measure(
        &mut self,
        skeleton: &Skeleton,
        keep: usize,
        stopwatch: &mut dyn Stopwatch,
        save: &mut dyn FnMut(&Self) -> Result<()>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<usize> {
        self.setup().check_same(&stopwatch.setup())?;
        let genotypes = calibration::genotypes(skeleton, keep)?;
        let missing: Vec<Part> = all_parts(skeleton, keep)?
            .into_iter()
            .filter(|&part| self.entry(part).is_none())
            .collect();
        // A calibration belongs to the entries that it was fitted with.
        let calibrated = missing.is_empty() && self.calibration(skeleton, keep).is_ok();
        let probes = missing
            .iter()
            .map(|&part| Ok((part, Probe::new(part)?)))
            .collect::<Result<Vec<_>>>()?;
        let of_parts: usize =
            probes.iter().map(|(_, probe)| 1 + usize::from(probe.without.is_some())).sum();
        let held_out = calibrated && self.calibration(skeleton, keep)?.held_out.is_some();
        let all = of_parts
            + if calibrated { 0 } else { genotypes.len() }
            + if held_out { 0 } else { HELD_OUT.0.get() };
        let mut done = 0;
        stopwatch.remember(self.yardstick_ms());
        let mut time = |table: &mut Self, networks: &[Timeable]| -> Result<Vec<Timing>> {
            let timings = stopwatch.time(networks, &mut |timed| progress(done + timed, all))?;
            done += networks.len();
            table.quieten(stopwatch.yardstick_ms());
            Ok(timings)
        };
        for probes in probes.chunks(BATCH) {
            let networks =
                probes.iter().flat_map(|(_, probe)| [Some(&probe.with), probe.without.as_ref()]);
            let networks: Vec<Timeable> = networks.flatten().cloned().collect();
            let mut timings = time(self, &networks)?.into_iter();
            let mut next = || timings.next().expect("a stopwatch gives a timing for every network");
            for &(part, ref probe) in probes {
                let (with, without) = (next(), probe.without.as_ref().map(|_| next()));
                self.insert(Entry::new(part, probe.copies, with, without));
            }
            save(self)?;
        }
        if !calibrated {
            let networks = genotypes
                .iter()
                .map(|genotype| Timeable::whole(genotype, skeleton))
                .collect::<Result<Vec<_>>>()?;
            let timings = time(self, &networks)?;
            let fitted = genotypes.iter().zip(timings).map(|(genotype, measured)| {
                Ok(CalibrationNetwork { sum_ms: self.sum(genotype, skeleton)?, measured })
            });
            self.calibrate(Calibration::fit(*skeleton, keep, fitted.collect::<Result<_>>()?));
            save(self)?;
        }
        if !held_out {
            let (networks, seed) = HELD_OUT;
            let checked = check(self, skeleton, keep, networks, seed, stopwatch, &mut |timed| {
                progress(done + timed, all)
            })?;
            let (mean_error, worst_error) = (checked.mean_error, checked.worst_error);
            let fitted = self.calibration(skeleton, keep)?.clone();
            self.calibrate(Calibration {
                held_out: Some(HeldOut { networks: networks.get(), mean_error, worst_error }),
                ..fitted
            });
            save(self)?;
        }
        Ok(missing.len())
    }
}
