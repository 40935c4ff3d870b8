//! What was typed and changes nothing is refused: whoever typed it believes that it counts.

use adwp_base::{Failure, Result};
use adwp_search::Ingredient;

use crate::args::RunArgs;
use crate::config::Config;
use crate::phases::Training;
use crate::plan::Plan;

/// Who reads the settings of a run.
struct Readers<'a> {
    /// Whether the run searches, or has searched.
    searches: bool,
    config: &'a Config,
}

impl Readers<'_> {
    /// Whether the intensive space is derived.
    fn has_space(&self) -> bool {
        self.searches && self.config.strategy.is_intensive()
    }

    /// Why nothing reads a setting; `None` where something does.
    fn idle(&self, key: &str) -> Result<Option<&'static str>> {
        let strategy = &self.config.strategy;
        let (table, rest) = key.split_once('.').unwrap_or((key, ""));
        Ok(match table {
            "fidelity" => Some("it is a setting of `adwp study`"),
            "space" | "search" | "strategy" if !self.searches => {
                Some("the architecture is there, so that nothing is searched")
            }
            "space" if !self.has_space() => Some("the search of this run derives no space"),
            "search" if !self.has_space() => {
                let scorers = strategy.scorers()?;
                let is_read = scorers.iter().any(|of| of.needs(Ingredient::JointTraining));
                (!is_read).then_some("the search of this run trains no HyperNetwork")
            }
            "strategy" if strategy.is_gradient() && rest != "name" => {
                Some("the search of this run is that by gradient")
            }
            _ => None,
        })
    }
}

/// Refuses single settings that nothing reads in the run of a plan. A file of settings may have
/// more, as presets do.
///
/// # Errors
/// Names the flag, and why it changes nothing.
pub(crate) fn refuse(args: &RunArgs, plan: &Plan) -> Result {
    let searches = plan.is_begun || plan.phases.iter().any(|phase| *phase != Training::Retrain);
    let readers = Readers { searches: searches && plan.origin.is_none(), config: &plan.config };
    let refused = |flag: &str, why: &str| {
        let failure = Failure::input(format!("{flag} has no effect: {why}"));
        Err(failure.hint("leave it out, or choose the search with --preset or --set strategy.name"))
    };
    for set in &args.set {
        let key = set.split_once('=').map_or(set.as_str(), |(key, _)| key).trim();
        if let Some(why) = readers.idle(key)? {
            return refused(&format!("--set {set}"), why);
        }
    }
    let of_gradient = [
        ("--early-stop", args.early_stop.is_some()),
        ("--identity-dropout", args.identity_dropout.is_some()),
    ];
    match of_gradient.into_iter().find(|(_, is_given)| *is_given && !readers.has_space()) {
        None => Ok(()),
        Some((flag, _)) => refused(flag, "nothing here is searched by gradient"),
    }
}
