//! Stored numbers that no network learns, however they are used.

use std::collections::BTreeMap;

use adwp_measure::{
    cost::{Cost, LeftOut, cost_of_file},
    onnx::OnnxFile,
};
use tract_onnx::pb::tensor_proto::DataType;

use crate::models::{Builder, int, ints};

fn counted(model: &Builder) -> Cost {
    let file = OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap();
    cost_of_file(&file, &BTreeMap::new()).unwrap()
}

/// Params of a graph that makes `z` of `x` `[1, 4, 9, 7]`, and the names of what is left out and of
/// what is doubtful.
fn of(build: impl Fn(&mut Builder)) -> (u64, String, String) {
    let mut model = Builder::new([1, 4, 9, 7]);
    build(&mut model);
    let cost = counted(model.output("z", &[1]));
    assert!(cost.unknown.is_empty(), "{:?}", cost.unknown);
    let names = |of: &[LeftOut]| {
        let mut names: Vec<_> = of.iter().map(|of| of.name.clone()).collect();
        names.sort();
        names.join(" ")
    };
    (cost.params, names(&cost.left_out), names(&cost.doubtful))
}

fn expected(params: u64, left_out: &str, doubtful: &str) -> (u64, String, String) {
    (params, left_out.to_owned(), doubtful.to_owned())
}

/// Stores integers of 64 bits.
fn wide<'m>(model: &'m mut Builder, name: &str, dims: &[i64], values: &[i64]) -> &'m mut Builder {
    model.integers(name, DataType::Int64, dims);
    let stored = model.graph().initializer.last_mut().unwrap();
    stored.raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    model
}

/// Whole numbers in no order.
fn shuffled(len: i64) -> Vec<i64> {
    (0..len).map(|i| i * i % 23 - 11).collect()
}

#[test]
fn ones_and_zeros_of_an_instance_normalisation_are_no_parameters() {
    // As a group normalisation is exported.
    let grouped = of(|model| {
        model
            .node("Relu", &["x"], "r", vec![])
            .indices("groups", &[1, 2, -1])
            .node("Reshape", &["r", "groups"], "g", vec![])
            .floats("ones", &[2], &[1.0; 2])
            .floats("zeros", &[2], &[0.0; 2])
            .node("InstanceNormalization", &["g", "ones", "zeros"], "n", vec![])
            .indices("back", &[1, 4, 9, 7])
            .node("Reshape", &["n", "back"], "b", vec![])
            .weight("weight", &[4, 1, 1])
            .node("Mul", &["b", "weight"], "m", vec![])
            .weight("bias", &[4, 1, 1])
            .node("Add", &["m", "bias"], "z", vec![]);
    });
    assert_eq!(grouped, expected(8, "ones zeros", ""));
    let instance = |scale: [f32; 4], bias: [f32; 4]| {
        of(|model| {
            model.floats("scale", &[4], &scale).floats("bias", &[4], &bias).node(
                "InstanceNormalization",
                &["x", "scale", "bias"],
                "z",
                vec![],
            );
        })
    };
    assert_eq!(instance([1.0; 4], [0.0; 4]), expected(0, "bias scale", ""));
    assert_eq!(instance([1.0; 4], [0.1, 0.2, 0.3, 0.5]), expected(8, "", ""));
    assert_eq!(instance([0.5, 1.0, 2.0, 3.0], [0.0; 4]), expected(8, "", ""));
}

#[test]
fn running_statistics_of_a_normalisation_in_arithmetic_are_no_parameters() {
    type Root = fn(&mut Builder);
    let statistics = |model: &mut Builder| {
        model
            .node("Relu", &["x"], "r", vec![])
            .weight("mean", &[4])
            .floats("variance", &[4], &[0.5, 1.5, 2.5, 0.25])
            .weight("gamma", &[4, 1, 1])
            .weight("beta", &[4, 1, 1])
            .indices("axes", &[1, 2])
            .node("Unsqueeze", &["mean", "axes"], "mean'", vec![])
            .node("Unsqueeze", &["variance", "axes"], "variance'", vec![])
            .floats("eps", &[], &[1e-5])
            .node("Add", &["variance'", "eps"], "above", vec![]);
    };
    let roots: [(&str, Root); 5] = [
        ("Sqrt", |model| {
            model.node("Sqrt", &["above"], "root", vec![]);
            model.node("Div", &["centred", "root"], "n", vec![]);
        }),
        ("Reciprocal", |model| {
            model.node("Sqrt", &["above"], "root", vec![]);
            model.node("Reciprocal", &["root"], "over", vec![]);
            model.node("Mul", &["centred", "over"], "n", vec![]);
        }),
        ("one over it", |model| {
            model.node("Sqrt", &["above"], "root", vec![]).floats("one", &[], &[1.0]);
            model.node("Div", &["one", "root"], "over", vec![]);
            model.node("Mul", &["over", "centred"], "n", vec![]);
        }),
        ("Pow", |model| {
            model.floats("power", &[], &[-0.5]).node("Pow", &["above", "power"], "over", vec![]);
            model.node("Mul", &["centred", "over"], "n", vec![]);
        }),
        ("half", |model| {
            model.floats("power", &[], &[0.5]).node("Pow", &["above", "power"], "root", vec![]);
            model.node("Div", &["centred", "root"], "n", vec![]);
        }),
    ];
    for (name, root) in roots {
        let written = of(|model| {
            statistics(model);
            model.node("Sub", &["r", "mean'"], "centred", vec![]);
            root(model);
            model.node("Mul", &["n", "gamma"], "scaled", vec![]);
            model.node("Add", &["scaled", "beta"], "z", vec![]);
        });
        assert_eq!(written, (8, written.1.clone(), String::new()), "{name}");
        assert!(
            written.1.contains("mean") && written.1.contains("variance"),
            "{name}: {written:?}"
        );
    }
    // The scale and the offset computed first.
    let folded = of(|model| {
        statistics(model);
        model
            .node("Sqrt", &["above"], "root", vec![])
            .node("Reciprocal", &["root"], "over", vec![])
            .node("Mul", &["over", "gamma"], "scale", vec![])
            .node("Mul", &["mean'", "scale"], "moved", vec![])
            .node("Sub", &["beta", "moved"], "offset", vec![])
            .node("Mul", &["r", "scale"], "scaled", vec![])
            .node("Add", &["scaled", "offset"], "z", vec![]);
    });
    assert_eq!(folded, expected(8, "mean variance", ""));
    // With a root that the exporter has computed.
    let stored = of(|model| {
        model
            .node("Relu", &["x"], "r", vec![])
            .weight("mean", &[4, 1, 1])
            .floats("deviation", &[4, 1, 1], &[0.7, 1.25, 1.5, 0.3])
            .node("Sub", &["r", "mean"], "centred", vec![])
            .node("Div", &["centred", "deviation"], "z", vec![]);
    });
    assert_eq!(stored, expected(8, "", "deviation mean"));
    // Statistics of the values themselves are not stored, and what scales them is learned.
    let layer = of(|model| {
        model
            .node("ReduceMean", &["x"], "mean", vec![ints("axes", &[3])])
            .node("Sub", &["x", "mean"], "centred", vec![])
            .node("Mul", &["centred", "centred"], "squares", vec![])
            .node("ReduceMean", &["squares"], "variance", vec![ints("axes", &[3])])
            .floats("eps", &[], &[1e-5])
            .node("Add", &["variance", "eps"], "above", vec![])
            .node("Sqrt", &["above"], "root", vec![])
            .node("Div", &["centred", "root"], "n", vec![])
            .weight("gamma", &[7])
            .node("Mul", &["n", "gamma"], "scaled", vec![])
            .weight("beta", &[7])
            .node("Add", &["scaled", "beta"], "z", vec![]);
    });
    assert_eq!(layer, expected(14, "", ""));
}

#[test]
fn scaled_masks_are_masks() {
    const W: [i64; 4] = [2, 4, 3, 3];
    let pruned = |build: fn(&mut Builder)| {
        of(|model| {
            let mask: Vec<f32> = (0..72).map(|i| f32::from(i % 3 == 0)).collect();
            model.weight("a", &W).floats("mask", &W, &mask);
            build(model);
            model.node("Conv", &["x", "w"], "z", vec![]);
        })
    };
    let by_two = pruned(|model| {
        model.floats("two", &[], &[2.0]).node("Mul", &["mask", "two"], "scaled", vec![]);
        model.node("Mul", &["a", "scaled"], "w", vec![]);
    });
    assert_eq!(by_two, expected(72, "mask", ""));
    let by_half = pruned(|model| {
        model.floats("half", &[], &[0.5]).node("Div", &["mask", "half"], "scaled", vec![]);
        model.node("Mul", &["scaled", "a"], "w", vec![]);
    });
    assert_eq!(by_half, expected(72, "mask", ""));
    let by_filter = pruned(|model| {
        model.weight("scale", &[2, 1, 1, 1]).node("Mul", &["mask", "scale"], "scaled", vec![]);
        model.node("Mul", &["a", "scaled"], "w", vec![]);
    });
    assert_eq!(by_filter, expected(72 + 2, "mask", ""));
    let of_filters = of(|model| {
        model
            .weight("a", &W)
            .floats("mask", &[2, 1, 1, 1], &[0.0, 1.0])
            .floats("two", &[], &[2.0])
            .node("Mul", &["two", "mask"], "scaled", vec![])
            .node("Mul", &["a", "scaled"], "w", vec![])
            .node("Conv", &["x", "w"], "z", vec![]);
    });
    assert_eq!(of_filters, expected(72, "mask", ""));
    let of_values = of(|model| {
        model.floats("mask", &[9, 7], &[0.0, 1.0, 1.0].repeat(21)).floats("two", &[], &[2.0]);
        model.node("Mul", &["mask", "two"], "scaled", vec![]);
        model.node("Relu", &["x"], "r", vec![]).node("Mul", &["r", "scaled"], "z", vec![]);
    });
    assert_eq!(of_values, expected(0, "scaled", ""));
    // Two filters of which one is 0 are weights.
    let few = of(|model| {
        model.weight("a", &W).floats("gain", &[2, 1, 1, 1], &[0.0, 0.7]);
        model.node("Mul", &["a", "gain"], "w", vec![]).node("Conv", &["x", "w"], "z", vec![]);
    });
    assert_eq!(few, expected(74, "", ""));
}

#[test]
fn single_numbers_are_factors_whatever_they_are_next_to() {
    let product = |build: fn(&mut Builder)| {
        of(|model| {
            build(model);
            model.node("Relu", &["x"], "r", vec![]).node("MatMul", &["r", "w"], "z", vec![]);
        })
    };
    let ranged = product(|model| {
        model.floats("from", &[], &[0.0]).floats("to", &[], &[7.0]).floats("by", &[], &[1.0]);
        model.node("Range", &["from", "to", "by"], "places", vec![]);
        model.node("Sin", &["places"], "w", vec![]);
    });
    assert_eq!(ranged, expected(0, "", ""));
    let scaled = product(|model| {
        wide(model, "places", &[7], &[0, 1, 2, 3, 4, 5, 6]);
        model.node("Cast", &["places"], "real", vec![int("to", 1)]).floats("by", &[], &[0.01]);
        model.node("Mul", &["real", "by"], "angles", vec![]);
        model.node("Cos", &["angles"], "w", vec![]);
    });
    assert_eq!(scaled, expected(0, "", ""));
    let signs = product(|model| {
        model.integers("bits", DataType::Bool, &[7, 2]);
        model.floats("plus", &[], &[1.0]).floats("minus", &[], &[-1.0]);
        model.node("Where", &["bits", "plus", "minus"], "w", vec![]);
    });
    assert_eq!(signs, expected(0, "", ""));
    let kernel = of(|model| {
        model.weight("w", &[1, 1, 1, 1]);
        model.node("Slice", &["x", "zero", "one", "one"], "first", vec![]);
        model.indices("zero", &[0]).indices("one", &[1]);
        model.node("Conv", &["first", "w"], "z", vec![]);
    });
    assert_eq!(kernel, expected(1, "", ""), "a layer has as few weights as it has");
}

#[test]
fn wide_integers_are_weights_where_they_are_used_as_such() {
    let kernel = of(|model| {
        wide(model, "q", &[2, 4, 1, 1], &shuffled(8));
        model.node("Cast", &["q"], "real", vec![int("to", 1)]).weight("scale", &[2, 1, 1, 1]);
        model.node("Mul", &["real", "scale"], "w", vec![]);
        model.node("Conv", &["x", "w"], "z", vec![]);
    });
    assert_eq!(kernel, expected(8, "", ""), "what scales integers is no weight");
    let matrix = of(|model| {
        wide(model, "q", &[3, 7], &shuffled(21));
        model
            .node("Transpose", &["q"], "turned", vec![])
            .node("Cast", &["turned"], "w", vec![int("to", 1)])
            .node("MatMul", &["x", "w"], "y", vec![])
            .floats("scale", &[], &[0.1])
            .node("Mul", &["y", "scale"], "z", vec![]);
    });
    assert_eq!(matrix, expected(21, "", ""));
    let table = of(|model| {
        wide(model, "q", &[10, 5], &shuffled(50));
        model
            .node("ArgMax", &["x"], "places", vec![int("axis", 3), int("keepdims", 0)])
            .node("Gather", &["q", "places"], "rows", vec![])
            .node("Cast", &["rows"], "real", vec![int("to", 1)])
            .floats("scale", &[], &[0.1])
            .node("Mul", &["real", "scale"], "z", vec![]);
    });
    assert_eq!(table, expected(50, "", ""));
    // Places and sizes are not.
    for kind in [DataType::Int64, DataType::Int32] {
        let places = of(|model| {
            wide(model, "stored", &[7], &[0, 1, 2, 3, 4, 5, 6]);
            if kind == DataType::Int32 {
                let stored = model.graph().initializer.last_mut().unwrap();
                stored.data_type = kind as i32;
                stored.raw_data = (0..7_i32).flat_map(|value| value.to_le_bytes()).collect();
            }
            model.node("Cast", &["stored"], "w", vec![int("to", 1)]);
            model.node("Relu", &["x"], "r", vec![]).node("MatMul", &["r", "w"], "z", vec![]);
        });
        assert_eq!(places, expected(0, "", ""), "{kind:?}");
    }
    let sizes = of(|model| {
        wide(model, "sizes", &[7], &[640, 480, 640, 480, 30, 20, 11]);
        model.node("Cast", &["sizes"], "real", vec![int("to", 1)]);
        model.node("Relu", &["x"], "r", vec![]).node("Div", &["r", "real"], "z", vec![]);
    });
    assert_eq!(sizes, expected(0, "", ""));
}

#[test]
fn tables_of_waves_series_and_places_are_no_parameters() {
    let table = |rows: usize, columns: usize, value: &dyn Fn(f64, f64) -> f64| -> Vec<f32> {
        let places = (0..rows * columns).map(|i| ((i / columns) as f64, (i % columns) as f64));
        places.map(|(row, column)| value(row, column) as f32).collect()
    };
    let next_to = |op: &'static str, dims: &[i64], values: &[f32]| {
        of(|model| {
            model.floats("m", dims, values).node("Relu", &["x"], "r", vec![]);
            model.node(op, &["r", "m"], "z", vec![]);
        })
    };
    let out = expected(0, "m", "");
    let angle = |p: f64, f: f64| p * 10f64.powf(-f / 3.0);
    for (name, wave) in [
        ("cos", &(|p, f| angle(p, f).cos()) as &dyn Fn(f64, f64) -> f64),
        ("sin", &|p, f| angle(p, f).sin()),
        ("both", &|p, f| if f % 2.0 == 0.0 { angle(p, f).sin() } else { angle(p, f - 1.0).cos() }),
        ("later", &|p, f| angle(p + 40.0, f).sin()),
        ("padded", &|p, f| if p < 1.0 { 0.0 } else { angle(p, f).sin() }),
    ] {
        let values = table(9, 7, wave);
        assert_eq!(next_to("Mul", &[9, 7], &values), out, "{name}");
        assert_eq!(next_to("Add", &[1, 1, 9, 7], &values), out, "{name}");
    }
    let gathered = of(|model| {
        model
            .floats("table", &[64, 6], &table(64, 6, &|p, f| angle(p, f).cos()))
            .node("ArgMax", &["x"], "places", vec![int("axis", 3), int("keepdims", 0)])
            .node("Gather", &["table", "places"], "z", vec![]);
    });
    assert_eq!(gathered, expected(0, "table", ""));
    let series = |len: i32| (0..len).map(|i| 2f32.powf(-8.0 * i as f32 / 7.0)).collect::<Vec<_>>();
    assert_eq!(next_to("Mul", &[7], &series(7)), out, "slopes of heads");
    let twelve: Vec<f32> =
        (1..9).map(|i| 2f32.powi(-i)).chain((0..4).map(|i| 2f32.powf(-0.5 - i as f32))).collect();
    let heads = of(|model| {
        model.floats("slopes", &[12, 1], &twelve).weight("w", &[4, 12]);
        model.node("Transpose", &["x"], "t", vec![ints("perm", &[0, 2, 3, 1])]);
        model.node("MatMul", &["t", "w"], "y", vec![]);
        model.node("Transpose", &["y"], "s", vec![ints("perm", &[0, 1, 3, 2])]);
        model.node("Mul", &["s", "slopes"], "z", vec![]);
    });
    assert_eq!(heads, expected(48, "slopes", ""));
    // The numbers of a distribution's bins.
    let bins = of(|model| {
        model.floats("bins", &[1, 4, 1, 1], &[0.0, 1.0, 2.0, 3.0]);
        model.node("Conv", &["x", "bins"], "z", vec![]);
    });
    assert_eq!(bins, expected(0, "bins", ""));
    // What differs from these is learned.
    for change in [1, 30, 62] {
        let mut values = table(9, 7, &|p, f| angle(p, f).cos());
        values[change] += 0.1;
        assert_eq!(next_to("Mul", &[9, 7], &values), expected(63, "", ""), "{change}");
    }
    let mut slopes = series(7);
    slopes[5] *= 1.01;
    assert_eq!(next_to("Mul", &[7], &slopes), expected(7, "", ""));
}

#[test]
fn constants_that_weights_are_hardly_like_are_doubtful() {
    let next_to = |op: &'static str, dims: &[i64], values: &[f32]| {
        of(|model| {
            model.floats("m", dims, values).node("Relu", &["x"], "r", vec![]);
            model.node(op, &["r", "m"], "z", vec![]);
        })
    };
    for (op, value) in [("Mul", 8.0), ("Mul", -2.0), ("Div", 8.0), ("Add", 0.5), ("Sub", -3.0)] {
        assert_eq!(next_to(op, &[7], &[value; 7]), expected(7, "", "m"), "{op} {value}");
    }
    // As before training.
    for (op, value) in [("Mul", 1.0), ("Mul", 0.0), ("Mul", 1e-6), ("Add", 0.0)] {
        assert_eq!(next_to(op, &[7], &[value; 7]), expected(7, "", ""), "{op} {value}");
    }
    let grid: Vec<f32> = (0..63).map(|i| (i % 7) as f32 + 0.5).collect();
    let strides: Vec<f32> = (0..63).map(|i| [8.0, 16.0, 32.0][i / 21]).collect();
    let rows: Vec<f32> = (0..63).map(|i| -0.13 * (i % 7) as f32).collect();
    let boxes: Vec<f32> = (0..630).map(|i| ((i / 7 % 30) as f32 + 0.5) / 30.0).collect();
    for (name, values) in [("grid", &grid), ("strides", &strides), ("rows", &rows)] {
        for op in ["Add", "Mul", "Sub", "Div"] {
            assert_eq!(next_to(op, &[9, 7], values), expected(63, "", "m"), "{name} {op}");
        }
    }
    assert_eq!(next_to("Add", &[10, 1, 9, 7], &boxes), expected(630, "", "m"));
    let ternary: Vec<f32> = (0..63).map(|i| (i % 3) as f32 - 1.0).collect();
    assert_eq!(next_to("Mul", &[9, 7], &ternary), expected(63, "", ""));
}
