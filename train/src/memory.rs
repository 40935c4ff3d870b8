//! What memory the machine and its GPU have, what a phase will need of it, and what the process
//! took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{fs, iter};

use adwp_engine::{Device, Graph, NodeId};

use crate::{Result, TrainError};

pub use crate::bytes::{MemoryLocation, in_units};

/// What a phase holds in memory at its peak, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Variables, and the history of the optimisers: what a checkpoint stores.
    pub state: usize,
    /// Buffers of the executors, those that they share included.
    pub executors: usize,
    /// Batches being prepared, waiting and in use.
    pub batches: usize,
    /// Images in the memory of the GPU; 0 where there are none.
    pub images: usize,
}

impl MemoryPlan {
    /// All of it, where executors are on `device`.
    pub fn need(&self, device: &Device) -> Need {
        // While a checkpoint is written the state is there three times: in use, or read back from
        // the GPU, as tensors of the checkpoint, as bytes of the file.
        let host = self.state.saturating_mul(3).saturating_add(self.batches);
        match device {
            Device::Cpu(_) => Need { host: host.saturating_add(self.executors), gpu: 0 },
            Device::Cuda(_) => Need {
                host,
                gpu: self.state.saturating_add(self.executors).saturating_add(self.images),
            },
        }
    }
}

/// Bytes that something needs, by where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// In the memory of the machine.
    pub host: usize,
    /// In that of the GPU; 0 where none computes.
    pub gpu: usize,
}

impl Need {
    /// This, and so much more in the memory of the machine.
    #[must_use]
    pub fn with_held(self, bytes: usize) -> Self {
        Self { host: self.host.saturating_add(bytes), ..self }
    }
}

/// Bytes that this process can have in all, by where; `None` where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Available {
    /// In the memory of the machine.
    pub host: Option<u64>,
    /// In that of the GPU; `None` where none computes.
    pub gpu: Option<u64>,
}

/// Bytes of all variables of a graph.
pub fn of_variables(graph: &Graph) -> usize {
    graph.variables().map(|variable| variable.shape.elements() * size_of::<f32>()).sum()
}

/// Bytes of the values of some nodes.
pub fn of_nodes(graph: &Graph, nodes: &[NodeId]) -> usize {
    nodes.iter().map(|&id| graph[id].shape.elements() * size_of::<f32>()).sum()
}

/// Refuses a phase that needs more than there is; where that is not known, none.
///
/// # Errors
/// [`TrainError::Memory`].
pub fn check(phase: &'static str, need: Need, available: Available) -> Result<()> {
    for (location, needed, available) in [
        (MemoryLocation::Host, need.host, available.host),
        (MemoryLocation::Gpu, need.gpu, available.gpu),
    ] {
        match available {
            Some(available) if needed as u64 > available => {
                return Err(TrainError::Memory {
                    phase,
                    location,
                    needed: needed as u64,
                    available,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a phase that computes on `device` can have: what the machine and the control groups the
/// process is in leave free, with what it holds already, and what is free on the GPU.
///
/// # Errors
/// [`TrainError::Engine`] when the GPU does not answer.
pub fn available(device: &Device) -> Result<Available> {
    let gpu = match device {
        Device::Cpu(_) => None,
        Device::Cuda(device) => Some(device.available_bytes()?),
    };
    Ok(Available { host: available_by(&|path| fs::read_to_string(path).ok()), gpu })
}

/// The most bytes that the process held at a time since [`reset_peak`], or since its start where
/// the system does not let that be set. `None` where the system does not tell.
pub fn peak() -> Option<u64> {
    let mark = kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")?;
    // The kernel adds up what its processors count by a few pages late, so that a later look may give
    // less.
    Some(PEAK.fetch_max(mark, Relaxed).max(mark))
}

/// The largest mark that [`peak`] has seen since [`reset_peak`].
static PEAK: AtomicU64 = AtomicU64::new(0);

/// Starts the measurement of [`peak`] anew.
pub fn reset_peak() {
    // A kernel without this file, or one that keeps it from the process, leaves the mark as it is.
    if fs::write("/proc/self/clear_refs", "5").is_ok() {
        PEAK.store(0, Relaxed);
    }
}

/// Gives the text of a file of the system.
type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

fn available_by(read: Read<'_>) -> Option<u64> {
    let machine = read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemAvailable:"));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let free = groups.lines().filter_map(|line| free_in_group(line, read)).chain(machine).min()?;
    let held = read("/proc/self/status").and_then(|text| kilobytes(&text, "RssAnon:")).unwrap_or(0);
    Some(free.saturating_add(held))
}

/// The value of a line such as `VmHWM:   1234 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Where a version of control groups says what of memory.
struct Files {
    /// Places where the tree of groups is mounted.
    roots: &'static [&'static str],
    limit: &'static str,
    usage: &'static str,
    /// Before the names in `memory.stat` that count what is in the group and all below.
    total: &'static str,
}

const V1: Files = Files {
    roots: &["/sys/fs/cgroup/memory"],
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    total: "total_",
};
const V2: Files = Files {
    roots: &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"],
    limit: "memory.max",
    usage: "memory.current",
    total: "",
};

/// What the group of a line of `/proc/self/cgroup`, and every group above it, leaves free.
fn free_in_group(line: &str, read: Read<'_>) -> Option<u64> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    let files = match controllers {
        "" => &V2,
        controllers if controllers.split(',').any(|name| name == "memory") => &V1,
        _ => return None,
    };
    // Inside a container the path can be that of the host, which is not there, while the root is
    // the container's group.
    let groups = iter::successors(Some(path.trim_end_matches('/')), |path| {
        path.rfind('/').map(|at| &path[..at])
    });
    groups
        .flat_map(|group| {
            files.roots.iter().filter_map(move |root| files.free(&format!("{root}{group}"), read))
        })
        .min()
}

impl Files {
    fn free(&self, folder: &str, read: Read<'_>) -> Option<u64> {
        let number = |name: &str| read(&format!("{folder}/{name}"))?.trim().parse::<u64>().ok();
        // A group without a limit says "max", or has none of these files.
        let (limit, used) = (number(self.limit)?, number(self.usage)?);
        // Copies of files count as used, but go when memory is needed.
        let stat = read(&format!("{folder}/memory.stat")).unwrap_or_default();
        let value = |name: &str| {
            let value = stat.lines().find_map(|line| {
                line.strip_prefix(self.total)?.strip_prefix(name)?.strip_prefix(' ')
            });
            value.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let files = value("inactive_file").saturating_add(value("active_file"));
        Some(limit.saturating_sub(used.saturating_sub(files)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24684092 kB\nMemFree:        19473968 \
                           kB\nMemAvailable:    2000000 kB\nBuffers:         1004 kB\n";
    const STATUS: &str = "Name:\tadwp\nVmHWM:\t  300000 kB\nVmRSS:\t  250000 kB\nRssAnon:\t  \
                          200000 kB\nRssFile:\t   50000 kB\n";

    /// What is available on a machine with these files, in bytes.
    fn available(files: &[(&str, &str)]) -> Option<u64> {
        available_by(&|path| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn without_control_groups_it_is_what_is_free_and_what_is_held() {
        assert_eq!(available(&[("/proc/meminfo", MEMINFO)]), Some(2_000_000 << 10));
        assert_eq!(
            available(&[("/proc/meminfo", MEMINFO), ("/proc/self/status", STATUS)]),
            Some(2_200_000 << 10)
        );
        assert_eq!(available(&[]), None);
        assert_eq!(
            available(&[
                ("/proc/meminfo", "MemAvailable: many kB\n"),
                ("/proc/self/status", STATUS)
            ]),
            None
        );
    }

    #[test]
    fn the_tightest_group_above_the_process_decides() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/user.slice/app.scope\n"),
            ("/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n"),
            ("/sys/fs/cgroup/user.slice/app.scope/memory.current", "500\n"),
            ("/sys/fs/cgroup/user.slice/memory.max", "10000\n"),
            ("/sys/fs/cgroup/user.slice/memory.current", "9000\n"),
            (
                "/sys/fs/cgroup/user.slice/memory.stat",
                "anon 5000\nfile 4500\nactive_file 3000\ninactive_file 1000\n",
            ),
        ];
        assert_eq!(available(&files), Some(10_000 - (9_000 - 4_000)));
        let mut full = files;
        full[5].1 = "20000";
        assert_eq!(available(&full), Some(0));
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "0::/kubepods/pod1/abc\n"),
            ("/sys/fs/cgroup/memory.max", "7000"),
            ("/sys/fs/cgroup/memory.current", "1000"),
        ];
        assert_eq!(available(&files), Some(6_000));
    }

    #[test]
    fn groups_of_the_first_version_count_too() {
        let files = [
            ("/proc/meminfo", MEMINFO),
            ("/proc/self/cgroup", "9:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n"),
            ("/sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "8000\n"),
            ("/sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "5000\n"),
            (
                "/sys/fs/cgroup/memory/docker/abc/memory.stat",
                "inactive_file 1\ntotal_inactive_file 2000\ntotal_active_file 500\n",
            ),
            // No limit, as the kernel writes it.
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "90000\n"),
        ];
        assert_eq!(available(&files), Some(8_000 - (5_000 - 2_500)));
    }

    #[test]
    fn the_mark_of_the_process_is_read() {
        assert_eq!(kilobytes(STATUS, "VmHWM:"), Some(300_000 << 10));
        assert_eq!(kilobytes("VmHWM:\t1 pages\n", "VmHWM:"), None);
        if cfg!(target_os = "linux") {
            reset_peak();
            let held = std::hint::black_box(vec![1_u8; 64 << 20]);
            assert!(peak().unwrap() >= held.len() as u64);
        }
    }

    #[test]
    fn only_what_exceeds_the_memory_is_refused() {
        let need = |host, gpu| Need { host, gpu };
        let there = |host, gpu| Available { host, gpu };
        assert!(check("search", need(10, 0), there(Some(10), None)).is_ok());
        assert!(check("search", need(usize::MAX, usize::MAX), there(None, None)).is_ok());
        let refused =
            check("search", need(5_200_000_000, 0), there(Some(812_000_000), None)).unwrap_err();
        assert!(matches!(refused, TrainError::Memory { location: MemoryLocation::Host, .. }));
        let (said, hint) = (refused.to_string(), refused.hint().unwrap());
        assert!(said.contains("5.2 GB") && said.contains("812 MB"), "{said}");
        assert!(hint.contains("search.batch") && hint.contains("--no-memory-check"), "{hint}");

        let refused = check("search", need(10, 5_200_000_000), there(Some(10), Some(812_000_000)))
            .unwrap_err();
        assert!(refused.to_string().contains("5.2 GB of GPU memory"), "{refused}");
        assert!(refused.hint().unwrap().contains("--precision bf16"));
    }

    #[test]
    fn a_plan_for_the_cpu_is_all_on_the_host() {
        let plan = MemoryPlan { state: 100, executors: 20, batches: 3, images: 0 };
        assert_eq!(plan.need(&Device::cpu(1).unwrap()), Need { host: 323, gpu: 0 });
        assert_eq!(plan.need(&Device::cpu(1).unwrap()).with_held(7), Need { host: 330, gpu: 0 });
        let endless = MemoryPlan { state: usize::MAX, ..plan };
        assert_eq!(endless.need(&Device::cpu(1).unwrap()).host, usize::MAX);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            [0, 40_000, 9_960_000, 999_600_000, 19_260_000_000, 1 << 60].map(in_units),
            ["0.0 MB", "0.0 MB", "10 MB", "1.0 GB", "19.3 GB", "1152921.5 TB"]
        );
    }
}
