//! Looks at an ONNX file before it is decoded: distinguishes a truncated one from a file that was
//! never one, which a protocol buffer decoder cannot, and refuses one whose messages are so
//! numerous or so deep that decoding it would take far more memory than the file has bytes.

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
    let (mut at, mut fields) = (0, 0);
    while at < bytes.len() {
        let start = at;
        let tag = match varint(bytes, &mut at) {
            Varint::Value(tag) => tag,
            Varint::Cut => {
                return Err(truncated(format!("it ends at byte {} inside a field", bytes.len())));
            }
            Varint::Malformed => return Err(not_onnx(path, start)),
        };
        let (field, wire_type) = (tag >> 3, tag & 7);
        if !MODEL_FIELDS.contains(&(field, wire_type)) {
            return Err(not_onnx(path, start));
        }
        let value = match varint(bytes, &mut at) {
            Varint::Value(value) => value,
            Varint::Cut => {
                return Err(truncated(format!("it ends at byte {} inside a field", bytes.len())));
            }
            Varint::Malformed => return Err(not_onnx(path, start)),
        };
        if wire_type == BYTES {
            let left = (bytes.len() - at) as u64;
            if value > left {
                if value > MAX_MESSAGE {
                    return Err(not_onnx(path, start));
                }
                return Err(truncated(format!(
                    "byte {at} announces {value} bytes and {left} are there"
                )));
            }
            let inner = &bytes[at..at + value as usize];
            let message = match field {
                7 => Some(Message::Graph),
                20 => Some(Message::Training),
                25 => Some(Message::Function),
                _ => None,
            };
            count(inner, message, 0, &mut fields)
                .map_err(|detail| DeployError::InvalidGraph { path: path.to_owned(), detail })?;
            at += value as usize;
        }
    }
    Ok(())
}

/// Names and messages that a file may have: each takes up to some hundred bytes once it is decoded,
/// and as little as two in the file.
const MAX_FIELDS: usize = 500_000;

/// Graphs inside nodes are rarely three deep; each level is four messages.
const MAX_DEPTH: usize = 64;

/// The messages that hold others.
#[derive(Clone, Copy)]
enum Message {
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    Shape,
    Annotation,
}

impl Message {
    /// The message that `field` of this one is; `None` for strings, numbers, and messages without
    /// others.
    fn inner(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Training, 1 | 2) => Self::Graph,
            (Self::Function, 7) | (Self::Graph, 1) => Self::Node,
            (Self::Function, 11) | (Self::Node, 5) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => {
                Self::Tensor
            }
            (Self::Graph, 11..=13) => Self::ValueInfo,
            (Self::Graph, 14) => Self::Annotation,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Attribute, 14 | 15) | (Self::ValueInfo, 2) => Self::Type,
            // Sequences, maps and optionals hold types too; all are walked as one.
            (Self::Type, 1 | 4 | 5 | 8 | 9) => Self::TensorType,
            (Self::TensorType, 1) => Self::Type,
            (Self::TensorType, 2) => Self::Shape,
            _ => return None,
        })
    }
}

/// Counts what is decoded into memory of its own. What is no protocol buffer ends the walk: the
/// decoder will say so.
fn count(
    bytes: &[u8],
    message: Option<Message>,
    depth: usize,
    fields: &mut usize,
) -> Result<(), String> {
    *fields += 1;
    if *fields > MAX_FIELDS {
        return Err(format!("it has more than {MAX_FIELDS} names and messages"));
    }
    let Some(message) = message else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(format!("its messages are nested more than {MAX_DEPTH} deep"));
    }
    let mut at = 0;
    while at < bytes.len() {
        let Varint::Value(tag) = varint(bytes, &mut at) else { return Ok(()) };
        match tag & 7 {
            VARINT => {
                if !matches!(varint(bytes, &mut at), Varint::Value(_)) {
                    return Ok(());
                }
            }
            BYTES => {
                let Varint::Value(len) = varint(bytes, &mut at) else { return Ok(()) };
                let Some(inner) =
                    usize::try_from(len).ok().and_then(|len| bytes.get(at..at.checked_add(len)?))
                else {
                    return Ok(());
                };
                count(inner, message.inner(tag >> 3), depth + 1, fields)?;
                at += inner.len();
            }
            1 => at += 8,
            5 => at += 4,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// A protocol buffer message is at most 2 GiB: whatever announces more was not written by an
/// exporter.
pub(super) const MAX_MESSAGE: u64 = 1 << 31;

fn not_onnx(path: &Path, at: usize) -> DeployError {
    DeployError::NotOnnx {
        path: path.to_owned(),
        detail: format!("byte {at} does not start a field of an ONNX model"),
    }
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
