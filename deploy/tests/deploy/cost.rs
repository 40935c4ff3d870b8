use std::collections::BTreeMap;

use adwp_measure::{
    DeployError,
    cost::{cost, cost_of_file},
    onnx::OnnxFile,
};
use tract_onnx::pb::tensor_proto::DataType;

use crate::models::{Builder, CLASSIFIER_MADDS, CLASSIFIER_PARAMS, classifier, int, ints, string};

/// The shape, parameters and multiply-adds of one operator on `x` `[1, 4, 9, 7]`, whose weights
/// `build` stores.
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
        assert_eq!(
            (cost.params, cost.madds),
            (CLASSIFIER_PARAMS, CLASSIFIER_MADDS),
            "batch {batch}"
        );
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
    let strided =
        of_one("Conv", &["x", "w", "b"], vec![ints("strides", &[2, 2])], weight(&[5, 4, 3, 3]));
    assert_eq!(strided, (vec![1, 5, 4, 3], 185, 5 * 12 * 36));
    // Two groups of 2 inputs; kernel 3 dilated by 2 spans 5, padded by 1: 9 -> 7, 7 -> 5
    let grouped = of_one(
        "Conv",
        &["x", "w"],
        vec![int("group", 2), ints("dilations", &[2, 2]), ints("pads", &[1, 1, 1, 1])],
        weight(&[6, 2, 3, 3]),
    );
    assert_eq!(grouped, (vec![1, 6, 7, 5], 108, 6 * 35 * 18));
    let same = of_one(
        "Conv",
        &["x", "w"],
        vec![string("auto_pad", "SAME_UPPER"), ints("strides", &[2, 3])],
        weight(&[4, 4, 3, 3]),
    );
    assert_eq!(same, (vec![1, 4, 5, 3], 144, 4 * 15 * 36));
    let valid =
        of_one("Conv", &["x", "w"], vec![string("auto_pad", "VALID")], weight(&[4, 4, 3, 5]));
    assert_eq!(valid, (vec![1, 4, 7, 3], 240, 4 * 21 * 60));
    // 9 -> 2 · 8 + 3 − 2 + 1 = 18, 7 -> 14; every input value meets 2 · 9 weights
    let transposed = of_one(
        "ConvTranspose",
        &["x", "w"],
        vec![
            ints("strides", &[2, 2]),
            ints("pads", &[1, 1, 1, 1]),
            ints("output_padding", &[1, 1]),
        ],
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
    assert_eq!(
        shape("MaxPool", vec![two(), ints("strides", &[2, 2]), int("ceil_mode", 1)]),
        [1, 4, 5, 4]
    );
    // (7 + 2 − 3) / 4 = 1.5 would start a window at 8, which is padding: 7 + 1 = 8
    let padded =
        vec![kernel(), ints("strides", &[4, 4]), ints("pads", &[1, 1, 1, 1]), int("ceil_mode", 1)];
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
        let constants: [(&str, &[i64]); 4] =
            [("s", starts), ("e", ends), ("a", axes), ("t", steps)];
        shape("Slice", &["x", "s", "e", "a", "t"], vec![], &constants)
    };
    assert_eq!(slice(&[1, 1], &[i64::MAX, i64::MAX], &[2, 3], &[1, 1]), [1, 4, 8, 6]);
    assert_eq!(slice(&[-3], &[-1], &[2], &[1]), [1, 4, 2, 7]);
    assert_eq!(slice(&[0], &[9], &[2], &[2]), [1, 4, 5, 7]);
    assert_eq!(slice(&[-1], &[i64::MIN], &[3], &[-1]), [1, 4, 9, 7]);
    assert_eq!(slice(&[5], &[1], &[3], &[-3]), [1, 4, 9, 2]);
    assert_eq!(slice(&[-20], &[-30], &[3], &[-2]), [1, 4, 9, 1]);
    assert_eq!(
        shape("Pad", &["x", "p"], vec![], &[("p", &[0, 0, 1, -1, 0, 0, 2, 0])]),
        [1, 4, 12, 6]
    );
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
fn padding_as_pytorch_exports_it_is_followed() {
    // Its list has the last axis first, before and after each: pairs are reversed and then
    // transposed.
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .indices("list", &[1, 2, 3, 4, 0, 0, 0, 0])
        .indices("pairs", &[-1, 2])
        .node("Reshape", &["list", "pairs"], "table", vec![])
        .indices("start", &[-1])
        .indices("end", &[i64::MIN])
        .indices("axis", &[0])
        .indices("step", &[-1])
        .node("Slice", &["table", "start", "end", "axis", "step"], "reversed", vec![])
        .node("Transpose", &["reversed"], "turned", vec![ints("perm", &[1, 0])])
        .indices("flat", &[-1])
        .node("Reshape", &["turned", "flat"], "pads", vec![])
        .node("Cast", &["pads"], "whole", vec![int("to", 7)])
        .node("Pad", &["x", "whole"], "z", vec![])
        .output("z", &[-1, 4, 1, 1]);
    assert_eq!(
        cost(&model.read().unwrap()).unwrap().layers.last().unwrap().output_shape,
        [1, 4, 9 + 3 + 4, 7 + 1 + 2]
    );
}

#[test]
fn what_is_not_known_is_named_and_left_out() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .node("Det", &["x"], "mystery", vec![])
        .weight("w", &[2, 4, 1, 1])
        .node("Relu", &["x"], "relu", vec![])
        .node("Conv", &["mystery", "w"], "after", vec![])
        .node("Conv", &["relu", "w"], "z", vec![])
        .output("z", &[-1, 2, 1, 1]);
    let cost = |model: &Builder| cost(&model.read().unwrap()).unwrap();
    let counted = cost(&model);
    let named: Vec<_> =
        counted.unknown.iter().map(|node| (node.name.as_str(), node.op.as_str())).collect();
    assert_eq!(named, [("mystery", "Det"), ("after", "Conv")]);
    assert!(counted.unknown[1].to_string().contains("`mystery`"));
    assert_eq!((counted.params, counted.madds, counted.peak_activation_bytes), (8, 8 * 63, None));
    // What the file says of its result lets the next node be counted.
    let counted = cost(model.value_info("mystery", &[-1, 4, 9, 7]));
    assert_eq!(counted.unknown.len(), 1);
    assert_eq!((counted.params, counted.madds), (8, 2 * 8 * 63));
    let mut foreign = Builder::new([-1, 4, 9, 7]);
    foreign.node("Relu", &["x"], "z", vec![]).output("z", &[-1, 4, 1, 1]);
    foreign.graph().node[0].domain = "com.example".into();
    assert_eq!(cost(&foreign).unknown[0].op, "com.example.Relu");
}

#[test]
fn memory_is_what_is_alive_at_once() {
    // x and a: 252 values each; the convolution has a, skip and its result of 126; x is gone by
    // then. A flattened tensor is the same memory.
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .weight("w", &[2, 4, 1, 1])
        .node("Relu", &["x"], "a", vec![])
        .node("Sigmoid", &["a"], "skip", vec![])
        .node("Conv", &["a", "w"], "c", vec![])
        .node("Concat", &["c", "skip"], "joined", vec![int("axis", 1)])
        .node("Flatten", &["joined"], "flat", vec![])
        .node("Relu", &["flat"], "z", vec![])
        .output("z", &[-1, 378]);
    let cost = |model: &Builder| cost(&model.read().unwrap()).unwrap();
    let counted = cost(&model);
    // 126 + 252 + 378 at the concatenation, 756 and the output at the end.
    assert_eq!(
        (counted.peak_activation_bytes, counted.peak_node.as_deref()),
        (Some(4 * 756), Some("joined"))
    );
    assert_eq!(counted.weight_bytes, 32);
    // Of two images twice as much; parameters and multiply-adds are those of one.
    let mut pair = model.clone();
    pair.graph().input[0] = Builder::new([2, 4, 9, 7]).graph().input[0].clone();
    pair.graph().output[0] = model.graph().output[0].clone();
    let pair = cost(&pair);
    assert_eq!((pair.peak_activation_bytes, pair.madds), (Some(8 * 756), counted.madds));
}

#[test]
fn quantised_convolutions_count_their_weights() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .weight("scale", &[1])
        .integers("zero", DataType::Uint8, &[1])
        .integers("w8", DataType::Int8, &[2, 4, 1, 1])
        .integers("zero8", DataType::Int8, &[1])
        .node("QuantizeLinear", &["x", "scale", "zero"], "q", vec![])
        .node("DequantizeLinear", &["q", "scale", "zero"], "d", vec![])
        .node("DequantizeLinear", &["w8", "scale", "zero8"], "w", vec![])
        .node("Conv", &["d", "w"], "c", vec![])
        .node("QuantizeLinear", &["c", "scale", "zero"], "cq", vec![])
        .integers("v8", DataType::Int8, &[3, 2, 1, 1])
        .node(
            "QLinearConv",
            &["cq", "scale", "zero", "v8", "scale", "zero8", "scale", "zero"],
            "v",
            vec![],
        )
        .node("DequantizeLinear", &["v", "scale", "zero"], "z", vec![])
        .output("z", &[-1, 3, 9, 7]);
    // It is no classifier, and is counted all the same.
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    let counted = cost_of_file(&file, &BTreeMap::new()).unwrap();
    assert!(counted.unknown.is_empty(), "{:?}", counted.unknown);
    assert_eq!((counted.params, counted.madds), (8 + 6, (8 + 6) * 63));
    assert_eq!(counted.weight_bytes, 4 + 1 + 8 + 1 + 6);
    // The float convolution reads 252 floats and writes 126; the quantised ones have a quarter of
    // that.
    assert_eq!(counted.peak_activation_bytes, Some(4 * (252 + 126)));
}

#[test]
fn open_shapes_are_asked_for() {
    let mut model = Builder::new([-1, 4, -1, -1]);
    model
        .weight("w", &[2, 4, 1, 1])
        .node("Conv", &["x", "w"], "z", vec![])
        .output("z", &[-1, 2, -1, -1]);
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    let error = cost_of_file(&file, &BTreeMap::new()).unwrap_err();
    assert!(
        matches!(&error, DeployError::OpenShape { input, .. } if input == "x")
            && error.hint().unwrap().contains("--input x=")
    );
    let with = |name: &str, shape: &[usize]| {
        cost_of_file(&file, &BTreeMap::from([(name.to_owned(), shape.to_vec())]))
    };
    assert_eq!(with("x", &[1, 4, 5, 6]).unwrap().madds, 8 * 30);
    assert_eq!(with("x", &[2, 4, 5, 6]).unwrap().madds, 8 * 30, "of one of two images");
    for (name, shape) in [
        ("y", &[1, 4, 5, 6][..]),
        ("x", &[1, 3, 5, 6]),
        ("x", &[1, 4, 5]),
        ("x", &[1, 4, usize::MAX, 6]),
    ] {
        assert!(matches!(with(name, shape), Err(DeployError::Setting { .. })), "{name} {shape:?}");
    }
}

#[test]
fn resizing_and_other_shapes_are_followed() {
    let scaled = |scales: &'static [f32]| {
        of_one("Resize", &["x", "", "s"], vec![], |model| {
            model.floats("s", &[scales.len() as i64], scales);
        })
        .0
    };
    assert_eq!(scaled(&[1.0, 1.0, 2.0, 1.5]), [1, 4, 18, 10]);
    let shape = |op: &str, inputs: &[&str], attributes, constants: &[(&str, &[i64])]| {
        of_one(op, inputs, attributes, |model| {
            for (name, values) in constants {
                model.indices(name, values);
            }
        })
        .0
    };
    assert_eq!(shape("Resize", &["x", "", "", "r"], vec![], &[("r", &[1, 4, 3, 2])]), [1, 4, 3, 2]);
    assert_eq!(shape("Expand", &["x", "e"], vec![], &[("e", &[5, 1, 1, 7])]), [5, 4, 9, 7]);
    assert_eq!(shape("Tile", &["x", "t"], vec![], &[("t", &[1, 2, 1, 3])]), [1, 8, 9, 21]);
    assert_eq!(shape("ArgMax", &["x"], vec![int("axis", 1), int("keepdims", 0)], &[]), [1, 9, 7]);
    assert_eq!(shape("TopK", &["x", "k"], vec![int("axis", 1)], &[("k", &[3])]), [1, 3, 9, 7]);
    assert_eq!(shape("DepthToSpace", &["x"], vec![int("blocksize", 2)], &[]), [1, 1, 18, 14]);
}

#[test]
fn contradictions_name_the_node_and_the_shapes() {
    let refused = |op: &str, inputs: &[&str], attributes, dims: &[i64]| {
        let mut model = Builder::new([-1, 4, 9, 7]);
        model
            .weight("w", dims)
            .indices("zeros", &[0; 3])
            .node(op, inputs, "z", attributes)
            .output("z", &[-1, 4]);
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

#[test]
fn what_has_no_values_takes_no_memory() {
    let last = |op: &str, inputs: &[&str], dims: &[i64]| {
        let mut model = Builder::new([-1, 4, 9, 7]);
        model
            .weight("none", dims)
            .indices("start", &[-1])
            .indices("end", &[i64::MIN])
            .indices("axis", &[0])
            .indices("back", &[-1]);
        model.node(op, inputs, "z", vec![]).output("z", &[-1, 4]);
        cost(&model.read().unwrap()).unwrap().layers.pop().unwrap().output_shape
    };
    let long = i64::from(u32::MAX);
    let backwards = ["none", "start", "end", "axis", "back"];
    assert_eq!(last("Slice", &backwards, &[0]), [0]);
    assert_eq!(last("Slice", &backwards, &[0, long]), [0, long as usize]);
    assert_eq!(last("Transpose", &["none"], &[0, long]), [long as usize, 0]);
}

#[test]
fn dimensions_do_not_multiply_without_end() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model.indices("t0", &[0]);
    // Indices that are gathered by themselves have twice the dimensions less one.
    for step in 1..60 {
        let before = format!("t{}", step - 1);
        model.node("Unsqueeze", &[&before, "t0"], &format!("u{step}"), vec![]);
        model.node(
            "Gather",
            &[&format!("u{step}"), &format!("u{step}")],
            &format!("t{step}"),
            vec![],
        );
    }
    model.output("t59", &[-1, 4]);
    match model.read().map(|model| cost(&model)) {
        Err(DeployError::TooLarge { detail, .. }) => {
            assert!(detail.contains("(Gather)"), "{detail}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn products_by_letters() {
    let of = |equation: &str| {
        let given = vec![string("equation", equation)];
        of_one("Einsum", &["x", "w"], given, |model| {
            model.weight("w", &[5, 7]);
        })
    };
    assert_eq!(of("bchw,ow->bcho"), (vec![1, 4, 9, 5], 35, 36 * 35));
    assert_eq!(of("bchw, ow"), (vec![1, 4, 9, 5], 35, 36 * 35));
    let one = of_one("Einsum", &["x"], vec![string("equation", "bchw->wb")], |_| {});
    assert_eq!(one, (vec![7, 1], 0, 0));
}

#[test]
fn recurrent_layers() {
    // 9 steps of 7 numbers, the channels being the batch.
    let of = |op: &str, gates: i64| {
        let mut model = Builder::new([1, 4, 9, 7]);
        model
            .indices("one", &[0])
            .node("Squeeze", &["x", "one"], "sequence", vec![])
            .node("Transpose", &["sequence"], "steps", vec![ints("perm", &[1, 0, 2])])
            .weight("w", &[2, gates * 5, 7])
            .weight("r", &[2, gates * 5, 5])
            .weight("b", &[2, gates * 10])
            .weight("start", &[2, 4, 5])
            .node(op, &["steps", "w", "r", "b", "", "start"], "y", vec![int("hidden_size", 5)])
            .output("y", &[9, 2, 4, 5]);
        let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
        let cost = cost_of_file(&file, &BTreeMap::new()).unwrap();
        assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
        assert_eq!(cost.layers.last().unwrap().output_shape, [9, 2, 4, 5]);
        (cost.params, cost.madds)
    };
    let (matrices, biases) = (2 * 5 * 12, 2 * 10);
    for (op, gates) in [("RNN", 1), ("GRU", 3), ("LSTM", 4)] {
        let counted = (gates * (matrices + biases), gates * matrices * 4 * 9);
        assert_eq!(of(op, gates as i64), counted, "{op}");
    }
}

#[test]
fn places_in_grids_and_tables() {
    let sampled = of_one("GridSample", &["x", "w"], vec![], |model| {
        model.weight("w", &[1, 3, 2, 2]);
    });
    assert_eq!(sampled.0, [1, 4, 3, 2]);
    let gathered = of_one("GatherND", &["x", "places"], vec![], |model| {
        model.indices("list", &[0; 12]).indices("pairs", &[6, 2]).node(
            "Reshape",
            &["list", "pairs"],
            "places",
            vec![],
        );
    });
    assert_eq!(gathered.0, [6, 9, 7]);
}

#[test]
fn shapes_that_are_least_and_ranges_of_real_numbers() {
    let mut model = Builder::new([1, 4, 9, 7]);
    model
        .node("Shape", &["x"], "shape", vec![int("start", 2)])
        .node("Cast", &["shape"], "sizes", vec![int("to", DataType::Float as i64)])
        .node("ReduceMin", &["sizes"], "least", vec![int("keepdims", 0)])
        .floats("zero", &[], &[0.0])
        .floats("step", &[], &[2.0])
        .node("Range", &["zero", "least", "step"], "places", vec![])
        .output("places", &[4]);
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    let cost = cost_of_file(&file, &BTreeMap::new()).unwrap();
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    assert_eq!(cost.layers.last().unwrap().output_shape, [4]);
}

#[test]
fn results_without_a_name_keep_their_place() {
    // 9 steps of 7 numbers for a batch of 4; the last state `[directions, batch, hidden]` is read.
    let of = |op: &str, gates: i64| {
        let mut model = Builder::new([1, 4, 9, 7]);
        model
            .indices("one", &[0])
            .node("Squeeze", &["x", "one"], "sequence", vec![])
            .node("Transpose", &["sequence"], "steps", vec![ints("perm", &[1, 0, 2])])
            .weight("w", &[1, gates * 5, 7])
            .weight("r", &[1, gates * 5, 5])
            .node(op, &["steps", "w", "r"], "last", vec![int("hidden_size", 5)])
            .weight("head", &[5, 3])
            .node("MatMul", &["last", "head"], "y", vec![])
            .output("y", &[1, 4, 3]);
        let node = model.graph().node.iter_mut().find(|node| node.op_type == op).unwrap();
        node.output = vec![String::new(), "last".into()];
        let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
        let cost = cost_of_file(&file, &BTreeMap::new()).unwrap();
        assert_eq!(cost.layers[2].output_shape, [1, 4, 5], "{op}");
        assert_eq!(cost.layers[3].output_shape, [1, 4, 3], "{op}");
        assert!(cost.peak_activation_bytes.is_some() && cost.contradicted.is_empty());
        cost.madds
    };
    for (op, gates) in [("RNN", 1), ("GRU", 3), ("LSTM", 4)] {
        assert_eq!(of(op, gates as i64), gates * 5 * 12 * 4 * 9 + 4 * 5 * 3, "{op}");
    }
    // Of other operators too, whether constant or not.
    for input in ["x", "stored"] {
        let mut model = Builder::new([1, 4, 9, 7]);
        model
            .weight("stored", &[1, 4, 9, 7])
            .indices("sizes", &[1, 3])
            .node("Split", &[input, "sizes"], "rest", vec![int("axis", 1)])
            .indices("start", &[1])
            .indices("end", &[4])
            .node("Slice", &["x", "start", "end", "start"], "three", vec![])
            .node("Add", &["three", "rest"], "y", vec![])
            .output("y", &[1, 3, 9, 7]);
        model.graph().node[0].output = vec![String::new(), "rest".into()];
        let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
        let cost = cost_of_file(&file, &BTreeMap::new()).unwrap();
        assert_eq!(cost.layers.last().unwrap().output_shape, [1, 3, 9, 7], "{input}");
        assert_eq!(cost.params, if input == "stored" { 3 * 63 } else { 0 });
        assert!(cost.contradicted.is_empty(), "{:?}", cost.contradicted);
    }
    let mut model = Builder::new([1, 4, 9, 7]);
    model.weight("scale", &[9, 7]).node(
        "LayerNormalization",
        &["x", "scale"],
        "deviation",
        vec![int("axis", 2)],
    );
    model.graph().node[0].output = ["", "", "deviation"].map(str::to_owned).to_vec();
    let cost = cost_of_file(
        &OnnxFile::from_bytes(&model.output("deviation", &[1, 4, 1, 1]).bytes(), "test.onnx")
            .unwrap(),
        &BTreeMap::new(),
    )
    .unwrap();
    assert_eq!(cost.layers[0].output_shape, [1, 4, 1, 1]);
}

#[test]
fn stated_shapes_that_cannot_be_are_named() {
    let mut model = Builder::new([1, 4, 9, 7]);
    model
        .weight("w", &[2, 4, 1, 1])
        .node("Conv", &["x", "w"], "c", vec![])
        .node("Relu", &["c"], "r", vec![])
        .node("Flatten", &["r"], "z", vec![])
        .value_info("c", &[-1, 2, 9, 7])
        .value_info("r", &[1, 3, 9, 7])
        .value_info("r", &[1, 3, 9, 7])
        .output("z", &[126]);
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    let cost = cost_of_file(&file, &BTreeMap::new()).unwrap();
    let named: Vec<_> = cost
        .contradicted
        .iter()
        .map(|of| (of.name.as_str(), of.stated.clone(), of.inferred.clone()))
        .collect();
    let stated = |dims: &[usize]| dims.iter().copied().map(Some).collect::<Vec<_>>();
    assert_eq!(
        named,
        [("r", stated(&[1, 3, 9, 7]), vec![1, 2, 9, 7]), ("z", stated(&[126]), vec![1, 126])]
    );
    assert_eq!(cost.madds, 63 * 8);
}

fn of_shapes(model: &Builder, shapes: &[(&str, &[usize])]) -> adwp_measure::cost::Cost {
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    let shapes = shapes.iter().map(|&(name, shape)| (name.to_owned(), shape.to_vec())).collect();
    let cost = cost_of_file(&file, &shapes).unwrap();
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    cost
}

/// Multiply-adds and the node that joins images, where one does: `Err` of a run of one image.
fn images(cost: &adwp_measure::cost::Cost) -> (u64, Result<Option<&str>, ()>) {
    (cost.madds, cost.batch.as_ref().map(|batch| batch.joined_by.as_deref()).ok_or(()))
}

#[test]
fn multiply_adds_are_those_of_one_image_however_many_a_run_takes() {
    let with = |batch: i64, build: &dyn Fn(&mut Builder)| {
        let mut model = Builder::new([batch, 4, 9, 7]);
        build(&mut model);
        model
    };
    // Feature maps, sequences and detections are no scores; convolutions and products keep apart
    // what Reshape lays together.
    let maps: &dyn Fn(&mut Builder) = &|model| {
        model.weight("w", &[5, 4, 3, 3]).node("Conv", &["x", "w"], "z", vec![]);
        model.output("z", &[-1, 5, 7, 5]);
    };
    let tokens: &dyn Fn(&mut Builder) = &|model| {
        model
            .indices("rows", &[-1, 7])
            .node("Reshape", &["x", "rows"], "r", vec![])
            .weight("w", &[7, 6])
            .node("MatMul", &["r", "w"], "h", vec![])
            .weight("v", &[6, 6])
            .node("Gemm", &["h", "v"], "k", vec![int("transB", 1)])
            .indices("back", &[-1, 36, 6])
            .node("Reshape", &["k", "back"], "tokens", vec![])
            .node("Transpose", &["tokens"], "turned", vec![ints("perm", &[0, 2, 1])])
            .node("MatMul", &["tokens", "turned"], "scores", vec![])
            .node("Softmax", &["scores"], "p", vec![int("axis", -1)])
            .node("MatMul", &["p", "tokens"], "z", vec![])
            .output("z", &[-1, 36, 6]);
    };
    let heads: &dyn Fn(&mut Builder) = &|model| {
        // [batch, 4, 63] to [63, batch, 4] to [63, batch · 2, 2] to [batch · 2, 63, 2].
        model
            .indices("flat", &[0, 4, 63])
            .node("Reshape", &["x", "flat"], "f", vec![])
            .node("Transpose", &["f"], "t", vec![ints("perm", &[2, 0, 1])])
            .indices("heads", &[63, -1, 2])
            .node("Reshape", &["t", "heads"], "h", vec![])
            .node("Transpose", &["h"], "q", vec![ints("perm", &[1, 0, 2])])
            .node("Transpose", &["q"], "k", vec![ints("perm", &[0, 2, 1])])
            .node("MatMul", &["q", "k"], "z", vec![])
            .output("z", &[-1, 63, 63]);
    };
    let constants: &dyn Fn(&mut Builder) = &|model| {
        model
            .indices("size", &[1, 4, 9, 7])
            .node("ConstantOfShape", &["size"], "zeros", vec![])
            .node("CastLike", &["zeros", "x"], "alike", vec![])
            .node("Concat", &["x", "x"], "both", vec![int("axis", 2)])
            .indices("start", &[0])
            .indices("end", &[9])
            .indices("axis", &[2])
            .node("Slice", &["both", "start", "end", "axis"], "one", vec![])
            .node("Where", &["bits", "one", "alike"], "y", vec![])
            .integers("bits", DataType::Bool, &[4, 9, 7])
            .weight("v", &[7, 7])
            .node("MatMul", &["y", "v"], "z", vec![])
            .output("z", &[-1, 4, 9, 7]);
    };
    let recurrent: &dyn Fn(&mut Builder) = &|model| {
        model
            .indices("flat", &[0, 4, 63])
            .node("Reshape", &["x", "flat"], "f", vec![])
            .node("Transpose", &["f"], "steps", vec![ints("perm", &[1, 0, 2])])
            .weight("w", &[1, 15, 63])
            .weight("r", &[1, 15, 5])
            .node("GRU", &["steps", "w", "r"], "y", vec![int("hidden_size", 5)])
            .indices("one", &[1])
            .node("Squeeze", &["y", "one"], "s", vec![])
            .node("Transpose", &["s"], "z", vec![ints("perm", &[1, 0, 2])])
            .weight("o", &[5, 2])
            .node("MatMul", &["z", "o"], "o.z", vec![])
            .output("o.z", &[-1, 4, 2]);
    };
    for (name, build) in [
        ("maps", maps),
        ("tokens", tokens),
        ("heads", heads),
        ("recurrent", recurrent),
        ("constants", constants),
    ] {
        let one = of_shapes(&with(-1, build), &[]);
        assert!(one.batch.is_none() && one.madds > 0, "{name}");
        let fixed = of_shapes(&with(3, build), &[]);
        assert_eq!(images(&fixed), (one.madds, Ok(None)), "{name}, of three that the file fixes");
        let layers = |cost: &adwp_measure::cost::Cost| {
            cost.layers.iter().map(|layer| layer.madds).collect::<Vec<_>>()
        };
        assert_eq!(layers(&fixed), layers(&one), "{name}");
        let given = of_shapes(&with(-1, build), &[("x", &[5, 4, 9, 7])]);
        assert_eq!(images(&given), (one.madds, Ok(None)), "{name}, of five that are given");
        let batch = given.batch.unwrap();
        assert_eq!((batch.input.as_str(), batch.images), ("x", 5));
    }
}

#[test]
fn what_joins_several_images_is_counted_as_a_whole_run() {
    let joined = |build: &dyn Fn(&mut Builder)| {
        let mut model = Builder::new([4, 3, 8, 8]);
        build(&mut model);
        let cost = of_shapes(&model, &[]);
        (cost.madds, cost.batch.unwrap().joined_by)
    };
    let features = joined(&|model| {
        model
            .weight("w", &[2, 3, 1, 1])
            .node("Conv", &["x", "w"], "c", vec![])
            .indices("one", &[1, 512])
            .node("Reshape", &["c", "one"], "r", vec![])
            .weight("v", &[512, 10])
            .node("MatMul", &["r", "v"], "z", vec![])
            .output("z", &[1, 10]);
    });
    assert_eq!(features, (4 * 64 * 6 + 5120, Some("z (MatMul)".to_owned())));
    let means = joined(&|model| {
        model
            .node("ReduceMean", &["x"], "m", vec![ints("axes", &[0])])
            .weight("w", &[2, 3, 1, 1])
            .node("Conv", &["m", "w"], "z", vec![])
            .output("z", &[1, 2, 8, 8]);
    });
    assert_eq!(means, (64 * 6, Some("m (ReduceMean)".to_owned())));
    let steps = joined(&|model| {
        model
            .indices("flat", &[4, 1, 192])
            .node("Reshape", &["x", "flat"], "f", vec![])
            .weight("w", &[1, 5, 192])
            .weight("r", &[1, 5, 5])
            .node("RNN", &["f", "w", "r"], "z", vec![int("hidden_size", 5)])
            .output("z", &[4, 1, 1, 5]);
    });
    assert_eq!(steps, (4 * 5 * 197, Some("z (RNN)".to_owned())));
    let among = joined(&|model| {
        model
            .node("Flatten", &["x"], "f", vec![])
            .node("Gemm", &["f", "f"], "z", vec![int("transB", 1)])
            .output("z", &[4, 4]);
    });
    assert_eq!(among, (4 * 4 * 192, Some("z (Gemm)".to_owned())));
    // What comes of them afterwards is no layer.
    let scores = joined(&|model| {
        model
            .weight("w", &[2, 3, 1, 1])
            .node("Conv", &["x", "w"], "c", vec![])
            .node("ReduceMean", &["c"], "z", vec![int("keepdims", 0)])
            .output("z", &[]);
    });
    assert_eq!(scores, (64 * 6, None));
}

#[test]
fn products_without_an_image_are_named_and_not_counted() {
    for batch in [-1, 4] {
        let mut model = Builder::new([batch, 4, 9, 7]);
        model
            .weight("a", &[5, 2])
            .weight("b", &[2, 7])
            .node("MatMul", &["a", "b"], "low", vec![])
            .node("Transpose", &["low"], "w", vec![])
            .node("MatMul", &["x", "w"], "h", vec![])
            .node("Gemm", &["low", "low"], "gram", vec![int("transB", 1)])
            .node("MatMul", &["h", "gram"], "z", vec![])
            .node("Shape", &["x"], "shape", vec![int("start", 1)])
            .node("Cast", &["shape"], "sizes", vec![int("to", 1)])
            .weight("frequencies", &[3, 5])
            .node("MatMul", &["sizes", "frequencies"], "angles", vec![])
            .node("Add", &["z", "angles"], "y", vec![])
            .output("y", &[-1, 4, 9, 5]);
        let cost = of_shapes(&model, &[]);
        assert_eq!(cost.madds, 36 * (7 * 5 + 5 * 5), "batch {batch}");
        let once: Vec<_> =
            cost.once.iter().map(|of| (&of.name[..], &of.op[..], of.madds)).collect();
        let expected = [("low", "MatMul", 70), ("gram", "Gemm", 175), ("angles", "MatMul", 15)];
        assert_eq!(once, expected);
        assert_eq!(cost.params, 10 + 14 + 15);
        assert!(cost.layers.iter().all(|layer| layer.name != "low" || layer.madds == 0));
    }
}
