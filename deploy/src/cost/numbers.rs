//! The numbers of a stored tensor, one at a time.

use half::{bf16, f16};
use tract_onnx::pb::{AttributeProto, TensorProto, tensor_proto::DataType};

/// The numbers of a stored tensor in its order. They are decoded when they are asked for.
pub(super) struct Numbers<'a> {
    len: usize,
    at: Box<dyn Fn(usize) -> f64 + 'a>,
}

impl<'a> Numbers<'a> {
    /// Those of `tensor`; `None` of truth values, of types without an exact double, and where they
    /// lie in another file.
    pub(super) fn of(tensor: &'a TensorProto) -> Option<Self> {
        let raw = &tensor.raw_data[..];
        let (int32, is_raw) = (&tensor.int32_data[..], !raw.is_empty());
        match DataType::try_from(tensor.data_type).ok()? {
            DataType::Float if is_raw => Self::raw(raw, |bytes| f32::from_le_bytes(bytes).into()),
            DataType::Float => Some(Self::listed(&tensor.float_data, f64::from)),
            DataType::Double if is_raw => Self::raw(raw, f64::from_le_bytes),
            DataType::Double => Some(Self::listed(&tensor.double_data, |value| value)),
            DataType::Float16 if is_raw => Self::raw(raw, |bytes| f16::from_le_bytes(bytes).into()),
            DataType::Float16 => {
                Some(Self::listed(int32, |bits| f16::from_bits(bits as u16).into()))
            }
            DataType::Bfloat16 if is_raw => {
                Self::raw(raw, |bytes| bf16::from_le_bytes(bytes).into())
            }
            DataType::Bfloat16 => {
                Some(Self::listed(int32, |bits| bf16::from_bits(bits as u16).into()))
            }
            DataType::Uint8 if is_raw => Self::raw(raw, |bytes| u8::from_le_bytes(bytes).into()),
            DataType::Int8 if is_raw => Self::raw(raw, |bytes| i8::from_le_bytes(bytes).into()),
            DataType::Int32 if is_raw => Self::raw(raw, |bytes| i32::from_le_bytes(bytes).into()),
            DataType::Uint8 | DataType::Int8 | DataType::Int32 => {
                Some(Self::listed(int32, f64::from))
            }
            DataType::Int64 if is_raw => Self::raw(raw, |bytes| i64::from_le_bytes(bytes) as f64),
            DataType::Int64 => Some(Self::listed(&tensor.int64_data, |value| value as f64)),
            DataType::Uint32 if is_raw => Self::raw(raw, |bytes| u32::from_le_bytes(bytes).into()),
            DataType::Uint64 if is_raw => Self::raw(raw, |bytes| u64::from_le_bytes(bytes) as f64),
            DataType::Uint32 | DataType::Uint64 => {
                Some(Self::listed(&tensor.uint64_data, |value| value as f64))
            }
            _ => None,
        }
    }

    /// Those of the list that an attribute of a `Constant` has.
    pub(super) fn of_attribute(attribute: &'a AttributeProto) -> Option<Self> {
        match attribute.name.as_str() {
            "value_floats" => Some(Self::listed(&attribute.floats, f64::from)),
            "value_ints" => Some(Self::listed(&attribute.ints, |value| value as f64)),
            _ => None,
        }
    }

    fn listed<T: Copy>(list: &'a [T], value: impl Fn(T) -> f64 + 'a) -> Self {
        Self { len: list.len(), at: Box::new(move |index| value(list[index])) }
    }

    fn raw<const N: usize>(raw: &'a [u8], value: impl Fn([u8; N]) -> f64 + 'a) -> Option<Self> {
        let (elements, rest) = raw.as_chunks();
        rest.is_empty().then(|| Self::listed(elements, value))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number at `index`, which is below [`Numbers::len`].
    pub(super) fn at(&self, index: usize) -> f64 {
        (self.at)(index)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = f64> {
        (0..self.len).map(|index| self.at(index))
    }
}
