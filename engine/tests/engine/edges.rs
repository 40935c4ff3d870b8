//! Values and programs at the border of what is allowed.

use adwp_engine::{
    BatchNorm, Conv2d, EngineError, Executor, Graph, Init, NodeId, Op, Pool, Program, Statistics,
    Variables,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::compare::assert_close;
use crate::device::device;

fn run(program: Program, feeds: &[(NodeId, &[f32])]) -> Executor {
    let mut variables = Variables::new();
    variables.initialize(program.graph(), &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    let mut executor = Executor::new(program, &device()).unwrap();
    executor.run(&mut variables, feeds).unwrap();
    executor
}

#[test]
fn softmax_and_cross_entropy_of_large_logits_stay_finite() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 3]).unwrap();
    let labels = graph.input("labels", [2]).unwrap();
    let p = graph.add("p", Op::Softmax, &[x]).unwrap();
    let loss = graph.add("loss", Op::CrossEntropy { smoothing: 0.0 }, &[x, labels]).unwrap();
    let logits = [1e4, 0.0, -1e4, -1e6, -1e6, -1e6];
    let executor = run(
        Program::training(&graph, loss, &[p], &[x]).unwrap(),
        &[(x, &logits), (labels, &[1.0, 2.0])],
    );
    let third = 1.0 / 3.0;
    assert_close(
        &executor.value(p).unwrap(),
        &[1.0, 0.0, 0.0, third, third, third],
        1e-6,
        &"softmax",
    );
    assert_close(
        &executor.value(loss).unwrap(),
        &[(1e4 + 3f64.ln()) / 2.0],
        1e-6,
        &"cross entropy",
    );
    let gradient = [0.5, -0.5, 0.0, third / 2.0, third / 2.0, third / 2.0 - 0.5];
    assert_close(&executor.gradient(x).unwrap(), &gradient, 1e-6, &"gradient of the logits");
}

#[test]
fn batch_norm_of_values_far_from_zero_keeps_their_spread() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 1, 4, 4]).unwrap();
    let y = graph.add("y", Op::BatchNorm(BatchNorm::default()), &[x]).unwrap();
    let values: Vec<f32> = (0..32).map(|i| 4096.0 + (i * 7 % 32) as f32 / 16.0).collect();
    let executor =
        run(Program::inference(&graph, &[y], Statistics::Batch).unwrap(), &[(x, &values)]);
    let double: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
    let mean = double.iter().sum::<f64>() / 32.0;
    let variance = double.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 32.0;
    let expected: Vec<f64> = double.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect();
    assert_close(&executor.value(y).unwrap(), &expected, 1e-3, &"normalised values");
}

#[test]
fn batch_norm_of_a_single_value_is_its_shift() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 2, 1, 1]).unwrap();
    let (scale, shift) = (graph.input("scale", [2]).unwrap(), graph.input("shift", [2]).unwrap());
    let y = graph.add("y", Op::BatchNorm(BatchNorm::default()), &[x, scale, shift]).unwrap();
    let feeds: [(NodeId, &[f32]); 3] =
        [(x, &[5.0, -7.0]), (scale, &[2.0, 3.0]), (shift, &[0.5, -1.0])];
    let executor = run(Program::inference(&graph, &[y], Statistics::Batch).unwrap(), &feeds);
    assert_eq!(*executor.value(y).unwrap(), [0.5, -1.0]);
}

#[test]
fn labels_have_no_gradient() {
    let mut graph = Graph::new();
    let (x, labels) = (graph.input("x", [1, 3]).unwrap(), graph.input("labels", [1]).unwrap());
    let loss = graph.add("loss", Op::CrossEntropy { smoothing: 0.1 }, &[x, labels]).unwrap();
    let feeds: [(NodeId, &[f32]); 2] = [(x, &[1.0, 2.0, 3.0]), (labels, &[1.0])];
    let executor = run(Program::training(&graph, loss, &[], &[x, labels]).unwrap(), &feeds);
    assert_eq!(*executor.gradient(labels).unwrap(), [0.0]);
}

#[test]
fn a_program_without_trainable_nodes_still_computes_its_loss() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 2]).unwrap();
    let loss = graph.add("loss", Op::Linear, &[x, x]).unwrap();
    let executor = run(Program::training(&graph, loss, &[], &[]).unwrap(), &[(x, &[3.0, 4.0])]);
    assert_eq!(*executor.value(loss).unwrap(), [25.0]);
}

#[test]
fn a_leaf_is_no_output() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 2]).unwrap();
    let w = graph.parameter("w", [1, 2], Init::Constant(0.5)).unwrap();
    let y = graph.add("y", Op::Linear, &[x, w]).unwrap();
    for leaf in [x, w] {
        let refused = Program::inference(&graph, &[y, leaf], Statistics::Running);
        assert!(matches!(refused, Err(EngineError::LeafOutput(name)) if name == graph[leaf].name));
    }
    let scalar = graph.input("scalar", [1]).unwrap();
    assert!(matches!(
        Program::training(&graph, scalar, &[], &[scalar]),
        Err(EngineError::LeafOutput(_))
    ));
}

#[test]
fn intermediate_outputs_survive_the_backward_pass() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 2, 3, 3]).unwrap();
    let w = graph.parameter("w", [2, 2, 3, 3], Init::Constant(0.25)).unwrap();
    let mut outputs = vec![x];
    for i in 0..6 {
        let last = outputs[outputs.len() - 1];
        let conv = graph
            .add(
                format!("conv{i}"),
                Op::Conv2d(Conv2d { padding: [1; 2], ..Conv2d::default() }),
                &[last, w],
            )
            .unwrap();
        outputs.push(graph.add(format!("relu{i}"), Op::Relu, &[conv]).unwrap());
    }
    let outputs = &outputs[1..];
    let flat = graph.reshape("flat", outputs[5], [1, 18]).unwrap();
    let loss = graph.add("loss", Op::Linear, &[flat, flat]).unwrap();
    let images: Vec<f32> = (0..18).map(|i| i as f32 / 18.0).collect();
    let trained = run(Program::training(&graph, loss, outputs, &[w, x]).unwrap(), &[(x, &images)]);
    let inferred =
        run(Program::inference(&graph, outputs, Statistics::Batch).unwrap(), &[(x, &images)]);
    for &output in outputs {
        assert_eq!(
            trained.value(output).unwrap(),
            inferred.value(output).unwrap(),
            "{}",
            graph[output].name
        );
    }
}

#[test]
fn a_label_that_is_no_class_does_not_pass_for_one() {
    let mut graph = Graph::new();
    let (x, labels) = (graph.input("x", [1, 3]).unwrap(), graph.input("labels", [1]).unwrap());
    let loss = graph.add("loss", Op::CrossEntropy { smoothing: 0.0 }, &[x, labels]).unwrap();
    for label in [3.0, -1.0, f32::NAN] {
        let feeds: [(NodeId, &[f32]); 2] = [(x, &[1.0, 2.0, 3.0]), (labels, &[label])];
        let executor = run(Program::training(&graph, loss, &[], &[x]).unwrap(), &feeds);
        let loss = executor.value(loss).unwrap()[0];
        assert!(loss.is_nan(), "label {label} gives {loss}");
    }
}

#[test]
fn a_value_that_is_no_number_is_not_hidden() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 1, 2, 2]).unwrap();
    let relu = graph.add("relu", Op::Relu, &[x]).unwrap();
    let max =
        graph.add("max", Op::MaxPool(Pool { kernel: 2, stride: 1, padding: 0 }), &[x]).unwrap();
    let program = Program::inference(&graph, &[relu, max], Statistics::Batch).unwrap();
    let executor = run(program, &[(x, &[1.0, f32::NAN, 2.0, -3.0])]);
    assert!(executor.value(max).unwrap()[0].is_nan());
    assert!(executor.value(relu).unwrap()[1].is_nan());
}
