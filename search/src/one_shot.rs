//! One set of weights for all architectures of a space, to compare predicted weights with.

use std::path::Path;

use adwp_data::Augmentation;
use adwp_engine::optim::Sgd;
use adwp_engine::{Device, Graph, NodeId, Variables};
use adwp_models::{Choices, Discrete, Heads, Space, Training};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, Finished, MemoryPlan, Need, Pass, Phase,
    PhaseBatches, Ports, Reporter, StepReport, TrainError, Trainer, Update, memory, run_phase,
    schedule, store_images, stored_bytes,
};
use rand::RngExt;
use serde_json::{Map, Value};

use crate::bilevel;
use crate::momentum;
use crate::novelty::Novelty;
use crate::{Data, Result, SearchError, SearchSettings};

/// Which architectures shared weights learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathSampling {
    /// Drawn evenly (Guo et al., Single Path One-Shot Neural Architecture Search with Uniform
    /// Sampling, 2020, section 3).
    Uniform,
    /// Unlike those before (Zhang et al., One-Shot Neural Architecture Search via Novelty Driven
    /// Sampling, 2020).
    Novelty,
}

/// Trains shared weights on single paths: every step takes an architecture of `space` and updates
/// its parameters alone.
///
/// Epochs, images, learning rates and augmentation are those in which
/// [`train_hypernetwork`](crate::train_hypernetwork) trains, so that the two differ in where
/// weights come from. `space` is opened at the sizes of the search: those of [`Data::skeleton`]
/// with the channels of the settings.
///
/// # Errors
/// Settings that cannot be, and what the training loop meets.
pub fn train_one_shot<'a>(
    settings: &SearchSettings,
    space: &'a dyn Space,
    sampling: PathSampling,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<SharedWeights<'a>>> {
    let mut phase = OneShotPhase::new(settings, space, sampling, data)?;
    run_phase(&mut phase, context)?.try_map(|()| Ok(phase.shared))
}

/// Trained weights that the architectures of a space share.
pub struct SharedWeights<'a> {
    pub(crate) space: &'a dyn Space,
    pub(crate) settings: SearchSettings,
    pub(crate) data: Data,
    pub(crate) variables: Variables,
}

impl<'a> SharedWeights<'a> {
    /// Accuracy of an architecture on the validation images with the shared weights, once its
    /// BatchNorm statistics are recomputed on training images. What is shared stays as it is.
    ///
    /// # Errors
    /// An architecture that is not of the space, images that cannot be read, a device that fails.
    pub fn score(&self, choices: &Choices) -> Result<f64> {
        let net = self.space.build(choices, self.settings.batch, None)?;
        let mut own = Variables::new();
        for variable in net.graph.variables() {
            own.insert(self.variables.get(&variable.name)?.clone());
        }
        self.evaluate(&net, own)
    }

    /// Accuracy of a network on the validation images with weights of its own.
    pub(crate) fn evaluate(&self, net: &Discrete, own: Variables) -> Result<f64> {
        self.accuracies(net, &[net.logits], own).map(|accuracies| accuracies[0])
    }

    /// [`Self::evaluate`] of each of the network's `logits`. All of its BatchNorm statistics are
    /// recomputed by the first.
    pub(crate) fn accuracies(
        &self,
        net: &Discrete,
        logits: &[NodeId],
        mut own: Variables,
    ) -> Result<Vec<f64>> {
        let Self { settings, data, .. } = self;
        let mut accuracies = Vec::with_capacity(logits.len());
        for (place, &logits) in logits.iter().enumerate() {
            let mut evaluator = Evaluator::new(&net.graph, net.images, logits, &data.device)?;
            if place == 0 {
                let images = data.train.in_order(settings.recalibration_images)?;
                evaluator.recalibrate(&mut own, images)?;
            }
            let images = data.validation.in_order(settings.validation_images)?;
            accuracies.push(evaluator.score(&mut own, images)?.accuracy());
        }
        Ok(accuracies)
    }

    /// Without variables yet.
    pub(crate) fn new(
        settings: &SearchSettings,
        space: &'a dyn Space,
        data: &Data,
    ) -> Result<Self> {
        settings.validate()?;
        let mut data = data.with_batch(settings.batch, settings.channels);
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        Ok(Self { space, settings: settings.clone(), data, variables: Variables::new() })
    }

    /// Shuffled, augmented batches of a phase.
    pub(crate) fn batches(
        &self,
        phase: &str,
        epoch: usize,
        first: usize,
    ) -> Result<PhaseBatches<Batch>> {
        let Self { settings, data, .. } = self;
        let batches = bilevel::train_batches(data, settings.augmentation, phase, epoch, first)?;
        Ok(Box::new(batches.take(data.train.steps()?.saturating_sub(first))))
    }

    /// What a phase holds that trains networks of the space one after the other, all of them parts
    /// of `widest`, and `beside` bytes more.
    pub(crate) fn need(&self, widest: &TrainedNet, reserved: &Trainer, beside: usize) -> Need {
        let Self { settings, data, .. } = self;
        let plan = MemoryPlan {
            state: memory::of_variables(&widest.graph)
                + memory::of_nodes(&widest.graph, &widest.parameters)
                + beside,
            executors: reserved.executor().own_bytes() + data.device.working_bytes(),
            batches: data
                .train
                .bytes_in_flight(&settings.augmentation)
                .max(data.validation.bytes_in_flight(&Augmentation::NONE)),
            images: stored_bytes(&[&data.train, &data.validation]),
        };
        plan.need(&data.device)
    }
}

/// The network of an architecture with the loss that its weights learn from.
pub(crate) struct TrainedNet {
    pub(crate) graph: Graph,
    pub(crate) ports: Ports,
    /// Those that the loss depends on.
    pub(crate) parameters: Vec<NodeId>,
}

impl TrainedNet {
    /// That of an architecture.
    pub(crate) fn build(space: &dyn Space, choices: &Choices, data: &Data) -> Result<Self> {
        Ok(Self::of(space.build(choices, data.train.batch, Some(Heads::PLAIN))?))
    }

    /// That of a network built for training.
    pub(crate) fn of(network: Discrete) -> Self {
        let Discrete { graph, images, logits, training, .. } = network;
        let Training { labels, loss, .. } = training.expect("built with heads");
        let ports = Ports { images, labels, logits, loss, objective: loss };
        let live = graph.ancestors(&[loss]);
        let parameters = graph.parameters().filter(|id| live[id.index()]).collect();
        Self { ports, parameters, graph }
    }

    pub(crate) fn trainer(&self, phase: &'static str, device: &Device) -> Result<Trainer> {
        Ok(Trainer::new(phase, &self.graph, self.ports, &self.parameters, device)?)
    }
}

struct OneShotPhase<'a> {
    /// As many as the HyperNetwork trains for alone.
    epochs: usize,
    steps: usize,
    /// The network with every candidate: what it owns is shared, and no other takes more memory.
    widest: TrainedNet,
    /// Never run: for its sake the working memory stays taken between steps, each of which has an
    /// executor of its own.
    reserved: Trainer,
    shared: SharedWeights<'a>,
    /// What sampling by novelty remembers.
    novelty: Option<Novelty>,
    /// Moves only the parameters that the drawn architecture has.
    sgd: Sgd,
}

impl<'a> OneShotPhase<'a> {
    fn new(
        settings: &SearchSettings,
        space: &'a dyn Space,
        sampling: PathSampling,
        data: &Data,
    ) -> Result<Self> {
        let shared = SharedWeights::new(settings, space, data)?;
        let widest = TrainedNet::build(space, &space.widest(), &shared.data)?;
        Ok(Self {
            reserved: widest.trainer(Self::NAME, &shared.data.device)?,
            epochs: settings.hypernetwork_epochs,
            steps: shared.data.train.steps()?,
            sgd: Sgd::new(settings.momentum, settings.weight_decay),
            widest,
            novelty: (sampling == PathSampling::Novelty).then(Novelty::default),
            shared,
        })
    }

    /// An architecture drawn evenly.
    fn draw(&self, purpose: &str, at: At) -> Choices {
        let SharedWeights { space, data, .. } = &self.shared;
        let mut rng = data.streams.at(purpose, at.epoch, at.step);
        let options = space.decisions().iter().map(|decision| decision.options).sum();
        let values: Vec<f32> = (0..options).map(|_| rng.random()).collect();
        space.decode(&values)
    }
}

impl Phase for OneShotPhase<'_> {
    type Batch = Batch;
    type Error = SearchError;

    const NAME: &'static str = "one-shot";

    fn epochs(&self) -> usize {
        self.epochs
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn device(&self) -> &Device {
        &self.shared.data.device
    }

    fn planned_bytes(&self) -> Result<Need> {
        Ok(self.shared.need(&self.widest, &self.reserved, 0))
    }

    fn initialize(&mut self) -> Result<()> {
        let SharedWeights { data, variables, .. } = &mut self.shared;
        Ok(variables.initialize(&self.widest.graph, &mut data.streams.once("one-shot/weights"))?)
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Batch>> {
        self.shared.batches(Self::NAME, epoch, first)
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport> {
        let choices = match &mut self.novelty {
            None => self.draw("one-shot/architecture", at),
            Some(novelty) => {
                let SharedWeights { space, data, .. } = &self.shared;
                novelty.next(*space, &mut data.streams.at("novelty", at.epoch, at.step))
            }
        };
        let SharedWeights { space, settings, data, variables } = &mut self.shared;
        let net = TrainedNet::build(*space, &choices, data)?;
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        let (parameters, optimizer) = (&net.parameters[..], &mut self.sgd);
        let update = Update { parameters, optimizer, rate, clip: Some(settings.clip) };
        let pass = Pass { at, batch: &batch, feeds: &[] };
        Ok(net.trainer(Self::NAME, &data.device)?.step(pass, variables, &mut [update])?)
    }

    fn finish_epoch(&mut self, epoch: usize, _: &mut dyn Reporter) -> Result<Map<String, Value>> {
        let choices = self.draw("one-shot/validation", At { epoch, step: 0 });
        let accuracy = self.shared.score(&choices)?;
        Ok(Map::from_iter([("validation_accuracy".to_owned(), accuracy.into())]))
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        checkpoint.put_variables(&self.shared.variables)?;
        momentum::put(checkpoint, &self.sgd, &self.shared.variables)?;
        for (name, tensor) in self.novelty.iter().flat_map(Novelty::save) {
            checkpoint.tensors.insert(name.to_owned(), tensor);
        }
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
        let SharedWeights { space, variables, .. } = &mut self.shared;
        checkpoint.take_variables(variables, path)?;
        if let Some(novelty) = &mut self.novelty {
            let mut take = |name| checkpoint.tensors.remove(name);
            let saved = take("novelty/given").zip(take("novelty/values"));
            let restored =
                saved.and_then(|(given, values)| Novelty::restored(*space, [given, values]));
            *novelty = restored.ok_or_else(|| TrainError::Damaged {
                path: path.to_owned(),
                reason: "it was not written by sampling by novelty in this space".into(),
            })?;
        }
        momentum::take(checkpoint, &mut self.sgd, &self.shared.variables, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorers::naswot::tests::noise;
    use adwp_engine::Role;
    use adwp_models::{Intensive, IntensiveSpace, Skeleton};
    use adwp_train::{Interrupt, Quiet, RunDir, Streams, TensorData};
    use std::collections::HashSet;
    use std::time::Instant;

    fn settings() -> SearchSettings {
        SearchSettings {
            epochs: 4,
            hypernetwork_epochs: 2,
            cross_search_start: 2,
            cross_search_end: 2,
            batch: 4,
            channels: 2,
            recalibration_images: 8,
            augmentation: Augmentation::NONE,
            ..SearchSettings::default()
        }
    }

    fn space() -> Intensive {
        let space = IntensiveSpace::random(4, &mut Streams::new(7).once("space")).unwrap();
        let skeleton = Skeleton { channels: 2, ..noise(48).skeleton };
        Intensive::new(space, skeleton, settings().keep).unwrap()
    }

    #[test]
    fn a_step_changes_what_the_drawn_architecture_has_and_nothing_else() {
        let space = space();
        let mut phase =
            OneShotPhase::new(&settings(), &space, PathSampling::Uniform, &noise(48)).unwrap();
        phase.initialize().unwrap();
        let batches: Vec<Batch> = phase.batches(0, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(batches.len(), phase.steps());
        let mut drawn = Vec::new();
        for (step, batch) in batches.into_iter().enumerate() {
            let at = At { epoch: 0, step };
            let choices = phase.draw("one-shot/architecture", at);
            let net = TrainedNet::build(&space, &choices, &phase.shared.data).unwrap();
            let before = phase.shared.variables.clone();
            phase.step(at, batch).unwrap();
            let of_net: HashSet<String> =
                net.graph.variables().map(|variable| variable.name).collect();
            for (before, after) in before.iter().zip(phase.shared.variables.iter()) {
                let changed = before.data().unwrap() != after.data().unwrap();
                // A running statistic of a channel that no image reaches can stay as it is.
                let expected = of_net.contains(&before.name);
                assert!(
                    changed == expected || (before.role == Role::Statistic && !changed),
                    "step {step}: {}",
                    before.name
                );
            }
            assert!(of_net.len() < phase.shared.variables.len());
            drawn.push(of_net);
        }
        // So what has momentum by now was left alone by a step that had no gradient of it.
        let left_alone = drawn
            .windows(2)
            .any(|pair| pair[0].difference(&pair[1]).any(|name| name.ends_with("/weight")));
        assert!(left_alone && drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }

    /// Trains in a folder; a phase that is stopped after every step is continued until it is done.
    fn train<'a>(
        folder: &Path,
        space: &'a Intensive,
        sampling: PathSampling,
        is_stopped: bool,
    ) -> (SharedWeights<'a>, usize) {
        let run = RunDir::create(folder).unwrap();
        let interrupt = if is_stopped {
            Interrupt::default().with_deadline(Instant::now())
        } else {
            Interrupt::default()
        };
        for stops in 0.. {
            let quiet = &mut Quiet;
            let context = &mut Context { resume: true, ..Context::new(&run, &interrupt, quiet) };
            if let Finished::Done(weights) =
                train_one_shot(&settings(), space, sampling, &noise(48), context).unwrap()
            {
                return (weights, stops);
            }
        }
        unreachable!("every try is a step on")
    }

    #[test]
    fn training_in_pieces_ends_in_the_same_weights_and_momentum() {
        let (holder, space) = (tempfile::tempdir().unwrap(), space());
        for sampling in [PathSampling::Uniform, PathSampling::Novelty] {
            let folders =
                ["whole", "pieces"].map(|name| holder.path().join(format!("{name}{sampling:?}")));
            let (whole, _) = train(&folders[0], &space, sampling, false);
            let (pieces, stops) = train(&folders[1], &space, sampling, true);
            assert_eq!(stops, 2 * 6);
            assert_eq!(whole.variables, pieces.variables);
            let tensors = folders.map(|folder| {
                Checkpoint::read(&RunDir::create(&folder).unwrap().checkpoint("one-shot"))
                    .unwrap()
                    .tensors
            });
            assert!(tensors[0].keys().any(|name| name.starts_with("velocity/cell0/node2/")));
            assert_eq!(tensors[0], tensors[1]);
        }
    }

    #[test]
    fn a_score_depends_on_no_other() {
        let holder = tempfile::tempdir().unwrap();
        let space = space();
        let (weights, _) = train(holder.path(), &space, PathSampling::Uniform, false);
        let draw = |i| space.sample(&mut Streams::new(9).at("architecture", i, 0));
        let before = weights.variables.clone();
        let score = |i| weights.score(&draw(i)).unwrap();
        let first: Vec<f64> = (0..8).map(score).collect();
        let again: Vec<f64> = (0..8).rev().map(score).collect();
        assert!(first.iter().eq(again.iter().rev()), "{first:?}, {again:?}");
        assert!(first.iter().any(|score| *score != first[0]), "{first:?}");
        assert_eq!(weights.variables, before);
    }

    #[test]
    fn a_checkpoint_with_the_momentum_of_blocks_is_refused() {
        let space = space();
        let mut phase =
            OneShotPhase::new(&settings(), &space, PathSampling::Uniform, &noise(48)).unwrap();
        phase.initialize().unwrap();
        let mut checkpoint = Checkpoint::default();
        phase.save(&mut checkpoint).unwrap();
        let slot = TensorData { shape: vec![1], data: vec![0.0] };
        checkpoint.tensors.insert("velocity/cell0/node2/sep_conv_3x3@0/000000".into(), slot);
        let error = phase.restore(&mut checkpoint, Path::new("old")).unwrap_err().to_string();
        assert!(error.contains("sep_conv_3x3@0/000000 is the momentum of no parameter"), "{error}");
    }
}
