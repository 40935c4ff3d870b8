//! One network, executed in every way there is.

use std::fs;
use std::path::Path;

use adwp_candle::Network;
use adwp_engine::{Device, Executor, Graph, NodeId, Program, Statistics, Variables};
use adwp_export::onnx::{BatchNorms, model};
use adwp_export::{Trained, fold_batch_norms};
use adwp_measure::onnx::OnnxModel;
use adwp_measure::ort_library;
use adwp_measure::runtime::{Runtime, Session, SessionOptions};
use adwp_verify::{Logits, TOLERANCE, VerifyError, agree};
use candle_core::{DType, Tensor};

use crate::draw::{cifar, imagenet, images, trained};

/// The runtimes of this machine. Where ONNX Runtime is required its absence fails the test.
fn runtimes() -> Vec<Runtime> {
    match ort_library::find(None) {
        Ok(_) => Runtime::ALL.to_vec(),
        Err(error) if std::env::var_os("ADWP_REQUIRE_ORT").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped for ONNX Runtime: {error}");
            vec![Runtime::Tract]
        }
    }
}

/// A graph with its variables, input and output.
type Net<'a> = (&'a Graph, &'a Variables, NodeId, NodeId);

fn engine((graph, variables, input, output): Net<'_>, images: &[f32], device: &Device) -> Vec<f32> {
    let program = Program::inference(graph, &[output], Statistics::Running).unwrap();
    let mut executor = Executor::new(program, device).unwrap();
    executor.run(&mut variables.clone(), &[(input, images)]).unwrap();
    executor.value(output).unwrap().into_owned()
}

fn candle((graph, variables, input, output): Net<'_>, images: &[f32]) -> Vec<f32> {
    let network =
        Network::new(graph.clone(), variables.clone(), input, output, DType::F32).unwrap();
    let images =
        Tensor::from_slice(images, network.input_shape(), &candle_core::Device::Cpu).unwrap();
    network.forward(&images).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Executes a network on batches of one size: `images` holds several of them.
fn in_process(trained: &Trained, images: &[f32], batch: usize, device: &Device) -> Vec<Logits> {
    let net = trained.inference(batch).unwrap();
    let (folded, variables, logits) =
        fold_batch_norms(&net.graph, &trained.variables, net.logits).unwrap();
    let input = folded.find(&net.graph[net.images].name).unwrap();
    let each = net.graph[net.images].shape.elements();
    let run = |by: &str, f: &dyn Fn(&[f32]) -> Vec<f32>| Logits {
        by: format!("{by}, batches of {batch}"),
        values: images.chunks_exact(each).flat_map(f).collect(),
    };
    let plain = (&net.graph, &trained.variables, net.images, net.logits);
    let folded = (&folded, &variables, input, logits);
    vec![
        run("engine", &|x| engine(plain, x, device)),
        run("engine, folded", &|x| engine(folded, x, device)),
        run("candle", &|x| candle(plain, x)),
        run("candle, folded", &|x| candle(folded, x)),
    ]
}

/// Executes a file under every runtime, in batches of every size.
fn on_file(path: &Path, images: &[f32], runtimes: &[Runtime], batches: &[usize]) -> Vec<Logits> {
    let model = OnnxModel::load(path).unwrap();
    let each = model.input().image_len();
    let mut executions = Vec::new();
    for &runtime in runtimes {
        let mut session = Session::from_model(runtime, &model, &SessionOptions::default()).unwrap();
        for &batch in batches {
            let values = images
                .chunks_exact(batch * each)
                .flat_map(|x| session.run(x, batch).unwrap())
                .collect();
            executions.push(Logits {
                by: format!("{runtime} on {}, batches of {batch}", path.display()),
                values,
            });
        }
    }
    executions
}

fn check(trained: &Trained, seed: u64, dir: &Path) {
    const IMAGES: usize = 3;
    const BATCHES: [usize; 2] = [IMAGES, 1];
    let (device, runtimes) = (Device::cpu(2).unwrap(), runtimes());
    let images = images(trained, IMAGES, seed);
    let mut executions: Vec<Logits> =
        BATCHES.iter().flat_map(|&batch| in_process(trained, &images, batch, &device)).collect();
    for mode in [BatchNorms::Kept, BatchNorms::Folded] {
        let path = dir.join(format!("{seed}-{mode:?}.onnx"));
        fs::write(&path, model(trained, mode).unwrap()).unwrap();
        executions.extend(on_file(&path, &images, &runtimes, &BATCHES));
    }
    assert_eq!(executions.len(), 8 + 4 * runtimes.len());
    let classes = trained.network.blueprint.classes();
    let found =
        agree(&executions, classes, TOLERANCE).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    for agreement in found {
        assert_eq!(
            (agreement.n, agreement.top1_agree),
            (IMAGES, IMAGES),
            "seed {seed}: {agreement:?}"
        );
    }
    // Agreeing on a constant would be easy.
    let logits = &executions[0].values;
    let change = (0..classes)
        .map(|class| (logits[class] - logits[classes + class]).abs())
        .fold(0.0, f32::max);
    assert!(change > 1e-2, "seed {seed}: logits of two images differ by {change}");
}

#[test]
fn every_execution_gives_the_same_logits() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..12 {
        check(&trained(cifar(seed), seed), seed, dir.path());
    }
}

#[test]
fn every_execution_gives_the_same_logits_of_larger_images() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..4 {
        check(&trained(imagenet(seed), seed), seed, dir.path());
    }
}

/// Writes `value` over the first element of a stored tensor, and takes the checksum of the file off,
/// which would notice it.
fn change_weight(bytes: &mut Vec<u8>, tensor: &str, value: f32) {
    let key = b"adwp.checksum";
    let seal = bytes.windows(key.len()).rposition(|window| window == key).unwrap();
    // Before the key are two tags, each with a length.
    bytes.truncate(seal - 4);
    let model = OnnxModel::from_bytes(bytes, "model.onnx").unwrap();
    let stored =
        &model.initializers().iter().find(|stored| stored.name == tensor).unwrap().raw_data;
    let places: Vec<usize> =
        (0..=bytes.len() - stored.len()).filter(|&at| bytes[at..].starts_with(stored)).collect();
    let [at] = places[..] else { panic!("{tensor} is found {} times", places.len()) };
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[test]
fn a_file_with_one_other_weight_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 0..2 {
        let trained = trained(cifar(seed), seed);
        let images = images(&trained, 3, seed);
        let classes = trained.network.blueprint.classes();
        let reference = in_process(&trained, &images, 3, &Device::cpu(2).unwrap()).remove(0);
        let compare = |bytes: &[u8], runtime: Runtime| {
            let path = dir.path().join("changed.onnx");
            fs::write(&path, bytes).unwrap();
            let executions =
                [vec![reference.clone()], on_file(&path, &images, &[runtime], &[3])].concat();
            agree(&executions, classes, TOLERANCE)
        };
        for (mode, runtime) in [BatchNorms::Kept, BatchNorms::Folded]
            .into_iter()
            .flat_map(|m| runtimes().into_iter().map(move |r| (m, r)))
        {
            let bytes = model(&trained, mode).unwrap();
            compare(&bytes, runtime).unwrap();
            for tensor in ["stem/conv/weight", "classifier/linear/weight"] {
                let mut bytes = bytes.clone();
                change_weight(&mut bytes, tensor, 0.9);
                let error = compare(&bytes, runtime)
                    .expect_err(&format!("seed {seed}, {mode:?}, {runtime}, {tensor}"));
                assert!(
                    matches!(&error, VerifyError::Disagreement { b, .. }
                        if b.starts_with(runtime.name())),
                    "{error}"
                );
            }
            // A logit that is NaN is an error of the runtime that gives it.
            let (mut bytes, path) = (bytes, dir.path().join("nan.onnx"));
            change_weight(&mut bytes, "classifier/linear/bias", f32::NAN);
            fs::write(&path, bytes).unwrap();
            let mut session = Session::load(runtime, &path, &SessionOptions::default()).unwrap();
            let error = session.run(&images, 3).unwrap_err().to_string();
            assert!(error.contains(&format!("{runtime} gives NaN")), "{error}");
        }
    }
}
