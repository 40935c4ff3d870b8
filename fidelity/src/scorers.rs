//! Scorers against each other, with a published table as the truth.

use std::collections::HashSet;

use adwp_base::to_json;
use adwp_models::{Choices, Space};
use adwp_search::{
    Column, Data, Ingredients, JointTraining, Scorer, ScorerEntry, SearchError, SearchSettings,
};
use adwp_train::{
    Context, Finished, RunDir, Streams, TrainError, read_json_without_schema, write_atomic,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Result;
use crate::rank::{
    interval, kendall_tau, mean, mean_over_pairs, means, ranks, regret, resamples, spearman_rho,
};
use crate::result::{Correlation, Regret};
use crate::units::Claims;
use crate::work::{SeedFolder, Work, clean};

const SCHEMA: &str = "adwp/scorer-study/1";

/// Resamples of the architectures in a bootstrap interval.
const RESAMPLES: usize = 400;

/// How many architectures of the highest scores a regret is reported for.
const TOP: [usize; 3] = [1, 5, 10];

/// What scorers are compared on.
pub struct ScorerExperiment<'a> {
    /// Where architectures are drawn from, at the sizes that scores are of.
    pub space: &'a dyn Space,
    /// The space at the sizes at which weights for all architectures are trained.
    pub searched: &'a dyn Space,
    /// What counts: the mean of these columns.
    pub truth: &'a [Column],
    /// The scorers.
    pub scorers: Vec<&'static ScorerEntry>,
    /// Architectures drawn evenly, each network once.
    pub architectures: usize,
    /// How weights for all architectures are trained.
    pub settings: &'a SearchSettings,
    /// The images of every seed, from `seed` on.
    pub data: Vec<Data>,
    /// The first seed.
    pub seed: u64,
}

/// The result: `study.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScorerStudy {
    schema: &'static str,
    /// Name of the space.
    pub space: String,
    /// The columns whose mean counts.
    pub truth: Vec<String>,
    /// How many seeds.
    pub seeds: usize,
    /// The first of them.
    pub seed: u64,
    /// Kendall's τ-b between two columns of the truth, the mean over all pairs: what one more run of
    /// the truth would reach. `None` for one column.
    pub one_more_run: Option<f64>,
    /// The best truth among the architectures.
    pub best: f64,
    /// The mean truth of the architectures.
    pub mean: f64,
    /// The scorers, in the order in which they were named, and after them their vote.
    pub scorers: Vec<ScorerResult>,
    /// The architectures, as tables write them.
    pub architectures: Vec<String>,
    /// Their truth.
    pub values: Vec<f64>,
}

/// What the scores of a scorer know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScorerResult {
    /// Its name.
    pub scorer: String,
    /// Kendall's τ-b between the mean rank over the seeds and the truth.
    pub kendall: Correlation,
    /// Spearman's ρ between the same.
    pub spearman: Correlation,
    /// Kendall's τ-b within the better half of the architectures by the truth.
    pub kendall_of_better_half: Correlation,
    /// For each seed alone what it comes to; one where scores depend on no seed.
    pub by_seed: Vec<BySeed>,
    /// The mean over pairs of seeds of Spearman's ρ between their scores; `None` for one seed.
    pub reliability: Option<f64>,
    /// The best truth less the best among the architectures of highest mean rank.
    pub regret: Vec<Regret>,
    /// The scores of every seed, in the order of the architectures.
    pub scores: Vec<Vec<f64>>,
}

/// What the scores of one seed come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BySeed {
    /// Kendall's τ-b.
    pub kendall: Option<f64>,
    /// Kendall's τ-b within the better half by the truth.
    pub kendall_of_better_half: Option<f64>,
    /// Truth of the architecture of the highest score.
    pub chosen: f64,
}

/// For every scorer, every seed and every architecture.
type Scores = Vec<Vec<Vec<f64>>>;

/// Scores architectures with every scorer and seed, in the folder `study` of the run, or goes on
/// with it; several processes can work on one study.
///
/// # Errors
/// Settings that make no study, a folder with another study, and what scoring meets.
pub fn study_scorers(
    experiment: &ScorerExperiment<'_>,
    context: &mut Context<'_>,
) -> Result<Finished<ScorerStudy>> {
    let architectures = experiment.draw()?;
    // Before hours of work, not after them.
    let columns = experiment.truths(&architectures)?;
    for entry in &experiment.scorers {
        experiment.open(entry, &experiment.data[0])?;
    }
    let folder = RunDir::create(&context.run.file("study"))?;
    experiment.settle(&folder)?;
    let claims = Claims::of(folder.path());
    let member = claims.join(|| clean(&folder))?;
    let seeds = (0..experiment.data.len())
        .map(|k| SeedFolder::new(k, experiment.seed.wrapping_add(k as u64), &folder))
        .collect::<Result<Vec<_>>>()?;
    let mut work = Work::new(&folder, &claims, context);
    let scores = work.until_done(|work| experiment.pass(work, &seeds, &architectures))?;
    let Finished::Done(scores) = scores else { return Ok(Finished::Interrupted) };
    let study = experiment.result(&architectures, &columns, scores);
    drop(member);
    claims.remove()?;
    Ok(Finished::Done(study))
}

impl ScorerExperiment<'_> {
    /// The architectures, each network once, whatever their number: a larger study goes on from a
    /// smaller one.
    fn draw(&self) -> Result<Vec<Choices>> {
        let fail = |message: String| Err(TrainError::Settings(format!("study: {message}")).into());
        if self.architectures < 2 || self.data.is_empty() || self.scorers.is_empty() {
            return fail("it needs at least two architectures, a seed and a scorer".into());
        }
        if self.truth.is_empty() {
            return fail("no column is the truth".into());
        }
        let (mut keys, mut drawn) = (HashSet::new(), Vec::with_capacity(self.architectures));
        for number in 0..100 * self.architectures {
            let mut rng = Streams::new(self.seed).at("study/architecture", number, 0);
            let choices = self.space.sample(&mut rng);
            if keys.insert(self.space.key(&choices)) {
                drawn.push(choices);
            }
            if drawn.len() == self.architectures {
                return Ok(drawn);
            }
        }
        fail(format!("the space has no {} different networks", self.architectures))
    }

    /// Writes down what the scores of the folder depend on, or compares it.
    fn settle(&self, folder: &RunDir) -> Result<()> {
        let file = folder.file("origin.json");
        let origin = json!({
            "schema": "adwp/study-origin/1",
            "space": self.space.name(),
            "skeleton": self.space.skeleton(),
            "searched": self.searched.skeleton(),
            "seed": self.seed,
            "settings": self.settings,
        });
        if !file.exists() {
            write_atomic(&file, to_json(&origin).as_bytes())?;
            return Ok(());
        }
        let there: Value = read_json_without_schema(&file)?;
        if there != origin {
            let (key, values) = difference(String::new(), &there, &origin).unwrap_or_default();
            let message = format!(
                "study: {} is one of other settings: {key} is {values}; move it away to begin \
                 another",
                folder.path().display()
            );
            return Err(TrainError::Settings(message).into());
        }
        Ok(())
    }

    /// The values of the architectures in each column that counts.
    fn truths(&self, architectures: &[Choices]) -> Result<Vec<Vec<f64>>> {
        let of = |column: &Column| {
            let values =
                architectures.iter().map(|choices| column.value(&self.space.text(choices)));
            values.collect::<Result<Vec<f64>, SearchError>>()
        };
        Ok(self.truth.iter().map(of).collect::<Result<_, _>>()?)
    }

    /// A scorer for the images of a seed.
    fn open<'b>(
        &'b self,
        entry: &'static ScorerEntry,
        data: &'b Data,
    ) -> Result<Box<dyn Scorer + 'b>> {
        let ingredients = Ingredients {
            data: Some(data),
            training: Some(JointTraining {
                settings: self.settings,
                space: self.searched,
                drawn: None,
            }),
            ..Ingredients::of(self.space)
        };
        entry.make(&ingredients).map_err(|e| {
            let name = entry.name;
            SearchError::Input(format!("a study of a table has no scorer {name:?}: {e}")).into()
        })
    }

    /// The scores of every scorer for each of its seeds, once all are there.
    fn pass(
        &self,
        work: &mut Work<'_, '_>,
        seeds: &[SeedFolder],
        architectures: &[Choices],
    ) -> Result<Finished<Option<Scores>>> {
        let (mut scores, mut is_whole) = (Vec::new(), true);
        for entry in &self.scorers {
            let mut of_scorer = Vec::new();
            let count = if entry.is_seeded { seeds.len() } else { 1 };
            for (seed, data) in seeds.iter().zip(&self.data).take(count) {
                let mut scorer = self.open(entry, data)?;
                match work.scores(seed, entry, &mut *scorer, architectures)? {
                    Finished::Interrupted => return Ok(Finished::Interrupted),
                    Finished::Done(row) => {
                        is_whole &= row.len() == architectures.len();
                        of_scorer.push(row);
                    }
                }
            }
            scores.push(of_scorer);
        }
        Ok(Finished::Done(is_whole.then_some(scores)))
    }

    /// `columns` are the [`Self::truths`] of the architectures.
    fn result(
        &self,
        architectures: &[Choices],
        columns: &[Vec<f64>],
        scores: Scores,
    ) -> ScorerStudy {
        let texts: Vec<String> =
            architectures.iter().map(|choices| self.space.text(choices)).collect();
        let truth = means(columns);
        let mut rng = Streams::new(self.seed).once("study/bootstrap");
        let samples = resamples(texts.len(), RESAMPLES, &mut rng);
        // Ranks, so that seeds and scorers of different sizes count alike.
        let mean_ranks: Vec<Vec<f64>> = scores.iter().map(|seeds| mean_rank(seeds)).collect();
        let mut results: Vec<ScorerResult> = self
            .scorers
            .iter()
            .zip(scores)
            .zip(&mean_ranks)
            .map(|((entry, scores), ranks)| {
                ScorerResult::of(entry.name, ranks, scores, &truth, &samples)
            })
            .collect();
        if results.len() > 1 {
            let vote = mean_rank(&mean_ranks);
            let names: Vec<&str> = self.scorers.iter().map(|entry| entry.name).collect();
            let name = format!("vote of {}", names.join(", "));
            results.push(ScorerResult::of(&name, &vote, Vec::new(), &truth, &samples));
        }
        ScorerStudy {
            schema: SCHEMA,
            space: self.space.name().to_owned(),
            truth: self.truth.iter().map(|column| column.name().to_owned()).collect(),
            seeds: self.data.len(),
            seed: self.seed,
            one_more_run: mean_over_pairs(columns, kendall_tau),
            best: truth.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean: mean(&truth),
            scorers: results,
            architectures: texts,
            values: truth,
        }
    }
}

impl ScorerResult {
    fn of(
        name: &str,
        score: &[f64],
        scores: Vec<Vec<f64>>,
        truth: &[f64],
        samples: &[Vec<usize>],
    ) -> Self {
        let better = better_half(truth);
        let correlation = |of: fn(&[f64], &[f64]) -> Option<f64>, among: &[usize]| {
            let value = |positions: &mut dyn Iterator<Item = usize>| {
                let (mut scores, mut values) = (Vec::new(), Vec::new());
                for i in positions {
                    scores.push(score[i]);
                    values.push(truth[i]);
                }
                of(&scores, &values)
            };
            let is_among = |i: &usize| among.binary_search(i).is_ok();
            let resampled = |sample: &[usize]| value(&mut sample.iter().copied().filter(is_among));
            Correlation {
                value: value(&mut among.iter().copied()),
                interval: interval(samples, resampled),
            }
        };
        let all: Vec<usize> = (0..truth.len()).collect();
        let pick = |values: &[f64]| -> Vec<f64> { better.iter().map(|&i| values[i]).collect() };
        let by_seed = scores.iter().map(|scores| BySeed {
            kendall: kendall_tau(scores, truth),
            kendall_of_better_half: kendall_tau(&pick(scores), &pick(truth)),
            chosen: truth[(1..scores.len())
                .fold(0, |best, i| if scores[i] > scores[best] { i } else { best })],
        });
        let by_seed = by_seed.collect();
        Self {
            scorer: name.to_owned(),
            kendall: correlation(kendall_tau, &all),
            spearman: correlation(spearman_rho, &all),
            kendall_of_better_half: correlation(kendall_tau, &better),
            by_seed,
            reliability: mean_over_pairs(&scores, spearman_rho),
            regret: TOP.map(|top| Regret { top, points: regret(score, truth, top) }).to_vec(),
            scores,
        }
    }
}

impl ScorerStudy {
    /// The text of `study.json`.
    pub fn to_json(&self) -> String {
        adwp_base::to_json(self)
    }

    /// The scores as a table that searches can read: a row for each architecture, a column for each
    /// scorer and seed, `SCORER` or, of several seeds, `SCORER_seedS`.
    pub fn to_csv(&self) -> String {
        let mut columns = Vec::new();
        for result in &self.scorers {
            for (k, scores) in result.scores.iter().enumerate() {
                let name = &result.scorer;
                let seed = self.seed.wrapping_add(k as u64);
                let is_one = result.scores.len() == 1;
                columns.push((
                    if is_one { name.clone() } else { format!("{name}_seed{seed}") },
                    scores,
                ));
            }
        }
        let mut text = String::from("arch");
        columns.iter().for_each(|(name, _)| text += &format!(",{name}"));
        for (i, architecture) in self.architectures.iter().enumerate() {
            text += &format!("\n{architecture}");
            columns.iter().for_each(|(_, scores)| text += &format!(",{}", scores[i]));
        }
        text + "\n"
    }
}

/// The first place where two values differ, as `a.b`, and both of them.
fn difference(place: String, there: &Value, here: &Value) -> Option<(String, String)> {
    match (there.as_object(), here.as_object()) {
        (Some(a), Some(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            let value = |of: &Map<String, Value>| of.get(key).cloned().unwrap_or_default();
            difference(inner, &value(a), &value(b))
        }),
        _ if there == here => None,
        _ => Some((place, format!("{there} there and {here} here"))),
    }
}

/// The positions of the better half, ascending; of equal values the earlier count as better.
fn better_half(truth: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..truth.len()).collect();
    order.sort_by(|&a, &b| truth[b].total_cmp(&truth[a]));
    order.truncate(truth.len().div_ceil(2));
    order.sort_unstable();
    order
}

/// For each position the mean of its ranks in all rows.
fn mean_rank(rows: &[Vec<f64>]) -> Vec<f64> {
    means(&rows.iter().map(|row| ranks(row)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scorer_that_knows_the_worse_half_alone_is_found_out() {
        let truth: Vec<f64> = (0..40).map(f64::from).collect();
        // The worse half is in order, above it all is turned round.
        let scores: Vec<f64> =
            (0..40).map(|i| f64::from(if i < 20 { i } else { 59 - i })).collect();
        let samples = resamples(40, RESAMPLES, &mut Streams::new(1).once("test"));
        let result = ScorerResult::of("x", &scores, vec![scores.clone()], &truth, &samples);
        assert_eq!(result.kendall_of_better_half.value, Some(-1.0));
        assert_eq!(result.kendall_of_better_half.interval, Some([-1.0, -1.0]));
        assert!(result.kendall.value.unwrap() > 0.5);
        assert_eq!(result.by_seed[0].chosen, 20.0);
        assert_eq!((result.regret[0].points, result.regret[2].points), (19.0, 10.0));
        assert_eq!(result.reliability, None);
    }

    #[test]
    fn what_differs_is_named() {
        let there = json!({"settings": {"rate": 0.1, "hidden": 4}, "seed": 3});
        let here = json!({"settings": {"rate": 0.1, "hidden": 4, "ghn_cells": 0}, "seed": 3});
        let (key, values) = difference(String::new(), &there, &here).unwrap();
        assert_eq!((&key[..], &values[..]), ("settings.ghn_cells", "null there and 0 here"));
        assert_eq!(difference(String::new(), &here, &here), None);
    }

    #[test]
    fn ranks_are_averaged_and_halves_are_of_the_truth() {
        assert_eq!(mean_rank(&[vec![1.0, 5.0, 3.0], vec![100.0, 300.0, 200.0]]), [1.0, 3.0, 2.0]);
        assert_eq!(better_half(&[3.0, 9.0, 1.0, 9.0, 4.0]), [1, 3, 4]);
    }
}
