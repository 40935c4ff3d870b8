use std::path::Path;

use adwp_data::DataError;
use adwp_engine::optim::{clip_gradient_norm, gradients};
use adwp_engine::{Device, Executor, Feed, NodeId, Program, Variables};
use adwp_models::{
    CellGenotype, CellKind, Dropped, Genotype, IntensiveSpace, ModelError, Operation, Relaxed,
    RelaxedAlphas, Skeleton, stability,
};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, MemoryPlan, Need, Phase, Reporter, StepReport,
    TrainError, correct_predictions, first_not_finite, labels_as_floats, require_finite, run_phase,
    schedule, store_images, stored_bytes, watched,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::alpha::{relative_entropy, softmax_rows};
use crate::architecture;
use crate::bilevel::{self, Learner, Pair};
use crate::{Data, Finished, Result, SpaceSettings};

/// Derives the intensive space: first-order bilevel training of the relaxation, and the space of
/// highest superiority on the way (section 3.1.2).
pub fn derive_space(
    settings: &SpaceSettings,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<IntensiveSpace>> {
    settings.validate()?;
    let mut phase = SpacePhase::new(settings, data.with_batch(settings.batch, settings.channels))?;
    let outcome = run_phase(&mut phase, context)?;
    Finished::from_outcome(outcome, || {
        let best = phase.best.expect(
            "settings have more epochs than the superiority looks back, so one space was scored",
        );
        Ok(best.space)
    })
}

/// Bytes that [`derive_space`] holds at its peak beside the images; nothing of it is taken to tell.
pub fn space_bytes(settings: &SpaceSettings, data: &Data) -> Result<Need> {
    Ok(SpacePhase::new(settings, data.with_batch(settings.batch, settings.channels))?
        .planned_bytes()?)
}

/// The space of one epoch and the accuracy of the relaxation then.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct EpochSpace {
    space: IntensiveSpace,
    accuracy: f64,
}

/// The space of highest superiority so far.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Best {
    space: IntensiveSpace,
    superiority: f64,
    epoch: usize,
}

struct SpacePhase {
    settings: SpaceSettings,
    data: Data,
    steps: usize,
    net: Relaxed,
    learner: Learner,
    weights: Vec<NodeId>,
    alphas: Vec<NodeId>,
    weight_step: Executor,
    alpha_step: Executor,
    evaluator: Evaluator,
    /// The last epochs, as many as the superiority looks back.
    recent: Vec<EpochSpace>,
    best: Option<Best>,
    /// For how many epochs the space has been the same.
    unchanged: usize,
}

impl SpacePhase {
    fn new(settings: &SpaceSettings, mut data: Data) -> Result<Self> {
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        let net = Relaxed::build(&data.skeleton, settings.batch, settings.dropped())?;
        let scored = Relaxed::build(&data.skeleton, settings.batch, Dropped::Nothing)?;
        let decays = (settings.momentum, settings.weight_decay);
        let learner = Learner::new(decays, settings.alpha_weight_decay);
        let weights = net.weights();
        let RelaxedAlphas { normal, reduction } = net.alphas;
        let alphas = vec![normal, reduction];
        let executor = |trainable: &[NodeId]| -> Result<Executor> {
            Ok(Executor::new(
                Program::training(&net.graph, net.loss, &[net.logits], trainable)?,
                &data.device,
            )?)
        };
        Ok(Self {
            weight_step: executor(&weights)?,
            alpha_step: executor(&alphas)?,
            evaluator: Evaluator::new(&scored.graph, scored.images, scored.logits, &data.device)?,
            steps: bilevel::steps(&data)?,
            settings: settings.clone(),
            data,
            net,
            learner,
            weights,
            alphas,
            recent: Vec::new(),
            best: None,
            unchanged: 0,
        })
    }

    /// Softmax over the operations of each edge: of normal, then of reduction cells.
    fn probabilities(&self) -> Result<[Vec<f32>; 2], TrainError> {
        let softmax = |id: NodeId| -> Result<Vec<f32>, TrainError> {
            let alpha = self.learner.variables.get(&self.net.graph[id].name)?.data()?;
            Ok(softmax_rows(alpha, Operation::ALL.len()))
        };
        Ok([softmax(self.alphas[0])?, softmax(self.alphas[1])?])
    }
}

/// The architecture whose nodes sum their two most probable pairs, as the architectures of DARTS
/// do.
fn most_probable(
    normal: &[f32],
    reduction: &[f32],
    target: &Skeleton,
) -> Result<Genotype, ModelError> {
    let cell = |kind| {
        let probabilities = match kind {
            CellKind::Normal => normal,
            CellKind::Reduction => reduction,
        };
        CellGenotype { kind, nodes: IntensiveSpace::derive_cell(probabilities, 2) }
    };
    Genotype::new(target.cells().iter().map(|site| cell(site.kind)).collect())
}

/// S_t = Π over the last epochs of stability · accuracy (equation 3); the last of `epochs` is t.
fn superiority(epochs: &[EpochSpace]) -> Option<f64> {
    let current = epochs.last()?;
    Some(
        epochs
            .iter()
            .map(|epoch| stability(&epoch.space, &current.space) * epoch.accuracy)
            .product(),
    )
}

/// One forward and backward pass over a batch; a loss that is not finite ends here, before it
/// updates anything.
fn run(
    executor: &mut Executor,
    net: &Relaxed,
    variables: &mut Variables,
    batch: &Batch,
    masks: &[Vec<f32>],
    (device, at): (&Device, At),
) -> Result<(), TrainError> {
    let labels = labels_as_floats(&batch.labels);
    let mut feeds: Vec<(NodeId, Feed<'_>)> =
        vec![(net.images, batch.feed()), (net.labels, (&labels).into())];
    feeds.extend(net.masks.iter().zip(masks).map(|(id, mask)| (*id, mask.into())));
    executor.run(variables, &feeds)?;
    require_finite(SpacePhase::NAME, at, executor.value(net.loss)?[0], || {
        first_not_finite(&net.graph, variables, &feeds, device)
    })
}

impl Phase for SpacePhase {
    type Batch = Pair;

    const NAME: &'static str = "space";

    fn epochs(&self) -> usize {
        self.settings.epochs
    }

    fn settled(&self) -> Option<String> {
        let epochs = self.settings.early_stop;
        // The space of an epoch is scored only once there are as many before it as the superiority
        // looks back.
        let is_settled = epochs > 0 && self.unchanged >= epochs && self.best.is_some();
        is_settled.then(|| format!("the space has been the same for {} epochs", self.unchanged))
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn device(&self) -> &Device {
        &self.data.device
    }

    fn planned_bytes(&self) -> Result<Need, TrainError> {
        let Self { settings, net, data, weight_step, alpha_step, evaluator, .. } = self;
        let plan = MemoryPlan {
            state: Learner::planned_bytes(&net.graph, &self.weights, &self.alphas),
            executors: weight_step.own_bytes()
                + alpha_step.own_bytes()
                + evaluator.own_bytes()
                + data.device.working_bytes(),
            batches: [&data.train, &data.validation]
                .map(|images| images.bytes_in_flight(&settings.augmentation))
                .iter()
                .sum(),
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
    ) -> Result<Box<dyn Iterator<Item = Result<Pair, DataError>>>, TrainError> {
        Ok(Box::new(bilevel::pairs(
            &self.data,
            self.settings.augmentation,
            Self::NAME,
            epoch,
            first,
        )?))
    }

    fn step(&mut self, at: At, (train, validation): Self::Batch) -> Result<StepReport, TrainError> {
        let count = self.net.masks.len();
        let masks = bilevel::identity_masks(
            &self.data,
            Self::NAME,
            self.settings.identity_dropout,
            at,
            self.settings.epochs,
            count,
        );
        let Self {
            net,
            settings,
            data: Data { device, .. },
            learner: Learner { variables, sgd, adam },
            ..
        } = self;
        run(&mut self.alpha_step, net, variables, &validation, &masks, (device, at))?;
        let alpha_gradients = gradients(&self.alpha_step, variables, &self.alphas)?;
        adam.step(variables, &alpha_gradients, settings.alpha_rate, device)?;

        run(&mut self.weight_step, net, variables, &train, &masks, (device, at))?;
        let mut weight_gradients = gradients(&self.weight_step, variables, &self.weights)?;
        clip_gradient_norm(&mut weight_gradients, settings.clip, device)?;
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        sgd.step(variables, &weight_gradients, rate, device)?;

        let correct = correct_predictions(&self.weight_step.value(net.logits)?, &train.labels);
        Ok(StepReport {
            loss: self.weight_step.value(net.loss)?[0],
            images: train.labels.len(),
            correct,
        })
    }

    fn finish_epoch(
        &mut self,
        epoch: usize,
        reporter: &mut dyn Reporter,
    ) -> Result<Map<String, Value>, TrainError> {
        let validation = self.data.validation.in_order(self.settings.validation_images)?;
        let accuracy = self
            .evaluator
            .score(
                &mut self.learner.variables,
                watched(reporter, "space: validation batch", validation),
            )?
            .accuracy();
        let [normal, reduction] = self.probabilities()?;
        let k = self.settings.candidates;
        let space = IntensiveSpace::new(
            IntensiveSpace::derive_cell(&normal, k),
            IntensiveSpace::derive_cell(&reduction, k),
        );
        let space = space.map_err(|e| TrainError::Settings(e.to_string()))?;

        let mut metrics = Map::new();
        metrics.insert("validation_accuracy".into(), accuracy.into());
        let entropy = relative_entropy(&[&normal[..], &reduction].concat(), Operation::ALL.len());
        metrics.insert("alpha_entropy".into(), entropy.into());
        let genotype = most_probable(&normal, &reduction, &self.data.target)
            .map_err(|e| TrainError::Settings(e.to_string()))?;
        metrics.append(
            &mut architecture::metrics(&genotype, &self.data.target)
                .map_err(|e| TrainError::Settings(e.to_string()))?,
        );
        metrics.insert("probabilities".into(), json!({ "normal": normal, "reduction": reduction }));
        if let Some(last) = self.recent.last() {
            let stability = stability(&last.space, &space);
            metrics.insert("stability".into(), stability.into());
            self.unchanged = if stability == 1.0 { self.unchanged + 1 } else { 0 };
        }
        self.recent.push(EpochSpace { space: space.clone(), accuracy });
        let first = self.recent.len().saturating_sub(self.settings.backtrack + 1);
        self.recent.drain(..first);
        if self.recent.len() == self.settings.backtrack + 1
            && let Some(superiority) = superiority(&self.recent)
        {
            metrics.insert("superiority".into(), superiority.into());
            if self.best.as_ref().is_none_or(|best| superiority > best.superiority) {
                self.best = Some(Best { space, superiority, epoch });
            }
        }
        if let Some(best) = &self.best {
            metrics.insert("best_epoch".into(), best.epoch.into());
        }
        Ok(metrics)
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        self.learner.save(checkpoint)?;
        let printed =
            |value: serde_json::Result<Value>| value.expect("spaces and numbers print as JSON");
        checkpoint.values.insert("recent".into(), printed(serde_json::to_value(&self.recent)));
        checkpoint.values.insert("best".into(), printed(serde_json::to_value(&self.best)));
        checkpoint.values.insert("unchanged".into(), self.unchanged.into());
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<(), TrainError> {
        self.learner.restore(checkpoint, path)?;
        self.recent = checkpoint.value("recent", path)?;
        self.best = checkpoint.value("best", path)?;
        self.unchanged = checkpoint.value("unchanged", path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::black_images;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn a_phase_that_no_machine_holds_is_planned_at_once() {
        let data = black_images(1 << 14);
        let planned = |batch, channels| {
            space_bytes(&SpaceSettings { batch, channels, ..SpaceSettings::default() }, &data)
                .unwrap()
                .host
        };
        let (small, images, channels) =
            (planned(1 << 6, 4), planned(1 << 13, 4), planned(1 << 6, 1 << 10));
        assert!(images > 20 * small && channels > 200 * small, "{small}, {images}, {channels}");
        assert!(planned(1 << 13, 1 << 14) > 1 << 42);
        assert_eq!(data.device.working_bytes(), 0, "nothing is left of the plans");
    }

    #[test]
    fn the_steps_of_a_phase_share_working_memory() {
        let data = black_images(64).with_batch(4, 2);
        let device = data.device.clone();
        let phase =
            SpacePhase::new(&SpaceSettings { batch: 4, ..SpaceSettings::default() }, data).unwrap();
        let (weights, alphas) =
            (phase.weight_step.working_bytes(), phase.alpha_step.working_bytes());
        let shared = device.working_bytes();
        assert!(
            weights.max(alphas) <= shared && shared < (weights + alphas) * 3 / 4,
            "{weights} and {alphas} share {shared}"
        );
        assert!(phase.planned_bytes().unwrap().host > shared);
        drop(phase);
        assert_eq!(device.working_bytes(), 0);
    }

    #[test]
    fn superiority_is_the_product_of_accuracies_while_nothing_changes() {
        let space = IntensiveSpace::random(6, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let other = IntensiveSpace::random(6, &mut ChaCha8Rng::seed_from_u64(4)).unwrap();
        let epoch =
            |space: &IntensiveSpace, accuracy| EpochSpace { space: space.clone(), accuracy };
        let steady =
            superiority(&[epoch(&space, 0.5), epoch(&space, 0.5), epoch(&space, 1.0)]).unwrap();
        assert_eq!(steady, 0.25);
        let moved =
            superiority(&[epoch(&other, 0.5), epoch(&space, 0.5), epoch(&space, 1.0)]).unwrap();
        assert_eq!(moved, 0.25 * stability(&other, &space));
        assert!(moved < steady);
    }
}
