//! The result as a file.

use std::path::Path;

use serde::Serialize;

use crate::args::Args;
use crate::args::{DeviceChoice, Stored};
use crate::failure::{Context, Result};
use crate::machine::Machine;
use crate::measure::Row;
use crate::pytorch::Versions;

/// Everything that was measured; times in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    schema: &'static str,
    version: &'static str,
    machine: &'a Machine,
    pytorch: Option<&'a Versions>,
    /// `cpu` or `cuda:N`; `machine` says what that is.
    device: String,
    precision: Stored,
    /// Whether the launches of a run were one recorded graph; `None` on the CPU.
    graphs: Option<bool>,
    /// Whether the engine computed every operation on its own.
    unfused: bool,
    rows: &'a [Row],
}

impl<'a> Report<'a> {
    /// Puts it together.
    pub(crate) fn new(
        args: &Args,
        machine: &'a Machine,
        pytorch: Option<&'a Versions>,
        rows: &'a [Row],
    ) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let graphs = matches!(args.device, DeviceChoice::Cuda(_)).then_some(!args.no_graphs);
        let (device, precision, unfused) = (args.device.in_pytorch(), args.precision, args.no_fuse);
        Self {
            schema: "adwp/engine-bench/1",
            version,
            machine,
            pytorch,
            device,
            precision,
            graphs,
            unfused,
            rows,
        }
    }

    /// Writes the file whole or not at all; makes its folder where there is none.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let cannot = format!("cannot write {}", path.display());
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).context(&cannot)?;
        Ok(adwp_base::write_atomic(path, adwp_base::to_json(self).as_bytes())?)
    }
}
