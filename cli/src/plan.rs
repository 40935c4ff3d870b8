//! What a command in the folder of a run is to do: what was typed, completed by the settings that
//! are stored there, and checked. Nothing is written for a plan, and no data set is opened.

use std::path::{Path, PathBuf};
use std::time::Instant;

use adwp_base::{Failure, Result};
use adwp_engine::cuda::Precision;
use adwp_measure::ort_library;

use adwp_models::space::NamedSpace;

use crate::architecture::{of_folder, of_space};
use crate::args::{RunArgs, TrainArgs};
use crate::config::Config;
use crate::device::Compute;
use crate::phases::Training;
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
        let wanted = || match (&origin, space) {
            (Some(origin), _) => origin.config(args),
            (None, Some(space)) if space.has_sizes => {
                Config::of_architecture(args, of_space(space.published))
            }
            (None, Some(_)) => Config::from_args(args),
            (None, None) => Config::of_architecture(args, of_folder(&folder)?),
        };
        refuse_to_resume_nothing(&folder, args.resume)?;
        let stored = folder.join(Config::FILE);
        let is_begun = stored.exists();
        let config = if is_begun {
            if existing == Existing::NeedsResume && !args.resume {
                let failure = Failure::input(format!("{} holds a run already", folder.display()));
                return Err(
                    failure.hint("add --resume to continue it, or name another folder with --run")
                );
            }
            stored_config(&stored, args, origin.as_ref(), wanted)?
        } else {
            wanted()?
        };
        if let Some(library) = &args.ort.ort_lib {
            ort_library::find(Some(library))?;
        }
        Ok(Self {
            continuing: continuing(args, &folder),
            folder,
            is_begun,
            config,
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

/// The settings of the run in the folder; what the flags ask for must be the same.
fn stored_config(
    path: &Path,
    args: &RunArgs,
    origin: Option<&Origin>,
    wanted: impl FnOnce() -> Result<Config>,
) -> Result<Config> {
    let stored = Config::read(path, &RunArgs::default())?;
    let wanted = if args.preset.is_some() || args.config.is_some() {
        let mut wanted = wanted()?;
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
