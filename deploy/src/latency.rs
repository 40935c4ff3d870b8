//! How long a model takes to load and to run.
//!
//! Every session is warmed up; then each repeat runs all sessions one after the other, so that what
//! the machine does meanwhile touches all of them equally. The first runs after a change of session
//! are thrown away: the threads of the previous one may still spin, and the caches hold its
//! weights.
//!
//! What is timed is the call into the runtime, with images that are ready and logits that are not
//! copied out. [`overhead`] measures what the timing itself takes.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result,
    noise::noise,
    onnx::OnnxModel,
    ort_library::OrtLibrary,
    runtime::{self, Bound, Runtime, Session, SessionOptions},
    statistics::Sample,
    trial::PeakMemory,
};

/// How latency is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyOptions {
    /// Images in one run.
    pub batch: usize,
    /// Each repeat of each session runs at least this long, and at least once.
    pub min_time: Duration,
    /// Repeats of each session.
    pub repeats: usize,
    /// Warming up ends here, stable or not.
    pub max_warm_up: Duration,
}

impl Default for LatencyOptions {
    fn default() -> Self {
        Self {
            batch: 1,
            min_time: Duration::from_millis(500),
            repeats: 5,
            max_warm_up: Duration::from_secs(3),
        }
    }
}

impl LatencyOptions {
    /// # Errors
    /// [`DeployError::Setting`] names the setting that cannot be measured with.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("batch", self.batch), ("repeats", self.repeats)] {
            if value == 0 {
                return Err(DeployError::setting(name, "it must be at least 1"));
            }
        }
        Ok(())
    }
}

/// The latency of one model in one runtime. Times are wall-clock milliseconds of one run of `batch`
/// images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyReport {
    /// The runtime that was timed.
    pub runtime: Runtime,
    /// What the runtime's library says: `1.23.2`.
    pub runtime_version: String,
    /// What it was asked to do to the graph before running it.
    pub optimization: String,
    /// Threads that one operator may use.
    pub threads: usize,
    /// Images in one run.
    pub batch: usize,
    /// From the file to a session that is ready to run, the runtime itself being loaded already.
    pub load_ms: f64,
    /// The first run.
    pub first_ms: f64,
    /// Runs thrown away as warm-up, the first one included.
    pub warm_up_runs: usize,
    /// Whether the warm-up ended because the latency had settled.
    pub stable: bool,
    /// Measured runs, all repeats together.
    pub n: usize,
    /// The fastest run.
    pub min_ms: f64,
    /// The mean of all `n` runs.
    pub mean_ms: f64,
    /// The standard deviation, with n − 1 in the denominator; 0 for one run.
    pub sd_ms: f64,
    /// The median of all `n` runs.
    pub p50_ms: f64,
    /// The 90th percentile.
    pub p90_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The mean of each repeat.
    pub repeat_mean_ms: Vec<f64>,
    /// The median of the repeats' means.
    pub median_repeat_mean_ms: f64,
    /// The median of each repeat.
    pub repeat_p50_ms: Vec<f64>,
    /// The fastest run of each repeat. Empty in reports of versions that did not record it.
    #[serde(default)]
    pub repeat_min_ms: Vec<f64>,
    /// How far the repeats' medians lie apart, relative to the smallest: 0.05 is 5 %.
    pub spread: f64,
    /// The 0th, 5th, 10th, … 100th percentile.
    pub percentiles_ms: Vec<f64>,
    /// Images a second, from the median of the repeats' means.
    pub throughput: f64,
    /// Memory of a process that does nothing else; none where it was not measured.
    pub memory: Option<PeakMemory>,
}

/// Repeats whose medians lie further apart than this tell of a machine that did something else.
pub const NOISY: f64 = 0.05;

impl LatencyReport {
    /// Whether the repeats differ by more than [`NOISY`].
    pub fn is_noisy(&self) -> bool {
        self.spread > NOISY
    }
}

/// A session and how long it took to come to life.
#[derive(Debug)]
pub struct TimedSession {
    /// The session, which has run once.
    pub session: Session,
    /// From the file to a session that is ready to run, in milliseconds.
    pub load_ms: f64,
    /// The first run, in milliseconds.
    pub first_ms: f64,
    /// Memory of a process that did nothing else; none where it was not measured.
    pub memory: Option<PeakMemory>,
    images: Bound,
    batch: usize,
}

impl TimedSession {
    /// Loads `model` into `runtime` and runs it once with `batch` images of [`noise`].
    ///
    /// # Errors
    /// As [`Session::from_model`] and [`Session::run`]; a model with a fixed batch can be measured
    /// at that batch only.
    pub fn start(
        model: &OnnxModel,
        runtime: Runtime,
        threads: usize,
        batch: usize,
        ort_library: Option<&OrtLibrary>,
    ) -> Result<Self> {
        runtime::prepare(runtime, ort_library)?;
        let start = Instant::now();
        let mut session =
            Session::from_model(runtime, model, &SessionOptions { threads, ort_library, batch })?;
        let load_ms = milliseconds(start.elapsed());
        let images = session.bind(noise(model.input(), batch), batch)?;
        let start = Instant::now();
        session.run_bound(&images)?;
        let first_ms = milliseconds(start.elapsed());
        Ok(Self { session, load_ms, first_ms, memory: None, images, batch })
    }

    /// Images in one run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    fn run(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.session.run_bound(&self.images)?;
        Ok(start.elapsed())
    }
}

/// Measures all `sessions` together, interleaved. The reports are in the order of the sessions.
/// `progress` is called with how far it is, in words for people.
///
/// # Errors
/// A setting is 0, or a session fails to run.
pub fn measure(
    sessions: &mut [TimedSession],
    options: &LatencyOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<LatencyReport>> {
    options.check()?;
    let mut runs: Vec<Run<'_>> = Vec::with_capacity(sessions.len());
    for timed in sessions.iter_mut() {
        runs.push(Box::new(|| timed.run()));
    }
    let series = time(&mut runs, options, progress)?;
    drop(runs);
    let reports = sessions.iter().zip(series);
    Ok(reports
        .map(|(timed, series)| {
            let runtime = timed.session.runtime();
            let all = Sample::new(series.repeats.iter().flatten().copied());
            let repeat_mean_ms: Vec<f64> = series
                .repeats
                .iter()
                .map(|repeat| Sample::new(repeat.iter().copied()).mean())
                .collect();
            let of_repeats = |percent| -> Vec<f64> {
                series
                    .repeats
                    .iter()
                    .map(|repeat| Sample::new(repeat.iter().copied()).percentile(percent))
                    .collect()
            };
            let (repeat_min_ms, repeat_p50_ms) = (of_repeats(0.0), of_repeats(50.0));
            let medians = Sample::new(repeat_p50_ms.iter().copied());
            let median_repeat_mean_ms =
                Sample::new(repeat_mean_ms.iter().copied()).percentile(50.0);
            LatencyReport {
                runtime,
                runtime_version: timed.session.runtime_version().to_owned(),
                optimization: runtime.optimization().to_owned(),
                threads: timed.session.threads(),
                batch: timed.batch,
                load_ms: timed.load_ms,
                first_ms: timed.first_ms,
                warm_up_runs: series.warm_up_runs + 1,
                stable: series.stable,
                n: all.len(),
                min_ms: all.percentile(0.0),
                mean_ms: all.mean(),
                sd_ms: all.sd(),
                p50_ms: all.percentile(50.0),
                p90_ms: all.percentile(90.0),
                p95_ms: all.percentile(95.0),
                p99_ms: all.percentile(99.0),
                median_repeat_mean_ms,
                repeat_mean_ms,
                repeat_p50_ms,
                repeat_min_ms,
                // Times below the resolution of the clock would otherwise give what JSON cannot
                // hold.
                spread: (medians.percentile(100.0) - medians.percentile(0.0))
                    / medians.percentile(0.0).max(1e-6),
                percentiles_ms: (0..=20)
                    .map(|step| all.percentile(5.0 * f64::from(step)))
                    .collect(),
                throughput: timed.batch as f64 * 1000.0 / median_repeat_mean_ms.max(1e-6),
                memory: timed.memory,
            }
        })
        .collect())
}

/// What was measured of one session, in milliseconds.
struct Series {
    warm_up_runs: usize,
    stable: bool,
    repeats: Vec<Vec<f64>>,
}

type Run<'a> = Box<dyn FnMut() -> Result<Duration> + 'a>;

fn time(
    runs: &mut [Run<'_>],
    options: &LatencyOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Series>> {
    progress("warming up");
    keep_freed_memory();
    let mut series = Vec::with_capacity(runs.len());
    for run in runs.iter_mut() {
        let (warm_up_runs, stable) = warm_up(run, options.max_warm_up)?;
        series.push(Series { warm_up_runs, stable, repeats: Vec::with_capacity(options.repeats) });
    }
    let change = options.min_time.min(Duration::from_millis(50)) / 5;
    let alone = runs.len() == 1;
    for repeat in 0..options.repeats {
        let left =
            options.min_time.as_secs_f64() * (runs.len() * (options.repeats - repeat)) as f64;
        progress(&format!("repeat {} of {}, {left:.0} s left", repeat + 1, options.repeats));
        for (run, series) in runs.iter_mut().zip(&mut series) {
            if !alone {
                run_for(run, change)?;
            }
            series.repeats.push(run_for(run, options.min_time)?);
        }
    }
    Ok(series)
}

/// Has the allocator keep what is freed up to some tens of megabytes. tract allocates its tensors
/// anew in every run. The allocator of glibc gives such blocks back to the system and takes them
/// again, a page fault for every 4 KiB, until the program has freed a large one for the first time
/// (`M_MMAP_THRESHOLD` in mallopt(3)). Whether that was so would depend on what was measured
/// before, and with it up to a third of a latency.
fn keep_freed_memory() {
    // glibc learns from blocks below 32 MiB.
    std::hint::black_box(Vec::<u8>::with_capacity(31 << 20));
}

/// What measuring adds to one run: the time of a run that does nothing, all of the loop around it
/// included.
pub fn overhead() -> Duration {
    const RUNS: u32 = 1000;
    let repeat = || {
        let mut left = RUNS;
        let start = Instant::now();
        let mut run: Run<'_> = Box::new(|| {
            left -= 1;
            let start = Instant::now();
            std::hint::black_box(left);
            Ok(start.elapsed())
        });
        let mut times = Vec::new();
        for _ in 0..RUNS {
            times.extend(run_for(&mut run, Duration::ZERO).unwrap_or_default());
        }
        std::hint::black_box(times);
        start.elapsed() / RUNS
    };
    // The fastest of some, since whatever else the machine does is not part of it.
    (0..20).map(|_| repeat()).min().unwrap_or_default()
}

/// Runs for at least `time` and at least once.
fn run_for(run: &mut Run<'_>, time: Duration) -> Result<Vec<f64>> {
    let start = Instant::now();
    let mut times = Vec::new();
    loop {
        times.push(milliseconds(run()?));
        if start.elapsed() >= time {
            return Ok(times);
        }
    }
}

/// Runs of a block whose median is compared with that of the block before it.
const WARM_UP_BLOCK: usize = 5;
/// Medians closer than this, relative to the earlier one, have settled.
const SETTLED: f64 = 0.03;

/// Runs until the medians of two successive blocks agree, or for `max`. Gives the number of runs
/// and whether they agreed.
fn warm_up(run: &mut Run<'_>, max: Duration) -> Result<(usize, bool)> {
    let start = Instant::now();
    let mut runs = 0;
    let mut before: Option<f64> = None;
    while start.elapsed() < max {
        let mut block = Vec::with_capacity(WARM_UP_BLOCK);
        for _ in 0..WARM_UP_BLOCK {
            block.push(milliseconds(run()?));
            runs += 1;
            if start.elapsed() >= max {
                return Ok((runs, false));
            }
        }
        let median = Sample::new(block.into_iter()).percentile(50.0);
        if before.is_some_and(|before| (median - before).abs() <= SETTLED * before) {
            return Ok((runs, true));
        }
        before = Some(median);
    }
    Ok((runs, false))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mebibyte is 256 pages, which would be as many faults a turn.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn freed_memory_is_kept() {
        let faults = || -> u64 {
            let status = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // After the name in parentheses: minflt, the tenth field of proc_pid_stat(5).
            status.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
        };
        let turns =
            || (0..100).for_each(|turn| drop(std::hint::black_box(vec![turn + 1_u8; 1 << 20])));
        keep_freed_memory();
        turns();
        let before = faults();
        turns();
        assert!(faults() - before < 256, "{} faults", faults() - before);
    }

    #[test]
    fn spread_is_that_of_a_sample() {
        // numpy.std([2, 4, 4, 4, 5, 5, 7, 9], ddof=1)
        let sample = Sample::new([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].into_iter());
        assert_eq!(sample.mean(), 5.0);
        assert!((sample.sd() - 2.138_089_935_299_395).abs() < 1e-12);
        assert_eq!(Sample::new([3.0].into_iter()).sd(), 0.0);
    }

    #[test]
    fn measuring_takes_less_than_two_microseconds() {
        let overhead = overhead();
        assert!(overhead > Duration::ZERO && overhead < Duration::from_micros(2), "{overhead:?}");
    }

    #[test]
    fn sessions_take_turns() {
        let order = std::cell::RefCell::new(Vec::new());
        let session = |name: char| -> Run<'_> {
            let order = &order;
            Box::new(move || {
                order.borrow_mut().push(name);
                Ok(Duration::from_millis(1))
            })
        };
        let options = LatencyOptions {
            min_time: Duration::ZERO,
            repeats: 3,
            max_warm_up: Duration::ZERO,
            ..Default::default()
        };
        let series = time(&mut [session('a'), session('b')], &options, &mut |_| ()).unwrap();
        assert_eq!(order.into_inner().iter().collect::<String>(), "aabbaabbaabb");
        assert!(series.iter().all(|series| series.repeats == vec![vec![1.0]; 3]));
    }

    #[test]
    fn warm_up_ends_when_the_latency_has_settled() {
        let mut runs = 0_u32;
        let mut run: Run<'_> = Box::new(move || {
            runs += 1;
            Ok(Duration::from_millis(if runs <= 10 { 100 - 5 * u64::from(runs) } else { 20 }))
        });
        assert_eq!(warm_up(&mut run, Duration::from_secs(5)).unwrap(), (20, true));
        let mut growing = 1_u64;
        let mut run: Run<'_> = Box::new(move || {
            growing += growing / 4 + 1;
            std::thread::sleep(Duration::from_micros(100));
            Ok(Duration::from_millis(growing.min(1 << 40)))
        });
        assert!(!warm_up(&mut run, Duration::from_millis(5)).unwrap().1);
    }
}
