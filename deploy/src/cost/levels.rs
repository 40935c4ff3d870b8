//! The different values of a constant tensor, where they are few: what tells masks from weights.

use tract_onnx::pb::{TensorProto, tensor_proto::DataType};

use super::numbers::Numbers;

/// Different values that are kept of a tensor.
const MOST: usize = 8;

/// What a score is at least lowered by where a mask forbids a place: Swin Transformers have 100.
const FORBIDDEN: f64 = 100.0;

/// The different values of a tensor in ascending order, at most [`MOST`]. Of one that is computed
/// these are those that it may have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Levels(Vec<f64>);

impl Levels {
    /// `None` of no values, of too many different ones, and where one is NaN.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut levels: Vec<f64> = Vec::new();
        for value in values {
            if value.is_nan() || levels.len() == MOST && !levels.contains(&value) {
                return None;
            }
            if !levels.contains(&value) {
                levels.push(value);
            }
        }
        levels.sort_unstable_by(f64::total_cmp);
        (!levels.is_empty()).then_some(Self(levels))
    }

    /// Those of truth values.
    pub(super) fn bits() -> Self {
        Self(vec![0.0, 1.0])
    }

    /// Those of a stored tensor, of which nothing is known where its values lie in another file.
    pub(super) fn of_tensor(tensor: &TensorProto) -> Option<Self> {
        match DataType::try_from(tensor.data_type).ok()? {
            DataType::Bool => Some(Self::bits()),
            _ => Self::of(Numbers::of(tensor)?.iter()),
        }
    }

    /// Of results of `operate` on each.
    pub(super) fn map(&self, operate: fn(f64) -> f64) -> Option<Self> {
        Self::of(self.0.iter().map(|&value| operate(value)))
    }

    /// The one value that all elements have.
    pub(super) fn only(&self) -> Option<f64> {
        match self.0[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Nothing but zeros and ones, or one of these.
    pub(super) fn are_bits(&self) -> bool {
        self.0.iter().all(|&value| value == 0.0 || value == 1.0)
    }

    /// Zeros and ones, both.
    pub(super) fn choose(&self) -> bool {
        self.0 == [0.0, 1.0]
    }

    /// Zeros and one other number, both: a mask that may be scaled.
    pub(super) fn choose_scaled(&self) -> bool {
        matches!(self.0[..], [a, b] if (a == 0.0 || b == 0.0) && a.is_finite() && b.is_finite())
    }

    /// Zeros and one number that lowers scores by more than a bias does, without forbidding; the
    /// same of what is subtracted where `sign` is -1.
    pub(super) fn lower(&self, sign: f64) -> bool {
        matches!(self.0[..], [a, b] if (a == 0.0 || b == 0.0) && sign * (a + b) < -1.0)
    }

    /// One value, or zeros and ones.
    pub(super) fn fill(&self) -> bool {
        self.only().is_some() || self.are_bits()
    }

    /// Values that forbid places when they are added to scores, and zeros; the same of what is
    /// subtracted where `sign` is -1.
    pub(super) fn forbid(&self, sign: f64) -> bool {
        let forbids = |value: f64| sign * value <= -FORBIDDEN;
        self.0.iter().all(|&value| value == 0.0 || forbids(value))
            && self.0.iter().any(|&value| forbids(value))
    }

    /// Of a tensor that has values of both.
    pub(super) fn with(&self, other: &Self) -> Option<Self> {
        Self::of(self.0.iter().chain(&other.0).copied())
    }

    /// Of results of `operate`.
    pub(super) fn paired(&self, other: &Self, operate: fn(f64, f64) -> f64) -> Option<Self> {
        let pairs = self.0.iter().flat_map(|&a| other.0.iter().map(move |&b| operate(a, b)));
        Self::of(pairs)
    }
}
