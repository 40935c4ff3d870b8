//! How busy the machine was with anything but the benchmark, as Linux counts it: what a time
//! measured meanwhile is worth.

use std::fs;
use std::time::Instant;

/// Of a second, in which Linux reports processor time to programs on every machine.
const TICKS: f64 = 100.0;

/// A moment from which processor time is counted.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    start: Instant,
    /// Ticks of all cores and all processes.
    all: u64,
    /// Ticks of the benchmark's processes.
    own: u64,
    processes: Vec<u32>,
}

impl Load {
    /// Starts counting; this process and `children` are the benchmark. `None` where the system does
    /// not tell.
    pub(crate) fn start(children: impl IntoIterator<Item = u32>) -> Option<Self> {
        let processes: Vec<u32> = std::iter::once(std::process::id()).chain(children).collect();
        Some(Self {
            start: Instant::now(),
            all: all_ticks()?,
            own: own_ticks(&processes)?,
            processes,
        })
    }

    /// Share of the machine's processor time since then that went to others, from 0 to 1.
    pub(crate) fn of_others(&self) -> Option<f64> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let had = self.start.elapsed().as_secs_f64() * cores as f64 * TICKS;
        let others = all_ticks()?.saturating_sub(self.all) as f64
            - own_ticks(&self.processes)?.saturating_sub(self.own) as f64;
        Some((others / had).clamp(0.0, 1.0))
    }
}

fn all_ticks() -> Option<u64> {
    parse_all(&fs::read_to_string("/proc/stat").ok()?)
}

fn own_ticks(processes: &[u32]) -> Option<u64> {
    processes
        .iter()
        .map(|id| parse_own(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?))
        .sum()
}

/// user, nice, system, irq, softirq and steal: all that is not idling or waiting for a disk.
fn parse_all(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map_while(|f| f.parse().ok())
        .collect();
    [0, 1, 2, 5, 6, 7].iter().map(|&i| fields.get(i)).sum()
}

/// Time in user and in system mode.
fn parse_own(stat: &str) -> Option<u64> {
    // The name before may contain anything, spaces and brackets included.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12].iter().map(|&i| fields.get(i)?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read() {
        assert_eq!(
            parse_all("cpu  10 20 30 1000 500 4 5 6 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n"),
            Some(10 + 20 + 30 + 4 + 5 + 6)
        );
        assert_eq!(parse_all("cpu  10 20"), None);
        let stat = "7 (a ) b) R 1 2 3 4 5 6 7 8 9 10 41 1 0 0 20 0 1 0 99";
        assert_eq!(parse_own(stat), Some(42));
    }
}
