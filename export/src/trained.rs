use std::path::Path;

use adwp_data::Normalization;
use adwp_engine::{Device, Owner, VariableSpec, Variables};
use adwp_models::space::Member;
use adwp_models::zoo::{Architecture, Handmade, WideCells, Width};
use adwp_models::{Blueprint, Discrete, Genotype, Skeleton};
use adwp_train::{BatchSource, Checkpoint, Evaluation, Evaluator, Reporter, TrainError, watched};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;

/// Everything about a retrained network but its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredNetwork", into = "StoredNetwork")]
pub struct Network {
    /// The name that its architecture goes by, where it was not searched: that of the zoo.
    pub name: Option<String>,
    /// Its architecture and sizes.
    pub blueprint: Blueprint,
    /// The data set it was trained on.
    pub dataset: String,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// What its images are normalised with.
    pub normalization: Normalization,
}

impl Network {
    /// What an architecture that is no genotype is, as `architecture.json` holds it; none where it
    /// is a genotype.
    pub fn architecture(&self) -> Option<Architecture> {
        match &self.blueprint {
            Blueprint::Cells { .. } => None,
            Blueprint::WideCells { cells, .. } => Some(Architecture::WideCells(cells.clone())),
            Blueprint::Member { member, .. } => Some(Architecture::Member(member.clone())),
            Blueprint::Handmade { network, .. } => Some(Architecture::Handmade(*network)),
        }
    }
}

/// A [`Network`] as a file has it: one of `genotype`, `wide_cells`, `member` and `handmade`, with
/// the sizes that belong to it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredNetwork {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    genotype: Option<Genotype>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wide_cells: Option<WideCells>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<Member>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handmade: Option<Handmade>,
    /// Left out where it is the published one, as in files of versions that had no other.
    #[serde(default, skip_serializing_if = "is_published")]
    width: Width,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skeleton: Option<Skeleton>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<[usize; 3]>,
    dataset: String,
    classes: Vec<String>,
    normalization: Normalization,
}

fn is_published(width: &Width) -> bool {
    *width == Width::PUBLISHED
}

impl From<Network> for StoredNetwork {
    fn from(network: Network) -> Self {
        let Network { name, blueprint, dataset, classes, normalization } = network;
        let stored = Self {
            name,
            genotype: None,
            wide_cells: None,
            member: None,
            handmade: None,
            width: blueprint.width().unwrap_or_default(),
            skeleton: blueprint.skeleton(),
            image: None,
            dataset,
            classes,
            normalization,
        };
        match blueprint {
            Blueprint::Cells { genotype, .. } => Self { genotype: Some(genotype), ..stored },
            Blueprint::WideCells { cells, .. } => Self { wide_cells: Some(cells), ..stored },
            Blueprint::Member { member, .. } => Self { member: Some(member), ..stored },
            Blueprint::Handmade { network, image, .. } => {
                Self { handmade: Some(network), image: Some(image), ..stored }
            }
        }
    }
}

impl TryFrom<StoredNetwork> for Network {
    type Error = &'static str;

    fn try_from(stored: StoredNetwork) -> std::result::Result<Self, Self::Error> {
        let StoredNetwork { name, dataset, classes, normalization, skeleton, image, .. } = stored;
        let StoredNetwork { genotype, wide_cells, member, handmade, width, .. } = stored;
        let blueprint = match (genotype, wide_cells, member, handmade, skeleton, image) {
            (Some(genotype), None, None, None, Some(skeleton), None) => {
                Blueprint::Cells { genotype, skeleton }
            }
            (None, Some(cells), None, None, Some(skeleton), None) => {
                Blueprint::WideCells { cells, skeleton }
            }
            (None, None, Some(member), None, Some(skeleton), None) => {
                Blueprint::Member { member, skeleton }
            }
            (None, None, None, Some(network), None, Some(image)) => {
                Blueprint::Handmade { network, width, image, classes: classes.len() }
            }
            _ => {
                return Err("expected a genotype, wide_cells or a member with a skeleton, or \
                            handmade with an image");
            }
        };
        Ok(Self { name, blueprint, dataset, classes, normalization })
    }
}

/// How a network did on the test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestResult {
    /// Images classified right.
    pub correct: usize,
    /// Images in all.
    pub images: usize,
    /// Images classified right by the mean of the logits of each and of its mirror image, where
    /// that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct_with_flips: Option<usize>,
}

impl TestResult {
    /// Share of images classified right.
    pub fn accuracy(self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }

    /// The same with mirror images.
    pub fn accuracy_with_flips(self) -> Option<f64> {
        Some(self.correct_with_flips? as f64 / self.images.max(1) as f64)
    }
}

/// What a network takes over from the weights of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Inherited {
    /// Parameters and statistics that fit.
    pub variables: Variables,
    /// Names of those that nothing fits: they start fresh.
    pub fresh: Vec<String>,
}

impl Inherited {
    /// Takes of `from` what `network` has under the same name in the same shape. The classifier of
    /// other classes is left out: its outputs mean something else, even where they are as many.
    pub fn new(network: &Network, from: &Trained) -> Result<Self> {
        let graph = network.blueprint.build(1, None)?.graph;
        let other_classes = network.classes != from.network.classes;
        let mut inherited = Self { variables: Variables::new(), fresh: Vec::new() };
        for VariableSpec { name, shape, owner, .. } in graph.variables() {
            let fits = from.variables.get(&name).ok().filter(|variable| variable.shape == shape);
            match fits.filter(|_| !(other_classes && owner == Owner::Classifier)) {
                Some(variable) => inherited.variables.insert(variable.clone()),
                None => inherited.fresh.push(name),
            }
        }
        Ok(inherited)
    }
}

/// A retrained network: what `weights.safetensors` holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// What it is.
    pub network: Network,
    /// Parameters and BatchNorm statistics; no auxiliary head.
    pub variables: Variables,
    /// Accuracy after the last epoch.
    pub test: TestResult,
}

impl Trained {
    /// Keeps of `all` what the network for inference has.
    pub(crate) fn new(network: Network, all: &Variables, test: TestResult) -> Result<Self> {
        let graph = network.blueprint.build(1, None)?.graph;
        let mut variables = Variables::new();
        for VariableSpec { name, .. } in graph.variables() {
            variables.insert(all.get(&name)?.clone());
        }
        Ok(Self { network, variables, test })
    }

    /// Writes `weights.safetensors`, with the settings that decided what they are, where these are
    /// known.
    pub fn write(&self, path: &Path, settings: Option<&str>) -> Result<()> {
        let mut checkpoint = Checkpoint::default();
        if let Some(settings) = settings {
            checkpoint.put_settings(settings);
        }
        checkpoint.put_variables(&self.variables)?;
        let json =
            |value: serde_json::Result<Value>| value.expect("strings and numbers print as JSON");
        checkpoint.values.insert("network".into(), json(serde_json::to_value(&self.network)));
        checkpoint.values.insert("test".into(), json(serde_json::to_value(self.test)));
        Ok(checkpoint.write(path)?)
    }

    /// Reads `weights.safetensors`.
    ///
    /// # Errors
    /// When the file is cut off, is something else, or its tensors are not those of its
    /// architecture.
    pub fn read(path: &Path) -> Result<Self> {
        let mut checkpoint = Checkpoint::read(path)?;
        let network: Network = checkpoint.value("network", path)?;
        if let Some(genotype) = network.blueprint.genotype() {
            // It is checked like a file of its own.
            Genotype::from_json(&genotype.to_json())?;
        }
        let graph = network.blueprint.build(1, None)?.graph;
        let mut variables = Variables::new();
        for VariableSpec { name, shape, kind, .. } in graph.variables() {
            variables.insert(checkpoint.take_variable("", name, kind.role(), shape, path)?);
        }
        let test = checkpoint.value("test", path)?;
        if network.classes.len() != network.blueprint.classes()
            || network.normalization.mean.len() != network.blueprint.image()[0]
        {
            let reason = "class names or normalisation do not fit the network".to_owned();
            return Err(TrainError::Damaged { path: path.to_owned(), reason }.into());
        }
        Ok(Self { network, variables, test })
    }

    /// The network for inference on batches of a size.
    pub fn inference(&self, batch: usize) -> Result<Discrete> {
        Ok(self.network.blueprint.build(batch, None)?)
    }

    /// Classifies images with the engine, in single precision.
    pub fn evaluate(
        &self,
        images: &BatchSource,
        device: &Device,
        reporter: &mut dyn Reporter,
    ) -> Result<Evaluation> {
        let net = self.inference(images.batch)?;
        let mut evaluator = Evaluator::new(&net.graph, net.images, net.logits, &device.in_f32())?;
        // Running statistics are read, never moved; a run only needs to own what it may change.
        let mut variables = self.variables.clone();
        let batches = watched(reporter, "test batch under the engine", images.in_order(0)?);
        Ok(evaluator.evaluate(&mut variables, batches)?)
    }
}
