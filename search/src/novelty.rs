//! Architectures that are unlike those before.

use adwp_models::{Choices, Space};
use adwp_train::TensorData;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// Architectures that are remembered.
const ARCHIVE: usize = 1000;
/// Nearest ones whose mean distance is the novelty.
const NEAREST: usize = 10;
/// Perturbations that a step is the weighted mean of.
const PERTURBATIONS: usize = 10;
/// Standard deviation of a perturbation of an option's value.
const DEVIATION: f32 = 0.5;

/// Novelty search over the architectures of a space (Zhang et al., One-Shot Neural Architecture
/// Search via Novelty Driven Sampling, IJCAI 2020).
///
/// An architecture is a value for every option; a decision keeps the options of the largest
/// values. A step takes one of the archive, perturbs it by normal noise ten times, and moves it
/// along the perturbations, weighted by how novel what they lead to is. Novelty is the mean
/// distance to the ten nearest of the archive, the distance the share of all options kept that are
/// not the same.
#[derive(Default)]
pub(crate) struct Novelty {
    /// From the oldest to the youngest, in a ring once it is full.
    values: Vec<Vec<f32>>,
    choices: Vec<Choices>,
    /// How many architectures it has given.
    given: usize,
}

impl Novelty {
    /// The next architecture, which is remembered.
    pub(crate) fn next(&mut self, space: &dyn Space, rng: &mut impl Rng) -> Choices {
        let options = space.decisions().iter().map(|decision| decision.options).sum();
        let values = if self.choices.len() <= NEAREST {
            (0..options).map(|_| rng.random()).collect()
        } else {
            self.moved(space, rng)
        };
        let choices = space.decode(&values);
        if self.choices.len() < ARCHIVE {
            self.values.push(values);
            self.choices.push(choices.clone());
        } else {
            let oldest = self.given % ARCHIVE;
            self.values[oldest] = values;
            self.choices[oldest] = choices.clone();
        }
        self.given += 1;
        choices
    }

    /// An entry of the archive, moved to where novelty is.
    fn moved(&self, space: &dyn Space, rng: &mut impl Rng) -> Vec<f32> {
        let start = &self.values[rng.random_range(0..self.values.len())];
        let perturbations: Vec<Vec<f32>> = (0..PERTURBATIONS)
            .map(|_| {
                start
                    .iter()
                    .map(|_| {
                        let z: f32 = StandardNormal.sample(rng);
                        DEVIATION * z
                    })
                    .collect()
            })
            .collect();
        let plus = |perturbation: &[f32]| -> Vec<f32> {
            start.iter().zip(perturbation).map(|(value, change)| value + change).collect()
        };
        let novelties: Vec<f32> =
            perturbations.iter().map(|p| self.novelty(&space.decode(&plus(p)))).collect();
        let mean = novelties.iter().sum::<f32>() / PERTURBATIONS as f32;
        let spread =
            novelties.iter().map(|n| (n - mean).powi(2)).sum::<f32>() / PERTURBATIONS as f32;
        // Weights of variance 1, so that the step is as large as a perturbation whatever the
        // novelties are; where they are all the same, one perturbation is as good as another.
        let weights: Vec<f32> = if spread > 0.0 {
            novelties.iter().map(|n| (n - mean) / spread.sqrt()).collect()
        } else {
            (0..PERTURBATIONS).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect()
        };
        let size = weights.iter().map(|w| w * w).sum::<f32>().sqrt();
        let mut step = vec![0.0; start.len()];
        for (weight, perturbation) in weights.iter().zip(&perturbations) {
            step.iter_mut().zip(perturbation).for_each(|(s, p)| *s += weight / size * p);
        }
        plus(&step)
    }

    /// Mean distance to the nearest of the archive.
    fn novelty(&self, choices: &Choices) -> f32 {
        let mut distances: Vec<f32> =
            self.choices.iter().map(|other| distance(choices, other)).collect();
        let nearest = NEAREST.min(distances.len());
        distances.select_nth_unstable_by(nearest - 1, f32::total_cmp);
        distances[..nearest].iter().sum::<f32>() / nearest as f32
    }

    /// What goes into a checkpoint: the values, and before them how many were given.
    pub(crate) fn save(&self) -> [(&'static str, TensorData); 2] {
        let given = TensorData { shape: vec![1], data: vec![self.given as f32] };
        let options = self.values.first().map_or(0, Vec::len);
        let values =
            TensorData { shape: vec![self.values.len(), options], data: self.values.concat() };
        [("novelty/given", given), ("novelty/values", values)]
    }

    /// What [`Self::save`] gave; `None` when it is that of another space.
    pub(crate) fn restored(space: &dyn Space, [given, values]: [TensorData; 2]) -> Option<Self> {
        let options: usize = space.decisions().iter().map(|decision| decision.options).sum();
        let given = *given.data.first()? as usize;
        if values.data.len() != given.min(ARCHIVE) * options {
            return None;
        }
        let values: Vec<Vec<f32>> =
            values.data.chunks_exact(options).map(<[f32]>::to_vec).collect();
        let choices = values.iter().map(|values| space.decode(values)).collect();
        Some(Self { values, choices, given })
    }
}

/// The share of the options kept by one that the other does not keep.
fn distance(a: &Choices, b: &Choices) -> f32 {
    let kept: usize = a.0.iter().map(Vec::len).sum();
    let common: usize =
        a.0.iter()
            .zip(&b.0)
            .map(|(a, b)| a.iter().filter(|option| b.contains(option)).count())
            .sum();
    1.0 - common as f32 / kept as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use adwp_models::space::find;
    use adwp_train::Streams;

    fn space() -> Box<dyn Space> {
        let named = find("nas-bench-macro").unwrap();
        (named.open)(named.published).unwrap()
    }

    #[test]
    fn distances_are_shares_of_what_is_kept() {
        let choices = |of: &[&[usize]]| Choices(of.iter().map(|kept| kept.to_vec()).collect());
        let (a, b) = (choices(&[&[0, 2], &[1, 3]]), choices(&[&[0, 1], &[1, 3]]));
        assert_eq!(distance(&a, &b), 0.25);
        assert_eq!(distance(&a, &a), 0.0);
    }

    #[test]
    fn architectures_change_from_step_to_step_and_go_where_novelty_is() {
        let (space, mut novelty) = (space(), Novelty::default());
        let given: Vec<Choices> = (0..400)
            .map(|step| novelty.next(&*space, &mut Streams::new(1).at("novelty", 0, step)))
            .collect();
        let mut different = given.clone();
        different.sort();
        different.dedup();
        assert!(different.len() > 200, "{}", different.len());
        // What a step leads to is further from the archive than what a perturbation leads to.
        let mut rng = Streams::new(2).once("test");
        let perturbed = |rng: &mut _| -> Vec<f32> {
            let normal = |value: &f32| {
                let z: f32 = StandardNormal.sample(rng);
                value + DEVIATION * z
            };
            novelty.values[400 - 1].iter().map(normal).collect()
        };
        let mean = |values: Vec<Vec<f32>>| {
            let novelties = values.iter().map(|values| novelty.novelty(&space.decode(values)));
            novelties.sum::<f32>() / 500.0
        };
        let moved = mean((0..500).map(|_| novelty.moved(&*space, &mut rng)).collect());
        let perturbed = mean((0..500).map(|_| perturbed(&mut rng)).collect());
        assert!(moved > perturbed, "{moved} {perturbed}");
    }

    #[test]
    fn an_archive_that_was_saved_goes_on_as_it_would_have() {
        let (space, mut whole) = (space(), Novelty::default());
        let next = |novelty: &mut Novelty, step| {
            novelty.next(&*space, &mut Streams::new(1).at("novelty", 0, step))
        };
        (0..ARCHIVE + 20).for_each(|step| drop(next(&mut whole, step)));
        let saved = whole.save().map(|(_, tensor)| tensor);
        let mut restored = Novelty::restored(&*space, saved).unwrap();
        for step in ARCHIVE + 20..ARCHIVE + 40 {
            assert_eq!(next(&mut restored, step), next(&mut whole, step));
        }
        let other = find("nas-bench-201").unwrap();
        let other = (other.open)(other.published).unwrap();
        assert!(Novelty::restored(&*other, whole.save().map(|(_, tensor)| tensor)).is_none());
    }
}
