use crate::storage::Storage;

/// v ← momentum · v + g + weight_decay · w; w ← w - rate · v.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SgdRule {
    pub(crate) momentum: f32,
    pub(crate) weight_decay: f32,
    pub(crate) rate: f32,
}

/// g ← g + weight_decay · w; m ← β₁ · m + (1 - β₁) · g; v ← β₂ · v + (1 - β₂) · g²; w ← w -
/// step_size · m / (√v / root + epsilon).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdamRule {
    pub(crate) betas: (f32, f32),
    pub(crate) weight_decay: f32,
    pub(crate) epsilon: f32,
    /// The learning rate, corrected for a first moment that began at zero.
    pub(crate) step_size: f32,
    /// The same correction of the second moment.
    pub(crate) root: f32,
}

/// What Adam remembers: of each moment one tensor a parameter.
#[derive(Debug)]
pub(crate) struct Moments<'a> {
    pub(crate) first: &'a mut [Storage],
    pub(crate) second: &'a mut [Storage],
}
