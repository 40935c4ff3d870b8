use adwp_measure::{
    DeployError,
    bisect::first_difference,
    onnx::OnnxModel,
    ort_library::{self, OrtLibrary},
    parity,
    predict::{predict, softmax},
    runtime::{Runtime, Session, SessionOptions},
};
use tempfile::TempDir;

use crate::models::{Builder, classifier, int, ints};

/// The ONNX Runtime library, or `None` with a line that says so; where it is required its absence
/// fails the test.
pub(crate) fn ort() -> Option<OrtLibrary> {
    match ort_library::find(None) {
        Ok(library) => Some(library),
        Err(error) if std::env::var_os("ADWP_REQUIRE_ORT").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

pub(crate) fn runtimes() -> Vec<Runtime> {
    ort().map(|_| Runtime::Ort).into_iter().chain([Runtime::Tract]).collect()
}

fn images(n: usize, each: usize) -> Vec<f32> {
    (0..n * each).map(|index| ((index * 37 % 101) as f32 - 50.0) / 25.0).collect()
}

/// The classifier of `models.rs`, layer by layer in plain loops, for one image `[3, 8, 8]`.
fn by_hand(builder: &mut Builder, image: &[f32]) -> Vec<f32> {
    let stored = builder.graph().initializer.clone();
    let weight = |name: &str| -> Vec<f32> {
        let tensor = stored.iter().find(|tensor| tensor.name == name).unwrap();
        tensor
            .raw_data
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect()
    };
    let stem = conv(image, 8, &weight("stem.w"), 6, 1, 3, 1, 1, 1);
    let (scale, bias, mean, var) =
        (weight("bn.scale"), weight("bn.bias"), weight("bn.mean"), weight("bn.var"));
    let normal = |(index, value): (usize, &f32)| {
        let c = index / 64;
        ((value - mean[c]) / (var[c] + 1e-5).sqrt() * scale[c] + bias[c]).max(0.0)
    };
    let relu: Vec<f32> = stem.iter().enumerate().map(normal).collect();
    let dw = conv(&relu, 8, &weight("dw.w"), 6, 6, 3, 2, 1, 1);
    let pw = conv(&dw, 4, &weight("pw.w"), 8, 1, 1, 1, 0, 1);
    let dil = conv(&pw, 4, &weight("dil.w"), 4, 4, 3, 1, 2, 2);
    let (avg, max) = (pool(&pw, false), pool(&pw, true));
    let concat = [dil.as_slice(), &avg, &max[16..48], &max].concat();
    let gap: Vec<f32> = concat.chunks(16).map(|plane| plane.iter().sum::<f32>() / 16.0).collect();
    let (matrix, offset) = (weight("fc.w"), weight("fc.b"));
    let row = |class: usize| {
        matrix[class * 22..][..22].iter().zip(&gap).map(|(a, b)| a * b).sum::<f32>() + offset[class]
    };
    (0..4).map(row).collect()
}

#[allow(clippy::too_many_arguments)] // the attributes of the node
fn conv(
    x: &[f32],
    size: usize,
    w: &[f32],
    filters: usize,
    groups: usize,
    k: usize,
    stride: usize,
    pad: usize,
    dilation: usize,
) -> Vec<f32> {
    let depth = x.len() / (size * size) / groups;
    let out = (size + 2 * pad - dilation * (k - 1) - 1) / stride + 1;
    let mut y = Vec::with_capacity(filters * out * out);
    for filter in 0..filters {
        let group = filter / (filters / groups);
        for (row, column) in (0..out * out).map(|at| (at / out, at % out)) {
            let mut sum = 0.0;
            for (c, i, j) in (0..depth * k * k).map(|at| (at / (k * k), at / k % k, at % k)) {
                let (r, s) = (row * stride + i * dilation, column * stride + j * dilation);
                if (pad..size + pad).contains(&r) && (pad..size + pad).contains(&s) {
                    let value = x[((group * depth + c) * size + r - pad) * size + s - pad];
                    sum += value * w[((filter * depth + c) * k + i) * k + j];
                }
            }
            y.push(sum);
        }
    }
    y
}

/// A 3 × 3 pool of 4 × 4 planes, padded by 1; padding is not part of an average.
fn pool(x: &[f32], max: bool) -> Vec<f32> {
    let at = |plane: &[f32], row: usize, column: usize| {
        let near = |at: usize| at.saturating_sub(1)..(at + 2).min(4);
        let window: Vec<f32> =
            near(row).flat_map(|r| near(column).map(move |s| plane[r * 4 + s])).collect();
        if max {
            window.iter().copied().fold(f32::MIN, f32::max)
        } else {
            window.iter().sum::<f32>() / window.len() as f32
        }
    };
    x.chunks(16)
        .flat_map(|plane| (0..16).map(move |index| at(plane, index / 4, index % 4)))
        .collect()
}

#[test]
fn logits_are_those_of_plain_loops() {
    let dir = TempDir::new().unwrap();
    let mut builder = classifier(-1);
    let path = builder.write(&dir, "model.onnx");
    let images = images(3, 192);
    let expected: Vec<f32> =
        images.chunks(192).flat_map(|image| by_hand(&mut builder, image)).collect();
    for runtime in runtimes() {
        let mut session = Session::load(runtime, &path, &SessionOptions::default()).unwrap();
        assert_ne!(session.runtime_version(), "unknown");
        let parity = parity::compare(&expected, &session.run(&images, 3).unwrap(), 4).unwrap();
        assert!(parity.max_abs < 1e-4 && parity.top1_agree == 3, "{runtime}: {parity:?}");
        // Any batch gives the same, one image at a time or none.
        for (image, expected) in images.chunks(192).zip(expected.chunks(4)) {
            let parity = parity::compare(expected, &session.run(image, 1).unwrap(), 4).unwrap();
            assert!(parity.max_abs < 1e-4, "{runtime}: {parity:?}");
        }
        assert!(session.run(&[], 0).unwrap().is_empty());
        assert!(matches!(session.run(&images, 2), Err(DeployError::Length { .. })));
    }
}

#[test]
fn a_fixed_batch_takes_any_number_of_images() {
    let dir = TempDir::new().unwrap();
    let path = classifier(2).write(&dir, "fixed.onnx");
    let open = classifier(-1).write(&dir, "open.onnx");
    let images = images(5, 192);
    for runtime in runtimes() {
        let mut session = Session::load(runtime, &path, &SessionOptions::default()).unwrap();
        let logits = session.run(&images, 5).unwrap();
        let mut session = Session::load(runtime, &open, &SessionOptions::default()).unwrap();
        let parity = parity::compare(&session.run(&images, 5).unwrap(), &logits, 4).unwrap();
        assert!(parity.max_abs < 1e-5 && parity.n == 5, "{runtime}: {parity:?}");
    }
}

#[test]
fn shapes_noted_inside_the_file_do_not_disturb() {
    let dir = TempDir::new().unwrap();
    let mut model = classifier(-1);
    let path = model
        .value_info("stem", &[-1, 6, 8, 8])
        .value_info("flat", &[-1, 22])
        .write(&dir, "noted.onnx");
    for runtime in runtimes() {
        let mut session =
            Session::load(runtime, &path, &SessionOptions { batch: 4, ..Default::default() })
                .unwrap();
        assert_eq!(session.run(&images(4, 192), 4).unwrap().len(), 16);
        assert_eq!(session.run(&images(1, 192), 1).unwrap().len(), 4);
    }
}

#[test]
fn the_counted_shapes_are_those_of_the_runtimes() {
    let dir = TempDir::new().unwrap();
    let odd = |name: &str, op: &str, attributes| {
        let mut model = Builder::new([-1, 2, 9, 7]);
        model.node(op, &["x"], "pool", attributes).node("Flatten", &["pool"], "y", vec![]);
        // The number of classes is the only shape that a runtime reports through `Session`.
        let mut counting = model.clone();
        let cost =
            adwp_measure::cost::cost(&counting.output("y", &[-1, 1]).read().unwrap()).unwrap();
        let classes = cost.layers.last().unwrap().output_shape[1];
        model.output("y", &[-1, classes as i64]).write(&dir, name)
    };
    let pool = |kernel: i64, stride: i64, pad: i64, ceil: i64| {
        let pads = ints("pads", &[pad; 4]);
        vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            pads,
            int("ceil_mode", ceil),
        ]
    };
    let files = [
        odd("a.onnx", "MaxPool", pool(2, 2, 0, 1)),
        odd("b.onnx", "MaxPool", pool(3, 2, 1, 0)),
        odd("c.onnx", "AveragePool", pool(3, 2, 1, 1)),
        odd("d.onnx", "MaxPool", pool(3, 4, 1, 1)),
    ];
    for (runtime, path) in
        runtimes().into_iter().flat_map(|runtime| files.iter().map(move |path| (runtime, path)))
    {
        let mut session = Session::load(runtime, path, &SessionOptions::default()).unwrap();
        let logits = session.run(&images(2, 126), 2);
        assert!(logits.is_ok(), "{runtime}, {}: {logits:?}", path.display());
    }
}

#[test]
fn a_runtime_that_refuses_a_model_says_so() {
    let dir = TempDir::new().unwrap();
    let mut model = Builder::new([-1, 3, 8, 8]);
    model.node("NoSuchOperator", &["x"], "y", vec![]).output("y", &[-1, 3]);
    let path = model.write(&dir, "strange.onnx");
    for runtime in runtimes() {
        let error = Session::load(runtime, &path, &SessionOptions::default()).unwrap_err();
        assert!(matches!(error, DeployError::Load { .. }), "{error}");
        assert!(
            error.to_string().contains("strange.onnx")
                && error.to_string().contains("NoSuchOperator"),
            "{error}"
        );
    }
}

#[test]
fn threads_that_a_runtime_cannot_use_are_refused() {
    let dir = TempDir::new().unwrap();
    let path = classifier(-1).write(&dir, "model.onnx");
    let load = |runtime, threads| {
        Session::load(runtime, &path, &SessionOptions { threads, ..Default::default() })
    };
    let error = load(Runtime::Tract, 2).unwrap_err();
    assert!(matches!(error, DeployError::Threads { threads: 2, .. }) && error.hint().is_some());
    assert!(matches!(load(Runtime::Ort, 0), Err(DeployError::Threads { .. })));
    if ort().is_some() {
        assert_eq!(load(Runtime::Ort, 2).unwrap().threads(), 2);
    }
}

#[test]
fn a_library_that_is_none_is_an_error() {
    let dir = TempDir::new().unwrap();
    let model = classifier(-1).write(&dir, "model.onnx");
    let path = dir.path().join("libonnxruntime.so");
    std::fs::write(&path, "not a library").unwrap();
    let library = ort_library::find(Some(&path)).unwrap();
    let options = SessionOptions { ort_library: Some(&library), ..Default::default() };
    let error = Session::load(Runtime::Ort, &model, &options).unwrap_err();
    // Another test may have loaded the real one before.
    assert!(
        matches!(error, DeployError::OrtLoad { .. } | DeployError::OrtConflict { .. }),
        "{error}"
    );
    assert!(error.hint().is_some());
}

#[test]
fn predictions_are_named_and_ordered() {
    let dir = TempDir::new().unwrap();
    let path = classifier(-1)
        .metadata("adwp.classes", r#"["a", "b", "c", "d"]"#)
        .write(&dir, "model.onnx");
    let model = OnnxModel::load(&path).unwrap();
    let mut session =
        Session::from_model(Runtime::Tract, &model, &SessionOptions::default()).unwrap();
    let image = images(1, 192);
    let probabilities = softmax(&session.run(&image, 1).unwrap());
    let top = predict(&mut session, &model, &image, 5).unwrap().top;
    assert_eq!(top.len(), 4);
    assert!(top.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
    assert!((top.iter().map(|prediction| prediction.probability).sum::<f32>() - 1.0).abs() < 1e-6);
    for prediction in &top {
        assert_eq!(prediction.probability, probabilities[prediction.class]);
        assert_eq!(prediction.name, ["a", "b", "c", "d"][prediction.class]);
    }
}

#[test]
fn runtimes_are_written_as_they_are_read() {
    for runtime in Runtime::ALL {
        assert_eq!(runtime.to_string().parse::<Runtime>().unwrap(), runtime);
        assert_eq!(serde_json::to_string(&runtime).unwrap(), format!("\"{runtime}\""));
    }
    assert!("onnx".parse::<Runtime>().unwrap_err().to_string().contains("ort, tract"));
}

#[test]
fn the_node_where_two_runtimes_part_is_found() {
    let dir = TempDir::new().unwrap();
    let model = OnnxModel::load(classifier(-1).write(&dir, "model.onnx")).unwrap();
    let images = images(1, 192);
    let Some(library) = ort() else { return };
    let sessions = [(Runtime::Ort, 1), (Runtime::Tract, 1)];
    assert_eq!(first_difference(&model, sessions, &images, Some(&library), None), None);
    // Runtimes are free in what a maximum with NaN is, and take a rounding to even as they like; a
    // cast of a large number to an integer is what the processor makes of it.
    let mut parting = Builder::new([-1, 3, 8, 8]);
    parting
        .floats("huge", &[1], &[1e30])
        // Nothing reads what these give.
        .node("Mul", &["x", "huge"], "idle large", vec![])
        .node("Cast", &["idle large"], "idle whole", vec![int("to", 6)])
        .node("Cast", &["idle whole"], "idle cast", vec![int("to", 1)])
        .node("Relu", &["x"], "before", vec![])
        .node("Mul", &["before", "huge"], "large", vec![])
        .node("Cast", &["large"], "whole", vec![int("to", 6)])
        .node("Cast", &["whole"], "cast", vec![int("to", 1)])
        .node("GlobalAveragePool", &["cast"], "gap", vec![])
        .node("Flatten", &["gap"], "y", vec![])
        .output("y", &[-1, 3]);
    let model = OnnxModel::load(parting.write(&dir, "parting.onnx")).unwrap();
    // Where the two do agree about it there is nothing to be found.
    if let Some(found) = first_difference(&model, sessions, &images, Some(&library), None) {
        assert_eq!(
            (found.node.as_str(), found.after.as_deref()),
            ("cast", Some("large")),
            "{found:?}"
        );
        assert!(found.max_abs > 1.0);
    }
    // Every part is tried first: none is loaded here that a process does not get through.
    #[cfg(unix)]
    {
        use adwp_measure::trial::Trial;
        use std::time::Duration;
        let trial = |program: &str| {
            let timeout = Duration::from_secs(9);
            let trial = Trial { program: program.into(), timeout, max_memory: None };
            first_difference(&model, sessions, &images, Some(&library), Some(&trial))
        };
        assert_eq!((trial("false"), trial("nowhere")), (None, None));
    }
}
