use adwp_models::{Choices, Space};
use rand::Rng;

use crate::strategy::{Strategy, StrategyEntry};
use crate::trials::Trial;

/// Architectures drawn evenly from the space.
struct Random;

pub(crate) const ENTRY: StrategyEntry = StrategyEntry {
    name: "random",
    about: "architectures drawn evenly from the space",
    open: |_| Ok(Box::new(Random)),
};

impl Strategy for Random {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn ask(&mut self, space: &dyn Space, rng: &mut dyn Rng) -> Choices {
        space.sample(rng)
    }

    fn tell(&mut self, _: &Trial) {}
}
