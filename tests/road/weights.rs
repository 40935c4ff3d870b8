//! Networks that start from published weights.

use std::fs;
use std::path::{Path, PathBuf};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use tempfile::tempdir;

use crate::folder::json;
use crate::program::{run, text};
use crate::recipe::{train_twice, write_images};
use crate::reference::PICTURE;

/// Small images, and little training.
const SMALL: [&str; 6] =
    ["--set", "image_size=32", "--set", "retrain.epochs=2", "--set", "retrain.batch=4"];

/// Names and shapes of torchvision's `shufflenet_v2_x1_0().state_dict()`.
fn shufflenet() -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut conv = |name: String, norm: String, shape: [usize; 4]| {
        all.push((format!("{name}.weight"), shape.to_vec()));
        for part in ["weight", "bias", "running_mean", "running_var"] {
            all.push((format!("{norm}.{part}"), vec![shape[0]]));
        }
    };
    conv("conv1.0".into(), "conv1.1".into(), [24, 3, 3, 3]);
    let mut before = 24;
    for (stage, channels, blocks) in [(2, 116, 4), (3, 232, 8), (4, 464, 4)] {
        let half = channels / 2;
        for block in 0..blocks {
            let mut layer = |branch: usize, [at, norm]: [usize; 2], shape| {
                let name = format!("stage{stage}.{block}.branch{branch}");
                conv(format!("{name}.{at}"), format!("{name}.{norm}"), shape);
            };
            let read = if block == 0 { before } else { half };
            if block == 0 {
                layer(1, [0, 1], [before, 1, 3, 3]);
                layer(1, [2, 3], [half, before, 1, 1]);
            }
            layer(2, [0, 1], [half, read, 1, 1]);
            layer(2, [3, 4], [half, 1, 3, 3]);
            layer(2, [5, 6], [half, half, 1, 1]);
        }
        before = channels;
    }
    conv("conv5.0".into(), "conv5.1".into(), [1024, 464, 1, 1]);
    all.push(("fc.weight".into(), vec![1000, 1024]));
    all.push(("fc.bias".into(), vec![1000]));
    all
}

/// Writes such weights, random ones.
fn write_weights(folder: &Path) -> PathBuf {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shufflenet()
        .into_iter()
        .map(|(name, shape)| {
            let inputs = shape[1..].iter().product::<usize>().max(1) as f32;
            let mut value = || match name.ends_with("running_var") || shape.len() == 1 {
                true => rng.random::<f32>() + 0.5,
                false => (rng.random::<f32>() - 0.5) * (12.0 / inputs).sqrt(),
            };
            let count = shape.iter().product::<usize>();
            let bytes = (0..count).flat_map(|_| value().to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let path = folder.join("shufflenet.safetensors");
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

#[test]
fn published_weights_become_a_network_and_a_fine_tuned_one() {
    let holder = tempdir().unwrap();
    let (weights, data) = (write_weights(holder.path()), holder.path().join("data"));
    write_images(&data, 4);

    // As they are: a classifier of 1,000 classes, with what becomes of photos.
    let onnx = holder.path().join("shufflenet.onnx");
    let out = ["--out", text(&onnx), "--image", "3x64x64"];
    let export = ["zoo", "export", "shufflenet-v2", "--weights", text(&weights)];
    let ended = run(export.iter().chain(&out)).succeeds();
    assert!(ended.stderr.contains("weights as torchvision names them"), "{ended:?}");
    let seen = run(["predict", text(&onnx), PICTURE, "--top", "1", "--json"]).succeeds().stdout;
    assert!(seen.contains("\"name\": \"class "), "{seen}");

    // The classifier alone learns: all before it is as it was.
    let start = ["retrain", "--architecture", "zoo:shufflenet-v2", "--weights", text(&weights)];
    let images = ["--data", text(&data)];
    let start = [&start[..], &images, &SMALL].concat();
    let frozen = [&start[..], &["--freeze"]].concat();
    let (ended, folder) = train_twice(&holder, &frozen, |_| ());
    assert!(ended.stderr.contains("all before it is frozen"), "{ended:?}");
    assert!(ended.stderr.contains("fresh: classifier/linear/weight, classifier/linear/bias"));
    let tensors = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let own = |(name, view): (String, TensorView<'_>)| (name, view.data().to_vec());
        file.tensors().into_iter().map(own).collect::<std::collections::BTreeMap<_, _>>()
    };
    let initial = tensors(&folder.join("initial.safetensors"));
    let trained = tensors(&folder.join("weights.safetensors"));
    assert_eq!(trained.len(), initial.len() + 2);
    assert!(initial.iter().all(|(name, values)| trained[name] == *values), "something moved");

    // All of it learns, the classifier faster; weights, constants and settings are in the folder.
    let tuned = holder.path().join("tuned");
    let step = |flags: &[&str]| run([&start[..], &["--run", text(&tuned)], flags].concat());
    step(&[]).succeeds();
    let trained = tensors(&tuned.join("weights.safetensors"));
    assert!(initial.iter().all(|(name, values)| trained[name] != *values), "something stayed");
    fs::remove_file(&weights).unwrap();
    run(["run", "--run", text(&tuned), "--resume"]).succeeds();
    let report = json(&tuned.join("report.json"));
    assert!(report["recipe"][0].as_str().unwrap().contains("fine-tuned"), "{report}");
    let settings = fs::read_to_string(tuned.join("config.toml")).unwrap();
    assert!(settings.contains("mean = [0.485, 0.456, 0.406]"), "{settings}");
}

#[test]
fn weights_that_do_not_fit_are_refused_before_anything_is_written() {
    let holder = tempdir().unwrap();
    let (weights, data) = (write_weights(holder.path()), holder.path().join("data"));
    write_images(&data, 4);
    let (folder, other) = (holder.path().join("new"), holder.path().join("other.pth"));
    fs::write(&other, "no weights").unwrap();
    let refuse = |flags: &[&str], culprits: &[&str]| {
        let start = ["retrain", "--run", text(&folder), "--data", text(&data)];
        run(start.iter().chain(&SMALL).chain(flags)).refuses(culprits);
        assert!(!folder.exists(), "{flags:?} left a folder");
    };
    let network = |name| ["--architecture", name, "--weights", text(&weights)];
    refuse(&network("zoo:mobilenet-v2"), &["they have no features.0.0.weight"]);
    refuse(&network("zoo:darts-v2"), &["--weights", "cells"]);
    refuse(&network("zoo:densenet-bc-100"), &["torchvision", "no weights of this network"]);
    let shufflenet = ["--architecture", "zoo:shufflenet-v2"];
    let with = |flags: &[&'static str]| [&shufflenet[..], flags].concat();
    refuse(
        &[&shufflenet[..], &["--weights", text(&other)]].concat(),
        &[text(&other), "torch.save"],
    );
    let missing = holder.path().join("missing.pth");
    refuse(&[&shufflenet[..], &["--weights", text(&missing)]].concat(), &[text(&missing)]);
    refuse(&with(&["--freeze"]), &["--fine-tune|--weights"]);
    refuse(&with(&["--set", "retrain.body_rate=0.0"]), &["body_rate = 0", "--weights FILE"]);
    let narrow = ["--set", "retrain.width=0.5"];
    let narrow = [&network("zoo:shufflenet-v2")[..], &narrow].concat();
    refuse(&narrow, &["conv1.0.weight has shape [24, 3, 3, 3]", "width"]);
    let gray = ["--set", "mean=[0.5]", "--set", "std=[0.5]"];
    refuse(&with(&gray), &["mean and std are of 1 channels", "the images have 3"]);
    refuse(&with(&["--set", "retrain.body_rate=2.0"]), &["body_rate = 2"]);
}
