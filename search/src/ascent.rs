//! Gradient ascent through a predictor, from shares of options to an architecture.

use adwp_models::{Choices, Decision, Limit, Space};
use rand::{Rng, RngExt};

use crate::predictor::{Point, Posterior, Predictor};

/// Steps of an ascent.
const STEPS: usize = 30;
/// The largest change of a share in the first step; it falls to 0.
const FIRST_STEP: f64 = 0.5;
/// What a limit that is exceeded by its whole amount costs, in standard deviations of a score.
const PRICE: f64 = 10.0;

/// A hill to climb: the predicted score and, times `exploration`, its uncertainty. Beyond a limit it
/// falls.
pub(crate) struct Climb<'a> {
    pub(crate) space: &'a dyn Space,
    pub(crate) limits: &'a [Limit],
    pub(crate) predictor: &'a Predictor,
    pub(crate) posterior: &'a Posterior<'a>,
    pub(crate) exploration: f64,
}

impl Climb<'_> {
    /// How high a point is, limits aside.
    pub(crate) fn worth(&self, point: &Point) -> f64 {
        let prediction = self.posterior.at(point);
        prediction.mean + self.exploration * prediction.deviation
    }

    /// The architecture nearest to where an ascent ends that sets out from `start`, or, without one,
    /// from anywhere.
    pub(crate) fn ascend(&self, start: Option<&Choices>, rng: &mut dyn Rng) -> Choices {
        let mut shares = anywhere(self.space.decisions(), rng);
        if let Some(start) = start {
            let start = self.predictor.shares(start);
            shares.iter_mut().zip(start).for_each(|(share, start)| *share = 0.5 * (*share + start));
        }
        let shares: Vec<f32> = self.climb(shares).into_iter().map(|share| share as f32).collect();
        self.space.decode(&shares)
    }

    fn climb(&self, mut shares: Vec<f64>) -> Vec<f64> {
        for step in 0..STEPS {
            let point = self.predictor.between(&shares);
            let prediction = self.posterior.at(&point);
            let mut gradient = self.posterior.gradient(&point, &prediction, self.exploration);
            for limit in self.limits {
                let costs: Vec<f64> = limit.costs.decisions.concat();
                let taken: f64 = shares.iter().zip(&costs).map(|(share, cost)| share * cost).sum();
                if limit.costs.fixed + taken > limit.most {
                    gradient
                        .iter_mut()
                        .zip(costs)
                        .for_each(|(g, cost)| *g -= PRICE * cost / limit.most);
                }
            }
            let steepest = gradient.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            if steepest == 0.0 {
                break;
            }
            let length = FIRST_STEP * (1.0 - step as f64 / STEPS as f64) / steepest;
            shares.iter_mut().zip(&gradient).for_each(|(share, g)| *share += length * g);
            project(self.space.decisions(), &mut shares);
        }
        shares
    }
}

/// Shares drawn at random.
fn anywhere(decisions: &[Decision], rng: &mut dyn Rng) -> Vec<f64> {
    let options = decisions.iter().map(|decision| decision.options).sum();
    let mut shares: Vec<f64> = (0..options).map(|_| rng.random()).collect();
    project(decisions, &mut shares);
    shares
}

/// The nearest shares that can be: each between 0 and 1, and those of a decision as many as it
/// keeps.
fn project(decisions: &[Decision], shares: &mut [f64]) {
    let mut rest = shares;
    for decision in decisions {
        let (shares, later) = rest.split_at_mut(decision.options);
        rest = later;
        let keep = decision.keep as f64;
        let kept = |offset: f64| -> f64 {
            shares.iter().map(|share| (share + offset).clamp(0.0, 1.0)).sum()
        };
        // All 0 at the lower end, all 1 at the upper.
        let (mut low, mut high) =
            shares.iter().fold((0.0, 1.0), |(low, high): (f64, f64), &share| {
                (low.min(-share), high.max(1.0 - share))
            });
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if kept(middle) < keep {
                low = middle;
            } else {
                high = middle;
            }
        }
        shares.iter_mut().for_each(|share| *share = (*share + high).clamp(0.0, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_train::Streams;

    #[test]
    fn shares_are_as_many_as_a_decision_keeps() {
        let decisions = [Decision { options: 4, keep: 1 }, Decision { options: 3, keep: 2 }];
        let mut shares = [0.7, 0.5, -3.0, 0.2, 9.0, 0.1, 0.3];
        project(&decisions, &mut shares);
        // 0.7 + 0.5 + 0.2 is 0.4 too much: each loses 0.4 / 3. Then 1 + 0.1 + 0.3 lacks 0.6.
        let third = 0.4 / 3.0;
        for (share, expected) in
            shares.iter().zip([0.7 - third, 0.5 - third, 0.0, 0.2 - third, 1.0, 0.4, 0.6])
        {
            assert!((share - expected).abs() < 1e-9, "{shares:?}");
        }
        let mut rng = Streams::new(1).once("test");
        for _ in 0..20 {
            let shares = anywhere(&decisions, &mut rng);
            assert!((shares[..4].iter().sum::<f64>() - 1.0).abs() < 1e-9);
            assert!((shares[4..].iter().sum::<f64>() - 2.0).abs() < 1e-9);
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }
    }
}
