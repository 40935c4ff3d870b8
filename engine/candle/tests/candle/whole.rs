//! Whole networks: loss and every gradient.

use crate::cases::Case;
use crate::device::device;
use crate::networks::NETWORKS;
use crate::operations::check;

/// Rounding grows along a network, most where BatchNorms divide by small deviations.
pub(crate) const FORWARD: f64 = 1e-4;
pub(crate) const BACKWARD: f64 = 1e-3;

#[test]
fn networks_agree() {
    let device = device();
    for (name, build) in NETWORKS {
        let seeds = if *name == "random graph" { 0..60 } else { 0..4 };
        for seed in seeds {
            let case = Case::new(name, *build, seed);
            check(&case, &case.run(&device), FORWARD, BACKWARD);
        }
    }
}
