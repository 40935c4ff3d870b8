use std::collections::VecDeque;

use adwp_models::{Choices, Space};
use adwp_train::Finished;
use rand::{Rng, RngExt};

use crate::strategy::{Strategy, StrategyEntry, StrategySetting};
use crate::trials::Trial;
use crate::{Result, SearchError};

/// Regularised evolution (Real et al., Regularized Evolution for Image Classifier Architecture
/// Search, 2019, algorithm 1): a child is the best of a sample of the population with one decision
/// changed; the oldest dies, however good it is.
struct Evolution<'a> {
    space: &'a dyn Space,
    population_size: usize,
    sample_size: usize,
    /// From the oldest to the youngest.
    population: VecDeque<Trial>,
}

pub(crate) const ENTRY: StrategyEntry = StrategyEntry {
    name: "evolution",
    about: "regularised evolution: the best of a sample of those that live has a child",
    settings: &[
        StrategySetting {
            name: "population_size",
            about: "architectures that live at a time",
            usual: 20.0,
        },
        StrategySetting {
            name: "sample_size",
            about: "architectures whose best becomes a parent",
            usual: 5.0,
        },
    ],
    first: Some("population_size"),
    reads_inputs: false,
    open: |settings, problem| {
        let (population_size, sample_size) =
            (settings.count("population_size")?, settings.count("sample_size")?);
        if sample_size > population_size {
            return Err(SearchError::Input(format!(
                "evolution: sample_size = {sample_size} is not in 1 to population_size = \
                 {population_size}"
            )));
        }
        let (space, population) = (problem.space, VecDeque::new());
        Ok(Box::new(Evolution { space, population_size, sample_size, population }))
    },
};

impl Strategy for Evolution<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn ask(&mut self, rng: &mut dyn Rng) -> Result<Finished<Choices>> {
        let Self { space, population_size, sample_size, population } = self;
        if population.len() < *population_size {
            return Ok(Finished::Done(space.sample(rng)));
        }
        // With replacement, as in the publication.
        let sample = (0..*sample_size).map(|_| &population[rng.random_range(0..population.len())]);
        let parent =
            sample.reduce(|best, other| if other.score > best.score { other } else { best });
        let parent = parent.expect("the sample is not empty");
        Ok(Finished::Done(space.mutate(&parent.choices, rng)))
    }

    fn tell(&mut self, trial: &Trial) {
        self.population.push_back(trial.clone());
        if self.population.len() > self.population_size {
            self.population.pop_front();
        }
    }
}
