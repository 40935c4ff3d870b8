//! One set of weights for all architectures of a space, to compare predicted weights with.

use std::collections::BTreeMap;
use std::path::Path;

use adwp_data::{Augmentation, DataError};
use adwp_engine::optim::{Gradient, Sgd, clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, Graph, NodeId, Program, Variables};
use adwp_models::{Discrete, Genotype, Heads, IntensiveSpace, ModelError, Training};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, MemoryPlan, Need, Phase, Reporter, StepReport,
    TrainError, correct_predictions, first_not_finite, labels_as_floats, memory, require_finite,
    run_phase, schedule, store_images, stored_bytes,
};
use serde_json::{Map, Value};

use crate::bilevel;
use crate::{Data, Finished, Result, SearchSettings};

/// Trains shared weights by single-path uniform sampling (Guo et al., Single Path One-Shot Neural
/// Architecture Search with Uniform Sampling, 2020, section 3): every step draws an architecture of
/// `space` evenly and updates its parameters alone.
///
/// Epochs, images, learning rates and augmentation are those in which
/// [`train_hypernetwork`](crate::train_hypernetwork) trains, so that the two differ in where
/// weights come from.
///
/// # Errors
/// Settings that cannot be, and what the training loop meets.
pub fn train_one_shot(
    settings: &SearchSettings,
    space: &IntensiveSpace,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<SharedWeights>> {
    let mut phase = OneShotPhase::new(settings, space, data)?;
    let outcome = run_phase(&mut phase, context)?;
    Finished::from_outcome(outcome, || Ok(phase.shared))
}

/// Trained weights that the architectures of a space share.
pub struct SharedWeights {
    settings: SearchSettings,
    data: Data,
    variables: Variables,
}

impl SharedWeights {
    /// Accuracy of an architecture on the validation images with the shared weights, once its
    /// BatchNorm statistics are recomputed on training images. What is shared stays as it is.
    ///
    /// # Errors
    /// An architecture that is not of the space, images that cannot be read, a device that fails.
    pub fn score(&self, genotype: &Genotype) -> Result<f64> {
        let Self { settings, data, variables } = self;
        let net = Discrete::build(genotype, &data.skeleton, settings.batch, None)?;
        let mut own = Variables::new();
        for variable in net.graph.variables() {
            own.insert(variables.get(&variable.name)?.clone());
        }
        let mut evaluator = Evaluator::new(&net.graph, net.images, net.logits, &data.device)?;
        evaluator.recalibrate(&mut own, data.train.in_order(settings.recalibration_images)?)?;
        Ok(evaluator
            .score(&mut own, data.validation.in_order(settings.validation_images)?)?
            .accuracy())
    }
}

/// The network of an architecture with the loss that its weights learn from.
struct TrainedNet {
    graph: Graph,
    images: NodeId,
    labels: NodeId,
    logits: NodeId,
    loss: NodeId,
    parameters: Vec<NodeId>,
}

impl TrainedNet {
    fn build(genotype: &Genotype, data: &Data) -> Result<Self, ModelError> {
        let heads = Heads { auxiliary: 0.0, drop_path: false, dropout: false, smoothing: 0.0 };
        let Discrete { graph, images, logits, training } =
            Discrete::build(genotype, &data.skeleton, data.train.batch, Some(heads))?;
        let Training { labels, loss, .. } = training.expect("built with heads");
        Ok(Self { images, labels, logits, loss, parameters: graph.parameters().collect(), graph })
    }

    fn executor(&self, device: &Device) -> Result<Executor, TrainError> {
        Ok(Executor::new(
            Program::training(&self.graph, self.loss, &[self.logits], &self.parameters)?,
            device,
        )?)
    }
}

struct OneShotPhase {
    space: IntensiveSpace,
    /// As many as the HyperNetwork trains for alone.
    epochs: usize,
    steps: usize,
    /// The network with every candidate: what it owns is shared, and no other takes more memory.
    widest: TrainedNet,
    /// Never run: for its sake the working memory stays taken between steps, each of which has an
    /// executor of its own.
    reserved: Executor,
    shared: SharedWeights,
    sgd: BlockSgd,
}

impl OneShotPhase {
    fn new(settings: &SearchSettings, space: &IntensiveSpace, data: &Data) -> Result<Self> {
        settings.validate_for(space)?;
        let mut data = data.with_batch(settings.batch, settings.channels);
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        let widest = TrainedNet::build(&space.widest(&data.skeleton)?, &data)?;
        Ok(Self {
            reserved: widest.executor(&data.device)?,
            epochs: settings.hypernetwork_epochs,
            steps: bilevel::steps(&data)?,
            sgd: BlockSgd::new(settings.momentum, settings.weight_decay),
            space: space.clone(),
            widest,
            shared: SharedWeights { settings: settings.clone(), data, variables: Variables::new() },
        })
    }

    /// An architecture drawn evenly.
    fn draw(&self, purpose: &str, at: At) -> Result<Genotype, ModelError> {
        let SharedWeights { settings, data, .. } = &self.shared;
        self.space.random_genotype(
            &data.skeleton,
            settings.keep,
            &mut data.streams.at(purpose, at.epoch, at.step),
        )
    }
}

impl Phase for OneShotPhase {
    type Batch = Batch;

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

    fn planned_bytes(&self) -> Result<Need, TrainError> {
        let Self { widest, reserved, shared: SharedWeights { settings, data, .. }, .. } = self;
        let plan = MemoryPlan {
            state: memory::of_variables(&widest.graph)
                + memory::of_nodes(&widest.graph, &widest.parameters),
            executors: reserved.own_bytes() + data.device.working_bytes(),
            batches: data
                .train
                .bytes_in_flight(&settings.augmentation)
                .max(data.validation.bytes_in_flight(&Augmentation::NONE)),
            images: stored_bytes(&[&data.train, &data.validation]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<(), TrainError> {
        let SharedWeights { data, variables, .. } = &mut self.shared;
        Ok(variables.initialize(&self.widest.graph, &mut data.streams.once("one-shot/weights"))?)
    }

    fn batches(
        &self,
        epoch: usize,
        first: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch, DataError>>>, TrainError> {
        let SharedWeights { settings, data, .. } = &self.shared;
        let batches =
            bilevel::train_batches(data, settings.augmentation, Self::NAME, epoch, first)?;
        Ok(Box::new(batches.take(self.steps.saturating_sub(first))))
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport, TrainError> {
        let invalid = |e: ModelError| TrainError::Settings(e.to_string());
        let genotype = self.draw("one-shot/architecture", at).map_err(invalid)?;
        let SharedWeights { settings, data, variables } = &mut self.shared;
        let net = TrainedNet::build(&genotype, data).map_err(invalid)?;
        let mut executor = net.executor(&data.device)?;
        let labels = labels_as_floats(&batch.labels);
        let feeds = [(net.images, batch.feed()), (net.labels, (&labels).into())];
        executor.run(variables, &feeds)?;
        let loss = executor.value(net.loss)?[0];
        require_finite(Self::NAME, at, loss, || {
            first_not_finite(&net.graph, variables, &feeds, &data.device)
        })?;
        let mut gradients = gradients(&executor, variables, &net.parameters)?;
        clip_gradient_norm(&mut gradients, settings.clip, &data.device)?;
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        self.sgd.step(variables, &gradients, rate, &data.device)?;
        let correct = correct_predictions(&executor.value(net.logits)?, &batch.labels);
        Ok(StepReport { loss, images: batch.labels.len(), correct })
    }

    fn finish_epoch(
        &mut self,
        epoch: usize,
        _: &mut dyn Reporter,
    ) -> Result<Map<String, Value>, TrainError> {
        let scored = |e: crate::SearchError| match e {
            crate::SearchError::Train(e) => e,
            e => TrainError::Settings(e.to_string()),
        };
        let genotype = self
            .draw("one-shot/validation", At { epoch, step: 0 })
            .map_err(|e| scored(e.into()))?;
        let accuracy = self.shared.score(&genotype).map_err(scored)?;
        Ok(Map::from_iter([("validation_accuracy".to_owned(), accuracy.into())]))
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        checkpoint.put_variables(&self.shared.variables)?;
        self.sgd.save(checkpoint)
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<(), TrainError> {
        checkpoint.take_variables(&mut self.shared.variables, path)?;
        self.sgd.restore(&self.widest, checkpoint);
        Ok(())
    }
}

/// SGD in which a step moves only the parameters it has gradients of, and only their momentum, as
/// PyTorch's does with those whose gradient is `None`.
struct BlockSgd {
    momentum: f32,
    weight_decay: f32,
    /// An optimiser for each block of parameters that has ever been updated: a candidate, or a
    /// layer outside of the candidates. A network has all parameters of a block or none.
    blocks: BTreeMap<String, Sgd>,
}

impl BlockSgd {
    fn new(momentum: f32, weight_decay: f32) -> Self {
        Self { momentum, weight_decay, blocks: BTreeMap::new() }
    }

    /// The block of a parameter: cell/node/candidate, or its layer.
    fn block(parameter: &str) -> String {
        let (layer, _) = parameter.rsplit_once('/').unwrap_or((parameter, ""));
        layer.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
    }

    /// One step with the gradients of a whole network, in the order of its parameters.
    fn step(
        &mut self,
        variables: &mut Variables,
        gradients: &[Gradient<'_>],
        rate: f32,
        device: &Device,
    ) -> Result<(), TrainError> {
        let blocks: Vec<String> = gradients
            .iter()
            .map(|gradient| Self::block(&variables.at(gradient.position()).name))
            .collect();
        let mut rest = gradients;
        for block in blocks.chunk_by(|a, b| a == b) {
            let (gradients, later) = rest.split_at(block.len());
            let sgd = self
                .blocks
                .entry(block[0].clone())
                .or_insert_with(|| Sgd::new(self.momentum, self.weight_decay));
            sgd.step(variables, gradients, rate, device)?;
            rest = later;
        }
        Ok(())
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        for (block, sgd) in &self.blocks {
            for (slot, values) in sgd.state()? {
                checkpoint.put_slots(&format!("{slot}/{block}"), &values);
            }
        }
        Ok(())
    }

    fn restore(&mut self, net: &TrainedNet, checkpoint: &mut Checkpoint) {
        let blocks = net.parameters.iter().map(|&id| Self::block(&net.graph[id].name));
        self.blocks =
            blocks.map(|block| (block, Sgd::new(self.momentum, self.weight_decay))).collect();
        for (block, sgd) in &mut self.blocks {
            sgd.restore(|slot| checkpoint.take_slots(&format!("{slot}/{block}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training_free::tests::noise;
    use adwp_engine::Role;
    use adwp_train::{Interrupt, Quiet, RunDir, Streams};
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

    fn space() -> IntensiveSpace {
        IntensiveSpace::random(4, &mut Streams::new(7).once("space")).unwrap()
    }

    #[test]
    fn a_step_changes_what_the_drawn_architecture_has_and_nothing_else() {
        let mut phase = OneShotPhase::new(&settings(), &space(), &noise(48)).unwrap();
        phase.initialize().unwrap();
        let batches: Vec<Batch> = phase.batches(0, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(batches.len(), phase.steps());
        let mut drawn = Vec::new();
        for (step, batch) in batches.into_iter().enumerate() {
            let at = At { epoch: 0, step };
            let net = TrainedNet::build(
                &phase.draw("one-shot/architecture", at).unwrap(),
                &phase.shared.data,
            )
            .unwrap();
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
    fn train(folder: &Path, is_stopped: bool) -> (SharedWeights, usize) {
        let run = RunDir::create(folder).unwrap();
        let interrupt = if is_stopped {
            Interrupt::default().with_deadline(Instant::now())
        } else {
            Interrupt::default()
        };
        for stops in 0.. {
            let mut context = Context {
                run: &run,
                resume: true,
                held_bytes: 0,
                check_memory: true,
                interrupt: &interrupt,
                reporter: &mut Quiet,
            };
            if let Finished::Done(weights) =
                train_one_shot(&settings(), &space(), &noise(48), &mut context).unwrap()
            {
                return (weights, stops);
            }
        }
        unreachable!("every try is a step on")
    }

    #[test]
    fn training_in_pieces_ends_in_the_same_weights_and_momentum() {
        let holder = tempfile::tempdir().unwrap();
        let folders = ["whole", "pieces"].map(|name| holder.path().join(name));
        let (whole, _) = train(&folders[0], false);
        let (pieces, stops) = train(&folders[1], true);
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

    #[test]
    fn a_score_depends_on_no_other() {
        let holder = tempfile::tempdir().unwrap();
        let (weights, _) = train(holder.path(), false);
        let draw = |i| {
            space()
                .random_genotype(
                    &weights.data.skeleton,
                    2,
                    &mut Streams::new(9).at("architecture", i, 0),
                )
                .unwrap()
        };
        let before = weights.variables.clone();
        let score = |i| weights.score(&draw(i)).unwrap();
        let first: Vec<f64> = (0..8).map(score).collect();
        let again: Vec<f64> = (0..8).rev().map(score).collect();
        assert!(first.iter().eq(again.iter().rev()), "{first:?}, {again:?}");
        assert!(first.iter().any(|score| *score != first[0]), "{first:?}");
        assert_eq!(weights.variables, before);
    }

    #[test]
    fn parameters_of_a_block_come_and_go_together() {
        let space = space();
        let data = noise(48).with_batch(4, 2);
        let widest = TrainedNet::build(&space.widest(&data.skeleton).unwrap(), &data).unwrap();
        let parameters = |net: &TrainedNet| -> HashSet<String> {
            net.parameters.iter().map(|&id| net.graph[id].name.clone()).collect()
        };
        let all = parameters(&widest);
        for i in 0..20 {
            let genotype = space
                .random_genotype(&data.skeleton, 1, &mut Streams::new(1).at("architecture", i, 0))
                .unwrap();
            let own = parameters(&TrainedNet::build(&genotype, &data).unwrap());
            assert!(own.is_subset(&all));
            let blocks: HashSet<String> = own.iter().map(|name| BlockSgd::block(name)).collect();
            assert!(
                all.iter()
                    .all(|name| own.contains(name) == blocks.contains(&BlockSgd::block(name)))
            );
        }
    }
}
