//! `adwp study` of the intensive space: do scores rank architectures as retraining does?

use adwp_base::{Failure, Result, output};
use adwp_fidelity::{
    Among, Correlation, DifferenceAmong, Experiment, Fidelity, FidelitySettings, MethodResult,
};
use adwp_models::IntensiveSpace;
use adwp_report::{Panel, Scatter, scatter};
use adwp_search::{Unit, registry};
use adwp_train::{Reporter, write_atomic};

use crate::architecture::parsed;
use crate::args::StudyArgs;
use crate::limits;
use crate::phases::Training;
use crate::plan::{Existing, Plan};
use crate::run::Run;

/// Carries out the study in the folder of a run, or goes on with it.
pub(crate) fn fidelity(args: &StudyArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let phases = &[Training::Search, Training::Retrain];
    let plan = Plan::training(&args.train, None, Existing::Continues, phases)?;
    let plan = Plan { is_shared: true, ..plan };
    let run = Run::open(plan, reporter)?;
    run.announce(reporter);
    let space = parsed(run.needs("space.json", "space")?, IntensiveSpace::from_json)?;
    let configured = run.config().fidelity;
    let settings = FidelitySettings {
        architectures: args.architectures.unwrap_or(configured.architectures),
        seeds: args.seeds.unwrap_or(configured.seeds),
        retrainings: args.retrainings.unwrap_or(configured.retrainings),
        searches: args.searches.unwrap_or(configured.searches),
    };
    settings.validate()?;
    let folder = run.dir.file("fidelity");
    if !run.plan.resume && folder.exists() {
        let failure = Failure::input(format!("fidelity: {} is there already", folder.display()));
        return Err(failure.hint("add --resume to go on from it, or delete it to begin afresh"));
    }
    let skeleton = run.images.skeleton(run.config(), run.config().retrain.channels);
    let experiment = Experiment {
        settings,
        limits: limits::of_intensive(run.config(), &space, &skeleton)?,
        space,
        search: run.config().search.clone(),
        retrain: run.config().retrain.clone(),
        skeleton,
        dataset: run.config().dataset.to_string(),
        search_images: run.images.search.clone(),
        train_share: run.config().train_share,
        train: run.images.train.clone(),
        test: run.images.test.clone(),
        seed: run.config().seed,
        device: run.device.clone(),
    };
    let kept = format!("{} has what is done", folder.display());
    let result = run.phases("fidelity", &command(args), &kept, reporter, |context| {
        Ok(adwp_fidelity::study(&experiment, context)?)
    })?;
    write_atomic(&run.dir.file("fidelity.svg"), scatter(&picture(&result)).as_bytes())?;
    if as_json { output::json(&result) } else { output::data(&table(&result)) }
}

/// The command with the flags that say how large the study is.
fn command(args: &StudyArgs) -> String {
    let flags = [
        ("--architectures", args.architectures),
        ("--seeds", args.seeds),
        ("--retrainings", args.retrainings),
        ("--searches", args.searches),
    ];
    let flags =
        flags.iter().filter_map(|(flag, value)| value.map(|value| format!(" {flag} {value}")));
    format!("fidelity{}", flags.collect::<String>())
}

/// What people call a scorer.
pub(super) fn label(scorer: &str) -> &str {
    registry::scorer_entry(scorer).map_or(scorer, |entry| entry.label)
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.2}"))
}

fn correlation(correlation: &Correlation) -> String {
    let interval = correlation
        .interval
        .map(|[low, high]| format!(" [{low:.2}, {high:.2}]"))
        .unwrap_or_default();
    number(correlation.value) + &interval
}

/// The result for a terminal.
fn table(result: &Fidelity) -> String {
    let mut text = format!(
        "scores of {} seeds against the mean test accuracy of {} retrainings; architectures: \
         {}\n\n{:<30} {:<21} {:<21} {:<18} regret of top {}\n",
        result.seeds,
        result.retrainings,
        result.architectures.len(),
        "score",
        "Kendall τ [95%]",
        "Spearman ρ [95%]",
        "τ of each seed",
        result
            .methods
            .first()
            .map(|method| joined(method, |regret| regret.top.to_string()))
            .unwrap_or_default(),
    );
    for method in &result.methods {
        let by_seed: Vec<String> = method.kendall_by_seed.iter().map(|tau| number(*tau)).collect();
        text += &format!(
            "{:<30} {:<21} {:<21} {:<18} {}\n",
            label(&method.method),
            correlation(&method.kendall),
            correlation(&method.spearman),
            by_seed.join(" "),
            joined(method, |regret| format!("{:.2}", regret.points)),
        );
    }
    let truth = &result.truth;
    let known = [
        ("a score that knows all", truth.perfect),
        ("one more retraining", truth.one_more_retraining),
    ];
    for (name, tau) in known.into_iter().filter(|(_, tau)| tau.is_some()) {
        text += &format!("{name:<30} {}\n", number(tau));
    }
    if let Some(reliability) = truth.reliability {
        text += &format!("reliability of the mean accuracies: {reliability:.2}\n");
    }
    let c = &result.comparison;
    let errors = |errors: &adwp_fidelity::Errors| {
        let sd = errors.sd.map(|sd| format!(" ± {sd:.2}")).unwrap_or_default();
        format!("{:.2}%{sd} (n = {})", errors.mean, errors.n)
    };
    text +=
        &format!("\ntest error: searched {}, random {}\n", errors(&c.searched), errors(&c.random));
    for difference in &c.differences {
        text += &held(difference);
    }
    let by_seed: Vec<String> = c.by_seed.iter().map(|points| format!("{points:+.2}")).collect();
    text + &format!("search by search: {}\n", by_seed.join(" "))
}

/// What searching gained over the architectures of a kind.
fn held(difference: &DifferenceAmong) -> String {
    let DifferenceAmong { among, searched, random, points, standard_error, interval } = difference;
    let among = match among {
        Among::All => "random",
        Among::SameMadds => "random of the same multiply-adds (±10%)",
        Among::SamePools => "random with as many pools (±1)",
        Among::SameMaddsAndPools => "random of the same multiply-adds and pools",
    };
    let Some(points) = points else { return format!("searched less {among}: there are none\n") };
    let error = standard_error.map(|error| format!(" ± {error:.2}")).unwrap_or_default();
    let interval = interval.map(|[low, high]| format!(" [{low:+.2}, {high:+.2}]"));
    format!(
        "searched less {among}: {points:+.2}{error} points{} ({searched} against {random})\n",
        interval.unwrap_or_default()
    )
}

fn joined(method: &MethodResult, text: impl Fn(&adwp_fidelity::Regret) -> String) -> String {
    method.regret.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Scores against accuracies, a panel for each method. Searched architectures are marked where
/// their score is known: by their size.
fn picture(result: &Fidelity) -> Scatter {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let is_scorer = |method: &&MethodResult| registry::scorer_entry(&method.method).is_ok();
    let panel = |method: &MethodResult| {
        let unit = registry::scorer_entry(&method.method).map(|entry| entry.unit);
        let Unit { axis, factor } = unit.unwrap_or(Unit::plain(""));
        let points = result
            .architectures
            .iter()
            .map(|a| (factor * mean(&a.scores[&method.method]), 100.0 * mean(&a.accuracy)));
        let searched: Vec<_> = result
            .searched
            .iter()
            .filter_map(|searched| {
                let score = searched.scores.get(&method.method)?;
                Some((factor * score, 100.0 * searched.accuracy))
            })
            .collect();
        let marked = if searched.is_empty() { "" } else { "; the searched marked" };
        Panel {
            title: format!("{}, τ = {}", label(&method.method), correlation(&method.kendall)),
            x_label: format!("{axis}{marked}"),
            points: points.collect(),
            marked: searched,
        }
    };
    Scatter {
        title: "Scores of architectures against their accuracy after retraining".into(),
        x_label: String::new(),
        y_label: format!("test accuracy, %, mean of {} retrainings", result.retrainings),
        panels: result.methods.iter().filter(is_scorer).map(panel).collect(),
    }
}
