use adwp_data::{Framing, Interpolation, Normalization};
use adwp_engine::{Device, Executor, Program, Statistics, Variables};
use adwp_models::{Blueprint, Discrete, cost};
use adwp_train::Streams;
use rand::{Rng, RngExt};

use crate::onnx::{
    LOGITS, PREPROCESSING, Statement, as_json, constants, entries, graph_to_onnx, sealed,
};
use crate::{Result, fold_batch_norms};

/// Images of noise that the statistics of BatchNorms are taken of.
const CALIBRATION: usize = 8;

/// A network with weights that no run has trained here: to be counted, timed and compared, or used
/// where its weights were published.
#[derive(Debug)]
pub struct Bare {
    /// The network for one image.
    pub network: Discrete,
    /// Its weights and statistics.
    pub variables: Variables,
    /// What its weights are, in words.
    weights: String,
    preparation: Option<(Normalization, Interpolation)>,
}

impl Bare {
    /// Draws the weights of a network from a seed.
    ///
    /// Its BatchNorms normalise by the statistics of noise, so that values keep their scale from
    /// layer to layer. With the statistics that training starts from, the logits of a deep network
    /// would hardly depend on its input, and would agree whatever is computed.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn random(blueprint: &Blueprint, seed: u64, device: &Device) -> Result<Self> {
        let streams = Streams::new(seed);
        let Discrete { graph, images, logits, .. } = blueprint.build(CALIBRATION, None)?;
        let mut variables = Variables::new();
        variables.initialize(&graph, &mut streams.once("untrained/weights"))?;
        let mut executor =
            Executor::new(Program::inference(&graph, &[logits], Statistics::Batch)?, device)?;
        executor.set_statistics_momentum(1.0);
        let noise =
            noise(&mut streams.once("untrained/calibration"), graph[images].shape.elements());
        executor.run(&mut variables, &[(images, &noise)])?;
        let weights = format!("random, seed {seed}; statistics of BatchNorms are those of noise");
        Ok(Self { network: blueprint.build(1, None)?, variables, weights, preparation: None })
    }

    /// Takes published weights, which are all that the network has. `weights` says in words what they
    /// are; photos are brought to the network scaled with a margin
    /// ([`Framing::Evaluation`]) by a filter, and normalised.
    ///
    /// # Errors
    /// When the sizes make no network.
    pub fn published(
        blueprint: &Blueprint,
        variables: Variables,
        weights: String,
        normalization: Normalization,
        interpolation: Interpolation,
    ) -> Result<Self> {
        let preparation = Some((normalization, interpolation));
        Ok(Self { network: blueprint.build(1, None)?, variables, weights, preparation })
    }

    /// Logits `[count, classes]` of images `[count, channels, height, width]` by the engine.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn logits(&self, images: &[f32], device: &Device) -> Result<Vec<f32>> {
        let Discrete { graph, images: input, logits, .. } = &self.network;
        let mut executor =
            Executor::new(Program::inference(graph, &[*logits], Statistics::Running)?, device)?;
        let mut variables = self.variables.clone();
        let mut values = Vec::new();
        for image in images.chunks_exact(graph[*input].shape.elements()) {
            executor.run(&mut variables, &[(*input, image)])?;
            values.extend_from_slice(&executor.value(*logits)?);
        }
        Ok(values)
    }

    /// The bytes of its ONNX file, BatchNorms folded. The metadata has `name`, the cost, what the
    /// weights are, and what becomes of photos where that is known.
    ///
    /// # Errors
    /// When the network cannot be written.
    pub fn to_onnx(&self, name: &str) -> Result<Vec<u8>> {
        let Discrete { graph, images, logits, .. } = &self.network;
        let cost = cost::count(graph);
        let input = &graph[*images];
        let (folded, variables, logits) = fold_batch_norms(graph, &self.variables, *logits)?;
        let mut onnx = graph_to_onnx(&folded, &variables, folded.find(&input.name)?, logits)?;
        let mut metadata = vec![
            ("adwp.network", name.to_owned()),
            ("adwp.weights", self.weights.clone()),
            ("adwp.params", cost.params.to_string()),
            ("adwp.madds", cost.madds.to_string()),
        ];
        if let Some((normalization, interpolation)) = &self.preparation {
            metadata.extend(constants(normalization));
            let image = [input.shape[1], input.shape[2], input.shape[3]];
            let framing = Framing::Evaluation;
            if let Some(statement) =
                Statement::of(image, framing, *interpolation, normalization, false)
            {
                metadata.push((PREPROCESSING, as_json(&statement)));
                onnx.doc_string = LOGITS.to_owned();
            }
        }
        onnx.metadata_props = entries(metadata);
        Ok(sealed(&onnx))
    }
}

/// Uniform numbers of mean 0 and variance 1, as normalised images have.
pub fn noise(rng: &mut impl Rng, count: usize) -> Vec<f32> {
    let bound = 3f32.sqrt();
    (0..count).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::{Sizes, Zoo};

    #[test]
    fn logits_depend_on_the_image_however_deep_the_network_is() {
        let device = Device::cpu(1).unwrap();
        for name in ["mobilenet-v1", "mobilenet-v3-large", "densenet-bc-100", "nasnet-a"] {
            let entry = Zoo::embedded().find(name).unwrap();
            let channels = entry.stack(entry.stems()[0]).map(|_| 4);
            let sizes =
                Sizes { image: Some([3, 32, 32]), classes: Some(5), channels, ..Sizes::default() };
            let bare = Bare::random(&entry.network(sizes).unwrap(), 3, &device).unwrap();
            let images = noise(&mut Streams::new(4).once("images"), 2 * 3 * 32 * 32);
            let logits = bare.logits(&images, &device).unwrap();
            let (first, second) = logits.split_at(5);
            let apart = first.iter().zip(second).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!((0.02..10.0).contains(&apart), "{name}: {logits:?}");
        }
    }
}
