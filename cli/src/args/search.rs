use std::path::PathBuf;

use adwp_models::space::SPACES;
use adwp_search::{StrategySettings, registry};
use clap::builder::PossibleValuesParser;

use super::run::TrainArgs;

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
    /// With --scorer training: epochs that each architecture is trained for.
    #[arg(long, value_name = "N", default_value_t = 3, requires = "strategy")]
    pub(crate) training_epochs: usize,
    /// With --strategy evolution: architectures that live at a time.
    #[arg(long, value_name = "N", default_value_t = settings().population_size)]
    #[arg(requires = "strategy")]
    pub(crate) population_size: usize,
    /// With --strategy evolution: architectures whose best becomes a parent.
    #[arg(long, value_name = "N", default_value_t = settings().sample_size, requires = "strategy")]
    pub(crate) sample_size: usize,
}

fn settings() -> StrategySettings {
    StrategySettings::default()
}

fn strategies() -> PossibleValuesParser {
    PossibleValuesParser::new(registry::STRATEGIES.iter().map(|entry| entry.name))
}

fn scorers() -> PossibleValuesParser {
    PossibleValuesParser::new(registry::SCORERS.iter().map(|entry| entry.name))
}

fn spaces() -> PossibleValuesParser {
    PossibleValuesParser::new(SPACES.iter().map(|space| space.name))
}
