//! What binds `config.toml` to the files that were made with it: the settings that checkpoints and
//! weights carry.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use adwp_base::{Checksum, Failure, Result, read_bytes, read_json_lines, read_text, to_json};
use adwp_search::TRIALS;
use adwp_train::{Checkpoint, RunDir, read_json, read_metrics, write_atomic};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use toml::{Table, Value};

use crate::architecture::file_of;
use crate::args::RunArgs;
use crate::config::{Config, first_difference, parse, unprintable};
use crate::device::{Compute, Rounding};
use crate::phases::Training;
use crate::retired::LeftOut;
use crate::strategy::StrategyConfig;

/// The settings of a run that is there already, with the single flags given; and those that only an
/// earlier version knew.
///
/// # Errors
/// Those of [`Config::stored`], and settings that are not those that were written; what was made
/// with them knows which of them is another.
pub(crate) fn read(path: &Path, args: &RunArgs) -> Result<(Config, LeftOut)> {
    let (config, left_out, changed) = Config::stored(path, args)?;
    let Some(changed) = changed else { return Ok((config?, left_out)) };
    if let (Ok(config), ..) = Config::stored(path, &RunArgs::default())? {
        check(path.parent().unwrap_or(path), &config)?;
    }
    Err(changed.of(path))
}

/// Tables of the settings that decide what a phase gives; what stands in no table does for all.
fn tables(phase: Training) -> &'static [&'static str] {
    match phase {
        Training::Space => &["space"],
        Training::Search => &["search", "strategy", "limits"],
        Training::Retrain => &["retrain", "limits"],
    }
}

/// Of all settings those that decide what a phase gives. Where data and tables lie does not, and
/// its learning rate may be lowered when it was too high.
fn deciding(settings: &Table, phase: Training) -> Table {
    let mut deciding = settings.clone();
    for key in ["data", "preset"] {
        deciding.remove(key);
    }
    let trains = phase == Training::Search && trains_networks(settings);
    deciding.retain(|key, value| {
        !value.is_table() || tables(phase).contains(&key) || trains && key == RETRAIN
    });
    // Of a short training the epochs are others.
    if let (true, Some(Value::Table(retrain))) = (trains, deciding.get_mut(RETRAIN)) {
        retrain.retain(|key, _| !matches!(key, "epochs" | "evaluate_every"));
    }
    for (table, key) in [(phase.name(), "rate"), ("limits", "latency_table")] {
        if let Some(Value::Table(table)) = deciding.get_mut(table) {
            table.remove(key);
        }
    }
    deciding
}

const RETRAIN: &str = "retrain";

/// Whether a search trains networks as they are retrained.
fn trains_networks(settings: &Table) -> bool {
    let strategy = settings.get("strategy").and_then(Value::as_table);
    let text = |of: &Table, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
    strategy.is_some_and(|of| {
        let is_gradient = text(of, "name").as_deref() == Some(StrategyConfig::GRADIENT);
        let has_finalists = of.get("finalists").and_then(Value::as_integer) > Some(0);
        !is_gradient && (text(of, "scorer").as_deref() == Some("training") || has_finalists)
    })
}

/// Settings as they stand in `config.toml`: numbers with the digits that they have there.
fn as_written(config: &Config) -> Result<Table> {
    parse(&config.to_toml()?, "settings")
}

/// For each phase the settings that decide what it gives, as its files carry them.
pub(crate) fn of_phases(config: &Config) -> Result<Vec<(&'static str, String)>> {
    let all = as_written(config)?;
    let of = |phase: Training| {
        let text = toml::to_string(&deciding(&all, phase)).map_err(|e| unprintable(&e))?;
        Ok((phase.name(), text))
    };
    Training::ALL.into_iter().map(of).collect()
}

/// The settings of phases whose results carry none, and what else a run knows of itself:
/// `settings.json`.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: String,
    /// The preset that the run began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preset: Option<String>,
    /// How it computes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compute: Option<Rounding>,
    /// By the name of the phase, as checkpoints carry them.
    phases: BTreeMap<String, String>,
    /// Checksums of the files that the steps have written, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    results: BTreeMap<String, String>,
    /// The steps that are done, with what they have left in files that grow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    steps: BTreeMap<String, Growth>,
}

/// How far the files that grow have grown by a step.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Growth {
    /// Epochs, which have a line each in `metrics.jsonl`.
    epochs: u64,
    /// Lines of `trials.jsonl`.
    #[serde(default, skip_serializing_if = "is_zero")]
    trials: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Kept {
    const FILE: &str = "settings.json";
    const SCHEMA: &str = "adwp/settings/1";

    /// What an older version has written says nothing.
    fn read(run: &RunDir) -> Result<Self> {
        let path = run.file(Self::FILE);
        match path.exists() {
            true => Ok(read_json(&path, Self::SCHEMA)?),
            false => Ok(Self { schema: Self::SCHEMA.into(), ..Self::default() }),
        }
    }

    fn write(&self, run: &RunDir) -> Result {
        Ok(write_atomic(&run.file(Self::FILE), to_json(self).as_bytes())?)
    }

    /// By what a file is known that a step has just written.
    fn add_result(&mut self, run: &RunDir, file: &str) -> Result {
        match sum(&run.file(file))? {
            Some(sum) => drop(self.results.insert(file.to_owned(), sum)),
            None => drop(self.results.remove(file)),
        }
        Ok(())
    }

    /// That a step is done, and how far the files have grown to which it adds.
    fn add_step(&mut self, run: &RunDir, step: &str) -> Result {
        let epochs = epochs(&read_metrics(run)?, step).last().map_or(0, |last| last + 1);
        let trials = if step == Training::Search.name() { trials(run)? } else { 0 };
        self.steps.insert(step.to_owned(), Growth { epochs, trials });
        Ok(())
    }
}

/// What tells a result from that of another run: of JSON, which may be laid out anew, the checksum in
/// it, which whoever changes it takes out; of other files that of their bytes.
fn sum(path: &Path) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    if path.extension().is_some_and(|extension| extension == "json") {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&read_text(path)?) else {
            // Its reader says what is wrong with it.
            return Ok(None);
        };
        return Ok(value.get(Checksum::KEY).and_then(|sum| sum.as_str()).map(str::to_owned));
    }
    Ok(Some(Checksum::of(&read_bytes(path, u64::MAX)?).to_string()))
}

/// Keeps by what a file is known that a step has just written.
pub(crate) fn keep_result(run: &RunDir, file: &str) -> Result {
    let mut kept = Kept::read(run)?;
    kept.add_result(run, file)?;
    kept.write(run)
}

/// Keeps that a phase is done, whose result has just been written.
pub(crate) fn keep_done(run: &RunDir, phase: Training, file: &str) -> Result {
    let mut kept = Kept::read(run)?;
    kept.add_result(run, file)?;
    kept.add_step(run, phase.name())?;
    kept.write(run)
}

/// Refuses results of another run, which may have been copied here.
fn check_results(run: &RunDir, kept: &Kept) -> Result {
    for (file, expected) in &kept.results {
        let path = run.file(file);
        if sum(&path)?.is_some_and(|found| found != *expected) {
            let failure = Failure::input(format!(
                "{} is not the file that this run has written",
                path.display()
            ));
            return Err(failure.hint(
                "bring it back, or delete it and what was made with it, to be made again; of a \
                 JSON file that was meant, take out the key `checksum`",
            ));
        }
    }
    Ok(())
}

/// Keeps what a run begins with apart from its settings.
pub(crate) fn begin(run: &RunDir, config: &Config, compute: &Compute) -> Result {
    let mut kept = Kept::read(run)?;
    kept.preset = Some(config.preset.clone());
    kept.compute = Some(compute.rounding());
    kept.write(run)
}

/// Refuses to compute on in another way than the run has until now: its result would be that of
/// neither.
pub(crate) fn check_rounding(folder: &Path, compute: &Compute) -> Result {
    let Some(own) = Kept::read(&RunDir::at(folder))?.compute else { return Ok(()) };
    let Some((how, advice)) = own.difference(&compute.rounding()) else { return Ok(()) };
    let failure = Failure::input(format!("the run in {} is computed {how}", folder.display()));
    Err(failure.hint(format!("{advice}, or begin another run in another folder")))
}

/// The lines of the record of a search; 0 where there is none.
fn trials(run: &RunDir) -> Result<usize> {
    let path = run.file(TRIALS);
    Ok(if path.exists() { read_json_lines(&path)?.lines.len() } else { 0 })
}

/// The numbers of the epochs of a phase that have a line in `metrics.jsonl`.
fn epochs(metrics: &[Map<String, Json>], phase: &str) -> BTreeSet<u64> {
    let own = metrics.iter().filter(|line| line.get("phase") == Some(&phase.into()));
    own.filter_map(|line| line.get("epoch")?.as_u64()).collect()
}

/// Keeps that a step is done, and how far the files have grown to which it adds.
pub(crate) fn keep_step(run: &RunDir, step: &str) -> Result {
    let mut kept = Kept::read(run)?;
    kept.add_step(run, step)?;
    kept.write(run)
}

/// What is missing of the files to which the steps of a run add, a sentence for each step and
/// file. Of a step that is to be done again nothing is.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn lost(run: &RunDir, times: &BTreeMap<String, f64>) -> Result<Vec<String>> {
    let (kept, metrics) = (Kept::read(run)?, read_metrics(run)?);
    let result = |step: &str| match Training::ALL.into_iter().find(|phase| phase.name() == step) {
        Some(Training::Search) => file_of(run).unwrap_or(Training::Search.result()),
        Some(phase) => phase.result(),
        None if step == "export" => "model.onnx",
        None => "bench.json",
    };
    let is_done = |step: &str| run.file(result(step)).exists();
    let lacks = |file: &str, what: String| {
        let is_there = run.file(file).exists();
        if is_there { format!("{file} lacks {what}") } else { format!("{file} is not there") }
    };
    let mut lost = Vec::new();
    for phase in Training::ALL.map(Training::name) {
        let found = epochs(&metrics, phase);
        let known = kept.steps.get(phase).filter(|_| is_done(phase)).map_or(0, |of| of.epochs);
        let all = found.last().map_or(0, |last| last + 1).max(known);
        if (found.len() as u64) < all {
            let missing = all - found.len() as u64;
            lost.push(lacks("metrics.jsonl", format!("{missing} of {all} epochs of {phase}")));
        }
    }
    for (step, Growth { trials: known, .. }) in kept.steps.iter().filter(|(step, _)| is_done(step))
    {
        if !times.contains_key(step) {
            lost.push(lacks("times.json", format!("the time of {step}")));
        }
        let found = if *known > 0 { trials(run)? } else { 0 };
        if found < *known {
            lost.push(lacks(TRIALS, format!("{} of {known} lines", known - found)));
        }
    }
    lost.dedup();
    Ok(lost)
}

/// Keeps what decides the result of a phase, which is about to be written or looked for.
pub(crate) fn keep(run: &RunDir, phase: Training) -> Result {
    let Some(settings) = run.settings(phase.name()) else { return Ok(()) };
    let mut kept = Kept::read(run)?;
    kept.phases.insert(phase.name().to_owned(), settings.to_owned());
    kept.write(run)
}

/// Checks that the files in the folder of a run were made with its settings.
///
/// # Errors
/// The first file that was not, with the setting.
pub(crate) fn check(folder: &Path, config: &Config) -> Result {
    let run = RunDir::at(folder);
    let ours = as_written(config)?;
    let (kept, trials) = (Kept::read(&run)?, run.file(TRIALS));
    check_results(&run, &kept)?;
    if let Some(preset) = kept.preset.as_ref().filter(|preset| **preset != config.preset) {
        let failure = Failure::input(format!(
            "the run in {} began with the preset {preset}, not {}",
            folder.display(),
            config.preset
        ));
        return Err(failure.hint(format!(
            "a preset is where settings start from: bring back `preset = \"{preset}\"`, or leave \
             --preset out"
        )));
    }
    let kept = kept.phases;
    for phase in Training::ALL {
        let result = match phase {
            Training::Search => run.file(file_of(&run).unwrap_or(phase.result())),
            Training::Space | Training::Retrain => run.file(phase.result()),
        };
        let of_file = match phase {
            Training::Retrain => Checkpoint::settings(&result),
            _ if result.exists() => kept.get(phase.name()).cloned(),
            Training::Search if trials.exists() => kept.get(phase.name()).cloned(),
            _ => None,
        };
        let is_made = phase != Training::Search || result.exists();
        let result = if is_made { result } else { trials.clone() };
        let checkpoint = run.checkpoint(phase.name());
        let of_checkpoint = Checkpoint::settings(&checkpoint);
        for (path, text) in [(checkpoint, of_checkpoint), (result, of_file)] {
            let Some(text) = text else { continue };
            let origin = path.display().to_string();
            // A setting that there was not at the time is none of theirs.
            let mut theirs = parse(&text, &origin)?;
            // Once an architecture is found, its retraining is a later step.
            if phase == Training::Search && is_made {
                theirs.remove(RETRAIN);
            }
            if let Some(difference) = first_difference(&theirs, &ours, "") {
                let config = folder.join(Config::FILE);
                let failure = Failure::input(format!(
                    "{origin} was made with other settings than {} has now: {difference}",
                    config.display()
                ));
                return Err(failure.hint(
                    "bring back the setting, or begin another run with it in a new folder; what \
                     was made with another one can also be deleted, to be made again",
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder with settings and a checkpoint of a phase.
    fn run(phase: &'static str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        fs::write(folder.path().join(Config::FILE), config.to_toml().unwrap()).unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let mut checkpoint = Checkpoint::default();
        let settings = of_phases(&config).unwrap();
        let settings = settings.into_iter().find(|(name, _)| *name == phase).unwrap().1;
        checkpoint.put_settings(&settings);
        checkpoint.write(&run.checkpoint(phase)).unwrap();
        (folder, config)
    }

    fn read(folder: &Path) -> Result<Config> {
        Ok(super::read(&folder.join(Config::FILE), &RunArgs::default())?.0)
    }

    #[test]
    fn settings_that_are_damaged_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Config::FILE);
        let text = Config::default().to_toml().unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.starts_with("# checksum: crc32c:") && first.ends_with("takes this line out"));
        fs::write(&path, &text).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Config::default());
        // Comments and blanks are no settings.
        fs::write(&path, text.replace("seed = 0", "\n# for luck\n  seed   = 0")).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Config::default());
        let changed = text.replace("seed = 0", "seed = 4");
        fs::write(&path, &changed).unwrap();
        let refused = read(folder.path()).unwrap_err();
        assert!(refused.message.contains("config.toml was changed"), "{refused}");
        assert!(refused.hint.unwrap().contains("# checksum"));
        // Cut off, it would have the usual settings in the place of those that are missing.
        fs::write(&path, text.split_once("[retrain]").unwrap().0).unwrap();
        assert!(read(folder.path()).unwrap_err().message.contains("config.toml was changed"));
        fs::write(&path, rest.replace("seed = 0", "seed = 4")).unwrap();
        assert_eq!(read(folder.path()).unwrap().seed, 4);
        for nothing in ["", " \n\n"] {
            fs::write(&path, nothing).unwrap();
            let refused = read(folder.path()).unwrap_err().message;
            assert!(refused.ends_with("config.toml is empty"), "{refused}");
        }
    }

    #[test]
    fn a_bit_of_the_settings_that_is_another_is_noticed_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(Config::FILE);
        let text = Config::default().to_toml().unwrap();
        // All of the first lines, and some of the others.
        for bit in (0..3200).chain((3200..8 * text.len()).step_by(13)) {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            if let Ok(config) = read(folder.path()) {
                assert_eq!(config, Config::default(), "{}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn what_was_made_with_other_settings_is_named_with_the_setting() {
        for (phase, changes) in [
            ("space", &[("seed = 0", "seed = 4", "seed is 0, not 4")][..]),
            ("search", &[("cells = 8", "cells = 9", "cells is 8, not 9")]),
            (
                "retrain",
                &[
                    ("seed = 0", "seed = 4", "seed is 0, not 4"),
                    ("cutout = 16", "cutout = 8", "retrain.augmentation.cutout is 16, not 8"),
                ],
            ),
        ] {
            let (folder, config) = run(phase);
            check(folder.path(), &config).unwrap();
            let path = folder.path().join(Config::FILE);
            let text = config.to_toml().unwrap();
            for (from, to, difference) in changes {
                assert!(text.contains(from), "{from} is not in {text}");
                let changed = text.replacen(from, to, usize::MAX);
                // With its checksum and without.
                fs::write(&path, &changed).unwrap();
                let refused = read(folder.path()).unwrap_err().message;
                fs::write(&path, changed.split_once('\n').unwrap().1).unwrap();
                let again = check(folder.path(), &read(folder.path()).unwrap()).unwrap_err();
                for message in [refused, again.message] {
                    let names = [*difference, "config.toml", &format!("{phase}.safetensors")];
                    assert!(names.iter().all(|name| message.contains(name)), "{message}");
                }
            }
        }
    }

    #[test]
    fn a_result_is_bound_to_its_settings_without_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        let run = of_phases(&config)
            .unwrap()
            .into_iter()
            .fold(RunDir::create(folder.path()).unwrap(), |run, (phase, text)| {
                run.with_settings(phase, text)
            });
        for phase in [Training::Space, Training::Search] {
            keep(&run, phase).unwrap();
        }
        let mut changed = config.clone();
        changed.strategy.evaluations += 1;
        changed.space.epochs += 1;
        check(folder.path(), &changed).unwrap();
        for (file, setting) in
            [("architecture.json", "strategy.evaluations"), ("space.json", "space.epochs")]
        {
            fs::write(run.file(file), "{}").unwrap();
            check(folder.path(), &config).unwrap();
            let refused = check(folder.path(), &changed).unwrap_err().message;
            assert!(refused.contains(setting) && refused.contains(file), "{refused}");
        }
    }

    #[test]
    fn a_search_that_trains_networks_is_bound_to_how_it_does() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.strategy.name = "random".into();
        config.strategy.scorer = "training".into();
        let run = of_phases(&config)
            .unwrap()
            .into_iter()
            .fold(RunDir::create(folder.path()).unwrap(), |run, (phase, text)| {
                run.with_settings(phase, text)
            });
        keep(&run, Training::Search).unwrap();
        let mut changed = config.clone();
        changed.retrain.momentum = 0.1;
        check(folder.path(), &changed).unwrap();
        fs::write(run.file(TRIALS), "").unwrap();
        let refused = check(folder.path(), &changed).unwrap_err().message;
        assert!(refused.contains("retrain.momentum") && refused.contains(TRIALS), "{refused}");
        let mut longer = config.clone();
        longer.retrain.epochs += 1;
        check(folder.path(), &longer).unwrap();
        // A search by gradient trains no network as it is retrained.
        let mut gradient = config.clone();
        gradient.strategy.name = StrategyConfig::GRADIENT.into();
        let of_search = of_phases(&gradient).unwrap().remove(1).1;
        assert!(!of_search.contains("[retrain]"), "{of_search}");
        // What was found can be retrained in another way.
        fs::write(run.file("genotype.json"), "{}").unwrap();
        check(folder.path(), &changed).unwrap();
        changed.strategy.evaluations += 1;
        let refused = check(folder.path(), &changed).unwrap_err().message;
        assert!(refused.contains("strategy.evaluations"), "{refused}");
    }

    #[test]
    fn a_result_of_another_run_is_told_from_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (run, config) = (RunDir::create(folder.path()).unwrap(), Config::default());
        let json = |value: u32| to_json(&serde_json::json!({ "nodes": value }));
        for (file, own, other) in [
            ("space.json", json(1).into_bytes(), json(2).into_bytes()),
            ("model.onnx", vec![1, 2], vec![1, 3]),
        ] {
            fs::write(run.file(file), &own).unwrap();
            keep_result(&run, file).unwrap();
            check(folder.path(), &config).unwrap();
            fs::write(run.file(file), other).unwrap();
            let refused = check(folder.path(), &config).unwrap_err().message;
            assert!(refused.contains(file), "{refused}");
            // What is gone is made again.
            fs::remove_file(run.file(file)).unwrap();
            check(folder.path(), &config).unwrap();
            fs::write(run.file(file), own).unwrap();
        }
        fs::write(run.file("space.json"), r#"{ "nodes": 3 }"#).unwrap();
        check(folder.path(), &config).unwrap();
    }

    #[test]
    fn settings_of_later_steps_may_change_and_so_may_a_learning_rate() {
        let (folder, config) = run("space");
        let mut changed = config.clone();
        changed.retrain.epochs += 1;
        changed.search.epochs += 1;
        changed.space.rate /= 2.0;
        changed.data = "/elsewhere".into();
        changed.preset = "of another name".into();
        changed.bench.repeats += 1;
        check(folder.path(), &changed).unwrap();
        changed.space.epochs += 1;
        let refused = check(folder.path(), &changed).unwrap_err().message;
        assert!(refused.contains("space.epochs is "), "{refused}");
        // A folder of an older version says nothing of its settings.
        let old = tempfile::tempdir().unwrap();
        let run = RunDir::create(old.path()).unwrap();
        Checkpoint::default().write(&run.checkpoint("space")).unwrap();
        check(old.path(), &changed).unwrap();
    }
}
