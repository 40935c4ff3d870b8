//! What is left in the result of a search of the random values that α began with.

use adwp_models::{Choices, Decision};
use serde_json::{Map, Value};

/// α of a search, held against its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Movement {
    /// Root mean square of how far an α is from its start. What all options of a decision have in
    /// common, which changes no probability, is left out.
    distance: f64,
    /// α of the last option kept less that of the first dropped: the mean over the decisions.
    gap: f64,
    /// How far an α would be from its start after steps in random directions: the learning rate,
    /// which is about the length of a step of Adam, times the root of their number.
    noise: f64,
    /// Share of the kept options that the start would have kept.
    kept_at_start: f64,
    /// That share for a start that says nothing.
    kept_by_chance: f64,
}

impl Movement {
    /// From `start` to `now`, α of all decisions one after the other, in `steps` steps.
    /// `kept_at_start` and `kept` are the architectures that they stand for.
    pub(crate) fn new(
        decisions: &[Decision],
        [start, now]: [&[f32]; 2],
        [kept_at_start, kept]: [&Choices; 2],
        rate: f32,
        steps: usize,
    ) -> Self {
        let (mut squares, mut gaps, mut at) = (0.0, Vec::new(), 0);
        for decision in decisions {
            let row = at..at + decision.options;
            at = row.end;
            let moved = start[row.clone()].iter().zip(&now[row.clone()]);
            let moved: Vec<f64> = moved.map(|(a, b)| f64::from(b - a)).collect();
            let mean = moved.iter().sum::<f64>() / moved.len() as f64;
            squares += moved.iter().map(|moved| (moved - mean).powi(2)).sum::<f64>();
            let mut ranked = now[row].to_vec();
            ranked.sort_by(|a, b| b.total_cmp(a));
            if let Some(dropped) = ranked.get(decision.keep) {
                gaps.push(f64::from(ranked[decision.keep - 1] - dropped));
            }
        }
        let share = |counts: Vec<(usize, f64)>| {
            let all: usize = counts.iter().map(|(of, _)| of).sum();
            counts.iter().map(|(_, count)| count).sum::<f64>() / all.max(1) as f64
        };
        let pairs = kept_at_start.0.iter().zip(&kept.0);
        let same = pairs.map(|(start, kept)| {
            let same = kept.iter().filter(|option| start.contains(option)).count();
            (kept.len(), same as f64)
        });
        let by_chance = decisions.iter().map(|decision| {
            (decision.keep, (decision.keep * decision.keep) as f64 / decision.options as f64)
        });
        Self {
            distance: (squares / at.max(1) as f64).sqrt(),
            gap: gaps.iter().sum::<f64>() / gaps.len().max(1) as f64,
            noise: f64::from(rate) * (steps as f64).sqrt(),
            kept_at_start: share(same.collect()),
            kept_by_chance: share(by_chance.collect()),
        }
    }

    /// What to say where more of the start is left in the result than is not.
    pub(crate) fn warning(&self) -> Option<String> {
        let Self { distance, kept_at_start, kept_by_chance, .. } = *self;
        // Halfway from what a start that says nothing would share to all.
        (kept_at_start > f64::midpoint(1.0, kept_by_chance)).then(|| {
            format!(
                "{:.0}% of the architecture is what the random start would have given, {:.0}% \
                 would be chance: α is only {distance:.2} from where it began",
                100.0 * kept_at_start,
                100.0 * kept_by_chance
            )
        })
    }

    /// For the metrics of an epoch.
    pub(crate) fn metrics(&self) -> Map<String, Value> {
        let Self { distance, gap, noise, kept_at_start, kept_by_chance } = *self;
        let numbers = [
            ("alpha_distance", distance),
            ("alpha_gap", gap),
            ("alpha_noise", noise),
            ("kept_at_start", kept_at_start),
            ("kept_by_chance", kept_by_chance),
        ];
        let numbers = numbers.map(|(name, value)| (name.to_owned(), value.into()));
        let warning = self.warning().map(|warning| ("is_start".to_owned(), warning.into()));
        numbers.into_iter().chain(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECISIONS: [Decision; 2] = [Decision { options: 3, keep: 1 }; 2];

    fn movement(now: &[f32], kept: [usize; 2]) -> Movement {
        let start = [0.0, 1.0, 2.0, 0.0, 0.5, -0.5];
        let choices = |kept: [usize; 2]| Choices(kept.map(|option| vec![option]).to_vec());
        Movement::new(&DECISIONS, [&start, now], [&choices([2, 1]), &choices(kept)], 0.1, 9)
    }

    #[test]
    fn what_stays_is_the_start() {
        // All options of a decision moved alike: nothing did.
        let stayed = movement(&[1.0, 2.0, 3.0, 0.0, 0.5, -0.5], [2, 1]);
        assert_eq!((stayed.distance, stayed.kept_at_start), (0.0, 1.0));
        assert!((stayed.kept_by_chance - 1.0 / 3.0).abs() < 1e-12);
        assert!((stayed.gap - 0.75).abs() < 1e-6 && (stayed.noise - 0.3).abs() < 1e-6);
        let warning = stayed.warning().unwrap();
        assert!(warning.contains("100%") && warning.contains("33%"), "{warning}");
        assert_eq!(stayed.metrics()["is_start"], warning);
    }

    #[test]
    fn what_moved_is_not() {
        let moved = movement(&[0.0, 4.0, 2.0, 0.0, 0.5, -0.5], [1, 1]);
        // One of six by 3, which is 2 more than the mean of its decision.
        assert!((moved.distance - 1f64.sqrt()).abs() < 1e-6, "{moved:?}");
        assert_eq!(moved.kept_at_start, 0.5);
        assert_eq!(moved.warning(), None);
        assert!(!moved.metrics().contains_key("is_start"));
    }
}
