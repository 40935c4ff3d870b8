use serde::{Deserialize, Serialize};

/// What stands between the two linear layers of a generating block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeneratorActivation {
    /// Nothing, as section 4.2 has it: predicted weights then lie on a line, w₀ + p · w₁.
    #[default]
    None,
    /// max(x, 0): they lie on a polygonal chain.
    Relu,
}

/// The two linear layers of a generating block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Generator {
    /// Width between them; 64 in section 4.2.
    pub hidden: usize,
    /// What stands between them.
    pub activation: GeneratorActivation,
    /// Factor on the first values of the second one, and so on the weights that it predicts at
    /// first.
    pub gain: f32,
}

impl Default for Generator {
    fn default() -> Self {
        Self { hidden: 64, activation: GeneratorActivation::None, gain: 1.0 }
    }
}
