use half::{bf16, f16};

/// Float values of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Vec<usize>,
    /// Row-major.
    pub data: Vec<f32>,
}

/// What floats are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F64,
    F16,
    Bf16,
}

impl Element {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The values of little-endian bytes.
    pub(crate) fn floats(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|of| f32::from_le_bytes(*of)).collect(),
            Self::F64 => {
                bytes.as_chunks().0.iter().map(|of| f64::from_le_bytes(*of) as f32).collect()
            }
            Self::F16 => {
                bytes.as_chunks().0.iter().map(|of| f16::from_le_bytes(*of).to_f32()).collect()
            }
            Self::Bf16 => {
                bytes.as_chunks().0.iter().map(|of| bf16::from_le_bytes(*of).to_f32()).collect()
            }
        }
    }
}
