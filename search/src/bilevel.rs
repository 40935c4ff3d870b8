//! What both phases share: weights learn from one half of the images by SGD, α by Adam.

use std::path::Path;

use adwp_data::{Augmentation, DataError};
use adwp_engine::optim::{Adam, Sgd};
use adwp_engine::{Graph, NodeId, Variables};
use adwp_train::{
    At, Batch, Batches, Checkpoint, Pass, StepReport, TrainError, Trainer, Update, drop_masks,
    memory,
};

use crate::Data;

/// Decay of Adam's moments for α (section 4.2 and DARTS).
const ALPHA_BETAS: (f32, f32) = (0.5, 0.999);

/// A batch of each half, the weights' first.
pub(crate) type Pair = (Batch, Batch);

/// Shuffled, augmented batches of both halves, together.
pub(crate) fn pairs(
    data: &Data,
    augmentation: Augmentation,
    phase: &str,
    epoch: usize,
    first: usize,
) -> Result<impl Iterator<Item = Result<Pair, DataError>> + use<>, TrainError> {
    let train = train_batches(data, augmentation, phase, epoch, first)?;
    let seed = data.streams.seed_for(&format!("{phase}/validation"));
    let validation = data.validation.shuffled(augmentation, seed, epoch, first)?;
    Ok(train.zip(validation).map(|(train, validation)| Ok((train?, validation?))))
}

/// The weights' half of [`pairs`] alone.
pub(crate) fn train_batches(
    data: &Data,
    augmentation: Augmentation,
    phase: &str,
    epoch: usize,
    first: usize,
) -> Result<Batches, TrainError> {
    data.train.shuffled(
        augmentation,
        data.streams.seed_for(&format!("{phase}/train")),
        epoch,
        first,
    )
}

/// Steps of an epoch: as many batches as both halves fill.
pub(crate) fn steps(data: &Data) -> Result<usize, TrainError> {
    Ok(data.train.steps()?.min(data.validation.steps()?))
}

/// The masks of `count` identities at a step. `dropout` is the share of the samples dropped at
/// first; it falls over the epochs as in the code of P-DARTS, which multiplies it with exp(-0.2
/// epoch) over 25 epochs.
pub(crate) fn identity_masks(
    data: &Data,
    phase: &str,
    dropout: f32,
    at: At,
    epochs: usize,
    count: usize,
) -> Vec<Vec<f32>> {
    let rate = dropout * (-5.0 * at.epoch as f32 / epochs.max(1) as f32).exp();
    let mut rng = data.streams.at(&format!("{phase}/identity_dropout"), at.epoch, at.step);
    drop_masks(&mut rng, 1.0 - rate, data.train.batch, count)
}

/// How weights and α learn, as the settings of a phase have it.
pub(crate) struct Rates {
    pub(crate) momentum: f32,
    pub(crate) weight_decay: f32,
    /// Largest norm of the weights' gradient.
    pub(crate) clip: f32,
    pub(crate) alpha_rate: f32,
    pub(crate) alpha_weight_decay: f32,
}

/// Everything that learns, with the history of its optimisers.
pub(crate) struct Learner {
    pub(crate) variables: Variables,
    /// Nodes of the weights and of the α that learn, in the order of the graph.
    pub(crate) weights: Vec<NodeId>,
    pub(crate) alphas: Vec<NodeId>,
    rates: Rates,
    sgd: Sgd,
    adam: Adam,
}

/// What a pass updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learns {
    Weights,
    Alphas,
    /// α before the weights.
    Both,
}

impl Learner {
    /// Without variables yet.
    pub(crate) fn new(weights: Vec<NodeId>, alphas: Vec<NodeId>, rates: Rates) -> Self {
        let sgd = Sgd::new(rates.momentum, rates.weight_decay);
        let adam = Adam::new(ALPHA_BETAS, rates.alpha_weight_decay);
        Self { variables: Variables::new(), weights, alphas, rates, sgd, adam }
    }

    /// One step of `trainer`; `rate` is that of the weights.
    pub(crate) fn step(
        &mut self,
        trainer: &mut Trainer,
        pass: Pass<'_>,
        learns: Learns,
        rate: f32,
    ) -> Result<StepReport, TrainError> {
        let Self { variables, weights, alphas, rates, sgd, adam } = self;
        let weights = Update { parameters: weights, optimizer: sgd, rate, clip: Some(rates.clip) };
        let alphas =
            Update { parameters: alphas, optimizer: adam, rate: rates.alpha_rate, clip: None };
        match learns {
            Learns::Weights => trainer.step(pass, variables, &mut [weights]),
            Learns::Alphas => trainer.step(pass, variables, &mut [alphas]),
            Learns::Both => trainer.step(pass, variables, &mut [alphas, weights]),
        }
    }

    /// One step of `trainer`, whose graph has only some of the weights, for `weights` of that
    /// graph.
    pub(crate) fn step_of(
        &mut self,
        weights: &[NodeId],
        trainer: &mut Trainer,
        pass: Pass<'_>,
        rate: f32,
    ) -> Result<StepReport, TrainError> {
        let Self { variables, rates, sgd, .. } = self;
        let update = Update { parameters: weights, optimizer: sgd, rate, clip: Some(rates.clip) };
        trainer.step(pass, variables, &mut [update])
    }

    /// Draws the variables of `graph`.
    pub(crate) fn initialize(
        &mut self,
        graph: &Graph,
        data: &Data,
        phase: &str,
    ) -> Result<(), TrainError> {
        let Self { variables, weights, sgd, .. } = self;
        variables.initialize(graph, &mut data.streams.once(&format!("{phase}/weights")))?;
        // Of all from the first on, though a step may have only some of the weights.
        let momentum = weights.iter().map(|&id| {
            let node = &graph[id];
            Ok((variables.position(&node.name)?, vec![0.0; node.shape.elements()]))
        });
        sgd.restore(momentum.collect::<Result<Vec<_>, TrainError>>()?);
        Ok(())
    }

    /// Bytes of all that [`Self::save`] stores, once everything has learned.
    pub(crate) fn planned_bytes(&self, graph: &Graph) -> usize {
        memory::of_variables(graph)
            + memory::of_nodes(graph, &self.weights)
            + 2 * memory::of_nodes(graph, &self.alphas)
    }

    pub(crate) fn save(&self, checkpoint: &mut Checkpoint) -> Result<(), TrainError> {
        checkpoint.put_variables(&self.variables)?;
        checkpoint.put_velocity(&self.sgd)?;
        checkpoint.put_adam(&self.adam)
    }

    pub(crate) fn restore(
        &mut self,
        graph: &Graph,
        checkpoint: &mut Checkpoint,
        path: &Path,
    ) -> Result<(), TrainError> {
        checkpoint.take_variables(&mut self.variables, path)?;
        let names = self.weights.iter().map(|&id| &*graph[id].name);
        checkpoint.take_velocity(&mut self.sgd, &self.variables, names, path)?;
        checkpoint.take_adam(&mut self.adam, path)
    }
}
