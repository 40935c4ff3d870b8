use adwp_engine::{Executor, Feed, NodeId, Program, Statistics, Variables};
use adwp_models::{Blueprint, Choices, Discrete, Space};
use adwp_train::{Context, Finished};
use rand_distr::{Distribution, StandardNormal};

use crate::scorer::{Ingredient, Scorer, ScorerEntry, Unit};
use crate::{Data, Result};

/// What the spectra of the untrained network's features say.
struct Spectrum<'a> {
    entry: &'static ScorerEntry,
    space: &'a dyn Space,
    data: &'a Data,
    of: fn(&[f64]) -> f64,
}

/// Expressivity of AZ-NAS (Lee and Ham, AZ-NAS: Assembling Zero-Cost Proxies for Network
/// Architecture Search, 2024, equation 3): the sum over the cells of how evenly their features
/// fill the space of the channels.
pub(crate) const EXPRESSIVITY: ScorerEntry = ScorerEntry {
    name: "expressivity",
    about: "how evenly features of the untrained network fill their space",
    label: "expressivity, untrained",
    unit: Unit::plain("sum of entropies"),
    is_seeded: true,
    is_of_accuracy: true,
    prepared_in: None,
    needs: &[Ingredient::Images],
    open: |ingredients| {
        let (space, data) = (ingredients.space, ingredients.data?);
        let of = |entropies: &[f64]| entropies.iter().sum();
        Some(Box::new(Spectrum { entry: &EXPRESSIVITY, space, data, of }))
    },
};

/// Progressivity of AZ-NAS (equation 4): the least growth of that from a cell to the next.
pub(crate) const PROGRESSIVITY: ScorerEntry = ScorerEntry {
    name: "progressivity",
    about: "how far features of the untrained network fill more of their space with depth",
    label: "progressivity, untrained",
    unit: Unit::plain("least growth of entropy"),
    open: |ingredients| {
        let (space, data) = (ingredients.space, ingredients.data?);
        let of = |entropies: &[f64]| {
            let growth = entropies.windows(2).map(|pair| pair[1] - pair[0]);
            growth.min_by(f64::total_cmp).unwrap_or(0.0)
        };
        Some(Box::new(Spectrum { entry: &PROGRESSIVITY, space, data, of }))
    },
    ..EXPRESSIVITY
};

impl Scorer for Spectrum<'_> {
    fn name(&self) -> &'static str {
        self.entry.name
    }

    fn score(&mut self, choices: &Choices, _: &mut Context<'_>) -> Result<Finished<f64>> {
        let network = Blueprint::of(self.space, choices)?;
        Ok(Finished::Done((self.of)(&entropies(&network, self.data)?)))
    }
}

/// Inputs of normal noise, as in the publication.
const INPUTS: usize = 64;

/// For every cell the entropy of the spectrum of its output, at first values and for inputs of
/// normal noise, both the seed's.
fn entropies(network: &Blueprint, data: &Data) -> Result<Vec<f64>> {
    let Discrete { graph, images, logits, .. } = network.build(INPUTS, None)?;
    let live = graph.ancestors(&[logits]);
    let mut outputs: Vec<(usize, NodeId)> = Vec::new();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        match (node.owner.cell(), outputs.last_mut()) {
            (None, _) => {}
            _ if node.shape.len() != 4 => {}
            (Some(cell), Some((last, output))) if *last == cell => *output = id,
            (Some(cell), _) => outputs.push((cell, id)),
        }
    }
    let outputs: Vec<NodeId> = outputs.into_iter().map(|(_, id)| id).collect();
    let mut variables = Variables::new();
    variables.initialize(&graph, &mut data.streams.once("spectrum/weights"))?;
    let program = Program::inference(&graph, &outputs, Statistics::Batch)?;
    let mut executor = Executor::new(program, &data.device.in_f32())?;
    let mut rng = data.streams.once("spectrum/inputs");
    let noise: Vec<f32> =
        (0..graph[images].shape.elements()).map(|_| StandardNormal.sample(&mut rng)).collect();
    executor.run(&mut variables, &[(images, Feed::from(&noise))])?;
    let mut entropies = Vec::with_capacity(outputs.len());
    for id in outputs {
        let (channels, pixels) = (graph[id].shape[1], graph[id].shape[2] * graph[id].shape[3]);
        let covariance = covariance(&executor.value(id)?, channels, pixels);
        entropies.push(entropy(&eigenvalues(covariance, channels)));
    }
    Ok(entropies)
}

/// Covariance of the channels of `values [images, channels, pixels]`: `[channels, channels]`.
fn covariance(values: &[f32], channels: usize, pixels: usize) -> Vec<f64> {
    let count = (values.len() / channels) as f64;
    let mut means = vec![0.0; channels];
    for (i, plane) in values.chunks_exact(pixels).enumerate() {
        means[i % channels] += plane.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    }
    let mut covariance = vec![0.0; channels * channels];
    for image in values.chunks_exact(channels * pixels) {
        let planes: Vec<Vec<f64>> = image
            .chunks_exact(pixels)
            .zip(&means)
            .map(|(plane, mean)| plane.iter().map(|&v| f64::from(v) - mean).collect())
            .collect();
        for a in 0..channels {
            for b in 0..=a {
                let product: f64 = planes[a].iter().zip(&planes[b]).map(|(a, b)| a * b).sum();
                covariance[a * channels + b] += product / count;
            }
        }
    }
    for a in 0..channels {
        for b in 0..a {
            covariance[b * channels + a] = covariance[a * channels + b];
        }
    }
    covariance
}

/// Sweeps of rotations after which a matrix is as good as diagonal.
const SWEEPS: usize = 30;

/// Eigenvalues of a symmetric matrix `[n, n]`, by Jacobi rotations (Golub and Van Loan, Matrix
/// Computations, section 8.5).
fn eigenvalues(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let size: f64 = a.iter().map(|value| value * value).sum();
    for _ in 0..SWEEPS {
        let mut off = 0.0;
        for p in 0..n {
            for q in p + 1..n {
                let (app, aqq, apq) = (a[p * n + p], a[q * n + q], a[p * n + q]);
                off += apq * apq;
                if apq == 0.0 {
                    continue;
                }
                let tau = (aqq - app) / (2.0 * apq);
                let t = if tau >= 0.0 {
                    1.0 / (tau + tau.hypot(1.0))
                } else {
                    -1.0 / (tau.hypot(1.0) - tau)
                };
                let c = 1.0 / t.hypot(1.0);
                let s = t * c;
                for k in 0..n {
                    let (kp, kq) = (a[k * n + p], a[k * n + q]);
                    a[k * n + p] = c * kp - s * kq;
                    a[k * n + q] = s * kp + c * kq;
                }
                for k in 0..n {
                    let (pk, qk) = (a[p * n + k], a[q * n + k]);
                    a[p * n + k] = c * pk - s * qk;
                    a[q * n + k] = s * pk + c * qk;
                }
            }
        }
        if off <= 1e-24 * size {
            break;
        }
    }
    (0..n).map(|i| a[i * n + i]).collect()
}

/// -Σ λ̄ ln λ̄ of eigenvalues that are scaled to the sum 1; 0 where all are 0.
fn entropy(eigenvalues: &[f64]) -> f64 {
    let sum: f64 = eigenvalues.iter().map(|value| value.max(0.0)).sum();
    let shares = eigenvalues.iter().map(|value| value / sum).filter(|share| *share > 0.0);
    if sum > 0.0 { shares.map(|share| -share * share.ln()).sum() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scorers::naswot::tests::noise;
    use adwp_models::{NasBench201, Skeleton};
    use adwp_train::Streams;

    #[test]
    fn spectra_are_those_of_numpy() {
        // numpy.linalg.eigvalsh([[2, 1, 0], [1, 3, -1], [0, -1, 1]])
        let mut found = eigenvalues(vec![2.0, 1.0, 0.0, 1.0, 3.0, -1.0, 0.0, -1.0, 1.0], 3);
        found.sort_by(f64::total_cmp);
        for (value, expected) in
            found.iter().zip([0.46791111376204386, 1.6527036446661392, 3.879385241571817])
        {
            assert!((value - expected).abs() < 1e-12, "{found:?}");
        }
        assert!((entropy(&[1.0, 1.0, 1.0, 1.0]) - 4f64.ln()).abs() < 1e-12);
        assert_eq!(entropy(&[5.0, 0.0]), 0.0);
        assert_eq!(entropy(&[0.0, 0.0]), 0.0);
        // Two images of two channels and two pixels: values 1 to 8.
        let values: Vec<f32> = (1..9u8).map(f32::from).collect();
        // numpy.cov([[1, 2, 5, 6], [3, 4, 7, 8]], bias=True)
        assert_eq!(covariance(&values, 2, 2), [4.25; 4]);
    }

    #[test]
    fn every_cell_has_an_entropy_and_what_gives_nothing_has_none() {
        let data = noise(8);
        let skeleton = Skeleton { image: [1, 8, 8], ..data.target };
        let space = NasBench201::new(skeleton).unwrap();
        let of = |text: &str| {
            entropies(&Blueprint::of(&space, &space.parse(text).unwrap()).unwrap(), &data).unwrap()
        };
        let nothing = of("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|");
        assert_eq!(nothing, [0.0; 3]);
        let conv = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|";
        let some = of(conv);
        assert!(some.len() == 3 && some.iter().all(|&value| value > 0.0), "{some:?}");
        assert_eq!(of(conv), some);
        let other = Data { streams: Streams::new(6), ..data.clone() };
        let network = Blueprint::of(&space, &space.parse(conv).unwrap()).unwrap();
        assert_ne!(entropies(&network, &other).unwrap(), some);
    }
}
