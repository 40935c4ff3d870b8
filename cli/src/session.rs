use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use adwp_base::{Failure, to_json};
use adwp_data::{Dataset, DatasetKind, OpenOptions, Splits, split};
use adwp_deploy::ort_library;
use adwp_engine::Device;
use adwp_engine::cuda::Precision;
use adwp_export::Network;
use adwp_models::{ModelError, Skeleton};
use adwp_report::SkippedImages;
use adwp_search::Data;
use adwp_train::{
    BatchSource, Context, Interrupt, RunDir, StopReason, Streams, TrainError, read_text,
    write_atomic,
};

use crate::architecture::RunArchitecture;
use crate::args::RunArgs;
use crate::config::Config;
use crate::device::DeviceChoice;
use crate::interrupt;
use crate::memory::{self, Training};
use crate::progress::{Console, Verbosity};
use crate::skipped::{self, Skipped};
use crate::transfer::Origin;

/// Test images in a batch of the engine; a size of its own so that results do not depend on
/// training settings.
const TEST_BATCH: usize = 50;

/// A run folder that is open: its settings are validated and stored, its lock is held.
pub(crate) struct Session {
    pub(crate) run: RunDir,
    pub(crate) config: Config,
    pub(crate) streams: Streams,
    pub(crate) device: Device,
    pub(crate) console: Console,
    pub(crate) ort_lib: Option<PathBuf>,
    interrupt: Interrupt,
    pub(crate) resume: bool,
    check_memory: bool,
    /// What follows the name of the step in a command that goes on with the run.
    continuing: String,
    pub(crate) images: Images,
    /// Files that are left out because they cannot be read.
    pub(crate) skipped: SkippedImages,
    /// Held as long as the session lives.
    _lock: File,
}

/// The images of a run.
pub(crate) struct Images {
    /// All that retraining uses.
    pub(crate) train: BatchSource,
    /// Those of them that the search uses.
    pub(crate) search: BatchSource,
    pub(crate) test: BatchSource,
}

impl Images {
    fn choose(
        config: &Config,
        splits: Splits,
        skipped: &Skipped,
        streams: Streams,
    ) -> Result<Self, Failure> {
        let Splits { train, test, normalization } = splits;
        let source = |dataset: Arc<Dataset>, indices: Vec<u32>| {
            let normalization = normalization.clone();
            BatchSource { dataset, indices, normalization, batch: TEST_BATCH, stored: None }
        };
        let train_indices = skipped.train_indices(&train, config.train_images, streams)?;
        let test_indices = skipped.test_indices(&test, config.test_images, streams)?;
        let (train, test) = (source(train, train_indices), source(test, test_indices));
        let (wanted, available) = (config.search_images, train.indices.len());
        if wanted > available {
            return Err(Failure::input(format!(
                "search_images = {wanted} exceeds the {available} training images of the run"
            )));
        }
        let mut search = train.clone();
        if wanted > 0 {
            (search.indices, _) = split(
                &train.indices,
                wanted as f64 / available as f64,
                streams.seed_for("subset/search"),
            )?;
        }
        Ok(Self { train, search, test })
    }

    /// Checks that the settings of retraining `architecture`, and where they are still `to_search`
    /// of the phases before it, fit the images.
    fn check(
        &self,
        architecture: Option<&RunArchitecture>,
        to_search: bool,
        config: &Config,
        streams: Streams,
        device: &Device,
    ) -> Result<(), Failure> {
        let retrained = self.skeleton(config, config.retrain.channels);
        match architecture {
            Some(architecture) => {
                let network = architecture.network(retrained)?;
                config.retrain.check_network(&network)?;
                network.build(1, None)?;
            }
            None => {
                for channels in [config.space.channels, config.search.channels] {
                    self.skeleton(config, channels).validate()?;
                }
                retrained.validate()?;
            }
        }
        BatchSource { batch: config.retrain.batch, ..self.train.clone() }.steps()?;
        if !to_search {
            return Ok(());
        }
        let data = self.search_data(config, streams, device)?;
        for batch in [config.space.batch, config.search.batch] {
            for half in [&data.train, &data.validation] {
                BatchSource { batch, ..half.clone() }.steps()?;
            }
        }
        Ok(())
    }

    /// Bytes of the pixels that are in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        let in_memory = |dataset: &&Arc<Dataset>| dataset.path(0).is_none();
        [&self.train.dataset, &self.test.dataset]
            .into_iter()
            .filter(in_memory)
            .map(|d| d.len() * d.shape().values())
            .sum()
    }

    pub(crate) fn skeleton(&self, config: &Config, channels: usize) -> Skeleton {
        let shape = self.train.dataset.shape();
        let image = [shape.channels, shape.height, shape.width];
        Skeleton {
            stem: config.stem,
            cells: config.cells,
            channels,
            classes: self.train.dataset.classes().len(),
            image,
        }
    }

    /// A network of these images with the channels of retraining.
    pub(crate) fn network(
        &self,
        config: &Config,
        architecture: &RunArchitecture,
    ) -> Result<Network, ModelError> {
        Ok(Network {
            name: architecture.name().map(str::to_owned),
            blueprint: architecture.network(self.skeleton(config, config.retrain.channels))?,
            dataset: config.dataset.to_string(),
            classes: self.train.dataset.classes().to_vec(),
            normalization: self.train.normalization.clone(),
        })
    }

    pub(crate) fn search_data(
        &self,
        config: &Config,
        streams: Streams,
        device: &Device,
    ) -> Result<Data, Failure> {
        Ok(Data::new(
            self.skeleton(config, config.retrain.channels),
            &self.search,
            config.train_share,
            streams,
            device,
        )?)
    }
}

/// How a command treats a run folder that has settings already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It must be asked to with `--resume`.
    NeedsResume,
    /// Steps of one run follow each other in one folder.
    Continues,
}

impl Session {
    /// Opens or creates the folder of a run, to do `phases` in it.
    pub(crate) fn open(
        args: &RunArgs,
        verbosity: Verbosity,
        existing: Existing,
        phases: &[Training],
    ) -> Result<Self, Failure> {
        Self::open_from(None, args, verbosity, existing, phases)
    }

    /// The same for a run whose architecture comes from another.
    pub(crate) fn open_from(
        origin: Option<&Origin>,
        args: &RunArgs,
        verbosity: Verbosity,
        existing: Existing,
        phases: &[Training],
    ) -> Result<Self, Failure> {
        let device: DeviceChoice = args.device.parse()?;
        let path = match (&args.run, &args.preset) {
            (Some(run), _) => run.clone(),
            (None, preset) => Path::new("runs").join(preset.as_deref().unwrap_or("demo")),
        };
        let stored = path.join("config.toml");
        let mut config = if stored.exists() {
            if existing == Existing::NeedsResume && !args.resume {
                let failure = Failure::input(format!("{} holds a run already", path.display()));
                return Err(
                    failure.hint("add --resume to continue it, or name another folder with --run")
                );
            }
            stored_config(&stored, args, origin)?
        } else {
            wanted_config(args, origin)?
        };
        if let Some(library) = &args.ort.ort_lib {
            ort_library::find(Some(library))?;
        }
        // The folder is touched only once the data is there and fits the settings, and the machine
        // can hold what they ask for.
        let mut console = Console::new(verbosity);
        let (streams, device) = (Streams::new(config.seed), device.open(args, &mut console)?);
        let splits = open_splits(config.dataset, config.data_dir(), config.image_size)?;
        let skipped = match path.join(skipped::FILE) {
            file if stored.exists() => Skipped::read(&file, &splits)?,
            _ => Skipped::find(&splits, &config, streams, &mut console)?,
        };
        let images = Images::choose(&config, splits, &skipped, streams)?;
        if let Some(origin) = origin {
            origin.choose_channels(&mut config, &images, stored.exists())?;
        }
        let to_search = origin.is_none()
            && memory::pending(phases, &path).any(|phase| phase != Training::Retrain);
        let architecture = match origin {
            Some(origin) => Some(origin.architecture.clone()),
            None => RunArchitecture::of_run(&path)?,
        };
        images.check(architecture.as_ref(), to_search, &config, streams, &device)?;
        if let Some(origin) = origin {
            origin.check(&config, &images)?;
            origin.announce(&config, &mut console);
        }
        if !args.no_memory_check {
            memory::check(phases, &path, architecture.as_ref(), &config, &images, &device)?;
        }
        let run = RunDir::create(&path)?;
        let lock = lock(&run)?;
        run.remove_partial_files()?;
        if let Some(origin) = origin {
            origin.write(&run)?;
        }
        if !stored.exists() {
            skipped.write(&run.file(skipped::FILE))?;
        }
        write_atomic(&stored, config.to_toml()?.as_bytes())?;
        let continuing = continuing(args, &path);
        interrupt::resume_with(format!("adwp run {continuing}"));
        Ok(Self {
            streams,
            device,
            console,
            ort_lib: args.ort.ort_lib.clone(),
            interrupt: interrupt::listen()?,
            resume: args.resume,
            check_memory: !args.no_memory_check,
            continuing,
            images,
            skipped: skipped.count(),
            run,
            config,
            _lock: lock,
        })
    }

    /// The same session, whose training stops at a moment of time, where one is given.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        match deadline {
            Some(deadline) => Self { interrupt: self.interrupt.with_deadline(deadline), ..self },
            None => self,
        }
    }

    /// A file of the run that an earlier step writes.
    pub(crate) fn needs(&self, file: &str, step: &str) -> Result<PathBuf, Failure> {
        let path = self.run.file(file);
        if path.exists() {
            return Ok(path);
        }
        let failure = Failure::input(format!("{} is not there", path.display()));
        Err(failure.hint(format!("`adwp {step} --run {}` writes it", self.run.path().display())))
    }

    /// Whether a step has its result already. Without `--resume` a result or a checkpoint in the
    /// way is an error.
    pub(crate) fn is_done(&mut self, step: &str, file: &str) -> Result<bool, Failure> {
        let (result, checkpoint) = (self.run.file(file), self.run.checkpoint(step));
        if self.resume {
            if result.exists() {
                self.console.say(&format!("{step}: {} is there", result.display()));
            }
            return Ok(result.exists());
        }
        match [result, checkpoint].into_iter().find(|path| path.exists()) {
            None => Ok(false),
            Some(path) => {
                let failure =
                    Failure::input(format!("{step}: {} is there already", path.display()));
                Err(failure
                    .hint("add --resume to go on from it, or delete it to do this step again"))
            }
        }
    }

    /// Sizes of the network with the channels of a phase.
    pub(crate) fn skeleton(&self, channels: usize) -> Skeleton {
        self.images.skeleton(&self.config, channels)
    }

    /// What the search phases work on: the images of the search in two parts.
    pub(crate) fn search_data(&self) -> Result<Data, Failure> {
        self.images.search_data(&self.config, self.streams, &self.device)
    }

    /// Says how many images of the data set are used, where it is not all.
    pub(crate) fn announce(&mut self) {
        let Images { train, test, .. } = &self.images;
        let count = |source: &BatchSource, skipped: usize| match (
            source.indices.len(),
            source.dataset.len() - skipped,
        ) {
            (used, all) if used == all => format!("{used}"),
            (used, all) => format!("a subset of {used} of {all}"),
        };
        let (train, test) = (count(train, self.skipped.train), count(test, self.skipped.test));
        let mut text = format!("{}: {train} training and {test} test images", self.config.dataset);
        if self.skipped != SkippedImages::default() {
            let SkippedImages { train, test } = self.skipped;
            text += &format!("; {train} and {test} that cannot be read are left out");
        }
        let settings = format!(
            "preset {}, seed {}, {}{}{}, {}",
            self.config.preset,
            self.config.seed,
            self.device.name(),
            if is_bf16(&self.device) { ", bf16" } else { "" },
            if self.device.fuses() { "" } else { ", operations not fused" },
            self.run.path().display()
        );
        self.console.say(&text);
        self.console.say(&settings);
    }

    /// Runs a training phase, counts its time, and turns an interrupt into the message with the
    /// resume command.
    pub(crate) fn phase<T>(
        &mut self,
        step: &str,
        command: &str,
        work: impl FnOnce(&mut Context<'_>) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let kept = format!("{} is written", self.run.checkpoint(step).display());
        self.phases(step, command, &kept, work)
    }

    /// The same for work that has phases and checkpoints of its own; `kept` tells what an interrupt
    /// leaves.
    pub(crate) fn phases<T>(
        &mut self,
        step: &str,
        command: &str,
        kept: &str,
        work: impl FnOnce(&mut Context<'_>) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        interrupt::resume_with(format!("adwp {command} {}", self.continuing));
        let start = Instant::now();
        let mut context = Context {
            run: &self.run,
            resume: self.resume,
            held_bytes: self.images.held_bytes(),
            check_memory: self.check_memory,
            interrupt: &self.interrupt,
            reporter: &mut self.console,
        };
        let result = interrupt::in_phase(|| work(&mut context));
        self.console.clear();
        self.add_time(step, start.elapsed().as_secs_f64())?;
        match result? {
            Some(result) => Ok(result),
            None => {
                let why = match self.interrupt.reason() {
                    Some(StopReason::Deadline) => "the time of --max-minutes is over",
                    Some(StopReason::Requested) | None => "interrupted",
                };
                let failure = Failure::interrupted(format!("{why}; {kept}"));
                Err(failure.hint(format!("continue with `adwp {command} {}`", self.continuing)))
            }
        }
    }

    /// Seconds of every phase so far, over all sessions that ended by themselves.
    pub(crate) fn times(&self) -> Result<BTreeMap<String, f64>, Failure> {
        let path = self.run.file("times.json");
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let damaged = |e: serde_json::Error| TrainError::Damaged {
            path: path.clone(),
            reason: e.to_string(),
        };
        Ok(serde_json::from_str(&read_text(&path)?).map_err(damaged)?)
    }

    /// Adds to the time of a phase.
    pub(crate) fn add_time(&self, step: &str, seconds: f64) -> Result<(), Failure> {
        let mut times = self.times()?;
        *times.entry(step.to_owned()).or_default() += seconds;
        Ok(write_atomic(&self.run.file("times.json"), to_json(&times).as_bytes())?)
    }
}

/// The arguments that continue the run: its folder, and the flags that are no settings but decide
/// how it computes.
fn continuing(args: &RunArgs, path: &Path) -> String {
    let flags = [
        (args.precision == Precision::Bf16, " --precision bf16"),
        (args.no_fuse, " --no-fuse"),
        (args.no_memory_check, " --no-memory-check"),
    ];
    let flags: String =
        flags.into_iter().filter(|(given, _)| *given).map(|(_, flag)| flag).collect();
    let device =
        if args.device == "auto" { String::new() } else { format!(" --device {}", args.device) };
    format!("--run {} --resume{device}{flags}", path.display())
}

/// Opens a data set; `image_size` 0 is the size it has.
pub(crate) fn open_splits(
    kind: DatasetKind,
    dir: Option<&Path>,
    image_size: usize,
) -> Result<Splits, Failure> {
    let options = OpenOptions { image_size: (image_size > 0).then_some(image_size) };
    Ok(adwp_data::open(kind, dir, &options)?)
}

/// The settings that the flags ask for.
fn wanted_config(args: &RunArgs, origin: Option<&Origin>) -> Result<Config, Failure> {
    match origin {
        Some(origin) => origin.config(args),
        None => Config::from_args(args),
    }
}

/// The settings of the run in the folder; what the flags ask for must be the same.
fn stored_config(path: &Path, args: &RunArgs, origin: Option<&Origin>) -> Result<Config, Failure> {
    let stored = Config::read(path, &RunArgs::default())?;
    let wanted = if args.preset.is_some() || args.config.is_some() {
        let mut wanted = wanted_config(args, origin)?;
        if args.data.is_none() {
            wanted.data.clone_from(&stored.data);
        }
        if origin.is_some_and(Origin::chooses_channels) {
            // They follow from the images, which are compared later.
            wanted.retrain.channels = stored.retrain.channels;
        }
        wanted
    } else {
        Config::read(path, args)?
    };
    match stored.difference(&wanted)? {
        None => Ok(wanted),
        Some(difference) => {
            let folder = path.parent().unwrap_or(path);
            let failure = Failure::input(format!(
                "{} belongs to another configuration: {difference}",
                folder.display()
            ));
            Err(failure
                .hint("leave the flag out to continue that run, or name another folder with --run"))
        }
    }
}

fn is_bf16(device: &Device) -> bool {
    matches!(device, Device::Cuda(device) if device.precision() == Precision::Bf16)
}

fn lock(run: &RunDir) -> Result<File, Failure> {
    let path = run.file("lock");
    let fail = |source| TrainError::File { action: "write", path: path.clone(), source };
    let file = File::create(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::input(format!("another adwp is working in {}", run.path().display()))
                .hint("wait for it, or name another folder with --run"))
        }
        Err(TryLockError::Error(e)) => Err(fail(e).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    #[test]
    fn a_run_is_continued_as_it_was_begun() {
        let continued = |flags: &[&str]| {
            let Command::Run(args) = Args::parse_from(["adwp", "run"].iter().chain(flags)).command
            else {
                unreachable!()
            };
            continuing(&args.run, Path::new("runs/a"))
        };
        assert_eq!(continued(&["--seed", "3"]), "--run runs/a --resume");
        assert_eq!(
            continued(&["--no-memory-check", "--no-fuse"]),
            "--run runs/a --resume --no-fuse --no-memory-check"
        );
        assert_eq!(
            continued(&["--precision", "bf16", "--device", "cuda:1"]),
            "--run runs/a --resume --device cuda:1 --precision bf16"
        );
    }
}
