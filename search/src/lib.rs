//! Searches for architectures: the phases of ADWPNAS (the intensive space, section 3.1; the
//! HyperNetwork and the search by gradient, section 3.2), and the loop in which a strategy asks for
//! architectures of any space and a scorer says what they are worth.

mod alpha;
mod architecture;
mod ascent;
mod bilevel;
mod error;
mod explore;
mod finalists;
mod ghn;
mod history;
mod inputs;
mod journal;
mod momentum;
mod novelty;
mod one_shot;
mod predictor;
pub mod registry;
mod scorer;
mod scorers;
mod search_phase;
mod settings;
mod space_phase;
mod start;
mod strategies;
mod strategy;
mod table;
mod trials;

pub use error::{Result, SearchError};
pub use explore::{
    Exploration, Explored, StopRule, TRIALS, Watch, every_architecture, explore, explore_watched,
    origin,
};
pub use finalists::{FINALISTS, Finalist, halve, read_finalists};
pub use history::{History, Origin, Origins, Part, Searched};
pub use inputs::{InputRecord, InputScores, Inputs};
pub use one_shot::{PathSampling, SharedWeights, train_one_shot};
pub use predictor::{Point, Posterior, Prediction, Predictor};
pub use scorer::{
    Ingredient, Ingredients, JointTraining, Latency, Scorer, ScorerEntry, ShortTraining, Train,
    Unit,
};
pub use scorers::naswot::naswot;
pub use scorers::predicted::{PredictedWeights, train_hypernetwork};
pub use search_phase::{search, search_bytes, search_from};
pub use settings::{AlphaData, AlphaDraw, Data, SearchSettings, SpaceSettings};
pub use space_phase::{derive_space, space_bytes};
pub use strategy::{Problem, Strategy, StrategyEntry, StrategySetting, StrategySettings};
pub use table::{Column, Table};
pub use trials::Trial;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::black_images;
    use adwp_models::{
        ChoiceCosts, Discrete, GeneratorActivation, Genotype, Intensive, IntensiveSpace, Limit,
        Resource, Skeleton, cost,
    };
    use adwp_train::{Context, Finished, Interrupt, Progress, Reporter, RunDir, Streams};
    use serde_json::{Map, Value};

    /// Runs the work in a folder of its own; gives what was said too.
    fn in_folder<T>(
        work: impl FnOnce(&mut Context<'_>) -> Result<Finished<T>>,
    ) -> (Result<T>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let (interrupt, mut reporter) = (Interrupt::default(), Said::default());
        let mut context = Context::new(&run, &interrupt, &mut reporter);
        let result = work(&mut context).map(|finished| match finished {
            Finished::Done(result) => result,
            Finished::Interrupted => unreachable!("nobody interrupts it"),
        });
        (result, reporter.0)
    }

    /// Keeps what is said.
    #[derive(Default)]
    struct Said(Vec<String>);

    impl Reporter for Said {
        fn step(&mut self, _: &Progress) {}
        fn aside(&mut self, _: &str, _: usize, _: usize) {}
        fn epoch(&mut self, _: &Map<String, Value>) {}
        fn message(&mut self, text: &str) {
            self.0.push(text.to_owned());
        }
        fn phase_end(&mut self) {}
    }

    fn space_settings() -> SpaceSettings {
        SpaceSettings {
            epochs: 2,
            batch: 4,
            channels: 1,
            candidates: 2,
            backtrack: 1,
            ..SpaceSettings::default()
        }
    }

    fn search_settings() -> SearchSettings {
        SearchSettings {
            epochs: 3,
            hypernetwork_epochs: 1,
            cross_search_start: 2,
            cross_search_end: 3,
            batch: 4,
            channels: 1,
            keep: 1,
            hidden: 2,
            ..SearchSettings::default()
        }
    }

    #[test]
    fn a_phase_that_has_ended_leaves_no_memory_taken() {
        let data = black_images(32);
        let space = in_folder(|context| derive_space(&space_settings(), &data, context)).0.unwrap();
        assert_eq!(data.device.working_bytes(), 0);
        in_folder(|context| search(&search_settings(), &space, &[], &data, context)).0.unwrap();
        assert_eq!(data.device.working_bytes(), 0);
    }

    #[test]
    fn identities_can_be_dropped_and_generating_blocks_bent() {
        let data = black_images(32);
        let settings = SpaceSettings { identity_dropout: 0.5, ..space_settings() };
        let space = in_folder(|context| derive_space(&settings, &data, context)).0.unwrap();
        let settings = SearchSettings {
            identity_dropout: 0.5,
            generator_activation: GeneratorActivation::Relu,
            generator_gain: 0.5,
            ..search_settings()
        };
        for alpha_data in [AlphaData::Train, AlphaData::Validation] {
            in_folder(|context| {
                search(
                    &SearchSettings { alpha_data, ..settings.clone() },
                    &space,
                    &[],
                    &data,
                    context,
                )
            })
            .0
            .unwrap();
        }
    }

    #[test]
    fn a_search_ends_early_once_its_architecture_stays_the_same() {
        let data = black_images(32);
        let space = IntensiveSpace::random(3, &mut Streams::new(2).once("space")).unwrap();
        // α hardly moves from where it starts.
        let settings = SearchSettings {
            epochs: 9,
            hypernetwork_epochs: 2,
            cross_search_start: 9,
            cross_search_end: 9,
            early_stop: 3,
            alpha_rate: 1e-9,
            ..search_settings()
        };
        let (genotype, said) = in_folder(|context| search(&settings, &space, &[], &data, context));
        assert!(
            said.iter().any(|text| text
                == "search: settled after 6 of 9 epochs: the architecture \
                    has been the same for 3 epochs"),
            "{said:?}"
        );
        let patient = SearchSettings { early_stop: 0, ..settings };
        let (other, said) = in_folder(|context| search(&patient, &space, &[], &data, context));
        assert!(!said.iter().any(|text| text.contains("settled")), "{said:?}");
        assert_eq!(genotype.unwrap(), other.unwrap());
        let settings =
            SpaceSettings { epochs: 9, alpha_rate: 1e-9, early_stop: 2, ..space_settings() };
        let (_, said) = in_folder(|context| derive_space(&settings, &data, context));
        assert!(said.iter().any(|text| text.starts_with("space: settled after ")), "{said:?}");
    }

    #[test]
    fn a_search_keeps_to_limits_or_says_at_once_that_none_can() {
        let data = black_images(32);
        let space = IntensiveSpace::random(5, &mut Streams::new(2).once("space")).unwrap();
        let found = |limits: &[Limit]| {
            in_folder(|context| search(&search_settings(), &space, limits, &data, context)).0
        };
        let cost = |genotype: &Genotype| {
            cost::count(&Discrete::build(genotype, &data.target, 1, None).unwrap().graph).madds
        };
        let free = cost(&found(&[]).unwrap());
        let sized = Intensive::new(space.clone(), data.target, 1).unwrap();
        let costs = ChoiceCosts::madds(&sized).unwrap();
        let limit = |most| Limit { resource: Resource::Madds, most, costs: costs.clone() };
        let most = costs.fixed + 0.5 * (free as f64 - costs.fixed);
        assert!(cost(&found(&[limit(most)]).unwrap()) as f64 <= most);
        let error = found(&[limit(1.0)]).unwrap_err().to_string();
        assert!(error.starts_with("no architecture with at most 1 multiply-adds"), "{error}");
    }

    #[test]
    fn a_hypernetwork_that_was_trained_alone_is_searched_as_if_it_had_not_been() {
        let data = black_images(32);
        let space = IntensiveSpace::random(3, &mut Streams::new(2).once("space")).unwrap();
        let searched = Skeleton { channels: 1, ..data.skeleton };
        let searched = Intensive::new(space.clone(), searched, 1).unwrap();
        let at_once =
            in_folder(|context| search(&search_settings(), &space, &[], &data, context)).0.unwrap();
        let in_parts = in_folder(|context| {
            let Finished::Done(mut predicted) =
                train_hypernetwork(&search_settings(), &searched, &data, context)?
            else {
                unreachable!()
            };
            let accuracy = predicted.score(&vec![vec![0.0; 12]; 3])?;
            assert!((0.0..=1.0).contains(&accuracy));
            drop(predicted);
            context.resume = true;
            search(&search_settings(), &space, &[], &data, context)
        });
        assert_eq!(in_parts.0.unwrap(), at_once);
    }
}
