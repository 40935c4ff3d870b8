use std::path::Path;

use adwp_data::DataError;
use adwp_engine::optim::{clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, Feed, NodeId, Program, Variables};
use adwp_models::{
    Dropped, Genotype, Hypernetwork, HypernetworkOptions, IntensiveSpace, Limit, ModelError, NODES,
};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, MemoryPlan, Need, Phase, Reporter, StepReport,
    TrainError, correct_predictions, first_not_finite, labels_as_floats, require_finite, run_phase,
    schedule, store_images, stored_bytes, watched,
};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::{Map, Value};

use crate::alpha::{relative_entropy, softmax_rows};
use crate::architecture::{self, Shares};
use crate::bilevel::{self, Learner};
use crate::{AlphaData, Data, Finished, Result, SearchSettings};

/// Trains the HyperNetwork and searches with it (Algorithm 1); gives the discrete architecture.
///
/// `limits` hold for the architecture: what its network, that of [`Data::target`], may take. They
/// are part of what α lowers, and decide which pairs are kept in the end.
///
/// # Errors
/// Settings that cannot be, limits that no architecture of the space keeps, and what the training
/// loop meets.
pub fn search(
    settings: &SearchSettings,
    space: &IntensiveSpace,
    limits: &[Limit],
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<Genotype>> {
    let mut phase = SearchPhase::new(settings, space, limits, data)?;
    // Told before hours of training, not after them.
    phase.discretize(&vec![vec![1.0; NODES * space.width()]; data.target.cells])?;
    let outcome = run_phase(&mut phase, context)?;
    Finished::from_outcome(outcome, || {
        let genotype = phase.discretize(&phase.probabilities()?)?;
        if let Some(collapse) = Shares::of(&genotype).collapse() {
            context.reporter.message(&format!(
                "search: collapsed: {collapse}; --identity-dropout \
            and --early-stop act against that"
            ));
        }
        Ok(genotype)
    })
}

/// Bytes that [`search`] holds at its peak beside the images; nothing of it is taken to tell.
pub fn search_bytes(
    settings: &SearchSettings,
    space: &IntensiveSpace,
    limits: &[Limit],
    data: &Data,
) -> Result<Need> {
    Ok(SearchPhase::new(settings, space, limits, data)?.planned_bytes()?)
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
            Self::Weights(executor) | Self::Alphas(executor) | Self::Joint(executor) => {
                executor.own_bytes()
            }
            Self::Separate(executors) => executors.iter().map(Executor::own_bytes).sum(),
        }
    }
}

pub(crate) struct SearchPhase {
    settings: SearchSettings,
    space: IntensiveSpace,
    data: Data,
    steps_per_epoch: usize,
    limits: Vec<Limit>,
    /// Where it ends: before α learns, or with everything done.
    pub(crate) last_epoch: usize,
    pub(crate) net: Hypernetwork,
    pub(crate) learner: Learner,
    weights: Vec<NodeId>,
    alphas: Vec<NodeId>,
    /// The architecture of the last epoch in which α learned, and for how many epochs it has been
    /// the same.
    found: Option<(Genotype, usize)>,
    /// The steps of the current stage; compiled when the stage begins, so that only one stage's
    /// buffers exist.
    steps: Option<(Stage, Steps)>,
    evaluator: Evaluator,
}

impl SearchPhase {
    pub(crate) fn new(
        settings: &SearchSettings,
        space: &IntensiveSpace,
        limits: &[Limit],
        data: &Data,
    ) -> Result<Self> {
        settings.validate_for(space)?;
        let mut data = data.with_batch(settings.batch, settings.channels);
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        let options = settings.hypernetwork();
        let mut net = Hypernetwork::build(space, &data.skeleton, settings.batch, options)?;
        for limit in limits {
            net.limit(limit, settings.keep, settings.limit_strength)?;
        }
        let complete = HypernetworkOptions { dropped: Dropped::Nothing, ..options };
        let scored = Hypernetwork::build(space, &data.skeleton, settings.batch, complete)?;
        let decays = (settings.momentum, settings.weight_decay);
        let learner = Learner::new(decays, settings.alpha_weight_decay);
        Ok(Self {
            evaluator: Evaluator::new(&scored.graph, scored.images, scored.logits, &data.device)?,
            steps_per_epoch: bilevel::steps(&data)?,
            weights: net.weights(),
            alphas: net.live_alphas(),
            settings: settings.clone(),
            space: space.clone(),
            limits: limits.to_vec(),
            last_epoch: settings.epochs,
            found: None,
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
        let executor = |objective: NodeId, trainable: &[NodeId]| -> Result<Executor, TrainError> {
            // The loss is told apart from what limits add to it.
            let outputs =
                if objective == net.loss { vec![net.logits] } else { vec![net.logits, net.loss] };
            Ok(Executor::new(
                Program::training(&net.graph, objective, &outputs, trainable)?,
                &self.data.device,
            )?)
        };
        let weights = || executor(net.loss, &self.weights);
        let alphas = || executor(net.objective, &self.alphas);
        Ok(match (stage, self.settings.alpha_data) {
            (Stage::Hypernetwork, _) => Steps::Weights(weights()?),
            (Stage::BasicSearch, _) => Steps::Alphas(alphas()?),
            (Stage::CrossSearch, AlphaData::Train) => {
                Steps::Joint(executor(net.objective, &[&self.weights[..], &self.alphas].concat())?)
            }
            (Stage::CrossSearch, AlphaData::Validation) => {
                Steps::Separate(Box::new([weights()?, alphas()?]))
            }
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
        let softmax = |id: &NodeId| {
            Ok(softmax_rows(
                self.learner.variables.get(&self.net.graph[*id].name)?.data()?,
                self.space.width(),
            ))
        };
        self.net.alphas.iter().map(softmax).collect()
    }

    /// The most probable architecture within the limits.
    fn discretize(&self, probabilities: &[Vec<f32>]) -> Result<Genotype, ModelError> {
        self.space.discretize_within(
            &self.data.target,
            probabilities,
            self.settings.keep,
            &self.limits,
        )
    }

    /// Accuracy on the validation images with the present α, once the BatchNorm statistics are
    /// recomputed on training images.
    pub(crate) fn validate(&mut self, reporter: &mut dyn Reporter) -> Result<f64, TrainError> {
        let recalibration = self.data.train.in_order(self.settings.recalibration_images)?;
        self.evaluator.recalibrate(&mut self.learner.variables, recalibration)?;
        let validation = self.data.validation.in_order(self.settings.validation_images)?;
        let validation = watched(reporter, "search: validation batch", validation);
        Ok(self.evaluator.score(&mut self.learner.variables, validation)?.accuracy())
    }
}

/// What a pass over a batch reads beside the variables.
struct Pass<'a> {
    net: &'a Hypernetwork,
    masks: &'a [Vec<f32>],
    device: &'a Device,
    at: At,
}

impl Pass<'_> {
    /// Forward and backward; a loss that is not finite ends here, before it updates anything.
    fn run(
        &self,
        executor: &mut Executor,
        variables: &mut Variables,
        batch: &Batch,
    ) -> Result<(), TrainError> {
        let net = self.net;
        let labels = labels_as_floats(&batch.labels);
        let mut feeds: Vec<(NodeId, Feed<'_>)> =
            vec![(net.images, batch.feed()), (net.labels, (&labels).into())];
        feeds.extend(net.constants.iter().map(|(id, values)| (*id, values.into())));
        feeds.extend(net.masks.iter().zip(self.masks).map(|(id, mask)| (*id, mask.into())));
        executor.run(variables, &feeds)?;
        let loss = executor.value(net.loss)?[0];
        require_finite(SearchPhase::NAME, self.at, loss, || {
            first_not_finite(&net.graph, variables, &feeds, self.device)
        })
    }
}

/// What a pass gave.
fn report(
    executor: &Executor,
    net: &Hypernetwork,
    batch: &Batch,
) -> Result<StepReport, TrainError> {
    let correct = correct_predictions(&executor.value(net.logits)?, &batch.labels);
    Ok(StepReport { loss: executor.value(net.loss)?[0], images: batch.labels.len(), correct })
}

impl Phase for SearchPhase {
    /// The weights' batch, and one of the other half where α learns from that.
    type Batch = (Batch, Option<Batch>);

    const NAME: &'static str = "search";

    fn epochs(&self) -> usize {
        self.last_epoch
    }

    fn settled(&self) -> Option<String> {
        let epochs = self.settings.early_stop;
        let (_, same) = self.found.as_ref()?;
        (epochs > 0 && *same >= epochs)
            .then(|| format!("the architecture has been the same for {same} epochs"))
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
            // Compiled for nothing but its size, and gone before the next: as when they follow each
            // other.
            let steps = self.compile(stage)?;
            executors = executors.max(steps.own_bytes() + data.device.working_bytes());
        }
        let both_halves = settings.alpha_data == AlphaData::Validation;
        let augmentation = &settings.augmentation;
        let plan = MemoryPlan {
            state: Learner::planned_bytes(&net.graph, &self.weights, &self.alphas),
            executors: executors + self.evaluator.own_bytes(),
            batches: data.train.bytes_in_flight(augmentation)
                + if both_halves { data.validation.bytes_in_flight(augmentation) } else { 0 },
            images: stored_bytes(&[&data.train, &data.validation]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<(), TrainError> {
        self.learner.initialize(&self.net.graph, &self.data, Self::NAME)
    }

    fn batches(
        &self,
        epoch: usize,
        first: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<Self::Batch, DataError>>>, TrainError> {
        let (data, augmentation) = (&self.data, self.settings.augmentation);
        match self.settings.alpha_data {
            AlphaData::Validation => {
                let pairs = bilevel::pairs(data, augmentation, Self::NAME, epoch, first)?;
                Ok(Box::new(
                    pairs.map(|pair| pair.map(|(train, validation)| (train, Some(validation)))),
                ))
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
            (Stage::Hypernetwork, _) => {
                self.draw_alphas(self.data.streams.at("search/alpha", at.epoch, at.step))?
            }
            (_, true) => self.draw_alphas(self.data.streams.once("search/alpha_start"))?,
            (_, false) => {}
        }

        let masks = bilevel::identity_masks(
            &self.data,
            Self::NAME,
            self.settings.identity_dropout,
            at,
            self.settings.epochs,
            self.net.masks.len(),
        );
        let Self {
            net,
            settings,
            data,
            weights,
            alphas,
            learner: Learner { variables, sgd, adam },
            ..
        } = self;
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        let mut update_weights =
            |executor: &Executor, variables: &mut Variables| -> Result<(), TrainError> {
                let mut gradients = gradients(executor, variables, weights)?;
                clip_gradient_norm(&mut gradients, settings.clip, &data.device)?;
                Ok(sgd.step(variables, &gradients, rate, &data.device)?)
            };
        let mut update_alphas =
            |executor: &Executor, variables: &mut Variables| -> Result<(), TrainError> {
                let gradients = gradients(executor, variables, alphas)?;
                Ok(adam.step(variables, &gradients, settings.alpha_rate, &data.device)?)
            };
        let pass = Pass { net, masks: &masks, device: &data.device, at };
        let alpha_batch = validation.as_ref().unwrap_or(&train);
        let (_, steps) = self.steps.as_mut().expect("compiled above");
        match steps {
            Steps::Weights(executor) => {
                pass.run(executor, variables, &train)?;
                update_weights(executor, variables)?;
                report(executor, net, &train)
            }
            Steps::Alphas(executor) => {
                pass.run(executor, variables, alpha_batch)?;
                update_alphas(executor, variables)?;
                report(executor, net, alpha_batch)
            }
            Steps::Joint(executor) => {
                pass.run(executor, variables, &train)?;
                update_alphas(executor, variables)?;
                update_weights(executor, variables)?;
                report(executor, net, &train)
            }
            Steps::Separate(executors) => {
                let [weights, alphas] = &mut **executors;
                pass.run(alphas, variables, alpha_batch)?;
                update_alphas(alphas, variables)?;
                pass.run(weights, variables, &train)?;
                update_weights(weights, variables)?;
                report(weights, net, &train)
            }
        }
    }

    fn finish_epoch(
        &mut self,
        epoch: usize,
        reporter: &mut dyn Reporter,
    ) -> Result<Map<String, Value>, TrainError> {
        let stage = self.stage(epoch);
        if stage == Stage::Hypernetwork {
            // Scored on an architecture that no step has just adapted to.
            self.draw_alphas(self.data.streams.at("search/alpha_validation", epoch, 0))?;
        }
        let accuracy = self.validate(reporter)?;
        let name = match stage {
            Stage::Hypernetwork => "hypernetwork",
            Stage::BasicSearch => "basic-search",
            Stage::CrossSearch => "cross-search",
        };
        let mut metrics = Map::new();
        metrics.insert("stage".into(), name.into());
        metrics.insert("validation_accuracy".into(), accuracy.into());
        if stage != Stage::Hypernetwork {
            let probabilities = self.probabilities()?;
            metrics.insert(
                "alpha_entropy".into(),
                relative_entropy(&probabilities.concat(), self.space.width()).into(),
            );
            let genotype =
                self.discretize(&probabilities).map_err(|e| TrainError::Settings(e.to_string()))?;
            let mut described = architecture::metrics(&genotype, &self.data.target)
                .map_err(|e| TrainError::Settings(e.to_string()))?;
            metrics.append(&mut described);
            metrics.insert("probabilities".into(), probabilities.into());
            let same = self
                .found
                .take()
                .filter(|(last, _)| *last == genotype)
                .map_or(0, |(_, same)| same + 1);
            self.found = Some((genotype, same));
        }
        Ok(metrics)
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        self.learner.save(checkpoint)?;
        checkpoint.values.insert(
            "found".into(),
            serde_json::to_value(&self.found).expect("architectures and numbers print as JSON"),
        );
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<(), TrainError> {
        self.learner.restore(checkpoint, path)?;
        self.found = checkpoint.value("found", path)?;
        Ok(())
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
        SearchSettings {
            hypernetwork_epochs,
            cross_search_start,
            cross_search_end,
            epochs,
            batch: 8,
            alpha_data,
            ..Default::default()
        }
    }

    #[test]
    fn the_largest_stage_decides_however_late_it_comes() {
        let data = black_images(64);
        let space = IntensiveSpace::random(3, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let planned = |stages, alpha_data| {
            search_bytes(&settings(stages, alpha_data), &space, &[], &data).unwrap().host
        };
        let basic = planned([0, 4, 4, 4], AlphaData::Train);
        let cross = planned([0, 3, 4, 4], AlphaData::Train);
        assert!(basic < cross, "{basic} without gradients of the weights, {cross} with them");
        assert_eq!(
            cross,
            planned([1, 2, 3, 4], AlphaData::Train),
            "the order of the stages makes no difference"
        );
        let both_halves = planned([0, 4, 4, 4], AlphaData::Validation);
        assert_eq!(
            both_halves,
            basic
                + data
                    .with_batch(8, 16)
                    .validation
                    .bytes_in_flight(&SearchSettings::default().augmentation)
        );
        assert_eq!(data.device.working_bytes(), 0, "nothing is left of the plans");
    }
}
