use adwp_engine::{Executor, NodeId, Program, Variables};
use adwp_models::{Blueprint, Choices, Discrete, Heads, Space, Training};
use adwp_train::{BatchSource, Context, Finished, TrainError, labels_as_floats};

use crate::scorer::{Ingredient, Scorer, ScorerEntry, Unit};
use crate::{Data, Result};

/// ZiCo, without training.
struct Zico<'a> {
    space: &'a dyn Space,
    data: &'a Data,
}

pub(crate) const ENTRY: ScorerEntry = ScorerEntry {
    name: "zico",
    about: "how large the gradients of the untrained network are, and how alike between batches",
    label: "ZiCo, untrained",
    unit: Unit::plain("sum of logarithms"),
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: None,
    needs: &[Ingredient::Images],
    open: |ingredients| Some(Box::new(Zico { space: ingredients.space, data: ingredients.data? })),
};

impl Scorer for Zico<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        Ok(Finished::Done(zico(&Blueprint::of(self.space, choices)?, self.data)?))
    }
}

/// Batches, and images in each, as in the publication's code.
const BATCHES: usize = 2;
const IMAGES: usize = 64;

/// ZiCo (Li et al., ZiCo: Zero-Shot NAS via Inverse Coefficient of Variation on Gradients, 2023,
/// equation 12): for every layer the logarithm of the sum over its weights of mean absolute
/// gradient / standard deviation over batches of training images, at first values; the sum over
/// the layers. Biases and BatchNorm have no part in it; weights and images are the seed's.
///
/// # Errors
/// An architecture that does not fit, images that are fewer than two or cannot be read, a device
/// that fails.
fn zico(network: &Blueprint, data: &Data) -> Result<f64> {
    let batch = IMAGES.min(data.train.indices.len() / BATCHES);
    if batch == 0 {
        return Err(TrainError::Settings("zico needs at least two training images".into()).into());
    }
    let Discrete { graph, images, training, .. } = network.build(batch, Some(Heads::PLAIN))?;
    let Training { labels, loss, .. } = training.expect("built with heads");
    let live = graph.ancestors(&[loss]);
    let layers: Vec<NodeId> =
        graph.parameters().filter(|id| live[id.index()] && graph[*id].shape.len() > 1).collect();
    let mut variables = Variables::new();
    variables.initialize(&graph, &mut data.streams.once("zico/weights"))?;
    let program = Program::training(&graph, loss, &[], &layers)?;
    let mut executor = Executor::new(program, &data.device.in_f32())?;
    let source = BatchSource { batch, stored: None, ..data.train.clone() };
    let mut gradients: Vec<Vec<Vec<f32>>> = vec![Vec::new(); layers.len()];
    for batch in source.in_order(BATCHES * batch)? {
        let batch = batch.map_err(TrainError::Data)?;
        let classes = labels_as_floats(&batch.labels);
        executor.run(&mut variables, &[(images, batch.feed()), (labels, (&classes).into())])?;
        for (of_layer, &id) in gradients.iter_mut().zip(&layers) {
            of_layer.push(executor.gradient(id)?.into_owned());
        }
    }
    let signals = gradients.iter().map(|of_layer| signal(of_layer)).filter(|sum| *sum > 0.0);
    // The sum of nothing is -0 otherwise.
    Ok(signals.map(f64::ln).fold(0.0, |sum, signal| sum + signal))
}

/// The sum over weights of mean absolute gradient / standard deviation, for gradients of one layer
/// by batch; weights whose gradient is always the same have no part in it.
fn signal(batches: &[Vec<f32>]) -> f64 {
    let count = batches.len() as f64;
    let weights = batches.first().map_or(0, Vec::len);
    let of_weight = |weight: usize| {
        let values = batches.iter().map(|gradient| f64::from(gradient[weight]));
        let mean = values.clone().sum::<f64>() / count;
        let size = values.clone().map(f64::abs).sum::<f64>() / count;
        let deviation = (values.map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
        if deviation > 0.0 { size / deviation } else { 0.0 }
    };
    (0..weights).map(of_weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorers::naswot::tests::check_score;

    #[test]
    fn a_layer_counts_by_how_alike_its_gradients_are() {
        // Means of sizes 2 and 2, deviations 1 and 2; the third never changes.
        let batches = [vec![1.0, 2.0, 5.0], vec![3.0, -2.0, 5.0]];
        assert_eq!(signal(&batches), 2.0 / 1.0 + 2.0 / 2.0);
        assert_eq!(signal(&[]), 0.0);
    }

    #[test]
    fn a_score_is_that_of_the_seed_and_the_architecture() {
        let (network, data) = check_score(|network, data| zico(network, data).unwrap());
        let one = Data { train: BatchSource { indices: vec![0], ..data.train.clone() }, ..data };
        assert!(zico(&network, &one).unwrap_err().to_string().contains("two training images"));
    }
}
