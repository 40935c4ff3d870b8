use std::{fs, path::PathBuf};

use adwp_measure::{
    DeployError,
    cost::cost,
    onnx::{BatchSize, NEWEST_OPSET, OLDEST_OPSET, OnnxModel},
    runtime::{Runtime, Session, SessionOptions},
};
use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::{GraphProto, StringStringEntryProto, tensor_proto::DataLocation};

use crate::models::{Builder, CLASSIFIER_MADDS, CLASSIFIER_PARAMS, classifier, int, ints};

#[test]
fn a_classifier_is_described() {
    let mut model = classifier(-1);
    model
        .metadata("adwp.classes", r#"["cat", "dog", "frog", "ship"]"#)
        .metadata("adwp.mean", "[0.5, 0.25, 0.125]")
        .metadata("adwp.std", "[1, 2, 0.5]")
        .metadata("adwp.params", "440")
        .metadata("adwp.madds", "13240")
        .metadata("adwp.genotype", r#"{"schema": "adwp/genotype/1"}"#)
        .metadata("adwp.test_accuracy", "0.9712")
        .metadata("adwp.dataset", "cifar10")
        .metadata("author", "someone");
    let model = model.read().unwrap();
    let (input, output) = (model.input(), model.output());
    assert_eq!(
        (input.name.as_str(), input.batch, input.channels, input.height, input.width),
        ("x", BatchSize::Dynamic, 3, 8, 8)
    );
    assert_eq!((output.name.as_str(), output.classes, model.opset()), ("y", 4, 17));
    assert_eq!(model.metadata_props()["author"], "someone");
    let known = model.metadata();
    assert_eq!(
        (known.params, known.madds, known.test_accuracy),
        (Some(440), Some(13240), Some(0.9712))
    );
    let normalization = known.normalization.as_ref().unwrap();
    assert_eq!((normalization.mean[1], normalization.std[2]), (0.25, 0.5));
    assert_eq!(known.genotype.as_ref().unwrap()["schema"], "adwp/genotype/1");
    assert_eq!(
        (model.class_name(2), known.dataset.as_deref()),
        ("frog".to_owned(), Some("cifar10"))
    );
    let stranger = classifier(5).read().unwrap();
    assert_eq!(
        (stranger.input().batch, stranger.class_name(2)),
        (BatchSize::Fixed(5), "class 2".to_owned())
    );
}

#[test]
fn metadata_that_does_not_fit_names_its_key() {
    for (key, value, other) in [
        ("adwp.classes", r#"["cat"]"#, None),
        ("adwp.classes", "cat", None),
        ("adwp.params", "-1", None),
        ("adwp.std", "[1, 0, 1]", Some(("adwp.mean", "[0, 0, 0]"))),
        ("adwp.std", "[1, 1]", Some(("adwp.mean", "[0, 0, 0]"))),
        ("adwp.std", "[1, 1, 1e99]", Some(("adwp.mean", "[0, 0, 0]"))),
    ] {
        let mut model = classifier(-1);
        model.metadata(key, value);
        if let Some((key, value)) = other {
            model.metadata(key, value);
        }
        match model.read() {
            Err(DeployError::Metadata { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{key} = {value}: {other:?}"),
        }
    }
    let mut model = classifier(-1);
    let half = model.metadata("adwp.mean", "[0, 0, 0]").read();
    assert!(matches!(half, Err(DeployError::Metadata { key, .. }) if key == "adwp.std"));
}

/// A statement for 3x8x8 floats, which of two texts one is replaced in.
fn stated(change: (&str, &str)) -> String {
    let text = r#"{"schema": "adwp/preprocessing/1", "orientation": "exif", "color": "RGB",
        "resize": {"rule": "cover", "height": 9, "width": 10, "round": "down",
            "interpolation": "bilinear", "antialias": true, "passes": ["width", "height"]},
        "crop": {"rule": "center", "height": 8, "width": 8, "round": "half-even"},
        "divide_by": 255, "mean": [0.5, 0.25, 0.125], "std": [1, 2, 0.5],
        "layout": "NCHW", "dtype": "float32"}"#;
    assert!(change.0.is_empty() || text.contains(change.0), "{}", change.0);
    text.replace(change.0, change.1)
}

#[test]
fn what_becomes_of_photos_is_stated() {
    let mut model = classifier(-1);
    let read = model.metadata("adwp.preprocessing", &stated(("", ""))).read().unwrap();
    let how = read.metadata().preprocessing.unwrap();
    assert_eq!((how.cover, how.bicubic), ([9, 10], false));
    let cubic = stated(("bilinear", "bicubic"));
    let cubic = classifier(-1).metadata("adwp.preprocessing", &cubic).read().unwrap();
    assert!(cubic.metadata().preprocessing.unwrap().bicubic);
    let normalization = read.preparation().unwrap();
    assert_eq!(normalization.mean, [0.5, 0.25, 0.125]);
    assert_eq!(normalization.std, [1.0, 2.0, 0.5]);
    model.metadata("adwp.mean", "[0.5, 0.25, 0.125]").metadata("adwp.std", "[1, 2, 0.5]");
    assert_eq!(model.read().unwrap().preparation().unwrap(), normalization);
    // Constants for bytes as they are.
    let mut of_bytes = classifier(-1);
    of_bytes.metadata("adwp.preprocessing", &stated(("255", "1")));
    let of_bytes = of_bytes.read().unwrap().preparation().unwrap();
    assert!((of_bytes.mean[0] - 0.5 / 255.0).abs() < 1e-9, "{of_bytes:?}");
    assert!((of_bytes.std[1] - 2.0 / 255.0).abs() < 1e-9, "{of_bytes:?}");
    assert_eq!(classifier(-1).read().unwrap().metadata().preprocessing, None);
}

#[test]
fn a_statement_that_is_not_followed_is_refused() {
    for (change, part) in [
        (("preprocessing/1", "preprocessing/2"), "adwp/preprocessing/2"),
        (("exif", "none"), "`orientation` is \"none\""),
        (("RGB", "L"), "`color` is \"L\""),
        (("RGB", "BGR"), "\"RGB\""),
        (("cover", "fit"), "`resize.rule`"),
        (("down", "up"), "`resize.round`"),
        (("bilinear", "nearest"), "`resize.interpolation` is \"nearest\""),
        (("true", "false"), "`resize.antialias`"),
        (("[\"width\", \"height\"]", "[\"height\", \"width\"]"), "`resize.passes`"),
        (("\"height\": 9", "\"height\": 7"), "`resize` covers 7x10"),
        (("\"height\": 9", "\"height\": -9"), "-9"),
        (("center", "corner"), "`crop.rule`"),
        (("half-even", "half-up"), "`crop.round`"),
        (("\"height\": 8", "\"height\": 6"), "`crop` gives 6x8"),
        (("[0.5, 0.25, 0.125]", "[0.5]"), "`mean` has 1 values"),
        (("[1, 2, 0.5]", "[1, 0, 0.5]"), "greater than 0"),
        (("255", "-255"), "greater than 0"),
        (("255", "1e300"), "too large"),
        (("NCHW", "NHWC"), "`layout`"),
        (("float32", "uint8"), "`dtype`"),
        (("\"dtype\"", "\"gamma\""), "gamma"),
        (("\"dtype\": \"float32\"", "\"dtype\": null"), "null"),
        (("{\"schema\"", "[{\"schema\""), "schema"),
    ] {
        let mut model = classifier(-1);
        match model.metadata("adwp.preprocessing", &stated(change)).read() {
            Err(DeployError::Metadata { key, detail, .. }) => {
                assert_eq!(key, "adwp.preprocessing");
                assert!(detail.contains(part), "{change:?}: {detail}");
            }
            other => panic!("{change:?}: {other:?}"),
        }
    }
    for text in ["", "{}", "null", "[]"] {
        let mut model = classifier(-1);
        let read = model.metadata("adwp.preprocessing", text).read();
        assert!(matches!(read, Err(DeployError::Metadata { .. })), "{text:?}");
    }
    let mut model = classifier(-1);
    model
        .metadata("adwp.preprocessing", &stated(("", "")))
        .metadata("adwp.mean", "[0.5, 0.25, 0.25]")
        .metadata("adwp.std", "[1, 2, 0.5]");
    assert!(matches!(
        model.read(),
        Err(DeployError::Metadata { detail, .. }) if detail.contains("another normalisation")
    ));
}

#[test]
fn files_that_are_no_models_say_what_they_are() {
    let dir = TempDir::new().unwrap();
    let missing = OnnxModel::load(dir.path().join("missing.onnx")).unwrap_err();
    assert!(matches!(missing, DeployError::Missing { .. }));
    assert!(missing.to_string().contains("missing.onnx") && missing.hint().is_some());
    assert!(matches!(OnnxModel::load(dir.path()), Err(DeployError::Unreadable { .. })));
    let empty = dir.path().join("empty.onnx");
    fs::write(&empty, "").unwrap();
    assert!(matches!(OnnxModel::load(&empty), Err(DeployError::Empty { .. })));
    for text in ["{\"a\": 1}", "hello, world", "\u{89}PNG\r\n", "#!/bin/sh", "<html>", "\0\0\0\0"] {
        let error = OnnxModel::from_bytes(text.as_bytes(), "text.onnx").unwrap_err();
        assert!(matches!(error, DeployError::NotOnnx { .. }), "{text}: {error}");
        assert!(error.to_string().starts_with("text.onnx: ") && error.hint().is_some());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = classifier(-1).bytes();
    // The operator set is the last field; a file that ends there is complete.
    for len in 0..bytes.len() {
        let error = OnnxModel::from_bytes(&bytes[..len], "cut.onnx").unwrap_err();
        let truncated = matches!(error, DeployError::Empty { .. } | DeployError::Truncated { .. });
        assert!(truncated, "{len} bytes: {error}");
    }
}

#[test]
fn runtimes_refuse_truncated_files() {
    let dir = TempDir::new().unwrap();
    let bytes = classifier(-1).bytes();
    let path = dir.path().join("cut.onnx");
    for cut in 0..50 {
        fs::write(&path, &bytes[..bytes.len() * cut / 50]).unwrap();
        assert!(Session::load(Runtime::Tract, &path, &SessionOptions::default()).is_err());
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let bytes = classifier(-1).bytes();
    let mut state = 7_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..5000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random() % 4 {
            let at = random() % damaged.len();
            damaged[at] = random() as u8;
        }
        if let Ok(model) = OnnxModel::from_bytes(&damaged, "damaged.onnx") {
            // The result may be right or wrong; it must be a result.
            let _ = cost(&model);
        }
    }
    for _ in 0..5000 {
        let noise: Vec<u8> = (0..random() % 200).map(|_| random() as u8).collect();
        assert!(OnnxModel::from_bytes(&noise, "noise.onnx").is_err());
    }
}

#[test]
fn the_operator_set_must_be_supported() {
    for version in [OLDEST_OPSET - 1, NEWEST_OPSET + 1, -1, i64::MAX] {
        let mut model = classifier(-1);
        model.model.opset_import[0].version = version;
        let error = model.read().unwrap_err();
        assert!(matches!(error, DeployError::UnsupportedOpset { opset, .. } if opset == version));
        assert!(error.hint().is_some());
    }
    // These are what exporters write, and none of them may be lost.
    assert_eq!(OLDEST_OPSET, 7);
    const { assert!(NEWEST_OPSET >= 26) };
    for version in 7..=NEWEST_OPSET {
        let mut model = classifier(-1);
        model.model.opset_import[0].version = version;
        check_classifier(&model.read().unwrap());
    }
}

#[test]
fn what_is_no_image_classifier_is_refused_with_its_shape() {
    let refused = |model: &Builder| match model.read() {
        Err(DeployError::NotClassifier { detail, .. }) => detail,
        other => panic!("{other:?}"),
    };
    let mut open_size = Builder::new([1, 3, -1, -1]);
    let open = open_size.node("Relu", &["x"], "y", vec![]).output("y", &[1, 3]).read();
    let Err(DeployError::OpenShape { shape, .. }) = open else { panic!("{open:?}") };
    assert_eq!(shape, "[1, 3, ?, ?]");
    let mut image_to_image = Builder::new([1, 3, 8, 8]);
    assert!(
        refused(image_to_image.node("Relu", &["x"], "y", vec![]).output("y", &[1, 3, 8, 8]))
            .contains("`y`")
    );
    let mut no_output = Builder::new([1, 3, 8, 8]);
    refused(no_output.node("Relu", &["x"], "y", vec![]));
    let mut two_inputs = classifier(1);
    let extra = two_inputs.graph().input[0].clone();
    two_inputs.graph().input.push(tract_onnx::pb::ValueInfoProto { name: "mask".into(), ..extra });
    assert!(refused(&two_inputs).contains("x, mask"));
    // Older files list their weights among the inputs.
    let mut listed = classifier(1);
    let input = tract_onnx::pb::ValueInfoProto { name: "stem.w".into(), ..Default::default() };
    listed.graph().input.push(input);
    listed.read().unwrap();
}

#[test]
fn graphs_that_contradict_themselves_are_refused() {
    let refused = |change: fn(&mut GraphProto), word: &str| {
        let mut model = classifier(1);
        change(model.graph());
        match model.read() {
            Err(DeployError::InvalidGraph { detail, .. }) => {
                assert!(detail.contains(word), "{detail}")
            }
            other => panic!("{other:?}"),
        }
    };
    // It reads what is not there, or what comes later; two write the same; nothing writes the end.
    refused(|graph| graph.node[3].input[0] = "nowhere".into(), "nowhere");
    refused(|graph| graph.node.swap(0, 1), "stem");
    refused(|graph| graph.node[2].output[0] = "bn".into(), "bn");
    refused(|graph| graph.output[0].name = "end".into(), "end");
    // Tensors that are short, negative, huge, there twice.
    refused(|graph| _ = graph.initializer[0].raw_data.pop(), "stem.w");
    refused(|graph| graph.initializer[0].dims[0] = -6, "-6");
    refused(|graph| graph.initializer[0].dims = vec![1 << 31; 3], "too many");
    refused(|graph| graph.initializer.push(graph.initializer[0].clone()), "stem.w");
}

#[test]
fn graphs_are_nested_as_deep_as_any_reader_follows_them() {
    // A graph inside an attribute inside a node inside a graph, …
    let nested = |levels: usize| {
        let mut graph = GraphProto::default();
        for _ in 0..levels {
            let attribute =
                tract_onnx::pb::AttributeProto { g: Some(graph), ..int("then_branch", 0) };
            let node = tract_onnx::pb::NodeProto {
                op_type: "If".into(),
                attribute: vec![attribute, ints("i", &[1])],
                ..Default::default()
            };
            graph = GraphProto { node: vec![node], ..Default::default() };
        }
        let mut model = classifier(1).model;
        model.graph.as_mut().unwrap().node.extend(graph.node);
        OnnxModel::from_bytes(&model.encode_to_vec(), "deep.onnx")
    };
    for levels in [1, 30, 33] {
        let cost = cost(&nested(levels).unwrap()).unwrap();
        assert_eq!((cost.params, cost.madds), (CLASSIFIER_PARAMS, CLASSIFIER_MADDS));
        assert!(cost.unknown[0].reason.contains("graphs of its own"), "{:?}", cost.unknown);
    }
    for levels in [34, 200] {
        let refused = nested(levels).unwrap_err().to_string();
        assert!(refused.contains("nested more than 100 deep"), "{refused}");
    }
}

/// What was read costs what the classifier does.
fn check_classifier(model: &OnnxModel) {
    let cost = cost(model).unwrap();
    assert_eq!((cost.params, cost.madds), (CLASSIFIER_PARAMS, CLASSIFIER_MADDS));
}

#[test]
fn fields_of_a_newer_standard_are_passed_over() {
    let bytes = classifier(-1).bytes();
    // Field 26 of bytes, 30 of a number, 40 of eight bytes and 41 of four.
    for field in [
        &[0xd2, 0x01, 2, b'a', b'b'][..],
        &[0xf0, 0x01, 7],
        &[0xc1, 0x02, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xcd, 0x02, 1, 2, 3, 4],
    ] {
        for newer in [[&bytes, field].concat(), [field, &bytes].concat()] {
            check_classifier(&OnnxModel::from_bytes(&newer, "newer.onnx").unwrap());
        }
        let cut = [&bytes, &field[..field.len() - 1]].concat();
        let error = OnnxModel::from_bytes(&cut, "cut.onnx").unwrap_err();
        assert!(matches!(error, DeployError::Truncated { .. }), "{error}");
        let alone = OnnxModel::from_bytes(field, "alone.onnx").unwrap_err();
        assert!(matches!(alone, DeployError::NotOnnx { .. }), "{alone}");
    }
}

#[test]
fn text_that_is_not_utf_8_is_escaped() {
    let mut model = classifier(-1);
    model.metadata("author", "J@rgen");
    model.graph().node[0].name = "first@".into();
    model.graph().name = "@".into();
    let text = model.bytes();
    let replaced: Vec<u8> = text.iter().map(|&b| if b == b'@' { 0xfc } else { b }).collect();
    assert!(replaced.iter().filter(|&&byte| byte == 0xfc).count() >= 3);
    let model = OnnxModel::from_bytes(&replaced, "latin.onnx").unwrap();
    check_classifier(&model);
    assert_eq!(model.metadata_props()["author"], "J\\xfcrgen");
    assert_eq!(model.nodes()[0].name, "first\\xfc");
}

#[test]
fn a_model_of_other_operator_sets_alone_says_so() {
    let mut model = classifier(-1);
    model.model.opset_import[0].domain = "ai.onnx.ml".into();
    let error = model.read().unwrap_err().to_string();
    assert!(error.contains("ai.onnx.ml 17") && !error.contains("truncated"), "{error}");
    model.model.opset_import.clear();
    assert!(matches!(model.read().unwrap_err(), DeployError::Truncated { .. }));
}

#[test]
fn weights_in_other_files_are_read_from_the_folder_and_from_a_hubs_cache() {
    let dir = TempDir::new().unwrap();
    let cache = dir.path().join("models--someone--net");
    let (blobs, snapshot) = (cache.join("blobs"), cache.join("snapshots/1a2b"));
    [&blobs, &snapshot].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let mut model = classifier(-1);
    let location = |model: &mut Builder, location: &str| {
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        let stem = &mut model.graph().initializer[0];
        let data = std::mem::take(&mut stem.raw_data);
        stem.data_location = Some(DataLocation::External as i32);
        stem.external_data = vec![entry("location", location)];
        data
    };
    let data = location(&mut model, "./stem.bin");
    fs::write(dir.path().join("stem.bin"), &data).unwrap();
    let path = dir.path().join("model.onnx");
    fs::write(&path, model.bytes()).unwrap();
    check_classifier(&OnnxModel::load(&path).unwrap());

    // Into a folder and out of it again is inside.
    fs::create_dir(dir.path().join("sub")).unwrap();
    let through = |place: &str| {
        let mut model = classifier(-1);
        location(&mut model, place);
        OnnxModel::from_bytes(&model.bytes(), &path)
    };
    check_classifier(&through("sub/../stem.bin").unwrap());
    check_classifier(&through("./sub/.././sub/../stem.bin").unwrap());
    assert!(through("none/../stem.bin").unwrap_err().to_string().contains("cannot be read"));
    // What is behind a link is another folder.
    fs::create_dir_all(dir.path().join("deep/deeper")).unwrap();
    fs::write(dir.path().join("deep/stem.bin"), &data).unwrap();
    std::os::unix::fs::symlink("deep/deeper", dir.path().join("link")).unwrap();
    let error = through("link/../stem.bin").unwrap_err().to_string();
    assert!(error.contains("leads through a link"), "{error}");

    fs::write(blobs.join("aa"), model.bytes()).unwrap();
    fs::write(blobs.join("bb"), &data).unwrap();
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, snapshot.join(name)).unwrap();
    };
    link("../../blobs/aa", "model.onnx");
    link("../../blobs/bb", "stem.bin");
    check_classifier(&OnnxModel::load(snapshot.join("model.onnx")).unwrap());

    // A link out of the cache leads nowhere, and neither does one of a folder that is no cache.
    let error = |path: PathBuf| OnnxModel::load(path).unwrap_err().to_string();
    fs::remove_file(snapshot.join("stem.bin")).unwrap();
    link("../../../stem.bin", "stem.bin");
    assert!(error(snapshot.join("model.onnx")).contains("a link out of"));
    fs::remove_file(snapshot.join("stem.bin")).unwrap();
    link("../../blobs/bb", "stem.bin");
    fs::rename(&blobs, cache.join("data")).unwrap();
    fs::remove_file(snapshot.join("stem.bin")).unwrap();
    fs::remove_file(snapshot.join("model.onnx")).unwrap();
    link("../../data/aa", "model.onnx");
    link("../../data/bb", "stem.bin");
    assert!(error(snapshot.join("model.onnx")).contains("a link out of"));
    for location_outside in ["../stem.bin", "/etc/passwd", "a/../../stem.bin", "", "a/.."] {
        let mut model = classifier(-1);
        location(&mut model, location_outside);
        let error = model.read().unwrap_err().to_string();
        assert!(error.contains("not in the model's folder"), "{location_outside}: {error}");
    }
}
