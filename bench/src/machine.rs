//! What the machine can do at most: multiply-adds in registers, a large matrix product, copying
//! memory; of a GPU, copying its memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use adwp_engine::{Device, cuda};
use rayon::prelude::*;
use serde::Serialize;

use crate::failure::{Context, Result};

/// Side of the matrices of the matrix product.
pub(crate) const GEMM_SIDE: usize = 2048;

/// How long each peak is looked for; other work on the machine only ever makes a measurement worse,
/// so the best one counts.
const SEARCH: Duration = Duration::from_millis(2000);

/// What is measured against.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Machine {
    /// The processor, where the engine computes on it.
    Cpu(Processor),
    /// The GPU, where it computes on that.
    Cuda(Gpu),
}

impl Machine {
    /// Measures what the device computes with.
    pub(crate) fn measure(device: &Device) -> Result<Self> {
        Ok(match device {
            Device::Cpu(device) => Self::Cpu(Processor::measure(device.threads())?),
            Device::Cuda(device) => Self::Cuda(Gpu::measure(device)?),
        })
    }

    /// 10⁹ multiply-adds a second of the best matrix product at hand; `None` on a GPU, whose memory
    /// decides.
    pub(crate) fn best_gemm_gmacs(&self) -> Option<f64> {
        match self {
            Self::Cpu(processor) => Some(processor.best_gemm_gmacs()),
            Self::Cuda(_) => None,
        }
    }

    /// 10⁹ bytes a second of a copy within the memory that the engine uses.
    pub(crate) fn copy_gbytes(&self) -> f64 {
        match self {
            Self::Cpu(processor) => processor.copy_gbytes,
            Self::Cuda(gpu) => gpu.copy_gbytes,
        }
    }
}

/// A GPU and the processor that starts its launches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Gpu {
    /// What it calls itself.
    pub(crate) gpu: String,
    /// Its compute capability: `9.0`.
    pub(crate) capability: String,
    /// The processor's name, where the system reports it.
    pub(crate) processor: Option<String>,
    /// Logical cores.
    pub(crate) cores: usize,
    /// 10⁹ bytes a second of copying 1 GiB: bytes read and bytes written, both counted.
    pub(crate) copy_gbytes: f64,
}

impl Gpu {
    fn measure(device: &cuda::Device) -> Result<Self> {
        let (major, minor) = device.capability();
        Ok(Self {
            gpu: device.name().to_owned(),
            capability: format!("{major}.{minor}"),
            processor: processor(),
            cores: cores(),
            copy_gbytes: device.copy_bandwidth(1 << 30)? / 1e9,
        })
    }
}

/// The peaks of this machine's processor with a number of threads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Processor {
    /// The processor's name, where the system reports it.
    pub(crate) processor: Option<String>,
    /// Logical cores.
    pub(crate) cores: usize,
    /// Threads that were used.
    pub(crate) threads: usize,
    /// What the engine computes with here.
    pub(crate) instruction_set: &'static str,
    /// 10⁹ fused multiply-adds of `f32` a second, operands in registers.
    pub(crate) registers_gmacs: f64,
    /// 10⁹ multiply-adds a second of a 2048³ matrix product by the `gemm` crate.
    pub(crate) gemm_gmacs: f64,
    /// The same by PyTorch.
    pub(crate) pytorch_gemm_gmacs: Option<f64>,
    /// 10⁹ bytes a second of copying 256 MiB: bytes read and bytes written, both counted.
    pub(crate) copy_gbytes: f64,
}

impl Processor {
    fn measure(threads: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.context(format_args!("cannot start {threads} threads"))?;
        Ok(Self {
            processor: processor(),
            cores: cores(),
            threads,
            instruction_set: adwp_engine::cpu::instruction_set(),
            registers_gmacs: registers(&pool),
            gemm_gmacs: gemm_rate(&pool),
            pytorch_gemm_gmacs: None,
            copy_gbytes: copy(&pool),
        })
    }

    /// 10⁹ multiply-adds a second of the best matrix product at hand.
    fn best_gemm_gmacs(&self) -> f64 {
        self.pytorch_gemm_gmacs.unwrap_or(0.0).max(self.gemm_gmacs)
    }
}

#[cfg(test)]
impl Processor {
    pub(crate) fn example() -> Self {
        Self {
            processor: None,
            cores: 2,
            threads: 2,
            instruction_set: "portable",
            registers_gmacs: 100.0,
            gemm_gmacs: 50.0,
            pytorch_gemm_gmacs: None,
            copy_gbytes: 10.0,
        }
    }
}

/// Logical cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn processor() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'))?;
    Some(name.1.trim().to_owned())
}

/// Seconds of the fastest of several calls, after one that does not count.
fn best(mut work: impl FnMut()) -> f64 {
    work();
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed() < SEARCH {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

// Twelve chains of eight lanes hide the latency of a fused multiply-add on processors with two
// units and 256-bit registers, and leave registers for the two factors.
const LANES: usize = 8;
const CHAINS: usize = 12;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
fn chains_avx512(rounds: usize, factor: f32, addend: f32) -> f32 {
    chains(rounds, factor, addend)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_avx2(rounds: usize, factor: f32, addend: f32) -> f32 {
    chains(rounds, factor, addend)
}

// Calling a function compiled for an instruction set is safe once the machine was found to have it.
#[allow(unsafe_code)]
fn multiply_add_chains(rounds: usize, factor: f32, addend: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine was found to have the instruction set.
            return unsafe { chains_avx512(rounds, factor, addend) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the machine was found to have the instruction set.
            return unsafe { chains_avx2(rounds, factor, addend) };
        }
    }
    chains(rounds, factor, addend)
}

#[inline(always)]
fn chains(rounds: usize, factor: f32, addend: f32) -> f32 {
    let mut chains = [[addend; LANES]; CHAINS];
    for _ in 0..rounds {
        for chain in &mut chains {
            for lane in chain {
                *lane = lane.mul_add(factor, addend);
            }
        }
    }
    let mut sum = 0.0;
    for chain in chains {
        for lane in chain {
            sum += lane;
        }
    }
    sum
}

fn registers(pool: &rayon::ThreadPool) -> f64 {
    const ROUNDS: usize = 2_000_000;
    let seconds = best(|| {
        pool.broadcast(|_| {
            black_box(multiply_add_chains(black_box(ROUNDS), black_box(0.5), black_box(1.0)))
        });
    });
    (ROUNDS * LANES * CHAINS * pool.current_num_threads()) as f64 / seconds / 1e9
}

fn gemm_rate(pool: &rayon::ThreadPool) -> f64 {
    let side = GEMM_SIDE;
    let a: Vec<f32> = (0..side * side).map(|i| (i % 13) as f32 - 6.0).collect();
    let b: Vec<f32> = (0..side * side).map(|i| (i % 11) as f32 - 5.0).collect();
    let mut c = vec![0.0; side * side];
    let seconds = best(|| pool.install(|| square_product(side, &a, &b, &mut c)));
    black_box(&c);
    (side * side * side) as f64 / seconds / 1e9
}

/// c = a · b, all row-major and square.
#[allow(unsafe_code)] // the crate takes pointers and nothing else
fn square_product(side: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!([a.len(), b.len(), c.len()] == [side * side; 3], "square matrices");
    let row = side as isize;
    let threads = gemm::Parallelism::Rayon(0);
    // SAFETY: each pointer is that of a slice of side² elements, which the strides 1 and `side` do
    // not leave; `c` is borrowed mutably, so it overlaps neither of the others.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        gemm::gemm(
            side, side, side, c, 1, row, false, a, 1, row, b, 1, row, 0.0, 1.0, false, false,
            false, threads,
        );
    }
}

fn copy(pool: &rayon::ThreadPool) -> f64 {
    const ELEMENTS: usize = 64 << 20;
    let source = vec![1.0_f32; ELEMENTS];
    let mut target = vec![0.0_f32; ELEMENTS];
    let part = ELEMENTS.div_ceil(pool.current_num_threads());
    let seconds = best(|| {
        pool.install(|| {
            target
                .par_chunks_mut(part)
                .zip(source.par_chunks(part))
                .for_each(|(t, s)| t.copy_from_slice(s))
        });
    });
    black_box(&target);
    (2 * ELEMENTS * size_of::<f32>()) as f64 / seconds / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_product_is_one() {
        let mut c = [0.0; 4];
        square_product(2, &[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &mut c);
        assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
    }

    #[test]
    fn the_chains_do_what_is_counted() {
        // x ← x / 2 + 1 from 1: 1.5 after one round.
        assert_eq!(multiply_add_chains(1, 0.5, 1.0), 1.5 * (LANES * CHAINS) as f32);
    }
}
