use std::path::Path;

use adwp_data::Augmentation;
use adwp_engine::optim::{Sgd, moving_average};
use adwp_engine::{Device, Feed, Graph, NodeId, Owner, Variables};
use adwp_models::{Blueprint, Discrete, Heads, Training};
use adwp_train::{
    At, Batch, BatchSource, Checkpoint, Context, Evaluator, Finished, MemoryPlan, Need, Pass,
    Phase, PhaseBatches, Ports, Reporter, StepReport, Streams, TrainError, Trainer, Update,
    drop_masks, memory, run_phase, schedule, store_images, stored_bytes, watched,
};
use serde_json::{Map, Value};

use crate::{ExportError, Network, Result, RetrainSettings, TestResult, Trained};

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

/// Trains the network from scratch.
pub fn retrain(
    settings: &RetrainSettings,
    network: Network,
    data: &RetrainData,
    context: &mut Context<'_>,
) -> Result<Finished<Trained>> {
    train(settings, network, data, None, context)
}

/// Like [`retrain`], from the weights of another network as far as they are `inherited`.
pub fn fine_tune(
    settings: &RetrainSettings,
    network: Network,
    data: &RetrainData,
    inherited: &Variables,
    context: &mut Context<'_>,
) -> Result<Finished<Trained>> {
    train(settings, network, data, Some(inherited), context)
}

fn train(
    settings: &RetrainSettings,
    network: Network,
    data: &RetrainData,
    inherited: Option<&Variables>,
    context: &mut Context<'_>,
) -> Result<Finished<Trained>> {
    settings.validate()?;
    if settings.body_rate == 0.0 && inherited.is_none() {
        let message = "retrain.body_rate = 0 freezes random weights: there are none to start from";
        return Err(TrainError::Settings(message.into()).into());
    }
    let mut phase = RetrainPhase::new(settings, &network.blueprint, data)?;
    phase.inherited = inherited.cloned();
    run_phase(&mut phase, context)?.try_map(|()| {
        let test = phase.test.expect("the last epoch always has an evaluation");
        Trained::new(network, phase.averages.as_ref().unwrap_or(&phase.variables), test)
    })
}

/// Bytes that [`retrain`] will hold at its peak in addition to the images; takes none of them.
pub fn retrain_bytes(
    settings: &RetrainSettings,
    blueprint: &Blueprint,
    data: &RetrainData,
) -> Result<Need> {
    RetrainPhase::new(settings, blueprint, data)?.planned_bytes()
}

/// What the keys of moving averages in a checkpoint start with.
const AVERAGES: &str = "average/";

struct RetrainPhase {
    settings: RetrainSettings,
    data: RetrainData,
    steps: usize,
    net: Discrete,
    training: Training,
    variables: Variables,
    /// Moving averages of what the network for inference has; none where they are off.
    averages: Option<Variables>,
    /// What starts with other values than fresh ones.
    inherited: Option<Variables>,
    /// What is trained: those of the classifier, and those before it.
    parameters: [Vec<NodeId>; 2],
    trainer: Trainer,
    evaluator: Evaluator,
    inference: Graph,
    sgd: Sgd,
    /// The last evaluation.
    test: Option<TestResult>,
}

impl RetrainPhase {
    fn new(settings: &RetrainSettings, blueprint: &Blueprint, data: &RetrainData) -> Result<Self> {
        settings.check_network(blueprint)?;
        // Of fewer images than a batch all are in each.
        let batch = settings.batch.min(data.train.indices.len()).max(1);
        let settings = &RetrainSettings { batch, ..settings.clone() };
        let mut data = data.clone();
        data.train.batch = settings.batch;
        store_images(&mut [&mut data.train, &mut data.test], &data.device)?;
        let (drop_path, dropout) = (settings.drop_path > 0.0, settings.dropout > 0.0);
        let heads = Heads {
            auxiliary: settings.auxiliary,
            drop_path,
            dropout,
            smoothing: settings.smoothing,
            exits: false,
        };
        let mut net = blueprint.build(settings.batch, Some(heads))?;
        let training = net.training.take().expect("built with heads");
        let is_last = |id: &NodeId| net.graph[*id].owner == Owner::Classifier;
        let (last, body): (Vec<NodeId>, Vec<NodeId>) = net.graph.parameters().partition(is_last);
        // What learns at one rate is clipped together.
        let parameters = match settings.body_rate {
            1.0 => [net.graph.parameters().collect(), Vec::new()],
            0.0 => [last, Vec::new()],
            _ => [last, body],
        };
        let compile = match settings.body_rate {
            0.0 => Trainer::above_frozen,
            _ => Trainer::new,
        };
        let trained = parameters.concat();
        let ports = Ports {
            images: net.images,
            labels: training.labels,
            logits: net.logits,
            loss: training.loss,
            objective: training.loss,
        };
        let inference = blueprint.build(data.test.batch, None)?;
        Ok(Self {
            trainer: compile(Self::NAME, &net.graph, ports, &trained, &data.device)?,
            // The accuracy is that of the network as it is deployed, whatever it is trained in.
            evaluator: Evaluator::new(
                &inference.graph,
                inference.images,
                inference.logits,
                &data.device.in_f32(),
            )?,
            sgd: Sgd::new(settings.momentum, settings.weight_decay),
            steps: data.train.steps()?,
            settings: settings.clone(),
            data,
            net,
            training,
            variables: Variables::new(),
            averages: None,
            inherited: None,
            parameters,
            inference: inference.graph,
            test: None,
        })
    }

    /// The learning rate of a step.
    fn rate(&self, at: At) -> f32 {
        self.settings.rate_at(at.epoch, at.step, self.steps)
    }

    /// One drop-path mask for each operation that can be dropped: 0, or 1 / keep so that the mean
    /// stays.
    fn masks(&self, at: At) -> Vec<Vec<f32>> {
        let keep =
            1.0 - schedule::linear_rise(self.settings.drop_path, at.epoch, self.settings.epochs);
        let mut rng = self.data.streams.at("retrain/drop_path", at.epoch, at.step);
        drop_masks(&mut rng, keep, self.settings.batch, self.training.masks.len())
    }

    /// What the features before the last linear layer are multiplied by, where these are dropped.
    fn dropout_mask(&self, at: At) -> Option<(NodeId, Vec<f32>)> {
        let id = self.training.dropout?;
        let mut rng = self.data.streams.at("retrain/dropout", at.epoch, at.step);
        let elements = self.net.graph[id].shape.elements();
        Some((id, drop_masks(&mut rng, 1.0 - self.settings.dropout, elements, 1).remove(0)))
    }
}

impl Phase for RetrainPhase {
    type Batch = Batch;
    type Error = ExportError;

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

    fn planned_bytes(&self) -> Result<Need> {
        let Self { settings, data, net, trainer, evaluator, inference, .. } = self;
        let averages = if settings.ema > 0.0 { memory::of_variables(inference) } else { 0 };
        let plan = MemoryPlan {
            state: memory::of_variables(&net.graph)
                + memory::of_nodes(&net.graph, &self.parameters.concat())
                + averages,
            executors: trainer.executor().own_bytes()
                + evaluator.own_bytes()
                + data.device.working_bytes(),
            // Test images are only read between two epochs.
            batches: data
                .train
                .bytes_in_flight(&settings.augmentation)
                .max(data.test.bytes_in_flight(&Augmentation::NONE)),
            images: stored_bytes(&[&data.train, &data.test]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<()> {
        self.variables
            .initialize(&self.net.graph, &mut self.data.streams.once("retrain/weights"))?;
        for variable in self.inherited.iter().flat_map(Variables::iter) {
            self.variables.expect(&variable.name, &variable.shape)?;
            self.variables.insert(variable.clone());
        }
        if self.settings.ema > 0.0 {
            let averages = self.averages.insert(Variables::new());
            for variable in self.inference.variables() {
                averages.insert(self.variables.get(&variable.name)?.clone());
            }
        }
        Ok(())
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Batch>> {
        let seed = self.data.streams.seed_for("retrain/train");
        Ok(Box::new(self.data.train.shuffled(self.settings.augmentation, seed, epoch, first)?))
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport> {
        let (masks, dropout) = (self.masks(at), self.dropout_mask(at));
        let masks = self.training.masks.iter().zip(&masks);
        let dropout = dropout.iter().map(|(id, mask)| (id, mask));
        let feeds: Vec<(NodeId, Feed<'_>)> =
            masks.chain(dropout).map(|(id, mask)| (*id, mask.into())).collect();
        let (rate, clip) = (self.rate(at), Some(self.settings.clip));
        let pass = Pass { at, batch: &batch, feeds: &feeds };
        let [first, body] = &self.parameters;
        let optimizer = &mut self.sgd;
        let first = Update { parameters: first, rate, clip, optimizer };
        let report = self.trainer.step(pass, &mut self.variables, &mut [first])?;
        if !body.is_empty() {
            let rate = rate * self.settings.body_rate;
            let mut update = Update { parameters: body, rate, clip, optimizer: &mut self.sgd };
            self.trainer.update(&mut self.variables, &mut update)?;
        }
        if let Some(averages) = &mut self.averages {
            let decay = schedule::average_decay(
                self.settings.ema,
                (at.epoch * self.steps + at.step) as u64,
            );
            moving_average(averages, &mut self.variables, decay, &self.data.device)?;
        }
        Ok(report)
    }

    fn finish_epoch(
        &mut self,
        epoch: usize,
        reporter: &mut dyn Reporter,
    ) -> Result<Map<String, Value>> {
        let mut metrics = Map::new();
        metrics
            .insert("learning_rate".into(), self.rate(At { epoch, step: self.steps - 1 }).into());
        if (epoch + 1).is_multiple_of(self.settings.evaluate_every)
            || epoch + 1 == self.settings.epochs
        {
            let images = watched(reporter, "retrain: test batch", self.data.test.in_order(0)?);
            let delivered = self.averages.as_mut().unwrap_or(&mut self.variables);
            let (score, with_flips) = if self.settings.test_flips {
                let [plain, with_flips] = self.evaluator.score_with_flips(delivered, images)?;
                (plain, Some(with_flips.correct))
            } else {
                (self.evaluator.score(delivered, images)?, None)
            };
            let test = TestResult {
                correct: score.correct,
                images: score.images,
                correct_with_flips: with_flips,
            };
            metrics.insert("test_accuracy".into(), test.accuracy().into());
            if let Some(accuracy) = test.accuracy_with_flips() {
                metrics.insert("test_accuracy_with_flips".into(), accuracy.into());
            }
            self.test = Some(test);
        }
        Ok(metrics)
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        checkpoint.put_variables(&self.variables)?;
        if let Some(averages) = &self.averages {
            checkpoint.put_set(AVERAGES, averages)?;
        }
        checkpoint.put_velocity(&self.sgd)?;
        let test = serde_json::to_value(self.test).expect("numbers print as JSON");
        checkpoint.values.insert("test".into(), test);
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
        checkpoint.take_variables(&mut self.variables, path)?;
        if let Some(averages) = &mut self.averages {
            checkpoint.take_set(AVERAGES, averages, path)?;
        }
        let trained = self.parameters.concat();
        let mut names: Vec<&str> = trained.iter().map(|&id| &*self.net.graph[id].name).collect();
        // In the order of the variables, which is that of the graph.
        names.sort_by_key(|name| self.variables.position(name).ok());
        checkpoint.take_velocity(&mut self.sgd, &self.variables, names.into_iter(), path)?;
        self.test = checkpoint.value("test", path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Inherited;
    use adwp_data::{Dataset, ImageShape, Normalization};
    use adwp_engine::{Executor, Program, VariableKind, VariableSpec};
    use adwp_models::zoo::{Handmade, Width};
    use adwp_models::{IntensiveSpace, Skeleton, Stem};
    use adwp_train::TrainError;
    use std::sync::Arc;

    /// Images of noise in two classes, in batches of 4.
    fn noise(count: usize) -> BatchSource {
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let pixels = (0..count * shape.values())
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8)
            .collect();
        let labels = (0..count as u32).map(|i| i % 2).collect();
        let dataset = Dataset::from_memory(
            "noise",
            ["a", "b"].map(str::to_owned).to_vec(),
            shape,
            labels,
            pixels,
        )
        .unwrap();
        let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
        BatchSource {
            indices: dataset.indices(),
            dataset: Arc::new(dataset),
            normalization,
            batch: 4,
            stored: None,
        }
    }

    fn settings() -> RetrainSettings {
        RetrainSettings {
            batch: 4,
            channels: 2,
            auxiliary: 0.0,
            augmentation: Augmentation::NONE,
            ..RetrainSettings::default()
        }
    }

    const SKELETON: Skeleton =
        Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };

    fn cells(skeleton: Skeleton) -> Blueprint {
        let mut rng = Streams::new(7).once("architecture");
        let genotype = IntensiveSpace::random(3, &mut rng)
            .unwrap()
            .random_genotype(&SKELETON, 2, &mut rng)
            .unwrap();
        Blueprint::Cells { genotype, skeleton }
    }

    /// Retraining of an architecture drawn at random, about to begin.
    fn phase_with(settings: &RetrainSettings) -> RetrainPhase {
        phase_of(&cells(SKELETON), settings).unwrap()
    }

    fn phase_of(blueprint: &Blueprint, settings: &RetrainSettings) -> Result<RetrainPhase> {
        let data = RetrainData {
            train: noise(64),
            test: noise(4),
            streams: Streams::new(7),
            device: Device::cpu(1).unwrap(),
        };
        let mut phase = RetrainPhase::new(settings, blueprint, &data)?;
        phase.initialize().unwrap();
        Ok(phase)
    }

    /// Does the steps of an epoch as far as they go: how many there were, what ended them, and the
    /// parameters before it.
    fn epoch(phase: &mut RetrainPhase) -> (usize, Option<ExportError>, Vec<Vec<f32>>) {
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
        phase
            .parameters
            .iter()
            .flatten()
            .map(|&id| phase.variables.get(&graph[id].name).unwrap().data().unwrap().to_vec())
            .collect()
    }

    #[test]
    fn a_rate_that_is_far_too_large_ends_at_the_first_loss_that_is_not_finite() {
        let phase = |rate| phase_with(&RetrainSettings { rate, ..settings() });
        let (steps, error, _) = epoch(&mut phase(1e-3));
        assert!(error.is_none() && steps == 16, "{error:?}");

        let mut phase = phase(1e30);
        let (step, error, before) = epoch(&mut phase);
        assert!(step > 0, "the first loss is that of fresh weights");
        let Some(ExportError::Train(TrainError::NotFinite {
            phase: "retrain",
            epoch: 0,
            step: at,
            loss,
            first: Some(first),
        })) = &error
        else {
            panic!("{error:?}");
        };
        assert!(*at == step && !loss.is_finite(), "{error:?}");
        let is_named = |name: &str| {
            first.starts_with(&format!("{name} ("))
                || first.starts_with(&format!("the parameter {name} "))
        };
        assert!(phase.net.graph.nodes().any(|(_, node)| is_named(&node.name)), "{first}");
        let after = learned(&phase);
        assert!(
            after.concat().iter().zip(&before.concat()).all(|(a, b)| a.to_bits() == b.to_bits()),
            "nothing was updated"
        );
    }
    fn values(variables: &Variables, name: &str) -> Vec<f32> {
        variables.get(name).unwrap().data().unwrap().to_vec()
    }

    #[test]
    fn what_is_before_the_classifier_learns_slower_or_not_at_all() {
        // What a first step changes: of the classifier, of all before it, of statistics.
        let changed = |body_rate| {
            let plain =
                RetrainSettings { clip: 1e9, weight_decay: 0.0, momentum: 0.0, ..settings() };
            let mut phase = phase_with(&RetrainSettings { body_rate, auxiliary: 0.0, ..plain });
            let before = phase.variables.clone();
            let batch = phase.batches(0, 0).unwrap().next().unwrap().unwrap();
            phase.step(At { epoch: 0, step: 0 }, batch).unwrap();
            let mut changes: [Vec<f32>; 3] = Default::default();
            for VariableSpec { name, kind, owner, .. } in phase.net.graph.variables() {
                let group = match kind {
                    VariableKind::Parameter { .. } => usize::from(owner != Owner::Classifier),
                    VariableKind::RunningMean | VariableKind::RunningVar => 2,
                };
                let values = |of: &Variables| of.get(&name).unwrap().data().unwrap().to_vec();
                let moved = values(&phase.variables).into_iter().zip(values(&before));
                changes[group].extend(moved.map(|(now, then)| now - then));
            }
            changes
        };
        let [[last, body, statistics], [same, quarter, _], [frozen, still, kept]] =
            [1.0, 0.25, 0.0].map(changed);
        assert_eq!(last, same);
        let largest = body.iter().fold(0.0, |most: f32, change| most.max(change.abs()));
        assert!(largest > 1e-4 && statistics.iter().any(|change| *change != 0.0));
        for (whole, quarter) in body.iter().zip(&quarter) {
            assert!((whole / 4.0 - quarter).abs() < 1e-6, "{whole} {quarter}");
        }
        assert!(frozen.iter().any(|change| *change != 0.0));
        assert!(still.iter().chain(&kept).all(|change| *change == 0.0));
    }

    #[test]
    fn averages_are_those_of_the_weights_of_every_step_and_come_back() {
        let mut phase = phase_with(&RetrainSettings { ema: 0.3, auxiliary: 0.4, ..settings() });
        let names: Vec<String> =
            phase.averages.as_ref().unwrap().iter().map(|average| average.name.clone()).collect();
        assert!(
            names.iter().any(|name| name.ends_with("/running_var"))
                && !names.iter().any(|name| name.contains("auxiliary"))
        );
        let mut expected: Vec<Vec<f32>> =
            names.iter().map(|name| values(&phase.variables, name)).collect();
        let fresh = expected.clone();
        let batches: Vec<_> = phase.batches(0, 0).unwrap().take(6).collect();
        for (step, batch) in batches.into_iter().enumerate() {
            phase.step(At { epoch: 0, step }, batch.unwrap()).unwrap();
            // (1 + t) / (10 + t) is 0.1, 0.18, 0.25 and then over 0.3.
            let decay = [1.0 / 10.0, 2.0 / 11.0, 3.0 / 12.0, 0.3, 0.3, 0.3][step];
            for (name, average) in names.iter().zip(&mut expected) {
                let now = values(&phase.variables, name);
                average.iter_mut().zip(now).for_each(|(average, value)| {
                    *average = decay * *average + (1.0 - decay) * value
                });
            }
        }
        let averages = phase.averages.clone().unwrap();
        for ((name, expected), fresh) in names.iter().zip(&expected).zip(&fresh) {
            let found = values(&averages, name);
            let scale = expected.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
            assert!(
                found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * scale),
                "{name}: {found:?}, expected {expected:?}"
            );
            assert!(
                found != *fresh || fresh.iter().all(|value| *value == 0.0),
                "{name} has not moved"
            );
        }
        let mut checkpoint = Checkpoint::default();
        phase.save(&mut checkpoint).unwrap();
        let mut resumed = phase_with(&RetrainSettings { ema: 0.3, auxiliary: 0.4, ..settings() });
        assert_ne!(resumed.averages, phase.averages);
        resumed.restore(&mut checkpoint, Path::new("checkpoint")).unwrap();
        assert_eq!((&resumed.averages, &resumed.variables), (&phase.averages, &phase.variables));
        // A checkpoint without them is not taken for one with them.
        let mut without = Checkpoint::default();
        phase_with(&settings()).save(&mut without).unwrap();
        assert!(matches!(
            resumed.restore(&mut without, Path::new("checkpoint")),
            Err(ExportError::Train(TrainError::Damaged { .. }))
        ));
    }

    #[test]
    fn the_averages_are_what_is_tested() {
        let settings = RetrainSettings { ema: 0.999, epochs: 1, ..settings() };
        let mut phase = phase_with(&settings);
        let logits = |phase: &mut RetrainPhase, averaged: bool| {
            let variables =
                if averaged { phase.averages.as_mut().unwrap() } else { &mut phase.variables };
            phase.evaluator.evaluate(variables, phase.data.test.in_order(0).unwrap()).unwrap()
        };
        epoch(&mut phase);
        let (averaged, last) = (logits(&mut phase, true), logits(&mut phase, false));
        assert_ne!(averaged.logits, last.logits);
        phase.finish_epoch(0, &mut adwp_train::Quiet).unwrap();
        assert_eq!(phase.test.unwrap().correct, averaged.correct);
    }

    #[test]
    fn flips_add_the_logits_of_mirror_images() {
        let mut phase = phase_with(&RetrainSettings { test_flips: true, epochs: 1, ..settings() });
        // 18 images in batches of 4: the last batch is not full.
        phase.data.test = BatchSource { batch: 4, ..noise(18) };
        epoch(&mut phase);
        let metrics = phase.finish_epoch(0, &mut adwp_train::Quiet).unwrap();

        let source = &phase.data.test;
        let mirrored: Vec<u8> = (0..18)
            .flat_map(|i| {
                let mut pixels = vec![0; 64];
                source.dataset.read_image(i, &mut pixels).unwrap();
                pixels.chunks_exact_mut(8).for_each(<[u8]>::reverse);
                pixels
            })
            .collect();
        let (classes, labels) =
            (source.dataset.classes().to_vec(), source.dataset.labels().to_vec());
        let mirror = Dataset::from_memory(
            "mirror",
            classes,
            source.dataset.shape(),
            labels.clone(),
            mirrored,
        )
        .unwrap();
        let mirror = BatchSource { dataset: Arc::new(mirror), ..source.clone() };
        let mut logits = |source: &BatchSource| {
            phase.evaluator.evaluate(&mut phase.variables, source.in_order(0).unwrap()).unwrap()
        };
        let (plain, mirrored) = (logits(source), logits(&mirror));
        assert_ne!(plain.logits, mirrored.logits);
        let sums: Vec<f32> =
            plain.logits.iter().zip(&mirrored.logits).map(|(a, b)| a + b).collect();
        let test = phase.test.unwrap();
        assert_eq!((test.correct, test.images), (plain.correct, 18));
        assert_eq!(test.correct_with_flips, Some(adwp_train::correct_predictions(&sums, &labels)));
        assert_eq!(metrics["test_accuracy_with_flips"].as_f64(), test.accuracy_with_flips());
    }

    #[test]
    fn what_fits_is_inherited_and_the_rest_starts_fresh() {
        let mut source = phase_with(&settings());
        epoch(&mut source);
        let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
        let classes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (blueprint, dataset) = (cells(SKELETON), "noise".to_owned());
        let network = Network {
            name: None,
            blueprint,
            dataset,
            classes: classes(&["a", "b"]),
            normalization,
        };
        let test = TestResult { correct: 0, images: 1, correct_with_flips: None };
        let trained = Trained::new(network.clone(), &source.variables, test).unwrap();

        let all = Inherited::new(&network, &trained).unwrap();
        assert!(all.fresh.is_empty() && all.variables == trained.variables);
        // As many classes, but others.
        let other =
            Inherited::new(&Network { classes: classes(&["a", "c"]), ..network.clone() }, &trained)
                .unwrap();
        assert_eq!(other.fresh, ["classifier/linear/weight", "classifier/linear/bias"]);
        assert_eq!(other.variables.len() + 2, trained.variables.len());
        let blueprint = cells(Skeleton { image: [3, 16, 16], ..SKELETON });
        let colour = Network {
            blueprint,
            normalization: Normalization { mean: vec![0.5; 3], std: vec![0.25; 3] },
            ..network.clone()
        };
        let colour = Inherited::new(&colour, &trained).unwrap();
        assert!(
            colour.fresh.len() == 1 && colour.fresh[0].starts_with("stem"),
            "{:?}",
            colour.fresh
        );

        let mut tuned = phase_with(&settings());
        assert_ne!(learned(&tuned), learned(&source));
        tuned.inherited = Some(other.variables);
        tuned.initialize().unwrap();
        let fresh = phase_with(&settings());
        for variable in tuned.variables.iter() {
            let expected = if variable.name.starts_with("classifier") { &fresh } else { &source };
            assert_eq!(variable, expected.variables.get(&variable.name).unwrap());
        }
    }
    #[test]
    fn dropped_features_are_those_of_the_mask_and_keep_their_mean() {
        let settings = RetrainSettings { dropout: 0.5, rate: 0.0, weight_decay: 0.0, ..settings() };
        let mut phase = phase_with(&settings);
        let at = |step| At { epoch: 0, step };
        let (id, mask) = phase.dropout_mask(at(0)).unwrap();
        let shape = phase.net.graph[id].shape.clone();
        assert_eq!(mask.len(), shape.elements());
        assert!(
            mask.iter().all(|&factor| factor == 0.0 || factor == 2.0)
                && mask.contains(&0.0)
                && mask.contains(&2.0),
            "{mask:?}"
        );
        assert_eq!(
            phase.dropout_mask(at(0)).unwrap().1,
            mask,
            "a step that is done again drops the same"
        );
        assert_ne!(phase.dropout_mask(at(1)).unwrap().1, mask);

        // The logits of the step are those of what the mask leaves.
        let batch = phase.batches(0, 0).unwrap().next().unwrap().unwrap();
        let images = batch.clone();
        phase.step(at(0), batch).unwrap();
        let dropped = phase.trainer.executor().value(phase.net.logits).unwrap().to_vec();
        let graph = &phase.net.graph;
        let pooled = graph.find("classifier/pool").unwrap();
        let program = Program::inference(graph, &[pooled], adwp_engine::Statistics::Batch).unwrap();
        let mut executor = Executor::new(program, &phase.data.device).unwrap();
        let masks = phase.masks(at(0));
        let mut feeds: Vec<(NodeId, Feed<'_>)> = vec![(phase.net.images, images.feed())];
        feeds.extend(phase.training.masks.iter().zip(&masks).map(|(id, mask)| (*id, mask.into())));
        executor.run(&mut phase.variables.clone(), &feeds).unwrap();
        let features = executor.value(pooled).unwrap().to_vec();
        let (weight, bias) = (
            values(&phase.variables, "classifier/linear/weight"),
            values(&phase.variables, "classifier/linear/bias"),
        );
        let width = shape[1];
        for (i, &found) in dropped.iter().enumerate() {
            let (image, class) = (i / bias.len(), i % bias.len());
            let of = |values: &[f32], row: usize| values[row * width..(row + 1) * width].to_vec();
            let kept =
                of(&features, image).into_iter().zip(of(&mask, image)).zip(of(&weight, class));
            let expected = bias[class]
                + kept.map(|((feature, factor), weight)| feature * factor * weight).sum::<f32>();
            assert!(
                (found - expected).abs() <= 1e-4 * expected.abs().max(1.0),
                "{found}, expected {expected}"
            );
        }
    }

    #[test]
    fn a_network_that_is_no_stack_of_cells_is_trained_without_what_it_lacks() {
        let network = |network| Blueprint::Handmade {
            network,
            width: Width::PUBLISHED,
            image: [1, 8, 8],
            classes: 2,
        };
        let densenet = network(Handmade::DensenetBc { depth: 10, growth: 2 });
        let plain = RetrainSettings { auxiliary: 0.0, drop_path: 0.0, dropout: 0.2, ..settings() };
        let mut phase = phase_of(&densenet, &plain).unwrap();
        let before = learned(&phase);
        let (steps, error, _) = epoch(&mut phase);
        assert!(error.is_none() && steps == 16 && learned(&phase) != before, "{error:?}");
        for (settings, culprit) in [
            (RetrainSettings { auxiliary: 0.4, ..plain.clone() }, "auxiliary = 0.4"),
            (RetrainSettings { drop_path: 0.2, ..plain.clone() }, "drop_path = 0.2"),
        ] {
            let error =
                phase_of(&densenet, &settings).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(error.contains(culprit), "{error}");
        }
        let residual = Blueprint::Handmade {
            network: Handmade::MobilenetV2,
            width: Width::PUBLISHED,
            image: [1, 32, 32],
            classes: 2,
        };
        RetrainSettings { drop_path: 0.2, ..plain }.check_network(&residual).unwrap();
    }
}
