//! Tells a truncated ONNX file from a file that was never one, which a protocol buffer decoder cannot.

use std::path::Path;

use crate::{DeployError, Result};

const VARINT: u64 = 0;
const BYTES: u64 = 2;

/// The fields of `ModelProto` with their wire types.
const MODEL_FIELDS: [(u64, u64); 11] = [
    (1, VARINT), // ir_version
    (2, BYTES),  // producer_name
    (3, BYTES),  // producer_version
    (4, BYTES),  // domain
    (5, VARINT), // model_version
    (6, BYTES),  // doc_string
    (7, BYTES),  // graph
    (8, BYTES),  // opset_import
    (14, BYTES), // metadata_props
    (20, BYTES), // training_info
    (25, BYTES), // functions
];

/// Walks the outermost fields of the model.
pub(super) fn check(bytes: &[u8], path: &Path) -> Result<()> {
    let truncated = |detail: String| DeployError::Truncated { path: path.to_owned(), detail };
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let tag = match varint(bytes, &mut at) {
            Varint::Value(tag) => tag,
            Varint::Cut => return Err(truncated(format!("it ends at byte {} inside a field", bytes.len()))),
            Varint::Malformed => return Err(not_onnx(path, start)),
        };
        let (field, wire_type) = (tag >> 3, tag & 7);
        if !MODEL_FIELDS.contains(&(field, wire_type)) {
            return Err(not_onnx(path, start));
        }
        let value = match varint(bytes, &mut at) {
            Varint::Value(value) => value,
            Varint::Cut => return Err(truncated(format!("it ends at byte {} inside a field", bytes.len()))),
            Varint::Malformed => return Err(not_onnx(path, start)),
        };
        if wire_type == BYTES {
            let left = (bytes.len() - at) as u64;
            if value > left {
                if value > MAX_MESSAGE {
                    return Err(not_onnx(path, start));
                }
                return Err(truncated(format!("byte {at} announces {value} bytes and {left} are there")));
            }
            at += value as usize;
        }
    }
    Ok(())
}

/// A protocol buffer message is at most 2 GiB: whatever announces more was not written by an exporter.
const MAX_MESSAGE: u64 = 1 << 31;

fn not_onnx(path: &Path, at: usize) -> DeployError {
    DeployError::NotOnnx { path: path.to_owned(), detail: format!("byte {at} does not start a field of an ONNX model") }
}

enum Varint {
    Value(u64),
    Cut,
    Malformed,
}

fn varint(bytes: &[u8], at: &mut usize) -> Varint {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some(&byte) = bytes.get(*at) else { return Varint::Cut };
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Varint::Value(value);
        }
    }
    Varint::Malformed
}
