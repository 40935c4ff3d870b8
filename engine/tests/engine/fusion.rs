//! A program computed with its operations merged, and one by one.

use adwp_engine::{Device, Executor};

use crate::cases::{Case, LARGE, Outcome};
use crate::compare::{CANCELLATION, FORWARD, magnitude, mismatch};
use crate::device::device;
use crate::networks::NETWORKS;

/// Both ways to compute a program.
pub(crate) fn fused_and_not() -> [Device; 2] {
    let device = device();
    [device.unfused(), device]
}

#[test]
fn fused_networks_agree_with_unfused_ones() {
    let [unfused, fused] = fused_and_not();
    for (name, build) in NETWORKS.iter().chain(LARGE) {
        for seed in 300..320 {
            let case = Case::new(name, *build, seed);
            assert_close(&case, &case.run(&fused), &case.run(&unfused));
        }
    }
}

#[test]
fn some_gradients_of_a_network_agree_with_all_of_them() {
    for device in fused_and_not() {
        for (name, build) in NETWORKS {
            let case = Case::new(name, *build, 310);
            let all = case.run(&device);
            for (i, id) in case.trainable.iter().enumerate() {
                let alone = Case { trainable: vec![*id], ..case.clone() };
                let expected = Outcome { gradients: vec![all.gradients[i].clone()], ..all.clone() };
                assert_close(&alone, &alone.run(&device), &expected);
            }
        }
    }
}

/// Gradients of whole networks, whose normalisations of a few values make rounding grow; a wrong
/// formula is off by far more.
const NETWORK: f64 = 1e-3;

/// Two computations of the same network.
#[track_caller]
fn assert_close(case: &Case, found: &Outcome, expected: &Outcome) {
    let close = |found: &[f32], expected: &[f32], tolerance: f64, scale: f64| {
        let expected: Vec<f64> = expected.iter().map(|&x| f64::from(x)).collect();
        let scale = magnitude(expected.iter().copied()).max(scale);
        assert_eq!(mismatch(found, &expected, tolerance, scale), None, "{case}");
    };
    close(&found.output, &expected.output, 10.0 * FORWARD, 1e-3);
    let largest = magnitude(expected.gradients.iter().flatten().map(|&g| f64::from(g)));
    for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
        close(found, expected, NETWORK, CANCELLATION * largest);
    }
}

#[test]
fn fusing_leaves_out_buffers_of_the_cpu() {
    let fused = Device::cpu(2).unwrap();
    let unfused = fused.unfused();
    for (name, build) in NETWORKS.iter().filter(|(name, _)| *name != "random graph") {
        let case = Case::new(name, *build, 0);
        let bytes =
            |device: &Device| Executor::new(case.program(), device).unwrap().working_bytes();
        let (fused, unfused) = (bytes(&fused), bytes(&unfused));
        assert!(3 * fused < 2 * unfused, "{name}: {fused} bytes fused, {unfused} unfused");
    }
}
