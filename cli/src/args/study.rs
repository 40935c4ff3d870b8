use std::collections::BTreeMap;
use std::path::PathBuf;

use adwp_search::registry;

use super::run::TrainArgs;
use super::search::{scorers, spaces};

/// A study: without `--table`, scores of the intensive space of a run against retraining; with it,
/// strategies against each other, or scores against the table.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("compared").multiple(true)))]
pub(crate) struct StudyArgs {
    #[command(flatten)]
    pub(crate) train: TrainArgs,
    /// Architectures drawn from the space; a larger study goes on from a smaller one [default:
    /// fidelity.architectures].
    #[arg(long, value_name = "N")]
    pub(crate) architectures: Option<usize>,
    /// How often weights for all architectures are trained, or a strategy searches, with the seeds
    /// from the run's on [default: fidelity.seeds].
    #[arg(long, value_name = "S")]
    pub(crate) seeds: Option<usize>,
    /// Without --table: how often each architecture is retrained [default: fidelity.retrainings].
    #[arg(long, value_name = "R", conflicts_with = "table")]
    pub(crate) retrainings: Option<usize>,
    /// Without --table: how many searches the architectures are compared with; 0 for as many as
    /// seeds [default: fidelity.searches].
    #[arg(long, value_name = "N", conflicts_with = "table")]
    pub(crate) searches: Option<usize>,
    #[command(flatten)]
    pub(crate) published: PublishedArgs,
}

/// A study whose truth is a published table.
#[derive(Debug, clap::Args)]
pub(crate) struct PublishedArgs {
    /// The space that the table is of.
    #[arg(long, value_name = "NAME", value_parser = spaces(), requires = "table")]
    pub(crate) space: Option<String>,
    /// A published table: CSV, or that compressed by gzip, whose column `arch` has architectures.
    #[arg(long, value_name = "FILE", requires_all = ["space", "truth", "compared"])]
    pub(crate) table: Option<PathBuf>,
    /// A column of the table that counts; can be repeated: then their mean does.
    #[arg(long, value_name = "COLUMN", requires = "table")]
    pub(crate) truth: Vec<String>,
    /// The column that strategies see; none of test accuracies [default: the first with `val` in
    /// its name].
    #[arg(long, value_name = "NAME", requires = "table")]
    pub(crate) column: Option<String>,
    /// A strategy, with other settings than the usual ones where they are given, such as
    /// evolution:population_size=50,sample_size=10; can be repeated.
    #[arg(long, value_name = "NAME[:SETTINGS]", value_parser = strategy)]
    #[arg(requires_all = ["evaluations", "table"], group = "compared")]
    pub(crate) strategy: Vec<StrategyArg>,
    /// Compare the strategies after N evaluations; can be repeated.
    #[arg(long, value_name = "N", requires = "strategy", conflicts_with = "scorer")]
    pub(crate) evaluations: Vec<usize>,
    /// A table like --table with scores of the architectures, such as scores.csv of a study of
    /// scorers: prednas is compared with itself reading the columns of --input.
    #[arg(long, value_name = "FILE", requires_all = ["strategy", "input"])]
    pub(crate) inputs: Option<PathBuf>,
    /// A column of --inputs that prednas uses in addition to the structure of an architecture; can
    /// be repeated.
    #[arg(long, value_name = "COLUMN", requires = "inputs")]
    pub(crate) input: Vec<String>,
    /// Fit the predictor of prednas to N random architectures and see how it ranks all others;
    /// can be repeated.
    #[arg(long, value_name = "N", requires = "table", group = "compared")]
    pub(crate) fit: Vec<usize>,
    /// A scorer whose scores are held against the table; can be repeated.
    #[arg(long, value_name = "NAME", value_parser = scorers(), group = "compared")]
    #[arg(requires = "table", conflicts_with_all = ["strategy", "fit"])]
    pub(crate) scorer: Vec<String>,
}

/// A strategy as it was typed.
#[derive(Clone, Debug)]
pub(crate) struct StrategyArg {
    /// The whole text.
    pub(crate) text: String,
    pub(crate) name: String,
    pub(crate) settings: BTreeMap<String, f64>,
}

fn strategy(text: &str) -> Result<StrategyArg, String> {
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    registry::strategy(name).map_err(|e| e.to_string())?;
    let setting = |text: &str| -> Result<(String, f64), String> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not SETTING=VALUE"))?;
        let value = value.parse().map_err(|_| format!("{key} = {value:?} is not a number"))?;
        Ok((key.to_owned(), value))
    };
    let settings = settings.split(',').filter(|text| !text.is_empty()).map(setting);
    let settings: Vec<(String, f64)> = settings.collect::<Result<_, _>>()?;
    if let Some((key, _)) = (1..settings.len())
        .map(|i| &settings[i])
        .find(|(key, _)| settings.iter().filter(|(other, _)| other == key).count() > 1)
    {
        return Err(format!("{key} is there twice"));
    }
    let settings = settings.into_iter().collect();
    Ok(StrategyArg { text: text.to_owned(), name: name.to_owned(), settings })
}
