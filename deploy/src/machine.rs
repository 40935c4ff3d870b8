//! The machine that a measurement was made on.

use std::{env, fs, process::Command, thread};

use serde::{Deserialize, Serialize};

/// Load averages over 1, 5 and 15 minutes.
pub type LoadAverage = [f64; 3];

/// What is worth knowing of the machine of a latency. What the system does not report is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's model name, or `unknown`.
    pub cpu: String,
    /// Threads that this process may use at once.
    pub cores: usize,
    /// The processors that this process may run on, as the kernel lists them: `0-3,8`.
    pub affinity: Option<String>,
    /// Main memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The operating system: `linux`, `macos`, `windows`, ….
    pub os: String,
    /// The instruction set: `x86_64`, `aarch64`, ….
    pub arch: String,
    /// The mean frequency of the processors in MHz when [`Machine::read`] was called.
    pub mhz_before: Option<f64>,
    /// The mean frequency when [`Machine::finish`] was called.
    pub mhz_after: Option<f64>,
    /// Load when [`Machine::read`] was called.
    pub load_before: Option<LoadAverage>,
    /// Load when [`Machine::finish`] was called.
    pub load_after: Option<LoadAverage>,
}

impl Machine {
    /// Describes this machine. Call it before measuring.
    pub fn read() -> Self {
        Self {
            cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism().map_or(1, usize::from),
            affinity: proc_value("/proc/self/status", "Cpus_allowed_list"),
            memory_bytes: memory_bytes(),
            os: env::consts::OS.to_owned(),
            arch: env::consts::ARCH.to_owned(),
            mhz_before: mhz(),
            mhz_after: None,
            load_before: load_average(),
            load_after: None,
        }
    }

    /// Notes frequency and load after measuring.
    pub fn finish(&mut self) {
        self.mhz_after = mhz();
        self.load_after = load_average();
    }
}

/// The value after `key:` in a file of the kernel.
fn proc_value(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })?;
    (!value.is_empty()).then_some(value)
}

fn cpu_model() -> Option<String> {
    match env::consts::OS {
        // ARM kernels name the board instead of the processor.
        "linux" => ["model name", "Model", "Hardware"]
            .iter()
            .find_map(|key| proc_value("/proc/cpuinfo", key)),
        "macos" => sysctl("machdep.cpu.brand_string"),
        "windows" => env::var("PROCESSOR_IDENTIFIER").ok(),
        _ => None,
    }
}

fn memory_bytes() -> Option<u64> {
    if env::consts::OS == "macos" {
        return sysctl("hw.memsize")?.parse().ok();
    }
    let total = proc_value("/proc/meminfo", "MemTotal")?;
    total.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn load_average() -> Option<LoadAverage> {
    let text = match env::consts::OS {
        "macos" => sysctl("vm.loadavg")?,
        _ => fs::read_to_string("/proc/loadavg").ok()?,
    };
    let mut numbers = text
        .split_whitespace()
        .filter_map(|word| word.parse::<f64>().ok())
        .filter(|load| load.is_finite());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

/// Bytes that a process can take without others being swapped out.
pub(crate) fn available_bytes() -> Option<u64> {
    let value = proc_value("/proc/meminfo", "MemAvailable")?;
    value.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes after `key:` in the status of this process.
pub(crate) fn status_bytes(key: &str) -> Option<u64> {
    let value = proc_value("/proc/self/status", key)?;
    value.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The mean frequency of all processors: as the kernel scales it, else as the processors tell it.
fn mhz() -> Option<f64> {
    let scaled = |index: usize| {
        let text = fs::read_to_string(format!(
            "/sys/devices/system/cpu/cpu{index}/cpufreq/scaling_cur_freq"
        ))
        .ok()?;
        Some(text.trim().parse::<f64>().ok()? / 1000.0)
    };
    let mut all: Vec<f64> = (0..1024).map_while(scaled).collect();
    if all.is_empty() {
        let text = fs::read_to_string("/proc/cpuinfo").ok()?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        all.extend(
            lines
                .filter(|(name, _)| name.trim() == "cpu MHz")
                .filter_map(|(_, value)| value.trim().parse::<f64>().ok()),
        );
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    mean.is_finite().then_some(mean)
}

fn sysctl(name: &str) -> Option<String> {
    let output = Command::new("sysctl").args(["-n", name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_of_this_test_is_described() {
        let mut machine = Machine::read();
        machine.finish();
        assert!(machine.cores > 0 && !machine.cpu.is_empty());
        if cfg!(target_os = "linux") {
            assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
            assert!(machine.load_before.is_some() && machine.load_after.is_some());
            assert!(machine.affinity.is_some());
        }
    }
}
