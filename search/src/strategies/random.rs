use adwp_models::{Choices, Space};
use adwp_train::Finished;
use rand::Rng;

use crate::Result;
use crate::strategy::{Strategy, StrategyEntry};
use crate::trials::Trial;

/// Architectures drawn evenly from the space.
struct Random<'a>(&'a dyn Space);

pub(crate) const ENTRY: StrategyEntry = StrategyEntry {
    name: "random",
    about: "architectures drawn evenly from the space",
    settings: &[],
    first: None,
    reads_inputs: false,
    open: |_, problem| Ok(Box::new(Random(problem.space))),
};

impl Strategy for Random<'_> {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn ask(&mut self, rng: &mut dyn Rng) -> Result<Finished<Choices>> {
        Ok(Finished::Done(self.0.sample(rng)))
    }

    fn tell(&mut self, _: &Trial) {}
}
