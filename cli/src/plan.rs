//! What a command in the folder of a run is to do: what was typed, completed by the settings that
//! are stored there, and checked. Nothing is written for a plan, and no data set is opened.

use std::path::{Path, PathBuf};
use std::time::Instant;

use adwp_base::{Failure, Result};
use adwp_data::undivided;
use adwp_edge::refuse_idle_share;
use adwp_engine::cuda::Precision;
use adwp_measure::ort_library;
use adwp_measure::runtime::{Runtime, find_library, prepare};
use adwp_models::space::NamedSpace;
use adwp_search::{Searched, TRIALS};

use crate::architecture::{RunArchitecture, of_folder, of_space};
use crate::args::{RunArgs, TrainArgs};
use crate::config::Config;
use crate::device::Compute;
use crate::folder::refuse_file;
use crate::phases::Training;
use crate::retired::LeftOut;
use crate::settings;
use crate::transfer::Origin;

/// How a command treats a run folder that has settings already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It must be asked to with `--resume`.
    NeedsResume,
    /// Steps of one run follow each other in one folder.
    Continues,
}

/// A command that works in the folder of a run.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    /// Whether the folder holds a run.
    pub(crate) is_begun: bool,
    pub(crate) config: Config,
    /// Where the architecture comes from, if not from this run.
    pub(crate) origin: Option<Origin>,
    /// What is to be trained.
    pub(crate) phases: &'static [Training],
    pub(crate) compute: Compute,
    pub(crate) resume: bool,
    pub(crate) check_memory: bool,
    pub(crate) ort_lib: Option<PathBuf>,
    /// Whether other processes may carry out the same command in the folder at the same time.
    pub(crate) is_shared: bool,
    /// When training stops.
    pub(crate) deadline: Option<Instant>,
    /// The batches that were asked for, in the order of [`Config::batches`]: those of the settings of
    /// a run that is begun are lower where it has too few images.
    pub(crate) asked_batches: [usize; 3],
    /// What the settings in the folder have of earlier versions.
    pub(crate) left_out: LeftOut,
    /// What follows the name of the step in a command that goes on with the run.
    pub(crate) continuing: String,
}

impl Plan {
    /// A command that trains `phases`.
    pub(crate) fn training(
        args: &TrainArgs,
        origin: Option<Origin>,
        existing: Existing,
        phases: &'static [Training],
    ) -> Result<Self> {
        Ok(Self {
            deadline: deadline(args),
            ..Self::new(&args.run, origin, None, existing, phases)?
        })
    }

    /// A command that searches a space that has a name, or with `None` that of the run.
    pub(crate) fn searching(args: &TrainArgs, space: Option<&'static NamedSpace>) -> Result<Self> {
        const PHASES: &[Training] = &[Training::Search];
        let plan = Self::new(&args.run, None, space, Existing::Continues, PHASES)?;
        Ok(Self { deadline: deadline(args), ..plan })
    }

    /// Checks, before anything is computed, that ONNX Runtime can be loaded, where there is one.
    ///
    /// # Errors
    /// A library that is none, or a place of one that is not there.
    pub(crate) fn check_runtime(&self) -> Result {
        let Some(library) = find_library(self.ort_lib.as_deref(), &[])? else { return Ok(()) };
        Ok(prepare(Runtime::Ort, Some(&library))?)
    }

    /// A command that trains nothing.
    pub(crate) fn of(args: &RunArgs) -> Result<Self> {
        Self::new(args, None, None, Existing::Continues, &[])
    }

    fn new(
        args: &RunArgs,
        origin: Option<Origin>,
        space: Option<&'static NamedSpace>,
        existing: Existing,
        phases: &'static [Training],
    ) -> Result<Self> {
        let compute = Compute::of(args)?;
        let folder = match (&args.run, &args.preset) {
            (Some(run), _) => run.clone(),
            (None, preset) => Path::new("runs").join(preset.as_deref().unwrap_or("demo")),
        };
        refuse_file(&folder)?;
        // Of an architecture in the folder settings follow, unless the run has found it itself.
        let wanted = |has_found: bool| match (&origin, space) {
            (Some(origin), _) => origin.config(args),
            (None, Some(space)) if space.has_sizes => {
                Config::of_architecture(args, of_space(space))
            }
            (None, Some(_)) => Config::from_args(args),
            (None, None) if has_found => Config::from_args(args),
            (None, None) => Config::of_architecture(args, of_folder(&folder)?),
        };
        refuse_to_resume_nothing(&folder, args.resume)?;
        let stored = folder.join(Config::FILE);
        let is_begun = stored.exists();
        if !is_begun {
            refuse_lost_settings(&folder)?;
            refuse_other_search(&folder, phases, args.resume)?;
        }
        let (mut config, asked_batches, left_out) = if is_begun {
            if existing == Existing::NeedsResume && !args.resume {
                let failure = Failure::input(format!("{} holds a run already", folder.display()));
                return Err(
                    failure.hint("add --resume to continue it, or name another folder with --run")
                );
            }
            stored_config(&stored, args, origin.as_ref(), wanted)?
        } else {
            (wanted(false)?, None, LeftOut::default())
        };
        refuse_idle_share(args.val_share, undivided(config.dataset, config.data_dir()))?;
        let batches = config.batches().map(|(_, batch)| *batch);
        if let (Some(space), false) = (space, is_begun) {
            refuse_to_drop_nothing(space, &config)?;
        }
        if let Some(library) = &args.ort.ort_lib {
            prepare(Runtime::Ort, Some(&ort_library::find(Some(library))?))?;
        }
        Ok(Self {
            continuing: continuing(args, &folder),
            folder,
            is_begun,
            config,
            asked_batches: asked_batches.unwrap_or(batches),
            left_out,
            origin,
            phases,
            compute,
            resume: args.resume,
            check_memory: !args.no_memory_check,
            ort_lib: args.ort.ort_lib.clone(),
            is_shared: false,
            deadline: None,
        })
    }
}

/// A folder that is not there has nothing to go on from: its name was mistyped.
pub(crate) fn refuse_to_resume_nothing(folder: &Path, resume: bool) -> Result {
    if !resume || folder.exists() {
        return Ok(());
    }
    let failure = Failure::input(format!("--resume: {} is not there", folder.display()));
    Err(failure.hint("leave --resume out to begin it"))
}

/// What the steps of a run have written, without the settings that it was made with: with others it
/// would be taken for something else.
fn refuse_lost_settings(folder: &Path) -> Result {
    let checkpoints = Training::ALL.map(|of| format!("checkpoints/{}.safetensors", of.name()));
    let files = ["weights.safetensors", "model.onnx", "verification.json", "settings.json"];
    let mut made = files.into_iter().chain(checkpoints.iter().map(String::as_str));
    let Some(file) = made.find(|file| folder.join(file).exists()) else { return Ok(()) };
    let (folder, settings) = (folder.display(), Config::FILE);
    let failure = Failure::input(format!("{folder} has no {settings}, which {file} was made with"));
    Err(failure.hint("bring it back, or begin another run in another folder"))
}

/// Settings of a search by which what it finds could not be retrained are refused before they are
/// stored.
fn refuse_to_drop_nothing(space: &NamedSpace, config: &Config) -> Result {
    if config.retrain.drop_path == 0.0 || space.has_drop_path {
        return Ok(());
    }
    let failure = Failure::input(format!(
        "retrain.drop_path = {}, but networks of the space {} have no operation that could be dropped",
        config.retrain.drop_path, space.name
    ));
    Err(failure.hint("leave it out, or set it to 0"))
}

/// The folder of a search that looks at no images has no settings of a run, and gets none from a
/// command that searches as well: its record is of another search. Steps that follow a search go on
/// from what it has found.
fn refuse_other_search(folder: &Path, phases: &[Training], resume: bool) -> Result {
    let record = folder.join(TRIALS);
    let is_whole = phases == Training::ALL;
    let goes_on = is_whole && resume && RunArchitecture::of_run(folder)?.is_some();
    let searches = phases.iter().any(|phase| *phase != Training::Retrain);
    if goes_on || !searches || !record.exists() {
        return Ok(());
    }
    let (Searched { strategy, space }, folder) = (Searched::read(&record)?, folder.display());
    let failure = Failure::input(format!(
        "{folder} holds a search by {strategy} of the space {space}, which looks at no images and is \
         no run"
    ));
    Err(failure.hint(format!(
        "`adwp search --space {space} --strategy {strategy} … --run {folder} --resume` goes on with \
         it, `adwp retrain --run {folder}` trains what it has found; or name another folder with \
         --run"
    )))
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

/// When training stops.
pub(crate) fn deadline(args: &TrainArgs) -> Option<Instant> {
    args.max_minutes.and_then(|time| Instant::now().checked_add(time))
}

/// The refusal to go on with the run in a folder with other settings than its own.
pub(crate) fn another(folder: &Path, difference: &str) -> Failure {
    let folder = folder.display();
    let failure =
        Failure::input(format!("{folder} belongs to another configuration: {difference}"));
    failure.hint("leave the flag out to continue that run, or name another folder with --run")
}

/// The settings of the run in the folder, the batches that the flags ask for, and what is left out;
/// what the flags ask for must be the same. A larger batch may be: it is compared once the images
/// are known, which may be too few for it.
fn stored_config(
    path: &Path,
    args: &RunArgs,
    origin: Option<&Origin>,
    wanted: impl Fn(bool) -> Result<Config>,
) -> Result<(Config, Option<[usize; 3]>, LeftOut)> {
    let (mut stored, left_out) = settings::read(path, &RunArgs::default())?;
    let own = stored.batches().map(|(_, batch)| *batch);
    // Those of all flags, as if the run were not there, and the batches among them.
    let of_flags = |has_found| -> Result<(Config, [usize; 3])> {
        let mut wanted = wanted(has_found)?;
        if args.data.is_none() {
            wanted.data.clone_from(&stored.data);
        }
        if args.preset.is_none() {
            wanted.preset.clone_from(&stored.preset);
        }
        if origin.is_some_and(Origin::chooses_channels) {
            // They follow from the images, which are compared later.
            wanted.retrain.channels = stored.retrain.channels;
            wanted.retrain.width = stored.retrain.width;
        }
        Ok(with_batches(wanted, own))
    };
    let afresh = || match of_flags(false) {
        Ok(begun) if stored.difference(&begun.0)?.is_none() => Ok(begun),
        _ => of_flags(true),
    };
    let laid_over = || Ok::<_, Failure>(with_batches(settings::read(path, args)?.0, own));
    let (wanted, asked) = if args.preset.is_some() || args.config.is_some() {
        afresh()?
    } else if args.epochs_scale.is_some() {
        // What the run has is scaled already: the command that began it means the same again.
        match afresh() {
            Ok(again) if stored.difference(&again.0)?.is_none() => again,
            _ => laid_over()?,
        }
    } else {
        laid_over()?
    };
    if path.with_file_name("bench.json").exists()
        && let Some(difference) = stored.bench.difference(&wanted.bench)
    {
        return Err(Failure::input(format!("bench.json is measured already, and {difference}"))
            .hint("leave the setting out, or delete bench.json to measure again"));
    }
    match stored.difference(&wanted)? {
        None => Ok((wanted, Some(asked), left_out)),
        Some(difference) => Err(another(path.parent().unwrap_or(path), &difference)),
    }
}

/// Settings in which no batch is larger than `own`, and the batches that they had.
fn with_batches(mut settings: Config, own: [usize; 3]) -> (Config, [usize; 3]) {
    let asked = settings.batches().map(|(_, batch)| *batch);
    for ((_, batch), own) in settings.batches().into_iter().zip(own) {
        *batch = (*batch).min(own);
    }
    (settings, asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    #[test]
    fn the_folder_of_a_search_without_images_is_no_run_to_search_in() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |phases: &[Training], resume| {
            refuse_other_search(folder.path(), phases, resume)
                .err()
                .map(|failure| failure.to_string())
        };
        let (space, search) = ([Training::Space], [Training::Search]);
        assert_eq!(refused(&search, true), None, "there is no record");
        let line = r#"{"schema":"adwp/trials/1","space":"nas-bench-201","strategy":"local"}"#;
        std::fs::write(folder.path().join(TRIALS), format!("{line}\n")).unwrap();
        for phases in [&space[..], &search, &[Training::Search, Training::Retrain]] {
            for resume in [false, true] {
                let said = refused(phases, resume).unwrap();
                for part in ["local", "nas-bench-201", "adwp search", "adwp retrain"] {
                    assert!(said.contains(part), "{said}");
                }
            }
        }
        assert!(refused(&Training::ALL, true).is_some(), "nothing is found yet");
        let found = crate::architecture::tests::member("nas-bench-macro", "02220122").to_json();
        std::fs::write(folder.path().join("architecture.json"), found).unwrap();
        assert!(refused(&Training::ALL, false).is_some());
        for (phases, resume) in
            [(&Training::ALL[..], true), (&[Training::Retrain], false), (&[], true)]
        {
            assert_eq!(refused(phases, resume), None, "{phases:?}");
        }
    }

    #[test]
    fn the_command_that_scaled_the_epochs_of_a_run_means_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Config::FILE);
        let args = |flags: &[&str]| {
            let Command::Run(args) = Args::parse_from(["adwp", "run"].iter().chain(flags)).command
            else {
                unreachable!()
            };
            args.run
        };
        let begun = args(&["--epochs-scale", "0.5", "--seed", "3"]);
        let config = Config::from_args(&begun).unwrap();
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        let go_on = |flags: &[&str]| {
            let args = args(flags);
            stored_config(&path, &args, None, |_| Config::from_args(&args)).map(|of| of.0)
        };
        for flags in [
            &["--epochs-scale", "0.5", "--seed", "3"][..],
            &["--preset", "demo", "--epochs-scale", "0.5", "--seed", "3"],
            &["--epochs-scale", "1"],
            &[],
        ] {
            assert_eq!(go_on(flags).unwrap(), config, "{flags:?}");
        }
        let refused = go_on(&["--epochs-scale", "0.4", "--seed", "3"]).unwrap_err();
        assert!(refused.message.contains("retrain.epochs is 6, not 2"), "{refused}");
    }

    #[test]
    fn a_larger_batch_than_that_of_a_run_is_compared_once_the_images_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Config::FILE);
        let mut config = Config::default();
        config.retrain.batch = 30;
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        let go_on = |batch| {
            let set = vec![format!("retrain.batch={batch}")];
            let args = RunArgs { set, ..RunArgs::default() };
            stored_config(&path, &args, None, |_| Config::from_args(&args))
        };
        let (found, asked, _) = go_on(96).unwrap();
        assert_eq!((&found, asked.unwrap()[2]), (&config, 96));
        let refused = go_on(29).err().unwrap();
        assert!(refused.message.contains("retrain.batch is 30, not 29"), "{refused}");
    }

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
