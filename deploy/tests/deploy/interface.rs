//! Inputs and outputs of other kinds than those that this project writes.

use std::{cell::Cell, collections::BTreeMap};

use adwp_measure::{
    DeployError,
    bench::{self, BenchOptions},
    cost::cost_of_file,
    latency::LatencyOptions,
    onnx::{BatchSize, Element, Interface, OnnxFile, OnnxModel, Scores},
    predict::{predict, softmax},
    runtime::{Session, SessionOptions},
};
use tempfile::TempDir;
use tract_onnx::pb::{
    ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value as Dim},
    type_proto,
};

use crate::{
    models::{Builder, int, ints},
    runtimes::runtimes,
};

fn tensor(value: &mut ValueInfoProto) -> &mut type_proto::Tensor {
    let type_proto::Value::TensorType(tensor) =
        value.r#type.as_mut().unwrap().value.as_mut().unwrap();
    tensor
}

/// The channels' means, weighted, with the output `y`; `first` comes before all else.
fn means(input: [i64; 4], first: &[(&str, Vec<tract_onnx::pb::AttributeProto>)]) -> Builder {
    let mut model = Builder::new(input);
    let mut name = "x".to_owned();
    for (op, attributes) in first {
        let next = format!("first.{op}");
        model.node(op, &[&name], &next, attributes.clone());
        name = next;
    }
    model
        .node("GlobalAveragePool", &[&name], "gap", vec![])
        .node("Flatten", &["gap"], "flat", vec![])
        .floats("w", &[3, 2], &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
        .node("MatMul", &["flat", "w"], "y", vec![])
        .output("y", &[-1, 2]);
    model
}

/// Red, green and blue planes of 20 pixels.
fn planes() -> Vec<f32> {
    [0.5, -1.0, 2.0].iter().flat_map(|&value| [value; 20]).collect()
}

/// What every runtime gives for one image of [`planes`].
fn scores(model: &OnnxModel) -> Vec<Vec<f32>> {
    let run = |runtime| {
        let options = SessionOptions::default();
        let mut session = Session::from_model(runtime, model, &options).unwrap();
        session.run(&planes(), 1).unwrap()
    };
    runtimes().into_iter().map(run).collect()
}

#[test]
fn floats_of_every_width_and_order_are_fed() {
    let dir = TempDir::new().unwrap();
    let to = |kind: DataType| vec![("Cast", vec![int("to", kind as i64)])];
    for (kind, element) in [(DataType::Float16, Element::F16), (DataType::Double, Element::F64)] {
        let mut model = means([-1, 3, 4, 5], &to(DataType::Float));
        tensor(&mut model.graph().input[0]).elem_type = kind as i32;
        // The scores come back in the same type.
        model.node("Cast", &["y"], "z", vec![int("to", kind as i64)]);
        model.graph().output.clear();
        model.output("z", &[-1, 2]);
        tensor(&mut model.graph().output[0]).elem_type = kind as i32;
        let model = OnnxModel::load(model.write(&dir, "wide.onnx")).unwrap();
        assert_eq!((model.input().element, model.input().channels_last), (element, false));
        for scores in scores(&model) {
            assert_eq!(scores, [0.5, -1.0], "{element:?}");
        }
    }
    let last = vec![("Transpose", vec![ints("perm", &[0, 3, 1, 2])])];
    let model = OnnxModel::load(means([-1, 10, 2, 3], &last).write(&dir, "last.onnx")).unwrap();
    let input = model.input();
    assert_eq!((input.channels, input.height, input.width), (3, 10, 2));
    assert!(input.channels_last && !input.pixels());
    for scores in scores(&model) {
        assert_eq!(scores, [0.5, -1.0]);
    }
}

#[test]
fn where_channels_can_be_first_or_last_floats_have_them_first() {
    let layout = |shape: [i64; 4], kind: DataType| {
        let mut model = Builder::new(shape);
        tensor(&mut model.graph().input[0]).elem_type = kind as i32;
        model
            .node("Cast", &["x"], "cast", vec![int("to", DataType::Float as i64)])
            .node("ReduceMean", &["cast"], "y", vec![ints("axes", &[2, 3]), int("keepdims", 0)])
            .output("y", &[-1, shape[1]]);
        let model = model.read().unwrap();
        let &input = &model.input();
        (input.channels, input.height, input.width)
    };
    assert_eq!(layout([-1, 3, 4, 3], DataType::Float), (3, 4, 3));
    assert_eq!(layout([-1, 3, 4, 3], DataType::Uint8), (3, 3, 4));
    assert_eq!(layout([-1, 3, 9, 8], DataType::Uint8), (3, 9, 8));
    assert_eq!(layout([-1, 9, 8, 3], DataType::Float), (3, 9, 8));
    assert_eq!(layout([-1, 7, 9, 8], DataType::Float), (7, 9, 8));
    assert_eq!(layout([-1, 1, 1, 4], DataType::Float), (1, 1, 4));
}

#[test]
fn shapes_that_hints_suggest_are_taken() {
    let file = |dims: &[i64]| {
        let mut model = Builder::new([1; 4]);
        let shape = tensor(&mut model.graph().input[0]).shape.as_mut().unwrap();
        let dim = |&size: &i64| match size {
            -1 => Dim::DimParam("any".into()),
            size => Dim::DimValue(size),
        };
        shape.dim = dims.iter().map(|size| dimension(dim(size))).collect();
        model.node("Relu", &["x"], "y", vec![]).output("y", &[-1, -1]);
        OnnxFile::from_bytes(&model.bytes(), "test.onnx").unwrap()
    };
    for (dims, example) in [
        (&[-1, -1][..], "1x128"),
        (&[-1, 7, -1], "1x7x128"),
        (&[-1, 3, -1, -1], "1x3x224x224"),
        (&[-1, -1, -1, 3], "1x224x224x3"),
        (&[2, -1, -1, -1], "2x3x224x224"),
        (&[-1, -1, 5, -1, -1], "1x128x5x128x128"),
    ] {
        let file = file(dims);
        let open = cost_of_file(&file, &BTreeMap::new()).unwrap_err();
        assert!(open.hint().unwrap().ends_with(&format!("--input x={example}")), "{dims:?}");
        let shape = example.split('x').map(|size| size.parse().unwrap()).collect();
        cost_of_file(&file, &BTreeMap::from([("x".to_owned(), shape)])).unwrap();
        let other = BTreeMap::from([("x".to_owned(), vec![1; dims.len() + 1])]);
        let refused = cost_of_file(&file, &other).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("was given: {example} would fit")), "{refused}");
        // No shape makes a classifier of images of what has no four dimensions.
        let refused = OnnxModel::from_file(file).unwrap_err();
        assert_eq!(matches!(refused, DeployError::OpenShape { .. }), dims.len() == 4, "{refused}");
    }
    let refused = OnnxModel::from_file(file(&[-1, -1])).unwrap_err();
    assert!(refused.to_string().contains("input `x` has shape [?, ?]"), "{refused}");
    assert!(refused.hint().unwrap().contains("`adwp cost`"));
}

fn dimension(value: Dim) -> Dimension {
    Dimension { value: Some(value), ..Default::default() }
}

#[test]
fn open_sizes_are_said_and_what_contradicts_the_file_is_refused() {
    let dir = TempDir::new().unwrap();
    let mut model = means([-1, 3, 4, 5], &[]);
    for dim in &mut tensor(&mut model.graph().input[0]).shape.as_mut().unwrap().dim[2..] {
        dim.value = Some(Dim::DimParam("size".into()));
    }
    let path = model.write(&dir, "open.onnx");
    let as_said = |shape: &[usize]| {
        let shapes = BTreeMap::from([("x".to_owned(), shape.to_vec())]);
        OnnxModel::load_as(&path, &Interface { shapes, output: None })
    };
    let unsaid = OnnxModel::load(&path).unwrap_err();
    assert!(matches!(unsaid, DeployError::OpenShape { .. }), "{unsaid}");
    assert!(unsaid.hint().unwrap().contains("--input x="));

    let model = as_said(&[1, 3, 4, 5]).unwrap();
    assert_eq!((model.input().height, model.input().batch), (4, BatchSize::Dynamic));
    for scores in scores(&model) {
        assert_eq!(scores, [0.5, -1.0]);
    }
    for (wrong, words) in [
        (&[2, 3, 4, 5][..], "is the batch"),
        (&[1, 4, 4, 5], "[?, 3, ?, ?] in the file"),
        (&[1, 3, 4], "[?, 3, ?, ?] in the file"),
        (&[1, 3, 1 << 31, 1 << 31], "too many elements"),
    ] {
        let error = as_said(wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let shapes = BTreeMap::from([("z".to_owned(), vec![1, 3, 4, 5])]);
    let error = OnnxModel::load_as(&path, &Interface { shapes, output: None }).unwrap_err();
    assert!(error.to_string().contains("no input `z`; it has x"), "{error}");
}

#[test]
fn the_scores_are_found_among_outputs_or_named() {
    let dir = TempDir::new().unwrap();
    let mut model = means([-1, 3, 4, 5], &[]);
    model.node("ArgMax", &["y"], "label", vec![int("axis", 1), int("keepdims", 0)]).node(
        "Softmax",
        &["y"],
        "chance",
        vec![],
    );
    let scores_of_y = model.graph().output.remove(0);
    model.output("label", &[-1]).output("x4", &[-1, 3, 4, 5]);
    model.node("Relu", &["x"], "x4", vec![]);
    tensor(&mut model.graph().output[0]).elem_type = DataType::Int64 as i32;
    model.graph().output.push(scores_of_y);
    model.output("chance", &[-1, 2]);
    // Its shape is left to inference.
    tensor(&mut model.graph().output[2]).shape = None;
    let path = model.write(&dir, "several.onnx");
    let of = |name: Option<&str>| {
        let output = name.map(str::to_owned);
        OnnxModel::load_as(&path, &Interface { output, ..Interface::default() })
    };
    let found = of(None).unwrap();
    assert_eq!((found.output().name.as_str(), found.output().classes), ("y", 2));
    for scores in scores(&found) {
        assert_eq!(scores, [0.5, -1.0]);
    }
    let named = of(Some("chance")).unwrap();
    assert_eq!((&named.output().scores, &found.output().scores), (&PROBABILITIES, &Scores::Logits));
    for scores in scores(&named) {
        assert!((scores[0] + scores[1] - 1.0).abs() < 1e-6 && scores[0] > 0.8, "{scores:?}");
    }
    for (name, words) in [
        ("label", "`label` has shape [?]"),
        ("x4", "`x4` has shape"),
        ("none", "no output `none`; it has label, x4, y, chance"),
    ] {
        let error = of(Some(name)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut none = model.clone();
    none.graph().output.truncate(2);
    let error = none.read().unwrap_err().to_string();
    assert!(error.contains("none of its outputs looks like scores") && error.contains("label"));
}

#[test]
fn the_output_that_was_taken_is_said_and_the_number_of_classes_decides() {
    let dir = TempDir::new().unwrap();
    let mut model = means([-1, 3, 4, 5], &[]);
    assert_eq!(model.read().unwrap().choice(), None);
    model.node("Concat", &["flat", "y"], "both", vec![int("axis", 1)]);
    let scores_of_y = model.graph().output.remove(0);
    model.output("flat", &[-1, 3]).output("both", &[-1, 5]);
    model.graph().output.push(scores_of_y);
    model.output("x", &[-1, 3, 4, 5]);
    let path = model.write(&dir, "features.onnx");
    let first = OnnxModel::load(&path).unwrap();
    let expected = "features.onnx: the scores are taken from its output flat, and not from both, \
                    y: --output names another";
    assert!(first.choice().unwrap().ends_with(expected), "{:?}", first.choice());
    let output = Some("both".to_owned());
    let named = OnnxModel::load_as(&path, &Interface { output, ..Interface::default() }).unwrap();
    assert_eq!((named.choice(), named.output().classes), (None, 5));
    // What was named stays.
    assert_eq!(named.with_classes(2).unwrap().output().name, "both");
    assert_eq!(first.clone().with_classes(7).unwrap().output().name, "flat");

    let by_number = first.with_classes(2).unwrap();
    model.metadata("adwp.classes", r#"["a", "b"]"#);
    let by_names = OnnxModel::load(model.write(&dir, "named.onnx")).unwrap();
    for model in [by_number, by_names] {
        assert_eq!((model.output().name.as_str(), model.output().classes), ("y", 2));
        assert!(model.choice().unwrap().contains("taken from its output y"));
        assert_eq!(model.said().output.as_deref(), Some("y"), "so that its trial takes it too");
        for scores in scores(&model) {
            assert_eq!(scores, [0.5, -1.0]);
        }
    }
    // One of which nothing is known may be meant as well.
    let mut model = means([-1, 3, 4, 5], &[]);
    model.node("Mystery", &["y"], "z", vec![]).output("z", &[-1, -1]);
    assert!(model.read().unwrap().choice().unwrap().contains("not from z"));
}

const PROBABILITIES: Scores = Scores::Probabilities { factor: 1.0, offset: 0.0 };

#[test]
fn probabilities_that_are_multiplied_and_moved_are_brought_back() {
    let (dir, number) = (TempDir::new().unwrap(), Cell::new(0));
    let of = |build: &dyn Fn(&mut Builder)| {
        let mut model = means([-1, 3, 4, 5], &[]);
        model.node("Softmax", &["y"], "chance", vec![]).floats("hundred", &[1, 1], &[100.0]);
        model.floats("all", &[1, 2], &[100.0, 100.0]).floats("one", &[], &[1.0]);
        build(&mut model);
        model.graph().output.clear();
        model.output("z", &[-1, 2]);
        // The runtimes read it again.
        number.set(number.get() + 1);
        OnnxModel::load(model.write(&dir, &format!("{}.onnx", number.get()))).unwrap()
    };
    let percent = of(&|model| {
        model.node("Mul", &["hundred", "chance"], "z", vec![]);
    });
    let moved = of(&|model| {
        model
            .node("Sub", &["chance", "one"], "less", vec![])
            .node("Identity", &["less"], "same", vec![])
            .node("Div", &["same", "hundred"], "z", vec![]);
    });
    let twice_from_one = of(&|model| {
        model.node("Sub", &["one", "chance"], "other", vec![]).node(
            "Sub",
            &["one", "other"],
            "z",
            vec![],
        );
    });
    let logarithm = of(&|model| {
        model.node("Log", &["chance"], "z", vec![]);
    });
    assert_eq!(percent.output().scores, Scores::Probabilities { factor: 100.0, offset: 0.0 });
    assert_eq!(moved.output().scores, Scores::Probabilities { factor: 0.01, offset: -0.01 });
    assert_eq!(twice_from_one.output().scores, PROBABILITIES);
    assert_eq!(logarithm.output().scores, Scores::Logits);
    let expected = softmax(&[0.5, -1.0])[0];
    for runtime in runtimes() {
        for model in [&percent, &moved, &twice_from_one, &logarithm] {
            let mut session =
                Session::from_model(runtime, model, &SessionOptions::default()).unwrap();
            let top = predict(&mut session, model, &planes(), 1).unwrap().top;
            let difference = (top[0].probability - expected).abs();
            assert!(difference < 1e-5 && top[0].class == 0, "{runtime}: {top:?}");
        }
    }
    let written_out = of(&|model| {
        model
            .node("Neg", &["y"], "less", vec![])
            .node("Exp", &["less"], "power", vec![])
            .node("Add", &["power", "one"], "sum", vec![])
            .node("Div", &["one", "sum"], "z", vec![]);
    });
    assert_eq!(written_out.output().scores, PROBABILITIES);
    // What cannot be brought back is said.
    for (op, inputs) in [
        ("Mul", ["chance", "all"]),
        ("Pow", ["chance", "hundred"]),
        ("Sub", ["one", "chance"]),
        ("QuantizeLinear", ["chance", "one"]),
    ] {
        let model = of(&|model| {
            model.node(op, &inputs, "z", vec![]);
        });
        assert_eq!(model.output().scores, Scores::OfProbabilities("z".into()), "{op}");
    }
    // What the softmax of these is, nothing says; of those below it is the network's own.
    let end = |op: &str, inputs: &[&str], attributes: Vec<_>| {
        of(&|model| {
            model.floats("ln10", &[], &[10_f32.ln()]).floats("zero", &[], &[0.0]);
            model.node("LogSoftmax", &["y"], "log", vec![]);
            model.node("Sigmoid", &["y"], "gate", vec![]).node(
                "Log",
                &["gate"],
                "log_gate",
                vec![],
            );
            model.node("Add", &["chance", "zero"], "kept", vec![]);
            model.node("ReduceMax", &["y"], "most", vec![int("keepdims", 1)]);
            model.node("Tanh", &["y"], "bounded", vec![]);
            model.node("Sub", &["y", "most"], "below", vec![]);
            model.node("Exp", &["below"], "powers", vec![]).node(
                "ReduceSum",
                &["powers"],
                "sum",
                vec![int("keepdims", 1)],
            );
            model.node("Log", &["sum"], "log_sum", vec![]);
            model.node(op, inputs, "z", attributes.clone());
        })
    };
    let whole = || vec![int("to", DataType::Int32 as i64)];
    for (op, inputs, attributes, node) in [
        ("Div", &["log", "ln10"][..], vec![], "log"),
        ("Identity", &["log_gate"], vec![], "log_gate"),
        ("Add", &["bounded", "one"], vec![], "bounded"),
        ("Mul", &["bounded", "y"], vec![], "bounded"),
        ("Cast", &["y"], whole(), "z"),
        ("QuantizeLinear", &["y", "one"], vec![], "z"),
        ("Equal", &["y", "most"], vec![], "z"),
        ("Exp", &["y"], vec![], "z"),
        ("Mystery", &["y"], vec![], "z"),
    ] {
        let model = end(op, inputs, attributes);
        assert_eq!(model.output().scores, Scores::Unclear(node.into()), "{op}");
    }
    for (op, inputs, attributes) in [
        ("Add", &["log", "one"][..], vec![]),
        ("Log", &["kept"], vec![]),
        ("Sub", &["below", "log_sum"], vec![]),
        ("Div", &["y", "hundred"], vec![]),
        ("Add", &["y", "all"], vec![]),
        ("LeakyRelu", &["y"], vec![]),
        ("Cast", &["y"], vec![int("to", DataType::Float16 as i64)]),
    ] {
        let model = end(op, inputs, attributes);
        assert_eq!(model.output().scores, Scores::Logits, "{op}");
    }
    // A gate within a layer makes no probabilities.
    let gate = of(&|model| {
        model.floats("mix", &[2, 2], &[1.0; 4]);
        model.node("Mul", &["y", "chance"], "gated", vec![]);
        model.node("MatMul", &["gated", "mix"], "z", vec![]);
    });
    assert_eq!(gate.output().scores, Scores::Logits);
}

#[test]
fn scores_may_be_whole_numbers_and_have_more_dimensions() {
    let dir = TempDir::new().unwrap();
    for (kind, shape) in [
        (DataType::Int64, vec![-1, 2]),
        (DataType::Int32, vec![-1, 1, 1, 2]),
        (DataType::Int8, vec![-1, 2, 1, 1]),
        (DataType::Double, vec![-1, 1, 2]),
    ] {
        let mut model = means([-1, 3, 4, 5], &[]);
        model.floats("ten", &[], &[10.0]).indices("shape", &shape);
        model
            .node("Mul", &["y", "ten"], "larger", vec![])
            .node("Reshape", &["larger", "shape"], "laid", vec![])
            .node("Cast", &["laid"], "z", vec![int("to", kind as i64)]);
        model.graph().output.clear();
        model.output("z", &shape);
        tensor(&mut model.graph().output[0]).elem_type = kind as i32;
        let model = OnnxModel::load(model.write(&dir, "whole.onnx")).unwrap();
        assert_eq!(model.output().classes, 2);
        for scores in scores(&model) {
            assert_eq!(scores, [5.0, -10.0], "{kind:?}");
        }
    }
    // One whole number is a label, and a first dimension that is not the batch has none.
    let mut model = means([-1, 3, 4, 5], &[]);
    model.node("ArgMax", &["y"], "z", vec![int("axis", 1)]);
    model.graph().output.clear();
    model.output("z", &[-1, 1]);
    tensor(&mut model.graph().output[0]).elem_type = DataType::Int64 as i32;
    let error = model.read().unwrap_err().to_string();
    assert!(error.contains("`z` gives one whole number an image"), "{error}");
    let mut model = means([-1, 3, 4, 5], &[]);
    model.node("Transpose", &["y"], "z", vec![]);
    model.graph().output.clear();
    model.output("z", &[2, -1]);
    let error = model.read().unwrap_err().to_string();
    assert!(error.contains("`z` has shape [2, "), "{error}");
}

#[test]
fn probabilities_are_known_by_the_graph_or_by_their_values() {
    let dir = TempDir::new().unwrap();
    let ends = |build: &dyn Fn(&mut Builder)| {
        let mut model = means([-1, 3, 4, 5], &[]);
        build(&mut model);
        model.graph().output.clear();
        model.output("z", &[-1, 2]);
        OnnxModel::load(model.write(&dir, "end.onnx")).unwrap()
    };
    // By their values these are none.
    for op in ["Sigmoid", "HardSigmoid"] {
        let model = ends(&|model| {
            model
                .node(op, &["y"], "chance", vec![])
                .floats("low", &[], &[0.0])
                .floats("high", &[], &[1.0])
                .node("Clip", &["chance", "low", "high"], "clipped", vec![])
                .indices("places", &[0, 1])
                .node("Gather", &["clipped", "places"], "z", vec![int("axis", 1)]);
        });
        assert_eq!(model.output().scores, PROBABILITIES, "{op}");
    }
    let quantised = ends(&|model| {
        model.node("QLinearSoftmax", &["y"], "q", vec![]);
        model.graph().node.last_mut().unwrap().domain = "com.microsoft".into();
        model.floats("s", &[], &[0.5]).node("DequantizeLinear", &["q", "s"], "z", vec![]);
    });
    assert_eq!(quantised.output().scores, PROBABILITIES);
    // In other domains names mean nothing, and nothing is known of what they give.
    let other = ends(&|model| {
        model.node("Softmax", &["y"], "z", vec![]);
        model.graph().node.last_mut().unwrap().domain = "local".into();
    });
    assert_eq!(other.output().scores, Scores::Unclear("z".into()));

    // The mean of two is a distribution, and its softmax would be another.
    let mean = ends(&|model| {
        model
            .node("Softmax", &["y"], "one", vec![])
            .node("Add", &["y", "y"], "twice", vec![])
            .node("Softmax", &["twice"], "two", vec![])
            .node("Mean", &["one", "two"], "z", vec![]);
    });
    assert_eq!(mean.output().scores, Scores::OfProbabilities("z".into()));
    let expected = (softmax(&[0.5, -1.0])[0] + softmax(&[1.0, -2.0])[0]) / 2.0;
    for runtime in runtimes() {
        let mut session = Session::from_model(runtime, &mean, &SessionOptions::default()).unwrap();
        let top = predict(&mut session, &mean, &planes(), 1).unwrap().top;
        assert!((top[0].probability - expected).abs() < 1e-5, "{runtime}: {top:?}");
    }
}

#[test]
fn one_score_is_no_certainty() {
    let dir = TempDir::new().unwrap();
    let mut model = means([-1, 3, 4, 5], &[]);
    model.floats("v", &[2, 1], &[0.0, 3.0]).node("MatMul", &["y", "v"], "z", vec![]);
    model.graph().output.clear();
    let model = OnnxModel::load(model.output("z", &[-1, 1]).write(&dir, "one.onnx")).unwrap();
    for runtime in runtimes() {
        let mut session = Session::from_model(runtime, &model, &SessionOptions::default()).unwrap();
        let top = predict(&mut session, &model, &planes(), 1).unwrap().top;
        // The sigmoid of -3.
        assert!((top[0].probability - 0.047_425_87).abs() < 1e-6, "{runtime}: {top:?}");
    }
}

#[test]
fn the_oldest_operator_set_runs() {
    let dir = TempDir::new().unwrap();
    let mut model = means([-1, 3, 4, 5], &[]);
    model.model.opset_import[0].version = 7;
    let model = OnnxModel::load(model.write(&dir, "old.onnx")).unwrap();
    for scores in scores(&model) {
        assert_eq!(scores, [0.5, -1.0]);
    }
}

#[test]
fn scores_that_are_no_numbers_are_an_error_in_one_runtime_too() {
    let dir = TempDir::new().unwrap();
    let mut model = means([-1, 3, 4, 5], &[]);
    model.node("Sqrt", &["y"], "root", vec![]);
    model.graph().output.clear();
    model.output("root", &[-1, 2]);
    let path = model.write(&dir, "root.onnx");
    let latency =
        LatencyOptions { min_time: std::time::Duration::ZERO, repeats: 1, ..Default::default() };
    for runtime in runtimes() {
        let options = BenchOptions { runtimes: vec![runtime], latency, ..Default::default() };
        let error = bench::run(&[&path].map(Clone::clone), &options, &mut |_| {}).unwrap_err();
        let expected = format!("root.onnx: {runtime} gives NaN in the output `root`");
        assert!(error.to_string().ends_with(&expected), "{error}");
    }
}

#[test]
fn what_joins_the_images_of_a_run_is_found_where_the_scores_depend_on_it() {
    let of = |batch, build: &dyn Fn(&mut Builder)| {
        let mut model = means([batch, 3, 4, 5], &[]);
        model.node("ReduceMean", &["y"], "mean", vec![ints("axes", &[0]), int("keepdims", 1)]);
        build(&mut model);
        model.graph().output.clear();
        model.output("z", &[batch, 2]).read().unwrap()
    };
    let softmax = |model: &mut Builder| {
        model.node("Softmax", &["y"], "z", vec![int("axis", 0)]);
    };
    let centred = |model: &mut Builder| {
        model.node("Sub", &["y", "mean"], "z", vec![]);
    };
    let apart = |model: &mut Builder| {
        model.node("Softmax", &["y"], "z", vec![int("axis", 1)]);
    };
    assert_eq!(of(-1, &softmax).joined_by(4).as_deref(), Some("z (Softmax)"));
    assert_eq!(of(-1, &centred).joined_by(2).as_deref(), Some("mean (ReduceMean)"));
    // A file that fixes the batch is run so, whatever is asked for.
    assert_eq!(of(3, &centred).joined_by(1).as_deref(), Some("mean (ReduceMean)"));
    for (model, batch) in [(of(-1, &softmax), 1), (of(-1, &apart), 4), (of(3, &apart), 1)] {
        assert_eq!(model.joined_by(batch), None);
    }
}
