use std::collections::HashSet;

use adwp_models::Choices;
use adwp_train::Finished;
use rand::{Rng, RngExt};

use crate::Result;
use crate::strategy::{Problem, Strategy, StrategyEntry, StrategySetting};
use crate::trials::Trial;

/// Local search (White et al., Exploring the Loss Landscape in Neural Architecture Search, 2021,
/// algorithm 1, moving on as soon as a neighbour is better): from the best of some random
/// architectures to a better neighbour, in random order, until there is none; then from a new
/// random one.
struct Local<'a> {
    problem: Problem<'a>,
    initial: usize,
    keys: HashSet<String>,
    /// Whose neighbours are scored.
    current: Option<Trial>,
}

pub(crate) const ENTRY: StrategyEntry = StrategyEntry {
    name: "local",
    about: "local search: to a better neighbour, until there is none",
    settings: &[StrategySetting {
        name: "starts",
        about: "random architectures, from the best of which the search sets out",
        usual: 10.0,
    }],
    first: Some("starts"),
    reads_inputs: false,
    open: |settings, problem| {
        let initial = settings.count("starts")?;
        Ok(Box::new(Local { problem, initial, keys: HashSet::new(), current: None }))
    },
};

impl Strategy for Local<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn ask(&mut self, rng: &mut dyn Rng) -> Result<Finished<Choices>> {
        let space = self.problem.space;
        let is_new = |choices: &Choices| !self.keys.contains(&space.key(choices));
        let current = self.current.as_ref().filter(|_| self.keys.len() >= self.initial);
        let mut neighbours =
            current.map_or_else(Vec::new, |trial| space.neighbours(&trial.choices));
        neighbours.retain(|choices| is_new(choices) && self.problem.allows(choices));
        Ok(Finished::Done(match neighbours.len() {
            0 => space.sample(rng),
            count => neighbours.swap_remove(rng.random_range(0..count)),
        }))
    }

    fn tell(&mut self, trial: &Trial) {
        let is_start = |current: &Trial| {
            let neighbours = self.problem.space.neighbours(&current.choices);
            self.keys.len() >= self.initial && !neighbours.contains(&trial.choices)
        };
        if self
            .current
            .as_ref()
            .is_none_or(|current| trial.score > current.score || is_start(current))
        {
            self.current = Some(trial.clone());
        }
        self.keys.insert(trial.key.clone());
    }
}
