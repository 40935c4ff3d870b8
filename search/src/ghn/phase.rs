use std::path::Path;

use adwp_data::Augmentation;
use adwp_engine::optim::{Adam, Gradient, Optimizer, Sgd};
use adwp_engine::{Device, NodeId, Variables};
use adwp_models::{Choices, Discrete, Heads, Space, Training};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, Finished, MemoryPlan, Need, Pass, Phase,
    PhaseBatches, Ports, Reporter, StepReport, Trainer, Update, memory, run_phase, schedule,
    store_images, stored_bytes,
};
use serde_json::{Map, Value};

use super::graph::Vocabulary;
use super::network::GraphNetwork;
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

/// A trained graph network.
pub(crate) struct PredictedByGraph<'a> {
    space: &'a dyn Space,
    settings: SearchSettings,
    data: Data,
    network: GraphNetwork,
    /// The graph network's, those that architectures share, and room for those that are predicted.
    variables: Variables,
}

impl PredictedByGraph<'_> {
    /// Accuracy of an architecture on the validation images with predicted weights, once its
    /// BatchNorm statistics are recomputed on training images.
    ///
    /// # Errors
    /// An architecture that is not of the space, images that cannot be read, a device that fails.
    pub(crate) fn score(&self, choices: &Choices) -> Result<f64> {
        let Self { space, settings, data, network, variables } = self;
        let net = space.build(choices, settings.batch, None)?;
        let topology = network.topology(&net);
        let predicted = network.predict(variables, &topology)?;
        let mut own = Variables::new();
        for variable in net.graph.variables() {
            own.insert(variables.get(&variable.name)?.clone());
        }
        for (i, weight) in topology.weights.iter().enumerate() {
            own.get_mut(&weight.name)?.copy_from_slice(&predicted.values(i)?);
        }
        let mut evaluator = Evaluator::new(&net.graph, net.images, net.logits, &data.device)?;
        evaluator.recalibrate(&mut own, data.train.in_order(settings.recalibration_images)?)?;
        Ok(evaluator
            .score(&mut own, data.validation.in_order(settings.validation_images)?)?
            .accuracy())
    }
}

struct GhnPhase<'a> {
    epochs: usize,
    steps: usize,
    widest: Discrete,
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
        settings.validate()?;
        let mut data = data.with_batch(settings.batch, settings.channels);
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        let widest = space.build(&space.widest(), settings.batch, Some(HEADS))?;
        let parameters: Vec<NodeId> = widest.graph.parameters().collect();
        let network = GraphNetwork::new(Vocabulary::of(&widest)?, PASSES);
        Ok(Self {
            reserved: trainer(&widest, &parameters, &data.device)?,
            epochs: settings.hypernetwork_epochs,
            steps: bilevel::steps(&data)?,
            adam: Adam::new(BETAS, 0.0),
            sgd: Sgd::new(settings.momentum, settings.weight_decay),
            widest,
            predicted: PredictedByGraph {
                space,
                settings: settings.clone(),
                data,
                network,
                variables: Variables::new(),
            },
        })
    }

    /// An architecture drawn evenly.
    fn draw(&self, purpose: &str, at: At) -> Choices {
        let PredictedByGraph { space, data, .. } = &self.predicted;
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

/// What architectures are trained with.
const HEADS: Heads = Heads { auxiliary: 0.0, drop_path: false, dropout: false, smoothing: 0.0 };

fn trainer(net: &Discrete, trainable: &[NodeId], device: &Device) -> Result<Trainer> {
    let Discrete { images, logits, training, .. } = net;
    let Training { labels, loss, .. } = training.as_ref().expect("built with heads");
    let ports =
        Ports { images: *images, labels: *labels, logits: *logits, loss: *loss, objective: *loss };
    Ok(Trainer::new(GhnPhase::NAME, &net.graph, ports, trainable, device)?)
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
        &self.predicted.data.device
    }

    fn planned_bytes(&self) -> Result<Need> {
        let PredictedByGraph { settings, data, network, .. } = &self.predicted;
        let parameters: Vec<NodeId> = self.widest.graph.parameters().collect();
        let graph = &self.widest.graph;
        // Adam keeps two values beside each, and a pass holds them and their gradients.
        let of_network = 5 * network.bytes();
        let plan = MemoryPlan {
            state: memory::of_variables(graph) + memory::of_nodes(graph, &parameters) + of_network,
            executors: self.reserved.executor().own_bytes() + data.device.working_bytes(),
            batches: data
                .train
                .bytes_in_flight(&settings.augmentation)
                .max(data.validation.bytes_in_flight(&Augmentation::NONE)),
            images: stored_bytes(&[&data.train, &data.validation]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<()> {
        let PredictedByGraph { data, variables, network, .. } = &mut self.predicted;
        variables.initialize(&self.widest.graph, &mut data.streams.once("ghn/weights"))?;
        network.initialize(variables, &mut data.streams.once("ghn/network"))
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Batch>> {
        let PredictedByGraph { settings, data, .. } = &self.predicted;
        let batches =
            bilevel::train_batches(data, settings.augmentation, Self::NAME, epoch, first)?;
        Ok(Box::new(batches.take(self.steps.saturating_sub(first))))
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport> {
        let choices = self.draw("ghn/architecture", at);
        let network_rate = self.rate(at.epoch);
        let PredictedByGraph { space, settings, data, network, variables } = &mut self.predicted;
        let net = space.build(&choices, settings.batch, Some(HEADS))?;
        let topology = network.topology(&net);
        let predicted = network.predict(variables, &topology)?;
        for (i, weight) in topology.weights.iter().enumerate() {
            variables.get_mut(&weight.name)?.copy_from_slice(&predicted.values(i)?);
        }
        // What the loss does not depend on has no gradient.
        let loss = net.training.as_ref().expect("built with heads").loss;
        let live = net.graph.ancestors(&[loss]);
        let all: Vec<NodeId> = net.graph.parameters().filter(|id| live[id.index()]).collect();
        let generated: Vec<NodeId> = topology.weights.iter().map(|w| w.parameter).collect();
        let shared: Vec<NodeId> =
            all.iter().copied().filter(|id| !generated.contains(id)).collect();
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        let clip = Some(settings.clip);
        let update = Update { parameters: &shared, optimizer: &mut self.sgd, rate, clip };
        let pass = Pass { at, batch: &batch, feeds: &[] };
        let mut trainer = trainer(&net, &all, &data.device)?;
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
        checkpoint.put_variables(&self.predicted.variables)?;
        momentum::put(checkpoint, &self.sgd, &self.predicted.variables)?;
        for (name, slots) in self.adam.state()? {
            checkpoint.put_slots(name, &slots);
        }
        checkpoint.values.insert("adam_steps".into(), self.adam.steps().into());
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
        checkpoint.take_variables(&mut self.predicted.variables, path)?;
        let steps = checkpoint.value("adam_steps", path)?;
        self.adam.restore(steps, |name| checkpoint.take_slots(name));
        momentum::take(checkpoint, &mut self.sgd, &self.predicted.variables, path)
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
