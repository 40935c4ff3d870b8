use adwp_base::{Failure, Result};
use adwp_export::RetrainData;
use adwp_models::IntensiveSpace;
use adwp_search::{Searched, TRIALS};
use adwp_train::{Reporter, write_atomic};

use crate::architecture::{self, RunArchitecture, parsed};
use crate::explore;
use crate::limits;
use crate::phases::Training;
use crate::run::Run;
use crate::settings::{keep, keep_done, keep_step};
use crate::transfer;

/// Derives the intensive space: `space.json`.
pub(crate) fn space(run: &Run, command: &str, reporter: &mut dyn Reporter) -> Result {
    let file = Training::Space.result();
    if run.is_done("space", file, reporter)? {
        return Ok(());
    }
    if !run.config().strategy.is_intensive() {
        let space = &run.config().strategy.space;
        reporter.message(&format!("space: the search of these settings is of the space {space}"));
    }
    if run.plan.resume && architecture::file_of(&run.dir).is_some() {
        reporter.message("space: not needed, the architecture is there");
        return Ok(());
    }
    let data = run.images.search_data(run.config(), run.streams, &run.device)?;
    let space = run.phase("space", command, reporter, |context| {
        Ok(adwp_search::derive_space(&run.config().space, &data, context)?)
    })?;
    keep(&run.dir, Training::Space)?;
    write_atomic(&run.dir.file(file), space.to_json().as_bytes())?;
    keep_done(&run.dir, Training::Space, file)
}

/// Trains the HyperNetwork and searches: `genotype.json`.
pub(crate) fn search(run: &Run, command: &str, reporter: &mut dyn Reporter) -> Result {
    let file = Training::Search.result();
    if run.is_done("search", file, reporter)? {
        return Ok(());
    }
    let named = run.dir.file(architecture::NAMED);
    if named.exists() {
        if run.plan.resume {
            reporter.message("search: not needed, the architecture is there");
            return Ok(());
        }
        let failure = Failure::input(format!(
            "{} has an architecture already: {}",
            run.dir.path().display(),
            named.display()
        ));
        return Err(
            failure.hint("`adwp retrain` trains it; name another folder with --run to search")
        );
    }
    if !run.config().strategy.is_gradient() {
        // Before its first trial: these settings decide all of them.
        if !run.dir.file(TRIALS).exists() {
            keep(&run.dir, Training::Search)?;
        }
        let found = explore::of_run(run, command, reporter)?;
        write_atomic(&run.dir.file(found.file()), found.to_json().as_bytes())?;
        return keep_done(&run.dir, Training::Search, found.file());
    }
    let trials = run.dir.file(TRIALS);
    if trials.exists() {
        let (Searched { strategy, .. }, trials) = (Searched::read(&trials)?, trials.display());
        let failure = Failure::input(format!(
            "{trials} is the record of a search by {strategy}; the settings of this run search by \
             gradient"
        ));
        return Err(failure.hint(format!(
            "`adwp search --strategy {strategy} … --run {} --resume` goes on with it; or name \
             another folder with --run",
            run.dir.path().display()
        )));
    }
    let space = parsed(run.needs("space.json", "space")?, IntensiveSpace::from_json)?;
    let data = run.images.search_data(run.config(), run.streams, &run.device)?;
    let limits = limits::of_intensive(run.config(), &space, &data.target)?;
    let genotype = run.phase("search", command, reporter, |context| {
        Ok(adwp_search::search(&run.config().search, &space, &limits, &data, context)?)
    })?;
    keep(&run.dir, Training::Search)?;
    write_atomic(&run.dir.file(file), genotype.to_json().as_bytes())?;
    keep_done(&run.dir, Training::Search, file)
}

/// Trains the architecture of the run, found or named, from scratch: `weights.safetensors`.
pub(crate) fn retrain(run: &Run, command: &str, reporter: &mut dyn Reporter) -> Result {
    let file = Training::Retrain.result();
    if run.is_done("retrain", file, reporter)? {
        return Ok(());
    }
    let Some(architecture) = RunArchitecture::of_run(run.dir.path())? else {
        run.needs(architecture::GENOTYPE, "search")?;
        return Ok(());
    };
    let network = run.images.network(run.config(), &architecture)?;
    let data = RetrainData {
        train: run.images.train.clone(),
        test: run.images.test.clone(),
        streams: run.streams,
        device: run.device.clone(),
    };
    let initial = run.dir.file(transfer::INITIAL);
    let inherited = if initial.exists() {
        let inherited = transfer::initial(&initial, &network)?;
        reporter.message(&transfer::describe(&inherited));
        Some(inherited.variables)
    } else {
        None
    };
    let settings = &run.config().retrain;
    let trained = run.phase("retrain", command, reporter, |context| {
        Ok(match &inherited {
            Some(inherited) => {
                adwp_export::fine_tune(settings, network, &data, inherited, context)?
            }
            None => adwp_export::retrain(settings, network, &data, context)?,
        })
    })?;
    let name = Training::Retrain.name();
    trained.write(&run.dir.file(file), run.dir.settings(name))?;
    keep_step(&run.dir, name)
}
