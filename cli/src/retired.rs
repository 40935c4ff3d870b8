//! Settings that earlier versions had.

use std::path::Path;

use adwp_base::Failure;
use adwp_train::Reporter;
use toml::{Table, Value};

/// A setting that there is no more.
struct Retired {
    /// Its table and its name there.
    key: [&'static str; 2],
    /// What there is instead, as a sentence.
    instead: &'static str,
}

/// All of them.
const RETIRED: [Retired; 2] = [
    Retired {
        key: ["fidelity", "random"],
        instead: "a study compares searches with all `fidelity.architectures`; \
                  `fidelity.searches` says how many searches",
    },
    Retired {
        key: ["strategy", "training_image_size"],
        instead: "`strategy.training_scale` multiplies the sides of images: 0.5 for half of them",
    },
];

/// Gives settings of a run that are of an earlier version what that did without knowing: it had α
/// start at another standard deviation than is usual now.
pub(crate) fn complete(settings: &mut Table) {
    if let Some(Value::Table(search)) = settings.get_mut("search") {
        search.entry("alpha_start_sd").or_insert(Value::Float(1.0));
    }
}

/// Settings that were in the folder of a run and mean nothing any more, each as `key = value`.
#[derive(Default)]
#[must_use]
pub(crate) struct LeftOut(Vec<String>);

impl LeftOut {
    /// Takes them out of the settings of a run.
    pub(crate) fn of(settings: &mut Table) -> Self {
        let take = |Retired { key: [table, name], .. }: &Retired| {
            let value = settings.get_mut(*table)?.as_table_mut()?.remove(*name)?;
            Some(format!("{table}.{name} = {value}"))
        };
        Self(RETIRED.iter().filter_map(take).collect())
    }

    /// Says once what the settings in `file` had that is left out; nothing where that is none.
    pub(crate) fn say(&self, file: &Path, reporter: &mut dyn Reporter) {
        if !self.0.is_empty() {
            let (file, settings) = (file.display(), self.0.join(", "));
            reporter.message(&format!(
                "{file} is of an earlier version; left out is what means nothing any more: {settings}"
            ));
        }
    }
}

/// The refusal of a key that the user has given, where an earlier version had it; `origin` says
/// where it was given.
pub(crate) fn refusal(key: &str, origin: &str) -> Option<Failure> {
    let is_it = |retired: &&Retired| retired.key.join(".") == key;
    let Retired { instead, .. } = RETIRED.iter().find(is_it)?;
    let failure = Failure::input(format!("{origin}: there is no `{key}` any more"));
    Some(failure.hint(*instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_retired_is_left_out() {
        let text = "seed = 3\n[fidelity]\nrandom = 0\nseeds = 2\n[strategy]\n\
                    training_image_size = 14\nname = \"random\"\n";
        let mut settings: Table = text.parse().unwrap();
        let LeftOut(said) = LeftOut::of(&mut settings);
        assert_eq!(said, ["fidelity.random = 0", "strategy.training_image_size = 14"]);
        let rest = "seed = 3\n[fidelity]\nseeds = 2\n[strategy]\nname = \"random\"\n";
        assert_eq!(settings, rest.parse().unwrap());
        let LeftOut(said) = LeftOut::of(&mut settings);
        assert!(said.is_empty());
        // What is no table there is the reader's to refuse.
        let mut settings: Table = "fidelity = 3\n".parse().unwrap();
        assert!(LeftOut::of(&mut settings).0.is_empty());
        assert_eq!(settings, "fidelity = 3\n".parse().unwrap());
    }

    #[test]
    fn alpha_starts_as_in_the_version_that_wrote_the_settings() {
        let start = |text: &str| {
            let mut settings: Table = text.parse().unwrap();
            complete(&mut settings);
            settings.get("search").map(|search| search["alpha_start_sd"].as_float())
        };
        assert_eq!(start("[search]\nepochs = 3\n"), Some(Some(1.0)));
        assert_eq!(start("[search]\nalpha_start_sd = 0.001\n"), Some(Some(0.001)));
        assert_eq!(start("seed = 3\n"), None);
    }

    #[test]
    fn what_is_retired_is_refused_with_what_there_is_instead() {
        for Retired { key, instead } in &RETIRED {
            let failure = refusal(&key.join("."), "--set x=0").unwrap();
            assert!(failure.message.contains(&key.join(".")), "{failure:?}");
            assert_eq!(failure.hint.as_deref(), Some(*instead));
        }
        assert!(refusal("fidelity.seeds", "--set x=0").is_none());
    }
}
