//! A network as a candle module.

use adwp_candle::{CandleError, Network};
use adwp_engine::{
    BatchNorm, Conv2d, Executor, Graph, Init, NodeId, Op, Pool, Program, Shape, Statistics,
    Variables,
};
use candle_core::{DType, Module, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::compare::{FORWARD, assert_close};
use crate::device::device;
use crate::operations::numbers;

const IMAGES: [usize; 4] = [2, 3, 9, 7];

/// A small classifier whose first convolution is generated from a parameter.
fn classifier() -> (Graph, Variables, NodeId, NodeId) {
    let mut graph = Graph::new();
    let x = graph.input("images", IMAGES).unwrap();
    let seed = graph.parameter("seed", [1, 4], Init::Normal(1.0)).unwrap();
    let generator = graph.parameter("generator", [4 * 27, 4], Init::FanIn).unwrap();
    let weight = graph.add("generated", Op::Linear, &[seed, generator]).unwrap();
    let weight = graph.reshape("weight", weight, [4, 3, 3, 3]).unwrap();
    let conv = Conv2d { stride: [2; 2], padding: [1; 2], ..Conv2d::default() };
    let y = graph.add("conv", Op::Conv2d(conv), &[x, weight]).unwrap();
    let y = graph.add("bn", Op::BatchNorm(BatchNorm::default()), &[y]).unwrap();
    let y = graph.add("relu", Op::Relu, &[y]).unwrap();
    let depthwise = graph.parameter("depthwise/weight", [4, 1, 3, 3], Init::FanIn).unwrap();
    let y = graph
        .add(
            "depthwise",
            Op::Conv2d(Conv2d { padding: [2; 2], dilation: 2, groups: 4, ..conv }),
            &[y, depthwise],
        )
        .unwrap();
    let y =
        graph.add("pool", Op::AvgPool(Pool { kernel: 3, stride: 1, padding: 1 }), &[y]).unwrap();
    let y = graph.add("features", Op::GlobalAvgPool, &[y]).unwrap();
    let weight = graph.parameter("classifier/weight", [5, 4], Init::FanIn).unwrap();
    let bias = graph.parameter("classifier/bias", [5], Init::FanIn).unwrap();
    let y = graph.add("classifier", Op::Linear, &[y, weight, bias]).unwrap();

    let mut variables = Variables::new();
    variables.initialize(&graph, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    variables.get_mut("bn/running_mean").unwrap().copy_from_slice(&[0.1, -0.2, 0.3, 0.0]);
    variables.get_mut("bn/running_var").unwrap().copy_from_slice(&[0.5, 2.0, 1.0, 0.1]);
    (graph, variables, x, y)
}

fn images(seed: u64) -> Vec<f32> {
    Init::Normal(1.0).draw(&Shape::from(IMAGES), &mut ChaCha8Rng::seed_from_u64(seed))
}

#[test]
fn a_network_computes_what_the_engine_computes() {
    let (graph, mut variables, x, y) = classifier();
    let program = Program::inference(&graph, &[y], Statistics::Running).unwrap();
    let mut executor = Executor::new(program, &device()).unwrap();
    for dtype in [DType::F32, DType::F64] {
        let network = Network::new(graph.clone(), variables.clone(), x, y, dtype).unwrap();
        assert_eq!((network.input_shape(), network.output_shape()), (&IMAGES[..], &[2, 5][..]));
        for seed in 0..3 {
            let images = images(seed);
            executor.run(&mut variables, &[(x, &images)]).unwrap();
            let tensor = Tensor::from_slice(&images, &IMAGES, &candle_core::Device::Cpu)
                .unwrap()
                .to_dtype(dtype)
                .unwrap();
            let logits = network.forward(&tensor).unwrap();
            assert_eq!((logits.dims(), logits.dtype()), (&[2, 5][..], dtype));
            assert_close(
                &executor.value(y).unwrap(),
                &numbers(&logits),
                FORWARD,
                &format!("batch {seed} in {dtype:?}"),
            );

            let mirrored = tensor
                .permute((0, 1, 3, 2))
                .unwrap()
                .contiguous()
                .unwrap()
                .permute((0, 1, 3, 2))
                .unwrap();
            let again = Module::forward(&network, &mirrored).unwrap();
            assert_eq!(numbers(&again), numbers(&logits), "a tensor with other strides");
        }
    }
}

#[test]
fn a_network_refuses_other_tensors() {
    let (graph, variables, x, y) = classifier();
    let network = Network::new(graph, variables, x, y, DType::F32).unwrap();
    let single = Tensor::zeros((1, 3, 9, 7), DType::F32, &candle_core::Device::Cpu).unwrap();
    let error = network.forward(&single).unwrap_err();
    assert_eq!(error.to_string(), "input \"images\" takes F32 [2, 3, 9, 7], got F32 [1, 3, 9, 7]");
    let double = Tensor::zeros(&IMAGES, DType::F64, &candle_core::Device::Cpu).unwrap();
    assert!(matches!(
        network.forward(&double),
        Err(CandleError::Input { found_dtype: DType::F64, .. })
    ));
    assert!(Module::forward(&network, &double).unwrap_err().to_string().contains("F64"));
}

#[test]
fn a_network_has_one_input() {
    let (mut graph, variables, x, y) = classifier();
    let seed = graph.find("seed").unwrap();
    let generated = graph.find("generated").unwrap();
    let unrelated =
        Network::new(graph.clone(), variables.clone(), x, generated, DType::F32).unwrap_err();
    assert_eq!(unrelated.to_string(), "\"generated\" does not depend on \"images\"");
    assert!(Network::new(graph.clone(), variables.clone(), seed, generated, DType::F32).is_ok());

    let other = graph.input("other", [2, 5]).unwrap();
    let sum = graph.add("sum", Op::Add, &[y, other]).unwrap();
    let two = Network::new(graph, variables, x, sum, DType::F32).unwrap_err();
    assert!(two.to_string().contains("\"other\""), "{two}");
}
