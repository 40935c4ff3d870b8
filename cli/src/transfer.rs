//! The architecture of one run on the images of another: `adwp retrain --from`.

use std::path::{Path, PathBuf};

use adwp_export::{Inherited, Network, Trained};
use adwp_models::Genotype;
use adwp_train::{RunDir, TrainError, write_atomic};

use crate::args::{RetrainArgs, RunArgs};
use crate::config::Config;
use crate::failure::Failure;
use crate::progress::Console;
use crate::steps::parsed;

/// The weights that a run which is fine-tuned starts from, in its folder: it needs no other to be continued.
pub(crate) const INITIAL: &str = "initial.safetensors";
const GENOTYPE: &str = "genotype.json";
/// Names of variables that a message has at most.
const SHOWN: usize = 8;

/// The run that an architecture comes from, and the weights where they are wanted.
pub(crate) struct Origin {
    folder: PathBuf,
    config: Config,
    genotype: Genotype,
    weights: Option<Weights>,
}

struct Weights {
    bytes: Vec<u8>,
    trained: Trained,
}

impl Origin {
    /// Reads what `--from` names; `None` without it.
    pub(crate) fn read(args: &RetrainArgs) -> Result<Option<Self>, Failure> {
        let Some(folder) = args.from.clone() else { return Ok(None) };
        let stored = folder.join("config.toml");
        if !stored.exists() {
            return Err(Failure::input(format!("--from: {} is no folder of a run: it has no config.toml", folder.display())));
        }
        let new = args.train.run.run.as_deref().unwrap_or(Path::new(""));
        if new.canonicalize().is_ok_and(|new| folder.canonicalize().is_ok_and(|from| from == new)) {
            let failure = Failure::input(format!("--from and --run both name {}", new.display()));
            return Err(failure.hint("name a new folder with --run"));
        }
        let needs = |file: &str, hint: String| match folder.join(file) {
            path if path.exists() => Ok(path),
            path => Err(Failure::input(format!("--from: {} is not there", path.display())).hint(hint)),
        };
        let genotype = needs(GENOTYPE, format!("`adwp search --run {}` writes it", folder.display()))?;
        let weights = if args.fine_tune {
            let hint = format!("`adwp retrain --run {}` writes it; without --fine-tune it is not needed", folder.display());
            let path = needs("weights.safetensors", hint)?;
            let trained = Trained::read(&path)?;
            let bytes = std::fs::read(&path).map_err(|source| TrainError::File { action: "read", path, source })?;
            Some(Weights { bytes, trained })
        } else {
            None
        };
        let config = Config::read(&stored, &RunArgs::default())?;
        Ok(Some(Self { config, genotype: parsed(genotype, Genotype::from_json)?, weights, folder }))
    }

    /// The settings of the new run.
    pub(crate) fn config(&self, args: &RunArgs) -> Result<Config, Failure> {
        if args.dataset.is_none() {
            return Err(Failure::input("--from: which images to train on was not said")
                .hint("name them with --dataset and --data; `adwp data list` has the kinds"));
        }
        Config::transferred(&self.config, self.weights.is_some(), args)
    }

    /// Refuses weights of which nothing would be used.
    pub(crate) fn check(&self, network: impl FnOnce(Genotype) -> Network) -> Result<(), Failure> {
        let Some(weights) = &self.weights else { return Ok(()) };
        inherit(&network(self.genotype.clone()), &weights.trained).map(|_| ())
    }

    /// Says what is taken over and what is not.
    pub(crate) fn announce(&self, config: &Config, console: &mut Console) {
        let (from, cells, channels) = (self.folder.display(), config.cells, config.retrain.channels);
        console.say(&format!(
            "from {from}: the architecture ({cells} cells), and where not said otherwise stem, seed and [retrain], here with {channels} \
             channels; not its data set, image size, numbers of images and limits"
        ));
        if self.weights.is_some() {
            let rate = config.retrain.rate;
            console.say(&format!(
                "fine-tuning from its weights at a learning rate of {rate}; that of {from} was {}",
                self.config.retrain.rate
            ));
        }
    }

    /// Puts architecture and weights into the folder of the new run.
    pub(crate) fn write(&self, run: &RunDir) -> Result<(), Failure> {
        put(run, GENOTYPE, self.genotype.to_json().as_bytes())?;
        match &self.weights {
            Some(weights) => put(run, INITIAL, &weights.bytes),
            None if run.file(INITIAL).exists() => Err(Failure::input(format!("{} is fine-tuned", run.path().display()))
                .hint("add --fine-tune to continue it, or name another folder with --run")),
            None => Ok(()),
        }
    }
}

/// Writes a file of a run that must not have another content already.
fn put(run: &RunDir, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let path = run.file(name);
    match std::fs::read(&path) {
        Ok(found) if found == bytes => Ok(()),
        Ok(_) => Err(Failure::input(format!("{} is not that of --from", path.display()))
            .hint("leave --from out to continue that run, or name another folder with --run")),
        Err(_) => Ok(write_atomic(&path, bytes)?),
    }
}

/// What a network takes over of the weights of another: at least something.
pub(crate) fn inherit(network: &Network, from: &Trained) -> Result<Inherited, Failure> {
    let inherited = Inherited::new(network, from)?;
    if inherited.variables.is_empty() {
        let (ours, theirs) = (network.skeleton.channels, from.network.skeleton.channels);
        let failure = Failure::input(format!("none of the weights fit: they are of {theirs} channels, this network has {ours}"));
        return Err(failure.hint(format!("leave out retrain.channels, or set it to {theirs}")));
    }
    Ok(inherited)
}

/// In words, what was taken over and what was not.
pub(crate) fn describe(inherited: &Inherited) -> String {
    let Inherited { variables, fresh } = inherited;
    let all = variables.len() + fresh.len();
    let mut text = format!("retrain: {} of {all} parameters and statistics are those of {INITIAL}", variables.len());
    if !fresh.is_empty() {
        text += &format!("; fresh: {}", fresh.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "));
    }
    if fresh.len() > SHOWN {
        text += &format!(" and {} more", fresh.len() - SHOWN);
    }
    text
}
