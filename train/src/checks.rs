use adwp_data::Augmentation;

use crate::{Result, TrainError};

/// More images than any step takes.
const LARGEST_BATCH: usize = 1 << 16;

/// Checks what the settings of every phase have in common: a batch that can be, and numbers that
/// are finite and not negative.
pub fn check_settings(phase: &str, batch: usize, numbers: &[(&str, f32)]) -> Result<()> {
    let fail = |message: String| Err(TrainError::Settings(format!("{phase}.{message}")));
    if !(1..=LARGEST_BATCH).contains(&batch) {
        return fail(format!("batch = {batch} is not in 1 to {LARGEST_BATCH}"));
    }
    match numbers.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)) {
        Some((name, value)) => fail(format!("{name} = {value} is not a number from 0 on")),
        None => Ok(()),
    }
}

/// Checks the changes to training images that the settings of a phase ask for.
pub fn check_augmentation(phase: &str, augmentation: &Augmentation) -> Result<()> {
    augmentation
        .validate()
        .map_err(|error| TrainError::Settings(format!("{phase}.augmentation: {error}")))
}
