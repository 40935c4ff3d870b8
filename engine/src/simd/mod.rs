//! Vectors of the instruction set that the machine has, chosen at run time.
//!
//! A kernel is written once, with [`kernel!`], over a type that implements [`Simd`]; the macro
//! compiles it for every instruction set and calls the best one the machine has. On aarch64 the
//! portable vectors are compiled to NEON, which is part of the architecture.
//!
//! Kernels take slices and check their extents before the first pointer is made.

// Vectors are loaded and stored through pointers, and functions compiled for an instruction set may
// only be called where it is there.
#![allow(unsafe_code)]

mod portable;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::sync::OnceLock;

pub(crate) use portable::Portable;
pub(crate) use vector::{MOST_LANES, Simd};
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// to = f(x), vector by vector; behind the last element `f` sees zeros.
#[inline(always)]
pub(crate) fn map<S: Simd>(simd: S, x: &[f32], to: &mut [f32], f: impl Fn(S::V) -> S::V) {
    map2(simd, x, x, to, |x, _| f(x));
}

/// to = f(x, y), vector by vector; behind the last element `f` sees zeros.
#[inline(always)]
pub(crate) fn map2<S: Simd>(
    simd: S,
    x: &[f32],
    y: &[f32],
    to: &mut [f32],
    f: impl Fn(S::V, S::V) -> S::V,
) {
    update2(simd, to, x, y, |_, x, y| f(x, y));
}

/// to = f(to, x), vector by vector; behind the last element `f` sees zeros.
#[inline(always)]
pub(crate) fn update<S: Simd>(simd: S, to: &mut [f32], x: &[f32], f: impl Fn(S::V, S::V) -> S::V) {
    update2(simd, to, x, x, |to, x, _| f(to, x));
}

/// to = f(to, x, y), vector by vector; behind the last element `f` sees zeros.
#[inline(always)]
pub(crate) fn update2<S: Simd>(
    simd: S,
    to: &mut [f32],
    x: &[f32],
    y: &[f32],
    f: impl Fn(S::V, S::V, S::V) -> S::V,
) {
    assert!(x.len() == to.len() && y.len() == to.len());
    let whole = to.len() / S::LANES * S::LANES;
    let mut at = 0;
    while at < whole {
        // SAFETY: whole vectors within all three slices.
        unsafe {
            let to = to.as_mut_ptr().add(at);
            let result =
                f(simd.load(to), simd.load(x.as_ptr().add(at)), simd.load(y.as_ptr().add(at)));
            simd.store(to, result);
        }
        at += S::LANES;
    }
    if whole < to.len() {
        let (mut ends, count) = ([[0f32; MOST_LANES]; 3], to.len() - whole);
        ends[0][..count].copy_from_slice(&to[whole..]);
        ends[1][..count].copy_from_slice(&x[whole..]);
        ends[2][..count].copy_from_slice(&y[whole..]);
        // SAFETY: the arrays have room for the lanes of every instruction set.
        unsafe {
            let result = f(
                simd.load(ends[0].as_ptr()),
                simd.load(ends[1].as_ptr()),
                simd.load(ends[2].as_ptr()),
            );
            simd.store(ends[0].as_mut_ptr(), result);
        }
        to[whole..].copy_from_slice(&ends[0][..count]);
    }
}

/// Lanes that [`sums2`] adds in: enough vectors that additions do not wait for one another.
const SUMS: usize = 32;
/// Fewest lanes of a vector, in any instruction set.
const FEWEST_LANES: usize = 8;

/// Sums over the elements of x and y, which `add` adds to vector by vector; behind the last element
/// it sees `fill`. The order of the additions is the same in every instruction set.
#[inline(always)]
pub(crate) fn sums2<S: Simd, const N: usize>(
    simd: S,
    x: &[f32],
    y: &[f32],
    fill: f32,
    add: impl Fn([S::V; N], S::V, S::V) -> [S::V; N],
) -> [f32; N] {
    assert!(x.len() == y.len());
    let mut sums = [[simd.splat(0.0); N]; SUMS / FEWEST_LANES];
    let sums = &mut sums[..SUMS / S::LANES];
    let whole = x.len() / SUMS * SUMS;
    for at in (0..whole).step_by(SUMS) {
        for (v, sums) in sums.iter_mut().enumerate() {
            let at = at + v * S::LANES;
            // SAFETY: whole vectors within both slices.
            *sums =
                unsafe { add(*sums, simd.load(x.as_ptr().add(at)), simd.load(y.as_ptr().add(at))) };
        }
    }
    if whole < x.len() {
        let mut ends = [[fill; SUMS]; 2];
        ends[0][..x.len() - whole].copy_from_slice(&x[whole..]);
        ends[1][..x.len() - whole].copy_from_slice(&y[whole..]);
        for (v, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the arrays have as many values as all vectors together.
            *sums = unsafe {
                add(
                    *sums,
                    simd.load(ends[0].as_ptr().add(v * S::LANES)),
                    simd.load(ends[1].as_ptr().add(v * S::LANES)),
                )
            };
        }
    }
    let mut width = sums.len();
    while width > 1 {
        width /= 2;
        for v in 0..width {
            sums[v] = std::array::from_fn(|n| simd.add(sums[v][n], sums[v + width][n]));
        }
    }
    sums[0].map(|sum| simd.sum(sum))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// What the compiler makes of plain arrays for the whole architecture.
    Portable,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Names an instruction set that the engine shall use at most: `portable`, `avx2` or `avx512`; for
/// tests and comparisons.
const AT_MOST: &str = "ADWP_SIMD";

impl InstructionSet {
    /// The best one that the machine has.
    pub(crate) fn detect() -> Self {
        static DETECTED: OnceLock<InstructionSet> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let at_most = std::env::var(AT_MOST).unwrap_or_default();
            let allowed = |name: &str| match at_most.as_str() {
                "portable" => false,
                "avx2" => name == "avx2",
                _ => true,
            };
            #[cfg(target_arch = "x86_64")]
            {
                if allowed("avx512")
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("fma")
                {
                    return Self::Avx512;
                }
                if allowed("avx2")
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                {
                    return Self::Avx2;
                }
            }
            let _ = allowed;
            Self::Portable
        })
    }

    /// As `ADWP_SIMD` and the bench name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable if cfg!(target_arch = "aarch64") => "neon",
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }
}

/// Name of the instruction set that the CPU backend computes with on this machine: `avx512`,
/// `avx2`, `neon` or `portable`.
pub fn instruction_set() -> &'static str {
    InstructionSet::detect().name()
}

/// Compiles functions for every instruction set. The first parameter stands for the vectors
/// ([`Simd`]) and is not part of the signature.
macro_rules! kernel {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident($simd:ident $(, $argument:ident: $type:ty)* $(,)?)
        $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        // A kernel has the operands of its formula; a struct of them would be taken apart at once.
        #[allow(clippy::too_many_arguments)]
        // Calling a function compiled for an instruction set is safe once the machine was found to
        // have it.
        #[allow(unsafe_code)]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            // Some kernels are plain loops that the compiler makes vectors of: they do not name
            // `simd`.
            #[inline(always)]
            #[allow(clippy::too_many_arguments, unused_variables)]
            fn body<S: $crate::simd::Simd>($simd: S $(, $argument: $type)*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2($($argument: $type),*) $(-> $result)? {
                body($crate::simd::Avx2 $(, $argument)*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512($($argument: $type),*) $(-> $result)? {
                body($crate::simd::Avx512 $(, $argument)*)
            }

            match $crate::simd::InstructionSet::detect() {
                $crate::simd::InstructionSet::Portable => {
                    body($crate::simd::Portable $(, $argument)*)
                }
                // SAFETY: the machine was found to have the instruction set.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::InstructionSet::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: the machine was found to have the instruction set.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::InstructionSet::Avx512 => unsafe { avx512($($argument),*) },
            }
        }
    )*};
}

pub(crate) use kernel;
