use std::fmt;

use serde::{Deserialize, Serialize};

/// The oldest ONNX Runtime, 1.x, that works.
pub const OLDEST_MINOR: u32 = ort::MINOR_VERSION;

/// An inference runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// ONNX Runtime, loaded as a shared library. Written `ort`.
    Ort,
    /// tract, part of this program. Written `tract`.
    Tract,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Self; 2] = [Self::Ort, Self::Tract];

    /// The name that is parsed and written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ort => "ort",
            Self::Tract => "tract",
        }
    }

    /// Whether this runtime can run on `threads` threads. tract is built here without its thread
    /// pool.
    pub fn supports_threads(self, threads: usize) -> bool {
        match self {
            Self::Ort => threads > 0,
            Self::Tract => threads == 1,
        }
    }

    /// What the runtime is asked to do to the graph before it runs.
    pub fn optimization(self) -> &'static str {
        match self {
            Self::Ort => "all",
            Self::Tract => "into_optimized",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
