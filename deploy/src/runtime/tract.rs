//! tract.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use tract_onnx::prelude::*;

use super::{Feed, Runtime, no_panic};
use crate::{
    DeployError, Result,
    onnx::{BatchSize, OnnxModel},
};

/// The version of tract that is compiled in; a test compares it with the lock file.
const VERSION: &str = "0.23.9";

pub(super) fn version() -> &'static str {
    VERSION
}

/// A model with a plan for each batch size that was asked for: tract optimises for fixed shapes.
pub(super) struct TractSession {
    path: PathBuf,
    model: InferenceModel,
    plans: HashMap<usize, Arc<TypedRunnableModel>>,
    pixels: bool,
}

impl TractSession {
    pub(super) fn load(model: &OnnxModel, batch: usize) -> Result<Self> {
        let path = model.path().to_owned();
        let parsed = no_panic(|| parse(&path, &model.output().name)).map_err(|detail| refused(&path, detail))?;
        let batch = match model.input().batch {
            BatchSize::Fixed(fixed) => fixed,
            BatchSize::Dynamic => batch,
        };
        let input = model.input();
        let mut session = Self { path, model: parsed, plans: HashMap::new(), pixels: input.pixels };
        session.plan(input.shape(batch))?;
        Ok(session)
    }

    fn plan(&mut self, shape: [usize; 4]) -> Result<Arc<TypedRunnableModel>> {
        if let Some(plan) = self.plans.get(&shape[0]) {
            return Ok(Arc::clone(plan));
        }
        let model = self.model.clone();
        let plan = no_panic(|| {
            let fact = if self.pixels { u8::fact(shape) } else { f32::fact(shape) };
            let plan = model.with_input_fact(0, fact.into());
            plan.and_then(|model| model.into_optimized()).and_then(|model| model.into_runnable()).map_err(describe)
        })
        .map_err(|detail| refused(&self.path, detail))?;
        self.plans.insert(shape[0], Arc::clone(&plan));
        Ok(plan)
    }

    pub(super) fn run(&mut self, images: Feed<'_>, shape: [usize; 4]) -> Result<Vec<f32>> {
        let plan = self.plan(shape)?;
        no_panic(|| {
            let images = match images {
                Feed::Values(values) => Tensor::from_shape(&shape, values),
                Feed::Pixels(pixels) => Tensor::from_shape(&shape, pixels),
            };
            let images = images.map_err(describe)?;
            let outputs = plan.run(tvec!(images.into_tvalue())).map_err(describe)?;
            let logits = outputs.first().ok_or("it gave no output")?;
            let logits = logits.try_as_plain_ram().and_then(|logits| logits.as_slice::<f32>()).map_err(describe)?;
            Ok(logits.to_vec())
        })
        .map_err(|detail| DeployError::Run { path: self.path.clone(), runtime: Runtime::Tract, detail })
    }
}

fn parse(path: &Path, output: &str) -> Result<InferenceModel, String> {
    // Shapes noted in the file may speak of an open batch; those that follow from the input cannot disagree with it.
    let onnx = tract_onnx::onnx().with_ignore_value_info(true).with_ignore_output_shapes(true);
    let mut model = onnx.model_for_path(path).map_err(describe)?;
    let found = model.find_outlet_label(output);
    if let Some(outlet) = found {
        model.select_output_outlets(&[outlet]).map_err(describe)?;
    }
    Ok(model)
}

fn describe(error: impl Into<TractError>) -> String {
    format!("{:#}", error.into())
}

fn refused(path: &Path, detail: String) -> DeployError {
    DeployError::Load { path: path.to_owned(), runtime: Runtime::Tract, detail }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        let (_, package) = lock.split_once("name = \"tract-onnx\"\n").unwrap();
        assert!(package.starts_with(&format!("version = \"{}\"", super::VERSION)), "set VERSION in this file");
    }
}
