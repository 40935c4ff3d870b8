use std::path::{Path, PathBuf};

use adwp_engine::{Device, Feed, NodeId, Variables};
use adwp_models::{
    Choices, Dropped, Genotype, Hypernetwork, HypernetworkOptions, Intensive, IntensiveSpace,
    Limit, NODES, Skeleton, Space, most_probable_within,
};
use adwp_train::{
    At, Batch, Checkpoint, Context, Evaluator, Finished, MemoryPlan, Need, Pass, Phase,
    PhaseBatches, Ports, Quiet, Reporter, StepReport, Trainer, run_phase, schedule, store_images,
    stored_bytes, watched,
};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use serde_json::{Map, Value};

use crate::alpha::{relative_entropy, softmax_rows};
use crate::architecture::{self, Shares};
use crate::bilevel::{self, Learner, Learns, Rates};
use crate::start::Movement;
use crate::{AlphaData, AlphaDraw, Data, Result, SearchError, SearchSettings};

/// Trains the HyperNetwork and searches with it (Algorithm 1); gives the discrete architecture.
///
/// `limits` hold for the architecture: what its network, that of [`Data::target`], may take. They
/// are part of what α lowers, and decide which pairs are kept.
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
    let [searched, target] = sized(settings, space, data)?;
    run(SearchPhase::new(settings, [&searched, &target], limits, data)?, context)
}

/// [`search`] that begins where [`train_hypernetwork`](crate::train_hypernetwork) ended in another
/// folder, whose checkpoint stays as it is.
///
/// # Errors
/// Those of [`search`], and a checkpoint of other settings.
pub fn search_from(
    hypernetwork: &Path,
    settings: &SearchSettings,
    space: &IntensiveSpace,
    limits: &[Limit],
    data: &Data,
    context: &mut Context<'_>,
) -> Result<Finished<Genotype>> {
    let [searched, target] = sized(settings, space, data)?;
    let mut phase = SearchPhase::new(settings, [&searched, &target], limits, data)?;
    phase.origin = Some(hypernetwork.to_owned());
    run(phase, context)
}

/// The space at the sizes of the search and at those of the network that is delivered.
fn sized(settings: &SearchSettings, space: &IntensiveSpace, data: &Data) -> Result<[Intensive; 2]> {
    settings.validate()?;
    let sized = |skeleton| Intensive::new(space.clone(), skeleton, settings.keep);
    let searched = Skeleton { channels: settings.channels, ..data.skeleton };
    Ok([sized(searched)?, sized(data.target)?])
}

fn run(mut phase: SearchPhase<'_>, context: &mut Context<'_>) -> Result<Finished<Genotype>> {
    // Refused before hours of training, not after them.
    let even = vec![vec![1.0; NODES * phase.width()]; phase.data.target.cells];
    phase.decode(&even)?;
    run_phase(&mut phase, context)?.try_map(|()| {
        let choices = phase.decode(&phase.probabilities()?)?;
        if let Some(warning) = phase.movement(&choices, phase.last_epoch)?.warning() {
            context.reporter.message(&format!("search: mostly its start: {warning}"));
        }
        let genotype = phase.genotype(&choices)?;
        if let Some(collapse) = Shares::of(&genotype).collapse() {
            context.reporter.message(&format!(
                "search: collapsed: {collapse}; --identity-dropout \
                 and --early-stop act against that"
            ));
        }
        Ok(genotype)
    })
}

/// Bytes that [`search`] will hold at its peak in addition to the images; takes none of them.
pub fn search_bytes(
    settings: &SearchSettings,
    space: &IntensiveSpace,
    limits: &[Limit],
    data: &Data,
) -> Result<Need> {
    let [searched, target] = sized(settings, space, data)?;
    SearchPhase::new(settings, [&searched, &target], limits, data)?.planned_bytes()
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
    /// One batch, and what learns from it.
    One(Trainer, Learns),
    /// α and weights, each from a batch of its own.
    Separate { alphas: Trainer, weights: Trainer },
}

impl Steps {
    fn own_bytes(&self) -> usize {
        match self {
            Self::One(trainer, _) => trainer.executor().own_bytes(),
            Self::Separate { alphas, weights } => {
                alphas.executor().own_bytes() + weights.executor().own_bytes()
            }
        }
    }
}

pub(crate) struct SearchPhase<'a> {
    settings: SearchSettings,
    /// At the sizes of the search.
    pub(crate) space: &'a dyn Space,
    /// At the sizes of the network that is delivered.
    target: &'a dyn Space,
    data: Data,
    steps_per_epoch: usize,
    limits: Vec<Limit>,
    /// Where it ends: before α learns, or with everything done.
    pub(crate) last_epoch: usize,
    /// The checkpoint of another folder that it begins with.
    origin: Option<PathBuf>,
    pub(crate) net: Hypernetwork,
    pub(crate) learner: Learner,
    /// The architecture of the last epoch in which α learned, and for how many epochs it has been
    /// the same.
    found: Option<(Genotype, usize)>,
    /// The steps of the current stage; compiled when the stage begins, so that only one stage's
    /// buffers exist.
    steps: Option<(Stage, Steps)>,
    evaluator: Evaluator,
}

impl<'a> SearchPhase<'a> {
    /// `space` is at the sizes of the search; `target` is the same at those of the network that is
    /// delivered.
    pub(crate) fn new(
        settings: &SearchSettings,
        [space, target]: [&'a dyn Space; 2],
        limits: &[Limit],
        data: &Data,
    ) -> Result<Self> {
        settings.validate()?;
        let mut data = data.with_batch(settings.batch, settings.channels);
        store_images(&mut [&mut data.train, &mut data.validation], &data.device)?;
        let options = settings.hypernetwork();
        let every = space.widest();
        let mut net = space.hypernetwork(&every, settings.batch, options)?;
        for limit in limits {
            net.limit(limit, settings.keep, settings.limit_strength)?;
        }
        let scored = space.hypernetwork(&every, settings.batch, complete(options))?;
        let learner = Learner::new(
            net.weights(),
            net.live_alphas(),
            Rates {
                momentum: settings.momentum,
                weight_decay: settings.weight_decay,
                clip: settings.clip,
                alpha_rate: settings.alpha_rate,
                alpha_weight_decay: settings.alpha_weight_decay,
            },
        );
        Ok(Self {
            evaluator: Evaluator::new(&scored.graph, scored.images, scored.logits, &data.device)?,
            steps_per_epoch: match settings.alpha_data {
                AlphaData::Train => data.train.steps()?,
                AlphaData::Validation => bilevel::steps(&data)?,
            },
            settings: settings.clone(),
            space,
            target,
            limits: limits.to_vec(),
            last_epoch: settings.epochs,
            origin: None,
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

    fn compile(&self, stage: Stage) -> Result<Steps> {
        let Hypernetwork { images, labels, logits, loss, objective, .. } = self.net;
        let trainer = |objective: NodeId, trainable: &[NodeId]| {
            let ports = Ports { images, labels, logits, loss, objective };
            Trainer::new(Self::NAME, &self.net.graph, ports, trainable, &self.data.device)
        };
        let Learner { weights, alphas, .. } = &self.learner;
        Ok(match (stage, self.settings.alpha_data) {
            (Stage::Hypernetwork, _) => Steps::One(trainer(loss, weights)?, Learns::Weights),
            (Stage::BasicSearch, _) => Steps::One(trainer(objective, alphas)?, Learns::Alphas),
            (Stage::CrossSearch, AlphaData::Train) => {
                let both = [&weights[..], alphas].concat();
                Steps::One(trainer(objective, &both)?, Learns::Both)
            }
            (Stage::CrossSearch, AlphaData::Validation) => Steps::Separate {
                alphas: trainer(objective, alphas)?,
                weights: trainer(loss, weights)?,
            },
        })
    }

    /// Draws the α that the generating blocks learn from, or are validated with; gives the
    /// architecture where it is that of one.
    fn draw_alphas(&mut self, mut rng: impl Rng) -> Result<Option<Choices>> {
        match self.settings.alpha_draw {
            AlphaDraw::Normal => {
                self.set_alphas(&self.normal_alphas(rng, self.settings.alpha_sd))?;
                Ok(None)
            }
            AlphaDraw::Discrete => {
                let choices = self.space.sample(&mut rng);
                self.set_alphas(&self.net.discrete_alphas(&choices))?;
                Ok(Some(choices))
            }
        }
    }

    /// A step of the generating blocks that an architecture has; its α are set. The others would
    /// have no gradient, and stay as they are.
    fn learn_from(&mut self, choices: &Choices, at: At, batch: &Batch) -> Result<StepReport> {
        let net =
            self.space.hypernetwork(choices, self.settings.batch, self.settings.hypernetwork())?;
        let (weights, masks) = (net.weights(), self.identity_masks(at, net.masks.len()));
        let Hypernetwork { graph, images, labels, logits, loss, .. } = net;
        let ports = Ports { images, labels, logits, loss, objective: loss };
        let mut trainer = Trainer::new(Self::NAME, &graph, ports, &weights, &self.data.device)?;
        let feeds: Vec<(NodeId, Feed<'_>)> =
            net.masks.iter().zip(&masks).map(|(id, mask)| (*id, mask.into())).collect();
        let (pass, rate) = (Pass { at, batch, feeds: &feeds }, self.rate(at.epoch));
        Ok(self.learner.step_of(&weights, &mut trainer, pass, rate)?)
    }

    /// Masks of `count` identities at a step.
    fn identity_masks(&self, at: At, count: usize) -> Vec<Vec<f32>> {
        let SearchSettings { identity_dropout, epochs, .. } = self.settings;
        bilevel::identity_masks(&self.data, Self::NAME, identity_dropout, at, epochs, count)
    }

    /// Learning rate of the weights.
    fn rate(&self, epoch: usize) -> f32 {
        let SearchSettings { rate, rate_last, epochs, .. } = self.settings;
        schedule::cosine(rate, rate_last, epoch, epochs)
    }

    /// Sets every α, in the order of the HyperNetwork.
    ///
    /// # Panics
    /// When there are not as many values as the HyperNetwork has.
    pub(crate) fn set_alphas(&mut self, alphas: &[Vec<f32>]) -> Result<()> {
        assert_eq!(alphas.len(), self.net.alphas.len(), "every α has its values");
        for (id, values) in self.net.alphas.iter().zip(alphas) {
            let name = &self.net.graph[*id].name;
            self.learner.variables.get_mut(name)?.copy_from_slice(values);
        }
        Ok(())
    }

    /// Fresh normal values of a standard deviation, for every α.
    fn normal_alphas(&self, mut rng: impl Rng, sd: f32) -> Vec<Vec<f32>> {
        let mut normal = || {
            let z: f32 = StandardNormal.sample(&mut rng);
            sd * z
        };
        let of =
            |id: &NodeId| (0..self.net.graph[*id].shape.elements()).map(|_| normal()).collect();
        self.net.alphas.iter().map(of).collect()
    }

    /// What α is when it begins to learn.
    fn start(&self) -> Vec<Vec<f32>> {
        let rng = self.data.streams.once("search/alpha_start");
        self.normal_alphas(rng, self.settings.alpha_start_sd)
    }

    /// How many candidates every node of the searched cells has.
    fn width(&self) -> usize {
        self.space.decisions()[0].options
    }

    /// For each cell the softmax over each node's candidates.
    fn probabilities(&self) -> Result<Vec<Vec<f32>>> {
        Ok(self.alphas()?.iter().map(|alpha| softmax_rows(alpha, self.width())).collect())
    }

    /// For each cell its α.
    fn alphas(&self) -> Result<Vec<Vec<f32>>> {
        let of = |id: &NodeId| {
            Ok(self.learner.variables.get(&self.net.graph[*id].name)?.data()?.to_vec())
        };
        self.net.alphas.iter().map(of).collect()
    }

    /// The most probable architecture within the limits.
    fn decode(&self, probabilities: &[Vec<f32>]) -> Result<Choices> {
        let nodes = probabilities.iter().flat_map(|cell| cell.chunks_exact(self.width()));
        let nodes: Vec<Vec<f32>> = nodes.map(<[f32]>::to_vec).collect();
        Ok(most_probable_within(self.target, &nodes, &self.limits)?)
    }

    /// The cells of an architecture.
    fn genotype(&self, choices: &Choices) -> Result<Genotype> {
        Ok(self.target.genotype(choices)?.expect("α learns in the DARTS space alone"))
    }

    /// How far α is from its start after `epochs` epochs in all, where `kept` is what it stands for.
    fn movement(&self, kept: &Choices, epochs: usize) -> Result<Movement> {
        let (start, now) = (self.start(), self.alphas()?);
        let softmax = |alpha: &Vec<f32>| softmax_rows(alpha, self.width());
        let at_start = self.decode(&start.iter().map(softmax).collect::<Vec<_>>())?;
        let steps = (epochs - self.settings.hypernetwork_epochs) * self.steps_per_epoch;
        Ok(Movement::new(
            self.target.decisions(),
            [&start.concat(), &now.concat()],
            [&at_start, kept],
            self.settings.alpha_rate,
            steps,
        ))
    }

    /// Accuracy on the validation images with the present α.
    pub(crate) fn validate(&mut self, reporter: &mut dyn Reporter) -> Result<f64> {
        let Self { settings, data, learner, evaluator, .. } = self;
        accuracy(evaluator, settings, data, &mut learner.variables, reporter)
    }

    /// [`Self::validate`] with the α of an architecture, by a HyperNetwork of its options alone.
    ///
    /// # Panics
    /// When the architecture is not of the space.
    pub(crate) fn validate_architecture(&mut self, choices: &Choices) -> Result<f64> {
        self.set_alphas(&self.net.discrete_alphas(choices))?;
        let Self { settings, data, learner, .. } = self;
        let options = complete(settings.hypernetwork());
        let net = self.space.hypernetwork(choices, settings.batch, options)?;
        let mut evaluator = Evaluator::new(&net.graph, net.images, net.logits, &data.device)?;
        accuracy(&mut evaluator, settings, data, &mut learner.variables, &mut Quiet)
    }
}

/// How a HyperNetwork is built that is scored: with all of it at work.
fn complete(options: HypernetworkOptions) -> HypernetworkOptions {
    HypernetworkOptions { dropped: Dropped::Nothing, ..options }
}

/// Accuracy on the validation images, once the BatchNorm statistics are recomputed on training
/// images.
fn accuracy(
    evaluator: &mut Evaluator,
    settings: &SearchSettings,
    data: &Data,
    variables: &mut Variables,
    reporter: &mut dyn Reporter,
) -> Result<f64> {
    evaluator.recalibrate(variables, data.train.in_order(settings.recalibration_images)?)?;
    let validation = data.validation.in_order(settings.validation_images)?;
    let validation = watched(reporter, "search: validation batch", validation);
    Ok(evaluator.score(variables, validation)?.accuracy())
}

impl Phase for SearchPhase<'_> {
    /// The weights' batch, and one of the other half where α learns from that.
    type Batch = (Batch, Option<Batch>);
    type Error = SearchError;

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

    fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    fn steps(&self) -> usize {
        self.steps_per_epoch
    }

    fn device(&self) -> &Device {
        &self.data.device
    }

    fn planned_bytes(&self) -> Result<Need> {
        let Self { settings, data, net, .. } = self;
        let mut stages: Vec<Stage> = (0..self.last_epoch).map(|epoch| self.stage(epoch)).collect();
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
            state: self.learner.planned_bytes(&net.graph),
            executors: executors + self.evaluator.own_bytes(),
            batches: data.train.bytes_in_flight(augmentation)
                + if both_halves { data.validation.bytes_in_flight(augmentation) } else { 0 },
            images: stored_bytes(&[&data.train, &data.validation]),
        };
        Ok(plan.need(&data.device))
    }

    fn initialize(&mut self) -> Result<()> {
        Ok(self.learner.initialize(&self.net.graph, &self.data, Self::NAME)?)
    }

    fn batches(&self, epoch: usize, first: usize) -> Result<PhaseBatches<Self::Batch>> {
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

    fn step(&mut self, at: At, (train, validation): Self::Batch) -> Result<StepReport> {
        let stage = self.stage(at.epoch);
        if self.steps.as_ref().is_none_or(|(current, _)| *current != stage) {
            self.steps = None;
            self.steps = Some((stage, self.compile(stage)?));
        }
        if stage == Stage::Hypernetwork {
            let rng = self.data.streams.at("search/alpha", at.epoch, at.step);
            if let Some(choices) = self.draw_alphas(rng)? {
                return self.learn_from(&choices, at, &train);
            }
        } else if at.epoch == self.settings.hypernetwork_epochs && at.step == 0 {
            self.set_alphas(&self.start())?;
        }

        let masks = self.identity_masks(at, self.net.masks.len());
        let constants = self.net.constants.iter().map(|(id, values)| (*id, values));
        let masks = self.net.masks.iter().copied().zip(&masks);
        let feeds: Vec<(NodeId, Feed<'_>)> =
            constants.chain(masks).map(|(id, values)| (id, values.into())).collect();
        let (pass, rate) = (|batch| Pass { at, batch, feeds: &feeds }, self.rate(at.epoch));
        let learner = &mut self.learner;
        let alpha_batch = validation.as_ref().unwrap_or(&train);
        let (_, steps) = self.steps.as_mut().expect("compiled above");
        Ok(match steps {
            Steps::One(trainer, learns) => {
                let batch = if *learns == Learns::Alphas { alpha_batch } else { &train };
                learner.step(trainer, pass(batch), *learns, rate)?
            }
            Steps::Separate { alphas, weights } => {
                learner.step(alphas, pass(alpha_batch), Learns::Alphas, rate)?;
                learner.step(weights, pass(&train), Learns::Weights, rate)?
            }
        })
    }

    fn finish_epoch(
        &mut self,
        epoch: usize,
        reporter: &mut dyn Reporter,
    ) -> Result<Map<String, Value>> {
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
            let entropy = relative_entropy(&probabilities.concat(), self.width());
            metrics.insert("alpha_entropy".into(), entropy.into());
            let choices = self.decode(&probabilities)?;
            metrics.append(&mut self.movement(&choices, epoch + 1)?.metrics());
            let genotype = self.genotype(&choices)?;
            metrics.append(&mut architecture::metrics(&genotype, &self.data.target)?);
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

    fn save(&self, checkpoint: &mut Checkpoint) -> Result<()> {
        self.learner.save(checkpoint)?;
        checkpoint.values.insert(
            "found".into(),
            serde_json::to_value(&self.found).expect("architectures and numbers print as JSON"),
        );
        Ok(())
    }

    fn restore(&mut self, checkpoint: &mut Checkpoint, path: &Path) -> Result<()> {
        self.learner.restore(&self.net.graph, checkpoint, path)?;
        self.found = checkpoint.value("found", path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::black_images;
    use adwp_models::NasBench201;
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

    /// α after a step, at the sizes of black images.
    fn alphas_after(phase: &mut SearchPhase<'_>, at: At) -> Vec<f32> {
        let batch = phase.batches(at.epoch, at.step).unwrap().next().unwrap().unwrap();
        phase.step(at, batch).unwrap();
        let variables = &phase.learner.variables;
        let alpha = |id: &NodeId| variables.get(&phase.net.graph[*id].name).unwrap();
        phase.net.alphas.iter().flat_map(|id| alpha(id).data().unwrap().to_vec()).collect()
    }

    #[test]
    fn architectures_are_drawn_while_the_hypernetwork_trains_and_normal_values_to_search() {
        let data = black_images(64);
        let space = IntensiveSpace::random(3, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let alpha_draw = AlphaDraw::Discrete;
        let drawn = SearchSettings { alpha_draw, ..settings([2, 4, 4, 4], AlphaData::Train) };
        let [searched, target] = sized(&drawn, &space, &data).unwrap();
        let mut phase = SearchPhase::new(&drawn, [&searched, &target], &[], &data).unwrap();
        phase.initialize().unwrap();
        let kept = |alphas: &[f32]| -> Vec<f32> { softmax_rows(alphas, 3) };
        let first = kept(&alphas_after(&mut phase, At { epoch: 0, step: 0 }));
        let second = kept(&alphas_after(&mut phase, At { epoch: 0, step: 1 }));
        assert_ne!(first, second);
        // Two of three candidates are kept.
        assert!([first, second].concat().iter().all(|&p| p == 0.0 || p == 0.5));
        phase.finish_epoch(1, &mut Quiet).unwrap();
        assert!(phase.probabilities().unwrap().concat().iter().all(|&p| p == 0.0 || p == 0.5));
        let start = kept(&alphas_after(&mut phase, At { epoch: 2, step: 0 }));
        assert!(start.iter().all(|&p| p != 0.0 && p != 0.5));

        let cells = NasBench201::new(searched.skeleton()).unwrap();
        let mut phase = SearchPhase::new(&drawn, [&cells; 2], &[], &data).unwrap();
        phase.initialize().unwrap();
        alphas_after(&mut phase, At { epoch: 0, step: 0 });
        assert_eq!(phase.probabilities().unwrap().len(), 1);
        for edge in phase.probabilities().unwrap()[0].chunks_exact(5) {
            assert_eq!(edge.iter().filter(|&&p| p == 1.0).count(), 1);
            assert_eq!(edge.iter().filter(|&&p| p == 0.0).count(), 4);
        }
    }

    #[test]
    fn a_half_that_teaches_nothing_does_not_shorten_the_epochs() {
        let mut data = black_images(64);
        data.validation.indices.truncate(8);
        let space = IntensiveSpace::random(3, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
        let steps = |alpha_data| {
            let settings = settings([1, 2, 3, 4], alpha_data);
            let [searched, target] = sized(&settings, &space, &data).unwrap();
            SearchPhase::new(&settings, [&searched, &target], &[], &data).unwrap().steps()
        };
        assert_eq!((steps(AlphaData::Train), steps(AlphaData::Validation)), (4, 1));
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
