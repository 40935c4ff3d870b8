//! A study of seconds, at one go and in pieces.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use adwp_data::{Augmentation, Dataset, ImageShape, Normalization};
use adwp_engine::Device;
use adwp_export::RetrainSettings;
use adwp_fidelity::{Architecture, Experiment, Fidelity, FidelitySettings, study};
use adwp_models::{IntensiveSpace, Skeleton, Stem};
use adwp_search::SearchSettings;
use adwp_train::{
    BatchSource, Context, Finished, Interrupt, Progress, Quiet, Reporter, RunDir, Streams,
};
use serde_json::{Map, Value, json};

/// Images of noise in two classes.
fn noise(count: usize) -> BatchSource {
    let shape = ImageShape { channels: 1, height: 4, width: 4 };
    let pixels =
        (0..count * shape.values()).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8).collect();
    let labels = (0..count as u32).map(|i| i % 2).collect();
    let dataset = Dataset::from_memory(
        "noise",
        ["a", "b"].map(str::to_owned).to_vec(),
        shape,
        labels,
        pixels,
    )
    .unwrap();
    let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
    BatchSource {
        indices: dataset.indices(),
        dataset: Arc::new(dataset),
        normalization,
        batch: 8,
        stored: None,
    }
}

fn experiment(settings: FidelitySettings) -> Experiment {
    let search = SearchSettings {
        epochs: 3,
        hypernetwork_epochs: 1,
        cross_search_start: 2,
        cross_search_end: 3,
        batch: 4,
        channels: 1,
        hidden: 2,
        recalibration_images: 8,
        augmentation: Augmentation::NONE,
        ..SearchSettings::default()
    };
    let retrain = RetrainSettings {
        epochs: 2,
        batch: 8,
        channels: 2,
        rate: 0.1,
        auxiliary: 0.0,
        augmentation: Augmentation::NONE,
        ..RetrainSettings::default()
    };
    Experiment {
        settings,
        space: IntensiveSpace::random(3, &mut Streams::new(7).once("space")).unwrap(),
        limits: Vec::new(),
        skeleton: Skeleton {
            stem: Stem::Cifar,
            cells: 3,
            channels: retrain.channels,
            classes: 2,
            image: [1, 4, 4],
        },
        search,
        retrain,
        dataset: "noise".into(),
        search_images: noise(16),
        train_share: 0.5,
        train: noise(16),
        test: noise(32),
        seed: 3,
        device: Device::cpu(1).unwrap(),
    }
}

/// Goes on with a study, for one unit of work or to its end.
fn go_on(experiment: &Experiment, folder: &Path, one_unit: bool) -> Finished<Fidelity> {
    let run = RunDir::create(folder).unwrap();
    let interrupt = Interrupt::default();
    let interrupt = if one_unit { interrupt.with_deadline(Instant::now()) } else { interrupt };
    let mut context = Context {
        run: &run,
        resume: true,
        held_bytes: 0,
        check_memory: true,
        interrupt: &interrupt,
        reporter: &mut Quiet,
    };
    study(experiment, &mut context).unwrap()
}

fn result(folder: &Path) -> String {
    fs::read_to_string(folder.join("fidelity.json")).unwrap()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_study_in_pieces_is_the_one_at_one_go() {
    let holder = tempfile::tempdir().unwrap();
    let [whole, pieces] = ["whole", "pieces"].map(|name| holder.path().join(name));
    let experiment =
        experiment(FidelitySettings { architectures: 3, retrainings: 1, seeds: 2, searches: 3 });
    let Finished::Done(fidelity) = go_on(&experiment, &whole, false) else {
        unreachable!("nobody interrupts it")
    };
    assert_eq!(Fidelity::from_json(&result(&whole)).unwrap(), fidelity);

    let mut units = 0;
    while let Finished::Interrupted = go_on(&experiment, &pieces, true) {
        assert!(!pieces.join("fidelity.json").exists());
        units += 1;
    }
    // Of each of two seeds the HyperNetwork, both sets of shared weights and the graph network have
    // 2 steps each, and 9 scorers give 3 scores each; 2 more scorers depend on no seed. Three
    // searches of 4 steps, one of which trains a HyperNetwork for itself, and 3 + 3 retrainings of 4.
    assert!(units >= 2 * (4 * 2 + 9 * 3) + 2 * 3 + 2 + 3 * 4 + 6 * 4, "{units}");
    assert_eq!(result(&pieces), result(&whole));

    // What predicts and shares weights is kept for a larger study, nothing else of what training
    // needs to go on.
    let checkpoints: Vec<PathBuf> = files(&whole)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    assert_eq!(checkpoints.len(), 2 * 4 + 1, "{checkpoints:?}");
}

#[test]
fn everything_measured_is_in_the_result() {
    let holder = tempfile::tempdir().unwrap();
    let experiment =
        experiment(FidelitySettings { architectures: 4, retrainings: 2, seeds: 2, searches: 0 });
    let Finished::Done(fidelity) = go_on(&experiment, holder.path(), false) else {
        unreachable!("nobody interrupts it")
    };
    let names: Vec<&str> = fidelity.methods.iter().map(|method| method.method.as_str()).collect();
    assert_eq!(
        names,
        [
            "predicted-discrete",
            "predicted-as-drawn",
            "one-shot",
            "novelty",
            "ghn",
            "naswot",
            "zico",
            "expressivity",
            "progressivity",
            "params",
            "madds",
            "number of sep_conv_3x3",
            "number of sep_conv_5x5",
            "number of dil_conv_3x3",
            "number of dil_conv_5x5",
            "number of avg_pool_3x3",
            "number of max_pool_3x3",
            "number of identity",
        ]
    );
    assert_eq!((fidelity.architectures.len(), fidelity.searched.len()), (4, 2));
    for architecture in &fidelity.architectures {
        assert_eq!(architecture.accuracy.len(), 2);
        let depends = |method: &str| usize::from(!["params", "madds"].contains(&method)) + 1;
        assert!(
            architecture.scores.iter().all(|(method, scores)| scores.len() == depends(method)),
            "{:?}",
            architecture.scores
        );
        assert_eq!(architecture.scores["params"], [architecture.params as f64]);
    }
    assert_eq!((fidelity.searched[0].seed, fidelity.searched[1].seed), (3, 4));
    assert_eq!(
        (fidelity.comparison.searched.n, fidelity.comparison.random.n, fidelity.retrainings),
        (2, 8, 2)
    );
    // What a seed decides differs between seeds, and what the encoding decides between encodings.
    let differ = |a: &dyn Fn(&Architecture) -> f64, b: &dyn Fn(&Architecture) -> f64| {
        fidelity.architectures.iter().any(|x| a(x) != b(x))
    };
    assert!(differ(&|a| a.scores["naswot"][0], &|a| a.scores["naswot"][1]));
    assert!(differ(&|a| a.scores["predicted-discrete"][0], &|a| a.scores["predicted-as-drawn"][0]));
}

/// Notes what a process has done.
#[derive(Default)]
struct Notes(Vec<String>);

impl Reporter for Notes {
    fn step(&mut self, _: &Progress) {}
    fn aside(&mut self, what: &str, done: usize, _: usize) {
        if what.ends_with("architecture") {
            self.0.push(format!("{what} {done}"));
        }
    }
    fn epoch(&mut self, metrics: &Map<String, Value>) {
        let (phase, epoch) = (&metrics["phase"], &metrics["epoch"]);
        self.0.push(format!("{phase}, epoch {epoch}, loss {}", metrics["train_loss"]));
    }
    fn message(&mut self, text: &str) {
        if text.contains("test accuracy") {
            self.0.push(text.to_owned());
        }
    }
    fn phase_end(&mut self) {}
}

#[test]
fn processes_that_share_a_study_do_nothing_twice() {
    let holder = tempfile::tempdir().unwrap();
    let [alone, shared] = ["alone", "shared"].map(|name| holder.path().join(name));
    let experiment =
        experiment(FidelitySettings { architectures: 4, retrainings: 1, seeds: 2, searches: 1 });
    let notes = |folder: &Path| {
        let run = RunDir::create(folder).unwrap();
        let mut notes = Notes::default();
        let mut context = Context {
            run: &run,
            resume: true,
            held_bytes: 0,
            check_memory: true,
            interrupt: &Interrupt::default(),
            reporter: &mut notes,
        };
        let finished = study(&experiment, &mut context).unwrap();
        assert!(matches!(finished, Finished::Done(_)));
        notes.0
    };
    let mut expected = notes(&alone);
    let [first, second] = thread::scope(|scope| {
        [(); 2].map(|()| scope.spawn(|| notes(&shared))).map(|thread| thread.join().unwrap())
    });
    assert!(!first.is_empty() && !second.is_empty(), "both have worked");
    let mut together = [first, second].concat();
    expected.sort();
    together.sort();
    assert_eq!(together, expected);
    assert_eq!(result(&shared), result(&alone));
    assert!(!shared.join("fidelity/claims").exists());
}

#[test]
fn scores_of_an_older_study_are_read() {
    let holder = tempfile::tempdir().unwrap();
    let experiment =
        experiment(FidelitySettings { architectures: 2, retrainings: 1, seeds: 1, searches: 0 });
    go_on(&experiment, holder.path(), false);
    let expected = result(holder.path());
    let seed = holder.path().join("fidelity/seed0");
    let score = |path: &Path| -> f64 {
        let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        file["score"].as_f64().unwrap()
    };
    let old = |scores: &[f64]| json!({"schema": "adwp/scores/1", "scores": scores}).to_string();
    for name in ["predicted-discrete", "predicted-as-drawn", "one-shot", "naswot"] {
        let units = [0, 1].map(|i| seed.join(format!("{name}.architecture{i:03}.json")));
        let scores = units.each_ref().map(|path| score(path));
        units.iter().for_each(|path| fs::remove_file(path).unwrap());
        fs::write(seed.join(format!("{name}.json")), old(&scores)).unwrap();
    }
    // They are not computed again: nothing is left to compute them with.
    ["hypernetwork", "one-shot"]
        .iter()
        .for_each(|name| fs::remove_dir_all(seed.join(name)).unwrap());
    fs::remove_file(holder.path().join("fidelity.json")).unwrap();
    go_on(&experiment, holder.path(), false);
    assert_eq!(result(holder.path()), expected);
    assert!(!seed.join("one-shot").exists());
}

#[test]
fn a_larger_study_goes_on_from_a_smaller_one() {
    let holder = tempfile::tempdir().unwrap();
    let [grown, large] = ["grown", "large"].map(|name| holder.path().join(name));
    let experiments = [(2, 1), (3, 2)].map(|(architectures, seeds)| {
        experiment(FidelitySettings { architectures, retrainings: seeds, seeds, searches: 0 })
    });
    go_on(&experiments[0], &grown, false);
    let small = Fidelity::from_json(&result(&grown)).unwrap();
    go_on(&experiments[1], &grown, false);
    go_on(&experiments[1], &large, false);
    assert_eq!(result(&grown), result(&large));
    let genotypes = |fidelity: &Fidelity| {
        fidelity.architectures.iter().map(|a| a.genotype.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        genotypes(&Fidelity::from_json(&result(&large)).unwrap())[..2],
        genotypes(&small)[..]
    );
    // And back: what is there is not done again.
    go_on(&experiments[0], &large, false);
    assert_eq!(Fidelity::from_json(&result(&large)).unwrap(), small);
}

#[test]
fn a_study_of_another_space_is_refused() {
    let holder = tempfile::tempdir().unwrap();
    let first =
        experiment(FidelitySettings { architectures: 2, retrainings: 1, seeds: 1, searches: 0 });
    go_on(&first, holder.path(), true);
    let other = Experiment {
        space: IntensiveSpace::random(3, &mut Streams::new(8).once("space")).unwrap(),
        ..first
    };
    let run = RunDir::create(holder.path()).unwrap();
    let interrupt = Interrupt::default();
    let mut context = Context {
        run: &run,
        resume: true,
        held_bytes: 0,
        check_memory: true,
        interrupt: &interrupt,
        reporter: &mut Quiet,
    };
    let message = study(&other, &mut context).unwrap_err().to_string();
    assert!(message.contains("another space"), "{message}");
}

#[test]
fn sizes_that_make_no_study_are_refused() {
    let refused = |architectures, seeds, retrainings| {
        let settings = FidelitySettings { architectures, seeds, retrainings, searches: 0 };
        settings.validate().unwrap_err().to_string()
    };
    assert!(refused(1, 1, 1).contains("architectures = 1"));
    assert!(refused(2, 0, 1).contains("seeds"));
    assert!(refused(4, 1, 0).contains("retrainings"));
}
