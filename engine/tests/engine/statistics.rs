//! Running statistics: how training moves them and how inference uses them.

use adwp_engine::{
    BatchNorm, Conv2d, Executor, Graph, Init, NodeId, Op, Program, Role, Shape, Statistics,
    Variable, Variables,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::compare::{FORWARD, assert_close};
use crate::device::device;
use crate::interpreter::{Leaves, evaluate};

fn network() -> (Graph, NodeId, NodeId) {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 2, 3, 5]).unwrap();
    let weight = graph.parameter("weight", [3, 2, 3, 3], Init::Normal(1.0)).unwrap();
    let y = graph
        .add("conv", Op::Conv2d(Conv2d { padding: [1; 2], ..Conv2d::default() }), &[x, weight])
        .unwrap();
    let scale = graph.parameter("scale", [3], Init::Normal(1.0)).unwrap();
    let shift = graph.parameter("shift", [3], Init::Normal(1.0)).unwrap();
    let y =
        graph.add("bn", Op::BatchNorm(BatchNorm { epsilon: 1e-3 }), &[y, scale, shift]).unwrap();
    let y = graph.add("relu", Op::Relu, &[y]).unwrap();
    (graph, x, y)
}

fn images(seed: u64) -> Vec<f32> {
    Init::Normal(1.0).draw(&Shape::from([2, 2, 3, 5]), &mut ChaCha8Rng::seed_from_u64(seed))
}

fn variables(graph: &Graph) -> Variables {
    let mut variables = Variables::new();
    variables.initialize(graph, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    variables
}

fn executor(graph: &Graph, output: NodeId, statistics: Statistics) -> Executor {
    Executor::new(Program::inference(graph, &[output], statistics).unwrap(), &device()).unwrap()
}

fn leaves(graph: &Graph, variables: &Variables, x: NodeId, images: &[f32]) -> Leaves {
    let double = |data: &[f32]| data.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let parameters = graph
        .parameters()
        .map(|id| (id, double(variables.get(&graph[id].name).unwrap().data().unwrap())));
    parameters.chain([(x, double(images))]).collect()
}

#[test]
fn running_statistics_are_used_and_left_alone_by_inference() {
    let (graph, x, y) = network();
    let mut variables = variables(&graph);
    variables.get_mut("bn/running_mean").unwrap().copy_from_slice(&[0.5, -2.0, 1.0]);
    variables.get_mut("bn/running_var").unwrap().copy_from_slice(&[4.0, 0.25, 1.5]);
    let before = variables.clone();
    let images = images(1);
    let mut executor = executor(&graph, y, Statistics::Running);
    executor.run(&mut variables, &[(x, &images)]).unwrap();
    assert_eq!(variables, before);
    let values = evaluate(&graph, &leaves(&graph, &variables, x, &images), Some(&variables));
    assert_close(
        &executor.value(y).unwrap(),
        &values[y.index()],
        FORWARD,
        &"inference with running statistics",
    );
}

#[test]
fn batch_statistics_move_the_running_ones() {
    let (graph, x, y) = network();
    let mut variables = variables(&graph);
    let conv = graph.find("conv").unwrap();
    let mut executor = executor(&graph, y, Statistics::Batch);
    let (mut mean, mut variance) = (vec![0.0; 3], vec![1.0; 3]);
    for (seed, momentum) in [(1, 0.1), (2, 0.1), (3, 0.5), (4, 1.0)] {
        let images = images(seed);
        executor.set_statistics_momentum(momentum as f32);
        executor.run(&mut variables, &[(x, &images)]).unwrap();
        let values = evaluate(&graph, &leaves(&graph, &variables, x, &images), None);
        assert_close(
            &executor.value(y).unwrap(),
            &values[y.index()],
            FORWARD,
            &"inference with batch statistics",
        );
        for c in 0..3 {
            let channel: Vec<f64> = values[conv.index()]
                .chunks_exact(15)
                .skip(c)
                .step_by(3)
                .flatten()
                .copied()
                .collect();
            let n = channel.len() as f64;
            let batch_mean = channel.iter().sum::<f64>() / n;
            let unbiased =
                channel.iter().map(|x| (x - batch_mean).powi(2)).sum::<f64>() / (n - 1.0);
            mean[c] = (1.0 - momentum) * mean[c] + momentum * batch_mean;
            variance[c] = (1.0 - momentum) * variance[c] + momentum * unbiased;
        }
        let found = |name: &str| variables.get(name).unwrap().data().unwrap();
        assert_close(
            found("bn/running_mean"),
            &mean,
            FORWARD,
            &format!("running mean after batch {seed}"),
        );
        assert_close(
            found("bn/running_var"),
            &variance,
            FORWARD,
            &format!("running variance after batch {seed}"),
        );
    }
}

#[test]
fn training_moves_the_running_statistics_once_a_step() {
    let (mut graph, x, y) = network();
    let row = graph.reshape("row", y, [1, 90]).unwrap();
    let ones = graph.parameter("ones", [1, 90], Init::Constant(1.0)).unwrap();
    let loss = graph.add("loss", Op::Linear, &[row, ones]).unwrap();
    let weight = graph.find("weight").unwrap();
    let mut trained = variables(&graph);
    let mut recomputed = trained.clone();
    let images = images(1);

    let program = Program::training(&graph, loss, &[], &[weight]).unwrap();
    assert_eq!(program.statistics(), Statistics::Batch);
    Executor::new(program, &device()).unwrap().run(&mut trained, &[(x, &images)]).unwrap();
    executor(&graph, y, Statistics::Batch).run(&mut recomputed, &[(x, &images)]).unwrap();
    assert_ne!(trained.get("bn/running_mean").unwrap().data().unwrap(), [0.0; 3]);
    assert_eq!(trained, recomputed);
}

#[test]
fn inference_reads_no_more_than_its_outputs_need() {
    let (graph, x, y) = network();
    let conv = graph.find("conv").unwrap();
    let mut only_weight = Variables::new();
    only_weight.insert(variables(&graph).get("weight").unwrap().clone());
    let images = images(1);
    executor(&graph, conv, Statistics::Running).run(&mut only_weight, &[(x, &images)]).unwrap();
    assert!(
        executor(&graph, y, Statistics::Running).run(&mut only_weight, &[(x, &images)]).is_err()
    );
}

#[test]
fn variables_must_have_the_shapes_of_the_graph() {
    let (graph, x, y) = network();
    let mut variables = variables(&graph);
    variables.insert(Variable::new("scale", [2], vec![1.0; 2], Role::Parameter));
    let error = executor(&graph, y, Statistics::Running)
        .run(&mut variables, &[(x, &images(1))])
        .unwrap_err();
    assert_eq!(error.to_string(), "variable \"scale\" has shape [2], expected [3]");
    assert!(variables.initialize(&graph, &mut ChaCha8Rng::seed_from_u64(0)).is_err());
}
