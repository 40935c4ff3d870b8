//! Files that PyTorch 2.15 wrote (`torch.save`), and safetensors.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use adwp_weights::{StateDict, Tensor};
use tempfile::TempDir;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor { shape: shape.to_vec(), data: data.to_vec() }
}

/// Twelve eighths in three rows, and what else the files have of them.
fn expected() -> BTreeMap<String, Tensor> {
    let eighths: Vec<f32> = (0..12).map(|i| i as f32 / 8.0).collect();
    let turned: Vec<f32> = (0..12).map(|i| eighths[i % 3 * 4 + i / 3]).collect();
    let all = [
        ("plain", tensor(&[3, 4], &eighths)),
        ("turned", tensor(&[4, 3], &turned)),
        ("part", tensor(&[2, 2], &[0.75, 0.875, 1.25, 1.375])),
        ("half", tensor(&[2], &[1.5, -2.0])),
        ("brain", tensor(&[2], &[1.5, -2.0])),
        ("double", tensor(&[1], &[0.25])),
        ("learned", tensor(&[1, 1], &[7.0])),
        ("none", tensor(&[0, 3], &[])),
    ];
    all.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

#[test]
fn every_kind_of_file_gives_the_same_tensors() {
    for name in ["state.pth", "state-legacy.pth", "checkpoint.pth"] {
        assert_eq!(StateDict::read(&file(name)).unwrap().0, expected(), "{name}");
    }
}

#[test]
fn safetensors_of_every_float_are_read() {
    use safetensors::{Dtype, serialize, tensor::TensorView};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights");
    let views = [
        ("module.a", Dtype::F32, 1.5_f32.to_le_bytes().to_vec()),
        ("module.b", Dtype::F64, 0.25_f64.to_le_bytes().to_vec()),
        ("module.c", Dtype::BF16, vec![0xc0, 0x3f]),
        ("module.count", Dtype::I64, 5_i64.to_le_bytes().to_vec()),
    ];
    let views = views
        .iter()
        .map(|(name, dtype, bytes)| (*name, TensorView::new(*dtype, vec![1], bytes).unwrap()));
    fs::write(&path, serialize(views, None).unwrap()).unwrap();
    let found = StateDict::read(&path).unwrap().0;
    let one = |value| tensor(&[1], &[value]);
    let expected = [("a", one(1.5)), ("b", one(0.25)), ("c", one(1.5))];
    assert_eq!(found, expected.map(|(name, tensor)| (name.to_owned(), tensor)).into());
}

#[test]
fn what_is_no_state_dict_is_refused_in_words() {
    let dir = TempDir::new().unwrap();
    let refused = |content: &[u8]| {
        let path = dir.path().join("weights");
        fs::write(&path, content).unwrap();
        StateDict::read(&path).unwrap_err().to_string()
    };
    assert!(refused(b"").contains("neither a safetensors file nor one of torch.save"));
    assert!(refused(b"PK\x03\x04 and nothing more").contains("weights: "));
    let model = StateDict::read(&file("model.pth")).unwrap_err().to_string();
    assert!(model.contains("a whole model or program"), "{model}");
}

#[test]
fn a_file_that_was_cut_or_changed_gives_an_error_or_other_values() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("weights");
    for name in ["state.pth", "state-legacy.pth"] {
        let whole = fs::read(file(name)).unwrap();
        for end in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..end]).unwrap();
            assert!(StateDict::read(&path).is_err(), "{name} cut at {end}");
        }
        // No panic, whatever a byte is.
        for at in (0..whole.len()).step_by(3) {
            for byte in [0, 0xff, whole[at] ^ 1] {
                let mut changed = whole.clone();
                changed[at] = byte;
                fs::write(&path, &changed).unwrap();
                let _ = StateDict::read(&path);
            }
        }
    }
}
