use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use adwp_base::{Failure, Result, to_json};
use adwp_engine::Device;
use adwp_engine::cuda::Precision;
use adwp_measure::ort_library::{self, OrtLibrary};
use adwp_report::SkippedImages;
use adwp_train::{
    BatchSource, Context, Finished, Interrupt, Reporter, RunDir, Streams, read_json_without_schema,
    write_atomic,
};

use crate::architecture::{GENOTYPE, RunArchitecture};
use crate::args::TrainArgs;
use crate::batches;
use crate::config::Config;
use crate::folder::Held;
use crate::images::{Images, open_splits};
use crate::interrupt;
use crate::memory;
use crate::phases::{Training, pending};
use crate::plan::{Plan, deadline};
use crate::settings;
use crate::skipped::{self, Skipped};
use crate::transfer::refuse_frozen_at_random;

/// A run whose plan is being carried out: its settings are stored, its data is open, the lock of
/// its folder is held.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) dir: RunDir,
    pub(crate) streams: Streams,
    pub(crate) device: Device,
    pub(crate) images: Images,
    /// Files that are left out because they cannot be read.
    pub(crate) skipped: SkippedImages,
    interrupt: Interrupt,
    _held: Held,
}

impl Run {
    /// Opens or creates the folder of a run. The folder is touched only once the data is there and
    /// fits the settings, and the machine can hold what they ask for.
    pub(crate) fn open(mut plan: Plan, reporter: &mut dyn Reporter) -> Result<Self> {
        let stored = plan.folder.join(Config::FILE);
        plan.left_out.say(&stored, reporter);
        let config = &mut plan.config;
        let (streams, device) = (Streams::new(config.seed), plan.compute.open(reporter)?);
        let splits = open_splits(config, reporter)?;
        let skipped = match plan.folder.join(skipped::FILE) {
            file if plan.is_begun => Skipped::read(&file, &splits)?,
            _ => Skipped::find(&splits, config, streams, reporter)?,
        };
        let to_search = plan.origin.is_none()
            && pending(plan.phases, &plan.folder).any(|phase| phase != Training::Retrain);
        let images = Images::choose(config, splits, &skipped, streams, to_search)?;
        batches::lower(&mut plan, &images, to_search, (streams, &device), reporter)?;
        let config = &mut plan.config;
        if let Some(origin) = &plan.origin {
            origin.choose_channels(config, &images, plan.is_begun)?;
        }
        let architecture = match &plan.origin {
            Some(origin) => Some(origin.architecture.clone()),
            None => RunArchitecture::of_run(&plan.folder)?,
        };
        if plan.is_begun {
            settings::check(&plan.folder, config)?;
            let computes = plan.is_shared || pending(plan.phases, &plan.folder).next().is_some();
            if computes {
                settings::check_rounding(&plan.folder, &plan.compute)?;
            }
        }
        let is_trained = pending(plan.phases, &plan.folder).any(|phase| phase == Training::Retrain);
        if is_trained {
            refuse_frozen_at_random(config, plan.origin.as_ref(), &plan.folder)?;
        }
        if architecture.is_none() && is_trained && !to_search {
            return Err(not_there(&plan.folder, GENOTYPE, "search"));
        }
        images.check(architecture.as_ref(), to_search, config, streams, &device)?;
        if let Some(origin) = &plan.origin {
            origin.check(config, &images)?;
            origin.announce(config, reporter);
        }
        if plan.check_memory {
            let (phases, folder) = (plan.phases, &plan.folder);
            memory::check(phases, folder, architecture.as_ref(), config, &images, &device)?;
        }
        let phases = settings::of_phases(&plan.config)?;
        let (dir, mut held) = match plan.is_shared {
            true => Held::shared(&plan.folder)?,
            false => Held::open(&plan.folder)?,
        };
        let dir = phases.into_iter().fold(dir, |dir, (phase, text)| dir.with_settings(phase, text));
        held.begin(|| {
            if let Some(origin) = &plan.origin {
                origin.write(&dir, &plan.config, &images)?;
            }
            if !plan.is_begun {
                skipped.write(&dir.file(skipped::FILE))?;
                settings::begin(&dir, &plan.config, &plan.compute)?;
            }
            Ok(write_atomic(&stored, plan.config.to_toml()?.as_bytes())?)
        })?;
        interrupt::resume_with(format!("adwp run {}", plan.continuing));
        let interrupt = interrupt::listen_until(plan.deadline)?;
        let skipped = skipped.count();
        let run = Self { plan, dir, streams, device, images, skipped, interrupt, _held: held };
        let folder = run.dir.path().display();
        for text in run.lost()? {
            reporter.message(&format!("warning: in {folder}, {text}"));
        }
        Ok(run)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.plan.config
    }

    /// A file of the run that an earlier step writes.
    pub(crate) fn needs(&self, file: &str, step: &str) -> Result<PathBuf> {
        let path = self.dir.file(file);
        if path.exists() {
            return Ok(path);
        }
        let failure = not_there(self.dir.path(), file, step);
        Err(match self.plan.is_begun {
            true => failure,
            // The settings of this command are not kept.
            false => failure.hint(format!(
                "`adwp {step} --run {}`, with the flags of this command, writes it",
                self.dir.path().display()
            )),
        })
    }

    /// Whether a step has its result already. Without `--resume` a result or a checkpoint in the
    /// way is an error.
    pub(crate) fn is_done(
        &self,
        step: &str,
        file: &str,
        reporter: &mut dyn Reporter,
    ) -> Result<bool> {
        let (result, checkpoint) = (self.dir.file(file), self.dir.checkpoint(step));
        if self.plan.resume {
            if result.exists() {
                reporter.message(&format!("{step}: {} is there", result.display()));
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

    /// Says how many images of the data set are used, where it is not all, and what decides how the
    /// run computes.
    pub(crate) fn announce(&self, reporter: &mut dyn Reporter) {
        let count = |source: &BatchSource, skipped: usize| match (
            source.indices.len(),
            source.dataset.len() - skipped,
        ) {
            (used, all) if used == all => format!("{used}"),
            (used, all) => format!("a subset of {used} of {all}"),
        };
        let (config, SkippedImages { train, test }) = (self.config(), self.skipped);
        let mut text = format!(
            "{}: {} training and {} test images",
            config.dataset,
            count(&self.images.train, train),
            count(&self.images.test, test)
        );
        if self.skipped != SkippedImages::default() {
            text += &format!("; {train} and {test} that cannot be read are left out");
        }
        reporter.message(&text);
        let is_bf16 =
            matches!(&self.device, Device::Cuda(device) if device.precision() == Precision::Bf16);
        reporter.message(&format!(
            "preset {}, seed {}, {}{}{}, {}",
            config.preset,
            config.seed,
            self.device.name(),
            if is_bf16 { ", bf16" } else { "" },
            if self.device.fuses() { "" } else { ", operations not fused" },
            self.dir.path().display()
        ));
    }

    /// The ONNX Runtime library, or a message that goes on without it.
    pub(crate) fn ort_library(&self, reporter: &mut dyn Reporter) -> Option<OrtLibrary> {
        let e = match ort_library::find(self.plan.ort_lib.as_deref()) {
            Ok(library) => return Some(library),
            Err(e) => e,
        };
        reporter.message(&format!("going on without ONNX Runtime: {e}"));
        if let Some(hint) = e.hint() {
            reporter.message(&format!("hint: {hint}"));
        }
        None
    }

    /// Runs a training phase, counts its time, and turns an interrupt into the message with the
    /// resume command.
    pub(crate) fn phase<T>(
        &self,
        step: &str,
        command: &str,
        reporter: &mut dyn Reporter,
        work: impl FnOnce(&mut Context<'_>) -> Result<Finished<T>>,
    ) -> Result<T> {
        let kept = format!("{} is written", self.dir.checkpoint(step).display());
        self.phases(step, command, &kept, reporter, work)
    }

    /// The same for work that has phases and checkpoints of its own; an interrupt leaves what
    /// `kept` says.
    pub(crate) fn phases<T>(
        &self,
        step: &str,
        command: &str,
        kept: &str,
        reporter: &mut dyn Reporter,
        work: impl FnOnce(&mut Context<'_>) -> Result<Finished<T>>,
    ) -> Result<T> {
        let command = format!("adwp {command} {}", self.plan.continuing);
        interrupt::resume_with(command.clone());
        let start = Instant::now();
        let mut context = Context {
            run: &self.dir,
            resume: self.plan.resume,
            held_bytes: self.images.held_bytes(),
            check_memory: self.plan.check_memory,
            interrupt: &self.interrupt,
            reporter: &mut *reporter,
        };
        let result = interrupt::in_phase(|| work(&mut context));
        reporter.phase_end();
        self.add_time(step, start.elapsed().as_secs_f64())?;
        result?.done().ok_or_else(|| interrupt::stopped(&self.interrupt, kept, &command))
    }

    /// Seconds of every phase so far, over all sessions that ended by themselves.
    pub(crate) fn times(&self) -> Result<BTreeMap<String, f64>> {
        let path = self.dir.file("times.json");
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        Ok(read_json_without_schema(&path)?)
    }

    /// Keeps that a step is done, and the seconds that it took.
    pub(crate) fn finish(&self, step: &str, seconds: f64) -> Result {
        self.add_time(step, seconds)?;
        settings::keep_step(&self.dir, step)
    }

    /// What is missing of the files to which the steps of the run add.
    pub(crate) fn lost(&self) -> Result<Vec<String>> {
        settings::lost(&self.dir, &self.times()?)
    }

    /// Adds to the time of a phase.
    fn add_time(&self, step: &str, seconds: f64) -> Result {
        let mut times = self.times()?;
        *times.entry(step.to_owned()).or_default() += seconds;
        Ok(write_atomic(&self.dir.file("times.json"), to_json(&times).as_bytes())?)
    }
}

/// Does work that needs no images, in a locked folder without a [`Run`], and turns an interrupt into
/// the message with the command that was typed; `kept` says what is left then.
pub(crate) fn without_images<T>(
    dir: &RunDir,
    args: &TrainArgs,
    kept: &str,
    reporter: &mut dyn Reporter,
    work: impl FnOnce(&mut Context<'_>) -> Result<Finished<T>>,
) -> Result<T> {
    let interrupt = interrupt::listen_until(deadline(args))?;
    let command = interrupt::typed_again();
    interrupt::resume_with(command.clone());
    let mut context = Context {
        run: dir,
        resume: args.run.resume,
        held_bytes: 0,
        check_memory: false,
        interrupt: &interrupt,
        reporter,
    };
    let finished = interrupt::in_phase(|| work(&mut context))?;
    finished.done().ok_or_else(|| interrupt::stopped(&interrupt, kept, &command))
}

/// A file that a step of a run writes, and that another needs.
pub(crate) fn not_there(folder: &Path, file: &str, step: &str) -> Failure {
    let failure = Failure::input(format!("{} is not there", folder.join(file).display()));
    failure.hint(format!("`adwp {step} --run {}` writes it", folder.display()))
}
