//! Cheap scores that a predictor uses in addition to the structure of an architecture.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use adwp_models::{Choices, Space};
use adwp_train::{Finished, Streams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::journal::Journal;
use crate::{Result, SearchError};

/// Architectures that say which scores are high and which are low, where the space has as many.
const REFERENCE: usize = 200;

/// Gives the scores of an architecture, one for each name of [`Inputs`].
pub type InputScores<'a> = dyn Fn(&Choices) -> Result<Finished<Vec<f64>>> + 'a;

/// Cheap scores, such as those of shared weights or of untrained networks, that a predictor uses in
/// addition to the structure of an architecture, so that fewer have to be evaluated.
pub struct Inputs<'a> {
    names: Vec<String>,
    scores: Box<InputScores<'a>>,
    /// By architecture: scores of two that compute the same can differ, by what their networks are
    /// built of, so that it must not matter which was asked for first.
    known: RefCell<HashMap<Choices, Vec<f64>>>,
    /// Those of the highest scores first.
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
            scores,
            known: RefCell::default(),
            reference: Vec::new(),
            scales: Vec::new(),
        };
        let mut drawn: Vec<(Vec<f64>, Choices)> = Vec::with_capacity(REFERENCE);
        let mut keys = HashSet::new();
        for number in 0..10 * REFERENCE {
            let choices = space.sample(&mut streams.at("inputs/reference", number, 0));
            if !keys.insert(space.key(&choices)) {
                continue;
            }
            let Finished::Done(scores) = inputs.of(&choices)? else {
                return Ok(Finished::Interrupted);
            };
            drawn.push((scores, choices));
            watch(drawn.len(), REFERENCE);
            if drawn.len() == REFERENCE {
                break;
            }
        }
        let column = |i: usize| drawn.iter().map(|(scores, _)| scores[i]).collect();
        inputs.scales = (0..inputs.names.len()).map(|i| scale(column(i))).collect();
        let height = |scores: &[f64]| inputs.standing(scores).iter().sum::<f64>();
        let mut ranked: Vec<(f64, Choices)> =
            drawn.iter().map(|(scores, choices)| (height(scores), choices.clone())).collect();
        ranked.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        inputs.reference = ranked.into_iter().map(|(_, choices)| choices).collect();
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
        if let Some(scores) = self.known.borrow().get(choices) {
            return Ok(Finished::Done(scores.clone()));
        }
        let scored = (self.scores)(choices)?;
        if let Finished::Done(scores) = &scored {
            assert_eq!(scores.len(), self.names.len(), "a score for each name");
            self.known.borrow_mut().insert(choices.clone(), scores.clone());
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
    pub(crate) fn reference(&self) -> &[Choices] {
        &self.reference
    }
}

/// Scores of architectures that were computed, in a file: a line of JSON each, the first with what
/// they are called.
pub struct InputRecord {
    journal: Journal,
    known: HashMap<String, Vec<f64>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    text: String,
    scores: Vec<f64>,
}

impl InputRecord {
    /// Reads what is there when `resume` is set, else begins anew. A last line that was not written
    /// to its end is dropped.
    ///
    /// # Errors
    /// [`SearchError::Input`] when there are scores of other names,
    /// [`TrainError::Damaged`](adwp_train::TrainError::Damaged) when the file is none of this kind,
    /// and when it cannot be read or written.
    pub fn open(path: PathBuf, names: &[String], resume: bool) -> Result<Self> {
        let (first, names_alone) = (json!({ "inputs": names }), json!(names));
        let check = |found: &Value| {
            // An older version wrote the names alone.
            let found = found.get("inputs").unwrap_or(found);
            let message =
                || format!("{} has the inputs {found}, expected {names_alone}", path.display());
            if *found == names_alone { Ok(()) } else { Err(SearchError::Input(message())) }
        };
        let (journal, lines) = Journal::open::<Line>(path.clone(), resume, first.clone(), check)?;
        let mut known = HashMap::with_capacity(lines.len());
        for (number, Line { text, scores }) in lines.into_iter().enumerate() {
            if scores.len() != names.len() {
                return Err(journal.damaged(number, "it has not a score for each name").into());
            }
            known.insert(text, scores);
        }
        Ok(Self { journal, known })
    }

    /// The scores of an architecture, by its text.
    pub fn get(&self, text: &str) -> Option<&Vec<f64>> {
        self.known.get(text)
    }

    /// Adds the scores of an architecture.
    ///
    /// # Errors
    /// [`TrainError::File`](adwp_train::TrainError::File) when it cannot be written.
    pub fn add(&mut self, text: String, scores: &[f64]) -> Result<()> {
        self.journal.add(&Line { text, scores: scores.to_vec() })
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
                assert!(keys.borrow_mut().insert(space.text(choices)), "scored before");
                let convs = space.text(choices).matches("conv").count();
                Ok(Finished::Done(vec![100.0 * convs as f64, 7.0]))
            };
            let names = vec!["convs".to_owned(), "constant".to_owned()];
            let inputs =
                Inputs::open(names, &space, streams, Box::new(scores), &mut |_, _| {}).unwrap();
            let Finished::Done(inputs) = inputs else { panic!("nobody interrupts it") };
            let best = inputs.reference();
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
    fn recorded_scores_are_those_that_were_added() {
        let holder = tempfile::tempdir().unwrap();
        let path = holder.path().join("scores.jsonl");
        let names = ["a".to_owned(), "b".to_owned()];
        let open = |resume| InputRecord::open(path.clone(), &names, resume);
        let mut record = open(true).unwrap();
        record.add("x".into(), &[1.0 / 3.0, -2.0]).unwrap();
        record.add("y".into(), &[4.0, 5.0]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 3]).unwrap();
        let mut record = open(true).unwrap();
        assert_eq!((record.get("x"), record.get("y")), (Some(&vec![1.0 / 3.0, -2.0]), None));
        record.add("y".into(), &[4.0, 5.0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let other = InputRecord::open(path.clone(), &names[..1], true).err().unwrap().to_string();
        assert!(other.contains("expected [\"a\"]"), "{other}");
        std::fs::write(&path, text.replace("5.0]", "5.0,6.0]")).unwrap();
        let changed = open(true).err().unwrap().to_string();
        assert!(changed.contains("line 3: it was changed"), "{changed}");
        // As an older version wrote them.
        let old = "[\"a\",\"b\"]\n{\"text\":\"x\",\"scores\":[1.0,2.0]}\n";
        std::fs::write(&path, old).unwrap();
        assert_eq!(open(true).unwrap().get("x"), Some(&vec![1.0, 2.0]));
        std::fs::write(&path, old.replace("2.0]", "2.0,3.0]")).unwrap();
        let more = open(true).err().unwrap().to_string();
        assert!(more.contains("line 2: it has not a score for each name"), "{more}");
        assert!(open(false).unwrap().get("x").is_none());
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
