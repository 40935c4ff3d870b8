use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// An operation on an edge of a cell (section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Two depthwise-separable 3×3 convolutions.
    #[serde(rename = "sep_conv_3x3")]
    SepConv3x3,
    /// Two depthwise-separable 5×5 convolutions.
    #[serde(rename = "sep_conv_5x5")]
    SepConv5x5,
    /// One depthwise-separable 3×3 convolution with dilation 2.
    #[serde(rename = "dil_conv_3x3")]
    DilConv3x3,
    /// One depthwise-separable 5×5 convolution with dilation 2.
    #[serde(rename = "dil_conv_5x5")]
    DilConv5x5,
    /// Average of 3×3, padding not counted.
    #[serde(rename = "avg_pool_3x3")]
    AvgPool3x3,
    /// Maximum of 3×3.
    #[serde(rename = "max_pool_3x3")]
    MaxPool3x3,
    /// The input itself; at stride 2 a factorised reduction.
    #[serde(rename = "identity")]
    Identity,
    /// No connection. Part of the relaxation, never of an intensive space or a genotype.
    #[serde(rename = "zero")]
    Zero,
}

impl Operation {
    /// All eight, in the order of the columns of α.
    pub const ALL: [Self; 8] = [
        Self::SepConv3x3,
        Self::SepConv5x5,
        Self::DilConv3x3,
        Self::DilConv5x5,
        Self::AvgPool3x3,
        Self::MaxPool3x3,
        Self::Identity,
        Self::Zero,
    ];

    /// Those that connect: all but [`Operation::Zero`].
    pub const CONNECTING: [Self; 7] = *Self::ALL.first_chunk().expect("zero is the last");

    /// Column of α.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SepConv3x3 => "sep_conv_3x3",
            Self::SepConv5x5 => "sep_conv_5x5",
            Self::DilConv3x3 => "dil_conv_3x3",
            Self::DilConv5x5 => "dil_conv_5x5",
            Self::AvgPool3x3 => "avg_pool_3x3",
            Self::MaxPool3x3 => "max_pool_3x3",
            Self::Identity => "identity",
            Self::Zero => "zero",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Operation {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|op| op.name() == name).ok_or_else(|| {
            ModelError::Invalid(format!("unknown operation {name:?}; known are {}", known()))
        })
    }
}
