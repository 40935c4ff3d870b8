use std::path::Path;

use adwp_data::{Augmentation, DataError};
use adwp_engine::optim::{Sgd, clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, Feed, NodeId, Program, Variables};
use adwp_models::{Discrete, Genotype, Heads, Skeleton, Training};
use adwp_train::{
    At, Batch, BatchSource, Checkpoint, Context, Evaluator, MemoryPlan, Need, Outcome, Phase, Reporter, StepReport, Streams, TrainError,
    correct_predictions, drop_masks, first_not_finite, labels_as_floats, memory, require_finite, run_phase, schedule, store_images,
    stored_bytes, watched,
};
use serde_json::{Map, Value};

use crate::{Network, Result, RetrainSettings, TestResult, Trained};

/// What retraining works on.
#[derive(Clone, Debug)]
pub struct RetrainData {
    /// All training images.
    pub train: BatchSource,
    /// The test images.
    pub test: BatchSource,
    /// Random numbers of the run.
    pub streams: Streams,
    /// What the engine computes on.
    pub device: Device,
}

/// Trains the network from scratch; `None` when it was interrupted.
pub fn retrain(settings: &RetrainSettings, network: Network, data: &RetrainData, context: &mut Context<'_>) -> Result<Option<Trained>> {
    settings.validate()?;
    let mut phase = RetrainPhase::new(settings, &network.genotype, &network.skeleton, data)?;
    match run_phase(&mut phase, context)? {
        Outcome::Interrupted => Ok(None),
        Outcome::Done => {
            let test = phase.test.expect("the last epoch always has an evaluation");
            Ok(Some(Trained::new(network, &phase.variables, test)?))
        }
    }
}

/// Bytes that [`retrain`] holds at its peak beside the images; nothing of it is taken to tell.
pub fn retrain_bytes(settings: &RetrainSettings, genotype: &Genotype, skeleton: &Skeleton, data: &RetrainData) -> Result<Need> {
    Ok(RetrainPhase::new(settings, genotype, skeleton, data)?.planned_bytes()?)
}

struct RetrainPhase {
    settings: RetrainSettings,
    data: RetrainData,
    steps: usize,
    net: Discrete,
    training: Training,
    variables: Variables,
    parameters: Vec<NodeId>,
    executor: Executor,
    evaluator: Evaluator,
    sgd: Sgd,
    /// The last evaluation.
    test: Option<TestResult>,
}

impl RetrainPhase {
    fn new(settings: &RetrainSettings, genotype: &Genotype, skeleton: &Skeleton, data: &RetrainData) -> Result<Self> {
        let mut data = data.clone();
        data.train.batch = settings.batch;
        store_images(&mut [&mut data.train, &mut data.test], &data.device)?;
        let heads = Heads { auxiliary: settings.auxiliary, drop_path: settings.drop_path > 0.0, smoothing: settings.smoothing };
        let mut net = Discrete::build(genotype, skeleton, settings.batch, Some(heads))?;
        let training = net.training.take().expect("built with heads");
        let parameters: Vec<NodeId> = net.graph.parameters().collect();
        let program = Program::training(&net.graph, training.loss, &[net.logits], &parameters)?;
        let inference = Discrete::build(genotype, skeleton, data.test.batch, None)?;
        Ok(Self {
            executor: Executor::new(program, &data.device)?,
            // The accuracy is that of the network as it is deployed, whatever it is trained in.
            evaluator: Evaluator::new(&inference.graph, inference.images, inference.logits, &data.device.in_f32())?,
            sgd: Sgd::new(settings.momentum, settings.weight_decay),
            steps: data.train.steps()?,
            settings: settings.clone(),
            data,
            net,
            training,
            variables: Variables::new(),
            parameters,
            test: None,
        })
    }

    /// One drop-path mask for each operation that can be dropped: 0, or 1 / keep so that the mean stays.
    fn masks(&self, at: At) -> Vec<Vec<f32>> {
        let keep = 1.0 - schedule::linear_rise(self.settings.drop_path, at.epoch, self.settings.epochs);
        let mut rng = self.data.streams.at("retrain/drop_path", at.epoch, at.step);
        drop_masks(&mut rng, keep, self.settings.batch, self.training.masks.len())
    }
}

impl Phase for RetrainPhase {
    type Batch = Batch;

    const NAME: &'static str = "retrain";

    fn epochs(&self) -> usize {
        self.settings.epochs
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn device(&self) -> &Device {
        &self.data.device
    }

    fn planned_bytes(&self) -> Result<Need, TrainError> {
        let Self { settings, data, net, executor, evaluator, .. } = self;
        let plan = MemoryPlan {
            state: memory::of_variables(&net.graph) + memory::of_nodes(&net.graph, &self.parameters),
            executors: executor.own_bytes() + evaluator.own_bytes() + data.device.working_bytes(),
            // Test images are only read between two epochs.
            batches: data.train.bytes_in_flight(&settings.augmentation).max(data.test.bytes_in_flight(&Augmentation::NONE)),
            images: stored_bytes(&[&data.train, &data.test]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<(), TrainError> {
        Ok(self.variables.initialize(&self.net.graph, &mut self.data.streams.once("retrain/weights"))?)
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<Box<dyn Iterator<Item = Result<Batch, DataError>>>, TrainError> {
        let seed = self.data.streams.seed_for("retrain/train");
        Ok(Box::new(self.data.train.shuffled(self.settings.augmentation, seed, epoch, first)?))
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport, TrainError> {
        let masks = self.masks(at);
        let labels = labels_as_floats(&batch.labels);
        let mut feeds: Vec<(NodeId, Feed<'_>)> = vec![(self.net.images, batch.feed()), (self.training.labels, (&labels).into())];
        feeds.extend(self.training.masks.iter().zip(&masks).map(|(id, mask)| (*id, mask.into())));
        self.executor.run(&mut self.variables, &feeds)?;
        let loss = self.executor.value(self.training.loss)?[0];
        require_finite(Self::NAME, at, loss, || first_not_finite(&self.net.graph, &self.variables, &feeds, &self.data.device))?;
        let mut gradients = gradients(&self.executor, &self.variables, &self.parameters)?;
        clip_gradient_norm(&mut gradients, self.settings.clip, &self.data.device)?;
        let rate = schedule::cosine(self.settings.rate, 0.0, at.epoch, self.settings.epochs);
        self.sgd.step(&mut self.variables, &gradients, rate, &self.data.device)?;
        let correct = correct_predictions(&self.executor.value(self.net.logits)?, &batch.labels);
        Ok(StepReport { loss, images: batch.labels.len(), correct })
    }

    fn finish_epoch(&mut self, epoch: usize, reporter: &mut dyn Reporter) -> Result<Map<String, Value>, TrainError> {
        let mut metrics = Map::new();
        let rate = schedule::cosine(self.settings.rate, 0.0, epoch, self.settings.epochs);
        metrics.insert("learning_rate".into(), rate.into());
        if (epoch + 1).is_multiple_of(self.settings.evaluate_every) || epoch + 1 == self.settings.epochs {
            let images = watched(reporter, "retrain: test batch", self.data.test.in_order(0)?);
            let score = self.evaluator.score(&mut self.variables, images)?;
            let test = TestResult { correct: score.correct, images: score.images };
            metrics.insert("test_accuracy".into(), test.accuracy().into());
            self.test = Some(test);
        }
        Ok(metrics)
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        checkpoint.put_variables(&self.variables)?;
        for (name, slots) in self.sgd.state()? {
            checkpoint.put_slots(name, &slots);
        }
        let test = serde_json::to_value(self.test).expect("numbers print as JSON");
        checkpoint.values.insert("test".into(), test);
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<(), TrainError> {
        checkpoint.take_variables(&mut self.variables, path)?;
        self.sgd.restore(|name| checkpoint.take_slots(name));
        self.test = checkpoint.value("test", path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_data::{Dataset, ImageShape, Normalization};
    use adwp_models::{IntensiveSpace, Stem};
    use std::sync::Arc;

    /// Images of noise in two classes, in batches of 4.
    fn noise(count: usize) -> BatchSource {
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let pixels = (0..count * shape.values()).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
        let labels = (0..count as u32).map(|i| i % 2).collect();
        let dataset = Dataset::from_memory("noise", ["a", "b"].map(str::to_owned).to_vec(), shape, labels, pixels).unwrap();
        let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
        BatchSource { indices: dataset.indices(), dataset: Arc::new(dataset), normalization, batch: 4, stored: None }
    }

    /// Retraining of an architecture drawn at random, about to begin.
    fn phase(rate: f32) -> RetrainPhase {
        let skeleton = Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
        let streams = Streams::new(7);
        let mut rng = streams.once("architecture");
        let genotype = IntensiveSpace::random(3, &mut rng).unwrap().random_genotype(&skeleton, 2, &mut rng).unwrap();
        let data = RetrainData { train: noise(64), test: noise(4), streams, device: Device::cpu(1).unwrap() };
        let augmentation = Augmentation::NONE;
        let settings = RetrainSettings { rate, batch: 4, channels: 2, auxiliary: 0.0, augmentation, ..RetrainSettings::default() };
        let mut phase = RetrainPhase::new(&settings, &genotype, &skeleton, &data).unwrap();
        phase.initialize().unwrap();
        phase
    }

    /// Does the steps of an epoch as far as they go: how many there were, what ended them, and the parameters before it.
    fn epoch(phase: &mut RetrainPhase) -> (usize, Option<TrainError>, Vec<Vec<f32>>) {
        let mut parameters = Vec::new();
        for (step, batch) in phase.batches(0, 0).unwrap().enumerate() {
            parameters = learned(phase);
            if let Err(error) = phase.step(At { epoch: 0, step }, batch.unwrap()) {
                return (step, Some(error), parameters);
            }
        }
        (phase.steps(), None, parameters)
    }

    fn learned(phase: &RetrainPhase) -> Vec<Vec<f32>> {
        let graph = &phase.net.graph;
        phase.parameters.iter().map(|&id| phase.variables.get(&graph[id].name).unwrap().data().unwrap().to_vec()).collect()
    }

    #[test]
    fn a_rate_that_is_far_too_large_ends_at_the_first_loss_that_is_not_finite() {
        let (steps, error, _) = epoch(&mut phase(1e-3));
        assert!(error.is_none() && steps == 16, "{error:?}");

        let mut phase = phase(1e30);
        let (step, error, before) = epoch(&mut phase);
        assert!(step > 0, "the first loss is that of fresh weights");
        let Some(TrainError::NotFinite { phase: "retrain", epoch: 0, step: at, loss, first: Some(first) }) = &error else {
            panic!("{error:?}");
        };
        assert!(*at == step && !loss.is_finite(), "{error:?}");
        let is_named = |name: &str| first.starts_with(&format!("{name} (")) || first.starts_with(&format!("the parameter {name} "));
        assert!(phase.net.graph.nodes().any(|(_, node)| is_named(&node.name)), "{first}");
        let after = learned(&phase);
        assert!(after.concat().iter().zip(&before.concat()).all(|(a, b)| a.to_bits() == b.to_bits()), "nothing was updated");
    }
}
