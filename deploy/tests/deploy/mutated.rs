//! Damaged and hostile files, in a process whose memory and time are bounded.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use adwp_measure::{
    cost::cost_of_file,
    noise::noise,
    onnx::{OnnxFile, OnnxModel},
    runtime::{Session, SessionOptions},
};
use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::{
    ModelProto, NodeProto, StringStringEntryProto, tensor_proto::DataLocation,
    tensor_shape_proto::dimension::Value as Dim, type_proto,
};

use crate::{
    models::{classifier, int, ints},
    runtimes::runtimes,
};

/// What the child process reads: the folder of its files.
const FOLDER: &str = "ADWP_MUTATED";
/// KiB of address space and seconds of processor time of a child process.
const LIMITS: &str = "ulimit -v 16000000 && ulimit -t 120";

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// Sizes that no file should have.
const ABSURD: [i64; 9] =
    [-1, 0, i64::MIN, i64::MAX, 1 << 31, 1 << 40, u32::MAX as i64, 1 << 20, 65_537];

fn absurd_shapes(model: &mut ModelProto, random: &mut Random) {
    let graph = model.graph.as_mut().unwrap();
    match random.below(3) {
        0 => {
            let tensor = random.below(graph.initializer.len());
            let tensor = &mut graph.initializer[tensor];
            let dim = random.below(tensor.dims.len());
            tensor.dims[dim] = random.of(&ABSURD);
        }
        1 => {
            let Some(type_proto::Value::TensorType(tensor)) =
                graph.input[0].r#type.as_mut().unwrap().value.as_mut()
            else {
                unreachable!()
            };
            let dims = &mut tensor.shape.as_mut().unwrap().dim;
            let dim = random.below(dims.len());
            dims[dim].value = Some(Dim::DimValue(random.of(&ABSURD)));
        }
        _ => {
            let nodes: Vec<usize> = (0..graph.node.len())
                .filter(|&node| !graph.node[node].attribute.is_empty())
                .collect();
            let node = &mut graph.node[random.of(&nodes)];
            let attribute = random.below(node.attribute.len());
            let attribute = &mut node.attribute[attribute];
            attribute.i = random.of(&ABSURD);
            attribute.ints.iter_mut().for_each(|value| *value = random.of(&ABSURD));
        }
    }
}

fn cycle(model: &mut ModelProto, random: &mut Random) {
    let nodes = &mut model.graph.as_mut().unwrap().node;
    let first = random.below(nodes.len() - 1);
    let second = first + random.below(nodes.len() - first);
    nodes[first].input[0] = nodes[second].output[0].clone();
}

/// A tensor that says it has two thousand million bytes, and has none or a few.
fn huge_tensor(model: &mut ModelProto, random: &mut Random) {
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let tensor = random.below(tensors.len());
    let tensor = &mut tensors[tensor];
    tensor.dims = random.of(&[&[1 << 29][..], &[1 << 15, 1 << 14], &[2, 1 << 28, 1]]).to_vec();
    if random.below(2) == 0 {
        tensor.raw_data.clear();
    }
}

fn outside(model: &mut ModelProto, random: &mut Random, secret: &Path) {
    let tensors = &mut model.graph.as_mut().unwrap().initializer;
    let tensor = random.below(tensors.len());
    let tensor = &mut tensors[tensor];
    tensor.raw_data.clear();
    let mut places = vec![
        "../secret".to_owned(),
        "link".to_owned(),
        "/dev/zero".to_owned(),
        "/etc/hostname".to_owned(),
        "./../secret".to_owned(),
    ];
    places.extend([
        "a/../../secret".to_owned(),
        String::new(),
        "missing".to_owned(),
        secret.to_str().unwrap().to_owned(),
    ]);
    let value = places[random.below(places.len())].clone();
    tensor.external_data = vec![StringStringEntryProto { key: "location".into(), value }];
    if random.below(2) == 0 {
        let (key, value) = (
            random.of(&["offset", "length"]),
            random.of(&["18446744073709551615", "-1", "0", "4096"]),
        );
        tensor.external_data.push(StringStringEntryProto { key: key.into(), value: value.into() });
    }
    tensor.data_location = Some(DataLocation::External as i32);
}

/// Graphs in graphs, or more nodes than any network has.
fn deep_or_many(model: &mut ModelProto, random: &mut Random) {
    let graph = model.graph.as_mut().unwrap();
    if random.below(2) == 0 {
        let mut inner = graph.clone();
        for _ in 0..5 + random.below(40) {
            let attribute =
                tract_onnx::pb::AttributeProto { g: Some(inner), ..int("then_branch", 0) };
            let node = NodeProto {
                op_type: "If".into(),
                attribute: vec![attribute, ints("i", &[1])],
                output: vec!["o".into()],
                ..Default::default()
            };
            inner = tract_onnx::pb::GraphProto { node: vec![node], ..Default::default() };
        }
        graph.node.extend(inner.node);
    } else {
        graph.node.extend(vec![NodeProto::default(); 600_000]);
    }
}

/// Writes 200 files into folders of 25, next to a file that no model may read. Files whose bytes
/// were changed may still be models.
fn write(root: &Path) -> Vec<PathBuf> {
    let mut random = Random(2026);
    let secret = root.join("secret");
    fs::write(&secret, vec![0; 1 << 20]).unwrap();
    let models = [classifier(-1), classifier(2)];
    let mut folders = Vec::new();
    for number in 0..200 {
        let folder = root.join(format!("{}", number / 25));
        if number % 25 == 0 {
            fs::create_dir(&folder).unwrap();
            #[cfg(unix)]
            std::os::unix::fs::symlink(&secret, folder.join("link")).unwrap();
            folders.push(folder.clone());
        }
        let mut model = models[random.below(2)].model.clone();
        let (kind, bytes) = match number % 10 {
            0 | 1 => {
                let bytes = model.encode_to_vec();
                ("truncated", bytes[..random.below(bytes.len())].to_vec())
            }
            2..=4 => {
                let mut bytes = model.encode_to_vec();
                for _ in 0..1 + random.below(8) {
                    let at = random.below(bytes.len());
                    bytes[at] = random.below(256) as u8;
                }
                ("bytes", bytes)
            }
            kind => {
                let name = ["shapes", "cycle", "huge", "outside", "deep"][kind - 5];
                match name {
                    "shapes" => absurd_shapes(&mut model, &mut random),
                    "cycle" => cycle(&mut model, &mut random),
                    "huge" => huge_tensor(&mut model, &mut random),
                    "outside" => outside(&mut model, &mut random, &secret),
                    _ => deep_or_many(&mut model, &mut random),
                }
                (name, model.encode_to_vec())
            }
        };
        fs::write(folder.join(format!("{number:03}-{kind}.onnx")), bytes).unwrap();
    }
    folders
}

/// Reads, counts, loads and runs a file, as far as that goes.
fn attempt(path: &Path) -> Result<(), adwp_measure::DeployError> {
    let file = OnnxFile::load(path)?;
    cost_of_file(&file, &Default::default())?;
    let model = OnnxModel::from_file(file)?;
    for runtime in runtimes() {
        let batch = model.input().nominal_batch();
        let mut session = Session::from_model(
            runtime,
            &model,
            &SessionOptions { batch, ..SessionOptions::default() },
        )?;
        session.run(&noise(model.input(), batch), batch)?;
    }
    Ok(())
}

/// The child process: one line for each file of its folder.
#[test]
#[ignore = "part of another test, which runs it in a process of its own"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    files.sort();
    let mut stdout = std::io::stdout().lock();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        // Printed before it is tried, so that a process that ends here says where.
        write!(stdout, "\nfile {name}: ").unwrap();
        stdout.flush().unwrap();
        match attempt(&path) {
            Ok(()) => write!(stdout, "accepted").unwrap(),
            Err(error) => write!(stdout, "refused: {error}").unwrap(),
        }
    }
    writeln!(stdout).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn two_hundred_mutated_files_end_in_bounded_memory_and_time() {
    let root = TempDir::new().unwrap();
    let mut outcomes = Vec::new();
    for folder in write(root.path()) {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{LIMITS} && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap());
        command.args(["mutated::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        let output = command
            .env(FOLDER, &folder)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
        outcomes
            .extend(said.lines().filter_map(|line| line.strip_prefix("file ")).map(str::to_owned));
    }
    assert_eq!(outcomes.len(), 200);
    for outcome in &outcomes {
        // Another weight or another name is still a model; whatever else was done to a file is
        // reported.
        let may_run = outcome.contains("-bytes") || outcome.contains("-shapes");
        assert!(
            outcome.contains("refused: ") || (may_run && outcome.ends_with("accepted")),
            "{outcome}"
        );
        if outcome.contains("-outside") {
            assert!(outcome.contains("external data"), "{outcome}");
        }
    }
    let refused = outcomes.iter().filter(|outcome| outcome.contains("refused: ")).count();
    assert!(refused > 150, "{refused} of 200");
}
