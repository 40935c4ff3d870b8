//! What an evaluator refuses.

use adwp_candle::{CandleError, Evaluator};
use adwp_engine::{EngineError, Graph, Init, NodeId, Op, Statistics, Variables};
use candle_core::DType;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

struct Fixture {
    graph: Graph,
    variables: Variables,
    x: NodeId,
    weight: NodeId,
    y: NodeId,
}

fn fixture() -> Fixture {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 3]).unwrap();
    let weight = graph.parameter("weight", [1, 3], Init::Constant(2.0)).unwrap();
    let y = graph.add("y", Op::Linear, &[x, weight]).unwrap();
    let mut variables = Variables::new();
    variables.initialize(&graph, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    Fixture { graph, variables, x, weight, y }
}

#[test]
fn other_types_than_floats_are_refused() {
    let Fixture { graph, variables, .. } = fixture();
    for dtype in [DType::U8, DType::F16] {
        let error = Evaluator::new(&graph, &variables, Statistics::Batch, dtype).unwrap_err();
        assert!(matches!(error, CandleError::DType(found) if found == dtype));
    }
}

#[test]
fn feeds_and_variables_are_checked() {
    let Fixture { graph, variables, x, weight, y } = fixture();
    let evaluator = Evaluator::new(&graph, &variables, Statistics::Batch, DType::F64).unwrap();
    let feed = |feeds: &[(NodeId, &[f32])]| evaluator.values(&[y], feeds).unwrap_err();
    assert!(matches!(
        feed(&[]),
        CandleError::Engine(EngineError::Feed { expected: 3, found: 0, .. })
    ));
    assert!(matches!(
        feed(&[(x, &[1.0; 4])]),
        CandleError::Engine(EngineError::Feed { expected: 3, found: 4, .. })
    ));
    // What the outputs do not depend on need not be there.
    assert_eq!(evaluator.values(&[weight], &[]).unwrap()[0].to_vec2::<f64>().unwrap(), [[2.0; 3]]);

    let none = Variables::new();
    let evaluator = Evaluator::new(&graph, &none, Statistics::Batch, DType::F64).unwrap();
    let error = evaluator.values(&[y], &[(x, &[1.0; 3])]).unwrap_err();
    assert!(
        matches!(error, CandleError::Engine(EngineError::UnknownVariable(name)) if name == "weight")
    );
}

#[test]
fn only_leaves_of_a_single_number_are_differentiated() {
    let Fixture { mut graph, variables, x, weight, y } = fixture();
    let wide = graph.add("wide", Op::Scale { factor: 0.0 }, &[x]).unwrap();
    let other = graph.parameter("other", [1], Init::Constant(0.0)).unwrap();
    let zero = graph.add("zero", Op::Linear, &[wide, weight]).unwrap();
    let evaluator = Evaluator::new(&graph, &variables, Statistics::Batch, DType::F64).unwrap();
    let feeds: [(NodeId, &[f32]); 1] = [(x, &[1.0, 2.0, 3.0])];

    let refused = |loss, trainable| evaluator.gradients(loss, &[trainable], &feeds).unwrap_err();
    assert!(matches!(
        refused(wide, x),
        CandleError::Engine(EngineError::LossShape { node, .. }) if node == "wide"
    ));
    assert!(matches!(
        refused(y, y),
        CandleError::Engine(EngineError::NotTrainable { node, .. }) if node == "y"
    ));
    assert!(matches!(
        refused(y, other),
        CandleError::Engine(EngineError::NotTrainable { node, .. }) if node == "other"
    ));

    let found = evaluator.gradients(y, &[weight, x], &feeds).unwrap();
    assert_eq!(found.loss.to_vec2::<f64>().unwrap(), [[12.0]]);
    assert_eq!(found.gradients[0].to_vec2::<f64>().unwrap(), [[1.0, 2.0, 3.0]]);
    assert_eq!(found.gradients[1].to_vec2::<f64>().unwrap(), [[2.0; 3]]);
    // candle drops paths through a factor of zero; the gradient is still there.
    let zero = evaluator.gradients(zero, &[x], &feeds).unwrap();
    assert_eq!(zero.gradients[0].to_vec2::<f64>().unwrap(), [[0.0; 3]]);
}
