//! Top-1 and top-5 accuracy of a model in a runtime.

use serde::{Deserialize, Serialize};

use crate::{
    DeployError, Result,
    predict::{argmax, rank},
    runtime::Session,
};

/// Labelled images, prepared as the model wants them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// Pixels `[n, channels, height, width]`.
    pub images: Vec<f32>,
    /// The true classes `[n]`.
    pub labels: Vec<u32>,
}

/// Why a batch could not be read.
pub type ImagesError = Box<dyn std::error::Error + Send + Sync>;

/// How often a model is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {
    /// Images judged.
    pub n: usize,
    /// Images whose class got the largest logit.
    pub top1: usize,
    /// Images whose class is among the five largest logits; equal logits are ordered by class.
    pub top5: usize,
    /// The class with the largest logit for each image, in the order of the images.
    pub predictions: Vec<u32>,
}

impl Accuracy {
    /// The share of images whose class came first, in [0, 1]; 0 without images.
    pub fn top1_share(&self) -> f64 {
        self.top1 as f64 / self.n.max(1) as f64
    }

    /// The share of images whose class was among the first five, in [0, 1]; 0 without images.
    pub fn top5_share(&self) -> f64 {
        self.top5 as f64 / self.n.max(1) as f64
    }
}

/// Runs all `batches` and counts. A batch may have any number of images.
///
/// # Errors
/// A batch cannot be read, its lengths do not fit the model, a label is not a class of the model,
/// or the runtime fails.
pub fn evaluate(
    session: &mut Session,
    batches: impl IntoIterator<Item = Result<Batch, ImagesError>>,
) -> Result<Accuracy> {
    let classes = session.classes();
    let mut accuracy = Accuracy::default();
    for (index, batch) in batches.into_iter().enumerate() {
        let batch = batch.map_err(|source| DeployError::Images { batch: index, source })?;
        if let Some(label) = batch.labels.iter().find(|&&label| label as usize >= classes) {
            let source = format!("label {label} and the model has {classes} classes").into();
            return Err(DeployError::Images { batch: index, source });
        }
        let logits = session.run(&batch.images, batch.labels.len())?;
        accuracy.add(&logits, &batch.labels, classes);
    }
    Ok(accuracy)
}

impl Accuracy {
    fn add(&mut self, logits: &[f32], labels: &[u32], classes: usize) {
        for (logits, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
            let place = place(logits, label as usize);
            self.n += 1;
            self.top1 += usize::from(place == 0);
            self.top5 += usize::from(place < 5);
            self.predictions.push(argmax(logits) as u32);
        }
    }
}

/// How many classes come before `label`.
fn place(logits: &[f32], label: usize) -> usize {
    let own = rank(logits[label]);
    let before =
        |(class, &logit): (usize, &f32)| rank(logit) > own || (rank(logit) == own && class < label);
    logits.iter().enumerate().filter(|&pair| before(pair)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_logit_then_class() {
        let mut accuracy = Accuracy::default();
        let logits = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        accuracy.add(&[logits, logits, logits, [1.0; 7]].concat(), &[6, 2, 1, 4], 7);
        assert_eq!((accuracy.n, accuracy.top1, accuracy.top5), (4, 1, 3));
        assert_eq!(accuracy.predictions, [6, 6, 6, 0]);
        assert_eq!((accuracy.top1_share(), accuracy.top5_share()), (0.25, 0.75));
        assert_eq!(Accuracy::default().top1_share(), 0.0);
    }
}
