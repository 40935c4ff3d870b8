//! Parameters and multiply-adds, counted from the graph and from the file.

use std::path::Path;

use adwp_engine::{Graph, Init, Op, Variables};
use adwp_export::onnx::{BatchNorms, model};
use adwp_export::{Trained, fold_batch_norms};
use adwp_measure::cost as file;
use adwp_measure::onnx::OnnxModel;
use adwp_models::{Blueprint, Skeleton, Stem, cost};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::draw::{cifar, imagenet, learned, trained};

/// A layer's name, parameters and multiply-adds.
type Layer = (String, u64, u64);

fn of_graph(graph: &Graph) -> (u64, u64, Vec<Layer>) {
    let cost = cost::count(graph);
    (
        cost.params,
        cost.madds,
        cost.layers.into_iter().map(|layer| (layer.name, layer.params, layer.madds)).collect(),
    )
}

/// What the file says by itself. Layers that cost nothing are left out, as they are in the count of
/// a graph.
fn of_file(bytes: &[u8], context: &str) -> (OnnxModel, (u64, u64, Vec<Layer>)) {
    let model = OnnxModel::from_bytes(bytes, Path::new("model.onnx"))
        .unwrap_or_else(|e| panic!("{context}: {e}"));
    let cost = file::cost(&model).unwrap_or_else(|e| panic!("{context}: {e}"));
    assert!(cost.unknown.is_empty(), "{context}: {:?}", cost.unknown);
    let layers = cost.layers.into_iter().map(|layer| (layer.name, layer.params, layer.madds));
    (
        model,
        (cost.params, cost.madds, layers.filter(|(_, params, madds)| params + madds > 0).collect()),
    )
}

fn check(trained: &Trained, context: &str) {
    let net = trained.inference(1).unwrap();
    let counted = of_graph(&net.graph);
    assert_eq!(counted.0, learned(&trained.variables), "{context}: parameters");
    let (folded, variables, _) =
        fold_batch_norms(&net.graph, &trained.variables, net.logits).unwrap();
    let counted_folded = of_graph(&folded);
    assert_eq!(counted_folded.0, learned(&variables), "{context}: parameters, folded");
    assert_eq!(counted_folded.1, counted.1, "{context}: folding changes no multiply-adds");

    for (mode, counted_here) in
        [(BatchNorms::Kept, &counted), (BatchNorms::Folded, &counted_folded)]
    {
        let context = format!("{context}, {mode:?}");
        let (model, found) = of_file(&model(trained, mode).unwrap(), &context);
        assert_eq!(found, *counted_here, "{context}");
        let (params, madds) =
            (found.2.iter().map(|l| l.1).sum::<u64>(), found.2.iter().map(|l| l.2).sum::<u64>());
        assert_eq!(
            (params, madds),
            (found.0, found.1),
            "{context}: the layers add up to the total"
        );
        let said = model.metadata();
        assert_eq!(
            (said.params, said.madds),
            (Some(counted.0), Some(counted.1)),
            "{context}: metadata"
        );
    }
}

#[test]
fn the_file_costs_what_its_graph_costs() {
    for seed in 0..80 {
        check(&trained(cifar(seed), seed), &format!("seed {seed}"));
    }
    for seed in 0..10 {
        check(&trained(imagenet(seed), seed), &format!("ImageNet stem, seed {seed}"));
    }
}

/// The networks of the published sizes. Only their shapes matter, so their weights are zero.
#[test]
fn networks_of_published_size_cost_the_same_twice() {
    let sizes = [
        Skeleton {
            stem: Stem::Imagenet,
            cells: 14,
            channels: 48,
            classes: 1000,
            image: [3, 224, 224],
        },
        Skeleton { stem: Stem::Cifar, cells: 20, channels: 36, classes: 10, image: [3, 32, 32] },
    ];
    for (skeleton, seed) in sizes.into_iter().zip(0..) {
        let mut small = trained(Skeleton { channels: 2, image: [3, 32, 32], ..skeleton }, seed);
        let genotype = small.network.blueprint.genotype().unwrap().clone();
        small.network.blueprint = Blueprint::Cells { genotype, skeleton };
        small.variables = zeros(&small.inference(1).unwrap().graph);
        check(&small, &format!("{skeleton:?}, seed {seed}"));
    }
}

/// Variables of a graph without drawing millions of numbers.
fn zeros(graph: &Graph) -> Variables {
    let mut blank = Graph::new();
    for (_, node) in graph.nodes() {
        if let Op::Parameter { .. } = node.op {
            blank.parameter(&node.name, node.shape.clone(), Init::Constant(0.0)).unwrap();
        }
    }
    let mut variables = Variables::new();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    variables.initialize(&blank, &mut rng).unwrap();
    // What is left are the statistics.
    variables.initialize(graph, &mut rng).unwrap();
    variables
}
