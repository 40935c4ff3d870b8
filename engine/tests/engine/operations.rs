//! Every operation and small block on random shapes, against naive loops in `f64` and central
//! differences.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cases::{BLOCKS, Build, Case, OPERATIONS, Outcome};
use crate::compare::{BACKWARD, CANCELLATION, FORWARD, magnitude, mismatch};
use crate::device::{device, tolerance};
use crate::fusion::fused_and_not;
use crate::interpreter::{Leaves, derivative, distance_to_kink, evaluate};

const CASES_PER_OPERATION: u64 = 150;
const CASES_PER_BLOCK: u64 = 40;
/// Far more than the steps of the central differences move any value.
const SAFE_FROM_KINKS: f64 = 1e-3;
/// Leaves of up to this many elements are differentiated one by one, larger ones at samples and
/// along random directions.
const EXHAUSTIVE: usize = 20;
const SAMPLES: usize = 12;
const DIRECTIONS: usize = 3;

#[test]
fn operations_agree_with_naive_loops() {
    for device in fused_and_not() {
        for (name, build) in OPERATIONS {
            for seed in 0..CASES_PER_OPERATION {
                let case = Case::new(name, *build, seed);
                assert_eq!(disagreement(&case, &case.run(&device)), None, "{case}");
            }
        }
    }
}

#[test]
fn blocks_agree_with_naive_loops() {
    for (name, build) in BLOCKS {
        for case in smooth_cases(name, *build).take(CASES_PER_BLOCK as usize) {
            for device in fused_and_not() {
                assert_eq!(
                    disagreement(&case, &case.run(&device)),
                    None,
                    "fused: {}, {case}",
                    device.fuses()
                );
            }
        }
    }
}

#[test]
fn one_wrong_number_is_noticed() {
    let device = device();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut spoil = |values: &mut [f32]| {
        let i = rng.random_range(0..values.len());
        values[i] += 0.02 * values.iter().fold(0.1, |m: f32, v| m.max(v.abs()));
    };
    for (name, build) in OPERATIONS {
        for seed in 0..4 {
            let case = Case::new(name, *build, seed);
            let right = case.run(&device);
            let mut wrong = right.clone();
            spoil(&mut wrong.output);
            assert_ne!(disagreement(&case, &wrong), None, "wrong output in {case}");
            for i in 0..case.trainable.len() {
                let mut wrong = right.clone();
                spoil(&mut wrong.gradients[i]);
                // A gradient far smaller than the others is compared at their scale.
                let magnitudes: Vec<f64> = right
                    .gradients
                    .iter()
                    .map(|g| magnitude(g.iter().map(|&g| f64::from(g))))
                    .collect();
                if magnitudes[i] > CANCELLATION * magnitude(magnitudes.iter().copied()) {
                    assert_ne!(disagreement(&case, &wrong), None, "wrong gradient {i} in {case}");
                }
            }
        }
    }
}

/// Cases whose values are far enough from every kink to be differentiated by differences.
fn smooth_cases(name: &'static str, build: Build) -> impl Iterator<Item = Case> {
    (0..1000).map(move |seed| Case::new(name, build, seed)).filter(|case| {
        let values = evaluate(&case.graph, &leaves(case), None);
        distance_to_kink(&case.graph, &values) > SAFE_FROM_KINKS
    })
}

fn leaves(case: &Case) -> Leaves {
    let double = |data: &[f32]| data.iter().map(|&x| f64::from(x)).collect();
    let fed = case.feeds.iter().map(|(id, data)| (*id, double(data)));
    let owned = case
        .graph
        .parameters()
        .map(|id| (id, double(case.variables.get(&case.graph[id].name).unwrap().data().unwrap())));
    fed.chain(owned).collect()
}

/// Where an outcome differs from the reference by more than rounding, if it does.
fn disagreement(case: &Case, outcome: &Outcome) -> Option<String> {
    let leaves = leaves(case);
    let values = evaluate(&case.graph, &leaves, None);
    let expected = &values[case.output.index()];
    let scale = magnitude(expected.iter().copied()).max(1e-3);
    if let Some(what) = mismatch(&outcome.output, expected, FORWARD, scale) {
        return Some(format!("output: {what}"));
    }

    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let largest = magnitude(outcome.gradients.iter().flatten().map(|&g| f64::from(g)));
    for (&leaf, gradient) in case.trainable.iter().zip(&outcome.gradients) {
        let name = &case.graph[leaf].name;
        if gradient.len() != leaves[&leaf].len() {
            return Some(format!("gradient of {name} has {} elements", gradient.len()));
        }
        let own = magnitude(gradient.iter().map(|&g| f64::from(g)));
        let scale = own.max(CANCELLATION * largest).max(1e-3);
        for direction in directions(gradient.len(), &mut rng) {
            let expected = derivative(&case.graph, &leaves, case.loss, leaf, &direction);
            let found: f64 = direction.iter().map(|&(i, d)| d * f64::from(gradient[i])).sum();
            let tolerance = tolerance(BACKWARD) * scale * (direction.len() as f64).sqrt();
            let error = (found - expected).abs();
            if error.is_nan() || error > tolerance {
                let (count, first) = (direction.len(), direction[0].0);
                return Some(format!(
                    "gradient of {name} along {count} elements from {first}: {found}, expected \
                     {expected} (tolerance {tolerance:.2e})"
                ));
            }
        }
    }
    None
}

/// Single elements, and for large leaves also directions that move all of them.
fn directions(elements: usize, rng: &mut ChaCha8Rng) -> Vec<Vec<(usize, f64)>> {
    if elements <= EXHAUSTIVE {
        return (0..elements).map(|i| vec![(i, 1.0)]).collect();
    }
    let mut directions: Vec<Vec<(usize, f64)>> =
        (0..SAMPLES).map(|_| vec![(rng.random_range(0..elements), 1.0)]).collect();
    directions.extend(
        (0..DIRECTIONS)
            .map(|_| (0..elements).map(|i| (i, if rng.random() { 1.0 } else { -1.0 })).collect()),
    );
    directions
}
