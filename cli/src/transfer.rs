//! An architecture that a run does not search itself: `adwp retrain --from` and `--architecture`.

use std::path::{Path, PathBuf};

use adwp_base::{Failure, Result};
use adwp_data::Normalization;
use adwp_engine::{VariableSpec, Variables};
use adwp_export::{Inherited, Network, RetrainSettings, Trained};
use adwp_models::zoo::{Handmade, Width};
use adwp_models::{Blueprint, Bounds};
use adwp_train::{Checkpoint, Reporter, RunDir, TrainError, write_atomic};
use adwp_weights::{Classifier, Layout, Loaded, StateDict};
use toml::{Table, Value};

use crate::architecture::{GENOTYPE, RunArchitecture, parsed};
use crate::args::{RetrainArgs, RunArgs};
use crate::config::{CHANNELS, Config, LimitSettings, WIDTH, parse, sets};
use crate::images::Images;
use crate::retired::LeftOut;
use crate::settings;

/// The weights that a run which is fine-tuned starts from, in its folder: it needs no other to be
/// continued.
pub(crate) const INITIAL: &str = "initial.safetensors";
/// What is set where a network starts from published weights: images of ImageNet's size, few epochs.
const TUNED: &str = include_str!("../presets/tuned.toml");
/// Names of variables that a message has at most.
const SHOWN: usize = 8;

/// An architecture from outside of the run, and what comes with it.
pub(crate) struct Origin {
    pub(crate) architecture: RunArchitecture,
    given: Given,
    bounds: Option<Bounds>,
}

enum Given {
    /// A run, with its settings, and its weights where they are wanted.
    Run { folder: PathBuf, config: Box<Config>, left_out: LeftOut, weights: Option<Box<Weights>> },
    /// What `--architecture` named, with the weights where `--weights` names some.
    Chosen { what: String, published: Option<Box<Published>> },
}

/// Published weights, of a network of the zoo that has no cells.
struct Published {
    file: PathBuf,
    weights: StateDict,
    layout: Layout,
    network: Handmade,
    freeze: bool,
}

struct Weights {
    bytes: Vec<u8>,
    trained: Trained,
}

impl Origin {
    /// Reads what `--from` or `--architecture` names; `None` without either.
    pub(crate) fn read(args: &RetrainArgs) -> Result<Option<Self>> {
        let (architecture, given) = match (&args.from, &args.architecture) {
            (Some(folder), _) => Self::read_run(folder, args)?,
            (None, Some(what)) => {
                let architecture = RunArchitecture::chosen(what)?;
                let published = match &args.weights {
                    Some(file) => {
                        Some(Box::new(Published::read(file, &architecture, args.freeze)?))
                    }
                    None => None,
                };
                (architecture, Given::Chosen { what: what.display().to_string(), published })
            }
            (None, None) => return Ok(None),
        };
        let bounds = Bounds { params: args.target_params, madds: args.target_madds };
        let bounds = (bounds != Bounds::default()).then_some(bounds);
        let chosen = if architecture.has_cells() { CHANNELS } else { WIDTH };
        if bounds.is_some() && sets(&args.train.run, chosen) {
            let failure = Failure::input(format!(
                "--target-params and --target-madds choose {chosen}, which --set names too"
            ));
            return Err(failure.hint("leave one of them out"));
        }
        Ok(Some(Self { architecture, given, bounds }))
    }

    fn read_run(folder: &Path, args: &RetrainArgs) -> Result<(RunArchitecture, Given)> {
        let stored = folder.join(Config::FILE);
        if !stored.exists() {
            return Err(Failure::input(format!(
                "--from: {} is no folder of a run: it has no config.toml",
                folder.display()
            )));
        }
        let new = args.train.run.run.as_deref().unwrap_or(Path::new(""));
        if new.canonicalize().is_ok_and(|new| folder.canonicalize().is_ok_and(|from| from == new)) {
            let failure = Failure::input(format!("--from and --run both name {}", new.display()));
            return Err(failure.hint("name a new folder with --run"));
        }
        let missing = |file: &str, hint: String| {
            Failure::input(format!("--from: {} is not there", folder.join(file).display()))
                .hint(hint)
        };
        let Some(architecture) = RunArchitecture::of_run(folder)? else {
            return Err(missing(
                GENOTYPE,
                format!("`adwp search --run {}` writes it", folder.display()),
            ));
        };
        let path = folder.join("weights.safetensors");
        let weights = if !args.fine_tune {
            None
        } else if path.exists() {
            let trained = Trained::read(&path)?;
            let bytes = std::fs::read(&path).map_err(|source| TrainError::File {
                action: "read",
                path,
                source,
            })?;
            Some(Box::new(Weights { bytes, trained }))
        } else {
            let hint = format!(
                "`adwp retrain --run {}` writes it; without --fine-tune it is not needed",
                folder.display()
            );
            return Err(missing("weights.safetensors", hint));
        };
        let (config, left_out) = settings::read(&stored, &RunArgs::default())?;
        settings::check(folder, &config)?;
        let mut config = Box::new(config);
        if args.freeze {
            config.retrain.body_rate = 0.0;
        }
        let has_bounds = args.target_params.is_some() || args.target_madds.is_some();
        // Where its price has chosen its channels, it has these; else the same price chooses.
        if config.limits.fill && architecture.has_cells() && !has_bounds {
            let path = folder.join("weights.safetensors");
            if path.exists() {
                let skeleton = Trained::read(&path)?.network.blueprint.skeleton();
                config.retrain.channels =
                    skeleton.map_or(config.retrain.channels, |skeleton| skeleton.channels);
                config.limits.fill = false;
            }
        }
        Ok((architecture, Given::Run { folder: folder.to_owned(), config, left_out, weights }))
    }

    /// The settings of the new run.
    pub(crate) fn config(&self, args: &RunArgs) -> Result<Config> {
        match &self.given {
            Given::Run { .. } if args.dataset.is_none() => {
                Err(Failure::input("--from: which images to train on was not said")
                    .hint("name them with --dataset and --data; `adwp data list` has the kinds"))
            }
            Given::Run { config, weights, .. } => {
                let mut config = Config::transferred(config, weights.is_some(), args)?;
                config.limits.fill &= self.bounds.is_none();
                Ok(config)
            }
            Given::Chosen { published, .. } => {
                // What was published depends on the stem, which the settings say.
                let stem = Config::from_args(args)?.stem;
                let mut settings = self.architecture.settings(stem);
                if let Some(published) = published {
                    published.tune(&mut settings)?;
                }
                let mut config = Config::of_architecture(args, settings)?;
                if self.bounds.is_some() && config.limits.fill {
                    config.limits = LimitSettings::default();
                }
                let fills = config.limits.fill && self.architecture.has_cells();
                if config.limits.are_set() && !fills {
                    let failure =
                        Failure::input("limits are for a search: the architecture is given");
                    return Err(
                        failure.hint("--target-params and --target-madds choose its channels")
                    );
                }
                Ok(config)
            }
        }
    }

    /// Whether `--target-params` or `--target-madds` choose the channels, or the width.
    pub(crate) fn chooses_channels(&self) -> bool {
        self.bounds.is_some()
    }

    /// Sets the channels or the width of retraining to as many as the bounds allow on these images, where there
    /// are bounds.
    ///
    /// # Errors
    /// When none keep them, or the run in the folder (`is_stored`) has others.
    pub(crate) fn choose_channels(
        &self,
        config: &mut Config,
        images: &Images,
        is_stored: bool,
    ) -> Result {
        let Some(bounds) = self.bounds else { return Ok(()) };
        let widest = self
            .architecture
            .network(images.skeleton(config, config.retrain.channels))?
            .widest(bounds)?;
        let retrain = &mut config.retrain;
        let channels = widest.skeleton().map_or(retrain.channels, |skeleton| skeleton.channels);
        let width = widest.width().unwrap_or_default();
        if is_stored && (channels, width) != (retrain.channels, retrain.width) {
            let said = |channels, width| match widest.width() {
                Some(_) => format!("a width of {width}"),
                None => format!("{channels} channels"),
            };
            let failure = Failure::input(format!(
                "the run has {}, the widest network within the bounds has {}",
                said(retrain.channels, retrain.width),
                said(channels, width)
            ));
            return Err(failure.hint(
                "leave the bounds out to continue that run, or name another folder with --run",
            ));
        }
        (retrain.channels, retrain.width) = (channels, width);
        Ok(())
    }

    /// Refuses weights of which nothing would be used.
    pub(crate) fn check(&self, config: &Config, images: &Images) -> Result {
        match &self.given {
            Given::Run { weights: Some(weights), .. } => {
                inherit(&images.network(config, &self.architecture)?, &weights.trained).map(|_| ())
            }
            Given::Chosen { published: Some(published), .. } => {
                published.loaded(&images.blueprint(config, &self.architecture)?).map(|_| ())
            }
            Given::Run { weights: None, .. } | Given::Chosen { published: None, .. } => Ok(()),
        }
    }

    fn has_weights(&self) -> bool {
        match &self.given {
            Given::Run { weights, .. } => weights.is_some(),
            Given::Chosen { published, .. } => published.is_some(),
        }
    }

    /// Says what is taken over and what is not.
    pub(crate) fn announce(&self, config: &Config, reporter: &mut dyn Reporter) {
        let (cells, channels) = (config.cells, config.retrain.channels);
        let sizes = match self.architecture.has_cells() {
            true if config.limits.fill => format!("{cells} cells at one price"),
            true => format!("{cells} cells with {channels} channels"),
            false => match config.retrain.width {
                Width::PUBLISHED => "as wide as it was published".to_owned(),
                width => format!("{width} times as wide as it was published"),
            },
        };
        match &self.given {
            Given::Chosen { what, published } => {
                let nothing = self.architecture.has_nothing_to_drop();
                let drop =
                    if nothing { "; nothing in it can be dropped: no drop-path" } else { "" };
                reporter.message(&format!("architecture: {what}, {sizes}{drop}"));
                if let Some(Published { file, layout, .. }) = published.as_deref() {
                    let (file, layout) = (file.display(), layout.name());
                    let RetrainSettings { rate, body_rate, .. } = config.retrain;
                    let body = match body_rate {
                        0.0 => "all before it is frozen".to_owned(),
                        of => format!("all before it at {of} of that"),
                    };
                    reporter.message(&format!(
                        "fine-tuning from {file}, weights as {layout} names them: a new classifier at \
                         a learning rate of {rate}, {body}"
                    ));
                }
            }
            Given::Run { folder, config: theirs, left_out, weights } => {
                left_out.say(&folder.join(Config::FILE), reporter);
                let from = folder.display();
                let name =
                    self.architecture.name().map_or_else(String::new, |name| format!(" {name}"));
                reporter.message(&format!(
                    "from {from}: the architecture{name} ({sizes}), and where not said otherwise \
                     stem, image size, seed and [retrain]; not its data set, \
                     numbers of images and limits"
                ));
                if weights.is_some() {
                    let rate = config.retrain.rate;
                    let before = theirs.retrain.rate;
                    reporter.message(&format!(
                        "fine-tuning from its weights at a learning rate of \
                         {rate}; that of {from} was {before}"
                    ));
                }
            }
        }
    }

    /// Puts architecture and weights into the folder of the new run.
    pub(crate) fn write(&self, run: &RunDir, config: &Config, images: &Images) -> Result {
        if let Some(there) = RunArchitecture::of_run(run.path())?
            && there.file() != self.architecture.file()
        {
            return Err(another(&run.file(there.file())));
        }
        let (path, text) = (run.file(self.architecture.file()), self.architecture.to_json());
        if !path.exists() {
            write_atomic(&path, text.as_bytes())?;
        } else if parsed(path.clone(), RunArchitecture::from_json)?.to_json() != text {
            return Err(another(&path));
        }
        match &self.given {
            Given::Run { weights: Some(weights), .. } => put(run, INITIAL, &weights.bytes),
            Given::Chosen { published: Some(published), .. } => {
                let loaded = published.loaded(&images.blueprint(config, &self.architecture)?)?;
                put(run, INITIAL, &published.initial(&loaded)?)
            }
            given if run.file(INITIAL).exists() => {
                let flag = match given {
                    Given::Run { .. } => "--fine-tune",
                    Given::Chosen { .. } => "--weights FILE",
                };
                Err(Failure::input(format!("{} is fine-tuned", run.path().display()))
                    .hint(format!("add {flag} to continue it, or name another folder with --run")))
            }
            _ => Ok(()),
        }
    }
}

/// Key of `initial.safetensors` that published weights have there and those of a run have not: the
/// names of the variables that start fresh.
const FRESH: &str = "fresh";

impl Published {
    fn read(file: &Path, architecture: &RunArchitecture, freeze: bool) -> Result<Self> {
        let Some(network) = architecture.handmade() else {
            let failure = Failure::input("--weights: nobody publishes weights of cells");
            return Err(failure.hint(
                "--architecture zoo:NAME with one of the networks that are no stack of cells, such \
                 as zoo:mobilenet-v3-small",
            ));
        };
        let weights = StateDict::read(file)?;
        let layout = weights.layout()?;
        Ok(Self { file: file.to_owned(), weights, layout, network, freeze })
    }

    /// Adds what follows from the weights to the settings of their network.
    fn tune(&self, settings: &mut Table) -> Result {
        let Normalization { mean, std } = self.layout.preparation(self.network).normalization;
        // As decimal digits: the nearest f64 of an f32 would be written with many more.
        let digits = |value: &f32| Value::Float(value.to_string().parse().unwrap_or_default());
        let list = |values: &[f32]| Value::Array(values.iter().map(digits).collect());
        settings.insert("mean".into(), list(&mean));
        settings.insert("std".into(), list(&std));
        let tuned = parse(TUNED, "fine-tuning")?;
        for (key, value) in tuned {
            match (settings.get_mut(&key), value) {
                (Some(Value::Table(own)), Value::Table(more)) => own.extend(more),
                (_, value) => drop(settings.insert(key, value)),
            }
        }
        if let (true, Some(Value::Table(retrain))) = (self.freeze, settings.get_mut("retrain")) {
            retrain.insert("body_rate".into(), Value::Float(0.0));
        }
        Ok(())
    }

    /// What the network takes of them.
    fn loaded(&self, network: &Blueprint) -> Result<Loaded> {
        Ok(adwp_weights::load(&self.weights, network, Classifier::Fresh)?)
    }

    /// What `initial.safetensors` has of them.
    fn initial(&self, loaded: &Loaded) -> Result<Vec<u8>> {
        let mut checkpoint = Checkpoint::default();
        checkpoint.put_variables(&loaded.variables)?;
        checkpoint.values.insert(FRESH.into(), loaded.fresh.clone().into());
        let name = self.file.file_name().unwrap_or_default().to_string_lossy();
        checkpoint.values.insert("file".into(), name.into());
        checkpoint.values.insert("layout".into(), self.layout.name().into());
        Ok(checkpoint.to_bytes(Path::new(INITIAL))?)
    }
}

/// What a network starts with of `initial.safetensors`.
pub(crate) fn initial(path: &Path, network: &Network) -> Result<Inherited> {
    let mut checkpoint = Checkpoint::read(path)?;
    if !checkpoint.values.contains_key(FRESH) {
        return inherit(network, &Trained::read(path)?);
    }
    let fresh: Vec<String> = checkpoint.value(FRESH, path)?;
    let mut variables = Variables::new();
    for VariableSpec { name, shape, kind, .. } in
        network.blueprint.build(1, None)?.graph.variables()
    {
        if !fresh.contains(&name) {
            variables.insert(checkpoint.take_variable("", name, kind.role(), shape, path)?);
        }
    }
    Ok(Inherited { variables, fresh })
}

/// Refuses to freeze a network that nothing has trained.
pub(crate) fn refuse_frozen_at_random(
    config: &Config,
    origin: Option<&Origin>,
    folder: &Path,
) -> Result {
    let starts = origin.is_some_and(Origin::has_weights) || folder.join(INITIAL).exists();
    if starts || config.retrain.body_rate != 0.0 {
        return Ok(());
    }
    let failure =
        Failure::input("retrain.body_rate = 0 freezes a network that nothing has trained");
    Err(failure.hint("name weights to start from: --weights FILE, or --from RUN --fine-tune"))
}

fn another(path: &Path) -> Failure {
    Failure::input(format!("{} is not that of --from or --architecture", path.display()))
        .hint("leave these out to continue that run, or name another folder with --run")
}

/// Writes a file of a run that must not have another content already.
fn put(run: &RunDir, name: &str, bytes: &[u8]) -> Result {
    let path = run.file(name);
    match std::fs::read(&path) {
        Ok(found) if found == bytes => Ok(()),
        Ok(_) => Err(another(&path)),
        Err(_) => Ok(write_atomic(&path, bytes)?),
    }
}

/// What a network takes over of the weights of another: at least something.
pub(crate) fn inherit(network: &Network, from: &Trained) -> Result<Inherited> {
    let inherited = Inherited::new(network, from)?;
    if inherited.variables.is_empty() {
        let channels =
            |network: &Network| network.blueprint.skeleton().map(|skeleton| skeleton.channels);
        let (Some(ours), Some(theirs)) = (channels(network), channels(&from.network)) else {
            return Err(Failure::input(
                "none of the weights fit: they are those of another network",
            ));
        };
        let failure = Failure::input(format!(
            "none of the weights fit: they are of {theirs} channels, this network has {ours}"
        ));
        return Err(failure.hint(format!("leave out {CHANNELS}, or set it to {theirs}")));
    }
    Ok(inherited)
}

/// Says what the weights of a file are, and which of them nothing was found for.
pub(crate) fn say_loaded(loaded: &Loaded, file: &Path, reporter: &mut dyn Reporter) {
    let (file, layout) = (file.display(), loaded.layout.name());
    reporter.message(&format!("{file}: weights as {layout} names them"));
    let unused = &loaded.unused;
    if !unused.is_empty() {
        reporter.message(&format!(
            "{file}: the network has no place for {} of its tensors: {}",
            unused.len(),
            first_of(unused)
        ));
    }
}

/// Some names, and how many there are more.
fn first_of(names: &[String]) -> String {
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// In words, what was taken over and what was not.
pub(crate) fn describe(inherited: &Inherited) -> String {
    let Inherited { variables, fresh } = inherited;
    let all = variables.len() + fresh.len();
    let mut text = format!(
        "retrain: {} of {all} parameters and statistics are those of {INITIAL}",
        variables.len()
    );
    if !fresh.is_empty() {
        text += &format!("; fresh: {}", first_of(fresh));
    }
    text
}
