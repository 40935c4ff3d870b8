use std::collections::BTreeMap;
use std::f64::consts::FRAC_PI_2;

use adwp_export::TestResult;
use adwp_models::{Genotype, Operation};
use adwp_train::Streams;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::architectures::Candidate;
use crate::rank::{
    interval, kendall_tau, mean, mean_over_pairs, means, quantile, regret, reliability, resamples,
    sd, spearman_rho,
};
use crate::{FidelitySettings, Result};

const SCHEMA: &str = "adwp/fidelity/2";

/// Resamples of the architectures in a bootstrap interval.
const RESAMPLES: usize = 4000;

/// Resamples in that of a difference between searched architectures and those drawn.
const COMPARISONS: usize = 2000;

/// By how much the multiply-adds of two architectures of the same size differ at most.
const SAME_SIZE: f64 = 0.1;

/// What the names of counts of operations begin with, among the methods.
const COUNT: &str = "number of ";

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
    /// How many seeds weights for all architectures were trained with.
    pub seeds: usize,
    /// How often each of the architectures drawn was retrained.
    pub retrainings: usize,
    /// Every way to score an architecture, against accuracies after retraining; then counts of its
    /// operations, which a score should know more than.
    pub methods: Vec<MethodResult>,
    /// How well those accuracies are known.
    pub truth: Truth,
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
    /// Kendall's τ-b between the mean score over the seeds and the mean retrained accuracy.
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

/// How well the truth is known: by retrainings, of which each comes out differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// Share of the variance of the mean accuracies that is the architectures' and not the
    /// retrainings'. `None` for one retraining, which does not tell.
    pub reliability: Option<f64>,
    /// Kendall's τ that the true accuracies would have with the mean accuracies, where both are
    /// normal: what a score that knows all can reach.
    pub perfect: Option<f64>,
    /// Kendall's τ-b between the accuracies of two retrainings, the mean over all pairs of them.
    pub one_more_retraining: Option<f64>,
}

/// Searched architectures against those drawn, retrained by one recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Of the searched architectures, one retraining each.
    pub searched: Errors,
    /// Of the architectures drawn, all retrainings.
    pub random: Errors,
    /// For each search its architecture's error less the mean one of those drawn, in percentage
    /// points.
    pub by_seed: Vec<f64>,
    /// The mean difference, and that among architectures which resemble the searched ones.
    pub differences: Vec<DifferenceAmong>,
}

/// Which of the architectures drawn a searched one is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Among {
    /// All.
    All,
    /// Those within 10% of its multiply-adds.
    SameMadds,
    /// Those with as many pools, or one more or less.
    SamePools,
    /// Those of both.
    SameMaddsAndPools,
}

impl Among {
    /// Every one.
    pub const ALL: [Self; 4] =
        [Self::All, Self::SameMadds, Self::SamePools, Self::SameMaddsAndPools];
}

/// What searching gains over drawing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferenceAmong {
    /// What is held against what.
    pub among: Among,
    /// Searched architectures which there are others for.
    pub searched: usize,
    /// Architectures drawn which are held against any.
    pub random: usize,
    /// Error of a searched architecture less the mean of those that it is held against, the mean
    /// over the searched ones, in percentage points. `None` where there are none.
    pub points: Option<f64>,
    /// Its standard error: the standard deviation over a bootstrap of searched architectures, of
    /// architectures drawn, and of the retrainings of each. `None` for a single search.
    pub standard_error: Option<f64>,
    /// The 95% percentile interval of that bootstrap.
    pub interval: Option<[f64; 2]>,
}

/// Test errors in percent of some retrainings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// Retrainings that these are of.
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
    /// Test accuracy after each retraining.
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
    /// For each retraining the architectures.
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
        let result = |method: &str, scores: &[Vec<f64>]| {
            MethodResult::of(method, scores, &accuracy, &samples)
        };
        let mut methods: Vec<MethodResult> =
            scores.iter().map(|(method, scores)| result(method, scores)).collect();
        for op in Operation::CONNECTING {
            let counts = candidates.iter().map(|of| count(&of.genotype, op) as f64).collect();
            methods.push(result(&format!("{COUNT}{op}"), &[counts]));
        }
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
            retrainings: settings.retrainings,
            truth: Truth::of(&accuracies),
            comparison: Comparison::of(&searched, candidates, &accuracies, &mut rng),
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
        adwp_base::to_json(self)
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

/// Everything that differences of a search are computed from.
struct Compared<'a> {
    searched: &'a [Searched],
    /// For each architecture drawn its errors in percent, a retraining each.
    errors: Vec<Vec<f64>>,
    drawn: &'a [Candidate],
}

impl Among {
    /// Whether an architecture drawn is held against a searched one.
    fn has(self, searched: &Searched, drawn: &Candidate) -> bool {
        let is_as_large = || {
            let (own, other) = (searched.madds as f64, drawn.madds as f64);
            (other - own).abs() <= SAME_SIZE * own
        };
        let has_as_many_pools = || pools(&searched.genotype).abs_diff(pools(&drawn.genotype)) <= 1;
        match self {
            Self::All => true,
            Self::SameMadds => is_as_large(),
            Self::SamePools => has_as_many_pools(),
            Self::SameMaddsAndPools => is_as_large() && has_as_many_pools(),
        }
    }
}

/// How many operations of an architecture are pools.
fn pools(genotype: &Genotype) -> usize {
    [Operation::AvgPool3x3, Operation::MaxPool3x3].iter().map(|op| count(genotype, *op)).sum()
}

/// How many operations of an architecture are of a kind.
fn count(genotype: &Genotype, op: Operation) -> usize {
    let pairs = genotype.cells.iter().flat_map(|cell| cell.nodes.iter().flatten());
    pairs.filter(|pair| pair.op == op).count()
}

impl Compared<'_> {
    /// The mean over `searched`, positions of searched architectures, of their error less the mean
    /// one of the architectures drawn that they are held against; those which there are none for
    /// are left out. `drawn` has positions of architectures drawn, and their errors; `is_held` tells
    /// for each searched architecture which it is held against.
    fn difference(
        &self,
        is_held: &[Vec<bool>],
        searched: &[usize],
        drawn: &[(usize, f64)],
    ) -> Option<f64> {
        let of = |&k: &usize| {
            let others = drawn.iter().filter(|(i, _)| is_held[k][*i]).map(|(_, error)| *error);
            let others: Vec<f64> = others.collect();
            (!others.is_empty()).then(|| error(self.searched[k].accuracy) - mean(&others))
        };
        let differences: Vec<f64> = searched.iter().filter_map(of).collect();
        (!differences.is_empty()).then(|| mean(&differences))
    }

    /// The difference, and its bootstrap over two levels: searched architectures; architectures
    /// drawn, and of each its retrainings.
    fn among(&self, among: Among, rng: &mut impl Rng) -> DifferenceAmong {
        let (searches, count) = (self.searched.len(), self.drawn.len());
        let is_held: Vec<Vec<bool>> = self
            .searched
            .iter()
            .map(|own| self.drawn.iter().map(|drawn| among.has(own, drawn)).collect())
            .collect();
        let mut resampled = |_| {
            let searched: Vec<usize> =
                (0..searches).map(|_| rng.random_range(0..searches)).collect();
            let mut drawn = |_| {
                let i = rng.random_range(0..count);
                let errors = &self.errors[i];
                let again = (0..errors.len()).map(|_| errors[rng.random_range(0..errors.len())]);
                (i, again.sum::<f64>() / errors.len() as f64)
            };
            let drawn: Vec<(usize, f64)> = (0..count).map(&mut drawn).collect();
            self.difference(&is_held, &searched, &drawn)
        };
        // A single search says nothing of others.
        let resamples = if searches > 1 { COMPARISONS } else { 0 };
        let mut values: Vec<f64> = (0..resamples).filter_map(&mut resampled).collect();
        values.sort_by(f64::total_cmp);
        let all: Vec<usize> = (0..searches).collect();
        let means: Vec<(usize, f64)> =
            self.errors.iter().map(|errors| mean(errors)).enumerate().collect();
        DifferenceAmong {
            among,
            searched: is_held.iter().filter(|row| row.contains(&true)).count(),
            random: (0..count).filter(|&i| is_held.iter().any(|row| row[i])).count(),
            points: self.difference(&is_held, &all, &means),
            standard_error: if values.is_empty() { None } else { sd(&values) },
            interval: (!values.is_empty())
                .then(|| [quantile(&values, 0.025), quantile(&values, 0.975)]),
        }
    }
}

fn error(accuracy: f64) -> f64 {
    100.0 * (1.0 - accuracy)
}

impl Comparison {
    /// `accuracies` has those of all architectures, a row for each retraining.
    fn of(
        searched: &[Searched],
        drawn: &[Candidate],
        accuracies: &[Vec<f64>],
        rng: &mut impl Rng,
    ) -> Self {
        let errors = (0..drawn.len())
            .map(|i| accuracies.iter().map(|row| error(row[i])).collect::<Vec<f64>>())
            .collect::<Vec<_>>();
        let found: Vec<f64> = searched.iter().map(|of| error(of.accuracy)).collect();
        let random = Errors::of(&errors.concat());
        let compared = Compared { searched, errors, drawn };
        Self {
            by_seed: found.iter().map(|error| error - random.mean).collect(),
            searched: Errors::of(&found),
            random,
            differences: Among::ALL.map(|among| compared.among(among, rng)).to_vec(),
        }
    }
}

impl Truth {
    /// From the accuracies of all architectures, a row for each retraining.
    fn of(accuracies: &[Vec<f64>]) -> Self {
        let reliability = reliability(accuracies);
        Self {
            reliability,
            perfect: reliability.map(|share| share.sqrt().asin() / FRAC_PI_2),
            one_more_retraining: mean_over_pairs(accuracies, kendall_tau),
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

    /// A cell of 4 operations, `pools` of which are pools.
    fn genotype(pools: usize) -> Genotype {
        let op = |node| if node < pools { Operation::MaxPool3x3 } else { Operation::Identity };
        let nodes = (0..NODES).map(|node| vec![Pair { input: 0, op: op(node) }]).collect();
        Genotype::new(vec![CellGenotype { kind: CellKind::Normal, nodes }]).unwrap()
    }

    /// A searched architecture of an error, in percent.
    fn found(error: f64, madds: u64, pools: usize) -> Searched {
        let (accuracy, scores) = (1.0 - error / 100.0, BTreeMap::new());
        Searched { seed: 0, genotype: genotype(pools), params: 0, madds, accuracy, scores }
    }

    fn drawn(madds: u64, pools: usize) -> Candidate {
        let (choices, drawn) = (Choices(Vec::new()), Vec::new());
        Candidate { genotype: genotype(pools), choices, drawn, params: 0, madds }
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
    fn what_is_searched_is_held_against_what_resembles_it() {
        let searched = [found(8.0, 100, 0), found(7.0, 200, 3)];
        let others = [drawn(109, 4), drawn(90, 1), drawn(150, 0), drawn(220, 4)];
        let accuracies = accuracies(&[&[9.0, 10.0, 11.0, 12.0], &[9.0, 11.0, 12.0, 14.0]]);
        let mut rng = Streams::new(1).once("test");
        let comparison = Comparison::of(&searched, &others, &accuracies, &mut rng);
        assert_near(comparison.searched.mean, 7.5);
        assert_near(comparison.random.mean, 11.0);
        assert_near(comparison.by_seed[0], -3.0);
        assert_near(comparison.by_seed[1], -4.0);
        let [all, madds, pools, both] = &comparison.differences[..] else { unreachable!() };
        let points = |difference: &DifferenceAmong| difference.points.unwrap();
        assert_near(points(all), -3.5);
        // 8 against 9 and 10.5, 7 against 13.
        assert_near(points(madds), f64::midpoint(8.0 - 9.75, 7.0 - 13.0));
        assert_eq!((madds.searched, madds.random), (2, 3));
        // 8 against 10.5 and 11.5, 7 against 9 and 13.
        assert_near(points(pools), f64::midpoint(8.0 - 11.0, 7.0 - 11.0));
        // 8 against 10.5, 7 against 13.
        assert_near(points(both), f64::midpoint(8.0 - 10.5, 7.0 - 13.0));
        let [low, high] = all.interval.unwrap();
        assert!(low < points(all) && points(all) < high);

        let alone = Comparison::of(&searched[..1], &others[..1], &accuracies, &mut rng);
        let [all, _, pools, _] = &alone.differences[..] else { unreachable!() };
        assert_near(points(all), -1.0);
        assert_eq!((all.standard_error, all.interval), (None, None));
        assert_eq!((pools.points, pools.searched, pools.random), (None, 0, 0));
    }

    #[test]
    fn the_bootstrap_has_the_standard_error_of_both_samples() {
        let mut rng = Streams::new(1).once("test");
        let errors: Vec<f64> = (0..60).map(|_| rng.random_range(8.0..12.0)).collect();
        let searched: Vec<Searched> = errors[..12].iter().map(|&e| found(e, 1, 0)).collect();
        let others: Vec<Candidate> = (0..48).map(|_| drawn(1, 0)).collect();
        let accuracies = accuracies(&[&errors[12..]]);
        let comparison = Comparison::of(&searched, &others, &accuracies, &mut rng);
        let variance = |errors: &[f64]| sd(errors).unwrap().powi(2) / errors.len() as f64;
        let expected = (variance(&errors[..12]) + variance(&errors[12..])).sqrt();
        let found = comparison.differences[0].standard_error.unwrap();
        assert!((found / expected - 1.0).abs() < 0.1, "{found}, expected {expected}");
    }

    #[test]
    fn a_score_that_knows_all_is_as_good_as_the_truth_is_known() {
        let rows = [vec![1.0, 2.0, 4.0, 3.0], vec![2.0, 2.5, 3.0, 5.0]];
        let truth = Truth::of(&rows);
        // (msb - msw) / msb of the analysis of variance, by Python.
        assert_near(truth.reliability.unwrap(), 0.701195219123506);
        let share = truth.reliability.unwrap();
        assert_near(truth.perfect.unwrap(), share.sqrt().asin() * 2.0 / std::f64::consts::PI);
        assert_eq!(truth.one_more_retraining, kendall_tau(&rows[0], &rows[1]));
        let noise = Truth::of(&[vec![1.0, 2.0], vec![2.0, 1.0]]);
        assert_eq!(noise.reliability, None, "the means are the same");
        let single = Truth::of(&rows[..1]);
        assert_eq!(
            (single.reliability, single.perfect, single.one_more_retraining),
            (None, None, None)
        );
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
        let measured = Measured {
            candidates: &[drawn(1, 0), drawn(1, 2)],
            scores: vec![("one-shot", vec![vec![0.5, 0.6]])],
            retrained: vec![
                [1, 2]
                    .map(|correct| TestResult { correct, images: 2, correct_with_flips: None })
                    .to_vec(),
            ],
            searched: vec![found(9.0, 1, 0)],
        };
        let settings = FidelitySettings { architectures: 2, retrainings: 1, seeds: 1, searches: 0 };
        let fidelity = Fidelity::of(measured, settings, 3);
        let text = fidelity.to_json();
        assert_eq!(Fidelity::from_json(&text).unwrap(), fidelity);
        let damaged = Fidelity::from_json(&text.replacen("1.0", "1.5", 1)).unwrap_err();
        assert!(damaged.contains("checksum"), "{damaged}");
        // As an older version wrote it.
        let text = adwp_base::output::as_json(&fidelity).unwrap();
        assert_eq!(fidelity.methods[0].kendall.value, Some(1.0));
        let pools = fidelity.methods.iter().find(|of| of.method == "number of max_pool_3x3");
        assert_eq!(pools.unwrap().kendall.value, Some(1.0), "the better one has two");
        let wrong =
            |from: &str, to: &str| Fidelity::from_json(&text.replacen(from, to, 1)).unwrap_err();
        assert!(wrong(SCHEMA, "adwp/fidelity/1").contains("adwp/fidelity/1"));
        assert!(wrong("\"truth\"", "\"proof\"").contains("proof"));
    }
}
