use std::path::Path;

use adwp_engine::optim::{Adam, Gradient, Sgd};
use adwp_engine::{Device, NodeId, Variables};
use adwp_models::cost::count;
use adwp_models::{ChoiceCosts, Choices, Heads, Space};
use adwp_train::{
    At, Batch, Checkpoint, Context, Finished, Need, Pass, Phase, PhaseBatches, Reporter,
    StepReport, TrainError, Trainer, Update, run_phase, schedule, update,
};
use serde_json::{Map, Value};

use super::graph::{Topology, Vocabulary};
use super::network::{GraphNetwork, Predicted};
use crate::momentum;
use crate::one_shot::{SharedWeights, TrainedNet};
use crate::{Data, Result, SearchError, SearchSettings};

/// Learning rate of the graph network, halved after half and after three quarters of the epochs
/// (Zhang et al., 2019, section 5).
const RATE: f32 = 1e-3;
/// Decay of Adam's moments.
const BETAS: (f32, f32) = (0.9, 0.999);
/// Passes along the topology and back. GHN-2 has one; more of them take as many times as long.
const PASSES: usize = 1;

/// Trains a graph network to predict the weights of the convolutions of every cell (Zhang et al.,
/// Graph HyperNetworks for Neural Architecture Search, 2019): every step draws an architecture
/// evenly, and the loss of its network with predicted weights is followed back into the graph
/// network. Stem and classifier have weights of their own, which all architectures share; the
/// BatchNorms of cells neither scale nor shift.
///
/// `ghn_cells` trains on networks with that many cells (section 5 trains on smaller graphs than it
/// searches).
///
/// Epochs, images and augmentation are those in which shared weights are trained.
///
/// `is_anytime` has a classifier read every cell, and the mean of their losses be the loss; what
/// architectures are scored by is then the area under accuracy against multiply-adds (the anytime prediction of the paper).
///
/// # Errors
/// Settings that cannot be, a space without convolutions, and what the training loop meets.
pub(crate) fn train_ghn<'a>(
    settings: &SearchSettings,
    space: &'a dyn Space,
    is_anytime: bool,
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<PredictedByGraph<'a>>> {
    let mut phase = GhnPhase::new(settings, space, is_anytime, data)?;
    run_phase(&mut phase, context)?.try_map(|()| Ok(phase.predicted))
}

/// A trained graph network, and the variables that it does not predict, which architectures share.
pub(crate) struct PredictedByGraph<'a> {
    network: GraphNetwork,
    /// The variables are the graph network's too, and those of the networks of training.
    shared: SharedWeights<'a>,
    /// Up to how many multiply-adds the area is taken: those of the costliest architecture. `None`
    /// where accuracy alone counts.
    most: Option<f64>,
}

impl PredictedByGraph<'_> {
    /// What networks are built with.
    fn heads(&self) -> Heads {
        Heads { exits: self.most.is_some(), ..Heads::PLAIN }
    }

    /// Accuracy of an architecture on the validation images with predicted weights, once its
    /// BatchNorm statistics are recomputed on training images; or the area.
    ///
    /// # Errors
    /// An architecture that is not of the space, images that cannot be read, a device that fails.
    pub(crate) fn score(&self, choices: &Choices) -> Result<f64> {
        let SharedWeights { space, settings, data, variables } = &self.shared;
        let net = space.build(choices, settings.batch, Some(self.heads()))?;
        // Everything of the cells is predicted or as it is at first.
        let mut own = Variables::new();
        own.initialize(&net.graph, &mut data.streams.once("ghn/weights"))?;
        for id in net.graph.parameters().filter(|id| net.graph[*id].owner.cell().is_none()) {
            own.insert(variables.get(&net.graph[id].name)?.clone());
        }
        let topology = self.network.topology(&net);
        write(&topology, &self.network.predict(variables, &topology)?, &mut own)?;
        let exits = net.training.iter().flat_map(|training| &training.exits).copied();
        let logits: Vec<NodeId> = std::iter::once(net.logits).chain(exits).collect();
        let accuracies = self.shared.accuracies(&net, &logits, own)?;
        let Some(most) = self.most else { return Ok(accuracies[0]) };
        let madds = logits.iter().map(|&id| count(&net.graph.prune(&[id]).0).madds as f64);
        let chance = 1.0 / space.skeleton().classes as f64;
        Ok(area(madds.zip(accuracies).collect(), most, chance))
    }
}

/// The area under accuracy against multiply-adds from 0 to `most`, divided by `most`: the expected
/// accuracy where any number of multiply-adds may be at hand, each as likely as the others. Of the
/// `classifiers`, each with its multiply-adds and its accuracy, the most accurate of those counts
/// that can be afforded; before the first, `chance` does.
fn area(mut classifiers: Vec<(f64, f64)>, most: f64, chance: f64) -> f64 {
    classifiers.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut sum, mut reached, mut accuracy) = (0.0, 0.0, chance);
    for (madds, of_it) in classifiers {
        sum += accuracy * (madds - reached);
        (reached, accuracy) = (madds, of_it.max(accuracy));
    }
    (sum + accuracy * (most - reached)) / most
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
    /// The space of the networks of training, where they are smaller.
    smaller: Option<Box<dyn Space>>,
    /// The network of training with every candidate.
    trained: TrainedNet,
    /// The network with every candidate: no other takes more memory.
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
    fn new(
        settings: &SearchSettings,
        space: &'a dyn Space,
        is_anytime: bool,
        data: &Data,
    ) -> Result<Self> {
        if is_anytime && settings.ghn_cells != 0 {
            let message = "search.ghn_cells must be 0 for classifiers after every cell, which \
                           smaller networks have fewer of";
            return Err(TrainError::Settings(message.into()).into());
        }
        let shared = SharedWeights::new(settings, space, data)?;
        let smaller = match settings.ghn_cells {
            0 => None,
            cells => Some(space.with_cells(cells)?),
        };
        let heads = Heads { exits: is_anytime, ..Heads::PLAIN };
        let build = |space: &dyn Space| space.build(&space.widest(), settings.batch, Some(heads));
        let widest = build(space)?;
        let trained = build(smaller.as_deref().unwrap_or(space))?;
        let vocabulary = Vocabulary::of(&trained)?;
        if let Some(name) = vocabulary.lacks(&Vocabulary::of(&widest)?) {
            return Err(TrainError::Settings(format!(
                "search.ghn_cells = {}: networks of so few cells have no {name} as large as the \
                 networks that are scored",
                settings.ghn_cells
            ))
            .into());
        }
        let network = GraphNetwork::new(vocabulary, PASSES);
        let [trained, widest] = [trained, widest].map(TrainedNet::of);
        Ok(Self {
            smaller,
            trained,
            reserved: widest.trainer(Self::NAME, &shared.data.device)?,
            epochs: settings.hypernetwork_epochs,
            steps: shared.data.train.steps()?,
            adam: Adam::new(BETAS, 0.0),
            sgd: Sgd::new(settings.momentum, settings.weight_decay),
            widest,
            predicted: PredictedByGraph {
                network,
                most: match is_anytime {
                    true => Some(ChoiceCosts::madds(space)?.largest(space)),
                    false => None,
                },
                shared,
            },
        })
    }

    /// The space of the networks of training.
    fn space(&self) -> &dyn Space {
        self.smaller.as_deref().unwrap_or(self.predicted.shared.space)
    }

    /// An architecture drawn evenly.
    fn draw(&self, space: &dyn Space, purpose: &str, at: At) -> Choices {
        let streams = self.predicted.shared.data.streams;
        space.sample(&mut streams.at(purpose, at.epoch, at.step))
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
        let PredictedByGraph { network, shared, .. } = &self.predicted;
        // Adam keeps two values beside each, and a pass holds them and their gradients.
        Ok(shared.need(&self.widest, &self.reserved, 5 * network.bytes()))
    }

    fn initialize(&mut self) -> Result<()> {
        let PredictedByGraph { network, shared: SharedWeights { data, variables, .. }, .. } =
            &mut self.predicted;
        variables.initialize(&self.trained.graph, &mut data.streams.once("ghn/weights"))?;
        network.initialize(variables, &mut data.streams.once("ghn/network"))
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Batch>> {
        self.predicted.shared.batches(Self::NAME, epoch, first)
    }

    fn step(&mut self, at: At, batch: Batch) -> Result<StepReport> {
        let choices = self.draw(self.space(), "ghn/architecture", at);
        let batch_size = self.predicted.shared.settings.batch;
        let net = self.space().build(&choices, batch_size, Some(self.predicted.heads()))?;
        let network_rate = self.rate(at.epoch);
        let PredictedByGraph { network, shared, .. } = &mut self.predicted;
        let SharedWeights { settings, data, variables, .. } = shared;
        let topology = network.topology(&net);
        let predicted = network.predict(variables, &topology)?;
        write(&topology, &predicted, variables)?;
        let net = TrainedNet::of(net);
        let generated: Vec<NodeId> = topology.weights.iter().map(|w| w.parameter).collect();
        let is_own = |id: &NodeId| net.graph[*id].owner.cell().is_none();
        let own: Vec<NodeId> = net.parameters.iter().copied().filter(is_own).collect();
        let rate = schedule::cosine(settings.rate, settings.rate_last, at.epoch, settings.epochs);
        let clip = Some(settings.clip);
        let of_own = Update { parameters: &own, optimizer: &mut self.sgd, rate, clip };
        let pass = Pass { at, batch: &batch, feeds: &[] };
        let mut trainer = net.trainer(Self::NAME, &data.device)?;
        let (report, gradients) =
            trainer.step_with_gradients(pass, variables, &mut [of_own], &generated)?;
        let gradients = predicted.gradients(gradients)?;
        let positions = network.positions(variables)?;
        let gradients =
            positions.into_iter().zip(&gradients).map(|(p, g)| Gradient::new(p, g)).collect();
        update(gradients, variables, &mut self.adam, network_rate, clip, &data.device)?;
        Ok(report)
    }

    fn finish_epoch(&mut self, epoch: usize, _: &mut dyn Reporter) -> Result<Map<String, Value>> {
        let space = self.predicted.shared.space;
        let choices = self.draw(space, "ghn/validation", At { epoch, step: 0 });
        let score = self.predicted.score(&choices)?;
        let name = match self.predicted.most {
            None => "validation_accuracy",
            Some(_) => "validation_area",
        };
        Ok(Map::from_iter([(name.to_owned(), score.into())]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorers::naswot::tests::noise;
    use adwp_data::Augmentation;
    use adwp_models::{Intensive, IntensiveSpace, NasBench201, Skeleton};
    use adwp_train::{Interrupt, Quiet, RunDir, Streams};
    use std::time::Instant;

    fn settings(ghn_cells: usize) -> SearchSettings {
        SearchSettings {
            epochs: 4,
            hypernetwork_epochs: 2,
            cross_search_start: 2,
            cross_search_end: 2,
            batch: 4,
            channels: 2,
            recalibration_images: 8,
            augmentation: Augmentation::NONE,
            ghn_cells,
            ..SearchSettings::default()
        }
    }

    fn space(cells: usize) -> NasBench201 {
        NasBench201::new(Skeleton { channels: 2, cells, ..noise(48).skeleton }).unwrap()
    }

    /// Trains in a folder, or until the first step and then again, until it is done.
    fn train<'a>(
        settings: &SearchSettings,
        space: &'a dyn Space,
        is_anytime: bool,
        is_stopped: bool,
    ) -> Result<PredictedByGraph<'a>> {
        let holder = tempfile::tempdir().unwrap();
        let run = RunDir::create(holder.path()).unwrap();
        let interrupt = Interrupt::default();
        let interrupt =
            if is_stopped { interrupt.with_deadline(Instant::now()) } else { interrupt };
        loop {
            let quiet = &mut Quiet;
            let context = &mut Context { resume: true, ..Context::new(&run, &interrupt, quiet) };
            let trained = train_ghn(settings, space, is_anytime, &noise(48), context)?;
            if let Finished::Done(weights) = trained {
                return Ok(weights);
            }
        }
    }

    #[test]
    fn what_learned_from_small_networks_predicts_the_weights_of_large_ones() {
        let (small, large) = (space(3), space(6));
        let text =
            "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|";
        let choices = large.parse(text).unwrap();
        let whole = train(&settings(3), &large, false, false).unwrap();
        let score = whole.score(&choices).unwrap();
        let pieces = train(&settings(3), &large, false, true).unwrap();
        assert_eq!(whole.shared.variables, pieces.shared.variables);
        assert_eq!(pieces.score(&choices).unwrap(), score);
        // What it learned is what it learns where the small networks are those that are scored.
        let of_small = train(&settings(0), &small, false, false).unwrap();
        assert_eq!(whole.shared.variables, of_small.shared.variables);
        let of_large = train(&settings(0), &large, false, false).unwrap();
        assert_ne!(whole.shared.variables, of_large.shared.variables);

        // Every convolution of a cell is predicted, reductions between stages included.
        let net = large.build(&choices, 4, None).unwrap();
        let topology = whole.network.topology(&net);
        let convolutions = net
            .graph
            .parameters()
            .filter(|id| net.graph[*id].shape.len() == 4 && net.graph[*id].owner.cell().is_some());
        let predicted: Vec<NodeId> = topology.weights.iter().map(|w| w.parameter).collect();
        assert_eq!(predicted, convolutions.collect::<Vec<_>>());
    }

    #[test]
    fn the_area_is_the_mean_accuracy_over_what_may_be_at_hand() {
        // Chance to 2, 0.4 from 2 to 6, 0.8 from 6 to 10; what is worse for more does not count.
        let classifiers = vec![(6.0, 0.8), (2.0, 0.4), (8.0, 0.7)];
        let expected = (2.0 * 0.1 + 4.0 * 0.4 + 4.0 * 0.8) / 10.0;
        assert!((area(classifiers, 10.0, 0.1) - expected).abs() < 1e-12);
        assert_eq!(area(vec![(3.0, 0.05)], 10.0, 0.1), 0.1);
    }

    #[test]
    fn every_cell_has_a_classifier_that_learns_where_the_area_counts() {
        let space = space(3);
        let text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|";
        let choices = space.parse(text).unwrap();
        let whole = train(&settings(0), &space, true, false).unwrap();
        let pieces = train(&settings(0), &space, true, true).unwrap();
        assert_eq!(whole.shared.variables, pieces.shared.variables);
        let score = whole.score(&choices).unwrap();
        assert_eq!(pieces.score(&choices).unwrap(), score);
        assert!((0.0..1.0).contains(&score) && score > 0.0);
        let first = GhnPhase::new(&settings(0), &space, true, &noise(48));
        let mut first = first.map(|mut phase| phase.initialize().map(|()| phase)).unwrap().unwrap();
        let start = &mut first.predicted.shared.variables;
        for cell in 0..2 {
            let name = format!("exit{cell}/linear/weight");
            let learned = whole.shared.variables.get(&name).unwrap().data().unwrap();
            assert_ne!(start.get(&name).unwrap().data().unwrap(), learned);
        }
        let error = train(&settings(3), &self::space(6), true, false).err().unwrap().to_string();
        assert!(error.contains("ghn_cells must be 0"), "{error}");
    }

    #[test]
    fn networks_too_small_to_know_all_convolutions_are_refused() {
        let space = IntensiveSpace::random(4, &mut Streams::new(7).once("space")).unwrap();
        let skeleton = Skeleton { channels: 2, cells: 8, ..noise(48).skeleton };
        let space = Intensive::new(space, skeleton, 2).unwrap();
        let error = train(&settings(3), &space, false, false).err().unwrap().to_string();
        assert!(error.contains("ghn_cells = 3") && error.contains("input"), "{error}");
        let error = train(&settings(4), &self::space(6), false, false).err().unwrap().to_string();
        assert!(error.contains("4 cells do not make"), "{error}");
    }
}
