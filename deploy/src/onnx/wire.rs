//! Looks at an ONNX file before it is decoded: distinguishes a truncated one from a file that was
//! never one, which a protocol buffer decoder cannot, and refuses one whose messages are so
//! numerous or so deep that decoding it would take far more memory than the file has bytes.

use std::path::Path;

use crate::{DeployError, Result};

const VARINT: u64 = 0;
const EIGHT: u64 = 1;
const BYTES: u64 = 2;
const GROUP: u64 = 3;
const END_OF_GROUP: u64 = 4;
const FOUR: u64 = 5;

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

/// What was met among the outermost fields of a file.
#[derive(Default)]
struct Met {
    graph: bool,
    /// Where the first field stands that a model does not have.
    unknown: Option<usize>,
}

/// Whether a file that begins so may be a model.
///
/// # Errors
/// [`DeployError::NotOnnx`].
pub(super) fn check_start(head: &[u8], path: &Path) -> Result<()> {
    match varint(head, &mut 0) {
        Varint::Value(tag) if tag >> 3 > 0 && matches!(tag & 7, VARINT | EIGHT | BYTES | FOUR) => {
            Ok(())
        }
        // Of what is empty or cut the rest is said later.
        Varint::Cut => Ok(()),
        _ => Err(not_onnx(path, 0)),
    }
}

/// Walks the outermost fields of the model. What a newer standard has is passed over, as every
/// reader of protocol buffers does; but a file that begins with it and has no graph is no model.
pub(super) fn check(bytes: &[u8], path: &Path) -> Result<()> {
    let mut met = Met::default();
    let walked = walk(bytes, path, &mut met);
    match (met, walked) {
        (Met { graph: false, unknown: Some(start) }, _) => Err(not_onnx(path, start)),
        (_, walked) => walked,
    }
}

fn walk(bytes: &[u8], path: &Path, met: &mut Met) -> Result<()> {
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
        let is_known = MODEL_FIELDS.contains(&(field, wire_type));
        let is_possible = field > 0 && matches!(wire_type, VARINT | EIGHT | BYTES | FOUR);
        if !is_known && (MODEL_FIELDS.iter().any(|known| known.0 == field) || !is_possible) {
            return Err(not_onnx(path, start));
        }
        if !is_known {
            met.unknown.get_or_insert(start);
        }
        met.graph |= field == 7;
        if let EIGHT | FOUR = wire_type {
            at += if wire_type == EIGHT { 8 } else { 4 };
            if at > bytes.len() {
                return Err(truncated(format!("it ends at byte {} inside a field", bytes.len())));
            }
            continue;
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
            count(inner, message, 1, &mut fields)
                .map_err(|detail| DeployError::InvalidGraph { path: path.to_owned(), detail })?;
            at += value as usize;
        }
    }
    Ok(())
}

/// The bytes of a model whose texts are all UTF-8: what was not is written as `\xff`.
pub(super) fn escaped(bytes: &[u8]) -> Vec<u8> {
    rewritten(bytes, Message::Model)
}

fn rewritten(bytes: &[u8], message: Message) -> Vec<u8> {
    let (mut written, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let start = at;
        // The decoder says what is wrong with a message that ends too early.
        let Varint::Value(tag) = varint(bytes, &mut at) else { break };
        let field = tag >> 3;
        match tag & 7 {
            VARINT => drop(varint(bytes, &mut at)),
            EIGHT => at += 8,
            FOUR => at += 4,
            BYTES => {
                let Varint::Value(len) = varint(bytes, &mut at) else { break };
                let end = usize::try_from(len).ok().and_then(|len| at.checked_add(len));
                let Some(inner) = end.and_then(|end| bytes.get(at..end)) else { break };
                at += inner.len();
                let inner = match message.inner(field) {
                    Some(message) => rewritten(inner, message),
                    None if message.has_text(field) => text(inner),
                    None => inner.to_vec(),
                };
                put_varint(tag, &mut written);
                put_varint(inner.len() as u64, &mut written);
                written.extend(inner);
                continue;
            }
            _ => break,
        }
        written.extend(bytes.get(start..at).unwrap_or_default());
    }
    written
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let chunks = bytes.utf8_chunks();
    let chunks = chunks.map(|chunk| format!("{}{}", chunk.valid(), chunk.invalid().escape_ascii()));
    chunks.collect::<String>().into_bytes()
}

fn put_varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value > 0x7f {
        bytes.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Names and messages that a file may have: each takes up to some hundred bytes once it is decoded,
/// and as little as two in the file. An attribute, which takes more than a thousand, counts as four.
const MAX_FIELDS: usize = 500_000;

/// What readers of protocol buffers follow, the decoder used here and those of other tools: graphs
/// inside nodes 33 deep, since each is three messages.
const MAX_DEPTH: usize = 100;

/// The messages that hold others, or text.
#[derive(Clone, Copy)]
enum Message {
    Model,
    OperatorSet,
    /// A key and its value.
    Entry,
    Dimension,
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
            (Self::Model, 7) => Self::Graph,
            (Self::Model, 8) | (Self::Function, 9) => Self::OperatorSet,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Model, 14)
            | (Self::Training, 3 | 4)
            | (Self::Function, 14)
            | (Self::Graph, 16)
            | (Self::Node, 9)
            | (Self::Tensor, 13 | 16)
            | (Self::ValueInfo, 4)
            | (Self::Annotation, 2) => Self::Entry,
            (Self::Shape, 1) => Self::Dimension,
            (Self::Function, 12) => Self::ValueInfo,
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

    /// Whether `field` of this message is text.
    fn has_text(self, field: u64) -> bool {
        matches!(
            (self, field),
            (Self::Model, 2..=4 | 6)
                | (Self::OperatorSet, 1)
                | (Self::Entry, 1 | 2)
                | (Self::Dimension, 2 | 3)
                | (Self::Function, 1 | 4..=6 | 8 | 10 | 13)
                | (Self::Graph, 2 | 10)
                | (Self::Node, 1..=4 | 6..=8)
                | (Self::Attribute, 1 | 13 | 21)
                | (Self::Tensor, 8 | 12)
                | (Self::ValueInfo, 1 | 3)
                | (Self::Type, 6)
                | (Self::Annotation, 1)
        )
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
    *fields += if let Some(Message::Attribute) = message { 4 } else { 1 };
    if *fields > MAX_FIELDS {
        return Err(format!("it has more than {MAX_FIELDS} names and messages"));
    }
    let Some(message) = message else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(format!(
            "its messages are nested more than {MAX_DEPTH} deep, which is as far as readers of protocol \
             buffers follow"
        ));
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
            EIGHT => at += 8,
            FOUR => at += 4,
            // The decoder would go on behind one, where nothing was counted.
            GROUP | END_OF_GROUP => return Err("it has a group, which no ONNX file has".to_owned()),
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
