//! Predicts scores of architectures from those that were scored.

use adwp_models::{Choices, FeatureValues, Features, Space};
use adwp_train::Streams;

/// Architectures whose features say how far apart those of a space are on average.
const SAMPLES: usize = 256;

/// How much of a score another run of the same architecture would not repeat: variance, where all
/// scores have variance 1. The likeliest of these is taken.
const NOISES: [f64; 6] = [0.01, 0.03, 0.06, 0.12, 0.25, 0.5];

/// How far apart random architectures are on average: the larger, the less one tells of another.
/// Between 0.3 and 1.2 it makes little difference on NAS-Bench-201.
const SPREAD: f64 = 0.6;

/// How much of the variance of the scores the structure of architectures may explain, where there
/// are inputs to explain the rest. The likeliest of these is taken: inputs that tell nothing get
/// nothing.
const SHARES: [f64; 4] = [1.0, 0.75, 0.5, 0.25];

/// A Gaussian process with an RBF kernel over the features that a space tells beyond the options
/// themselves; where it tells none, over the options. Every group of features counts alike:
/// distances in it are measured by those of random architectures.
///
/// Where points have inputs, scores are a sum of two such processes: one over the features, one
/// over the inputs.
pub struct Predictor {
    features: Features,
    /// What each feature is multiplied by; 0 for what does not count.
    scales: Vec<f64>,
}

/// An architecture, or something between architectures, as the predictor sees it.
#[derive(Clone, Debug)]
pub struct Point {
    computed: FeatureValues,
    /// Features, scaled.
    values: Vec<f64>,
    /// [`Inputs`](crate::Inputs), by how high they are; none where they are not known.
    inputs: Vec<f64>,
}

/// What is predicted from some scores.
pub struct Posterior<'a> {
    predictor: &'a Predictor,
    points: &'a [Point],
    /// Share of the variance that the features explain.
    share: f64,
    /// Cholesky factor of the covariance, row-major `[points, points]`, lower.
    factor: Vec<f64>,
    /// Covariance⁻¹ scores.
    weights: Vec<f64>,
}

/// A prediction in units of a standard deviation of the scores.
#[derive(Clone, Debug)]
pub struct Prediction {
    /// The expected score.
    pub mean: f64,
    /// How uncertain it is: a standard deviation.
    pub deviation: f64,
    /// Covariance with each point.
    covariances: Vec<f64>,
    /// Covariance⁻¹ covariances.
    solved: Vec<f64>,
}

impl Predictor {
    /// One for a space, which has seen nothing.
    pub fn new(space: &dyn Space) -> Self {
        let features = space.features();
        let mut rng = Streams::new(0).once("predictor/scales");
        let samples: Vec<Vec<f64>> = (0..SAMPLES)
            .map(|_| features.shares(&space.sample(&mut rng)))
            .map(|shares| features.values(&features.compute(&shares)))
            .collect();
        let sizes: Vec<usize> = features.groups().collect();
        let counted = if sizes.len() > 1 { 1..sizes.len() } else { 0..1 };
        let share = SPREAD / counted.len() as f64;
        let mut scales = Vec::new();
        for (group, &size) in sizes.iter().enumerate() {
            // The mean squared distance of two samples is twice the variance.
            let variance = |feature: usize| {
                let values = samples.iter().map(|values| values[feature]);
                let mean = values.clone().sum::<f64>() / SAMPLES as f64;
                values.map(|value| (value - mean).powi(2)).sum::<f64>() / SAMPLES as f64
            };
            let first = scales.len();
            let distance = 2.0 * (first..first + size).map(variance).sum::<f64>();
            let counts = counted.contains(&group) && distance > 0.0;
            let scale = if counts { (share / distance).sqrt() } else { 0.0 };
            scales.extend(std::iter::repeat_n(scale, size));
        }
        Self { features, scales }
    }

    /// An architecture.
    pub fn point(&self, choices: &Choices) -> Point {
        self.between(&self.features.shares(choices))
    }

    /// What keeps a share of every option.
    pub fn between(&self, shares: &[f64]) -> Point {
        let computed = self.features.compute(shares);
        let values = self.features.values(&computed);
        let values = values.iter().zip(&self.scales).map(|(value, scale)| value * scale).collect();
        Point { computed, values, inputs: Vec::new() }
    }

    /// The shares of an architecture.
    pub fn shares(&self, choices: &Choices) -> Vec<f64> {
        self.features.shares(choices)
    }

    /// What is predicted once these points have these scores. Of scores only the order counts.
    ///
    /// # Panics
    /// When there is not one score for each point, or none.
    pub fn fit<'a>(&'a self, points: &'a [Point], scores: &[f64]) -> Posterior<'a> {
        assert!(points.len() == scores.len() && !scores.is_empty(), "one score for each point");
        let n = points.len();
        let targets = order_scores(scores);
        let have_inputs = points.iter().any(|point| !point.inputs.is_empty());
        let shares = if have_inputs { &SHARES[..] } else { &[1.0] };
        let fits = shares.iter().flat_map(|&share| {
            let mut covariances = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..=i {
                    covariances[i * n + j] = kernel(&points[i], &points[j], share);
                }
            }
            NOISES.map(|noise| (share, Fit::of(&covariances, noise, &targets)))
        });
        let likeliest =
            fits.reduce(
                |best, other| {
                    if other.1.likelihood > best.1.likelihood { other } else { best }
                },
            );
        let (share, Fit { factor, weights, .. }) = likeliest.expect("there is a noise");
        Posterior { predictor: self, points, share, factor, weights }
    }
}

/// What some targets come to if they have so much noise.
struct Fit {
    /// Cholesky factor of the covariance.
    factor: Vec<f64>,
    /// Covariance⁻¹ targets.
    weights: Vec<f64>,
    /// Logarithm of the density of the targets, but for a constant (Rasmussen and Williams,
    /// Gaussian Processes for Machine Learning, 2006, equation 2.30).
    likelihood: f64,
}

impl Fit {
    fn of(covariances: &[f64], noise: f64, targets: &[f64]) -> Self {
        let n = targets.len();
        let (mut factor, mut weights) = (covariances.to_vec(), targets.to_vec());
        (0..n).for_each(|i| factor[i * n + i] += noise);
        decompose(&mut factor, n);
        solve_lower(&factor, &mut weights);
        solve_upper(&factor, &mut weights);
        let fit: f64 = targets.iter().zip(&weights).map(|(target, weight)| target * weight).sum();
        let size: f64 = (0..n).map(|i| factor[i * n + i].ln()).sum();
        Self { factor, weights, likelihood: -0.5 * fit - size }
    }
}

impl Point {
    /// The same point with inputs, by how high they are.
    pub fn with_inputs(self, inputs: Vec<f64>) -> Self {
        Self { inputs, ..self }
    }
}

/// The covariance of two points: 1 of a point with itself. What the inputs explain is the same for
/// no other point where they are not known.
fn kernel(a: &Point, b: &Point, share: f64) -> f64 {
    let squares =
        |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
    let by_features = share * (-squares(&a.values, &b.values)).exp();
    if share == 1.0 || a.inputs.is_empty() || b.inputs.is_empty() {
        return by_features;
    }
    // Inputs have variance 1, so that the mean squared distance of two is twice their number.
    let scale = SPREAD / (2.0 * a.inputs.len() as f64);
    by_features + (1.0 - share) * (-scale * squares(&a.inputs, &b.inputs)).exp()
}

impl Posterior<'_> {
    /// The prediction for a point.
    pub fn at(&self, point: &Point) -> Prediction {
        let covariances: Vec<f64> =
            self.points.iter().map(|other| kernel(point, other, self.share)).collect();
        let mut solved = covariances.clone();
        let mean = solved.iter().zip(&self.weights).map(|(k, weight)| k * weight).sum();
        solve_lower(&self.factor, &mut solved);
        let explained: f64 = solved.iter().map(|value| value * value).sum();
        solve_upper(&self.factor, &mut solved);
        Prediction { mean, deviation: (1.0 - explained).max(1e-9).sqrt(), covariances, solved }
    }

    /// The gradient of `mean + exploration * deviation` with respect to the shares at a point
    /// without inputs.
    pub fn gradient(&self, point: &Point, prediction: &Prediction, exploration: f64) -> Vec<f64> {
        let Predictor { features, scales } = self.predictor;
        let mut gradient = vec![0.0; scales.len()];
        for (i, other) in self.points.iter().enumerate() {
            let by_covariance =
                self.weights[i] - exploration * prediction.solved[i] / prediction.deviation;
            let factor = -2.0 * by_covariance * prediction.covariances[i];
            for (value, (a, b)) in gradient.iter_mut().zip(point.values.iter().zip(&other.values)) {
                *value += factor * (a - b);
            }
        }
        gradient.iter_mut().zip(scales).for_each(|(value, scale)| *value *= scale);
        features.pull_back(&point.computed, &gradient)
    }
}

/// For every score the quantile of a logistic distribution of variance 1 that belongs to its place
/// in the order; equal scores share one.
fn order_scores(scores: &[f64]) -> Vec<f64> {
    let count = scores.len() as f64;
    let place = |score: &f64| {
        let below = scores.iter().filter(|other| *other < score).count();
        let equal = scores.iter().filter(|other| *other == score).count();
        (below as f64 + 0.5 * equal as f64) / count
    };
    let to_variance_1 = 3f64.sqrt() / std::f64::consts::PI;
    scores.iter().map(place).map(|p| to_variance_1 * (p / (1.0 - p)).ln()).collect()
}

/// The Cholesky factor of a positive definite matrix, of which the lower half is read and replaced.
fn decompose(matrix: &mut [f64], n: usize) {
    for i in 0..n {
        for j in 0..=i {
            let (row, other) = (&matrix[i * n..i * n + j], &matrix[j * n..j * n + j]);
            let rest = matrix[i * n + j] - row.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
            matrix[i * n + j] = if i == j { rest.sqrt() } else { rest / matrix[j * n + j] };
        }
    }
}

/// Solves L x = b in place.
fn solve_lower(factor: &[f64], b: &mut [f64]) {
    let n = b.len();
    for i in 0..n {
        let row = &factor[i * n..i * n + i];
        let known: f64 = row.iter().zip(&b[..i]).map(|(l, x)| l * x).sum();
        b[i] = (b[i] - known) / factor[i * n + i];
    }
}

/// Solves Lᵀ x = b in place.
fn solve_upper(factor: &[f64], b: &mut [f64]) {
    let n = b.len();
    for i in (0..n).rev() {
        b[i] /= factor[i * n + i];
        let (value, row) = (b[i], &factor[i * n..i * n + i]);
        b[..i].iter_mut().zip(row).for_each(|(b, l)| *b -= l * value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::space::find;
    use rand::RngExt;

    fn space() -> Box<dyn Space> {
        let named = find("nas-bench-201").unwrap();
        (named.open)(named.published).unwrap()
    }

    /// Architectures drawn, as points, and how many values of theirs are above 0.5.
    fn drawn(space: &dyn Space, predictor: &Predictor, count: usize) -> (Vec<Point>, Vec<f64>) {
        let mut rng = Streams::new(1).once("test");
        let drawn: Vec<Choices> = (0..count).map(|_| space.sample(&mut rng)).collect();
        let score = |choices: &Choices| choices.0.iter().filter(|kept| kept[0] == 3).count() as f64;
        (
            drawn.iter().map(|choices| predictor.point(choices)).collect(),
            drawn.iter().map(score).collect(),
        )
    }

    #[test]
    fn what_was_seen_is_predicted_and_what_is_far_is_uncertain() {
        let space = space();
        let predictor = Predictor::new(&*space);
        let (points, scores) = drawn(&*space, &predictor, 150);
        let posterior = predictor.fit(&points[..100], &scores[..100]);
        let agree = |range: std::ops::Range<usize>| {
            let means: Vec<f64> = range.clone().map(|i| posterior.at(&points[i]).mean).collect();
            let scores = &scores[range];
            let (mut agree, mut pairs) = (0, 0);
            for (i, j) in (0..means.len()).flat_map(|i| (0..i).map(move |j| (i, j))) {
                if scores[i] != scores[j] {
                    pairs += 1;
                    agree += usize::from((means[i] < means[j]) == (scores[i] < scores[j]));
                }
            }
            f64::from(agree as u32) / f64::from(pairs)
        };
        assert!(agree(0..100) > 0.95, "{}", agree(0..100));
        assert!(agree(100..150) > 0.8, "{}", agree(100..150));
        let deviation = |i: usize| posterior.at(&points[i]).deviation;
        let mean = |range: std::ops::Range<usize>| {
            range.clone().map(deviation).sum::<f64>() / range.len() as f64
        };
        assert!(mean(0..100) < 0.9 * mean(100..150));
        assert!((0..150).all(|i| deviation(i) <= 1.0));
    }

    #[test]
    fn the_posterior_is_that_of_the_formula() {
        // Two points of covariance K = [[1 + s, k], [k, 1 + s]] and targets (-l, l).
        let (k, s, l) = (0.4, 0.25, 0.7);
        let fit = Fit::of(&[1.0, 0.0, k, 1.0], s, &[-l, l]);
        let weight = l / (1.0 + s - k);
        assert!((fit.weights[1] - weight).abs() < 1e-12 && (fit.weights[0] + weight).abs() < 1e-12);
        let determinant = (1.0 + s) * (1.0 + s) - k * k;
        let expected = -0.5 * 2.0 * l * weight - 0.5 * f64::ln(determinant);
        assert!((fit.likelihood - expected).abs() < 1e-12);
    }

    #[test]
    fn noise_is_found_where_it_is() {
        let space = space();
        let predictor = Predictor::new(&*space);
        let (points, scores) = drawn(&*space, &predictor, 120);
        let mut rng = Streams::new(3).once("noise");
        let noisy: Vec<f64> = scores.iter().map(|_| rng.random::<f64>()).collect();
        let deviation = |scores: &[f64]| predictor.fit(&points, scores).at(&points[0]).deviation;
        let (clear, noisy) = (deviation(&scores), deviation(&noisy));
        assert!(clear < 0.8 * noisy, "{clear} {noisy}");
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let space = space();
        let predictor = Predictor::new(&*space);
        let (points, scores) = drawn(&*space, &predictor, 30);
        let posterior = predictor.fit(&points, &scores);
        let mut rng = Streams::new(2).once("test");
        let shares: Vec<f64> =
            (0..predictor.features.options()).map(|_| rng.random::<f64>()).collect();
        let value = |shares: &[f64]| {
            let prediction = posterior.at(&predictor.between(shares));
            prediction.mean + 0.7 * prediction.deviation
        };
        let point = predictor.between(&shares);
        let gradient = posterior.gradient(&point, &posterior.at(&point), 0.7);
        for i in 0..shares.len() {
            let at = |step: f64| {
                let mut shares = shares.clone();
                shares[i] += step;
                value(&shares)
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((gradient[i] - difference).abs() < 1e-6, "{} {difference}", gradient[i]);
        }
    }

    #[test]
    fn only_the_order_of_scores_counts() {
        let ranks = order_scores(&[0.1, 5.0, 0.2, 0.2]);
        assert_eq!(ranks, order_scores(&[1.0, 4.0, 2.0, 2.0]));
        assert!(ranks[0] < ranks[2] && ranks[2] == ranks[3] && ranks[3] < ranks[1]);
        assert_eq!(order_scores(&[7.0]), [0.0]);
    }
}
