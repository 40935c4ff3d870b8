//! Peak memory of this process, as Linux counts it; other systems have no equivalent that needs no
//! `unsafe`.

use std::fs;

/// Resident memory at one moment, from which a peak is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline(u64);

impl Baseline {
    /// Starts counting; `None` where the system does not let the peak be reset.
    pub(crate) fn take() -> Option<Self> {
        fs::write("/proc/self/clear_refs", "5").ok()?;
        field("VmRSS:").map(Self)
    }

    /// The most bytes resident since, above those resident then.
    pub(crate) fn peak_above(self) -> Option<u64> {
        Some(field("VmHWM:")?.saturating_sub(self.0))
    }
}

fn field(name: &str) -> Option<u64> {
    parse(&fs::read_to_string("/proc/self/status").ok()?, name)
}

fn parse(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_field_of_that_name() {
        let status = "Name:\tx\nVmPeak:\t   90 kB\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\n";
        assert_eq!(
            (parse(status, "VmHWM:"), parse(status, "VmRSS:"), parse(status, "VmSwap:")),
            (Some(12 << 10), Some(8 << 10), None)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peak_outlives_the_memory() {
        let baseline = Baseline::take().unwrap();
        drop(std::hint::black_box(vec![1_u8; 256 << 20]));
        let peak = baseline.peak_above().unwrap();
        // Far less is asked for than was taken: other tests give memory back at the same time.
        assert!(peak >= 128 << 20, "{peak}");
    }
}
