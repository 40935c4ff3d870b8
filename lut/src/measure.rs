//! Filling a table.

use std::num::NonZeroUsize;

use crate::calibration::{self, Calibration, CalibrationNetwork, HeldOut};
use crate::check::check;
use crate::probe::Probe;
use crate::{Entry, LatencyTable, Networks, Part, Result, Stopwatch, Timeable, Timing};

/// Parts that are measured together. What is kept when a measurement is killed is whole batches.
const BATCH: usize = 8;

/// Random networks that a table is held against once it is complete, and what they are drawn with.
pub(crate) const HELD_OUT: (NonZeroUsize, u64) = (NonZeroUsize::new(30).expect("30 is not 0"), 0);

impl LatencyTable {
    /// Measures what networks have and the table lacks, and how well it predicts 30 random ones.
    /// Gives the number of new entries.
    ///
    /// `save` is called with the table after every batch; `progress` with the networks timed, and
    /// those in all.
    ///
    /// # Errors
    /// When the stopwatch measures something else than the table has, a network cannot be run, or
    /// `save` fails.
    pub fn measure(
        &mut self,
        of: &Networks,
        stopwatch: &mut dyn Stopwatch,
        save: &mut dyn FnMut(&Self) -> Result<()>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<usize> {
        self.setup().check_same(&stopwatch.setup())?;
        let calibrating = calibration::networks(of)?;
        let missing: Vec<(String, Part)> =
            of.parts()?.into_iter().filter(|(text, _)| self.entry(text).is_none()).collect();
        // A calibration belongs to the entries that it was fitted with.
        let calibrated = missing.is_empty() && self.calibration(of).is_ok();
        let probes = missing
            .iter()
            .map(|(text, part)| Ok((text, Probe::new(part)?)))
            .collect::<Result<Vec<_>>>()?;
        let of_parts: usize =
            probes.iter().map(|(_, probe)| 1 + usize::from(probe.without.is_some())).sum();
        let held_out = calibrated && self.calibration(of)?.held_out.is_some();
        let all = of_parts
            + if calibrated { 0 } else { calibrating.len() }
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
            for (part, probe) in probes {
                let (with, without) = (next(), probe.without.as_ref().map(|_| next()));
                self.insert(Entry::new((*part).clone(), probe.copies, with, without));
            }
            save(self)?;
        }
        if !calibrated {
            let networks = calibrating.iter().map(Timeable::whole).collect::<Result<Vec<_>>>()?;
            let timings = time(self, &networks)?;
            let fitted = calibrating.iter().zip(timings).map(|(blueprint, measured)| {
                Ok(CalibrationNetwork { sum_ms: self.sum(blueprint)?, measured })
            });
            let fitted = fitted.collect::<Result<_>>()?;
            self.calibrate(Calibration::fit(of.clone(), fitted));
            save(self)?;
        }
        if !held_out {
            let (networks, seed) = HELD_OUT;
            let checked = check(self, of, networks, seed, stopwatch, &mut |timed| {
                progress(done + timed, all)
            })?;
            let (mean_error, worst_error) = (checked.mean_error, checked.worst_error);
            let fitted = self.calibration(of)?.clone();
            self.calibrate(Calibration {
                held_out: Some(HeldOut { networks: networks.get(), mean_error, worst_error }),
                ..fitted
            });
            save(self)?;
        }
        Ok(missing.len())
    }
}
