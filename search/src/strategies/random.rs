use adwp_models::{Choices, Space};
use rand::Rng;

use crate::strategy::{Strategy, StrategyEntry};
use crate::trials::Trial;

/// Architectures drawn evenly from the space.
struct Random<'a>(&'a dyn Space);

pub(crate) const ENTRY: StrategyEntry = StrategyEntry {
    name: "random",
    about: "architectures drawn evenly from the space",
    settings: &[],
    open: |_, problem| Ok(Box::new(Random(problem.space))),
};

impl Strategy for Random<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn ask(&mut self, rng: &mut dyn Rng) -> Choices {
        self.0.sample(rng)
    }

    fn tell(&mut self, _: &Trial) {}
}
