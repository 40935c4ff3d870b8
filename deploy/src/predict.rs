//! From logits to names.

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    onnx::{OnnxModel, Scores},
    runtime::Session,
};

/// One of the classes that a model sees in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The index of the class.
    pub class: usize,
    /// Its name, or `class 7` when the file names none.
    pub name: String,
    /// Its probability in [0, 1].
    pub probability: f32,
}

/// What the scores of one image say.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// The most probable classes, the most probable first.
    pub top: Vec<Prediction>,
    /// Where the probabilities are from.
    pub from: Source,
}

/// Where probabilities are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The model gives them: its graph ends so, as [`Scores`] says, or its values are a
    /// distribution: none is below 0, and their sum is 1 within a thousandth.
    Model,
    /// They are the softmax of its scores.
    Softmax,
    /// They are the sigmoid of its one score, which tells two classes apart.
    Sigmoid,
}

/// The `k` most probable classes of one `image` `[channels, height, width]`, prepared as the model
/// wants it.
///
/// # Errors
/// As [`Session::run`].
pub fn predict(
    session: &mut Session,
    model: &OnnxModel,
    image: &[f32],
    k: usize,
) -> Result<Predictions> {
    let values = session.run(image, 1)?;
    let (probabilities, from) = match (&model.output().scores, &values[..]) {
        (&Scores::Probabilities { factor, offset }, _) => {
            let of = |&value: &f32| ((f64::from(value) - offset) / factor) as f32;
            (values.iter().map(of).collect(), Source::Model)
        }
        (_, [score]) => (vec![1.0 / (1.0 + (-score).exp())], Source::Sigmoid),
        (_, scores) if is_distribution(scores) => (values, Source::Model),
        (_, scores) => (softmax(scores), Source::Softmax),
    };
    let prediction = |class| Prediction {
        class,
        name: model.class_name(class),
        probability: probabilities[class],
    };
    let top = top_k(&probabilities, k).into_iter().map(prediction).collect();
    Ok(Predictions { top, from })
}

/// How far from 1 the sum of a distribution may be: half-precision numbers and steps of
/// quantisation add up to no more.
const ROUNDING: f32 = 1e-3;

fn is_distribution(values: &[f32]) -> bool {
    let sum: f32 = values.iter().sum();
    values.iter().all(|&value| value >= 0.0) && (sum - 1.0).abs() <= ROUNDING
}

/// Probabilities `[classes]` of the logits `[classes]` of one image.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The indices of the `k` largest values, the largest first and equal values by index; NaN is less
/// than anything.
pub fn top_k(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|&a, &b| rank(values[b]).total_cmp(&rank(values[a])));
    order.truncate(k);
    order
}

/// The index of the largest value, the first of equals; 0 for no values.
pub fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for index in 1..values.len() {
        if rank(values[index]) > rank(values[best]) {
            best = index;
        }
    }
    best
}

/// A total order that ignores the signs of zeros and of NaN.
pub(crate) fn rank(value: f32) -> f32 {
    if value.is_nan() { f32::NEG_INFINITY } else { value + 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_for_large_logits() {
        let probabilities = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(probabilities, [0.5, 0.5, 0.0]);
        // torch.softmax(torch.tensor([0., 1., 2.]), 0)
        for (value, expected) in
            softmax(&[0.0, 1.0, 2.0]).iter().zip([0.090_030_57, 0.244_728_48, 0.665_240_94])
        {
            assert!((value - expected).abs() < 1e-6);
        }
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn a_distribution_is_known_by_its_values() {
        for yes in [&[0.25, 0.75][..], &[0.0, 1.0, 0.0], &[0.3335, 0.3333, 0.3333, 0.0]] {
            assert!(is_distribution(yes), "{yes:?}");
        }
        for no in [&[0.25, 0.7][..], &[1.5, -0.5], &[0.0; 3], &[1.0, 1.0], &[f32::NAN, 1.0]] {
            assert!(!is_distribution(no), "{no:?}");
        }
    }

    #[test]
    fn the_largest_come_first_and_ties_keep_their_order() {
        assert_eq!(top_k(&[1.0, 3.0, 3.0, 2.0], 3), [1, 2, 3]);
        assert_eq!(top_k(&[f32::NAN, -1.0], 5), [1, 0]);
        assert_eq!(top_k(&[0.0, -0.0], 1), [0]);
        assert_eq!(argmax(&[f32::NAN, 1.0, 2.0, 2.0]), 2);
        assert_eq!(argmax(&[-0.0, 0.0]), 0);
    }
}
