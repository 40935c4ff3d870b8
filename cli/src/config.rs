use std::path::{Path, PathBuf};

use adwp_base::{Failure, Result, read_settings, unchecked};
use adwp_data::{DatasetKind, ImageShape, Normalization, VAL_SHARE, kind_of_folder};
use adwp_export::RetrainSettings;
use adwp_fidelity::FidelitySettings;
use adwp_models::{Blueprint, Bounds, ModelError, Sizes, Skeleton, Stem, Zoo};
use adwp_search::{Ingredient, SearchSettings, SpaceSettings};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::args::RunArgs;
use crate::epochs;
use crate::retired::{self, LeftOut};
use crate::seal::{self, Changed};
use crate::strategy::StrategyConfig;

/// Everything that decides what a run gives: `config.toml`, with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The preset it started from.
    pub(crate) preset: String,
    /// The data set.
    pub(crate) dataset: DatasetKind,
    /// Its folder; empty for none. A run may be continued with its data elsewhere.
    pub(crate) data: PathBuf,
    /// Height and width that images are brought to; 0 for the size the data set has, for an image
    /// folder 224.
    pub(crate) image_size: usize,
    /// Of an image folder that is not divided into `train` and `val`, the share of images that are for
    /// testing.
    pub(crate) val_share: f64,
    /// Mean of each channel that pixels from 0 to 1 are normalised with; empty for that which belongs
    /// to the data set.
    pub(crate) mean: Vec<f32>,
    /// Standard deviation of each channel; empty for that which belongs to the data set.
    pub(crate) std: Vec<f32>,
    /// Training images used, evenly of all classes; 0 for all.
    pub(crate) train_images: usize,
    /// Of those, images that the intensive space and the search use, drawn at random; 0 for all.
    pub(crate) search_images: usize,
    /// Test images used, evenly of all classes; 0 for all.
    pub(crate) test_images: usize,
    /// Share of the training images that weights learn from in the search; α and validation have
    /// the rest.
    pub(crate) train_share: f64,
    /// Seed of all random numbers.
    pub(crate) seed: u64,
    /// Cells of the network.
    pub(crate) cells: usize,
    /// What comes before the cells.
    pub(crate) stem: Stem,
    pub(crate) limits: LimitSettings,
    pub(crate) space: SpaceSettings,
    pub(crate) search: SearchSettings,
    pub(crate) strategy: StrategyConfig,
    pub(crate) retrain: RetrainSettings,
    pub(crate) fidelity: FidelitySettings,
    pub(crate) bench: BenchSettings,
}

/// What the found network may take at most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitSettings {
    /// Trainable parameters; 0 for any number.
    pub(crate) params: u64,
    /// Multiply-adds for an image; 0 for any number.
    pub(crate) madds: u64,
    /// Milliseconds for an image by the latency table; 0 for any number.
    pub(crate) latency_ms: f64,
    /// The latency table; empty for none.
    pub(crate) latency_table: PathBuf,
    /// Whether all networks of cells have one price: each that a strategy has trained, and the one
    /// that is retrained, gets as many channels as the limits on params and multiply-adds allow;
    /// without these, as leave it the multiply-adds of `zoo:darts-v2` with `retrain.channels`.
    pub(crate) fill: bool,
}

impl LimitSettings {
    /// Whether anything is limited.
    pub(crate) fn are_set(&self) -> bool {
        self.params > 0 || self.madds > 0 || self.latency_ms > 0.0
    }

    /// Those that flags ask for.
    pub(crate) fn of(args: &RunArgs) -> Self {
        Self {
            params: args.max_params.unwrap_or(0),
            madds: args.max_madds.unwrap_or(0),
            latency_ms: args.max_latency_ms.unwrap_or(0.0),
            latency_table: args.latency_table.clone().unwrap_or_default(),
            fill: args.fill,
        }
    }

    /// The network as these settings want it: with the channels that it has, or those that are
    /// worth the price.
    ///
    /// # Errors
    /// When not even the narrowest has it.
    pub(crate) fn filled(&self, network: Blueprint) -> Result<Blueprint, ModelError> {
        let Some(skeleton) = network.skeleton().filter(|_| self.fill) else { return Ok(network) };
        let some = |most: u64| Some(most).filter(|most| *most > 0);
        let mut bounds = Bounds { params: some(self.params), madds: some(self.madds) };
        if bounds == Bounds::default() {
            let Skeleton { stem, cells, channels, classes, image } = skeleton;
            let sizes = Sizes {
                stem: Some(stem),
                cells: Some(cells),
                channels: Some(channels),
                width: None,
                image: Some(image),
                classes: Some(classes),
            };
            let reference = Zoo::embedded().find(PRICE)?.network(sizes)?;
            bounds.madds = Some(reference.cost()?.madds);
        }
        network.widest(bounds)
    }

    /// Checks that each can be kept to.
    pub(crate) fn validate(&self) -> Result {
        let Self { latency_ms, latency_table, .. } = self;
        if !(latency_ms.is_finite() && *latency_ms >= 0.0) {
            let message = format!("limits.latency_ms = {latency_ms} is no number of milliseconds");
            return Err(Failure::input(message));
        }
        if *latency_ms > 0.0 && latency_table.as_os_str().is_empty() {
            let failure =
                Failure::input("a latency can only be kept to with a table of measured operators");
            return Err(failure.hint("name one with --latency-table; `adwp lut build` measures it"));
        }
        if self.fill && *latency_ms > 0.0 {
            let failure = Failure::input(
                "limits.fill chooses channels by params and multiply-adds: a limit on latency is \
                 for networks whose channels are given",
            );
            return Err(failure.hint("--set limits.fill=false, or leave the latency out"));
        }
        Ok(())
    }
}

/// The published cells whose multiply-adds are the price of all networks, where nothing else is.
const PRICE: &str = "darts-v2";

/// A folder is named for a data set that needs none.
pub(crate) fn part_of_program(dir: &Path, dataset: DatasetKind) -> Failure {
    let dir = dir.display();
    let failure = Failure::input(format!(
        "--data {dir}: the data set is {dataset}, which is part of the program"
    ));
    failure.hint("name the data set that is there with --dataset")
}

/// The setting of the channels that a network is retrained with.
pub(crate) const CHANNELS: &str = "retrain.channels";

/// The setting of the width of a network that is no stack of cells.
pub(crate) const WIDTH: &str = "retrain.width";

/// The setting by which all networks have one price.
const FILL: &str = "limits.fill";

/// Whether `--set` names a setting.
pub(crate) fn sets(args: &RunArgs, key: &str) -> bool {
    let names = |set: &String| set.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    args.set.iter().any(names)
}

/// Settings of the latency measurement at the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BenchSettings {
    /// Numbers of threads; a runtime leaves out those it cannot use.
    pub(crate) threads: Vec<usize>,
    /// Least seconds of one repeat.
    pub(crate) min_time: f64,
    /// How often each latency is measured.
    pub(crate) repeats: usize,
    /// Test images that engine, candle and runtimes are compared on before the file is accepted.
    pub(crate) parity_images: usize,
}

impl BenchSettings {
    /// The first setting that another measurement has otherwise, with both values.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let table = |of: &Self| Table::try_from(of).expect("settings are TOML; a test prints them");
        first_difference(&table(self), &table(other), "bench")
    }
}

impl Default for BenchSettings {
    fn default() -> Self {
        Self { threads: vec![1, 2], min_time: 1.0, repeats: 5, parity_images: 64 }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            preset: "cifar10-8".into(),
            dataset: DatasetKind::Cifar10,
            data: PathBuf::new(),
            image_size: 0,
            val_share: VAL_SHARE,
            mean: Vec::new(),
            std: Vec::new(),
            train_images: 0,
            search_images: 0,
            test_images: 0,
            train_share: 0.5,
            seed: 0,
            cells: 8,
            stem: Stem::Cifar,
            limits: LimitSettings::default(),
            space: SpaceSettings::default(),
            search: SearchSettings::default(),
            strategy: StrategyConfig::default(),
            retrain: RetrainSettings::default(),
            fidelity: FidelitySettings::default(),
            bench: BenchSettings::default(),
        }
    }
}

/// Name and text of every preset. Each names only what differs from the defaults, which are the
/// paper's for CIFAR-10 with 8 cells.
pub(crate) const PRESETS: [(&str, &str); 8] = [
    ("demo", include_str!("../presets/demo.toml")),
    ("adwp-cpu", include_str!("../presets/adwp-cpu.toml")),
    ("folder-cpu", include_str!("../presets/folder-cpu.toml")),
    ("study-cpu", include_str!("../presets/study-cpu.toml")),
    ("cifar10-8", include_str!("../presets/cifar10-8.toml")),
    ("cifar10-14", include_str!("../presets/cifar10-14.toml")),
    ("imagenet-8", include_str!("../presets/imagenet-8.toml")),
    ("imagenet-14", include_str!("../presets/imagenet-14.toml")),
];

impl RunArgs {
    /// The settings that have a flag of their own and were given, each with its key.
    fn settings(&self) -> Result<Vec<(&'static str, Value)>> {
        fn value(given: Option<impl Serialize>) -> Result<Option<Value>> {
            given.map(Value::try_from).transpose().map_err(|e| unprintable(&e))
        }
        let absolute = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()))
        };
        let (dropout, early_stop) = (value(self.identity_dropout)?, value(self.early_stop)?);
        let settings = [
            ("dataset", value(self.dataset)?),
            ("data", value(absolute(&self.data))?),
            ("val_share", value(self.val_share)?),
            ("seed", value(self.seed)?),
            ("limits.params", value(self.max_params)?),
            ("limits.madds", value(self.max_madds)?),
            ("limits.latency_ms", value(self.max_latency_ms)?),
            ("limits.latency_table", value(absolute(&self.latency_table))?),
            ("limits.fill", value(self.fill.then_some(true))?),
            ("space.identity_dropout", dropout.clone()),
            ("search.identity_dropout", dropout),
            ("space.early_stop", early_stop.clone()),
            ("search.early_stop", early_stop),
            ("retrain.ema", value(self.ema)?),
            ("retrain.augmentation.auto_augment", value(self.auto_augment)?),
            ("retrain.test_flips", value(self.test_flips.then_some(true))?),
        ];
        Ok(settings.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }
}

impl Config {
    /// Name of the file in the folder of a run.
    pub(crate) const FILE: &str = "config.toml";

    /// What the flags ask for: the preset, then the config file, then single flags.
    pub(crate) fn from_args(args: &RunArgs) -> Result<Self> {
        Self::of_architecture(args, Table::new())
    }

    /// The same, where the settings that follow from an architecture lie over those of the preset.
    pub(crate) fn of_architecture(args: &RunArgs, architecture: Table) -> Result<Self> {
        let mut table = defaults();
        let found = found_data(args)?;
        let usual = match found {
            Some(DatasetKind::ImageFolder) => "folder-cpu",
            _ => "demo",
        };
        let preset = args.preset.as_deref().unwrap_or(usual);
        let Some((_, text)) = PRESETS.iter().find(|(name, _)| *name == preset) else {
            let known = PRESETS.map(|(name, _)| name);
            let failure = Failure::input(format!(
                "there is no preset {preset:?}; there are {}",
                known.join(", ")
            ));
            return Err(suggest(failure, preset, &known));
        };
        let mut layer = parse(text, "preset")?;
        layer.insert("preset".into(), preset.into());
        lay(&mut table, layer, &format!("preset {preset}"))?;
        if let Some(kind) = found {
            table.insert("dataset".into(), kind.name().into());
        }
        lay(&mut table, architecture, "--architecture")?;
        if let Some(path) = &args.config {
            overlay_file(&mut table, path)?;
        }
        let config = Self::with_flags(table, args)?;
        Ok(config)
    }

    /// The settings of a run that is there already, with the single flags given; those that only an
    /// earlier version knew; and in what they are not those that were written.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, is no TOML or has other keys. Of the settings
    /// themselves those of [`Self::from_args`].
    pub(crate) fn stored(
        path: &Path,
        args: &RunArgs,
    ) -> Result<(Result<Self>, LeftOut, Option<Changed>)> {
        let (origin, text) = (path.display().to_string(), read_settings(path)?);
        if text.trim().is_empty() {
            return Err(Failure::input(format!("{origin} is empty"))
                .hint("bring back what it held, or begin the run in another folder"));
        }
        let (mut table, mut stored) = (defaults(), parse(&text, &origin)?);
        let sealed = seal::check(&text, &stored);
        let left_out = LeftOut::of(&mut stored);
        retired::complete(&mut stored);
        lay(&mut table, stored, &origin)?;
        let changed = sealed.map(|is_sealed| {
            if !is_sealed {
                unchecked::remember(path);
            }
        });
        Ok((Self::with_flags(table, args), left_out, changed.err()))
    }

    /// The settings for the architecture of another run on other images: those of that run, but for
    /// what is about its images and its limits; then the config file, then single flags.
    /// `fine_tune` lowers the learning rate that they start from.
    pub(crate) fn transferred(from: &Self, fine_tune: bool, args: &RunArgs) -> Result<Self> {
        let Self { data, train_images, search_images, test_images, limits, .. } = Self::default();
        let limits = LimitSettings { fill: from.limits.fill, ..limits };
        let image_size = match from.image_size {
            0 => from.dataset.image_size(),
            size => size,
        };
        let mut start = Self {
            data,
            image_size,
            train_images,
            search_images,
            test_images,
            limits,
            ..from.clone()
        };
        if fine_tune {
            start.retrain.rate /= FINE_TUNING;
        }
        let mut table = start.to_table();
        if let Some(path) = &args.config {
            overlay_file(&mut table, path)?;
        }
        Self::with_flags(table, args)
    }

    /// What pixels are normalised with, where the settings say it.
    ///
    /// # Errors
    /// Other numbers of constants than images have channels, or constants that cannot be used.
    pub(crate) fn normalization(&self, images: ImageShape) -> Result<Option<Normalization>> {
        let Self { mean, std, .. } = self;
        if mean.is_empty() && std.is_empty() {
            return Ok(None);
        }
        let said = Normalization { mean: mean.clone(), std: std.clone() };
        let channels = said.channels()?;
        if channels != images.channels {
            return Err(Failure::input(format!(
                "mean and std are of {channels} channels, and the images have {}",
                images.channels
            )));
        }
        Ok(Some(said))
    }

    fn to_table(&self) -> Table {
        Table::try_from(self).expect("settings are TOML; a test prints them")
    }

    /// The settings of a table; of what they cannot be the key is named, and `origin`, which said it.
    fn typed(table: Table, origin: &str) -> Result<Self> {
        table.try_into().map_err(|e: toml::de::Error| {
            // The key follows the message in a line of its own.
            let text = e.to_string();
            let key =
                text.trim_end().rsplit_once("\nin `").and_then(|(_, key)| key.strip_suffix('`'));
            let key = key.map(|key| format!("key `{key}`: ")).unwrap_or_default();
            Failure::input(format!("{origin}: {key}{}", e.message().trim_end()))
        })
    }

    fn with_flags(mut table: Table, args: &RunArgs) -> Result<Self> {
        if let Some(scale) = args.epochs_scale {
            epochs::scale(&mut table, scale);
        }
        // What is set for another strategy or scorer is not what these forget.
        let names_one = |set: &&String| {
            ["strategy.name=", "strategy.scorer="].iter().any(|key| set.starts_with(key))
        };
        let (first, then): (Vec<&String>, Vec<&String>) = args.set.iter().partition(names_one);
        for assignment in first.into_iter().chain(then) {
            let Some((key, value)) = assignment.split_once('=') else {
                return Err(Failure::input(format!("--set {assignment}: expected KEY=VALUE")));
            };
            if key.trim() == "preset" {
                let failure = Failure::input(format!(
                    "--set {assignment}: a preset is many settings, and no setting itself"
                ));
                return Err(failure.hint(format!("--preset {}", value.trim())));
            }
            // A bare word is a string: `--set dataset=cifar10`.
            let parsed = toml::from_str::<Table>(&format!("value = {value}"))
                .ok()
                .and_then(|mut table| table.remove("value"));
            let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
            lay(&mut table, layer(key.trim(), value), &format!("--set {assignment}"))?;
        }
        for (key, value) in args.settings()? {
            lay(&mut table, layer(key, value), "flags")?;
        }
        let mut config = Self::typed(table, "settings")?;
        // Channels are not chosen by latency: a limit on it takes the place of a preset's price.
        if config.limits.latency_ms > 0.0 && !args.fill && !sets(args, FILL) {
            config.limits.fill = false;
        }
        config.validate()?;
        let is_bounded = config.limits.params > 0 || config.limits.madds > 0;
        if config.limits.fill && is_bounded && sets(args, CHANNELS) {
            let failure = Failure::input(format!(
                "limits.fill chooses {CHANNELS} for each network, which --set names too"
            ));
            return Err(failure.hint("--set limits.fill=false leaves it at what is set"));
        }
        Ok(config)
    }

    fn validate(&self) -> Result {
        self.space.validate()?;
        self.search.validate()?;
        self.retrain.validate()?;
        self.fidelity.validate()?;
        let fail = |message: String| Err(Failure::input(message));
        if !(self.data.as_os_str().is_empty() || self.dataset.needs_folder()) {
            return Err(part_of_program(&self.data, self.dataset));
        }
        if !(self.train_share > 0.0 && self.train_share < 1.0) {
            return fail(format!("train_share = {} is not between 0 and 1", self.train_share));
        }
        if self.search.keep > self.space.candidates {
            return fail(format!(
                "search.keep = {} exceeds space.candidates = {}",
                self.search.keep, self.space.candidates
            ));
        }
        self.limits.validate()?;
        if !self.strategy.is_gradient() {
            self.strategy.space_of_run()?;
            if self.strategy.evaluations == 0 {
                return fail("strategy.evaluations must be at least 1".into());
            }
            let can_have = |ingredient| match ingredient {
                Ingredient::Table | Ingredient::Drawn => false,
                Ingredient::Latency => !self.limits.latency_table.as_os_str().is_empty(),
                Ingredient::Images | Ingredient::JointTraining | Ingredient::ShortTraining => true,
            };
            self.strategy.check(can_have, |key| format!("strategy.{key}"))?;
        }
        let bench = &self.bench;
        check_latency(&bench.threads, bench.min_time, bench.repeats, |name| {
            format!("bench.{name}")
        })?;
        if bench.parity_images == 0 {
            return fail(
                "bench.parity_images must be at least 1: a file is only accepted after a \
                 comparison"
                    .into(),
            );
        }
        Ok(())
    }

    /// The text of `config.toml`, which begins with its checksum.
    pub(crate) fn to_toml(&self) -> Result<String> {
        let text = toml::to_string(self).map_err(|e| unprintable(&e))?;
        Ok(seal::seal(&parse(&text, "settings")?) + &text)
    }

    /// The first setting in which another configuration would give another result, with both
    /// values.
    ///
    /// Where the data lies, how latency is measured, how large a study of the run is and from which
    /// preset the settings came does not change the result.
    pub(crate) fn difference(&self, other: &Self) -> Result<Option<String>> {
        let table = |config: &Self| parse(&config.to_toml()?, "settings");
        let (mut a, mut b) = (table(self)?, table(other)?);
        for key in ["data", "bench", "fidelity", "preset"] {
            a.remove(key);
            b.remove(key);
        }
        Ok(first_difference(&a, &b, ""))
    }

    /// The batch of every phase, with its key.
    pub(crate) fn batches(&mut self) -> [(&'static str, &mut usize); 3] {
        [
            ("space.batch", &mut self.space.batch),
            ("search.batch", &mut self.search.batch),
            ("retrain.batch", &mut self.retrain.batch),
        ]
    }

    /// The folder of the data set, where one was named.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        Some(self.data.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}

/// Longest repeat of a latency measurement, in seconds.
const LONGEST_REPEAT: f64 = 3600.0;

/// More threads than any processor has cores are a mistake that a runtime would wait on.
const MOST_THREADS: usize = 1024;

/// Checks what a latency measurement is asked for; `name` is how the user knows a setting.
pub(crate) fn check_latency(
    threads: &[usize],
    min_time: f64,
    repeats: usize,
    name: impl Fn(&str) -> String,
) -> Result {
    let fail = |setting: &str, message: String| {
        Err(Failure::input(format!("{}: {message}", name(setting))))
    };
    if !(0.0..=LONGEST_REPEAT).contains(&min_time) {
        return fail(
            "min_time",
            format!("{min_time} is no number of seconds in 0 to {LONGEST_REPEAT}"),
        );
    }
    if threads.is_empty() || threads.iter().any(|threads| !(1..=MOST_THREADS).contains(threads)) {
        return fail("threads", format!("{threads:?} are not numbers in 1 to {MOST_THREADS}"));
    }
    if repeats == 0 {
        return fail("repeats", "there must be at least 1".into());
    }
    Ok(())
}

/// What the learning rate of a run is divided by where its weights are fine-tuned: a tenth is
/// customary.
const FINE_TUNING: f32 = 10.0;

pub(crate) fn unprintable(error: &toml::ser::Error) -> Failure {
    Failure::failed(format!("cannot print the settings as TOML: {error}"))
}

fn defaults() -> Table {
    Config::default().to_table()
}

/// Lays the settings of a file over those of a table.
fn overlay_file(table: &mut Table, path: &Path) -> Result {
    lay(table, parse_file(path)?, &path.display().to_string())
}

fn parse_file(path: &Path) -> Result<Table> {
    let origin = path.display().to_string();
    let text = read_settings(path)?;
    parse(&text, &origin)
}

/// The kind of the data that was named, where nothing else says it.
fn found_data(args: &RunArgs) -> Result<Option<DatasetKind>> {
    let is_said = args.preset.is_some()
        || args.config.is_some()
        || args.dataset.is_some()
        || args.set.iter().any(|set| set.trim_start().starts_with("dataset"));
    let Some(dir) = args.data.as_deref().filter(|_| !is_said) else { return Ok(None) };
    match kind_of_folder(dir) {
        Some(kind) => Ok(Some(kind)),
        None if !dir.exists() => {
            Err(Failure::input(format!("--data {}: there is no such folder", dir.display())))
        }
        None => Err(Failure::input(format!(
            "{}: no data set is known by its files",
            dir.display()
        ))
        .hint(
            "a folder of images has train/CLASS/ and val/CLASS/; name another kind with --dataset",
        )),
    }
}

/// A layer with one setting: the value of `search.epochs` lies in a table `search`.
fn layer(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((table, rest)) => Table::from_iter([(table.to_owned(), layer(rest, value).into())]),
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

pub(crate) fn parse(text: &str, origin: &str) -> Result<Table> {
    toml::from_str(text)
        .map_err(|e| Failure::input(format!("{origin}: {}", e.to_string().trim_end())))
}

/// The table whose keys are the strategy's, which knows them.
const OPEN: &str = "strategy.settings";

/// Drops what `table` has for its strategy and its scorer alone where `layer` names others.
fn forget_settings(table: &mut Table, layer: &Table) {
    let is_another =
        |table: &Table, key: &str| layer.get(key).is_some_and(|of| table.get(key) != Some(of));
    if is_another(table, "scorer") {
        table.insert("training_scale".into(), Value::Float(1.0));
    }
    if let (true, Some(Value::Table(settings))) =
        (is_another(table, "name"), table.get_mut("settings"))
    {
        settings.clear();
    }
}

/// Replaces settings by those of a layer, which `origin` has said; each must be known, and have a
/// value that it can have.
fn lay(table: &mut Table, layer: Table, origin: &str) -> Result {
    overlay(table, layer, origin, "")?;
    Config::typed(table.clone(), origin).map(|_| ())
}

/// [`lay`] below a path; of values only the type is looked at.
fn overlay(table: &mut Table, layer: Table, origin: &str, path: &str) -> Result {
    for (key, value) in layer {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if path == OPEN {
            table.entry(&key).or_insert(Value::Float(0.0));
        }
        let Some(old) = table.get_mut(&key) else {
            if let Some(failure) = retired::refusal(&full, origin) {
                return Err(failure);
            }
            let failure = Failure::input(format!("{origin}: unknown key `{full}`"));
            return Err(suggest_key(failure, &dotted(&full, &value)));
        };
        match (old, value) {
            (Value::Table(old), Value::Table(new)) => {
                if full == "strategy" {
                    forget_settings(old, &new);
                }
                overlay(old, new, origin, &full)?;
            }
            (Value::Float(old), Value::Integer(new)) => *old = new as f64,
            // No setting of this type is less than 0.
            (Value::Integer(_), Value::Integer(new)) if new < 0 => {
                return Err(Failure::input(format!(
                    "{origin}: key `{full}` must be at least 0, not {new}"
                )));
            }
            (Value::Array(_), Value::Array(new)) if new.iter().any(is_negative) => {
                return Err(Failure::input(format!(
                    "{origin}: key `{full}` must hold numbers of at least 0"
                )));
            }
            (old, new) if old.same_type(&new) => *old = new,
            (old, new) => {
                let (expected, found) = (old.type_str(), new.type_str());
                return Err(Failure::input(format!(
                    "{origin}: key `{full}` must be of type {expected}, not {found}"
                )));
            }
        }
    }
    Ok(())
}

fn is_negative(value: &Value) -> bool {
    value.as_integer().is_some_and(|value| value < 0)
}

/// The whole key of a setting, where a table has no other.
fn dotted(path: &str, value: &Value) -> String {
    match value {
        Value::Table(table) if table.len() == 1 => {
            let (key, value) = table.iter().next().expect("a table of one");
            dotted(&format!("{path}.{key}"), value)
        }
        _ => path.to_owned(),
    }
}

/// Adds the settings to a failure that an unknown key may mean: those that end in it, or else the
/// nearest of all.
fn suggest_key(failure: Failure, wrong: &str) -> Failure {
    fn collect(table: &Table, path: &str, all: &mut Vec<String>) {
        for (key, value) in table {
            let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match value {
                Value::Table(table) => collect(table, &full, all),
                _ => all.push(full),
            }
        }
    }
    let mut all = Vec::new();
    collect(&defaults(), "", &mut all);
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let those = |is_meant: &dyn Fn(&str) -> bool| -> Vec<String> {
        let meant = all.iter().filter(|key| !wrong.contains('.') && is_meant(&last(key)));
        meant.map(|key| format!("`{key}`")).collect()
    };
    let mut ends = those(&|last| last == wrong);
    // A word of a key, such as what is counted.
    const MOST: usize = 4;
    if ends.is_empty() {
        ends = those(&|last| last.split('_').any(|word| word == wrong));
        if ends.len() > MOST {
            // Those of the whole run come before those of a phase.
            ends.retain(|key| !key.contains('.'));
        }
        ends.truncate(MOST);
    }
    if let [others @ .., end] = ends.as_slice() {
        let others = others.join(", ");
        let or = if others.is_empty() { "" } else { " or " };
        return failure.hint(format!("did you mean {others}{or}{end}?"));
    }
    // A key without its table may be meant as well as one with all of it.
    let distance = |key: &&str| {
        let to = |known: &str| strsim::damerau_levenshtein(wrong, known);
        // A key whose table is another one is nearer than any other key.
        let is_elsewhere = last(key) == last(wrong);
        (to(key).min(to(&last(key))).min(if is_elsewhere { 1 } else { usize::MAX }), to(key))
    };
    match all.iter().map(String::as_str).min_by_key(distance) {
        Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
        None => failure,
    }
}

/// Adds the nearest known name to a failure.
fn suggest(failure: Failure, wrong: &str, known: &[&str]) -> Failure {
    let distance = |name: &&&str| (strsim::damerau_levenshtein(wrong, name), name.len());
    match known.iter().min_by_key(distance) {
        Some(nearest) => failure.hint(format!("did you mean `{nearest}`?")),
        None => failure,
    }
}

pub(crate) fn first_difference(a: &Table, b: &Table, path: &str) -> Option<String> {
    a.iter().find_map(|(key, a)| {
        let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match (a, b.get(key)) {
            (Value::Table(a), Some(Value::Table(b))) => first_difference(a, b, &full),
            (a, Some(b)) if a == b => None,
            (a, Some(b)) => Some(format!("{full} is {a}, not {b}")),
            (a, None) => Some(format!("{full} is {a}")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use crate::transfer::Origin;
    use clap::Parser;
    use std::collections::BTreeMap;

    fn config(flags: &[&str]) -> Result<Config> {
        let Command::Run(args) = Args::parse_from(["adwp", "run"].iter().chain(flags)).command
        else {
            unreachable!()
        };
        Config::from_args(&args.run)
    }

    #[test]
    fn every_preset_is_complete_and_valid() {
        for (name, _) in PRESETS {
            let config = config(&["--preset", name]).unwrap();
            assert_eq!(config.preset, name);
            let again: Config = toml::from_str(&config.to_toml().unwrap()).unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn the_defaults_are_the_papers() {
        let expected = Config { preset: "cifar10-8".into(), ..Config::default() };
        assert_eq!(config(&["--preset", "cifar10-8"]).unwrap(), expected);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_valid_one() {
        let failure = config(&["--set", "search.epoch=3"]).unwrap_err();
        assert!(failure.message.contains("search.epoch"), "{failure:?}");
        assert_eq!(failure.hint.as_deref(), Some("did you mean `search.epochs`?"));
        for (wrong, meant) in [
            ("epochs", "`retrain.epochs`, `search.epochs` or `space.epochs`"),
            ("search.chanels", "`search.channels`"),
            ("hiden", "`search.hidden`"),
            ("seach.epochs", "`search.epochs`"),
            ("retrian.epochs", "`retrain.epochs`"),
            ("retrain.latency_ms", "`limits.latency_ms`"),
            ("train_image", "`train_images`"),
            ("images", "`search_images`, `test_images` or `train_images`"),
        ] {
            let failure = config(&["--set", &format!("{wrong}=3")]).unwrap_err();
            let expected = format!("did you mean {meant}?");
            assert_eq!(failure.hint, Some(expected), "{wrong}");
        }
        assert!(
            config(&["--set", "search.epochs=many"])
                .unwrap_err()
                .message
                .contains("must be of type integer")
        );
        assert_eq!(
            config(&["--preset", "demi"]).unwrap_err().hint.as_deref(),
            Some("did you mean `demo`?")
        );
    }

    #[test]
    fn what_earlier_versions_wrote_is_read_of_a_run_and_refused_of_a_user() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(Config::FILE);
        let expected = config(&["--preset", "cifar10-8"]).unwrap();
        let text = expected.to_toml().unwrap();
        // They wrote no checksum, in the first line.
        let text = text.split_once('\n').unwrap().1;
        let old = text
            .replace("[fidelity]\n", "[fidelity]\nrandom = 0\n")
            .replace("training_scale = 1.0\n", "training_image_size = 0\n");
        assert!(old.contains("random = 0") && !old.contains("training_scale"), "{old}");
        std::fs::write(&file, old).unwrap();
        let (read, _) = crate::settings::read(&file, &RunArgs::default()).unwrap();
        assert_eq!(read, expected);
        std::fs::write(&file, text.replace("[fidelity]\n", "[fidelity]\nrandum = 0\n")).unwrap();
        let failure = crate::settings::read(&file, &RunArgs::default()).err().unwrap();
        assert!(failure.message.contains("unknown key `fidelity.randum`"), "{failure:?}");

        std::fs::write(&file, "[fidelity]\nrandom = 0\n").unwrap();
        for flags in [
            ["--config", file.to_str().unwrap()],
            ["--set", "fidelity.random=0"],
            ["--set", "strategy.training_image_size=14"],
        ] {
            let failure = config(&flags).unwrap_err();
            assert!(failure.message.contains("any more"), "{failure:?}");
            let hint = failure.hint.unwrap_or_default();
            assert!(
                hint.contains("fidelity.searches") || hint.contains("training_scale"),
                "{hint}"
            );
        }
    }

    #[test]
    fn flags_override_and_differences_are_named() {
        let a = config(&["--set", "retrain.rate=1"]).unwrap();
        assert_eq!(a.retrain.rate, 1.0);
        let mut b = a.clone();
        b.data = "/elsewhere".into();
        assert_eq!(a.difference(&b).unwrap(), None);
        b.seed = 7;
        assert_eq!(a.difference(&b).unwrap().as_deref(), Some("seed is 0, not 7"));
    }

    #[test]
    fn another_strategy_does_not_have_the_settings_of_the_one_of_the_preset() {
        let demo = config(&[]).unwrap().strategy;
        assert_eq!((demo.name.as_str(), demo.settings["initial"]), ("prednas", 8.0));
        let random = config(&["--set", "strategy.name=random"]).unwrap().strategy;
        assert!(random.settings.is_empty());
        let same = config(&["--set", "strategy.name=prednas"]).unwrap().strategy;
        assert_eq!(same, demo);
        let flags =
            ["--set", "strategy.name=evolution", "--set", "strategy.settings.sample_size=3"];
        let own = config(&flags).unwrap().strategy;
        assert_eq!(own.settings, BTreeMap::from([("sample_size".to_owned(), 3.0)]));
        let turned = [flags[2], flags[3], flags[0], flags[1]];
        assert_eq!(config(&turned).unwrap().strategy, own);
        assert_eq!(demo.training_scale, 0.5);
        let naswot = config(&["--set", "strategy.scorer=naswot"]).unwrap().strategy;
        assert_eq!(naswot.training_scale, 1.0);
        // A limit on latency is for networks whose channels are given.
        let latency = ["--max-latency-ms", "1", "--latency-table", "x.json"];
        assert!(!config(&latency).unwrap().limits.fill);
        assert!(config(&[&latency[..], &["--fill"]].concat()).is_err());
    }

    #[test]
    fn without_limits_the_price_is_that_of_published_cells_with_these_channels() {
        let sizes = Sizes {
            cells: Some(4),
            channels: Some(8),
            image: Some([1, 28, 28]),
            ..Sizes::default()
        };
        let network = |name: &str| Zoo::embedded().find(name).unwrap().network(sizes).unwrap();
        let limits = LimitSettings { fill: true, ..LimitSettings::default() };
        let price = network("darts-v2").cost().unwrap().madds;
        assert_eq!(limits.filled(network("darts-v2")).unwrap(), network("darts-v2"));
        for name in ["gdas", "p-darts", "nasnet-a"] {
            let filled = limits.filled(network(name)).unwrap();
            let madds = filled.cost().unwrap().madds;
            assert!(madds <= price && 10 * madds > 7 * price, "{name}: {madds} of {price}");
        }
        let given = LimitSettings { madds: 1_000_000, ..limits };
        assert!(given.filled(network("gdas")).unwrap().cost().unwrap().madds <= 1_000_000);
        let as_they_are = LimitSettings { fill: false, ..given };
        assert_eq!(as_they_are.filled(network("gdas")).unwrap(), network("gdas"));
    }

    #[test]
    fn a_given_architecture_is_not_made_smaller_by_a_preset() {
        let limits = |flags: &[&str]| {
            let args = ["adwp", "retrain", "--architecture", "zoo:darts-v2", "--run", "x"];
            let args = Args::parse_from(args.iter().chain(flags));
            let Command::Retrain(args) = args.command else { unreachable!() };
            let origin = Origin::read(&args).unwrap().unwrap();
            origin.config(&args.train.run).unwrap().limits
        };
        assert!(config(&[]).unwrap().limits.fill);
        assert_eq!(limits(&[]), LimitSettings::default());
        let asked = limits(&["--max-madds", "5M", "--fill"]);
        assert_eq!((asked.madds, asked.fill), (5_000_000, true));
        assert_eq!(limits(&["--target-madds", "5M"]), LimitSettings::default());
        assert_eq!(limits(&["--set", "retrain.channels=16"]), LimitSettings::default());
    }
}
