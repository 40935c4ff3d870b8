//! Whatever the bytes are, reading and counting them ends with a result, and takes no memory that
//! the bytes do not pay for.
#![no_main]

use std::collections::BTreeMap;

use adwp_measure::{
    cost::{cost, cost_of_file},
    onnx::{OnnxFile, OnnxModel},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = OnnxFile::from_bytes(bytes, "fuzzed.onnx") else { return };
    let _ = cost_of_file(&file, &BTreeMap::new());
    if let Ok(model) = OnnxModel::from_file(file) {
        let _ = cost(&model);
    }
});
