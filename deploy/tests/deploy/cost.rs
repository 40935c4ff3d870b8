use adwp_deploy::{DeployError, cost::cost};

use crate::models::{Builder, CLASSIFIER_MADDS, CLASSIFIER_PARAMS, classifier, int, ints, string};

/// The shape, parameters and multiply-adds of one operator on `x` `[1, 4, 9, 7]`, whose weights `build` stores.
fn of_one(
    op: &str,
    inputs: &[&str],
    attributes: Vec<tract_onnx::pb::AttributeProto>,
    build: impl Fn(&mut Builder),
) -> (Vec<usize>, u64, u64) {
    let mut model = Builder::new([-1, 4, 9, 7]);
    build(&mut model);
    model.node(op, inputs, "z", attributes);
    let cost = cost(&model.output("z", &[-1, 4]).read().unwrap()).unwrap();
    assert!(cost.unknown.is_empty());
    let layer = cost.layers.last().unwrap();
    assert_eq!((layer.name.as_str(), layer.op.as_str()), ("z", op));
    (layer.output_shape.clone(), cost.params, cost.madds)
}

#[test]
fn the_classifier_costs_what_hand_counting_gives() {
    for batch in [-1, 1, 3] {
        let cost = cost(&classifier(batch).read().unwrap()).unwrap();
        assert_eq!((cost.params, cost.madds), (CLASSIFIER_PARAMS, CLASSIFIER_MADDS), "batch {batch}");
        assert!(cost.unknown.is_empty());
        let layer = |name: &str| cost.layers.iter().find(|layer| layer.name == name).unwrap();
        let images = if batch == 3 { 3 } else { 1 };
        assert_eq!(layer("dw").output_shape, [images, 6, 4, 4]);
        assert_eq!((layer("dw").params, layer("dw").madds), (54, 16 * 54));
        assert_eq!(layer("concat").output_shape, [images, 22, 4, 4]);
        assert_eq!(layer("slice").output_shape, [images, 2, 4, 4]);
        assert_eq!((layer("bn").params, layer("bn").madds), (12, 0));
        assert_eq!((layer("y").params, layer("y").madds), (92, 88));
    }
}

#[test]
fn convolutions() {
    let weight = |dims: &'static [i64]| {
        move |model: &mut Builder| {
            model.weight("w", dims).weight("b", &[dims[0]]);
        }
    };
    // 9 -> (9 - 3) / 2 + 1 = 4, 7 -> (7 - 3) / 2 + 1 = 3
    let strided = of_one("Conv", &["x", "w", "b"], vec![ints("strides", &[2, 2])], weight(&[5, 4, 3, 3]));
    assert_eq!(strided, (vec![1, 5, 4, 3], 185, 5 * 12 * 36));
    // Two groups of 2 inputs; kernel 3 dilated by 2 spans 5, padded by 1: 9 -> 7, 7 -> 5
    let grouped =
        of_one("Conv", &["x", "w"], vec![int("group", 2), ints("dilations", &[2, 2]), ints("pads", &[1, 1, 1, 1])], weight(&[6, 2, 3, 3]));
    assert_eq!(grouped, (vec![1, 6, 7, 5], 108, 6 * 35 * 18));
    let same = of_one("Conv", &["x", "w"], vec![string("auto_pad", "SAME_UPPER"), ints("strides", &[2, 3])], weight(&[4, 4, 3, 3]));
    assert_eq!(same, (vec![1, 4, 5, 3], 144, 4 * 15 * 36));
    let valid = of_one("Conv", &["x", "w"], vec![string("auto_pad", "VALID")], weight(&[4, 4, 3, 5]));
    assert_eq!(valid, (vec![1, 4, 7, 3], 240, 4 * 21 * 60));
    // 9 -> 2 · 8 + 3 − 2 + 1 = 18, 7 -> 14; every input value meets 2 · 9 weights
    let transposed = of_one(
        "ConvTranspose",
        &["x", "w"],
        vec![ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1]), ints("output_padding", &[1, 1])],
        weight(&[4, 2, 3, 3]),
    );
    assert_eq!(transposed, (vec![1, 2, 18, 14], 72, 4 * 63 * 18));
    let same = vec![string("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])];
    let transposed = of_one("ConvTranspose", &["x", "w"], same, weight(&[4, 2, 3, 1]));
    assert_eq!(transposed, (vec![1, 2, 18, 13], 24, 4 * 63 * 6));
}

#[test]
fn linear_layers_and_biases() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .node("GlobalAveragePool", &["x"], "gap", vec![])
        .indices("shape", &[0, -1])
        .node("Reshape", &["gap", "shape"], "flat", vec![])
        .weight("w", &[10, 4])
        .node("Transpose", &["w"], "wt", vec![ints("perm", &[1, 0])])
        .node("MatMul", &["flat", "wt"], "mm", vec![])
        .weight("b", &[10])
        .node("Add", &["mm", "b"], "biased", vec![])
        .weight("half", &[1])
        .node("Mul", &["biased", "half"], "scaled", vec![])
        .node("Softmax", &["scaled"], "y", vec![])
        .output("y", &[-1, 10]);
    let cost = cost(&model.read().unwrap()).unwrap();
    assert_eq!((cost.params, cost.madds), (50, 40));
    assert_eq!(cost.layers.last().unwrap().output_shape, [1, 10]);
}

#[test]
fn a_weight_of_two_nodes_is_counted_once() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .weight("w", &[4, 4, 1, 1])
        .node("Conv", &["x", "w"], "a", vec![])
        .node("Identity", &["w"], "same", vec![])
        .node("Conv", &["a", "same"], "z", vec![])
        .output("z", &[-1, 4]);
    let cost = cost(&model.read().unwrap()).unwrap();
    assert_eq!((cost.params, cost.madds), (16, 2 * 16 * 63));
}

#[test]
fn pools() {
    let none = |_: &mut Builder| ();
    let kernel = || ints("kernel_shape", &[3, 3]);
    let shape = |op, attributes| of_one(op, &["x"], attributes, none).0;
    assert_eq!(shape("MaxPool", vec![kernel(), ints("strides", &[2, 2])]), [1, 4, 4, 3]);
    // (9 − 2) / 2 = 3.5: a window that hangs over counts with ceil_mode
    let two = || ints("kernel_shape", &[2, 2]);
    assert_eq!(shape("MaxPool", vec![two(), ints("strides", &[2, 2])]), [1, 4, 4, 3]);
    assert_eq!(shape("MaxPool", vec![two(), ints("strides", &[2, 2]), int("ceil_mode", 1)]), [1, 4, 5, 4]);
    // (7 + 2 − 3) / 4 = 1.5 would start a window at 8, which is padding: 7 + 1 = 8
    let padded = vec![kernel(), ints("strides", &[4, 4]), ints("pads", &[1, 1, 1, 1]), int("ceil_mode", 1)];
    assert_eq!(shape("AveragePool", padded), [1, 4, 3, 2]);
    assert_eq!(shape("MaxPool", vec![kernel(), ints("dilations", &[2, 3])]), [1, 4, 5, 1]);
    assert_eq!(shape("GlobalAveragePool", vec![]), [1, 4, 1, 1]);
    assert_eq!(shape("ReduceMean", vec![ints("axes", &[2, 3]), int("keepdims", 0)]), [1, 4]);
}

#[test]
fn values_that_move() {
    let shape = |op: &str, inputs: &[&str], attributes, constants: &[(&str, &[i64])]| {
        of_one(op, inputs, attributes, |model| {
            for (name, values) in constants {
                model.indices(name, values);
            }
        })
        .0
    };
    let slice = |starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]| {
        let constants: [(&str, &[i64]); 4] = [("s", starts), ("e", ends), ("a", axes), ("t", steps)];
        shape("Slice", &["x", "s", "e", "a", "t"], vec![], &constants)
    };
    assert_eq!(slice(&[1, 1], &[i64::MAX, i64::MAX], &[2, 3], &[1, 1]), [1, 4, 8, 6]);
    assert_eq!(slice(&[-3], &[-1], &[2], &[1]), [1, 4, 2, 7]);
    assert_eq!(slice(&[0], &[9], &[2], &[2]), [1, 4, 5, 7]);
    assert_eq!(slice(&[-1], &[i64::MIN], &[3], &[-1]), [1, 4, 9, 7]);
    assert_eq!(slice(&[5], &[1], &[3], &[-3]), [1, 4, 9, 2]);
    assert_eq!(slice(&[-20], &[-30], &[3], &[-2]), [1, 4, 9, 1]);
    assert_eq!(shape("Pad", &["x", "p"], vec![], &[("p", &[0, 0, 1, -1, 0, 0, 2, 0])]), [1, 4, 12, 6]);
    assert_eq!(shape("Flatten", &["x"], vec![int("axis", 2)], &[]), [4, 63]);
    assert_eq!(shape("Reshape", &["x", "r"], vec![], &[("r", &[0, 2, -1])]), [1, 2, 126]);
    assert_eq!(shape("Transpose", &["x"], vec![ints("perm", &[0, 2, 3, 1])], &[]), [1, 9, 7, 4]);
    assert_eq!(shape("Transpose", &["x"], vec![], &[]), [7, 9, 4, 1]);
    assert_eq!(shape("Unsqueeze", &["x", "u"], vec![], &[("u", &[-1, 0])]), [1, 1, 4, 9, 7, 1]);
    assert_eq!(shape("Concat", &["x", "x"], vec![int("axis", -1)], &[]), [1, 4, 9, 14]);
    assert_eq!(shape("HardSwish", &["x"], vec![], &[]), [1, 4, 9, 7]);
}

#[test]
fn a_reshape_to_a_computed_shape_is_followed() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .node("Shape", &["x"], "shape", vec![])
        .indices("zero", &[0])
        .indices("rest", &[-1])
        .node("Gather", &["shape", "zero"], "batch", vec![])
        .node("Concat", &["batch", "rest"], "target", vec![int("axis", 0)])
        .node("Reshape", &["x", "target"], "z", vec![])
        .output("z", &[-1, 252]);
    assert_eq!(cost(&model.read().unwrap()).unwrap().layers.last().unwrap().output_shape, [1, 252]);
}

#[test]
fn an_unknown_operator_is_named() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .node("Einsum", &["x"], "mystery", vec![])
        .weight("w", &[2, 4, 1, 1])
        .node("Conv", &["mystery", "w"], "z", vec![])
        .output("z", &[-1, 2]);
    let error = cost(&model.read().unwrap()).unwrap_err();
    assert!(matches!(&error, DeployError::UnknownOperator { node, op, .. } if node == "mystery" && op == "Einsum"));
    assert!(error.hint().is_some());
    let counted = cost(&model.value_info("mystery", &[-1, 4, 9, 7]).read().unwrap()).unwrap();
    assert_eq!(counted.unknown, ["mystery (Einsum)"]);
    assert_eq!((counted.params, counted.madds), (8, 8 * 63));
}

#[test]
fn contradictions_name_the_node_and_the_shapes() {
    let refused = |op: &str, inputs: &[&str], attributes, dims: &[i64]| {
        let mut model = Builder::new([-1, 4, 9, 7]);
        model.weight("w", dims).indices("zeros", &[0; 3]).node(op, inputs, "z", attributes).output("z", &[-1, 4]);
        match cost(&model.read().unwrap()) {
            Err(DeployError::Shape { node, detail, .. }) if node == "z" => detail,
            other => panic!("{op}: {other:?}"),
        }
    };
    assert!(refused("Conv", &["x", "w"], vec![], &[4, 3, 3, 3]).contains("[1, 4, 9, 7]"));
    refused("Conv", &["x", "w"], vec![int("group", 0)], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![int("group", 3)], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![ints("strides", &[0, 1])], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![ints("strides", &[1])], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![ints("pads", &[i64::MIN, 0, 0, 0])], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![ints("pads", &[i64::MAX, 0, i64::MAX, 0])], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![ints("dilations", &[i64::from(u32::MAX), 1])], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![ints("kernel_shape", &[5, 5])], &[4, 4, 3, 3]);
    refused("Conv", &["x"], vec![], &[4, 4, 3, 3]);
    refused("Conv", &["x", "w"], vec![], &[4, 4, 11, 3]);
    refused("Gemm", &["x", "w"], vec![], &[4, 4]);
    refused("MatMul", &["x", "w"], vec![], &[4, 4]);
    refused("Add", &["x", "w"], vec![], &[3]);
    refused("MaxPool", &["x"], vec![], &[1]);
    refused("Concat", &["x", "w"], vec![int("axis", 1)], &[1, 4]);
    refused("Concat", &["x"], vec![int("axis", 4)], &[1]);
    refused("Transpose", &["x"], vec![ints("perm", &[0, 0, 1, 2])], &[1]);
    refused("Reshape", &["x", "w"], vec![], &[1]);
    refused("Reshape", &["x", "zeros"], vec![int("allowzero", 1)], &[1]);
    refused("Flatten", &["x"], vec![int("axis", i64::MIN)], &[1]);
    refused("Gather", &["x", "zeros"], vec![int("axis", i64::MAX)], &[1]);
}
