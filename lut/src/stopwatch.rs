use std::io::Write;
use std::time::{Duration, Instant};

use adwp_measure::machine::Machine;
use adwp_measure::noise::noise;
use adwp_measure::ort_library::OrtLibrary;
use adwp_measure::runtime::{Runtime, Session, SessionOptions};
use adwp_measure::statistics::percentile;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{LutError, Networks, Result, Timeable};

/// Rounds in which the machine was quiet that a network is timed in.
const QUIET_ROUNDS: usize = 15;

/// Rounds after which a network is read, however busy the machine was.
const MOST_ROUNDS: usize = 60;

/// Rounds of the yardstick alone, before there is a network to time.
const FIRST_ROUNDS: usize = 50;

/// Least runs of a network in a round.
const RUNS: usize = 3;

/// The machine counts as quiet while the yardstick takes at most so many times its least. That
/// varies by some percent from process to process, and work on the other half of a core makes it
/// half as much again.
const QUIET: f64 = 1.15;

/// The latency of a network for one image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Milliseconds of the fastest run on a quiet machine.
    pub ms: f64,
    /// How many times as slow the machine was when this was measured, and [`Self::ms`] was divided
    /// by: 1 where it was quiet.
    pub slowdown: f64,
    /// Runs of the network.
    pub runs: usize,
}

impl Timing {
    /// The same beside a moment in which the machine was so many times as fast.
    pub(crate) fn slower(self, slowdown: f64) -> Self {
        Self { ms: self.ms / slowdown, slowdown: self.slowdown * slowdown, ..self }
    }
}

/// How many times as slow as `quiet_ms` the yardstick is at `ms`, and 1 where that is quiet.
pub(crate) fn slowdown(ms: f64, quiet_ms: f64) -> f64 {
    let slowdown = ms / quiet_ms;
    if slowdown > QUIET { slowdown } else { 1.0 }
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
    /// What the yardstick is drawn from: the networks that a table is first made for. What competes
    /// for caches and memory slows down a smaller network less.
    pub yardstick: Networks,
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
                ("a yardstick of", format!("{:?}", setup.yardstick)),
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
    /// What latencies depend on.
    fn setup(&self) -> Setup;

    /// Milliseconds that the yardstick, a network that is always the same, took in the quietest
    /// moment so far.
    fn yardstick_ms(&self) -> f64;

    /// Tells what the yardstick has taken in a moment that this stopwatch has not seen.
    fn remember(&mut self, yardstick_ms: f64);

    /// Times networks together, interleaved; the timings are in their order. `progress` hears how
    /// many of them are timed well enough.
    ///
    /// # Errors
    /// When a network cannot be run.
    fn time(
        &mut self,
        networks: &[Timeable],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Timing>>;
}

/// Measures with a runtime on this machine, as the [crate] says.
#[derive(Debug)]
pub struct RuntimeStopwatch {
    setup: Setup,
    ort_library: Option<OrtLibrary>,
    min_time: Duration,
    yardstick: Runner,
    yardstick_ms: f64,
}

impl RuntimeStopwatch {
    /// Prepares `runtime` to use `threads` threads, with a network of the sizes `yardstick` to
    /// compare with. Each round of each network takes at least `min_time`.
    ///
    /// # Errors
    /// When the runtime is not here, or cannot use so many threads, or there is no such network.
    pub fn new(
        runtime: Runtime,
        threads: usize,
        ort_library: Option<OrtLibrary>,
        min_time: Duration,
        yardstick: Networks,
    ) -> Result<Self> {
        let network = yardstick.sample(1, &mut ChaCha8Rng::seed_from_u64(0))?;
        let runner =
            Runner::start(&Timeable::whole(&network[0])?, runtime, threads, ort_library.as_ref())?;
        let setup = Setup {
            machine: Machine::read(),
            runtime,
            runtime_version: runner.session.runtime_version().to_owned(),
            optimization: runtime.optimization().to_owned(),
            threads,
            batch: 1,
            yardstick,
        };
        let mut stopwatch =
            Self { setup, ort_library, min_time, yardstick: runner, yardstick_ms: f64::INFINITY };
        for _ in 0..FIRST_ROUNDS {
            stopwatch.time_yardstick()?;
        }
        Ok(stopwatch)
    }

    fn time_yardstick(&mut self) -> Result<f64> {
        let (ms, _) = self.yardstick.fastest(self.min_time / 5, 1)?;
        self.yardstick_ms = self.yardstick_ms.min(ms);
        Ok(ms)
    }
}

/// A network in a runtime, and an image for it.
#[derive(Debug)]
struct Runner {
    session: Session,
    image: Vec<f32>,
}

impl Runner {
    /// Loads a network. The file is gone once the session has read it, so that a program that is
    /// killed leaves none behind.
    fn start(
        network: &Timeable,
        runtime: Runtime,
        threads: usize,
        ort_library: Option<&OrtLibrary>,
    ) -> Result<Self> {
        let failed = |source| LutError::Temporary { folder: std::env::temp_dir(), source };
        let mut file =
            tempfile::Builder::new().prefix("adwp-").suffix(".onnx").tempfile().map_err(failed)?;
        file.write_all(&network.onnx()?).map_err(failed)?;
        let session = Session::load(
            runtime,
            file.path(),
            &SessionOptions { threads, ort_library, batch: 1 },
        )?;
        let image = noise(session.input(), 1);
        Ok(Self { session, image })
    }

    /// The fastest run of a round, in milliseconds, and how many there were. The first runs find
    /// the caches as another network left them.
    fn fastest(&mut self, min_time: Duration, least: usize) -> Result<(f64, usize)> {
        let (round, mut fastest, mut runs) = (Instant::now(), Duration::MAX, 0);
        while runs < least || round.elapsed() < min_time {
            let run = Instant::now();
            self.session.run(&self.image, 1)?;
            fastest = fastest.min(run.elapsed());
            runs += 1;
        }
        Ok((1000.0 * fastest.as_secs_f64(), runs))
    }
}

/// A network that is timed by turns.
struct Turns {
    runner: Runner,
    rounds: Vec<Round>,
    runs: usize,
}

/// A turn.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// The fastest run, in milliseconds.
    ms: f64,
    /// What the yardstick took before or after it, whichever was slower.
    yardstick_ms: f64,
}

impl Turns {
    fn is_settled(&self, quiet_ms: f64) -> bool {
        quiet(&self.rounds, quiet_ms).count() >= QUIET_ROUNDS || self.rounds.len() >= MOST_ROUNDS
    }
}

/// The rounds in which the machine was quiet.
fn quiet(rounds: &[Round], quiet_ms: f64) -> impl Iterator<Item = &Round> {
    rounds.iter().filter(move |round| slowdown(round.yardstick_ms, quiet_ms) <= 1.0)
}

/// What rounds say, the yardstick taking `quiet_ms` on a quiet machine: the latency and the
/// slowdown that is not in it any more.
fn read(mut rounds: Vec<Round>, quiet_ms: f64) -> (f64, f64) {
    if quiet(&rounds, quiet_ms).count() >= QUIET_ROUNDS {
        return (quiet(&rounds, quiet_ms).map(|round| round.ms).fold(f64::INFINITY, f64::min), 1.0);
    }
    rounds.sort_by(|a, b| a.yardstick_ms.total_cmp(&b.yardstick_ms));
    rounds.truncate(QUIET_ROUNDS);
    let median = |value: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        percentile(&values, 50.0)
    };
    (
        median(&|round| round.ms / round.yardstick_ms) * quiet_ms,
        median(&|round| round.yardstick_ms) / quiet_ms,
    )
}

impl Stopwatch for RuntimeStopwatch {
    fn setup(&self) -> Setup {
        self.setup.clone()
    }

    fn yardstick_ms(&self) -> f64 {
        self.yardstick_ms
    }

    fn remember(&mut self, yardstick_ms: f64) {
        self.yardstick_ms = self.yardstick_ms.min(yardstick_ms);
    }

    fn time(
        &mut self,
        networks: &[Timeable],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Timing>> {
        let Setup { runtime, threads, .. } = self.setup;
        let start = |network| Runner::start(network, runtime, threads, self.ort_library.as_ref());
        let turns = |runner| Turns { runner, rounds: Vec::new(), runs: 0 };
        let mut networks = networks
            .iter()
            .map(|network| Ok(turns(start(network)?)))
            .collect::<Result<Vec<_>>>()?;
        loop {
            let mut before = self.time_yardstick()?;
            let quiet_ms = self.yardstick_ms;
            for network in networks.iter_mut().filter(|network| !network.is_settled(quiet_ms)) {
                let (ms, runs) = network.runner.fastest(self.min_time, RUNS)?;
                let after = self.time_yardstick()?;
                network.rounds.push(Round { ms, yardstick_ms: before.max(after) });
                network.runs += runs;
                before = after;
            }
            let settled =
                networks.iter().filter(|network| network.is_settled(self.yardstick_ms)).count();
            progress(settled);
            if settled == networks.len() {
                break;
            }
        }
        let timings = networks.into_iter().map(|Turns { rounds, runs, .. }| {
            let (ms, slowdown) = read(rounds, self.yardstick_ms);
            Timing { ms, slowdown, runs }
        });
        Ok(timings.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(count: usize, yardstick_ms: f64, ms: f64) -> Vec<Round> {
        vec![Round { ms, yardstick_ms }; count]
    }

    #[test]
    fn the_fastest_run_of_quiet_rounds_counts() {
        let interrupted = rounds(QUIET_ROUNDS - 1, 2.0, 30.0);
        let quiet = rounds(1, 2.1, 10.0);
        // Slow all the time; slow before or after a turn that was not.
        let busy = [rounds(20, 3.2, 16.0), rounds(3, 3.2, 9.0)].concat();
        assert_eq!(read([busy, interrupted, quiet].concat(), 2.0), (10.0, 1.0));
    }

    #[test]
    fn what_slows_the_yardstick_down_with_a_network_is_taken_out() {
        let (ms, slowdown) = read([rounds(40, 3.0, 15.0), rounds(5, 2.0, 30.0)].concat(), 2.0);
        assert!((ms - 10.0).abs() < 1e-9 && (slowdown - 1.5).abs() < 1e-9, "{ms} {slowdown}");
    }

    #[test]
    fn small_differences_of_the_yardstick_say_nothing() {
        assert_eq!((slowdown(1.1, 1.0), slowdown(0.9, 1.0), slowdown(1.5, 1.0)), (1.0, 1.0, 1.5));
    }
}
