use std::io::Write;
use std::time::Duration;

use adwp_deploy::latency::{self, LatencyOptions, TimedSession, percentile};
use adwp_deploy::machine::Machine;
use adwp_deploy::onnx::OnnxModel;
use adwp_deploy::ort_library::OrtLibrary;
use adwp_deploy::runtime::Runtime;
use serde::{Deserialize, Serialize};

use crate::probe::Probe;
use crate::{LutError, Part, Result, Timeable};

/// Rounds in which networks take turns.
pub const ROUNDS: usize = 20;

/// The latency of a network, in milliseconds of a run with one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// The median run of the quietest round.
    pub ms: f64,
    /// The median over the rounds of each one's median run.
    pub typical_ms: f64,
    /// Runs measured, all rounds together.
    pub runs: usize,
}

/// What latencies depend on beside the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The machine.
    pub machine: Machine,
    /// The runtime.
    pub runtime: Runtime,
    /// Its version.
    pub runtime_version: String,
    /// What it is asked to do to a network before running it.
    pub optimization: String,
    /// Threads that one operator may use.
    pub threads: usize,
    /// Images in one run: 1.
    pub batch: usize,
}

impl Setup {
    /// Fails where latencies measured `here` cannot stand beside those of this setup.
    ///
    /// # Errors
    /// [`LutError::Elsewhere`] names what is different.
    pub fn check_same(&self, here: &Self) -> Result<()> {
        let facts = |setup: &Self| {
            [
                ("the processor", setup.machine.cpu.clone()),
                ("the instruction set", setup.machine.arch.clone()),
                ("the operating system", setup.machine.os.clone()),
                ("the runtime", format!("{} {}", setup.runtime, setup.runtime_version)),
                ("the optimisation level", setup.optimization.clone()),
                ("the number of threads", setup.threads.to_string()),
                ("a batch of", setup.batch.to_string()),
            ]
        };
        match facts(self).into_iter().zip(facts(here)).find(|(table, here)| table != here) {
            None => Ok(()),
            Some(((what, table), (_, here))) => Err(LutError::Elsewhere { what, table, here }),
        }
    }
}

/// Measures latencies.
pub trait Stopwatch {
    /// What they depend on.
    fn setup(&self) -> Setup;

    /// Times networks together, interleaved; the timings are in their order. `progress` hears after every round how many of [`ROUNDS`]
    /// are done.
    ///
    /// # Errors
    /// When a network cannot be run.
    fn time(&mut self, networks: &[Timeable], progress: &mut dyn FnMut(usize)) -> Result<Vec<Timing>>;
}

/// Measures with a runtime on this machine, as the [crate] says.
#[derive(Debug)]
pub struct RuntimeStopwatch {
    setup: Setup,
    ort_library: Option<OrtLibrary>,
    min_time: Duration,
}

impl RuntimeStopwatch {
    /// Prepares `runtime` to use `threads` threads. Each round of each network takes at least `min_time`, and at least one run.
    ///
    /// # Errors
    /// When the runtime is not here, or cannot use so many threads.
    pub fn new(runtime: Runtime, threads: usize, ort_library: Option<OrtLibrary>, min_time: Duration) -> Result<Self> {
        let setup = Setup {
            machine: Machine::read(),
            runtime,
            runtime_version: String::new(),
            optimization: runtime.optimization().to_owned(),
            threads,
            batch: 1,
        };
        let mut stopwatch = Self { setup, ort_library, min_time };
        // A session knows the version of its runtime.
        let smallest = Probe::new(Part::Classifier { image: [1, 4, 4], classes: 2 })?;
        stopwatch.setup.runtime_version = stopwatch.start(&smallest.with)?.session.runtime_version().to_owned();
        Ok(stopwatch)
    }

    /// The file is gone once the session has read it, so that a program that is killed leaves none behind.
    fn start(&self, network: &Timeable) -> Result<TimedSession> {
        let failed = |source| LutError::Temporary { folder: std::env::temp_dir(), source };
        let mut file = tempfile::Builder::new().prefix("adwp-").suffix(".onnx").tempfile().map_err(failed)?;
        file.write_all(&network.onnx()?).map_err(failed)?;
        let model = OnnxModel::load(file.path())?;
        let Setup { runtime, threads, batch, .. } = self.setup;
        Ok(TimedSession::start(&model, runtime, threads, batch, self.ort_library.as_ref())?)
    }
}

impl Stopwatch for RuntimeStopwatch {
    fn setup(&self) -> Setup {
        self.setup.clone()
    }

    fn time(&mut self, networks: &[Timeable], progress: &mut dyn FnMut(usize)) -> Result<Vec<Timing>> {
        let mut sessions = networks.iter().map(|network| self.start(network)).collect::<Result<Vec<_>>>()?;
        let mut rounds: Vec<Vec<f64>> = vec![Vec::with_capacity(ROUNDS); sessions.len()];
        let mut runs = vec![0; sessions.len()];
        for round in 0..ROUNDS {
            // Sessions stay warm from one round to the next.
            let max_warm_up = if round == 0 { LatencyOptions::default().max_warm_up.min(50 * self.min_time) } else { Duration::ZERO };
            let options = LatencyOptions { batch: self.setup.batch, min_time: self.min_time, repeats: 1, max_warm_up };
            let reports = latency::measure(&mut sessions, &options, &mut |_| ())?;
            for ((report, medians), runs) in reports.into_iter().zip(&mut rounds).zip(&mut runs) {
                medians.push(report.p50_ms);
                *runs += report.n;
            }
            progress(round + 1);
        }
        let timings = rounds.into_iter().zip(runs).map(|(mut medians, runs)| {
            medians.sort_unstable_by(f64::total_cmp);
            Timing { ms: medians[0], typical_ms: percentile(&medians, 50.0), runs }
        });
        Ok(timings.collect())
    }
}
