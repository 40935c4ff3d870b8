//! The networks of the search space as they are built for training: loss and every gradient of a
//! whole step.

use adwp_engine::{Device, Graph, Init, NodeId, Shape, Variables};
use adwp_models::{
    Discrete, Dropped, GeneratorInput, Heads, HypernetworkOptions, Intensive, IntensiveSpace,
    Operation, Pair, Relaxed, Skeleton, Space, Stem, space,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::cases::Case;
use crate::device::device;
use crate::operations::check;
use crate::whole::{BACKWARD, FORWARD};

/// Candidates of a node in an intensive space.
const K: usize = 6;

/// candle differentiates by recursion, which is deeper in these networks than the stack of a test's
/// thread.
const STACK: usize = 1 << 30;

/// Runs `work` on a large stack for each seed; the seed is in the message of a failure.
fn each(seeds: std::ops::Range<u64>, work: impl Fn(u64, &Device) + Sync) {
    let device = device();
    std::thread::scope(|scope| {
        for seed in seeds {
            let (work, device) = (&work, &device);
            let run = std::thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, move || work(seed, device))
                .unwrap();
            assert!(run.join().is_ok(), "seed {seed}");
        }
    });
}

/// Where a case's output and loss are, and what a step is fed beside parameters.
struct Ends<'a> {
    images: NodeId,
    labels: NodeId,
    masks: &'a [NodeId],
    logits: NodeId,
    loss: NodeId,
}

/// A step on random images, labels and masks with all of `trainable`.
fn case(
    name: &'static str,
    seed: u64,
    graph: Graph,
    ends: &Ends<'_>,
    trainable: Vec<NodeId>,
) -> Case {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xcafe);
    let mut variables = Variables::new();
    variables.initialize(&graph, &mut rng).unwrap();
    // As they start, every α of the relaxation is almost the same, and every scale and shift of a
    // network to be retrained is.
    for id in graph.parameters() {
        let node = &graph[id];
        let (sd, offset) = match &node.name {
            name if name.ends_with("/scale") => (0.3, 1.0),
            name if name.ends_with("/shift") => (0.3, 0.0),
            name if name.starts_with("alpha/") => (1.0, 0.0),
            _ => continue,
        };
        let values = Init::Normal(sd).draw(&node.shape, &mut rng).into_iter().map(|v| v + offset);
        variables
            .get_mut(&node.name)
            .unwrap()
            .iter_mut()
            .zip(values)
            .for_each(|(to, from)| *to = from);
    }
    let [batch, classes] = graph[ends.logits].shape.dims2().unwrap();
    let images = Init::Normal(1.0).draw(&Shape::clone(&graph[ends.images].shape), &mut rng);
    let labels = (0..batch).map(|_| rng.random_range(0..classes) as f32).collect();
    let mut feeds = vec![(ends.images, images), (ends.labels, labels)];
    for &mask in ends.masks {
        feeds.push((
            mask,
            (0..graph[mask].shape.elements())
                .map(|_| if rng.random::<f32>() < 0.7 { 1.0 / 0.7 } else { 0.0 })
                .collect(),
        ));
    }
    Case { name, seed, output: ends.logits, loss: ends.loss, graph, variables, feeds, trainable }
}

/// Against candle with everything trained; then `part` alone, as the search trains it, to the same
/// bits.
fn check_step(case: &Case, part: &[NodeId], device: &Device) {
    let all = case.run(device);
    check(case, &all, FORWARD, BACKWARD);
    let alone = Case { trainable: part.to_vec(), ..case.clone() }.run(device);
    assert_eq!((alone.loss, &alone.output), (all.loss, &all.output), "{case}");
    for (id, gradient) in part.iter().zip(&alone.gradients) {
        let among_all = case.trainable.iter().position(|other| other == id).unwrap();
        let name = &case.graph[*id].name;
        assert_eq!(
            *gradient, all.gradients[among_all],
            "gradient of {name} without the others in\n{case}"
        );
        assert!(gradient.iter().any(|g| *g != 0.0), "{name} has no gradient in\n{case}");
    }
}

fn small_skeleton(rng: &mut ChaCha8Rng) -> Skeleton {
    Skeleton {
        stem: Stem::Cifar,
        cells: 3,
        channels: rng.random_range(2..=4),
        classes: 5,
        image: [rng.random_range(1..=3), 8, 8],
    }
}

#[test]
fn relaxations_agree() {
    each(0..3, |seed, device| {
        let skeleton = small_skeleton(&mut ChaCha8Rng::seed_from_u64(seed));
        let net = Relaxed::build(&skeleton, 2, Dropped::Nothing).unwrap();
        let ends = Ends {
            images: net.images,
            labels: net.labels,
            masks: &[],
            logits: net.logits,
            loss: net.loss,
        };
        let alphas = [net.alphas.normal, net.alphas.reduction];
        let trainable = [net.weights(), alphas.to_vec()].concat();
        check_step(&case("relaxation", seed, net.graph, &ends, trainable), &alphas, device);
    });
}

fn check_hypernetwork(space: &dyn Space, input: GeneratorInput, seed: u64, device: &Device) {
    let options = HypernetworkOptions { input, ..HypernetworkOptions::default() };
    let net = space.hypernetwork(&space.widest(), 2, options).unwrap();
    let ends = Ends {
        images: net.images,
        labels: net.labels,
        masks: &[],
        logits: net.logits,
        loss: net.loss,
    };
    let (weights, alphas) = (net.weights(), net.alphas.clone());
    let case = case("hypernetwork", seed, net.graph, &ends, [&weights[..], &alphas].concat());
    check_step(&case, &alphas, device);
    // The generating blocks alone are what most epochs train.
    let all = case.run(device);
    let alone = Case { trainable: weights.clone(), ..case.clone() }.run(device);
    assert_eq!(alone.gradients[..], all.gradients[..weights.len()], "{case}");
}

#[test]
fn hypernetworks_agree() {
    for input in [GeneratorInput::Node, GeneratorInput::Cell, GeneratorInput::Vector] {
        each(0..3, |seed, device| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let skeleton = small_skeleton(&mut rng);
            let space = IntensiveSpace::random(K, &mut rng).unwrap();
            let space = Intensive::new(space, skeleton, 2).unwrap();
            check_hypernetwork(&space, input, seed, device);
        });
    }
}

#[test]
fn hypernetworks_of_named_spaces_agree() {
    // Nodes of the space darts have different numbers of candidates: no weights are predicted there.
    for named in space::SPACES.iter().filter(|named| named.name != "darts") {
        each(0..2, |seed, device| {
            let skeleton = small_skeleton(&mut ChaCha8Rng::seed_from_u64(seed));
            let space = (named.open)(skeleton).unwrap();
            check_hypernetwork(&*space, GeneratorInput::Vector, seed, device);
        });
    }
}

#[test]
fn a_hypernetwork_that_never_reads_a_cell_input_agrees() {
    each(0..1, |seed, device| {
        let cell: Vec<Vec<Pair>> = (0..4)
            .map(|node| {
                Operation::CONNECTING[..K]
                    .iter()
                    .map(|&op| Pair { input: if node == 0 { 1 } else { 2 }, op })
                    .collect()
            })
            .collect();
        let space = IntensiveSpace::new(cell.clone(), cell).unwrap();
        let skeleton = small_skeleton(&mut ChaCha8Rng::seed_from_u64(seed));
        let space = Intensive::new(space, skeleton, 2).unwrap();
        check_hypernetwork(&space, GeneratorInput::Node, seed, device);
    });
}

fn check_discrete(seed: u64, skeleton: &Skeleton, keep: usize, device: &Device) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let space = IntensiveSpace::random(K, &mut rng).unwrap();
    let genotype = space.random_genotype(skeleton, keep, &mut rng).unwrap();
    let heads =
        Heads { auxiliary: 0.4, drop_path: true, dropout: true, smoothing: 0.1, exits: true };
    let net = Discrete::build(&genotype, skeleton, 4, Some(heads)).unwrap();
    let training = net.training.unwrap();
    assert!(!training.masks.is_empty() && net.graph.find("auxiliary/linear").is_ok());
    let masks: Vec<NodeId> = training.masks.into_iter().chain(training.dropout).collect();
    let ends = Ends {
        images: net.images,
        labels: training.labels,
        masks: &masks,
        logits: net.logits,
        loss: training.loss,
    };
    let trainable: Vec<NodeId> = net.graph.parameters().collect();
    let classifiers: Vec<NodeId> = trainable
        .iter()
        .copied()
        .filter(|id| net.graph[*id].name.ends_with("/linear/bias"))
        .collect();
    // The last, the auxiliary one, and one for every cell before the last.
    assert_eq!(classifiers.len(), skeleton.cells + 1);
    check_step(
        &case("network to be retrained", seed, net.graph, &ends, trainable),
        &classifiers,
        device,
    );
}

#[test]
fn networks_to_be_retrained_agree() {
    // Seed 0 puts the input of a ReLU of the auxiliary head within 1e-6 of zero, where the
    // derivative is a matter of rounding.
    each(1..7, |seed, device| {
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + seed);
        let (cells, channels) = (rng.random_range(3..=5), rng.random_range(2..=4));
        let skeleton = match seed % 3 {
            0 => Skeleton { stem: Stem::Cifar, cells, channels, classes: 10, image: [3, 32, 32] },
            1 => Skeleton { stem: Stem::Cifar, cells, channels, classes: 4, image: [1, 16, 24] },
            _ => Skeleton {
                stem: Stem::Imagenet,
                cells,
                channels: 4,
                classes: 7,
                image: [3, 64, 64],
            },
        };
        check_discrete(seed, &skeleton, 1 + seed as usize % 2, device);
    });
}
