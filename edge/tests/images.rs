//! `eval` and `predict` on folders of plain images, with classifiers that tell their colours.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adwp_base::Failure;
use adwp_data::DatasetKind;
use adwp_edge::{BenchArgs, EvalArgs, LoadArgs, OrtArgs, PredictArgs, Style};
use adwp_measure::runtime::Runtime;
use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value as Dim},
    type_proto,
};

const COLOURS: [(&str, [u8; 3]); 3] =
    [("blue", [0, 0, 255]), ("green", [0, 255, 0]), ("red", [255, 0, 0])];

/// A folder with `val/COLOUR/0.png` and `1.png`, and the like for training.
fn images(dir: &TempDir) -> PathBuf {
    let data = dir.path().join("rgb");
    for split in ["train", "val"] {
        for (name, colour) in COLOURS {
            let folder = data.join(split).join(name);
            fs::create_dir_all(&folder).unwrap();
            for i in 0..2 {
                let image = image::RgbImage::from_pixel(20, 12, image::Rgb(colour));
                image.save(folder.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    data
}

/// A classifier whose logits are ten times the mean of each channel, in the order `of` of channels.
struct Classifier {
    size: [i64; 3],
    of: [usize; 3],
    end: Vec<&'static str>,
    metadata: Vec<(&'static str, &'static str)>,
}

const NORMALIZED: [(&str, &str); 2] =
    [("adwp.mean", "[0.5, 0.5, 0.5]"), ("adwp.std", "[0.5, 0.5, 0.5]")];

impl Classifier {
    /// Blue, green and red, as channels 2, 1 and 0.
    fn new() -> Self {
        Self { size: [3, 8, 8], of: [2, 1, 0], end: Vec::new(), metadata: NORMALIZED.to_vec() }
    }

    fn write(&self, dir: &TempDir) -> PathBuf {
        let value = |name: &str, dims: &[i64]| {
            let dim = |&size: &i64| Dimension {
                value: Some(match size {
                    0 => Dim::DimParam("N".into()),
                    _ => Dim::DimValue(size),
                }),
                ..Default::default()
            };
            let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
            let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
            ValueInfoProto {
                name: name.into(),
                r#type: Some(TypeProto {
                    value: Some(type_proto::Value::TensorType(tensor)),
                    ..Default::default()
                }),
                ..Default::default()
            }
        };
        let [channels, height, width] = self.size;
        let mut weight = vec![0.0; 3 * channels as usize];
        for (class, &channel) in self.of.iter().enumerate() {
            weight[class * channels as usize + channel.min(channels as usize - 1)] = 10.0;
        }
        let weight = TensorProto {
            name: "w".into(),
            dims: vec![3, channels],
            data_type: DataType::Float as i32,
            float_data: weight,
            ..Default::default()
        };
        let ops = [&["GlobalAveragePool", "Flatten", "Gemm"][..], &self.end].concat();
        let node = |(i, op): (usize, &&str)| {
            let name = |i: usize| match i {
                0 => "x".to_owned(),
                i if i == ops.len() => "y".to_owned(),
                i => format!("t{i}"),
            };
            let is_gemm = *op == "Gemm";
            let transposed = AttributeProto {
                name: "transB".into(),
                i: 1,
                r#type: AttributeType::Int as i32,
                ..Default::default()
            };
            NodeProto {
                op_type: (*op).into(),
                input: if is_gemm { vec![name(i), "w".into()] } else { vec![name(i)] },
                output: vec![name(i + 1)],
                attribute: if is_gemm { vec![transposed] } else { Vec::new() },
                ..Default::default()
            }
        };
        let graph = GraphProto {
            name: "colours".into(),
            node: ops.iter().enumerate().map(node).collect(),
            initializer: vec![weight],
            input: vec![value("x", &[0, channels, height, width])],
            output: vec![value("y", &[0, 3])],
            ..Default::default()
        };
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: (*key).into(),
            value: (*value).into(),
        };
        let model = ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(graph),
            metadata_props: self.metadata.iter().map(entry).collect(),
            ..Default::default()
        };
        let path = dir.path().join("model.onnx");
        fs::write(&path, model.encode_to_vec()).unwrap();
        path
    }
}

/// What `eval` prints, and its messages.
fn eval(model: &Path, data: &Path, normalize: Option<&str>) -> Result<(String, String), Failure> {
    eval_with(&[Runtime::Tract], model, data, normalize)
}

fn eval_with(
    runtimes: &[Runtime],
    model: &Path,
    data: &Path,
    normalize: Option<&str>,
) -> Result<(String, String), Failure> {
    let args = EvalArgs {
        model: model.to_owned(),
        dataset: DatasetKind::ImageFolder,
        data: Some(data.to_owned()),
        runtime: runtimes.to_vec(),
        batch: 4,
        val_share: None,
        normalize: normalize.map(|text| adwp_edge::normalize(text).unwrap()),
        load: loaded_here(),
    };
    let mut said = String::new();
    let mut say = |text: &str| said = format!("{said}{text}\n");
    let printed = adwp_edge::eval(&args, Style { json: false, say: &mut say })?;
    Ok((printed, said))
}

fn predict(model: &Path, image: &Path, normalize: Option<&str>) -> Result<String, Failure> {
    let (text, failure) = predict_all(model, &[image], normalize, &mut |_| {})?;
    failure.map_or(Ok(text), Err)
}

/// What is printed, and the failure that follows it.
fn predict_all(
    model: &Path,
    images: &[&Path],
    normalize: Option<&str>,
    say: &mut dyn FnMut(&str),
) -> Result<(String, Option<Failure>), Failure> {
    let args = PredictArgs {
        model: model.to_owned(),
        images: images.iter().map(|path| path.to_path_buf()).collect(),
        top: 1,
        runtime: Some(Runtime::Tract),
        normalize: normalize.map(|text| adwp_edge::normalize(text).unwrap()),
        load: loaded_here(),
    };
    adwp_edge::predict(&args, Style { json: false, say })
}

fn is_right(printed: &str, images: usize) -> bool {
    printed.contains(&format!("top-1 100.00%  top-5 100.00%  ({images} of {images} images)"))
}

#[test]
fn names_of_classes_decide_and_not_their_order() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let names = |names: &'static str| {
        let mut model = Classifier::new();
        model.metadata.push(("adwp.classes", names));
        model
    };
    for (of, classes) in [
        ([2, 1, 0], r#"["blue", "green", "red"]"#),
        ([0, 2, 1], r#"["red", "blue", "green"]"#),
        ([1, 0, 2], r#"["green", "red", "blue"]"#),
    ] {
        let model = Classifier { of, ..names(classes) }.write(&dir);
        assert!(is_right(&eval(&model, &data, None).unwrap().0, 6), "{classes}");
    }
    let other = names(r#"["blue", "gr\u001b[31meen", "red"]"#).write(&dir);
    let message = eval(&other, &data, None).unwrap_err().message;
    let expected = "only the file has gr\\u001b[31meen; only the data set has green";
    assert!(message.contains(expected), "{message}");
    let twice = names(r#"["blue", "red", "red"]"#).write(&dir);
    let message = eval(&twice, &data, None).unwrap_err().message;
    assert!(
        message.ends_with("names the class red twice, and image-folder each once"),
        "{message}"
    );
    // Without names their order is all that is known.
    let (printed, said) = eval(&Classifier::new().write(&dir), &data, None).unwrap();
    assert!(is_right(&printed, 6), "{printed}");
    let expected = "names no classes: its metadata lacks adwp.classes, so that its scores are \
                    taken to be in the order of those of image-folder";
    assert!(said.contains(expected), "{said}");
    let named = names(r#"["blue", "green", "red"]"#).write(&dir);
    assert!(!eval(&named, &data, None).unwrap().1.contains("names no classes"));
}

/// The file at `path`, changed.
fn change(path: &Path, how: impl FnOnce(&mut ModelProto, &mut GraphProto)) {
    let mut model = ModelProto::decode(&fs::read(path).unwrap()[..]).unwrap();
    let mut graph = model.graph.take().unwrap();
    how(&mut model, &mut graph);
    model.graph = Some(graph);
    fs::write(path, model.encode_to_vec()).unwrap();
}

/// Sets the size of a value behind the batch.
fn set_size(value: &mut ValueInfoProto, size: i64) {
    set_dim(value, 1, size);
}

/// Sets one dimension of a value.
fn set_dim(value: &mut ValueInfoProto, axis: usize, size: i64) {
    let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_mut().and_then(|of| of.value.as_mut())
    else {
        unreachable!()
    };
    tensor.shape.as_mut().unwrap().dim[axis].value = Some(Dim::DimValue(size));
}

#[test]
fn the_output_with_as_many_scores_as_classes_is_taken_and_said() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    // Features of six numbers come before the scores, and are found first.
    change(&model, |_, graph| {
        graph.node.push(NodeProto {
            op_type: "Concat".into(),
            input: vec!["t2".into(); 2],
            output: vec!["features".into()],
            attribute: vec![AttributeProto {
                name: "axis".into(),
                i: 1,
                r#type: AttributeType::Int as i32,
                ..Default::default()
            }],
            ..Default::default()
        });
        let mut features = graph.output[0].clone();
        features.name = "features".into();
        set_size(&mut features, 6);
        graph.output.insert(0, features);
    });
    let (printed, said) = eval(&model, &data, None).unwrap();
    assert!(is_right(&printed, 6), "{printed}");
    let of = |taken: &str, other: &str| {
        format!("are taken from its output {taken}, and not from {other}: --output names another")
    };
    assert!(said.contains(&of("y", "features")), "{said}");
    let red = data.join("val/red/0.png");
    let mut said = String::new();
    predict_all(&model, &[&red], None, &mut |text| said += text).unwrap();
    assert!(said.contains(&of("features", "y")), "{said}");
}

#[test]
fn scores_that_are_no_logits_are_said_once_images_are_shown_their_softmax() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let red = data.join("val/red/0.png");
    let said_of = |end: &[&'static str]| {
        let model = Classifier { end: end.to_vec(), ..Classifier::new() }.write(&dir);
        let mut said = String::new();
        predict_all(&model, &[&red, &red], None, &mut |text| said += text).unwrap();
        said
    };
    let bounded = said_of(&["Tanh"]);
    let expected = "computes its scores by node y, which gives no logits: what is shown is the \
                    softmax of them, which may not be the model's probabilities";
    assert_eq!(bounded.matches(expected).count(), 1, "{bounded}");
    let squared = said_of(&["Sigmoid", "Sqrt"]);
    assert!(squared.contains("computes its scores from probabilities (node y)"), "{squared}");
    for end in [&[][..], &["LogSoftmax"], &["Softmax", "Log"], &["Relu"], &["Softmax"]] {
        let said = said_of(end);
        assert!(!said.contains("computes its scores"), "{end:?}: {said}");
    }
}

#[test]
fn what_one_image_gives_is_said_to_depend_on_others_where_it_does() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    let (_, said) = eval(&model, &data, None).unwrap();
    assert!(!said.contains("of its run"), "{said}");
    change(&model, |_, graph| {
        let mut joining = graph.node[2].clone();
        graph.node[2].output = vec!["scores".into()];
        (joining.op_type, joining.input) = ("Softmax".into(), vec!["scores".into()]);
        (joining.attribute[0].name, joining.attribute[0].i) = ("axis".into(), 0);
        graph.node.push(joining);
    });
    let (_, said) = eval(&model, &data, None).unwrap();
    let expected = "may depend on the others of its run, 4 at once, through node y (Softmax): \
                    --batch 1 gives each alone";
    assert!(said.contains(expected), "{said}");
    let red = data.join("val/red/0.png");
    let mut said = String::new();
    predict_all(&model, &[&red], None, &mut |text| said += text).unwrap();
    assert!(!said.contains("of its run"), "{said}");
    change(&model, |_, graph| {
        set_dim(&mut graph.input[0], 0, 2);
        set_dim(&mut graph.output[0], 0, 2);
    });
    predict_all(&model, &[&red], None, &mut |text| said += text).unwrap();
    assert!(said.contains("2 at once, through node y (Softmax): the file fixes that"), "{said}");
}

#[test]
fn one_score_is_shown_as_the_sigmoid_that_it_is() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    change(&model, |_, graph| {
        graph.initializer[0].dims[0] = 1;
        graph.initializer[0].float_data = vec![0.0, 0.0, 1.0];
        set_size(&mut graph.output[0], 1);
    });
    let red = data.join("val/red/0.png");
    let mut said = String::new();
    let (printed, _) = predict_all(&model, &[&red], None, &mut |text| said += text).unwrap();
    // The sigmoid of -1.
    assert!(printed.contains(" 26.89%  class 0"), "{printed}");
    assert!(said.contains("gives one score alone: what is shown is the sigmoid"), "{said}");
}

#[test]
fn a_runtime_that_fails_on_a_file_is_a_row_of_eval() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let mut model = Classifier::new();
    model.metadata.push(("adwp.classes", r#"["blue", "green", "red"]"#));
    let model = model.write(&dir);
    change(&model, |model, graph| {
        // Twice the negative, by a function that is called as another operator is.
        for node in &mut graph.node {
            node.output.iter_mut().filter(|name| *name == "y").for_each(|name| *name = "s".into());
        }
        for (input, output) in [("s", "n"), ("n", "y")] {
            graph.node.push(NodeProto {
                op_type: "Relu".into(),
                domain: "local".into(),
                input: vec![input.into()],
                output: vec![output.into()],
                ..Default::default()
            });
        }
        model.opset_import.push(OperatorSetIdProto { domain: "local".into(), version: 1 });
        model.functions.push(FunctionProto {
            name: Some("Relu".into()),
            domain: Some("local".into()),
            input: vec!["a".into()],
            output: vec!["b".into()],
            node: vec![NodeProto {
                op_type: "Neg".into(),
                input: vec!["a".into()],
                output: vec!["b".into()],
                ..Default::default()
            }],
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            ..Default::default()
        });
    });
    let alone = eval(&model, &data, None).unwrap_err();
    assert!(alone.message.contains("local.Relu, which it does not have"), "{alone}");
    if let Err(error) = adwp_measure::ort_library::find(None) {
        assert!(std::env::var_os("ADWP_REQUIRE_ORT").is_none(), "{error}");
        return;
    }
    let (printed, said) = eval_with(&[], &model, &data, None).unwrap();
    let [ort, tract] = printed.lines().collect::<Vec<_>>()[..] else { panic!("{printed}") };
    assert!(ort.starts_with("ort    top-1 100.00%"), "{printed}");
    assert!(tract.starts_with("tract  failed: ") && tract.contains("local.Relu"), "{printed}");
    assert!(said.contains("warning: going on without tract"), "{said}");
}

#[test]
fn a_file_that_takes_one_image_alone_is_given_one_by_one() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    change(&model, |_, graph| {
        let reshape = graph.node.iter_mut().find(|node| node.op_type == "Flatten").unwrap();
        reshape.op_type = "Reshape".into();
        reshape.input.push("shape".into());
        graph.initializer.push(TensorProto {
            name: "shape".into(),
            dims: vec![2],
            data_type: DataType::Int64 as i32,
            int64_data: vec![1, 3],
            ..Default::default()
        });
    });
    let (printed, said) = eval(&model, &data, None).unwrap();
    assert!(is_right(&printed, 6), "{printed}");
    assert!(said.contains("tract cannot run 4 images of") && said.contains("one by one"), "{said}");
}

#[test]
fn folders_are_looked_into_and_a_broken_image_does_not_end_the_others() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    let green = data.join("val/green");
    fs::write(green.join("00.png"), "broken").unwrap();
    fs::write(green.join("notes.txt"), "no image").unwrap();
    fs::create_dir(green.join("below")).unwrap();
    let mut said = String::new();
    let mut say = |text: &str| said += &format!("{text}\n");
    let red = data.join("val/red/0.png");
    let (text, failure) = predict_all(&model, &[&green, &red], None, &mut say).unwrap();
    let named: Vec<&str> = text.lines().filter(|line| !line.starts_with(' ')).collect();
    let expected = [green.join("0.png"), green.join("1.png"), red.clone()];
    assert_eq!(named, expected.each_ref().map(|path| path.to_str().unwrap()));
    let message = failure.unwrap().message;
    assert!(message.starts_with("1 of 4 images cannot be read, such as "), "{message}");
    assert!(message.ends_with("00.png"), "{message}");
    assert!(said.contains("00.png"), "{said}");
    assert!(said.contains("1 not named like an image (such as notes.txt), 1 folder"), "{said}");

    let refused = |path: &Path| predict(&model, path, None).unwrap_err();
    let none = refused(&data.join("val"));
    assert!(none.message.contains("has no images"), "{none}");
    assert!(none.hint.unwrap().contains("3 folders that are not looked into"));
    assert!(refused(&green.join("below")).hint.is_none());
    assert!(refused(&data.join("none.png")).message.starts_with("1 of 1 images cannot be read"));
    let twice = [Path::new("-"), Path::new("-")];
    let error = predict_all(&model, &twice, None, &mut |_| {}).unwrap_err();
    assert!(error.message.contains("stdin"), "{error}");
}

#[test]
fn eval_reads_the_test_half_alone_and_says_what_it_leaves_out() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    let (_, said) = eval(&model, &data, None).unwrap();
    assert!(!said.contains("left out"), "{said}");
    fs::remove_dir_all(data.join("train")).unwrap();
    let green = data.join("val/green");
    fs::write(green.join("2.png"), "<html>").unwrap();
    fs::write(green.join("3.png"), &fs::read(green.join("0.png")).unwrap()[..40]).unwrap();
    fs::write(green.join("notes.txt"), "no image").unwrap();
    fs::write(green.join(".DS_Store"), "no image").unwrap();
    let (printed, said) = eval(&model, &data, None).unwrap();
    assert!(is_right(&printed, 6), "{printed}");
    let lines: Vec<&str> =
        said.lines().filter(|line| !line.contains("its metadata lacks")).collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert_eq!(
        lines[0],
        format!(
            "{}: left out: 1 hidden (such as green/.DS_Store), 1 not named like an image \
             (green/notes.txt), 1 of a format that is not read (green/2.png), 1 unreadable \
             (green/3.png)",
            data.join("val").display()
        )
    );
    assert!(lines[1].contains("2.png") && lines[1].ends_with("it is a web page"), "{said}");
    assert!(lines[2].contains("3.png: cannot be read as an image"), "{said}");
}

#[test]
fn a_bench_leaves_out_images_of_a_folder_and_not_those_that_are_named() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    let red = data.join("val/red");
    fs::write(red.join("2.png"), "broken").unwrap();
    fs::write(red.join("notes.txt"), "no image").unwrap();
    let bench = |images: &[&Path]| {
        let args = BenchArgs {
            models: vec![model.clone(), model.clone()],
            runtime: vec![Runtime::Tract],
            threads: vec![1, 2],
            batch: 1,
            min_time: Duration::from_millis(1),
            repeat: 1,
            cpu: None,
            profile: false,
            images: images.iter().map(|path| (*path).to_owned()).collect(),
            out: None,
            html: None,
            load: loaded_here(),
        };
        let mut said = String::new();
        let mut say = |text: &str| said += &format!("{text}\n");
        let printed = adwp_edge::bench(&args, Style { json: true, say: &mut say })?;
        Ok::<_, Failure>((printed, said))
    };
    let (_, said) = bench(&[&data.join("val")]).unwrap();
    let expected = format!(
        "{}: left out: 1 not named like an image (such as red/notes.txt), 1 of a format that is \
         not read (red/2.png)\n",
        data.join("val").display()
    );
    assert!(said.ends_with(&expected), "{said}");
    let named = bench(&[&red.join("0.png"), &red.join("2.png")]).unwrap_err();
    assert!(named.message.contains("2.png: cannot be read as an image"), "{named}");
    let none = bench(&[&data]).map(|_| ());
    assert!(none.is_ok(), "{none:?}");
    fs::create_dir(dir.path().join("empty")).unwrap();
    let none = bench(&[&dir.path().join("empty")]).unwrap_err();
    assert!(none.message.ends_with("empty: no images there"), "{none}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_no_text_is_shown_as_far_as_it_is() {
    use std::os::unix::ffi::OsStrExt;
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"a\xffb.png"));
    fs::copy(data.join("val/red/0.png"), &path).unwrap();
    let model = Classifier::new().write(&dir);
    let args = PredictArgs {
        model,
        images: vec![path],
        top: 1,
        runtime: Some(Runtime::Tract),
        normalize: None,
        load: loaded_here(),
    };
    let (printed, _) = adwp_edge::predict(&args, Style { json: true, say: &mut |_| {} }).unwrap();
    assert!(printed.contains("a\u{fffd}b.png"), "{printed}");
}

#[test]
fn a_name_in_a_file_forges_no_line() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let mut model = Classifier::new();
    model.metadata.push(("adwp.classes", r#"["blue", "x\nerror: forged\u001b[2K", "red"]"#));
    let green = fs::read_dir(data.join("val/green")).unwrap().next().unwrap().unwrap().path();
    let printed = predict(&model.write(&dir), &green, None).unwrap();
    assert!(printed.contains(r"x\nerror: forged\u001b[2K"), "{printed}");
    assert_eq!(printed.lines().count(), 2, "{printed}");
}

#[test]
fn gray_and_oblong_images_are_read_for_models_that_take_them() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let oblong = Classifier { size: [3, 6, 10], ..Classifier::new() }.write(&dir);
    assert!(is_right(&eval(&oblong, &data, None).unwrap().0, 6));
    let metadata = vec![("adwp.mean", "[0.5]"), ("adwp.std", "[0.5]")];
    let gray = Classifier { size: [1, 8, 8], metadata, ..Classifier::new() }.write(&dir);
    // All classes see the same channel: the first of equal logits is chosen.
    let (printed, _) = eval(&gray, &data, None).unwrap();
    assert!(printed.contains("top-1 33.33%"), "{printed}");
    // Lumas of blue, red and green are 29, 76 and 150: what is below, near and above 76.
    let metadata = vec![("adwp.mean", "[0.298]"), ("adwp.std", "[0.5]")];
    let luma = Classifier { size: [1, 8, 8], metadata, ..Classifier::new() }.write(&dir);
    change(&luma, |_, graph| {
        graph.initializer[0].float_data = vec![-10.0, 10.0, 0.0];
        let bias = TensorProto {
            name: "bias".into(),
            dims: vec![3],
            float_data: vec![-1.0, -1.0, 0.0],
            ..graph.initializer[0].clone()
        };
        graph.initializer.push(bias);
        graph.node.last_mut().unwrap().input.push("bias".into());
    });
    let (printed, _) = eval(&luma, &data, None).unwrap();
    assert!(is_right(&printed, 6), "{printed}");
}

#[test]
fn a_file_that_states_no_normalisation_is_asked_about() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let image = data.join("val/red/0.png");
    let silent = Classifier { metadata: Vec::new(), ..Classifier::new() }.write(&dir);
    for failure in [eval(&silent, &data, None).err(), predict(&silent, &image, None).err()] {
        let failure = failure.unwrap();
        assert!(failure.message.contains("does not say how"), "{failure:?}");
        assert!(failure.hint.unwrap().contains("--normalize"));
    }
    for how in ["unit", "imagenet", "0.5:0.5", "0.4,0.5,0.6:0.2,0.2,0.2"] {
        assert!(is_right(&eval(&silent, &data, Some(how)).unwrap().0, 6), "{how}");
        assert!(predict(&silent, &image, Some(how)).unwrap().contains("class 2"), "{how}");
    }
    let two = eval(&silent, &data, Some("0.5,0.5:0.5")).unwrap_err();
    assert!(two.message.contains("for 2 channels"), "{two:?}");
    for wrong in ["", "0.5", "0.5:0", "a:b", "0.5:-1", "imagenet1k", "nan:1"] {
        assert!(adwp_edge::normalize(wrong).is_err(), "{wrong}");
    }
    // What the file says is not talked over.
    let stated = Classifier::new().write(&dir);
    let failure = eval(&stated, &data, Some("unit")).unwrap_err();
    assert!(failure.message.contains("says itself"), "{failure:?}");
}

#[test]
fn probabilities_are_seen_and_what_is_no_number_is_an_error() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let image = data.join("val/red/0.png");
    let shown = |end: &[&'static str]| {
        let model = Classifier { end: end.to_vec(), ..Classifier::new() }.write(&dir);
        predict(&model, &image, None)
    };
    // Logits 10, -10 and -10: a second softmax would make 58% of it.
    // What `Neg` gives is known by its values alone.
    for end in [
        &["Softmax"][..],
        &["Softmax", "Identity"],
        &["Softmax", "Neg", "Neg"],
        &["HardSigmoid"],
        &["Sigmoid"],
        &[],
    ] {
        let printed = shown(end).unwrap();
        assert!(printed.contains("100.00%  class 2"), "{end:?}: {printed}");
    }
    // Of logits below 0 there is no logarithm.
    let model = Classifier { end: vec!["Log"], ..Classifier::new() }.write(&dir);
    for failure in [predict(&model, &image, None).err(), eval(&model, &data, None).err()] {
        let message = failure.unwrap().message;
        for part in ["model.onnx", "tract", "NaN", "`y`"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn images_that_cannot_be_read_are_left_out_and_counted() {
    let dir = TempDir::new().unwrap();
    let data = images(&dir);
    let model = Classifier::new().write(&dir);
    let whole = fs::read(data.join("val/red/0.png")).unwrap();
    fs::write(data.join("val/red/cut.png"), &whole[..whole.len() / 2]).unwrap();
    let (printed, said) = eval(&model, &data, None).unwrap();
    assert!(is_right(&printed, 6), "{printed}");
    assert!(said.contains("left out: 1 unreadable") && said.contains("cut.png"), "{said}");
    for (name, _) in COLOURS {
        for file in fs::read_dir(data.join("val").join(name)).unwrap() {
            fs::write(file.unwrap().path(), "no image").unwrap();
        }
    }
    let failure = eval(&model, &data, None).unwrap_err();
    assert!(failure.message.contains("no image can be read"), "{failure:?}");
}

/// A statement for coloured images of 8x8.
fn stated(cover: &str, end: &str) -> String {
    format!(
        r#"{{"schema": "adwp/preprocessing/1", "orientation": "exif", "color": "RGB",
            "resize": {{"rule": "cover", {cover}, "round": "down", "interpolation": "bilinear",
                "antialias": true, "passes": ["width", "height"]}},
            "crop": {{"rule": "center", "height": 8, "width": 8, "round": "half-even"}},
            "divide_by": 255, {end}, "layout": "NCHW", "dtype": "float32"}}"#
    )
}

/// The middle of it is red, and what is around blue.
fn framed_picture(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("val/red/0.png");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let is_middle = |at: u32| (14..34).contains(&at);
    image::RgbImage::from_fn(48, 48, |x, y| {
        let [red, blue] = [[255, 0, 0], [0, 0, 255]];
        image::Rgb(if is_middle(x) && is_middle(y) { red } else { blue })
    })
    .save(&path)
    .unwrap();
    for (name, colour) in COLOURS {
        for split in ["train", "val"] {
            let folder = dir.path().join(split).join(name);
            fs::create_dir_all(&folder).unwrap();
            let other = folder.join("1.png");
            image::RgbImage::from_pixel(9, 9, image::Rgb(colour)).save(other).unwrap();
        }
    }
    path
}

#[test]
fn what_a_file_states_of_photos_is_done() {
    let dir = TempDir::new().unwrap();
    let image = framed_picture(&dir);
    let end = r#""mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]"#;
    // Scaled to twice the size that is cut out, the middle is all that is seen; to just that size,
    // what is around it is more.
    for (cover, class, right) in
        [(r#""height": 18, "width": 18"#, 2, 4), (r#""height": 8, "width": 8"#, 0, 3)]
    {
        let text: &'static str = stated(cover, end).leak();
        let mut model = Classifier::new();
        model.metadata.push(("adwp.preprocessing", text));
        model.metadata.push(("adwp.dataset", "image-folder"));
        let model = model.write(&dir);
        let mut said = String::new();
        let mut say = |text: &str| said += text;
        let (printed, _) = predict_all(&model, &[&image], None, &mut say).unwrap();
        assert!(printed.contains(&format!("class {class}")), "{cover}: {printed}");
        assert!(said.contains("names no classes") && !said.contains("does not say"), "{said}");
        let (printed, said) = eval(&model, dir.path(), None).unwrap();
        assert!(printed.contains(&format!("({right} of 4 images)")), "{cover}: {printed}");
        assert!(!said.contains("does not say"), "{said}");
    }
    // The normalisation that is stated suffices.
    let text: &'static str = stated(r#""height": 18, "width": 18"#, end).leak();
    let metadata = vec![("adwp.preprocessing", text)];
    let alone = Classifier { metadata, ..Classifier::new() }.write(&dir);
    assert!(predict(&alone, &image, None).unwrap().contains("class 2"));
    assert!(predict(&alone, &image, Some("unit")).unwrap_err().message.contains("says itself"));
    // A statement that is not followed is not passed over.
    let other: &'static str = text.replace("bilinear", "lanczos").leak();
    let metadata = vec![("adwp.preprocessing", other)];
    let refused = Classifier { metadata, ..Classifier::new() }.write(&dir);
    for failure in [eval(&refused, dir.path(), None).err(), predict(&refused, &image, None).err()] {
        let message = failure.unwrap().message;
        assert!(message.contains("lanczos") && message.contains("model.onnx"), "{message}");
    }
}

#[test]
fn what_a_file_does_not_state_is_guessed_and_said() {
    let dir = TempDir::new().unwrap();
    let image = framed_picture(&dir);
    for (dataset, how) in [
        (Some("image-folder"), "as the test images of image-folder"),
        (Some("cifar10"), "as the test images of cifar10"),
        (Some("photos"), "just cover"),
        (None, "just cover"),
    ] {
        let mut model = Classifier::new();
        model.metadata.extend(dataset.map(|name| ("adwp.dataset", name)));
        let model = model.write(&dir);
        let mut said = String::new();
        let mut say = |text: &str| said += text;
        predict_all(&model, &[&image], None, &mut say).unwrap();
        assert!(said.contains("does not say how its images are scaled"), "{said}");
        assert!(said.contains(how), "{dataset:?}: {said}");
        // By the same rule, whatever is asked of the file.
        let (_, said) = eval(&model, dir.path(), None).unwrap();
        assert!(said.contains(how), "{dataset:?}: {said}");
    }
}

/// In this process: the program of the tests has no command that tries models.
fn loaded_here() -> LoadArgs {
    LoadArgs {
        input: Vec::new(),
        output: None,
        load_timeout: Duration::from_secs(60),
        max_memory: None,
        no_trial: true,
        ort: OrtArgs::default(),
    }
}
