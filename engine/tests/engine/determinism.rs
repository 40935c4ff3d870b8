//! The same bits whatever the number of threads and whatever ran before.

use adwp_engine::{Device, Executor};

use crate::cases::{BLOCKS, Case, LARGE, OPERATIONS, Outcome};
use crate::fusion::fused_and_not;
use crate::networks::NETWORKS;

pub(crate) fn bits(outcome: &Outcome) -> Vec<u32> {
    let Outcome { output, loss, gradients } = outcome;
    output.iter().chain([loss]).chain(gradients.iter().flatten()).map(|x| x.to_bits()).collect()
}

#[test]
fn threads_do_not_change_a_bit() {
    let devices: Vec<Device> = [1, 2, 3].map(|n| Device::cpu(n).unwrap()).into();
    let few = OPERATIONS
        .iter()
        .chain(BLOCKS)
        .chain(NETWORKS)
        .flat_map(|(name, build)| (100..104).map(|seed| Case::new(name, *build, seed)));
    let large = LARGE.iter().map(|(name, build)| Case::new(name, *build, 0));
    for case in few.chain(large) {
        for fuse in [true, false] {
            let on = |device: &Device| if fuse { device.clone() } else { device.unfused() };
            let outcomes: Vec<Vec<u32>> =
                devices.iter().map(|device| bits(&case.run(&on(device)))).collect();
            assert!(outcomes[0] == outcomes[1], "1 and 2 threads differ, fused: {fuse}, {case}");
            assert!(outcomes[0] == outcomes[2], "1 and 3 threads differ, fused: {fuse}, {case}");
        }
    }
}

#[test]
fn buffers_keep_nothing_of_an_earlier_run() {
    let [unfused, fused] = fused_and_not();
    for (name, build) in OPERATIONS.iter().chain(BLOCKS).chain(NETWORKS) {
        for seed in 200..203 {
            let case = Case::new(name, *build, seed);
            let device = if seed % 2 == 0 { &fused } else { &unfused };
            let mut executor = Executor::new(case.program(), device).unwrap();
            let first = case.step(&mut executor);
            let mut other = case.clone();
            for id in &case.trainable {
                if let Some((_, data)) = other.feeds.iter_mut().find(|(fed, _)| fed == id) {
                    data.iter_mut().for_each(|x| *x = 3.0 - *x);
                }
            }
            other.step(&mut executor);
            assert_eq!(bits(&first), bits(&case.step(&mut executor)), "{case}");
        }
    }
}
