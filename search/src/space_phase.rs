use std::path::Path;

use adwp_engine::{Device, Feed, NodeId};
use adwp_models::{
    CellGenotype, CellKind, Dropped, Genotype, IntensiveSpace, ModelError, Operation, Relaxed,
    RelaxedAlphas, Skeleton, stability,
};
use adwp_train::{
    At, Checkpoint, Context, Evaluator, Finished, MemoryPlan, Need, Pass, Phase, PhaseBatches,
    Ports, Reporter, StepReport, Trainer, run_phase, schedule, store_images, stored_bytes, watched,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::alpha::{relative_entropy, softmax_rows};
use crate::architecture;
use crate::bilevel::{self, Learner, Learns, Pair, Rates};
use crate::{Data, Result, SearchError, SpaceSettings};

/// Derives the intensive space: first-order bilevel training of the relaxation, and the space of
/// highest superiority on the way (section 3.1.2).
pub fn derive_space(
    settings: &SpaceSettings,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<IntensiveSpace>> {
    settings.validate()?;
    let mut phase = SpacePhase::new(settings, data.with_batch(settings.batch, settings.channels))?;
    run_phase(&mut phase, context)?.try_map(|()| {
        let best = phase.best.expect(
            "settings have more epochs than the superiority looks back, so one space was scored",
        );
        Ok(best.space)
    })
}

/// Bytes that [`derive_space`] will hold at its peak in addition to the images; takes none of them.
pub fn space_bytes(settings: &SpaceSettings, data: &Data) -> Result<Need> {
    SpacePhase::new(settings, data.with_batch(settings.batch, settings.channels))?.planned_bytes()
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
    weight_step: Trainer,
    alpha_step: Trainer,
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
        let RelaxedAlphas { normal, reduction } = net.alphas;
        let learner = Learner::new(
            net.weights(),
            vec![normal, reduction],
            Rates {
                momentum: settings.momentum,
                weight_decay: settings.weight_decay,
                clip: settings.clip,
                alpha_rate: settings.alpha_rate,
                alpha_weight_decay: settings.alpha_weight_decay,
            },
        );
        let Relaxed { images, labels, logits, loss, .. } = net;
        let ports = Ports { images, labels, logits, loss, objective: loss };
        let trainer =
            |nodes: &[_]| Trainer::new(Self::NAME, &net.graph, ports, nodes, &data.device);
        Ok(Self {
            weight_step: trainer(&learner.weights)?,
            alpha_step: trainer(&learner.alphas)?,
            evaluator: Evaluator::new(&scored.graph, scored.images, scored.logits, &data.device)?,
            steps: bilevel::steps(&data)?,
            settings: settings.clone(),
            data,
            net,
            learner,
            recent: Vec::new(),
            best: None,
            unchanged: 0,
        })
    }

    /// Softmax over the operations of each edge: of normal, then of reduction cells.
    fn probabilities(&self) -> Result<[Vec<f32>; 2]> {
        let softmax = |id: NodeId| -> Result<Vec<f32>> {
            let alpha = self.learner.variables.get(&self.net.graph[id].name)?.data()?;
            Ok(softmax_rows(alpha, Operation::ALL.len()))
        };
        let RelaxedAlphas { normal, reduction } = self.net.alphas;
        Ok([softmax(normal)?, softmax(reduction)?])
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

impl Phase for SpacePhase {
    type Batch = Pair;
    type Error = SearchError;

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

    fn planned_bytes(&self) -> Result<Need> {
        let Self { settings, net, data, weight_step, alpha_step, evaluator, .. } = self;
        let plan = MemoryPlan {
            state: self.learner.planned_bytes(&net.graph),
            executors: weight_step.executor().own_bytes()
                + alpha_step.executor().own_bytes()
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

    fn initialize(&mut self) -> Result<()> {
        Ok(self.learner.initialize(&self.net.graph, &self.data, Self::NAME)?)
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Pair>> {
        Ok(Box::new(bilevel::pairs(
            &self.data,
            self.settings.augmentation,
            Self::NAME,
            epoch,
            first,
        )?))
    }

    fn step(&mut self, at: At, (train, validation): Self::Batch) -> Result<StepReport> {
        let count = self.net.masks.len();
        let masks = bilevel::identity_masks(
            &self.data,
            Self::NAME,
            self.settings.identity_dropout,
            at,
            self.settings.epochs,
            count,
        );
        let feeds: Vec<(NodeId, Feed<'_>)> =
            self.net.masks.iter().zip(&masks).map(|(id, mask)| (*id, mask.into())).collect();
        let pass = |batch| Pass { at, batch, feeds: &feeds };
        let SpaceSettings { rate, rate_last, epochs, .. } = self.settings;
        let rate = schedule::cosine(rate, rate_last, at.epoch, epochs);
        let Self { learner, alpha_step, weight_step, .. } = self;
        learner.step(alpha_step, pass(&validation), Learns::Alphas, rate)?;
        Ok(learner.step(weight_step, pass(&train), Learns::Weights, rate)?)
    }

    fn finish_epoch(
        &mut self,
        epoch: usize,
        reporter: &mut dyn Reporter,
    ) -> Result<Map<String, Value>> {
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
        )?;

        let mut metrics = Map::new();
        metrics.insert("validation_accuracy".into(), accuracy.into());
        let entropy = relative_entropy(&[&normal[..], &reduction].concat(), Operation::ALL.len());
        metrics.insert("alpha_entropy".into(), entropy.into());
        let genotype = most_probable(&normal, &reduction, &self.data.target)?;
        metrics.append(&mut architecture::metrics(&genotype, &self.data.target)?);
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

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.learner.save(checkpoint)?;
        let printed =
            |value: serde_json::Result<Value>| value.expect("spaces and numbers print as JSON");
        checkpoint.values.insert("recent".into(), printed(serde_json::to_value(&self.recent)));
        checkpoint.values.insert("best".into(), printed(serde_json::to_value(&self.best)));
        checkpoint.values.insert("unchanged".into(), self.unchanged.into());
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
        self.learner.restore(&self.net.graph, checkpoint, path)?;
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
        let (weights, alphas) = (
            phase.weight_step.executor().working_bytes(),
            phase.alpha_step.executor().working_bytes(),
        );
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
