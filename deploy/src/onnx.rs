//! Reads an ONNX file and checks what every other module relies on.

mod check;
mod external;
mod file;
mod input;
mod metadata;
mod model;
mod scores;
mod tensors;
mod wire;

pub use check::{NEWEST_OPSET, OLDEST_OPSET};
pub use file::OnnxFile;
pub use input::{BatchSize, Element, ImageInput, Interface};
pub use metadata::{ModelMetadata, Normalization, Preprocessing};
pub use model::{ClassOutput, OnnxModel};
pub use scores::Scores;
pub(crate) use tensors::{
    MAX_ELEMENTS, declared, element_bits, first_symbol, is_standard_domain, node_label,
    tensor_dims, tensor_shape,
};
