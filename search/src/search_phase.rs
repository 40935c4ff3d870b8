use std::path::Path;

use adwp_data::DataError;
use adwp_engine::optim::{clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, NodeId, Program, Variables};
use adwp_models::{Genotype, Hypernetwork, HypernetworkOptions, IntensiveSpace, Operation};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, MemoryPlan, Need, Phase, Reporter, StepReport, TrainError, correct_predictions,
    labels_as_floats, run_phase, schedule, store_images, stored_bytes, watched,
};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::{Map, Value};

use crate::alpha::{relative_entropy, softmax_rows};
use crate::bilevel::{self, Learner};
use crate::{AlphaData, Data, Finished, Result, SearchSettings};

/// Trains the HyperNetwork and searches with it (Algorithm 1); gives the discrete architecture.
pub fn search(settings: &SearchSettings, space: &IntensiveSpace, data: &Data, context: &mut Context<'_>) -> Result<Finished<Genotype>> {
    settings.validate()?;
    if settings.keep > space.width() {
        let message = format!("search: keep = {} exceeds the {} candidates of the space", settings.keep, space.width());
        return Err(TrainError::Settings(message).into());
    }
    let mut phase = SearchPhase::new(settings, space, data.with_batch(settings.batch, settings.channels))?;
    let outcome = run_phase(&mut phase, context)?;
    Finished::from_outcome(outcome, || phase.discretize())
}

/// Bytes that [`search`] holds at its peak beside the images; nothing of it is taken to tell.
pub fn search_bytes(settings: &SearchSettings, space: &IntensiveSpace, data: &Data) -> Result<Need> {
    Ok(SearchPhase::new(settings, space, data.with_batch(settings.batch, settings.channels))?.planned_bytes()?)
}

/// Which parameters an iteration updates: the gates g_G and g_α of Algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// α is random; the generating blocks learn.
    Hypernetwork,
    /// α learns.
    BasicSearch,
    /// Both learn.
    CrossSearch,
}

/// The compiled steps of a stage.
enum Steps {
    Weights(Executor),
    Alphas(Executor),
    /// Both from one batch.
    Joint(Executor),
    /// Weights and α, each from a batch of its own.
    Separate(Box<[Executor; 2]>),
}

impl Steps {
    fn own_bytes(&self) -> usize {
        match self {
            Self::Weights(executor) | Self::Alphas(executor) | Self::Joint(executor) => executor.own_bytes(),
            Self::Separate(executors) => executors.iter().map(Executor::own_bytes).sum(),
        }
    }
}

struct SearchPhase {
    settings: SearchSettings,
    space: IntensiveSpace,
    data: Data,
    steps_per_epoch: usize,
    net: Hypernetwork,
    learner: Learner,
    weights: Vec<NodeId>,
    alphas: Vec<NodeId>,
    /// The steps of the current stage; compiled when the stage begins, so that only one stage's buffers exist.
    steps: Option<(Stage, Steps)>,
    evaluator: Evaluator,
}

impl SearchPhase {
    fn new(settings: &SearchSettings, space: &IntensiveSpace, mut data: Data) -> Result<Self> {
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        let options = HypernetworkOptions { hidden: settings.hidden, input: settings.generator_input };
        let net = Hypernetwork::build(space, &data.skeleton, settings.batch, options)?;
        let decays = (settings.momentum, settings.weight_decay);
        let learner = Learner::new(decays, settings.alpha_weight_decay);
        Ok(Self {
            evaluator: Evaluator::new(&net.graph, net.images, net.logits, &data.device)?,
            steps_per_epoch: bilevel::steps(&data)?,
            weights: net.weights(),
            alphas: net.live_alphas(),
            settings: settings.clone(),
            space: space.clone(),
            data,
            net,
            learner,
            steps: None,
        })
    }

    fn stage(&self, epoch: usize) -> Stage {
        let s = &self.settings;
        match epoch {
            e if e < s.hypernetwork_epochs => Stage::Hypernetwork,
            e if (s.cross_search_start..s.cross_search_end).contains(&e) => Stage::CrossSearch,
            _ => Stage::BasicSearch,
        }
    }

    fn compile(&self, stage: Stage) -> Result<Steps, TrainError> {
        let net = &self.net;
        let executor = |trainable: &[NodeId]| -> Result<Executor, TrainError> {
            Ok(Executor::new(Program::training(&net.graph, net.loss, &[net.logits], trainable)?, &self.data.device)?)
        };
        Ok(match (stage, self.settings.alpha_data) {
            (Stage::Hypernetwork, _) => Steps::Weights(executor(&self.weights)?),
            (Stage::BasicSearch, _) => Steps::Alphas(executor(&self.alphas)?),
            (Stage::CrossSearch, AlphaData::Train) => Steps::Joint(executor(&[&self.weights[..], &self.alphas].concat())?),
            (Stage::CrossSearch, AlphaData::Validation) => Steps::Separate(Box::new([executor(&self.weights)?, executor(&self.alphas)?])),
        })
    }

    /// Sets every α to fresh normal values.
    fn draw_alphas(&mut self, mut rng: impl Rng) -> Result<(), TrainError> {
        for &id in &self.net.alphas {
            for value in self.learner.variables.get_mut(&self.net.graph[id].name)? {
                let z: f32 = StandardNormal.sample(&mut rng);
                *value = self.settings.alpha_sd * z;
            }
        }
        Ok(())
    }

    /// For each cell the softmax over each node's candidates.
    fn probabilities(&self) -> Result<Vec<Vec<f32>>, TrainError> {
        let softmax = |id: &NodeId| Ok(softmax_rows(self.learner.variables.get(&self.net.graph[*id].name)?.data()?, self.space.width()));
        self.net.alphas.iter().map(softmax).collect()
    }

    fn discretize(&self) -> Result<Genotype> {
        Ok(self.space.discretize(&self.data.skeleton, &self.probabilities()?, self.settings.keep)?)
    }
}

/// One forward and backward pass over a batch.
fn run(executor: &mut Executor, net: &Hypernetwork, variables: &mut Variables, batch: &Batch) -> Result<(), TrainError> {
    let labels = labels_as_floats(&batch.labels);
    Ok(executor.run(variables, &[(net.images, batch.feed()), (net.labels, (&labels).into())])?)
}

/// What a pass gave. Asked for after the update was started: a GPU is waited for here.
fn report(executor: &Executor, net: &Hypernetwork, batch: &Batch) -> Result<StepReport, TrainError> {
    let correct = correct_predictions(&executor.value(net.logits)?, &batch.labels);
    Ok(StepReport { loss: executor.value(net.loss)?[0], images: batch.labels.len(), correct })
}

impl Phase for SearchPhase {
    /// The weights' batch, and one of the other half where α learns from that.
    type Batch = (Batch, Option<Batch>);

    const NAME: &'static str = "search";

    fn epochs(&self) -> usize {
        self.settings.epochs
    }

    fn steps(&self) -> usize {
        self.steps_per_epoch
    }

    fn device(&self) -> &Device {
        &self.data.device
    }

    fn planned_bytes(&self) -> Result<Need, TrainError> {
        let Self { settings, data, net, .. } = self;
        let mut stages: Vec<Stage> = (0..settings.epochs).map(|epoch| self.stage(epoch)).collect();
        stages.dedup();
        let mut executors = 0;
        for stage in stages {
            // Compiled for nothing but its size, and gone before the next: as when they follow each other.
            let steps = self.compile(stage)?;
            executors = executors.max(steps.own_bytes() + data.device.working_bytes());
        }
        let both_halves = settings.alpha_data == AlphaData::Validation;
        let plan = MemoryPlan {
            state: Learner::planned_bytes(&net.graph, &self.weights, &self.alphas),
            executors: executors + self.evaluator.own_bytes(),
            batches: data.train.bytes_in_flight() + if both_halves { data.validation.bytes_in_flight() } else { 0 },
            images: stored_bytes(&[&data.train, &data.validation]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<(), TrainError> {
        self.learner.initialize(&self.net.graph, &self.data, Self::NAME)
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<Box<dyn Iterator<Item = Result<Self::Batch, DataError>>>, TrainError> {
        let (data, augmentation) = (&self.data, self.settings.augmentation);
        match self.settings.alpha_data {
            AlphaData::Validation => {
                let pairs = bilevel::pairs(data, augmentation, Self::NAME, epoch, first)?;
                Ok(Box::new(pairs.map(|pair| pair.map(|(train, validation)| (train, Some(validation))))))
            }
            AlphaData::Train => {
                let train = bilevel::train_batches(data, augmentation, Self::NAME, epoch, first)?;
                let left = self.steps_per_epoch.saturating_sub(first);
                Ok(Box::new(train.take(left).map(|train| Ok((train?, None)))))
            }
        }
    }

    fn step(&mut self, at: At, (train, validation): Self::Batch) -> Result<StepReport, TrainError> {
        let stage = self.stage(at.epoch);
        if self.steps.as_ref().is_none_or(|(current, _)| *current != stage) {
            self.steps = None;
            self.steps = Some((stage, self.compile(stage)?));
        }
        match (stage, at.epoch == self.settings.hypernetwork_epochs && at.step == 0) {
            (Stage::Hypernetwork, _) => self.draw_alphas(self.data.streams.at("search/alpha", at.epoch, at.step))?,
            (_, true) => self.draw_alphas(self.data.streams.once("search/alpha_start"))?,
            (_, false) => {}
        }

        let Self { net, settings, data, weights, alphas, learner: Learner { variables, sgd, adam }, .. } = self;
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        let mut update_weights = |executor: &Executor, variables: &mut Variables| -> Result<(), TrainError> {
            let mut gradients = gradients(executor, variables, weights)?;
            clip_gradient_norm(&mut gradients, settings.clip, &data.device)?;
            Ok(sgd.step(variables, &gradients, rate, &data.device)?)
        };
        let mut update_alphas = |executor: &Executor, variables: &mut Variables| -> Result<(), TrainError> {
            let gradients = gradients(executor, variables, alphas)?;
            Ok(adam.step(variables, &gradients, settings.alpha_rate, &data.device)?)
        };
        let alpha_batch = validation.as_ref().unwrap_or(&train);
        let (_, steps) = self.steps.as_mut().expect("compiled above");
        match steps {
            Steps::Weights(executor) => {
                run(executor, net, variables, &train)?;
                update_weights(executor, variables)?;
                report(executor, net, &train)
            }
            Steps::Alphas(executor) => {
                run(executor, net, variables, alpha_batch)?;
                update_alphas(executor, variables)?;
                report(executor, net, alpha_batch)
            }
            Steps::Joint(executor) => {
                run(executor, net, variables, &train)?;
                update_alphas(executor, variables)?;
                update_weights(executor, variables)?;
                report(executor, net, &train)
            }
            Steps::Separate(executors) => {
                let [weights, alphas] = &mut **executors;
                run(alphas, net, variables, alpha_batch)?;
                update_alphas(alphas, variables)?;
                run(weights, net, variables, &train)?;
                update_weights(weights, variables)?;
                report(weights, net, &train)
            }
        }
    }

    fn finish_epoch(&mut self, epoch: usize, reporter: &mut dyn Reporter) -> Result<Map<String, Value>, TrainError> {
        let stage = self.stage(epoch);
        if stage == Stage::Hypernetwork {
            // Scored on an architecture that no step has just adapted to.
            self.draw_alphas(self.data.streams.at("search/alpha_validation", epoch, 0))?;
        }
        let recalibration = self.data.train.in_order(self.settings.recalibration_images)?;
        self.evaluator.recalibrate(&mut self.learner.variables, recalibration)?;
        let validation = self.data.validation.in_order(self.settings.validation_images)?;
        let accuracy =
            self.evaluator.score(&mut self.learner.variables, watched(reporter, "search: validation batch", validation))?.accuracy();
        let name = match stage {
            Stage::Hypernetwork => "hypernetwork",
            Stage::BasicSearch => "basic-search",
            Stage::CrossSearch => "cross-search",
        };
        let mut metrics = Map::new();
        metrics.insert("stage".into(), name.into());
        metrics.insert("validation_accuracy".into(), accuracy.into());
        if stage != Stage::Hypernetwork {
            let probabilities = self.probabilities()?.concat();
            metrics.insert("alpha_entropy".into(), relative_entropy(&probabilities, self.space.width()).into());
            let genotype = self.discretize().map_err(|e| TrainError::Settings(e.to_string()))?;
            let pairs = || genotype.cells.iter().flat_map(|cell| cell.nodes.iter().flatten());
            let identities = pairs().filter(|pair| pair.op == Operation::Identity).count();
            metrics.insert("identity_share".into(), (identities as f64 / pairs().count() as f64).into());
        }
        Ok(metrics)
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        self.learner.save(checkpoint)
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<(), TrainError> {
        self.learner.restore(checkpoint, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::black_images;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn settings(stages: [usize; 4], alpha_data: AlphaData) -> SearchSettings {
        let [hypernetwork_epochs, cross_search_start, cross_search_end, epochs] = stages;
        SearchSettings { hypernetwork_epochs, cross_search_start, cross_search_end, epochs, batch: 8, alpha_data, ..Default::default() }
    }

    #[test]
    fn the_largest_stage_decides_however_late_it_comes() {
        let data = black_images(64);
        let space = IntensiveSpace::random(3, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let planned = |stages, alpha_data| search_bytes(&settings(stages, alpha_data), &space, &data).unwrap().host;
        let basic = planned([0, 4, 4, 4], AlphaData::Train);
        let cross = planned([0, 3, 4, 4], AlphaData::Train);
        assert!(basic < cross, "{basic} without gradients of the weights, {cross} with them");
        assert_eq!(cross, planned([1, 2, 3, 4], AlphaData::Train), "the order of the stages makes no difference");
        let both_halves = planned([0, 4, 4, 4], AlphaData::Validation);
        assert_eq!(both_halves, basic + data.with_batch(8, 16).validation.bytes_in_flight());
        assert_eq!(data.device.working_bytes(), 0, "nothing is left of the plans");
    }
}
