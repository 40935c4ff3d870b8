use std::path::Path;

use adwp_base::{Result, output};
use adwp_data::DatasetKind;
use adwp_engine::cpu::instruction_set;
use adwp_measure::DeployError;
use adwp_measure::machine::Machine;
use adwp_measure::ort_library::{ENV_VAR, OrtLibrary, candidates, find};
use adwp_measure::runtime::library_version;
use serde_json::json;

use crate::device::{compiler, gpus};

/// What `--device` can name, `auto` left out.
fn devices(gpus: &[String]) -> Vec<String> {
    std::iter::once("cpu".to_owned())
        .chain((0..gpus.len()).map(|number| format!("cuda:{number}")))
        .collect()
}

/// Prints what this machine has; `ort_lib` is the library of ONNX Runtime, where it was named.
///
/// # Errors
/// The library that was named, by the flag or the environment, is not there or none.
pub(crate) fn doctor(ort_lib: Option<&Path>, as_json: bool) -> Result {
    let machine = Machine::read();
    let chosen = find(ort_lib).and_then(|library| {
        let version = library_version(Some(&library))?;
        Ok(OrtLibrary { version: Some(version), ..library })
    });
    let others = candidates(ort_lib);
    let gpus = gpus();
    if as_json {
        let library =
            |l: &OrtLibrary| json!({ "path": l.path, "source": l.source, "version": l.version });
        output::json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "kernels": instruction_set(),
            "devices": devices(gpus.as_deref().unwrap_or_default()),
            "onnx_runtime": chosen.as_ref().ok().map(library),
            "onnx_runtime_error": chosen.as_ref().err().map(DeployError::one_line),
            "onnx_runtime_candidates": others.iter().map(library).collect::<Vec<_>>(),
            "datasets": DatasetKind::ALL.map(|kind| kind.to_string()),
        }))?;
        return refuse_named(ort_lib, chosen);
    }
    let mut text = format!("adwp           {}\n", env!("CARGO_PKG_VERSION"));
    text += &format!(
        "processor      {}, {} cores, {} {}\n",
        machine.cpu, machine.cores, machine.os, machine.arch
    );
    if let Some(bytes) = machine.memory_bytes {
        text += &format!("memory         {:.1} GiB\n", bytes as f64 / f64::from(1 << 30));
    }
    text += &format!("kernels        {}\n", instruction_set());
    text += "devices        cpu\n";
    match &gpus {
        Ok(names) => {
            names.iter().enumerate().for_each(|(number, name)| {
                text += &format!("               cuda:{number}, {name}\n")
            });
            let kernels = compiler().unwrap_or_else(|reason| format!("cannot be used: {reason}"));
            text += &format!("               kernels for GPUs: {kernels}\n");
        }
        Err(reason) => text += &format!("               no GPU: {reason}\n"),
    }
    match &chosen {
        Ok(library) => {
            let version = library.version.as_deref().unwrap_or("version unknown");
            text += &format!(
                "ONNX Runtime   {} ({}, from {})\n",
                library.path.display(),
                version,
                library.source
            );
        }
        Err(e) => {
            text += &format!("ONNX Runtime   none: {e}\n");
            if let DeployError::OrtNotFound { searched } = e {
                for place in searched {
                    text += &format!("               looked at {}\n", place.display());
                }
            }
            if let Some(hint) = e.hint() {
                text += &format!("               {hint}\n");
            }
        }
    }
    for other in others
        .iter()
        .filter(|other| chosen.as_ref().map_or(true, |chosen| chosen.path != other.path))
    {
        text += &format!(
            "               also there: {} (from {})\n",
            other.path.display(),
            other.source
        );
    }
    text += &format!(
        "data sets      {}; `adwp data list` says what each needs\n",
        DatasetKind::ALL.map(|k| k.to_string()).join(", ")
    );
    output::data(&text)?;
    refuse_named(ort_lib, chosen)
}

/// Fails where the library that was named is none; that there is no other is no failure.
fn refuse_named(
    ort_lib: Option<&Path>,
    chosen: std::result::Result<OrtLibrary, DeployError>,
) -> Result {
    let is_named = ort_lib.is_some() || std::env::var_os(ENV_VAR).is_some_and(|of| !of.is_empty());
    match chosen {
        Err(e) if is_named => Err(e.into()),
        _ => Ok(()),
    }
}
