//! The momentum of parameters that not every step updates, by their names.

use std::path::Path;

use adwp_engine::Variables;
use adwp_engine::optim::Sgd;
use adwp_train::{Checkpoint, TensorData, TrainError};

use crate::Result;

/// What the name of a tensor in the checkpoint begins with that is the momentum of a parameter.
const VELOCITY: &str = "velocity/";

/// Adds the momentum of all parameters that have one.
pub(crate) fn put(checkpoint: &mut Checkpoint, sgd: &Sgd, variables: &Variables) -> Result<()> {
    for (position, velocity) in sgd.velocity()? {
        let name = format!("{VELOCITY}{}", variables.at(position).name);
        let tensor = TensorData { shape: vec![velocity.len()], data: velocity.to_vec() };
        checkpoint.tensors.insert(name, tensor);
    }
    Ok(())
}

/// Puts back what [`put`] added; nothing else may be left in the checkpoint.
pub(crate) fn take(
    checkpoint: &mut Checkpoint,
    sgd: &mut Sgd,
    variables: &Variables,
    path: &Path,
) -> Result<()> {
    let mut velocities = Vec::new();
    for (name, tensor) in std::mem::take(&mut checkpoint.tensors) {
        let parameter = name.strip_prefix(VELOCITY);
        match parameter.map(|parameter| variables.position(parameter)) {
            Some(Ok(position)) => velocities.push((position, tensor.data)),
            _ => {
                let reason = format!(
                    "{name} is the momentum of no parameter: another version of adwp, or another \
                     sampling, wrote it"
                );
                return Err(TrainError::Damaged { path: path.to_owned(), reason }.into());
            }
        }
    }
    sgd.restore(velocities);
    Ok(())
}
