//! Weights in other files: they must lie in the model's folder and be as long as their dimensions
//! say.
//!
//! The runtimes open the files that a model names, wherever they are; so a model that names others
//! is refused before a runtime sees it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, tensor_proto::DataLocation};

use super::tensors::{stored_bits, tensor_dims, tensors, tensors_of_nodes};

/// Checks every tensor that is kept elsewhere: of `graph`, and of the functions and graphs of
/// training that `frame` has, the model being `path`. Gives the size of all files named, together.
pub(super) fn check(graph: &GraphProto, frame: &ModelProto, path: &Path) -> Result<u64, String> {
    let mut files = BTreeMap::new();
    let mut result = Ok(());
    let mut look = |tensor: &TensorProto| {
        if result.is_ok() && is_external(tensor) {
            result = one(tensor, path, &mut files)
                .map_err(|detail| format!("tensor `{}`: {detail}", tensor.name));
        }
    };
    tensors(graph, &mut look);
    for function in &frame.functions {
        tensors_of_nodes(&function.node, &mut look);
    }
    for training in &frame.training_info {
        for graph in training.initialization.iter().chain(&training.algorithm) {
            tensors(graph, &mut look);
        }
    }
    result?;
    Ok(files.values().copied().fold(0, u64::saturating_add))
}

/// Whether the values of a tensor lie in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty()
}

/// The folder of a model in the cache of a hub that `folder` is a snapshot of: it has the files in
/// `blobs`, and links to them in `snapshots`.
fn cache_of(folder: &Path) -> Option<&Path> {
    let snapshots = folder.ancestors().find(|of| of.file_name() == Some("snapshots".as_ref()))?;
    snapshots.parent().filter(|cache| cache.join("blobs").is_dir())
}

/// A location without folders that it goes out of again; `None` where it leads out of the folder
/// that it begins in.
fn direct(location: &str) -> Option<PathBuf> {
    let mut direct = PathBuf::new();
    for part in Path::new(location).components() {
        match part {
            Component::Normal(name) => direct.push(name),
            Component::CurDir => {}
            Component::ParentDir => direct.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let names_a_file = !direct.as_os_str().is_empty() && !location.contains(['\\', '\0']);
    names_a_file.then_some(direct)
}

fn one(
    tensor: &TensorProto,
    model: &Path,
    files: &mut BTreeMap<PathBuf, u64>,
) -> Result<(), String> {
    let entry = |key: &str| {
        tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
    };
    let number = |key: &str| match entry(key) {
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| format!("`{key}` of its external data is {text:?}")),
        None => Ok(None),
    };
    let mut keys: Vec<&str> = tensor.external_data.iter().map(|entry| entry.key.as_str()).collect();
    keys.sort_unstable();
    // Readers differ in which of them they take.
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("`{}` of its external data is given twice", pair[0]));
    }
    let location = entry("location").ok_or("its external data has no `location`")?;
    let outside = || format!("its external data {location:?} is not in the model's folder");
    let direct = direct(location).ok_or_else(outside)?;
    let folder =
        model.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unreadable = |error| format!("its external data {location:?} cannot be read: {error}");
    let folder = folder.canonicalize().map_err(unreadable)?;
    // Links are followed, so that none leads out of the folder.
    let file = folder.join(location).canonicalize().map_err(unreadable)?;
    // Some readers go into a folder and out of it again, and others never.
    if folder.join(direct).canonicalize().map_err(unreadable)? != file {
        return Err(format!("its external data {location:?} leads through a link to elsewhere"));
    }
    if !file.starts_with(cache_of(&folder).unwrap_or(&folder)) {
        return Err(format!("its external data {location:?} is a link out of the model's folder"));
    }
    let metadata = fs::metadata(&file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(format!("its external data {location:?} is no regular file"));
    }
    let elements: u64 = tensor_dims(tensor)?.iter().map(|&size| size as u64).product();
    let bits = stored_bits(tensor.data_type).ok_or("its element type has no external data")?;
    let needed = (elements * bits).div_ceil(8);
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
    if length.is_some_and(|length| length != needed) {
        return Err(format!(
            "its external data has {} bytes, its shape {:?} needs {needed}",
            length.unwrap_or_default(),
            tensor.dims
        ));
    }
    if offset.checked_add(needed).is_none_or(|end| end > metadata.len()) {
        return Err(format!(
            "it needs bytes {offset} and {needed} more of {location:?}, which has {}",
            metadata.len()
        ));
    }
    files.insert(file, metadata.len());
    Ok(())
}
