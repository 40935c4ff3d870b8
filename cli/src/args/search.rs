use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use adwp_models::space::SPACES;
use adwp_search::{StrategySetting, registry};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgMatches, Command, FromArgMatches, value_parser};

use super::run::TrainArgs;
use super::values::at_least_one;

/// A search: by gradient, or with `--strategy` by scoring one architecture after another.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// Score one architecture after another, chosen by this strategy.
    #[arg(long, value_name = "NAME", value_parser = strategies(), requires = "end")]
    pub(crate) strategy: Option<String>,
    #[command(flatten)]
    pub(crate) explore: ExploreArgs,
}

/// What a search by a strategy is about.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("end").multiple(true)))]
pub(crate) struct ExploreArgs {
    /// The space that architectures are of [default: the intensive space of the run].
    #[arg(long, value_name = "NAME", value_parser = spaces(), requires = "strategy")]
    pub(crate) space: Option<String>,
    /// What an architecture is worth [default: table where --table is given, else one-shot].
    #[arg(long, value_name = "NAME", value_parser = scorers(), requires = "strategy")]
    pub(crate) scorer: Option<String>,
    /// A published table: CSV, or that compressed by gzip, whose column `arch` has architectures.
    #[arg(long, value_name = "FILE", requires = "strategy")]
    pub(crate) table: Option<PathBuf>,
    /// The column of the table that the strategy sees; none of test accuracies [default: the first
    /// with `val` in its name].
    #[arg(long, value_name = "NAME", requires = "table")]
    pub(crate) column: Option<String>,
    /// A column of the table to report of the architecture that was found; can be repeated.
    #[arg(long, value_name = "NAME", requires = "table")]
    pub(crate) report_column: Vec<String>,
    /// End after N architectures.
    #[arg(long, value_name = "N", group = "end", requires = "strategy")]
    pub(crate) evaluations: Option<usize>,
    /// End after M minutes of scoring, over all sessions.
    #[arg(long, value_name = "M", group = "end", requires = "strategy")]
    pub(crate) search_minutes: Option<f64>,
    /// End before all scores together have taken more epochs of training, with --scorer training.
    #[arg(long, value_name = "N", group = "end", requires = "strategy")]
    pub(crate) search_epochs: Option<usize>,
    /// With --scorer training: epochs that each architecture is trained for [default: 3].
    #[arg(long, value_name = "N", requires = "strategy", value_parser = at_least_one)]
    pub(crate) training_epochs: Option<NonZeroUsize>,
    /// With --scorer training: what the sides of images are multiplied by for it, to the nearest
    /// size that a network can have, with the channels of the full size; 0.5 takes a quarter of
    /// the multiply-adds [default: 1].
    #[arg(long, value_name = "SCALE", requires = "strategy")]
    pub(crate) training_scale: Option<f64>,
    /// Train the N best by score, the better half of them again for twice as long, and so on: the
    /// last one is the result. 0 for none, as without it.
    #[arg(long, value_name = "N", requires = "strategy")]
    pub(crate) finalists: Option<usize>,
    /// Epochs that finalists are first trained for [default: twice --training-epochs].
    #[arg(long, value_name = "N", requires = "finalists", value_parser = at_least_one)]
    pub(crate) finalist_epochs: Option<NonZeroUsize>,
    /// A scorer whose scores the predictor of prednas uses in addition to the structure of an
    /// architecture; can be repeated.
    #[arg(long, value_name = "SCORER", value_parser = scorers(), requires = "strategy")]
    pub(crate) input: Vec<String>,
    /// An architecture to score before any other: zoo:NAME, a file, or as the space writes it; can
    /// be repeated.
    #[arg(long, value_name = "WHAT", requires = "strategy")]
    pub(crate) start: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: StrategyFlags,
}

/// A flag for every setting of every strategy, and the values that were given.
#[derive(Debug)]
pub(crate) struct StrategyFlags(pub(crate) BTreeMap<String, f64>);

/// The strategies' settings, each with the names of those that have it.
fn settings() -> BTreeMap<&'static str, (&'static StrategySetting, Vec<&'static str>)> {
    let mut settings = BTreeMap::new();
    for entry in registry::STRATEGIES {
        for setting in entry.settings {
            settings.entry(setting.name).or_insert((setting, Vec::new())).1.push(entry.name);
        }
    }
    settings
}

/// What a setting is called on the command line.
pub(crate) fn flag(setting: &str) -> String {
    setting.replace('_', "-")
}

impl clap::Args for StrategyFlags {
    fn augment_args(mut command: Command) -> Command {
        for (name, (setting, strategies)) in settings() {
            let StrategySetting { about, usual, .. } = setting;
            let help =
                format!("With --strategy {}: {about} [default: {usual}]", strategies.join(" or "));
            let arg = Arg::new(name).long(flag(name)).value_name("N").help(help);
            command = command.arg(arg.requires("strategy").value_parser(value_parser!(f64)));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StrategyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |name: &str| Some((name.to_owned(), *matches.get_one::<f64>(name)?));
        Ok(Self(settings().into_keys().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

fn strategies() -> PossibleValuesParser {
    PossibleValuesParser::new(registry::STRATEGIES.iter().map(|entry| entry.name))
}

pub(super) fn scorers() -> PossibleValuesParser {
    PossibleValuesParser::new(registry::SCORERS.iter().map(|entry| entry.name))
}

pub(super) fn spaces() -> PossibleValuesParser {
    PossibleValuesParser::new(SPACES.iter().map(|space| space.name))
}
