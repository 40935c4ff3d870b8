//! What a graph infers and what it refuses.

use adwp_engine::{Activation, BatchNorm, Conv2d, EngineError, Graph, Init, NodeId, Op, Pool};

#[track_caller]
fn refused(graph: &mut Graph, op: Op, inputs: &[NodeId], why: &str) {
    let nodes = graph.len();
    let error = graph.add("refused", op, inputs).expect_err("the inputs do not fit");
    assert_eq!(graph.len(), nodes, "a refused node must not be added");
    match error {
        EngineError::Shape { node, reason, .. } if node == "refused" => {
            assert!(reason.contains(why), "{reason}, expected {why}");
        }
        other => panic!("unexpected {other}"),
    }
}

fn inputs<const N: usize>(shapes: [&[usize]; N]) -> (Graph, [NodeId; N]) {
    let mut graph = Graph::new();
    let mut next = 0;
    let ids = shapes.map(|shape| {
        next += 1;
        graph.input(format!("x{next}"), shape).unwrap()
    });
    (graph, ids)
}

#[test]
fn convolutions_are_inferred() {
    let shape = |x: [usize; 4], weight: [usize; 4], conv: Conv2d| {
        let (mut graph, [x, weight]) = inputs([&x[..], &weight[..]]);
        let y = graph.add("y", Op::Conv2d(conv), &[x, weight]).unwrap();
        graph[y].shape.dims4().unwrap()
    };
    assert_eq!(shape([2, 3, 7, 9], [5, 3, 3, 3], Conv2d::default()), [2, 5, 5, 7]);
    assert_eq!(
        shape(
            [1, 4, 8, 7],
            [4, 1, 5, 5],
            Conv2d { stride: [2; 2], padding: [4; 2], dilation: 2, groups: 4, ..Conv2d::default() }
        ),
        [1, 4, 4, 4]
    );
    assert_eq!(
        shape([1, 1, 1, 1], [1, 1, 7, 7], Conv2d { padding: [3; 2], ..Conv2d::default() }),
        [1, 1, 1, 1]
    );
    let same = Conv2d { stride: [2; 2], padding: [1; 2], trailing: [1; 2], ..Conv2d::default() };
    assert_eq!(shape([1, 3, 8, 12], [5, 3, 5, 5], same), [1, 5, 4, 6]);
    let across = Conv2d { stride: [1, 2], padding: [0, 3], ..Conv2d::default() };
    assert_eq!(shape([1, 3, 8, 9], [5, 3, 1, 7], across), [1, 5, 8, 5]);
    let down = Conv2d { stride: [2, 1], padding: [1, 0], ..Conv2d::default() };
    assert_eq!(shape([1, 3, 8, 9], [5, 3, 3, 1], down), [1, 5, 4, 9]);
    assert_eq!(
        shape(
            [1, 6, 4, 4],
            [4, 3, 1, 1],
            Conv2d { stride: [3; 2], groups: 2, ..Conv2d::default() }
        ),
        [1, 4, 2, 2]
    );
}

#[test]
fn convolutions_that_do_not_fit() {
    let (mut graph, [image, weight, narrow, flat, bias]) =
        inputs([&[1, 4, 5, 6], &[6, 4, 3, 3], &[6, 3, 3, 3], &[4, 5], &[5]]);
    let conv = Conv2d::default();
    let mut refuse =
        |conv, inputs: &[NodeId], why| refused(&mut graph, Op::Conv2d(conv), inputs, why);
    refuse(Conv2d { groups: 3, ..conv }, &[image, weight], "3 groups");
    refuse(Conv2d { groups: 0, ..conv }, &[image, weight], "0 groups");
    refuse(Conv2d { groups: 2, ..conv }, &[image, weight], "[out, 2, height, width]");
    refuse(Conv2d { dilation: 3, ..conv }, &[image, weight], "window of 7 does not fit into 5");
    refuse(Conv2d { stride: [0; 2], ..conv }, &[image, weight], "at least 1");
    refuse(conv, &[flat, weight], "[batch, channels, height, width]");
    refuse(conv, &[image, flat], "four dimensions");
    refuse(conv, &[image, narrow], "[out, 4, height, width]");
    refuse(conv, &[image, weight, bias], "bias must be [6]");
    refuse(conv, &[image], "a weight");
}

#[test]
fn other_operations_that_do_not_fit() {
    let (mut graph, [image, other, matrix, vector]) =
        inputs([&[2, 3, 4, 5], &[2, 3, 4, 4], &[2, 3], &[3]]);
    let mut refuse = |op, inputs: &[NodeId], why| refused(&mut graph, op, inputs, why);
    let pool = Pool { kernel: 3, stride: 1, padding: 1 };
    refuse(Op::Add, &[image, other], "one shape");
    refuse(Op::Add, &[], "one shape");
    refuse(Op::WeightedSum { terms: vec![0, 3] }, &[vector, image, image], "outside");
    refuse(Op::WeightedSum { terms: vec![0, 1] }, &[vector, image], "2 inputs");
    refuse(Op::WeightedSum { terms: vec![0, 1] }, &[vector, image, other], "one shape");
    refuse(Op::WeightedSum { terms: vec![] }, &[vector], "0 inputs");
    refuse(Op::Concat, &[image, other], "must agree");
    refuse(Op::Concat, &[], "at least one");
    refuse(Op::MaxPool(Pool { padding: 2, ..pool }), &[image], "exceeds half");
    refuse(Op::AvgPool(Pool { kernel: 7, ..pool }), &[image], "does not fit");
    refuse(Op::MaxPool(Pool { kernel: 0, padding: 0, ..pool }), &[image], "at least 1");
    refuse(Op::AvgPool(pool), &[matrix], "[batch, channels, height, width]");
    refuse(Op::BatchNorm(BatchNorm::default()), &[image, vector], "a scale and a shift");
    refuse(Op::BatchNorm(BatchNorm::default()), &[image, vector, matrix], "[3]");
    refuse(Op::GlobalAvgPool, &[matrix], "[batch, channels, height, width]");
    refuse(Op::Gate, &[image, vector], "a gate [n, c]");
    refuse(Op::Gate, &[matrix, matrix], "a gate [n, c]");
    refuse(Op::Activation(Activation::Silu), &[image, image], "one input");
    refuse(Op::Crop { top: 4, left: 0 }, &[image], "cannot drop");
    refuse(Op::Crop { top: 0, left: 5 }, &[image], "cannot drop");
    let channels = |groups, from, count| Op::Channels { groups, from, count };
    refuse(channels(2, 0, 1), &[image], "3 channels do not split into 2 groups");
    refuse(channels(0, 0, 1), &[image], "into 0 groups");
    refuse(channels(1, 2, 2), &[image], "cannot take 2 from 2 on");
    refuse(channels(1, 0, 0), &[image], "cannot take 0");
    refuse(channels(1, usize::MAX, 2), &[image], "cannot take 2");
    refuse(channels(1, 0, 1), &[matrix], "[batch, channels, height, width]");
    refuse(Op::Select { index: 6 }, &[matrix], "no element 6");
    refuse(Op::Linear, &[matrix, vector], "[out, in]");
    refuse(Op::Linear, &[matrix, image], "[out, in]");
    refuse(Op::Linear, &[matrix, matrix, vector], "[out, in]");
    refuse(Op::Relu, &[image, image], "one input");
    refuse(Op::Softmax, &[], "one input");
    refuse(Op::DropPath, &[image, vector], "mask [n]");
    refuse(Op::CrossEntropy { smoothing: 1.0 }, &[matrix, vector], "smoothing");
    refuse(Op::CrossEntropy { smoothing: 0.0 }, &[matrix, vector], "labels [n]");
    refuse(Op::Input, &[], "shape");
    refuse(Op::Reshape, &[image], "shape");
    refuse(Op::Parameter { init: Init::FanIn }, &[], "shape");
}

#[test]
fn leaves_and_reshapes_that_do_not_fit() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2, 6]).unwrap();
    assert!(
        matches!(graph.reshape("y", x, [5]), Err(EngineError::Shape { node, .. }) if node == "y")
    );
    assert!(matches!(
        graph.input("empty", [2, 0]),
        Err(EngineError::Shape { node, .. }) if node == "empty"
    ));
    let y = graph.reshape("y", x, [3, 1, 4]).unwrap();
    assert_eq!(graph[y].shape[..], [3, 1, 4]);
}

#[test]
fn names_are_unique_and_found() {
    let mut graph = Graph::new();
    let x = graph.input("x", [2]).unwrap();
    let taken = |error| matches!(error, Err(EngineError::DuplicateName(name)) if name == "x");
    assert!(taken(graph.input("x", [3])));
    assert!(taken(graph.parameter("x", [3], Init::FanIn)));
    assert!(taken(graph.add("x", Op::Relu, &[x])));
    assert!(taken(graph.reshape("x", x, [1, 2])));
    assert_eq!(graph.len(), 1);
    assert_eq!(graph.find("x").unwrap(), x);
    let y = graph.add("y", Op::Relu, &[x]).unwrap();
    assert_eq!(graph[y].inputs, [x]);
    assert!(matches!(graph.find("z"), Err(EngineError::UnknownNode(name)) if name == "z"));
}
