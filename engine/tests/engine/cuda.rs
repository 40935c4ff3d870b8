//! What only a CUDA device has: replayed graphs, bf16, launches that are counted. Run where
//! `ADWP_TEST_DEVICE` is `cuda`.

// A count is asked of the stand-in for the driver by a call into C, declared as its header declares
// it.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_ulonglong};

use adwp_engine::cuda::Precision;
use adwp_engine::{Device, Executor, Program, cuda};

use crate::cases::{BLOCKS, Case, OPERATIONS};
use crate::compare::{CANCELLATION, magnitude};
use crate::determinism::bits;
use crate::device::device;
use crate::networks::NETWORKS;

/// How far a computation that stores bf16 may be off: relative to the largest magnitude of a
/// tensor, or to the norm of several.
const HALF: f64 = 2e-2;

/// The device of this test, where it is a CUDA device.
pub(crate) fn gpu() -> Option<cuda::Device> {
    match device() {
        Device::Cuda(device) => Some(device),
        Device::Cpu(_) => None,
    }
}

#[test]
fn runs_recorded_as_a_graph_are_the_runs() {
    let Some(gpu) = gpu() else { return };
    for (name, build) in BLOCKS.iter().chain(NETWORKS) {
        let case = Case::new(name, *build, 400);
        let mut recorded = Executor::new(case.program(), &gpu.clone().into()).unwrap();
        let mut launched = Executor::new(case.program(), &gpu.without_graphs().into()).unwrap();
        // The variables stay where they are, so that the second run is recorded and the others are
        // replayed.
        let (mut one, mut other) = (case.variables.clone(), case.variables.clone());
        for run in 0..4 {
            let mut case = case.clone();
            case.feeds.iter_mut().filter(|(fed, _)| case.trainable.contains(fed)).for_each(
                |(_, data)| {
                    data.iter_mut().for_each(|x| *x += 0.25 * run as f32);
                },
            );
            let (one, other) = (
                case.step_with(&mut recorded, &mut one),
                case.step_with(&mut launched, &mut other),
            );
            assert!(bits(&one) == bits(&other), "run {run} of {case}");
        }
        for (one, other) in one.iter().zip(other.iter()) {
            assert_eq!(one.data().unwrap(), other.data().unwrap(), "{} of {case}", one.name);
        }
    }
}

#[test]
fn the_same_run_gives_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    for precision in [Precision::F32, Precision::Bf16] {
        let device = Device::from(gpu.clone().with_precision(precision));
        for (name, build) in NETWORKS {
            let case = Case::new(name, *build, 401);
            assert!(bits(&case.run(&device)) == bits(&case.run(&device)), "{precision:?}: {case}");
        }
    }
}

#[test]
fn bf16_stays_close_to_single_precision() {
    let Some(gpu) = gpu() else { return };
    let (cpu, half) = (Device::cpu(2).unwrap(), Device::from(gpu.with_precision(Precision::Bf16)));
    for (name, build) in OPERATIONS {
        for seed in 500..520 {
            let case = Case::new(name, *build, seed);
            assert_eq!(
                farthest(&gradients(&case, &cpu), &gradients(&case, &half), HALF),
                None,
                "{case}"
            );
        }
    }
}

/// The gradients of a case whose output is not asked for, and so need not be kept as it is read.
fn gradients(case: &Case, device: &Device) -> Vec<Vec<f32>> {
    let program = Program::training(&case.graph, case.loss, &[], &case.trainable).unwrap();
    let mut executor = Executor::new(program, device).unwrap();
    executor
        .run(&mut case.variables.clone(), &case.feeds())
        .unwrap_or_else(|e| panic!("{e}\n{case}"));
    case.trainable.iter().map(|&id| executor.gradient(id).unwrap().into_owned()).collect()
}

#[test]
fn blocks_in_bf16_stay_close_to_single_precision() {
    let Some(gpu) = gpu() else { return };
    let (cpu, half) = (Device::cpu(2).unwrap(), Device::from(gpu.with_precision(Precision::Bf16)));
    for (name, build) in BLOCKS {
        for seed in 500..520 {
            let case = Case::new(name, *build, seed);
            let (expected, found) =
                (gradients(&case, &cpu).concat(), gradients(&case, &half).concat());
            let norm = |values: &mut dyn Iterator<Item = f32>| {
                values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
            };
            let error = norm(&mut expected.iter().zip(&found).map(|(e, f)| e - f))
                / norm(&mut expected.iter().copied());
            assert!(error < HALF, "{error:.3} of all gradients, {case}");
        }
    }
}

/// The first gradient of which some value is further off than `tolerance`, if there is one. The
/// gradient of a case's last weights shows what the case computes; its loss, a sum in which large
/// terms cancel, would show little.
fn farthest(expected: &[Vec<f32>], found: &[Vec<f32>], tolerance: f64) -> Option<String> {
    let largest = magnitude(expected.iter().flatten().map(|&g| f64::from(g)));
    for (i, (expected, found)) in expected.iter().zip(found).enumerate() {
        let scale =
            magnitude(expected.iter().map(|&e| f64::from(e))).max(CANCELLATION * largest).max(1e-3);
        for (at, (e, f)) in expected.iter().zip(found).enumerate() {
            let error = (f64::from(*e) - f64::from(*f)).abs();
            if error.is_nan() || error > tolerance * scale {
                return Some(format!(
                    "gradient {i}, element {at}: {f}, expected {e} (scale {scale:.3e})"
                ));
            }
        }
    }
    None
}

#[test]
fn activations_in_bf16_take_less_memory() {
    let Some(gpu) = gpu() else { return };
    for (name, build) in NETWORKS.iter().filter(|(name, _)| *name != "random graph") {
        let case = Case::new(name, *build, 0);
        let bytes = |precision| {
            let device = gpu.clone().with_precision(precision).into();
            Executor::new(case.program(), &device).unwrap().working_bytes()
        };
        let (single, half) = (bytes(Precision::F32), bytes(Precision::Bf16));
        assert!(half < single, "{name}: {half} bytes in bf16, {single} in f32");
    }
}

/// What the stand-in for the driver has counted so far; none where the driver is a real one.
fn count(what: &str) -> Option<u64> {
    // SAFETY: the library is loaded already, by the device; nothing new is run.
    let driver = unsafe { libloading::Library::new("libcuda.so.1") }.ok()?;
    // SAFETY: declared so in engine/standin/driver.h.
    let count = unsafe {
        driver.get::<unsafe extern "C" fn(*const c_char) -> c_ulonglong>(b"standin_count")
    }
    .ok()?;
    let what = CString::new(what).unwrap();
    // SAFETY: the name ends with a zero, and is one of those that are counted.
    Some(unsafe { count(what.as_ptr()) })
}

/// Counts are of the whole process, so this test is alone in it: see [`ALONE`].
#[test]
fn a_replayed_step_starts_one_graph_and_takes_no_memory() {
    if gpu().is_none() || count("kernels").is_none() {
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let itself = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "cuda::a_replayed_step_starts_one_graph_and_takes_no_memory",
                "--nocapture",
            ])
            .env(ALONE, "1")
            .output()
            .unwrap();
        assert!(
            itself.status.success(),
            "{}{}",
            String::from_utf8_lossy(&itself.stdout),
            String::from_utf8_lossy(&itself.stderr)
        );
        return;
    }
    let gpu = gpu().unwrap();
    for (name, build) in NETWORKS {
        let case = Case::new(name, *build, 402);
        let program = case.program();
        let launches = cuda::launches(&program, Precision::F32).len() as u64;
        let mut executor = Executor::new(program, &gpu.clone().into()).unwrap();
        let mut variables = case.variables.clone();
        let run = |executor: &mut Executor, variables: &mut _| {
            executor.run(variables, &case.feeds()).unwrap()
        };
        // Launched, recorded, replayed.
        (0..2).for_each(|_| run(&mut executor, &mut variables));
        let names = [
            "kernels",
            "launches",
            "graph_launches",
            "allocations",
            "frees",
            "copies_to_device",
            "copies_to_host",
            "synchronizations",
        ];
        let counts = || names.map(|name| count(name).unwrap());
        let before = counts();
        run(&mut executor, &mut variables);
        let mut differences: Vec<u64> =
            counts().iter().zip(before).map(|(after, before)| after - before).collect();
        // The momentum of the running statistics is copied, and every input that is read.
        let copies = differences.remove(5);
        assert!(
            copies <= 1 + case.feeds.len() as u64,
            "{copies} copies for {} inputs of {case}",
            case.feeds.len()
        );
        assert_eq!(
            differences,
            [launches, 0, 1, 0, 0, 0, 0],
            "{names:?} but copies to the device, of {case}"
        );
    }
}

/// Set in the process that a test about counts has for itself.
const ALONE: &str = "ADWP_TEST_ALONE";

#[test]
fn a_device_that_is_not_there_is_an_error_with_a_hint() {
    let error = cuda::Device::open(1000).unwrap_err();
    let adwp_engine::EngineError::Cuda { hint: Some(hint), .. } = &error else {
        panic!("{error:?}")
    };
    assert!(hint.contains("--device cpu"), "{error:?}");
}
