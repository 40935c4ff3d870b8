//! What files that were made to be misread are taken for.

use std::collections::BTreeMap;

use adwp_base::Failure;
use adwp_measure::{
    DeployError,
    cost::{Cost, cost_of_file},
    onnx::OnnxFile,
};
use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, NodeProto, StringStringEntryProto, TensorProto,
    TrainingInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::{DataLocation, DataType},
};

use crate::models::{Builder, classifier, int, ints};

fn counted(model: &Builder) -> Result<Cost, DeployError> {
    cost_of_file(&OnnxFile::from_bytes(&model.bytes(), "test.onnx")?, &BTreeMap::new())
}

/// Ends in what reads `x4`, of four dimensions: a weight of 2 × 3 × 1 × 1.
fn convolved(mut model: Builder, x4: &str) -> Builder {
    model.weight("w", &[2, 3, 1, 1]).node("Conv", &[x4, "w"], "y", vec![]);
    model.output("y", &[1, 2, -1, -1]);
    model
}

#[test]
fn sizes_are_computed_with_as_many_bits_as_the_runtimes_have() {
    // In 64 bits seven tenths of ten, as 32 bits hold them, are less than seven.
    for (scale, side) in [(0.7, 7_u64), (0.9, 9), (1.3, 13), (0.5, 5), (0.69, 6)] {
        let mut model = Builder::new([1, 3, 10, 10]);
        model.floats("scales", &[4], &[1.0, 1.0, scale, scale]);
        model.node("Resize", &["x", "", "scales"], "larger", vec![]);
        assert_eq!(counted(&convolved(model, "larger")).unwrap().madds, 6 * side * side, "{scale}");
    }
    // A float of 32 bits cannot hold 2^24 + 1.
    let mut model = Builder::new([1, 3, 10, 10]);
    model
        .floats("large", &[1], &[16_777_216.0])
        .floats("one", &[1], &[1.0])
        .node("Add", &["large", "one"], "more", vec![])
        .node("Sub", &["more", "large"], "rest", vec![])
        .node("Add", &["rest", "one"], "size", vec![])
        .node("Cast", &["size"], "whole", vec![int("to", DataType::Int64 as i64)])
        .indices("channels", &[1, 3])
        .node("Concat", &["channels", "whole", "whole"], "sizes", vec![int("axis", 0)])
        .node("Resize", &["x", "", "", "sizes"], "small", vec![]);
    assert_eq!(counted(&convolved(model, "small")).unwrap().madds, 6);
}

#[test]
fn arithmetic_on_shapes_is_followed_and_learns_nothing() {
    // Twice the size, as exporters write it.
    let mut model = Builder::new([1, 3, 4, 6]);
    model
        .node("Shape", &["x"], "shape", vec![])
        .node("Cast", &["shape"], "real", vec![int("to", DataType::Float as i64)])
        .floats("by", &[4], &[1.0, 3.0, 2.0, 3.0])
        .node("Div", &["real", "by"], "scales", vec![])
        .node("Resize", &["x", "", "scales"], "larger", vec![]);
    let cost = counted(&convolved(model, "larger")).unwrap();
    assert_eq!((cost.params, cost.madds), (6, 6 * 4 * 2 * 6 * 2));
    assert!(cost.unknown.is_empty() && cost.left_out.is_empty(), "{cost:?}");

    // The sign of the dividend or of the divisor.
    for (fmod, side) in [(0, 2), (1, 1)] {
        let mut model = Builder::new([1, 3, 4, 6]);
        model
            .indices("seven", &[-7])
            .indices("three", &[3])
            .node("Mod", &["seven", "three"], "rest", vec![int("fmod", fmod)])
            .indices("two", &[2])
            .node("Max", &["rest", "two"], "least", vec![])
            .node("Add", &["rest", "least"], "sum", vec![])
            .indices("one", &[1])
            .node("Max", &["sum", "one"], "side", vec![])
            .indices("channels", &[1, 3])
            .node("Concat", &["channels", "side", "side"], "sizes", vec![int("axis", 0)])
            .node("Resize", &["x", "", "", "sizes"], "small", vec![]);
        // -7 is 2 more than -9, and 1 less than -6.
        let side = if side == 2 { 4 } else { 1 };
        let cost = counted(&convolved(model, "small")).unwrap();
        assert_eq!(cost.madds, 6 * side * side, "fmod {fmod}");
    }

    // No axes are all that have one value.
    let mut model = Builder::new([1, 3, 1, 1]);
    model
        .indices("none", &[])
        .node("Squeeze", &["x", "none"], "three", vec![])
        .indices("shape", &[1, 3])
        .node("Reshape", &["three", "shape"], "row", vec![])
        .weight("w", &[3, 2])
        .node("MatMul", &["row", "w"], "y", vec![])
        .output("y", &[1, 2]);
    assert_eq!(counted(&model).unwrap().madds, 6);
}

#[test]
fn a_range_is_as_long_as_it_is() {
    let mut model = Builder::new([1, 3, 4, 6]);
    for (name, value) in [("start", 5), ("limit", 20_005), ("step", 4)] {
        model.indices(name, &[value]);
        model.graph().initializer.last_mut().unwrap().dims.clear();
    }
    model
        .node("Range", &["start", "limit", "step"], "places", vec![])
        .weight("table", &[20_005, 2])
        .node("Gather", &["table", "places"], "rows", vec![])
        .weight("w", &[2, 7])
        .node("MatMul", &["rows", "w"], "z", vec![])
        .node("ReduceMean", &["x"], "mean", vec![int("keepdims", 0)])
        .node("Mul", &["z", "mean"], "y", vec![])
        .output("y", &[5000, 7]);
    let cost = counted(&model).unwrap();
    assert_eq!((cost.once[0].madds, cost.madds), (5000 * 2 * 7, 0), "{cost:?}");
}

#[test]
fn what_takes_too_long_to_follow_is_named() {
    let mut model = classifier(1);
    model.floats("sum0", &[4], &[0.5; 4]);
    for step in 0..1500 {
        let (from, with, to) =
            (format!("sum{step}"), format!("part{step}"), format!("sum{}", step + 1));
        model.floats(&with, &[4], &[0.5; 4]).node("Add", &[&from, &with], &to, vec![]);
    }
    model.node("Add", &["y", "sum1500"], "z", vec![]);
    let cost = counted(&model).unwrap();
    let named: Vec<_> = cost.unknown.iter().map(|of| (of.name.as_str(), &of.reason)).collect();
    let [(name, reason)] = named[..] else { panic!("{named:?}") };
    assert!(name == "z" && reason.contains("`sum1500`"), "{reason}");
    // One that is short is all counted.
    let mut short = model.clone();
    short.graph().node.last_mut().unwrap().input[1] = "sum3".into();
    let (whole, of_short) = (counted(&classifier(1)).unwrap(), counted(&short).unwrap());
    assert_eq!(of_short.params, whole.params + 4 * 4);

    let mut deep = Builder::new([1, 3, 4, 6]);
    let axes: Vec<i64> = (0..70_000).collect();
    deep.node("Unsqueeze", &["x"], "y", vec![ints("axes", &axes)]).output("y", &[1]);
    let error = counted(&deep).unwrap_err().to_string();
    assert!(error.contains("70004 dimensions") && error.len() < 200, "{error}");
    let mut stored = classifier(1);
    stored.graph().initializer[0].dims = vec![1; 65];
    assert!(counted(&stored).unwrap_err().to_string().contains("has 65 dimensions"));
}

#[test]
fn a_group_which_hides_what_follows_is_refused() {
    let mut bytes = classifier(1).bytes();
    let whole = OnnxFile::from_bytes(&bytes, "test.onnx");
    assert!(whole.is_ok());
    // A second graph, which the decoder merges with the first, and in it field 50 as a group.
    bytes.extend([7 << 3 | 2, 4, 0x93, 3, 0x94, 3]);
    let error = OnnxFile::from_bytes(&bytes, "test.onnx").unwrap_err().to_string();
    assert!(error.contains("group"), "{error}");
}

#[test]
fn what_takes_a_thousand_times_its_bytes_of_memory_is_refused() {
    let with = |count: usize| {
        let mut model = classifier(1);
        model.graph().node[0].attribute = vec![AttributeProto::default(); count];
        OnnxFile::from_bytes(&model.bytes(), "test.onnx").map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(with(100_000), Ok(()));
    let error = with(125_000).unwrap_err();
    assert!(error.contains("more than 500000 names and messages"), "{error}");
}

#[test]
fn values_that_are_not_all_there_are_noticed_in_every_type() {
    let check = |tensor: TensorProto| {
        let mut model = classifier(1);
        model.graph().initializer.push(TensorProto { name: "t".into(), ..tensor });
        OnnxFile::from_bytes(&model.bytes(), "test.onnx").map_err(|e| e.to_string())
    };
    let of = |kind: i32, raw: usize| TensorProto {
        dims: vec![3, 3],
        data_type: kind,
        raw_data: vec![0; raw],
        ..TensorProto::default()
    };
    // Nine of 4, 2 and 6 bits, of 8 and 16 bytes, and one of each too few; int4 may be padded.
    for (kind, bytes) in [(22, 5), (21, 5), (25, 3), (27, 7), (14, 72), (15, 144), (1, 36)] {
        assert!(check(of(kind, bytes)).is_ok(), "{kind}");
        let error = check(of(kind, bytes - 1)).unwrap_err();
        assert!(error.contains("should hold"), "{kind}: {error}");
    }
    assert!(check(of(22, 9)).is_ok() && check(of(1, 37)).is_err());
    let four = TensorProto { int32_data: vec![0; 4], ..of(22, 0) };
    assert!(check(four.clone()).is_err());
    assert!(check(TensorProto { int32_data: vec![0; 5], ..four }).is_ok());
    let texts = TensorProto { string_data: vec![Vec::new(); 9], ..of(8, 0) };
    assert!(check(texts.clone()).is_ok());
    assert!(check(TensorProto { string_data: vec![Vec::new()], ..texts }).is_err());
    let complex = TensorProto { float_data: vec![0.0; 18], ..of(14, 0) };
    assert!(check(complex.clone()).is_ok());
    assert!(check(TensorProto { float_data: vec![0.0; 9], ..complex }).is_err());
    assert!(check(of(0, 0)).is_err(), "no type, and elements");
    assert!(check(TensorProto { dims: vec![0], ..of(0, 0) }).is_ok());
}

/// A tensor of one float in the file that is named last.
fn elsewhere(locations: &[&str]) -> TensorProto {
    let entry =
        |value: &&str| StringStringEntryProto { key: "location".into(), value: (*value).into() };
    TensorProto {
        name: "outside".into(),
        dims: vec![1],
        data_type: DataType::Float as i32,
        data_location: Some(DataLocation::External as i32),
        external_data: locations.iter().map(entry).collect(),
        ..TensorProto::default()
    }
}

fn constant(tensor: TensorProto) -> NodeProto {
    let attribute = AttributeProto {
        name: "value".into(),
        r#type: AttributeType::Tensor as i32,
        t: Some(tensor),
        ..AttributeProto::default()
    };
    NodeProto {
        op_type: "Constant".into(),
        output: vec!["c".into()],
        attribute: vec![attribute],
        ..NodeProto::default()
    }
}

/// Puts a tensor into a model.
type Carrier = dyn Fn(&mut Builder, TensorProto);

#[test]
fn weights_elsewhere_are_looked_at_whatever_carries_them() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("near.bin"), [0; 4]).unwrap();
    let read = |change: &Carrier, tensor: TensorProto| {
        let mut model = classifier(1);
        change(&mut model, tensor);
        OnnxFile::load(model.write(&dir, "m.onnx")).map(|_| ()).map_err(|e| e.to_string())
    };
    let carriers: [&Carrier; 4] = [
        &|model, tensor| model.graph().initializer.push(tensor),
        &|model, tensor| model.graph().node.insert(0, constant(tensor)),
        &|model, tensor| {
            let name = Some("f".into());
            let node = vec![constant(tensor)];
            model.model.functions.push(FunctionProto { name, node, ..FunctionProto::default() });
        },
        &|model, tensor| {
            let mut graph = classifier(1).graph().clone();
            graph.initializer.push(tensor);
            let info = TrainingInfoProto { algorithm: Some(graph), ..TrainingInfoProto::default() };
            model.model.training_info.push(info);
        },
    ];
    for (i, carrier) in carriers.into_iter().enumerate() {
        assert_eq!(read(carrier, elsewhere(&["near.bin"])), Ok(()), "carrier {i}");
        for (locations, words) in [
            (&["../far.bin"][..], "not in the model's folder"),
            (&["/etc/passwd"], "not in the model's folder"),
            (&["near.bin", "../far.bin"], "given twice"),
            (&["*/_ORT_MEM_ADDR_/*"], "cannot be read"),
        ] {
            let error = read(carrier, elsewhere(locations)).unwrap_err();
            assert!(error.contains(words), "carrier {i}, {locations:?}: {error}");
        }
    }
}

#[test]
fn a_message_is_one_line_of_readable_length_whatever_a_file_calls_things() {
    let mut model = classifier(1);
    model.graph().node[0].input[0] = format!("\nerror: forged\u{1b}[2K{}", "n".repeat(1 << 20));
    let error = OnnxFile::from_bytes(&model.bytes(), "a\nb.onnx").unwrap_err();
    let failure = Failure::from(error);
    assert!(failure.message.starts_with("a\\nb.onnx: the graph is invalid"), "{failure}");
    assert!(failure.message.contains("`\\nerror: forged\\u001b[2Knnn"), "{failure}");
    assert!(!failure.message.contains(['\n', '\u{1b}']) && failure.message.len() < 2200);
}

#[test]
fn what_is_no_model_is_known_by_its_start() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("hole.onnx");
    std::fs::File::create(&path).unwrap().set_len((1 << 31) - 1).unwrap();
    let error = OnnxFile::load(&path).unwrap_err();
    assert!(matches!(error, DeployError::NotOnnx { .. }), "{error}");
    // A tag of two bytes at the end of a file is cut, and no other kind of file.
    std::fs::write(&path, [0x80]).unwrap();
    assert!(matches!(OnnxFile::load(&path).unwrap_err(), DeployError::Truncated { .. }));
    let whole = classifier(1).model.encode_to_vec();
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(OnnxFile::load(&path).unwrap().bytes(), whole.len() as u64);
}

#[test]
fn a_function_of_the_file_is_named_whatever_else_is_called_so() {
    let known = counted(&classifier(1)).unwrap();
    assert!(known.unknown.is_empty());
    for (of_file, of_node) in [("", ""), ("ai.onnx", ""), ("", "ai.onnx"), ("own", "own")] {
        let mut model = classifier(1);
        model.value_info("pw", &[1, 8, 4, 4]);
        for node in &mut model.graph().node {
            if node.name == "pw" {
                (node.domain, node.op_type) = (of_node.to_owned(), "Block".to_owned());
            }
        }
        let (name, domain) = (Some("Block".to_owned()), Some(of_file.to_owned()));
        model.model.functions.push(FunctionProto { name, domain, ..Default::default() });
        let cost = counted(&model).unwrap();
        let [unknown] = &cost.unknown[..] else { panic!("{:?}", cost.unknown) };
        assert_eq!(unknown.name, "pw");
        assert!(unknown.reason.contains("a function of the file"), "{unknown}");
        assert_eq!((cost.params, cost.madds), (known.params - 48, known.madds - 16 * 48));
    }
    // One that is called like an operator of the standard is what runs.
    let mut model = classifier(1);
    model.value_info("gap", &[1, 22, 1, 1]);
    let name = Some("GlobalAveragePool".to_owned());
    model.model.functions.push(FunctionProto { name, ..Default::default() });
    let cost = counted(&model).unwrap();
    let named: Vec<&str> = cost.unknown.iter().map(|of| of.name.as_str()).collect();
    assert_eq!((named, cost.madds), (vec!["gap"], known.madds));
}
