//! What the files are made of, and what is refused.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use adwp_export::onnx::{BatchNorms, Numbers, model, model_in, quantizer};
use adwp_export::{ExportError, Trained};
use adwp_measure::cost::cost;
use adwp_measure::onnx::{BatchSize, OnnxModel};
use adwp_models::{Blueprint, CellKind, Genotype, Skeleton};
use adwp_train::TrainError;

use crate::draw::{cifar, imagenet, trained};

const MODES: [BatchNorms; 2] = [BatchNorms::Kept, BatchNorms::Folded];

fn networks() -> impl Iterator<Item = (String, Trained)> {
    let small = (0..20).map(|seed| (format!("cifar-{seed}"), trained(cifar(seed), seed)));
    small.chain((0..3).map(|seed| (format!("imagenet-{seed}"), trained(imagenet(seed), seed))))
}

fn no_repeats<'a>(what: &str, context: &str, items: impl IntoIterator<Item = &'a str>) {
    let mut seen = HashSet::new();
    for item in items {
        assert!(!item.is_empty(), "{context}: a {what} is empty");
        assert!(seen.insert(item), "{context}: {what} {item:?} is there twice");
    }
}

/// Whatever is computed or stored is read by something.
fn all_is_read(file: &OnnxModel, context: &str) {
    let nodes = file.nodes();
    let read: HashSet<&str> =
        nodes.iter().flat_map(|node| &node.input).map(String::as_str).chain(["logits"]).collect();
    let computed = nodes.iter().flat_map(|node| &node.output).map(String::as_str);
    let unread: Vec<&str> = computed
        .chain(file.initializers().iter().map(|tensor| tensor.name.as_str()))
        .filter(|value| !read.contains(value))
        .collect();
    assert!(unread.is_empty(), "{context}: nothing reads {unread:?}");
}

#[test]
fn files_are_repeatable_and_lean() {
    for (name, trained) in networks() {
        for mode in MODES {
            let context = format!("{name}, {mode:?}");
            let bytes = model(&trained, mode).unwrap();
            assert!(
                bytes == model(&trained.clone(), mode).unwrap(),
                "{context}: other bytes the second time"
            );
            let file = OnnxModel::from_bytes(&bytes, "model.onnx").unwrap();

            let blueprint = &trained.network.blueprint;
            let input = file.input();
            assert_eq!(
                (input.batch, [input.channels, input.height, input.width]),
                (BatchSize::Dynamic, blueprint.image()),
                "{context}"
            );
            assert_eq!(
                (input.name.as_str(), file.output().name.as_str(), file.output().classes),
                ("images", "logits", blueprint.classes())
            );
            let said = file.metadata();
            assert_eq!(said.classes.as_ref(), Some(&trained.network.classes), "{context}");
            let normalization = said.normalization.as_ref().unwrap();
            assert_eq!(
                (&normalization.mean, &normalization.std),
                (&trained.network.normalization.mean, &trained.network.normalization.std)
            );
            assert_eq!(
                said.genotype,
                Some(serde_json::to_value(blueprint.genotype()).unwrap()),
                "{context}"
            );
            assert_eq!(
                (said.test_accuracy, said.dataset.as_ref()),
                (Some(3.0 / 7.0), Some(&trained.network.dataset)),
                "{context}"
            );

            let nodes = file.nodes();
            no_repeats("node name", &context, nodes.iter().map(|node| node.name.as_str()));
            let relus = nodes
                .iter()
                .filter(|node| node.op_type == "Relu")
                .map(|node| node.input[0].as_str());
            no_repeats("input of a Relu", &context, relus);
            let work = nodes
                .iter()
                .map(|node| format!("{} {:?} {:?}", node.op_type, node.input, node.attribute));
            let work: Vec<String> = work.collect();
            no_repeats("operation", &context, work.iter().map(String::as_str));
            let idle: Vec<&str> = nodes
                .iter()
                .filter(|node| match node.op_type.as_str() {
                    "Identity" | "Dropout" | "Constant" => true,
                    "BatchNormalization" => mode == BatchNorms::Folded,
                    "Concat" | "Sum" | "Add" => node.input.len() < 2,
                    _ => false,
                })
                .map(|node| node.name.as_str())
                .collect();
            assert!(idle.is_empty(), "{context}: {idle:?}");
            assert!(
                mode == BatchNorms::Folded
                    || nodes.iter().any(|node| node.op_type == "BatchNormalization"),
                "{context}"
            );

            all_is_read(&file, &context);
        }
    }
}

/// The network in every form but the plain one, with scales as some images might have given them:
/// name and bytes.
fn forms(trained: &Trained) -> Vec<(&'static str, Vec<u8>)> {
    let mut quantizer = quantizer(trained).unwrap();
    let calibration =
        OnnxModel::from_bytes(&quantizer.calibration_model(), "calibration.onnx").unwrap();
    quantizer.observe(&calibration.input().name, &[-2.0, 2.5]).unwrap();
    for output in &calibration.graph().output {
        let values: &[f32] = if output.name.ends_with("relu") { &[0.0, 3.0] } else { &[-3.5, 2.0] };
        quantizer.observe(&output.name, values).unwrap();
    }
    let int8 = Numbers::Int8 { quantizer: Box::new(quantizer), images: 2 };
    let numbers = [("f32", Numbers::F32), ("f16", Numbers::F16), ("int8", int8)];
    let forms = numbers
        .iter()
        .flat_map(|(name, numbers)| [false, true].map(|pixels| (*name, numbers, pixels)));
    forms
        .map(|(name, numbers, pixels)| (name, model_in(trained, numbers, pixels, 0.5).unwrap()))
        .collect()
}

#[test]
fn every_form_is_lean_and_costs_the_same() {
    for (network, trained) in networks() {
        let plain =
            OnnxModel::from_bytes(&model(&trained, BatchNorms::Folded).unwrap(), "model.onnx")
                .unwrap();
        let expected = cost(&plain).unwrap();
        for (name, bytes) in forms(&trained) {
            let file = OnnxModel::from_bytes(&bytes, "model.onnx").unwrap();
            let context = format!("{network}, {name}, {:?}", file.input());
            let found = cost(&file).unwrap();
            assert_eq!(
                (found.params, found.madds, found.unknown.len()),
                (expected.params, expected.madds, 0),
                "{context}"
            );
            assert_eq!(
                (file.opset(), file.input().name.as_str()),
                (17, if file.input().pixels() { "image" } else { "images" }),
                "{context}"
            );
            assert!(file.preparation().is_some(), "{context}");
            // Photos are gray or coloured.
            let input = file.input();
            let cover = (input.channels != 2).then_some([input.height, input.width]);
            let stated = file.metadata().preprocessing.map(|stated| stated.cover);
            assert_eq!(stated, cover, "{context}");

            let nodes = file.nodes();
            no_repeats(
                "node name",
                &context,
                nodes.iter().map(|node| node.name.as_str()).filter(|name| !name.is_empty()),
            );
            all_is_read(&file, &context);
            if name == "int8" {
                assert!(nodes.iter().all(|node| node.op_type != "Relu"), "{context}");
                let floats = file.initializers().iter().filter(|tensor| tensor.data_type == 1);
                assert!(
                    floats.clone().all(
                        |tensor| tensor.dims.len() < 2 || tensor.name.starts_with("normalize/")
                    ),
                    "{context}"
                );
                let weights = file.initializers().iter().filter(|tensor| tensor.data_type == 3);
                assert!(
                    weights
                        .flat_map(|tensor| &tensor.raw_data)
                        .all(|&v| (v as i8).unsigned_abs() <= 64),
                    "{context}"
                );
            }
        }
    }
}

/// Checks every file of a folder with the reference implementation of the format, and that every
/// value keeps the open batch.
const REFERENCE_CHECK: &str = r#"
import pathlib, sys
import onnx

def is_batched(value):
    dims = value.type.tensor_type.shape.dim
    return len(dims) > 0 and dims[0].dim_param == "batch"

for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        declared = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        # What is inferred must not lean on what is declared.
        model.graph.output[0].type.tensor_type.ClearField("shape")
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True).graph
        values = list(inferred.value_info) + list(inferred.output)
        assert len(values) == len(inferred.node), "a value has no shape"
        # Weights that are stored in 8 bits are values too.
        stored = {tensor.name for tensor in model.graph.initializer}
        weights = {node.output[0] for node in model.graph.node if stored.issuperset(node.input)}
        values = [value for value in values if value.name not in weights]
        assert all(map(is_batched, values)), [v.name for v in values if not is_batched(v)]
        assert inferred.output[0].type.tensor_type.shape.dim[1].dim_value == declared, "classes"
    except Exception as error:
        sys.exit(f"{path.name}: {error!r}")
    print(path.name)
"#;

#[test]
fn the_reference_implementation_accepts_the_files() {
    let Some(python) = std::env::var_os("ADWP_PYTHON") else {
        assert!(
            std::env::var_os("ADWP_REQUIRE_ORT").is_none(),
            "ADWP_PYTHON must name a Python that has the package onnx"
        );
        println!("skipped: ADWP_PYTHON names no Python that has the package onnx");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut names = HashSet::new();
    for (name, trained) in networks() {
        for mode in MODES {
            let name = format!("{name}-{mode:?}.onnx");
            fs::write(dir.path().join(&name), model(&trained, mode).unwrap()).unwrap();
            names.insert(name);
        }
        for (form, bytes) in forms(&trained) {
            let pixels = OnnxModel::from_bytes(&bytes, "model.onnx").unwrap().input().pixels();
            let name = format!("{name}-{form}-{pixels}.onnx");
            fs::write(dir.path().join(&name), bytes).unwrap();
            names.insert(name);
        }
    }
    let output = Command::new(&python).arg("-c").arg(REFERENCE_CHECK).arg(dir.path()).output();
    let output = output.unwrap_or_else(|e| panic!("{}: {e}", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let checked = String::from_utf8(output.stdout).unwrap();
    assert_eq!(checked.lines().map(str::to_owned).collect::<HashSet<_>>(), names);
}

#[test]
fn a_trained_network_comes_back_and_writes_the_same_file() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) =
        (dir.path().join("first.safetensors"), dir.path().join("second.safetensors"));
    for (name, trained) in networks() {
        trained.write(&first, Some("seed = 1\n")).unwrap();
        let read = Trained::read(&first).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(read == trained, "{name}: what was read differs");
        read.write(&second, Some("seed = 1\n")).unwrap();
        assert!(
            fs::read(&first).unwrap() == fs::read(&second).unwrap(),
            "{name}: other bytes the second time"
        );
        assert!(
            model(&read, BatchNorms::Folded).unwrap()
                == model(&trained, BatchNorms::Folded).unwrap(),
            "{name}: another file"
        );
    }
}

/// Reads what `change` made of the bytes of a trained network.
fn read_changed(
    path: &Path,
    whole: &[u8],
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Trained, ExportError> {
    let mut bytes = whole.to_vec();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    Trained::read(path)
}

#[test]
fn damaged_weights_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    trained(cifar(1), 1).write(&path, None).unwrap();
    let whole = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let lengths = (0..16)
        .chain((16..whole.len()).step_by(whole.len() / 300))
        .chain(header - 4..header + 4)
        .chain(whole.len() - 9..whole.len());
    for length in lengths {
        let result = read_changed(&path, &whole, |bytes| bytes.truncate(length));
        assert!(
            matches!(&result, Err(ExportError::Train(TrainError::Damaged { path: at, .. }))
                    if *at == path),
            "{length} bytes: {result:?}"
        );
    }
    assert!(read_changed(&path, &whole, |bytes| bytes.push(0)).is_err(), "a byte too many");
    // A byte of the header that is another one is no panic, whether or not it shows.
    for at in (0..header).step_by(header / 400) {
        let _ = read_changed(&path, &whole, |bytes| bytes[at] ^= 0x11);
    }
    assert!(read_changed(&path, &whole, |_| ()).is_ok());
}

#[test]
fn a_genotype_of_another_skeleton_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("weights.safetensors");
    let original = trained(cifar(2), 2);
    let refused = |change: &dyn Fn(&mut Genotype, &mut Skeleton), expected: &str| {
        let mut trained = original.clone();
        let Blueprint::Cells { genotype, skeleton } = &mut trained.network.blueprint else {
            panic!("a network of cells")
        };
        change(genotype, skeleton);
        trained.write(&path, None).unwrap();
        let messages = [
            trained.inference(1).map(drop).unwrap_err().to_string(),
            model(&trained, BatchNorms::Folded).unwrap_err().to_string(),
            Trained::read(&path).unwrap_err().to_string(),
        ];
        assert!(
            messages.iter().all(|message| message.contains(expected)),
            "{messages:?}, expected {expected:?}"
        );
    };
    refused(&|genotype, _| drop(genotype.cells.pop()), "cells, the network");
    refused(&|_, skeleton| skeleton.cells += 1, "cells, the network");
    refused(
        &|genotype, _| genotype.cells[0].kind = CellKind::Reduction,
        "cell 0 of the genotype is a Reduction cell",
    );
    refused(&|_, skeleton| skeleton.image[1] += 1, "multiples of 4");
    refused(&|_, skeleton| skeleton.cells = 2, "at least 3 cells");
    refused(&|_, skeleton| skeleton.cells = usize::MAX, "cells = ");
    refused(&|_, skeleton| skeleton.image[2] = 1 << 33, "image width = ");
}
