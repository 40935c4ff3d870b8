//! Every operation and small block on random shapes.

use adwp_candle::{Differentiated, Evaluator};
use adwp_engine::{Executor, Program, Statistics};
use candle_core::{DType, Tensor};

use crate::cases::{BLOCKS, Case, LARGE, OPERATIONS, Outcome};
use crate::compare::{BACKWARD, CANCELLATION, FORWARD, assert_close, magnitude, mismatch};
use crate::device::device;
use crate::networks::NETWORKS;

const CASES: std::ops::Range<u64> = 1000..1080;
/// candle in `f32` is as far from the truth as the engine.
const SINGLE: f64 = 3e-5;

pub(crate) fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Output, loss and all gradients.
pub(crate) fn check(case: &Case, found: &Outcome, forward: f64, backward: f64) {
    let evaluator =
        Evaluator::new(&case.graph, &case.variables, Statistics::Batch, DType::F64).unwrap();
    let values =
        evaluator.values(&[case.output], &case.feeds()).unwrap_or_else(|e| panic!("{e}\n{case}"));
    assert_eq!(values[0].dims(), &case.graph[case.output].shape[..], "{case}");
    assert_close(&found.output, &numbers(&values[0]), forward, &format!("output of {case}"));

    let Differentiated { loss, gradients } = evaluator
        .gradients(case.loss, &case.trainable, &case.feeds())
        .unwrap_or_else(|e| panic!("{e}\n{case}"));
    // The loss sums the projected output, so its own rounding is that of the terms.
    let scale = magnitude(numbers(&values[0])).max(1.0)
        * (case.graph[case.output].shape.elements() as f64).sqrt();
    if let Some(what) = mismatch(&[found.loss], &numbers(&loss), forward, scale) {
        panic!("loss: {what}\n{case}");
    }
    let gradients: Vec<Vec<f64>> = gradients.iter().map(numbers).collect();
    let largest = magnitude(gradients.iter().flatten().copied());
    for ((id, found), expected) in case.trainable.iter().zip(&found.gradients).zip(gradients) {
        let scale = magnitude(expected.iter().copied()).max(CANCELLATION * largest).max(1e-3);
        if let Some(what) = mismatch(found, &expected, backward, scale) {
            panic!("gradient of {}: {what}\n{case}", case.graph[*id].name);
        }
    }
}

#[test]
fn operations_agree() {
    let device = device();
    for (name, build) in OPERATIONS.iter().chain(BLOCKS) {
        for seed in CASES {
            let case = Case::new(name, *build, seed);
            check(&case, &case.run(&device), FORWARD, BACKWARD);
        }
    }
}

#[test]
fn large_tensors_agree() {
    let device = device();
    for (name, build) in LARGE {
        let case = Case::new(name, *build, 4000);
        check(&case, &case.run(&device), FORWARD, BACKWARD);
    }
}

#[test]
fn single_precision_agrees() {
    let device = device();
    for (name, build) in OPERATIONS {
        for seed in 2000..2008 {
            let case = Case::new(name, *build, seed);
            let evaluator =
                Evaluator::new(&case.graph, &case.variables, Statistics::Batch, DType::F32)
                    .unwrap();
            let value = &evaluator.values(&[case.output], &case.feeds()).unwrap()[0];
            assert_eq!(value.dtype(), DType::F32);
            let found = case.run(&device);
            assert_close(&found.output, &numbers(value), SINGLE, &case);
            let expected = evaluator.gradients(case.loss, &case.trainable, &case.feeds()).unwrap();
            let largest = magnitude(expected.gradients.iter().flat_map(numbers));
            for (found, expected) in found.gradients.iter().zip(&expected.gradients) {
                if let Some(what) =
                    mismatch(found, &numbers(expected), 2.0 * BACKWARD, largest.max(1e-3))
                {
                    panic!("{what}\n{case}");
                }
            }
        }
    }
}

#[test]
fn running_statistics_agree() {
    let device = device();
    for (name, build) in BLOCKS.iter().chain(NETWORKS) {
        for seed in 3000..3004 {
            let case = Case::new(name, *build, seed);
            let mut variables = case.variables.clone();
            let names: Vec<String> = variables.iter().map(|v| v.name.clone()).collect();
            for (i, name) in names.iter().enumerate() {
                let (offset, slope) = match name {
                    name if name.ends_with("/running_mean") => (-0.5, 0.25),
                    name if name.ends_with("/running_var") => (0.5, 0.375),
                    _ => continue,
                };
                for (j, value) in variables.get_mut(name).unwrap().iter_mut().enumerate() {
                    *value = offset + slope * ((i + 3 * j) % 7) as f32;
                }
            }
            let program =
                Program::inference(&case.graph, &[case.output], Statistics::Running).unwrap();
            let mut executor = Executor::new(program, &device).unwrap();
            executor.run(&mut variables, &case.feeds()).unwrap();
            let evaluator =
                Evaluator::new(&case.graph, &variables, Statistics::Running, DType::F64).unwrap();
            let expected = &evaluator.values(&[case.output], &case.feeds()).unwrap()[0];
            assert_close(&executor.value(case.output).unwrap(), &numbers(expected), 1e-4, &case);
        }
    }
}
