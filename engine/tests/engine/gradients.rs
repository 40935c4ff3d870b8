//! Which gradients a program computes, and how they add up where paths meet.

use adwp_engine::{
    Conv2d, EngineError, Executor, Feed, Graph, Init, NodeId, Op, Program, Variables,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::cases::{BLOCKS, Case};
use crate::device::device;

fn gradient(
    graph: &Graph,
    loss: NodeId,
    trainable: &[NodeId],
    feeds: &[(NodeId, &[f32])],
) -> Vec<Vec<f32>> {
    let mut variables = Variables::new();
    variables.initialize(graph, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    let mut executor =
        Executor::new(Program::training(graph, loss, &[], trainable).unwrap(), &device()).unwrap();
    executor.run(&mut variables, feeds).unwrap();
    trainable.iter().map(|&id| executor.gradient(id).unwrap().into_owned()).collect()
}

#[test]
fn paths_to_a_node_add_up() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 1]).unwrap();
    let twice = graph.add("twice", Op::Add, &[x, x]).unwrap();
    let negative = graph.add("negative", Op::Scale { factor: -3.0 }, &[x]).unwrap();
    let sum = graph.add("sum", Op::Add, &[twice, negative, twice, x]).unwrap();
    // 2x - 3x + 2x + x = 2x
    assert_eq!(gradient(&graph, sum, &[x], &[(x, &[5.0])]), [[2.0]]);
    // The square of that: d/dx 4x² = 8x.
    let square = graph.add("square", Op::Linear, &[sum, sum]).unwrap();
    assert_eq!(gradient(&graph, square, &[x], &[(x, &[5.0])]), [[40.0]]);
}

#[test]
fn a_parameter_shared_by_two_layers_gets_both_gradients() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 1, 1, 1]).unwrap();
    let weight = graph.parameter("weight", [1, 1, 1, 1], Init::Constant(3.0)).unwrap();
    let once = graph.add("once", Op::Conv2d(Conv2d::default()), &[x, weight]).unwrap();
    let twice = graph.add("twice", Op::Conv2d(Conv2d::default()), &[once, weight]).unwrap();
    // w² x: 2wx and w².
    assert_eq!(gradient(&graph, twice, &[weight, x], &[(x, &[2.0])]), [[12.0], [9.0]]);
}

#[test]
fn a_subset_of_the_gradients_is_the_same_as_all_of_them() {
    let device = device();
    for (name, build) in BLOCKS {
        let case = Case::new(name, *build, 7);
        let all = case.run(&device);
        for (i, id) in case.trainable.iter().enumerate() {
            let alone = Case { trainable: vec![*id], ..case.clone() };
            let outcome = alone.run(&device);
            assert_eq!(
                outcome.gradients[0], all.gradients[i],
                "gradient of {} alone in {case}",
                case.graph[*id].name
            );
            assert_eq!(outcome.output, all.output, "{case}");
        }
        let (inputs, parameters): (Vec<usize>, Vec<usize>) = (0..case.trainable.len())
            .partition(|&i| matches!(case.graph[case.trainable[i]].op, Op::Input));
        for part in [inputs, parameters] {
            let trainable = part.iter().map(|&i| case.trainable[i]).collect();
            let outcome = Case { trainable, ..case.clone() }.run(&device);
            for (&i, gradient) in part.iter().zip(outcome.gradients) {
                assert_eq!(gradient, all.gradients[i], "{case}");
            }
        }
    }
}

#[test]
fn inputs_and_losses_are_checked() {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3]).unwrap();
    let weight = graph.parameter("weight", [1, 3], Init::Constant(1.0)).unwrap();
    let unused = graph.parameter("unused", [1, 3], Init::Constant(1.0)).unwrap();
    let y = graph.add("y", Op::Linear, &[x, weight]).unwrap();
    let wide = graph.add("wide", Op::Scale { factor: 2.0 }, &[x]).unwrap();

    let compile = |loss, trainable| Program::training(&graph, loss, &[], &[trainable]);
    assert!(matches!(compile(wide, x), Err(EngineError::LossShape { node, .. }) if node == "wide"));
    assert!(matches!(
        compile(y, unused),
        Err(EngineError::NotTrainable { node, .. }) if node == "unused"
    ));
    assert!(matches!(compile(y, y), Err(EngineError::NotTrainable { node, .. }) if node == "y"));

    let mut executor = Executor::new(compile(y, weight).unwrap(), &device()).unwrap();
    let mut variables = Variables::new();
    let missing = executor.run(&mut variables, &[(x, &[1.0; 3])]);
    assert!(matches!(missing, Err(EngineError::UnknownVariable(name)) if name == "weight"));
    variables.initialize(&graph, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    let short = executor.run(&mut variables, &[(x, &[1.0; 2])]);
    assert!(matches!(short, Err(EngineError::Feed { node, expected: 3, found: 2 }) if node == "x"));
    let absent = executor.run(&mut variables, &[] as &[(NodeId, Feed<'_>)]);
    assert!(
        matches!(absent, Err(EngineError::Feed { node, expected: 3, found: 0 }) if node == "x")
    );
    executor.run(&mut variables, &[(x, &[1.0, 2.0, 3.0])]).unwrap();
    assert_eq!(*executor.value(y).unwrap(), [6.0]);
    assert_eq!(*executor.gradient(weight).unwrap(), [1.0, 2.0, 3.0]);
}
