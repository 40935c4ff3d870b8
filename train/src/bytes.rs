use std::fmt;

/// Memory of which there can be too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLocation {
    /// That of the machine.
    Host,
    /// That of the GPU.
    Gpu,
}

impl fmt::Display for MemoryLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "memory",
            Self::Gpu => "GPU memory",
        })
    }
}

/// A number of bytes for people: "0.4 MB", "812 MB", "1.2 GB".
pub fn in_units(bytes: u64) -> String {
    match bytes as f64 {
        b if b < 9.95e6 => format!("{:.1} MB", b / 1e6),
        b if b < 999.5e6 => format!("{:.0} MB", b / 1e6),
        b if b < 999.95e9 => format!("{:.1} GB", b / 1e9),
        b => format!("{:.1} TB", b / 1e12),
    }
}
