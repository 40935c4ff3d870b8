//! Architectures with weights, drawn from a seed.

use adwp_data::{DatasetKind, Normalization, OpenOptions, open};
use adwp_engine::{Device, Executor, Init, Program, Role, Shape, Statistics, Variables};
use adwp_export::{Network, TestResult, Trained};
use adwp_models::{Blueprint, Genotype, IntensiveSpace, Skeleton, Stem};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Candidates of a node, as in the paper.
const K: usize = 6;

/// The size of the embedded images.
const SAMPLE: [usize; 3] = [1, 28, 28];

/// A generator for one purpose; the same seed gives other numbers for another purpose.
fn generator(seed: u64, purpose: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose);
    rng
}

/// Sizes of a small network: every third takes the embedded images.
pub(crate) fn cifar(seed: u64) -> Skeleton {
    let mut rng = generator(seed, 1);
    let mut side = || 4 * rng.random_range(2..=8);
    let (height, width) = (side(), side());
    let image = match seed % 3 {
        0 => SAMPLE,
        1 => [3, height, height],
        _ => [rng.random_range(1..=3), height, width],
    };
    let (cells, channels) = (rng.random_range(3..=8), rng.random_range(2..=12));
    Skeleton { stem: Stem::Cifar, cells, channels, classes: rng.random_range(2..=20), image }
}

/// Sizes of a network for larger images.
pub(crate) fn imagenet(seed: u64) -> Skeleton {
    let mut rng = generator(seed, 2);
    let side = 32 * rng.random_range(2..=7);
    let (cells, channels, classes) =
        (rng.random_range(3..=5), 2 * rng.random_range(1..=4), rng.random_range(11..=200));
    Skeleton { stem: Stem::Imagenet, cells, channels, classes, image: [3, side, side] }
}

/// An architecture of a random space: mostly two pairs a node, as the search gives.
pub(crate) fn genotype(skeleton: &Skeleton, seed: u64) -> Genotype {
    let mut rng = generator(seed, 3);
    let space = IntensiveSpace::random(K, &mut rng).unwrap();
    let keep = [2, 2, 1, 2, 3][seed as usize % 5];
    space.random_genotype(skeleton, keep, &mut rng).unwrap()
}

/// A network as retraining leaves one: BatchNorms scale, shift and normalise by statistics that are
/// about those of its values.
pub(crate) fn trained(skeleton: Skeleton, seed: u64) -> Trained {
    let kind = if skeleton.image == SAMPLE { DatasetKind::Sample } else { DatasetKind::Cifar10 };
    let normalization = match Normalization::of(kind) {
        constants if constants.mean.len() == skeleton.image[0] => constants,
        _ => {
            Normalization { mean: vec![0.5; skeleton.image[0]], std: vec![0.25; skeleton.image[0]] }
        }
    };
    let network = Network {
        name: None,
        blueprint: Blueprint::Cells { genotype: genotype(&skeleton, seed), skeleton },
        dataset: kind.to_string(),
        classes: (0..skeleton.classes).map(|class| format!("class \"{class}\"")).collect(),
        normalization,
    };
    let mut trained = Trained {
        network,
        variables: Variables::new(),
        test: TestResult { correct: 3, images: 7, correct_with_flips: None },
    };
    fill(&mut trained, seed);
    trained
}

fn fill(trained: &mut Trained, seed: u64) {
    const BATCH: usize = 4;
    let mut rng = generator(seed, 4);
    let net = trained.inference(BATCH).unwrap();
    let mut variables = Variables::new();
    variables.initialize(&net.graph, &mut rng).unwrap();
    let mut change =
        |variables: &mut Variables, suffix: &str, change: &dyn Fn(f32, f32, f32) -> f32| {
            let names: Vec<String> = variables
                .iter()
                .map(|v| v.name.clone())
                .filter(|name| name.ends_with(suffix))
                .collect();
            for name in names {
                for value in variables.get_mut(&name).unwrap() {
                    *value = change(*value, rng.random::<f32>(), 2.0 * rng.random::<f32>() - 1.0);
                }
            }
        };
    // One scale in eight is negative.
    change(&mut variables, "/scale", &|_, size, sign| (0.5 + size).copysign(sign + 0.75));
    change(&mut variables, "/shift", &|_, _, spread| 0.5 * spread);

    let program = Program::inference(&net.graph, &[net.logits], Statistics::Batch).unwrap();
    let mut executor = Executor::new(program, &Device::cpu(1).unwrap()).unwrap();
    executor.set_statistics_momentum(1.0);
    executor.run(&mut variables, &[(net.images, &images(trained, BATCH, seed))]).unwrap();
    change(&mut variables, "/running_mean", &|mean, _, spread| mean + 0.2 * spread);
    change(&mut variables, "/running_var", &|variance, size, _| {
        (variance * (0.5 + 1.5 * size)).max(0.05)
    });
    trained.variables = variables;
}

/// Normalised images for a network: embedded ones where they have its size, else noise.
pub(crate) fn images(trained: &Trained, count: usize, seed: u64) -> Vec<f32> {
    let image = trained.network.blueprint.image();
    if image != SAMPLE {
        return Init::Normal(1.0)
            .draw(&Shape::from([count, image[0], image[1], image[2]]), &mut generator(seed, 5));
    }
    let splits = open(DatasetKind::Sample, None, &OpenOptions::default()).unwrap();
    let mut pixels = vec![0; image.iter().product()];
    let mut values = vec![0.0; pixels.len()];
    (0..count)
        .flat_map(|i| {
            splits
                .test
                .read_image((seed as usize * 31 + i) % splits.test.len(), &mut pixels)
                .unwrap();
            trained.network.normalization.apply(&pixels, &mut values).unwrap();
            values.clone()
        })
        .collect()
}

/// How many values of a network are learned.
pub(crate) fn learned(variables: &Variables) -> u64 {
    variables.iter().filter(|v| v.role == Role::Parameter).map(|v| v.shape.elements() as u64).sum()
}
