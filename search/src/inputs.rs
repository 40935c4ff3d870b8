//! Scores that a predictor reads beside the structure of an architecture.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use adwp_models::{Choices, Space};
use adwp_train::{Finished, Streams};

use crate::Result;

/// Architectures that say which scores are high and which are low, where the space has as many.
const REFERENCE: usize = 200;

/// Gives the scores of an architecture, one for each name of [`Inputs`].
pub type InputScores<'a> = dyn Fn(&Choices) -> Result<Finished<Vec<f64>>> + 'a;

/// Cheap scores, such as those of shared weights or of untrained networks, that a predictor reads
/// beside the structure of an architecture, so that fewer have to be evaluated.
pub struct Inputs<'a> {
    names: Vec<String>,
    space: &'a dyn Space,
    scores: Box<InputScores<'a>>,
    /// By key, so that a network is scored once.
    known: RefCell<HashMap<String, Vec<f64>>>,
    reference: Vec<Choices>,
    /// For each score the median of the reference, and what a standard deviation would be if the
    /// middle half of it were of a normal distribution.
    scales: Vec<[f64; 2]>,
}

impl<'a> Inputs<'a> {
    /// The scores called `names`; those of some architectures, drawn evenly, tell which are high.
    /// `watch` is told how many of how many were scored.
    ///
    /// # Errors
    /// Those of scoring.
    pub fn open(
        names: Vec<String>,
        space: &'a dyn Space,
        streams: Streams,
        scores: Box<InputScores<'a>>,
        watch: &mut dyn FnMut(usize, usize),
    ) -> Result<Finished<Self>> {
        let mut inputs = Self {
            names,
            space,
            scores,
            known: RefCell::default(),
            reference: Vec::new(),
            scales: Vec::new(),
        };
        let mut columns = vec![Vec::with_capacity(REFERENCE); inputs.names.len()];
        let mut keys = HashSet::new();
        for number in 0..10 * REFERENCE {
            let choices = space.sample(&mut streams.at("inputs/reference", number, 0));
            if !keys.insert(space.key(&choices)) {
                continue;
            }
            let Finished::Done(scores) = inputs.of(&choices)? else {
                return Ok(Finished::Interrupted);
            };
            columns.iter_mut().zip(scores).for_each(|(column, score)| column.push(score));
            inputs.reference.push(choices);
            watch(inputs.reference.len(), REFERENCE);
            if inputs.reference.len() == REFERENCE {
                break;
            }
        }
        inputs.scales = columns.into_iter().map(scale).collect();
        Ok(Finished::Done(inputs))
    }

    /// What the scores are called.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The scores of an architecture.
    ///
    /// # Errors
    /// Those of scoring.
    pub fn of(&self, choices: &Choices) -> Result<Finished<Vec<f64>>> {
        let key = self.space.key(choices);
        if let Some(scores) = self.known.borrow().get(&key) {
            return Ok(Finished::Done(scores.clone()));
        }
        let scored = (self.scores)(choices)?;
        if let Finished::Done(scores) = &scored {
            assert_eq!(scores.len(), self.names.len(), "a score for each name");
            self.known.borrow_mut().insert(key, scores.clone());
        }
        Ok(scored)
    }

    /// How high scores are among those of all architectures: 0 for the median, and about ±1 within
    /// the middle two thirds. What is far outside, as the accuracy of a network that is cut in two,
    /// counts by its logarithm.
    pub fn standing(&self, scores: &[f64]) -> Vec<f64> {
        let of = |(score, [middle, deviation]): (&f64, &[f64; 2])| {
            if *deviation > 0.0 { ((score - middle) / deviation).asinh() } else { 0.0 }
        };
        scores.iter().zip(&self.scales).map(of).collect()
    }

    /// The architectures that scores are measured by, those of the highest scores first.
    ///
    /// # Errors
    /// Those of scoring.
    pub(crate) fn best_of_reference(&self) -> Result<Finished<Vec<Choices>>> {
        let mut ranked = Vec::with_capacity(self.reference.len());
        for choices in &self.reference {
            let Finished::Done(scores) = self.of(choices)? else {
                return Ok(Finished::Interrupted);
            };
            ranked.push((self.standing(&scores).iter().sum::<f64>(), choices));
        }
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Ok(Finished::Done(ranked.into_iter().map(|(_, choices)| choices.clone()).collect()))
    }
}

/// Median, and quartile distance in units of a normal distribution's.
fn scale(mut column: Vec<f64>) -> [f64; 2] {
    if column.is_empty() {
        return [0.0; 2];
    }
    column.sort_by(f64::total_cmp);
    let at = |share: f64| column[((column.len() - 1) as f64 * share).round() as usize];
    [at(0.5), (at(0.75) - at(0.25)) / 1.349]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use adwp_models::{NasBench201, Skeleton, Stem};

    pub(crate) fn space() -> NasBench201 {
        let skeleton =
            Skeleton { stem: Stem::Cifar, cells: 3, channels: 2, classes: 2, image: [1, 8, 8] };
        NasBench201::new(skeleton).unwrap()
    }

    #[test]
    fn a_network_is_scored_once_and_stands_where_its_score_is_among_all() {
        let (space, streams) = (space(), Streams::new(1));
        let keys = RefCell::new(HashSet::new());
        {
            let scores = |choices: &Choices| {
                assert!(keys.borrow_mut().insert(space.key(choices)), "scored before");
                let convs = space.text(choices).matches("conv").count();
                Ok(Finished::Done(vec![100.0 * convs as f64, 7.0]))
            };
            let names = vec!["convs".to_owned(), "constant".to_owned()];
            let inputs =
                Inputs::open(names, &space, streams, Box::new(scores), &mut |_, _| {}).unwrap();
            let Finished::Done(inputs) = inputs else { panic!("nobody interrupts it") };
            let best = inputs.best_of_reference().unwrap().done().unwrap();
            assert_eq!(best.len(), REFERENCE);
            let value = |choices| inputs.of(choices).unwrap().done().unwrap()[0];
            assert!(best.windows(2).all(|pair| value(&pair[0]) >= value(&pair[1])));
            // 2 of 6 edges are convolutions on average, with a deviation of 1.2.
            let [low, high] = [0.0, 600.0].map(|score| inputs.standing(&[score, 7.0]));
            assert!(low[0] < -0.8 && high[0] > 1.0, "{low:?} {high:?}");
            assert_eq!((low[1], high[1]), (0.0, 0.0), "what is constant tells nothing");
            assert!(inputs.standing(&[-1e9, 7.0])[0].is_finite());
        }
        assert_eq!(keys.borrow().len(), REFERENCE);
    }

    #[test]
    fn an_interruption_is_passed_on() {
        let space = space();
        let names = vec!["a".to_owned()];
        let never = |_: &Choices| Ok(Finished::Interrupted);
        let opened =
            Inputs::open(names, &space, Streams::new(1), Box::new(never), &mut |_, _| {}).unwrap();
        assert!(matches!(opened, Finished::Interrupted));
    }
}
