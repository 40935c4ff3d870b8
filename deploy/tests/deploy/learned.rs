//! What counts as a parameter, however a graph uses it, and what is stored for it.

use std::collections::BTreeMap;

use adwp_measure::{
    cost::{Cost, cost_of_file},
    onnx::OnnxFile,
};
use prost::Message;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, SparseTensorProto, TensorProto,
    attribute_proto::AttributeType, tensor_proto::DataType,
};

use crate::models::{Builder, int, ints, string};

fn counted(model: &Builder) -> Cost {
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    cost_of_file(&file, &BTreeMap::new()).unwrap()
}

/// Parameters of a convolution of `x` `[1, 4, 9, 7]` by a weight `w` that `build` computes.
fn of_weight(build: impl Fn(&mut Builder)) -> u64 {
    let mut model = Builder::new([-1, 4, 9, 7]);
    build(&mut model);
    let pads = vec![ints("pads", &[1, 1, 1, 1])];
    model.node("Conv", &["x", "w"], "z", pads).output("z", &[-1, 2, 9, 7]);
    let cost = counted(&model);
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    assert_eq!(cost.madds, 63 * 72);
    cost.params
}

#[test]
fn computed_weights_are_what_they_are_computed_from() {
    const W: [i64; 4] = [2, 4, 3, 3];
    let cut = of_weight(|model| {
        model
            .weight("large", &[2, 4, 5, 5])
            .indices("starts", &[1, 1])
            .indices("ends", &[4, 4])
            .indices("axes", &[2, 3])
            .node("Slice", &["large", "starts", "ends", "axes"], "w", vec![]);
    });
    assert_eq!(cut, 72, "of what is stored this is used");
    let joined = of_weight(|model| {
        model.weight("a", &[1, 4, 3, 3]).weight("b", &[1, 4, 3, 3]);
        model.node("Concat", &["a", "b"], "w", vec![int("axis", 0)]);
    });
    assert_eq!(joined, 72);
    let chosen = of_weight(|model| {
        model.weight("a", &W).weight("zero", &[]).integers("mask", DataType::Bool, &W);
        model.node("Where", &["mask", "a", "zero"], "w", vec![]);
    });
    assert_eq!(chosen, 72);
    let padded = of_weight(|model| {
        model.weight("a", &[2, 4, 1, 1]).indices("pads", &[0, 0, 1, 1, 0, 0, 1, 1]);
        model.node("Pad", &["a", "pads"], "w", vec![]);
    });
    assert_eq!(padded, 8, "zeros around it are not learned");
    let both = of_weight(|model| {
        model
            .weight("a", &W)
            .weight("b", &[2, 4, 1, 1])
            .indices("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
            .node("Pad", &["b", "pads"], "padded", vec![])
            .node("Add", &["a", "padded"], "w", vec![]);
    });
    assert_eq!(both, 72 + 8);
    let pruned = of_weight(|model| {
        let mask: Vec<f32> = (0..72).map(|i| f32::from(i % 3 == 0)).collect();
        model.weight("a", &W).floats("mask", &W, &mask);
        model.node("Mul", &["a", "mask"], "w", vec![]);
    });
    assert_eq!(pruned, 72, "a mask of zeros and ones is not learned");
    let normed = of_weight(|model| {
        model
            .weight("v", &W)
            .weight("g", &[2, 1, 1, 1])
            .node("ReduceL2", &["v"], "norm", vec![ints("axes", &[1, 2, 3])])
            .node("Div", &["v", "norm"], "direction", vec![])
            .node("Mul", &["direction", "g"], "w", vec![]);
    });
    assert_eq!(normed, 72 + 2);
    let of_both = of_weight(|model| {
        model
            .weight("a", &[2, 2, 3, 3])
            .weight("b", &[2, 3, 3, 3])
            .node("Concat", &["a", "b"], "joined", vec![int("axis", 1)])
            .indices("starts", &[1])
            .indices("ends", &[5])
            .indices("axes", &[1])
            .node("Slice", &["joined", "starts", "ends", "axes"], "w", vec![]);
    });
    assert_eq!(of_both, 72, "a part of each");
    let signs = of_weight(|model| {
        model.weight("a", &W).node("Sign", &["a"], "w", vec![]);
    });
    assert_eq!(signs, 72);
    let clipped = of_weight(|model| {
        model.weight("a", &W).floats("low", &[], &[-1.0]).floats("high", &[], &[1.0]);
        model.node("Clip", &["a", "low", "high"], "w", vec![]);
    });
    assert_eq!(clipped, 72);
}

#[test]
fn every_operator_passes_on_what_it_computes_a_weight_from() {
    const W: [i64; 4] = [2, 4, 3, 3];
    for op in ["LeakyRelu", "Elu", "Selu", "Celu", "Sin", "Gelu", "HardSwish", "Mish", "Hardmax"] {
        let one = of_weight(|model| {
            model.weight("a", &W).node(op, &["a"], "w", vec![]);
        });
        assert_eq!(one, 72, "{op}");
    }
    let summed = of_weight(|model| {
        model.weight("a", &W).indices("axis", &[1]).node("CumSum", &["a", "axis"], "w", vec![]);
    });
    assert_eq!(summed, 72);
    for (scale, expected) in [(None, 72 + 2 + 2), (Some([[1.0; 2], [0.0; 2]]), 72)] {
        let normed = of_weight(|model| {
            model
                .weight("a", &W)
                .indices("flat", &[1, 2, 36])
                .indices("shape", &W)
                .node("Reshape", &["a", "flat"], "rows", vec![])
                .weight("mean", &[2])
                .weight("variance", &[2]);
            match scale {
                Some([ones, zeros]) => {
                    model.floats("scale", &[2], &ones).floats("bias", &[2], &zeros)
                }
                None => model.weight("scale", &[2]).weight("bias", &[2]),
            };
            let inputs = ["rows", "scale", "bias", "mean", "variance"];
            model.node("BatchNormalization", &inputs, "normed", vec![]);
            model.node("Reshape", &["normed", "shape"], "w", vec![]);
        });
        assert_eq!(normed, expected, "running statistics, ones and zeros are not learned");
    }
    for (op, inputs, expected) in [
        ("LayerNormalization", &["a", "three"][..], 72 + 3),
        ("InstanceNormalization", &["a", "four", "four'"], 72 + 8),
    ] {
        let normed = of_weight(|model| {
            model.weight("a", &W).weight("three", &[3]).weight("four", &[4]).weight("four'", &[4]);
            model.node(op, inputs, "w", vec![]);
        });
        assert_eq!(normed, expected, "{op}");
    }
    let placed = of_weight(|model| {
        model
            .indices("shape", &W)
            .node("ConstantOfShape", &["shape"], "zeros", vec![])
            .indices("places", &[0, 1, 2, 3])
            .weight("a", &[4])
            .node("ScatterElements", &["zeros", "places", "a"], "w", vec![]);
    });
    assert_eq!(placed, 4, "zeros below what is scattered are not learned");
    let replaced = of_weight(|model| {
        model.weight("a", &W).indices("places", &[0]).weight("b", &[1, 4, 3, 3]).node(
            "ScatterND",
            &["a", "places", "b"],
            "w",
            vec![],
        );
    });
    assert_eq!(replaced, 36 + 36, "what is written over is not used");
    // Products of constants are multiply-adds too.
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .weight("a", &W)
        .weight("b", &[4, 4, 1, 1])
        .node("Conv", &["a", "b"], "w", vec![])
        .node("Conv", &["x", "w"], "z", vec![])
        .output("z", &[-1, 2, 7, 5]);
    assert_eq!(counted(&model).params, 72 + 16);
}

/// Parameters of the product of `x` `[1, 4]` by every tensor of `weights` `[4, _]`.
fn of_products(weights: &[&str], build: impl Fn(&mut Builder)) -> u64 {
    let mut model = Builder::new([-1, 4, 1, 1]);
    build(&mut model);
    model.node("Flatten", &["x"], "flat", vec![]);
    for weight in weights {
        model.node("MatMul", &["flat", weight], &format!("{weight}.z"), vec![]);
        model.output(&format!("{weight}.z"), &[-1, -1]);
    }
    let cost = counted(&model);
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    cost.params
}

/// Columns of a tensor.
fn columns(model: &mut Builder, of: &str, from: i64, to: i64, name: &str) {
    let [starts, ends, axes] = ["starts", "ends", "axes"].map(|what| format!("{name}.{what}"));
    model.indices(&starts, &[from]).indices(&ends, &[to]).indices(&axes, &[1]);
    model.node("Slice", &[of, &starts, &ends, &axes], name, vec![]);
}

#[test]
fn no_element_is_counted_twice_however_it_is_cut_out() {
    let equal = of_products(&["a", "b"], |model| {
        model.weight("w", &[4, 2000]);
        columns(model, "w", 10, 1500, "a");
        columns(model, "w", 10, 1500, "b");
    });
    assert_eq!(equal, 4 * 1490);
    let overlapping = of_products(&["a", "b", "c"], |model| {
        model.weight("w", &[4, 20]).node("Cast", &["w"], "cast", vec![int("to", 1)]);
        columns(model, "w", 0, 5, "a");
        columns(model, "cast", 3, 8, "wide");
        columns(model, "wide", 1, 5, "b");
        columns(model, "w", -2, 20, "c");
    });
    assert_eq!(overlapping, 4 * (8 + 2));
    let turned = of_products(&["a", "b"], |model| {
        model.weight("w", &[20, 4]).node("Transpose", &["w"], "t", vec![]);
        columns(model, "t", 0, 5, "a");
        columns(model, "t", 0, 5, "b");
    });
    assert_eq!(turned, 4 * 5);
    let and_whole = of_products(&["a", "w", "b"], |model| {
        model.weight("w", &[4, 20]);
        columns(model, "w", 0, 5, "a");
        columns(model, "w", 7, 9, "b");
    });
    assert_eq!(and_whole, 4 * 20);
    let gathered = of_products(&["a", "b"], |model| {
        model
            .weight("w", &[4, 20])
            .indices("few", &[3, 1, 3, 1])
            .indices("others", &[-17, 19])
            .node("Gather", &["w", "few"], "a", vec![int("axis", 1)])
            .node("Gather", &["w", "others"], "b", vec![int("axis", 1)]);
    });
    assert_eq!(gathered, 4 * 3, "columns 1, 3 and 19");
}

#[test]
fn what_is_remembered_of_cuts_is_bounded() {
    let mut model = Builder::new([1, 1, 1, 1000]);
    model.weight("large", &[1 << 20]).indices("few", &(0..1000).collect::<Vec<_>>());
    // Lists of 80 MB together.
    for i in 0..20_000 {
        let (cut, z) = (format!("cut{i}"), format!("z{i}"));
        model.node("Gather", &["large", "few"], &cut, vec![]);
        model.node("MatMul", &["x", &cut], &z, vec![]);
    }
    model.output("z0", &[1, 1, 1]);
    assert!((1000..=2000).contains(&counted(&model).params));
}

#[test]
fn a_weight_is_what_any_operator_computes_it_from() {
    const W: [i64; 4] = [2, 4, 3, 3];
    let standardised = of_weight(|model| {
        model
            .weight("a", &[1, 2, 36])
            .weight("gain", &[2])
            .weight("zero", &[2])
            .weight("mean", &[2])
            .weight("variance", &[2])
            .node("BatchNormalization", &["a", "gain", "zero", "mean", "variance"], "n", vec![])
            .indices("shape", &W)
            .node("Reshape", &["n", "shape"], "w", vec![]);
    });
    assert_eq!(standardised, 72 + 2 + 2, "statistics are not learned");
    let waves = of_weight(|model| {
        model.weight("a", &W).node("Sin", &["a"], "w", vec![]);
    });
    assert_eq!(waves, 72);
    let placed = of_weight(|model| {
        model
            .weight("a", &W)
            .weight("b", &[1, 4, 3, 3])
            .indices("place", &[1])
            .indices("square", &[1, 1])
            .node("Reshape", &["place", "square"], "places", vec![])
            .node("ScatterND", &["a", "places", "b"], "w", vec![]);
    });
    assert_eq!(placed, 72, "one half is written over");
    let turned = of_weight(|model| {
        let equation = vec![string("equation", "hwio->oihw")];
        model.weight("a", &[3, 3, 4, 2]).node("Einsum", &["a"], "w", equation);
    });
    assert_eq!(turned, 72);
}

#[test]
fn masks_are_masks_in_any_type_and_shape() {
    const W: [i64; 4] = [2, 4, 3, 3];
    let cast = of_weight(|model| {
        let mask: Vec<f32> = (0..72).map(|i| f32::from(i % 3 == 0)).collect();
        model
            .weight("a", &W)
            .floats("mask", &[72], &mask)
            .node("Cast", &["mask"], "same", vec![int("to", DataType::Float as i64)])
            .indices("shape", &W)
            .node("Reshape", &["same", "shape"], "shaped", vec![])
            .node("Mul", &["shaped", "a"], "w", vec![]);
    });
    assert_eq!(cast, 72);
    let boolean = of_weight(|model| {
        model
            .weight("a", &W)
            .integers("mask", DataType::Bool, &W)
            .node("Cast", &["mask"], "real", vec![int("to", DataType::Float as i64)])
            .node("Mul", &["a", "real"], "w", vec![]);
    });
    assert_eq!(boolean, 72);
    let half = of_weight(|model| {
        model.weight("a", &W).integers("mask", DataType::Float16, &W);
        // A half of 1 is 0x3C00.
        let mask = model.graph().initializer.iter_mut().find(|of| of.name == "mask").unwrap();
        mask.raw_data = [0x3C00_u16, 0].map(u16::to_le_bytes).concat().repeat(36);
        model.node("Cast", &["mask"], "real", vec![int("to", DataType::Float as i64)]).node(
            "Mul",
            &["a", "real"],
            "w",
            vec![],
        );
    });
    assert_eq!(half, 72);
}

#[test]
fn what_slices_share_is_counted_once() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model.weight("shared", &[8, 8, 1, 1]);
    let mut cut = |name: &str, start: i64, end: i64| {
        let of = |what: &str| format!("{name} {what}");
        model
            .indices(&of("starts"), &[start, 0])
            .indices(&of("ends"), &[end, 4])
            .indices(&of("axes"), &[0, 1])
            .node("Slice", &["shared", &of("starts"), &of("ends"), &of("axes")], name, vec![]);
    };
    cut("first", 0, 4);
    cut("second", 2, 6);
    let model = model
        .node("Conv", &["x", "first"], "y", vec![])
        .node("Conv", &["y", "second"], "z", vec![])
        .output("z", &[-1, 4, 9, 7]);
    let cost = counted(model);
    assert_eq!(cost.params, 6 * 4, "rows 0 to 5");
    assert_eq!(cost.layers.iter().map(|layer| layer.params).max(), Some(16));
}

#[test]
fn tables_cut_by_the_shape_of_an_input_are_learned() {
    let mut model = Builder::new([1, 4, 9, 7]);
    let model = model
        .weight("positions", &[1, 1, 40, 7])
        .indices("rows", &[2])
        .indices("none", &[0])
        .node("Shape", &["x"], "shape", vec![])
        .node("Gather", &["shape", "rows"], "count", vec![])
        .node("Slice", &["positions", "none", "count", "rows"], "used", vec![])
        .node("Add", &["x", "used"], "y", vec![])
        .output("y", &[1, 4, 9, 7]);
    assert_eq!(counted(model).params, 9 * 7);
}

#[test]
fn tables_in_8_bits_are_learned_and_rows_that_constants_choose_count_alone() {
    let mut model = Builder::new([1, 4, 9, 7]);
    let model = model
        .integers("table", DataType::Int8, &[40, 7])
        .weight("scale", &[])
        .node("ArgMax", &["x"], "places", vec![int("axis", 3), int("keepdims", 0)])
        .node("Gather", &["table", "places"], "rows", vec![])
        .node("DequantizeLinear", &["rows", "scale"], "found", vec![])
        .weight("others", &[30, 7])
        .indices("chosen", &[3, 5, 3, 5, 3, 5, 3, 5, -25])
        .node("Gather", &["others", "chosen"], "some", vec![])
        .node("Add", &["found", "some"], "y", vec![])
        .output("y", &[1, 4, 9, 7]);
    assert_eq!(counted(model).params, 40 * 7 + 2 * 7);
}

#[test]
fn parts_that_cannot_be_told_from_each_other_are_named() {
    let mut model = Builder::new([-1, 4, 1, 1]);
    model.weight("w", &[20, 4]).node("Transpose", &["w"], "t", vec![]);
    columns(&mut model, "t", 0, 5, "a");
    columns(&mut model, "t", 3, 8, "b");
    let model = model
        .node("Flatten", &["x"], "flat", vec![])
        .node("MatMul", &["flat", "a"], "y", vec![])
        .node("MatMul", &["flat", "b"], "z", vec![])
        .output("y", &[-1, 5])
        .output("z", &[-1, 5]);
    let cost = counted(model);
    let named: Vec<_> = cost.taken_apart.iter().map(|of| (of.name.as_str(), of.elements)).collect();
    assert_eq!((cost.params, &named[..]), (4 * 10, &[("w", 80)][..]), "8 columns are read");
}

#[test]
fn of_a_product_of_stored_matrices_all_is_learned_whatever_is_read_of_it() {
    let mut model = Builder::new([1, 4, 9, 7]);
    let model = model
        .weight("a", &[30, 4])
        .weight("b", &[4, 7])
        .node("MatMul", &["a", "b"], "table", vec![])
        .indices("chosen", &[3, 5, 3, 5, 3, 5, 3, 5, 8])
        .node("Gather", &["table", "chosen"], "rows", vec![])
        .node("Add", &["x", "rows"], "y", vec![])
        .output("y", &[1, 4, 9, 7]);
    assert_eq!(counted(model).params, 30 * 4 + 4 * 7);
}

#[test]
fn weights_next_to_what_is_not_known_are_not_passed_over() {
    let mut model = Builder::new([1, 4, 9, 7]);
    let model = model
        .weight("bias", &[7])
        .node("Det", &["x"], "mystery", vec![])
        .node("Add", &["mystery", "bias"], "y", vec![])
        .output("y", &[1, 4, 9, 7]);
    let cost = counted(model);
    let named: Vec<&str> = cost.unknown.iter().map(|node| node.name.as_str()).collect();
    assert_eq!((cost.params, &named[..]), (0, &["mystery", "y"][..]));
}

#[test]
fn parts_of_a_tensor_are_counted_once_each() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model.weight("both", &[4, 4, 1, 1]).indices("sizes", &[2, 2]).node(
        "Split",
        &["both", "sizes"],
        "first",
        vec![int("axis", 0)],
    );
    model.graph().node[0].output.push("second".into());
    model
        .node("Conv", &["x", "first"], "a", vec![])
        .node("Conv", &["x", "second"], "b", vec![])
        .node("Conv", &["x", "first"], "c", vec![])
        .node("Conv", &["x", "both"], "d", vec![])
        .node("Concat", &["a", "b", "c", "d"], "z", vec![int("axis", 1)])
        .output("z", &[-1, 10, 9, 7]);
    let cost = counted(&model);
    assert_eq!((cost.params, cost.madds), (16, 63 * (8 + 8 + 8 + 16)));
}

#[test]
fn tables_tokens_and_positions_are_learned() {
    let mut model = Builder::new([1, 4, 9, 7]);
    model
        .indices("shape", &[1, 4, 63])
        .node("Reshape", &["x", "shape"], "flat", vec![])
        .node("Transpose", &["flat"], "tokens", vec![ints("perm", &[0, 2, 1])])
        .weight("class", &[1, 1, 4])
        .node("Concat", &["class", "tokens"], "all", vec![int("axis", 1)])
        .weight("positions", &[1, 64, 4])
        .node("Add", &["all", "positions"], "placed", vec![])
        .node("ArgMax", &["placed"], "ids", vec![int("axis", 2), int("keepdims", 0)])
        .weight("table", &[100, 8])
        .node("Gather", &["table", "ids"], "z", vec![])
        .output("z", &[1, 64, 8]);
    let cost = counted(&model);
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    assert_eq!(cost.params, 4 + 256 + 800);
}

#[test]
fn tables_and_weights_of_integers_are_learned_and_their_scales_are_not() {
    let by_hand = |bytes: DataType| {
        of_weight(|model| {
            model
                .integers("a", bytes, &[2, 4, 3, 3])
                .integers("zero", bytes, &[2, 1, 1, 1])
                .weight("scale", &[2, 1, 1, 1])
                .weight("gain", &[2, 1, 1, 1])
                .node("Cast", &["a"], "wide", vec![int("to", 1)])
                .node("Cast", &["zero"], "zero.wide", vec![int("to", 1)])
                .node("Sub", &["wide", "zero.wide"], "centred", vec![])
                .node("Mul", &["centred", "scale"], "scaled", vec![])
                .node("Mul", &["scaled", "gain"], "w", vec![]);
        })
    };
    assert_eq!(by_hand(DataType::Int8), 72 + 2, "the gain comes after the scale");
    assert_eq!(by_hand(DataType::Uint8), 72 + 2);
    let pruned = of_weight(|model| {
        let mask: Vec<u8> = (0..72).map(|i| u8::from(i % 3 == 0)).collect();
        model.weight("a", &[2, 4, 3, 3]).integers("mask", DataType::Uint8, &[2, 4, 3, 3]);
        model.graph().initializer[1].raw_data = mask;
        model.node("Cast", &["mask"], "bits", vec![int("to", 1)]);
        model.node("Mul", &["a", "bits"], "w", vec![]);
    });
    assert_eq!(pruned, 72, "a mask of bytes is no weight that `a` would scale");

    let table = |build: &dyn Fn(&mut Builder)| {
        let mut model = Builder::new([1, 4, 9, 7]);
        let keep = vec![int("axis", 1), int("keepdims", 0)];
        model.node("ArgMax", &["x"], "ids", keep).integers("table", DataType::Int8, &[100, 8]);
        model.node("Gather", &["table", "ids"], "rows", vec![]);
        build(&mut model);
        model.output("z", &[1, 9, 7, 8]);
        let cost = counted(&model);
        assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
        (cost.params, cost.left_out.into_iter().map(|of| of.name).collect::<Vec<_>>())
    };
    let (params, left_out) = table(&|model| {
        model.weight("scale", &[]).integers("zero", DataType::Int8, &[]);
        model.node("DequantizeLinear", &["rows", "scale", "zero"], "z", vec![]);
    });
    assert_eq!((params, left_out.len()), (800, 0));
    let (params, left_out) = table(&|model| {
        model
            .weight("scale", &[8])
            .weight("zero", &[8])
            .indices("shape", &[1, 63, 8])
            .indices("back", &[1, 9, 7, 8])
            .node("Reshape", &["rows", "shape"], "list", vec![])
            .node("Cast", &["list"], "wide", vec![int("to", 1)])
            .node("Reshape", &["wide", "back"], "same", vec![])
            .node("Sub", &["same", "zero"], "centred", vec![])
            .node("Mul", &["centred", "scale"], "z", vec![]);
    });
    assert_eq!((params, left_out), (800, vec!["zero".to_owned(), "scale".to_owned()]));
    // What stays a number of a place is none that was learned.
    let (params, _) = table(&|model| {
        model.node("Cast", &["rows"], "z", vec![int("to", DataType::Int64 as i64)]);
    });
    assert_eq!(params, 0);
}

#[test]
fn constants_of_preprocessing_and_scales_are_not_learned() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model
        .floats("mean", &[1, 4, 1, 1], &[0.4; 4])
        .floats("deviation", &[1, 4, 1, 1], &[0.2; 4])
        .node("Sub", &["x", "mean"], "centred", vec![])
        .node("Div", &["centred", "deviation"], "prepared", vec![])
        .weight("w", &[3, 4, 1, 1])
        .node("Conv", &["prepared", "w"], "c", vec![])
        // Here the same operators are part of the network.
        .weight("centre", &[3, 1, 1])
        .node("Sub", &["c", "centre"], "z", vec![])
        .output("z", &[-1, 3, 9, 7]);
    let cost = counted(&model);
    assert_eq!(cost.params, 12 + 3);
    let left_out: Vec<_> = cost.left_out.iter().map(|of| (&of.name[..], &of.reason[..])).collect();
    let pixels = "it prepares pixels";
    assert_eq!(left_out, [("mean", pixels), ("deviation", pixels)]);

    let mut model = Builder::new([-1, 4, 9, 7]);
    model.node("Flatten", &["x"], "flat", vec![]).node(
        "DynamicQuantizeLinear",
        &["flat"],
        "q",
        vec![],
    );
    model.graph().node[1].output = ["q", "q_scale", "q_zero"].map(str::to_owned).to_vec();
    model
        .weight("w_scale", &[10])
        .integers("w", DataType::Int8, &[252, 10])
        .integers("w_zero", DataType::Int8, &[10])
        .node("Mul", &["q_scale", "w_scale"], "scale", vec![])
        .node("MatMulInteger", &["q", "w", "q_zero", "w_zero"], "sums", vec![])
        .node("Cast", &["sums"], "floats", vec![int("to", 1)])
        .node("Mul", &["floats", "scale"], "scaled", vec![])
        .weight("bias", &[10])
        .node("Add", &["scaled", "bias"], "z", vec![])
        .output("z", &[-1, 10]);
    let cost = counted(&model);
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    assert_eq!(cost.params, 2520 + 10);
    assert_eq!(cost.left_out[0].name, "w_scale");
}

fn attribute(name: &str) -> AttributeProto {
    AttributeProto { name: name.into(), ..Default::default() }
}

/// A model whose output is its input, of `nodes` that nothing reads.
fn passive(nodes: Vec<NodeProto>) -> Builder {
    let mut model = Builder::new([-1, 4, 9, 7]);
    model.graph().node = nodes;
    model.node("Relu", &["x"], "z", vec![]).output("z", &[-1, 4, 9, 7]);
    model
}

fn constant(attribute: AttributeProto) -> NodeProto {
    NodeProto {
        op_type: "Constant".into(),
        output: vec!["c".into()],
        attribute: vec![attribute],
        ..Default::default()
    }
}

#[test]
fn constants_take_the_bytes_of_their_lists() {
    let floats = |values: &[f32]| AttributeProto {
        floats: values.to_vec(),
        r#type: AttributeType::Floats as i32,
        ..attribute("value_floats")
    };
    let texts = AttributeProto {
        strings: vec![b"ab".to_vec(), vec![0xff; 3]],
        ..attribute("value_strings")
    };
    for (of, bytes) in [
        (floats(&[1.0, 2.0, 3.0]), 12),
        (AttributeProto { ints: vec![7; 2], ..attribute("value_ints") }, 16),
        (AttributeProto { f: 1.0, ..attribute("value_float") }, 4),
        (AttributeProto { i: 1, ..attribute("value_int") }, 8),
        (AttributeProto { s: b"text".to_vec(), ..attribute("value_string") }, 4),
        (texts, 5),
    ] {
        let name = of.name.clone();
        assert_eq!(counted(&passive(vec![constant(of)])).weight_bytes, bytes, "{name}");
    }
}

#[test]
fn every_element_type_has_its_bits() {
    // The standard's numbers from 1 on; 8 is text.
    let bits = [
        32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 64, 128, 16, 8, 8, 8, 8, 4, 4, 4, 8, 2, 2,
        6, 6,
    ];
    for (kind, bits) in (1..).zip(bits) {
        if bits == 0 {
            continue;
        }
        let mut model = passive(Vec::new());
        let tensor = TensorProto {
            name: "w".into(),
            dims: vec![3, 5],
            data_type: kind,
            raw_data: vec![1; (15 * bits as usize).div_ceil(8)],
            ..Default::default()
        };
        model.graph().initializer.push(tensor);
        assert_eq!(counted(&model).weight_bytes, (15 * bits as u64).div_ceil(8), "type {kind}");
    }
    let mut model = passive(Vec::new());
    let tensor =
        TensorProto { name: "w".into(), dims: vec![1], data_type: 99, ..Default::default() };
    model.graph().initializer.push(tensor);
    let error = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap_err().to_string();
    assert!(error.contains("unknown data type 99"), "{error}");
}

#[test]
fn what_is_stored_inside_of_nodes_functions_and_sparse_tensors_has_bytes() {
    let tensor = |name: &str, len: usize| TensorProto {
        name: name.into(),
        dims: vec![len as i64],
        data_type: DataType::Float as i32,
        float_data: vec![1.0; len],
        ..Default::default()
    };
    let branch = AttributeProto {
        g: Some(GraphProto { initializer: vec![tensor("inner", 5)], ..Default::default() }),
        ..attribute("then_branch")
    };
    let node = NodeProto { op_type: "If".into(), attribute: vec![branch], ..Default::default() };
    assert_eq!(counted(&passive(vec![node])).weight_bytes, 20);

    let value = AttributeProto { t: Some(tensor("", 6)), ..attribute("value") };
    let mut model = passive(Vec::new());
    model.model.functions.push(FunctionProto {
        name: Some("f".into()),
        node: vec![constant(value)],
        ..Default::default()
    });
    assert_eq!(counted(&model).weight_bytes, 24);

    let places = TensorProto {
        dims: vec![3],
        data_type: DataType::Int64 as i32,
        int64_data: vec![1, 20, 70],
        ..Default::default()
    };
    let sparse = SparseTensorProto {
        values: Some(tensor("w", 3)),
        indices: Some(places),
        dims: vec![2, 4, 3, 3],
    };
    let mut model = Builder::new([-1, 4, 9, 7]);
    model.graph().sparse_initializer.push(sparse);
    model.node("Conv", &["x", "w"], "z", vec![]).output("z", &[-1, 2, 7, 5]);
    let cost = counted(&model);
    assert_eq!((cost.params, cost.madds, cost.weight_bytes), (3, 35 * 72, 12 + 24));
}

#[test]
fn an_open_dimension_is_the_batch_only_by_its_name() {
    let mut model = Builder::new([-1, 4, 9, 7]);
    let declared = |model: &mut Builder, name: &str| {
        let value = Builder::new([-1, 4, 9, 7]).graph().input[0].clone();
        let mut value = tract_onnx::pb::ValueInfoProto { name: "mystery".into(), ..value };
        let text = value.encode_to_vec();
        let renamed: Vec<u8> = if name == "batch" {
            text
        } else {
            // A name of the same length, so that no length changes.
            String::from_utf8_lossy(&text).replace("batch", name).into_bytes()
        };
        value = tract_onnx::pb::ValueInfoProto::decode(&renamed[..]).unwrap();
        model.graph().value_info = vec![value];
    };
    model
        .node("Det", &["x"], "mystery", vec![])
        .weight("w", &[2, 4, 1, 1])
        .node("Conv", &["mystery", "w"], "z", vec![])
        .output("z", &[-1, 2, 9, 7]);
    declared(&mut model, "batch");
    assert_eq!(counted(&model).madds, 63 * 8);
    declared(&mut model, "rows0");
    let cost = counted(&model);
    assert_eq!(cost.madds, 0);
    assert!(cost.unknown.iter().any(|node| node.op == "Conv"), "{:?}", cost.unknown);
}

/// What computes a weight.
type Build<'a> = &'a dyn Fn(&mut Builder);

/// The names in a list of arrays.
fn names(of: &[adwp_measure::cost::LeftOut]) -> Vec<&str> {
    of.iter().map(|of| of.name.as_str()).collect()
}

/// What is counted where a tensor `m` `[7, 7]` that `build` makes meets the scores `x`
/// `[1, 4, 7, 7]` in `op`: params, what is left out and what is doubtful.
fn of_scores(
    op: &str,
    inputs: &[&str],
    build: impl Fn(&mut Builder),
) -> (u64, Vec<String>, Vec<String>) {
    let mut model = Builder::new([1, 4, 7, 7]);
    build(&mut model);
    let attributes = if op == "Concat" { vec![int("axis", 2)] } else { vec![] };
    let model = model.node("Relu", &["x"], "scores", vec![]);
    let cost = counted(model.node(op, inputs, "y", attributes).output("y", &[1, 4, -1, 7]));
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    (cost.params, owned(names(&cost.left_out)), owned(names(&cost.doubtful)))
}

#[test]
fn masks_of_scores_are_not_learned_and_are_named() {
    let triangle = |above: f32, below: f32| -> Vec<f32> {
        (0..49).map(|i| if i % 7 > i / 7 { above } else { below }).collect()
    };
    let m = ["scores", "m"];
    let named = (0, vec!["m".to_owned()], vec![]);
    for forbidden in [f32::NEG_INFINITY, f32::MIN, -1e9, -1e4, -100.0] {
        let stored = of_scores("Add", &m, |model| {
            model.floats("m", &[7, 7], &triangle(forbidden, 0.0));
        });
        assert_eq!(stored, named, "{forbidden}");
    }
    let subtracted = of_scores("Sub", &m, |model| {
        model.floats("m", &[7, 7], &triangle(1e9, 0.0));
    });
    assert_eq!(subtracted, named);
    // Kept bits, as truth values or bytes, and made large where they are 0.
    for kind in [DataType::Bool, DataType::Uint8, DataType::Int8] {
        let made = of_scores("Add", &m, |model| {
            model.integers("bits", kind, &[7, 7]);
            model.graph().initializer[0].raw_data =
                triangle(0.0, 1.0).iter().map(|&of| of as u8).collect();
            model
                .node("Cast", &["bits"], "real", vec![int("to", 1)])
                .floats("one", &[], &[1.0])
                .node("Sub", &["one", "real"], "others", vec![])
                .floats("large", &[], &[-1e9])
                .node("Mul", &["others", "large"], "m", vec![]);
        });
        assert_eq!(made, (0, vec!["m".to_owned()], vec![]), "{kind:?}");
    }
    let half = of_scores("Add", &m, |model| {
        model.integers("half", DataType::Float16, &[7, 7]);
        // A half of minus infinity is 0xFC00.
        let values =
            triangle(1.0, 0.0).into_iter().flat_map(|of| [0, if of > 0.0 { 0xFC } else { 0 }]);
        model.graph().initializer[0].raw_data = values.collect();
        model.node("Cast", &["half"], "m", vec![int("to", 1)]);
    });
    assert_eq!(half, named);
    let of_shape = of_scores("Add", &m, |model| {
        model.indices("size", &[7, 7]).node("ConstantOfShape", &["size"], "zeros", vec![]);
        model.floats("low", &[], &[-1e9]).node("Add", &["zeros", "low"], "all", vec![]);
        model.indices("diagonal", &[1]).node("Trilu", &["all", "diagonal"], "m", vec![]);
    });
    assert_eq!(of_shape, named);
    let chosen = of_scores("Add", &m, |model| {
        model
            .integers("bits", DataType::Bool, &[7, 7])
            .floats("zeros", &[7, 7], &[0.0; 49])
            .floats("low", &[], &[f32::NEG_INFINITY])
            .node("Where", &["bits", "zeros", "low"], "m", vec![]);
    });
    assert_eq!(chosen, named);
    // Of those of all heads or positions the run takes some.
    let gathered = of_scores("Add", &["scores", "rows"], |model| {
        model
            .floats("m", &[7, 7], &triangle(-1e9, 0.0))
            .node("ArgMax", &["x"], "places", vec![int("axis", 3), int("keepdims", 0)])
            .node("Gather", &["m", "places"], "rows", vec![]);
    });
    assert_eq!(gathered, named);
    let multiplied = of_scores("Mul", &m, |model| {
        model.floats("m", &[7, 7], &triangle(0.0, 1.0));
    });
    assert_eq!(multiplied, named);
    // What only resembles one is counted, and named where weights are hardly so.
    for (op, above, below, is_doubtful) in [
        ("Add", -1e9, 1.0, true),
        ("Add", -99.0, 0.0, true),
        ("Add", -30.0, 0.0, true),
        ("Add", -10.0, 0.0, true),
        ("Sub", 10.0, 0.0, true),
        ("Add", 1e9, 0.0, true),
        ("Add", -1.0, 0.0, false),
        ("Add", 1.0, 0.0, false),
        ("Mul", 1.0, 1.0, false),
    ] {
        let learned = of_scores(op, &m, |model| {
            model.floats("m", &[7, 7], &triangle(above, below));
        });
        let doubtful = if is_doubtful { vec!["m".to_owned()] } else { vec![] };
        assert_eq!(learned, (49, vec![], doubtful), "{op} {above} {below}");
    }
}

#[test]
fn of_what_is_repeated_one_number_is_stored() {
    for op in ["Add", "Mul", "Concat", "MatMul"] {
        let (params, left_out, doubtful) = of_scores(op, &["scores", "same"], |model| {
            model
                .indices("size", &[1, 4, 7, 7])
                .node("ConstantOfShape", &["size"], "zeros", vec![])
                .node("Neg", &["zeros"], "same", vec![]);
        });
        assert_eq!((params, left_out, doubtful), (0, vec!["zeros".to_owned()], vec![]), "{op}");
    }
    let mut model = Builder::new([1, 4, 9, 7]);
    model
        .indices("size", &[4])
        .node("ConstantOfShape", &["size"], "scale", vec![])
        .weight("bias", &[4])
        .weight("mean", &[4])
        .weight("variance", &[4])
        .node("BatchNormalization", &["x", "scale", "bias", "mean", "variance"], "z", vec![])
        .output("z", &[1, 4, 9, 7]);
    let cost = counted(&model);
    assert_eq!((cost.params, names(&cost.left_out)), (4, vec!["scale"]));
}

#[test]
fn fills_and_paddings_of_one_value_are_doubtful() {
    let named = |params: u64| (params, vec![], vec!["m".to_owned()]);
    for op in ["Max", "Min", "Concat"] {
        let filled = of_scores(op, &["scores", "m"], |model| {
            model.floats("m", &[1, 4, 7, 7], &[0.0; 196]);
        });
        assert_eq!(filled, named(196), "{op}");
    }
    let bias = of_scores("Add", &["scores", "m"], |model| {
        model.floats("m", &[7], &[0.0; 7]);
    });
    assert_eq!(bias, (7, vec![], vec![]), "a bias before training");
}

#[test]
fn what_prunes_a_weight_is_named_and_what_scales_it_is_learned() {
    const W: [i64; 4] = [2, 4, 3, 3];
    let of = |build: Build<'_>| {
        let mut model = Builder::new([-1, 4, 9, 7]);
        build(&mut model);
        model.node("Conv", &["x", "w"], "z", vec![]).output("z", &[-1, 2, 7, 5]);
        let cost = counted(&model);
        let owned = |names: Vec<&str>| names.join(" ");
        (cost.params, owned(names(&cost.left_out)), owned(names(&cost.doubtful)))
    };
    let named =
        |params, left_out: &str, doubtful: &str| (params, left_out.to_owned(), doubtful.to_owned());
    let bits = |len: usize| (0..len).map(|i| f32::from(i % 3 == 0)).collect::<Vec<_>>();
    let pruned = of(&|model| {
        model.weight("a", &W).floats("mask", &W, &bits(72)).node(
            "Mul",
            &["mask", "a"],
            "w",
            vec![],
        );
    });
    assert_eq!(pruned, named(72, "mask", ""));
    let rows = of(&|model| {
        model.weight("a", &W).floats("mask", &[2, 1, 1, 1], &[0.0, 1.0]);
        model.node("Mul", &["a", "mask"], "w", vec![]);
    });
    assert_eq!(rows, named(72, "mask", ""), "of filters");
    let binary = of(&|model| {
        model.floats("bits", &W, &bits(72)).weight("scale", &[2, 1, 1, 1]);
        model.node("Mul", &["bits", "scale"], "w", vec![]);
    });
    assert_eq!(binary, named(72 + 2, "", "bits"));
    let gains: [(&str, Build<'_>); 3] = [
        ("weight norm", &|model| {
            model.weight("v", &W).floats("g", &[2, 1, 1, 1], &[1.0; 2]);
            model.node("ReduceL2", &["v"], "norm", vec![ints("axes", &[1, 2, 3])]);
            model.node("Div", &["v", "norm"], "unit", vec![]);
            model.node("Mul", &["g", "unit"], "w", vec![]);
        }),
        ("signs", &|model| {
            model.weight("v", &W).floats("g", &[2, 1, 1, 1], &[1.0; 2]);
            model.node("Sign", &["v"], "signs", vec![]);
            model.node("Mul", &["signs", "g"], "w", vec![]);
        }),
        ("zeros", &|model| {
            model.weight("v", &W).floats("g", &[2, 1, 1, 1], &[0.0; 2]);
            model.node("Mul", &["v", "g"], "w", vec![]);
        }),
    ];
    for (name, gain) in gains {
        assert_eq!(of(gain), named(72 + 2, "", "g"), "{name}");
    }
    let standardised = |scale: [f32; 2], bias: [f32; 2]| {
        of(&|model| {
            model
                .weight("v", &W)
                .indices("flat", &[1, 2, 36])
                .node("Reshape", &["v", "flat"], "rows", vec![])
                .floats("scale", &[2], &scale)
                .floats("bias", &[2], &bias)
                .node("InstanceNormalization", &["rows", "scale", "bias"], "n", vec![])
                .indices("shape", &W)
                .node("Reshape", &["n", "shape"], "w", vec![]);
        })
    };
    assert_eq!(standardised([1.0; 2], [0.0; 2]), named(72, "scale bias", ""));
    assert_eq!(standardised([1.0; 2], [0.5, 0.25]), named(72 + 4, "", ""), "ones before training");
    assert_eq!(standardised([0.5, 0.25], [0.0; 2]), named(72 + 2, "bias", ""));
    let placed = of(&|model| {
        model
            .floats("ground", &W, &[0.0; 72])
            .indices("place", &[0])
            .weight("a", &[1, 4, 3, 3])
            .node("ScatterND", &["ground", "place", "a"], "w", vec![]);
    });
    assert_eq!(placed, named(36, "ground", ""));
}

#[test]
fn what_is_computed_of_indices_alone_is_not_learned() {
    // The matrix of a cosine transform: the products of rows and columns, as angles.
    let of = |kind: DataType| {
        let mut model = Builder::new([-1, 4, 9, 7]);
        model
            .indices("rows", &[0, 1, 2, 3, 4, 5, 6])
            .indices("axis", &[1])
            .node("Unsqueeze", &["rows", "axis"], "column", vec![])
            .node("Cast", &["rows"], "a", vec![int("to", kind as i64)])
            .node("Cast", &["column"], "b", vec![int("to", kind as i64)])
            .node("Mul", &["a", "b"], "products", vec![])
            .node("Cast", &["products"], "real", vec![int("to", 1)])
            .weight("bias", &[7])
            .node("Cos", &["real"], "w", vec![])
            .node("MatMul", &["x", "w"], "y", vec![])
            .node("Add", &["y", "bias"], "z", vec![])
            .output("z", &[-1, 4, 9, 7]);
        let cost = counted(&model);
        (cost.params, cost.madds)
    };
    for kind in [DataType::Int64, DataType::Int32, DataType::Float] {
        assert_eq!(of(kind), (7, 36 * 49), "{kind:?}");
    }
}

#[test]
fn what_is_counted_in_one_place_is_not_left_out_in_another() {
    // Exporters store equal arrays once: here those of a normalised weight and of a normalisation.
    let mut model = Builder::new([1, 4, 9, 7]);
    let model = model
        .weight("queries", &[9, 7])
        .floats("ones", &[7], &[1.0; 7])
        .floats("zeros", &[7], &[0.0; 7])
        .node("LayerNormalization", &["queries", "ones", "zeros"], "n", vec![])
        .node("Add", &["x", "n"], "y", vec![])
        .node("LayerNormalization", &["y", "ones", "zeros"], "z", vec![])
        .output("z", &[1, 4, 9, 7]);
    let cost = counted(model);
    assert_eq!((cost.params, names(&cost.left_out)), (63 + 14, vec![]));
}
