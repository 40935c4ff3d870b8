//! One factor for all settings that count epochs.

use toml::{Table, Value};

/// Every setting that counts epochs, with its table; 0 has a meaning of its own in each that may
/// have it, and stays.
const COUNTED: [(&str, &[&str]); 4] = [
    ("space", &["epochs", "backtrack", "early_stop"]),
    (
        "search",
        &["epochs", "hypernetwork_epochs", "cross_search_start", "cross_search_end", "early_stop"],
    ),
    ("strategy", &["training_epochs", "finalist_epochs"]),
    ("retrain", &["epochs", "warmup_epochs", "evaluate_every"]),
];

/// Settings of which the first must be below the second.
const BELOW: [(&str, &str, &str); 2] =
    [("space", "backtrack", "epochs"), ("search", "hypernetwork_epochs", "epochs")];

/// Multiplies the settings that count epochs: rounded, at least 1, and in the order that they had.
pub(crate) fn scale(settings: &mut Table, factor: f64) {
    // Those that rounding must not make equal.
    let is_below = BELOW.map(|(table, low, high)| {
        count(settings, table, low).zip(count(settings, table, high)).is_some_and(|(a, b)| a < b)
    });
    for (table, keys) in COUNTED {
        for key in keys {
            if let Some(count @ 1..) = count(settings, table, key) {
                set(settings, table, key, scaled(count, factor));
            }
        }
    }
    for ((table, low, high), _) in BELOW.into_iter().zip(is_below).filter(|(_, is_below)| *is_below)
    {
        let (Some(low_count), Some(high_count)) =
            (count(settings, table, low), count(settings, table, high))
        else {
            continue;
        };
        // Of 2 and 2 the lower one becomes 1; of 1 and 1 the higher one 2.
        let lower = low_count.min((high_count - 1).max(1));
        set(settings, table, low, lower);
        set(settings, table, high, high_count.max(lower + 1));
    }
}

/// So many epochs times the factor, at least 1.
pub(crate) fn scaled(count: i64, factor: f64) -> i64 {
    ((count as f64 * factor).round() as i64).max(1)
}

fn count(settings: &Table, table: &str, key: &str) -> Option<i64> {
    settings.get(table)?.get(key)?.as_integer()
}

fn set(settings: &mut Table, table: &str, key: &str, count: i64) {
    if let Some(value) = settings.get_mut(table).and_then(|table| table.get_mut(key)) {
        *value = Value::Integer(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use crate::config::{Config, PRESETS};
    use clap::Parser;

    fn config(flags: &[&str]) -> Config {
        let args = Args::parse_from(["adwp", "run"].iter().chain(flags));
        let Command::Run(args) = args.command else { unreachable!() };
        Config::from_args(&args.run).unwrap()
    }

    #[test]
    fn every_setting_that_counts_epochs_is_scaled() {
        fn named(table: &Table, path: &str, found: &mut Vec<String>) {
            for (key, value) in table {
                match value {
                    Value::Table(table) => named(table, key, found),
                    // Epochs are in the name of most, and in the explanation of the others.
                    _ if key.contains("epoch") => found.push(format!("{path}.{key}")),
                    _ => {}
                }
            }
        }
        let (mut found, table) = (Vec::new(), Table::try_from(Config::default()).unwrap());
        named(&table, "", &mut found);
        let counted = |key: &String| {
            let (table, key) = key.split_once('.').unwrap();
            COUNTED.iter().any(|(of, keys)| *of == table && keys.contains(&key))
        };
        assert!(found.len() > 5 && found.iter().all(counted), "{found:?}");
        for (table, keys) in COUNTED {
            assert!(keys.iter().all(|key| count(&table_of(), table, key).is_some()), "{table}");
        }
    }

    fn table_of() -> Table {
        Table::try_from(Config::default()).unwrap()
    }

    #[test]
    fn epochs_are_scaled_and_what_is_set_wins() {
        let (all, half) = (config(&["--preset", "cifar10-8"]), |flags: &[&str]| {
            config(&[&["--preset", "cifar10-8", "--epochs-scale", "0.5"][..], flags].concat())
        });
        let scaled = half(&[]);
        assert_eq!((all.space.epochs, scaled.space.epochs), (30, 15));
        assert_eq!((all.space.backtrack, scaled.space.backtrack), (2, 1));
        assert_eq!((scaled.search.epochs, scaled.search.hypernetwork_epochs), (60, 30));
        let cross = (scaled.search.cross_search_start, scaled.search.cross_search_end);
        assert_eq!(cross, (45, 50));
        assert_eq!((scaled.retrain.epochs, scaled.retrain.evaluate_every), (500, 5));
        // A half is rounded up, and 0 stays.
        assert_eq!((all.strategy.training_epochs, scaled.strategy.training_epochs), (3, 2));
        let none = (scaled.strategy.finalist_epochs, scaled.retrain.warmup_epochs);
        assert_eq!((none, scaled.space.early_stop), ((0, 0), 0));
        // All else is as it was.
        let mut rest = scaled.clone();
        (rest.space.epochs, rest.space.backtrack) = (all.space.epochs, all.space.backtrack);
        (rest.search, rest.strategy) = (all.search.clone(), all.strategy.clone());
        rest.retrain.epochs = all.retrain.epochs;
        rest.retrain.evaluate_every = all.retrain.evaluate_every;
        assert_eq!(rest, all);

        let set = half(&["--set", "retrain.epochs=7", "--early-stop", "3"]);
        assert_eq!((set.retrain.epochs, set.search.early_stop, set.search.epochs), (7, 3, 60));
    }

    #[test]
    fn the_order_of_epochs_is_kept_at_every_scale() {
        for (preset, _) in PRESETS {
            for scale in ["1e-9", "0.01", "0.1", "0.2", "0.3", "0.4", "0.5", "0.7", "1.3", "1000"] {
                // It checks its settings.
                let scaled = config(&["--preset", preset, "--epochs-scale", scale]);
                assert!(scaled.retrain.epochs >= 1 && scaled.space.backtrack >= 1);
            }
            assert_eq!(config(&["--preset", preset, "--epochs-scale", "1"]), {
                config(&["--preset", preset])
            });
        }
    }

    #[test]
    fn what_is_out_of_order_stays_so() {
        let mut settings: Table =
            "[search]\nepochs = 4\nhypernetwork_epochs = 4\n".parse().unwrap();
        scale(&mut settings, 0.5);
        assert_eq!(settings["search"]["epochs"], settings["search"]["hypernetwork_epochs"]);
    }
}
