use std::collections::BTreeMap;

use adwp_export::TestResult;
use adwp_models::Genotype;
use adwp_train::Streams;
use serde::{Deserialize, Serialize};

use crate::architectures::Candidate;
use crate::rank::{
    interval, kendall_tau, mean, mean_over_pairs, means, regret, resamples, sd, spearman_rho,
};
use crate::{FidelitySettings, Result};

const SCHEMA: &str = "adwp/fidelity/1";

/// Resamples of the architectures in a bootstrap interval.
const RESAMPLES: usize = 4000;

/// How many architectures of the highest scores a regret is reported for.
const TOP: [usize; 3] = [1, 3, 5];

/// The result of a study: `fidelity.json`. Accuracies are shares of the test images, errors and
/// regrets are in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fidelity {
    schema: String,
    /// The first of the seeds, which follow each other.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
    /// Every way to score an architecture, against accuracies after retraining.
    pub methods: Vec<MethodResult>,
    /// Kendall's τ-b between the retrained accuracies of two seeds, the mean over all pairs of
    /// seeds: what a score of one seed can hardly surpass. `None` for a single seed.
    pub ceiling: Option<f64>,
    /// The searched architectures against those drawn.
    pub comparison: Comparison,
    /// The architectures drawn, in order.
    pub architectures: Vec<Architecture>,
    /// The searched architectures, one for each seed.
    pub searched: Vec<Searched>,
}

/// How well the scores of a scorer rank the architectures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodResult {
    /// Name of the scorer.
    pub method: String,
    /// Kendall's τ-b between mean score and mean retrained accuracy over the seeds.
    pub kendall: Correlation,
    /// Spearman's ρ between the same.
    pub spearman: Correlation,
    /// Kendall's τ-b between the scores of each seed alone and the mean retrained accuracy; one
    /// value where scores depend on no seed.
    pub kendall_by_seed: Vec<Option<f64>>,
    /// What is lost by trusting it.
    pub regret: Vec<Regret>,
}

/// A rank correlation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correlation {
    /// Its value; `None` where all scores or all accuracies are the same.
    pub value: Option<f64>,
    /// Its 95% percentile bootstrap interval over the architectures.
    pub interval: Option<[f64; 2]>,
}

/// The best mean accuracy of all architectures less the best among those of highest mean score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regret {
    /// How many of the highest score.
    pub top: usize,
    /// The difference in percentage points.
    pub points: f64,
}

/// Searched architectures against those drawn, retrained by one recipe with the same seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Of the searched architectures, one retraining each.
    pub searched: Errors,
    /// Of the architectures drawn, a retraining for each seed.
    pub random: Errors,
    /// Mean error of the searched less that of those drawn, in percentage points.
    pub difference: f64,
    /// Its standard error from the variance of both samples pooled (Student's t for equal
    /// variances); `None` for one retraining of each.
    pub standard_error: Option<f64>,
    /// Place of the searched architectures' mean error among those of the architectures drawn; 1
    /// when no mean is lower.
    pub rank: usize,
    /// How many architectures drawn it is compared with.
    pub of: usize,
}

/// Test errors in percent of some retrainings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// How many.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (n - 1); `None` for one.
    pub sd: Option<f64>,
}

/// An architecture drawn from the space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The architecture.
    pub genotype: Genotype,
    /// Trainable values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub madds: u64,
    /// Test accuracy after retraining, for each seed.
    pub accuracy: Vec<f64>,
    /// Its scores by method, for each seed they depend on.
    pub scores: BTreeMap<String, Vec<f64>>,
}

/// The architecture that the search of a seed gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Searched {
    /// The seed of the search and of the retraining.
    pub seed: u64,
    /// The architecture found.
    pub genotype: Genotype,
    /// Trainable values.
    pub params: u64,
    /// Multiply-accumulates for one image.
    pub madds: u64,
    /// Test accuracy after retraining.
    pub accuracy: f64,
    /// Its scores by those scorers that look at the architecture alone.
    #[serde(default)]
    pub scores: BTreeMap<String, f64>,
}

/// What a study has measured.
pub(crate) struct Measured<'a> {
    pub(crate) candidates: &'a [Candidate],
    /// For every scorer its name and the scores of all architectures, for each seed they depend on.
    pub(crate) scores: Vec<(&'static str, Vec<Vec<f64>>)>,
    /// For each seed the retrained architectures.
    pub(crate) retrained: Vec<Vec<TestResult>>,
    pub(crate) searched: Vec<Searched>,
}

impl Fidelity {
    pub(crate) fn of(measured: Measured<'_>, settings: FidelitySettings, seed: u64) -> Self {
        let Measured { candidates, scores, retrained, searched } = measured;
        let accuracies: Vec<Vec<f64>> = retrained
            .iter()
            .map(|tests| tests.iter().map(|test| test.accuracy()).collect())
            .collect();
        let accuracy = means(&accuracies);
        let mut rng = Streams::new(seed).once("fidelity/bootstrap");
        let samples = resamples(candidates.len(), RESAMPLES, &mut rng);
        let methods = scores
            .iter()
            .map(|(method, scores)| MethodResult::of(method, scores, &accuracy, &samples))
            .collect();
        let architectures = candidates.iter().enumerate().map(|(i, candidate)| Architecture {
            genotype: candidate.genotype.clone(),
            params: candidate.params,
            madds: candidate.madds,
            accuracy: accuracies.iter().map(|seed| seed[i]).collect(),
            scores: scores
                .iter()
                .map(|(method, seeds)| {
                    ((*method).to_owned(), seeds.iter().map(|seed| seed[i]).collect())
                })
                .collect(),
        });
        Self {
            schema: SCHEMA.to_owned(),
            seed,
            seeds: settings.seeds,
            methods,
            ceiling: mean_over_pairs(&accuracies, kendall_tau),
            comparison: Comparison::of(&searched, &accuracies, settings.compared()),
            architectures: architectures.collect(),
            searched,
        }
    }

    /// Reads `fidelity.json`.
    ///
    /// # Errors
    /// A file of another schema, or with keys that are unknown.
    pub fn from_json(text: &str) -> Result<Self, String> {
        adwp_base::from_json(text, SCHEMA).map_err(|e| e.to_string())
    }

    /// The text of `fidelity.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and names print as JSON") + "\n"
    }
}

impl MethodResult {
    fn of(method: &str, scores: &[Vec<f64>], accuracy: &[f64], samples: &[Vec<usize>]) -> Self {
        let score = means(scores);
        let correlation = |of: fn(&[f64], &[f64]) -> Option<f64>| {
            let resampled = |sample: &[usize]| {
                let pick =
                    |values: &[f64]| -> Vec<f64> { sample.iter().map(|&i| values[i]).collect() };
                of(&pick(&score), &pick(accuracy))
            };
            Correlation { value: of(&score, accuracy), interval: interval(samples, resampled) }
        };
        Self {
            method: method.to_owned(),
            kendall: correlation(kendall_tau),
            spearman: correlation(spearman_rho),
            kendall_by_seed: scores.iter().map(|seed| kendall_tau(seed, accuracy)).collect(),
            regret: TOP
                .map(|top| Regret { top, points: 100.0 * regret(&score, accuracy, top) })
                .to_vec(),
        }
    }
}

impl Comparison {
    /// `accuracies` has those of all architectures for each seed; the first `compared` of them
    /// count.
    fn of(searched: &[Searched], accuracies: &[Vec<f64>], compared: usize) -> Self {
        let error = |accuracy: &f64| 100.0 * (1.0 - accuracy);
        let drawn: Vec<Vec<f64>> =
            accuracies.iter().map(|seed| seed[..compared].iter().map(error).collect()).collect();
        let found: Vec<f64> = searched.iter().map(|searched| error(&searched.accuracy)).collect();
        let (searched, random) = (Errors::of(&found), Errors::of(&drawn.concat()));
        let freedom = (searched.n + random.n).saturating_sub(2);
        let squares = |errors: &Errors| errors.sd.map_or(0.0, |sd| sd * sd * (errors.n - 1) as f64);
        let variance = (squares(&searched) + squares(&random)) / freedom as f64;
        Self {
            difference: searched.mean - random.mean,
            standard_error: (freedom > 0)
                .then(|| (variance * (1.0 / searched.n as f64 + 1.0 / random.n as f64)).sqrt()),
            rank: 1 + means(&drawn).iter().filter(|mean| **mean < searched.mean).count(),
            of: compared,
            searched,
            random,
        }
    }
}

impl Errors {
    fn of(errors: &[f64]) -> Self {
        Self { n: errors.len(), mean: mean(errors), sd: sd(errors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::{CellGenotype, CellKind, Choices, NODES, Operation, Pair};

    /// A searched architecture with nothing but an error, in percent.
    fn found(error: f64) -> Searched {
        let nodes = vec![vec![Pair { input: 0, op: Operation::Identity }]; NODES];
        let genotype = Genotype::new(vec![CellGenotype { kind: CellKind::Normal, nodes }]).unwrap();
        let (accuracy, scores) = (1.0 - error / 100.0, BTreeMap::new());
        Searched { seed: 0, genotype, params: 0, madds: 0, accuracy, scores }
    }

    fn accuracies(errors: &[&[f64]]) -> Vec<Vec<f64>> {
        errors
            .iter()
            .map(|errors| errors.iter().map(|error| 1.0 - error / 100.0).collect())
            .collect()
    }

    #[track_caller]
    fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value}, expected {expected}");
    }

    #[test]
    fn the_comparison_is_that_of_scipy() {
        let searched = [found(7.9), found(8.4)];
        // Two architectures with two seeds each, and a third that does not count.
        let accuracies = accuracies(&[&[8.8, 8.2, 1.0], &[9.1, 9.5, 1.0]]);
        let comparison = Comparison::of(&searched, &accuracies, 2);
        // a, b = [7.9, 8.4], [8.8, 9.1, 8.2, 9.5]; d = mean(a) - mean(b); d /
        // scipy.stats.ttest_ind(a, b).statistic; numpy.std(…, ddof=1)
        assert_near(comparison.difference, -0.75);
        assert_near(comparison.standard_error.unwrap(), 0.43839194791875474);
        assert_near(comparison.searched.sd.unwrap(), 0.3535533905932738);
        assert_near(comparison.random.sd.unwrap(), 0.5477225575051664);
        assert_eq!(
            (comparison.searched.n, comparison.random.n, comparison.rank, comparison.of),
            (2, 4, 1, 2)
        );
        assert_eq!(Comparison::of(&searched, &accuracies, 3).rank, 2);
        let single = Comparison::of(&searched[..1], &[accuracies[0][..1].to_vec()], 1);
        assert_eq!((single.standard_error, single.searched.sd), (None, None));
    }

    #[test]
    fn a_method_is_judged_by_its_mean_score() {
        let accuracy = [0.70, 0.72, 0.74, 0.78];
        // The first seed turns the order round, the second outweighs it.
        let scores = [vec![4.0, 3.0, 2.0, 1.0], vec![1.0, 26.0, 12.0, 24.0]];
        let samples = resamples(4, RESAMPLES, &mut Streams::new(1).once("test"));
        let result = MethodResult::of("naswot", &scores, &accuracy, &samples);
        assert_near(result.kendall.value.unwrap(), 1.0 / 3.0);
        assert_near(result.spearman.value.unwrap(), 0.4);
        assert_eq!(result.kendall_by_seed[0], Some(-1.0));
        assert_near(result.kendall_by_seed[1].unwrap(), 1.0 / 3.0);
        assert_eq!(result.kendall.interval, Some([-1.0, 1.0]), "so few architectures tell nothing");
        assert_eq!(result.regret.iter().map(|regret| regret.top).collect::<Vec<_>>(), TOP);
        assert_near(result.regret[0].points, 6.0);
        assert_near(result.regret[1].points, 0.0);
    }

    #[test]
    fn another_schema_and_unknown_keys_are_refused() {
        let candidate = || Candidate {
            genotype: found(9.0).genotype,
            choices: Choices(Vec::new()),
            drawn: Vec::new(),
            params: 0,
            madds: 0,
        };
        let measured = Measured {
            candidates: &[candidate(), candidate()],
            scores: vec![("one-shot", vec![vec![0.5, 0.6]])],
            retrained: vec![
                [1, 2]
                    .map(|correct| TestResult { correct, images: 2, correct_with_flips: None })
                    .to_vec(),
            ],
            searched: vec![found(9.0)],
        };
        let fidelity =
            Fidelity::of(measured, FidelitySettings { architectures: 2, seeds: 1, random: 0 }, 3);
        let text = fidelity.to_json();
        assert_eq!(Fidelity::from_json(&text).unwrap(), fidelity);
        assert_eq!(
            (fidelity.ceiling, fidelity.methods[0].kendall.value, fidelity.comparison.rank),
            (None, Some(1.0), 2)
        );
        let wrong =
            |from: &str, to: &str| Fidelity::from_json(&text.replacen(from, to, 1)).unwrap_err();
        assert!(wrong(SCHEMA, "adwp/fidelity/9").contains("adwp/fidelity/9"));
        assert!(wrong("\"ceiling\"", "\"sealing\"").contains("sealing"));
    }
}
