use std::path::Path;

use adwp_engine::optim::{Adam, Gradient, Optimizer, Sgd};
use adwp_engine::{Device, NodeId, Variables};
use adwp_models::{Choices, Heads, Space};
use adwp_train::{
    At, Batch, Checkpoint, Context, Finished, Need, Pass, Phase, PhaseBatches, Reporter,
    StepReport, Trainer, Update, run_phase, schedule,
};
use serde_json::{Map, Value};

use super::graph::{Topology, Vocabulary};
use super::network::{GraphNetwork, Predicted};
use crate::one_shot::{SharedWeights, TrainedNet};
use crate::{Data, Result, SearchError, SearchSettings};
use crate::{bilevel, momentum};

/// Learning rate of the graph network, halved after half and after three quarters of the epochs
/// (Zhang et al., 2019, section 5).
const RATE: f32 = 1e-3;
/// Decay of Adam's moments.
const BETAS: (f32, f32) = (0.9, 0.999);
/// Passes along the topology and back. GHN-2 has one; more of them take as many times as long.
const PASSES: usize = 1;

/// Trains a graph network to predict the weights of the convolutions of every candidate (Zhang et
/// al., Graph HyperNetworks for Neural Architecture Search, 2019): every step draws an architecture
/// evenly, and the loss of its network with predicted weights is followed back into the graph
/// network. What no candidate owns, and BatchNorms, have weights of their own, which all
/// architectures share.
///
/// Epochs, images and augmentation are those in which shared weights are trained.
///
/// # Errors
/// Settings that cannot be, a space without convolutions, and what the training loop meets.
pub(crate) fn train_ghn<'a>(
    settings: &SearchSettings,
    space: &'a dyn Space,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<PredictedByGraph<'a>>> {
    let mut phase = GhnPhase::new(settings, space, data)?;
    run_phase(&mut phase, context)?.try_map(|()| Ok(phase.predicted))
}

/// A trained graph network, and the variables that it does not predict, which architectures share.
pub(crate) struct PredictedByGraph<'a> {
    network: GraphNetwork,
    /// The variables are the graph network's too, and room for what it predicts.
    shared: SharedWeights<'a>,
}

impl PredictedByGraph<'_> {
    /// Accuracy of an architecture on the validation images with predicted weights, once its
    /// BatchNorm statistics are recomputed on training images.
    ///
    /// # Errors
    /// An architecture that is not of the space, images that cannot be read, a device that fails.
    pub(crate) fn score(&self, choices: &Choices) -> Result<f64> {
        self.shared.score_with(choices, |net, variables| {
            let topology = self.network.topology(net);
            let predicted = self.network.predict(&self.shared.variables, &topology)?;
            write(&topology, &predicted, variables)
        })
    }
}

/// Puts predicted weights into their variables.
fn write(topology: &Topology, predicted: &Predicted, variables: &mut Variables) -> Result<()> {
    for (i, weight) in topology.weights.iter().enumerate() {
        variables.get_mut(&weight.name)?.copy_from_slice(&predicted.values(i)?);
    }
    Ok(())
}

struct GhnPhase<'a> {
    epochs: usize,
    steps: usize,
    widest: TrainedNet,
    /// Never run: for its sake the working memory stays taken between steps.
    reserved: Trainer,
    predicted: PredictedByGraph<'a>,
    /// For the graph network.
    adam: Adam,
    /// For what architectures share.
    sgd: Sgd,
}

impl<'a> GhnPhase<'a> {
    fn new(settings: &SearchSettings, space: &'a dyn Space, data: &Data) -> Result<Self> {
        let shared = SharedWeights::new(settings, space, data)?;
        let widest = space.build(&space.widest(), settings.batch, Some(Heads::PLAIN))?;
        let network = GraphNetwork::new(Vocabulary::of(&widest)?, PASSES);
        let widest = TrainedNet::of(widest);
        Ok(Self {
            reserved: widest.trainer(Self::NAME, &shared.data.device)?,
            epochs: settings.hypernetwork_epochs,
            steps: bilevel::steps(&shared.data)?,
            adam: Adam::new(BETAS, 0.0),
            sgd: Sgd::new(settings.momentum, settings.weight_decay),
            widest,
            predicted: PredictedByGraph { network, shared },
        })
    }

    /// An architecture drawn evenly.
    fn draw(&self, purpose: &str, at: At) -> Choices {
        let SharedWeights { space, data, .. } = &self.predicted.shared;
        space.sample(&mut data.streams.at(purpose, at.epoch, at.step))
    }

    fn rate(&self, epoch: usize) -> f32 {
        match epoch * 4 / self.epochs.max(1) {
            0 | 1 => RATE,
            2 => RATE / 2.0,
            _ => RATE / 4.0,
        }
    }
}

impl Phase for GhnPhase<'_> {
    type Batch = Batch;
    type Error = SearchError;

    const NAME: &'static str = "ghn";

    fn epochs(&self) -> usize {
        self.epochs
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn device(&self) -> &Device {
        &self.predicted.shared.data.device
    }

    fn planned_bytes(&self) -> Result<Need> {
        let PredictedByGraph { network, shared } = &self.predicted;
        // Adam keeps two values beside each, and a pass holds them and their gradients.
        Ok(shared.need(&self.widest, &self.reserved, 5 * network.bytes()))
    }

    fn initialize(&mut self) -> Result<()> {
        let PredictedByGraph { network, shared: SharedWeights { data, variables, .. } } =
            &mut self.predicted;
        variables.initialize(&self.widest.graph, &mut data.streams.once("ghn/weights"))?;
        network.initialize(variables, &mut data.streams.once("ghn/network"))
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Batch>> {
        self.predicted.shared.batches(Self::NAME, epoch, first)
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport> {
        let choices = self.draw("ghn/architecture", at);
        let network_rate = self.rate(at.epoch);
        let PredictedByGraph { network, shared } = &mut self.predicted;
        let SharedWeights { space, settings, data, variables } = shared;
        let net = space.build(&choices, settings.batch, Some(Heads::PLAIN))?;
        let topology = network.topology(&net);
        let predicted = network.predict(variables, &topology)?;
        write(&topology, &predicted, variables)?;
        let net = TrainedNet::of(net);
        let generated: Vec<NodeId> = topology.weights.iter().map(|w| w.parameter).collect();
        let own = net.parameters.iter().copied().filter(|id| !generated.contains(id));
        let own: Vec<NodeId> = own.collect();
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        let clip = Some(settings.clip);
        let update = Update { parameters: &own, optimizer: &mut self.sgd, rate, clip };
        let pass = Pass { at, batch: &batch, feeds: &[] };
        let mut trainer = net.trainer(Self::NAME, &data.device)?;
        let (report, gradients) =
            trainer.step_with_gradients(pass, variables, &mut [update], &generated)?;
        let mut gradients = predicted.gradients(gradients)?;
        clip_norm(&mut gradients, settings.clip);
        let positions = network.positions(variables)?;
        let gradients: Vec<Gradient<'_>> =
            positions.into_iter().zip(&gradients).map(|(p, g)| Gradient::new(p, g)).collect();
        self.adam.step(variables, &gradients, network_rate, &data.device)?;
        Ok(report)
    }

    fn finish_epoch(&mut self, epoch: usize, _: &mut dyn Reporter) -> Result<Map<String, Value>> {
        let choices = self.draw("ghn/validation", At { epoch, step: 0 });
        let accuracy = self.predicted.score(&choices)?;
        Ok(Map::from_iter([("validation_accuracy".to_owned(), accuracy.into())]))
    }

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        let variables = &self.predicted.shared.variables;
        checkpoint.put_variables(variables)?;
        momentum::put(checkpoint, &self.sgd, variables)?;
        Ok(checkpoint.put_adam(&self.adam)?)
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
        let variables = &mut self.predicted.shared.variables;
        checkpoint.take_variables(variables, path)?;
        checkpoint.take_adam(&mut self.adam, path)?;
        momentum::take(checkpoint, &mut self.sgd, variables, path)
    }
}

/// Scales gradients down to a norm of at most `most`.
fn clip_norm(gradients: &mut [Vec<f32>], most: f32) {
    let squares: f64 = gradients.iter().flatten().map(|&g| f64::from(g) * f64::from(g)).sum();
    let norm = squares.sqrt() as f32;
    if norm > most {
        gradients.iter_mut().flatten().for_each(|g| *g *= most / norm);
    }
}
